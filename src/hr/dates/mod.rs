//! Reads dates as HR systems write them, and writes them as the HR connector requires.
//!
//! ```text
//! text ─ trim ─ null value? ─ formats in order ─ ISO 8601 ─┐
//! date and timestamp columns ──────────────────────────────┼─▶ moment ─▶ time zone ─▶ 2024-01-15T00:00:00-05:00
//! numbers ─ excel_serial, epoch_… ─────────────────────────┘
//! ```
//!
//! Nothing is guessed: formats alone decide between day and month, a year must have four digits unless the format has
//! `%y` and `century_pivot` is set, and a date outside the plausible range is rejected.

mod iso;
mod moment;
mod named;
mod pattern;
mod reader;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use reader::DateReader;
pub(crate) use settings::DateSettings;
