//! Reads dates as HR systems write them, and writes them as the HR connector requires.
//!
//! ```text
//! text ─ trim ─ null value? ─ formats in order ─ ISO 8601 ─┐
//! date and timestamp columns ──────────────────────────────┼─▶ moment ─▶ time zone ─▶ 2024-01-15T00:00:00-05:00
//! numbers ─ excel_serial, epoch_… ─────────────────────────┘
//! ```
//!
//! | value | is read as |
//! |---|---|
//! | a date | that day at the default time, in the time zone |
//! | a date-time without offset, a `Timestamp` without zone | that local time, in the time zone |
//! | a date-time with offset | that time with that offset |
//! | seconds or milliseconds since 1970, a `Timestamp` with zone | that instant, shown in the time zone |
//! | an Excel serial, `Date64`, `/Date(ms)/` | that local time; midnight is a date without time, for which these have no form |
//!
//! Nothing is guessed: formats alone decide between day and month, a year must have four digits unless the format has
//! `%y` and `century_pivot` is set, and a date outside the plausible range is rejected.

mod iso;
mod memo;
mod moment;
mod named;
mod pattern;
mod reader;
mod settings;
#[cfg(test)]
mod tests;
mod zone;

pub(crate) use reader::DateReader;
pub(crate) use settings::DateSettings;
use zone::Reason;
