//! Reads dates as HR systems write them, and writes them as the HR connector takes them.
//!
//! ```text
//! text ─ trim ─ ISO 8601? ─ formats in order ─┐
//! date and timestamp columns ─────────────────┼─▶ moment ─▶ calendar of the time zone ─▶ 2024-01-15T00:00:00-05:00
//! numbers ─ excel_serial, epoch_… ────────────┘
//! ```
//!
//! What comes out is always `yyyy-mm-ddThh:mm:ss±hh:mm`, with a fraction of at most seven digits (no zeros at its
//! end) only where the value has one. The offset is the value's own if it has one, else that of the
//! [time zone](DateSettings::timezone) at that local time.
//!
//! | value | is read as |
//! |---|---|
//! | a date | that day at the default time, in the time zone |
//! | a date-time without offset, a `Timestamp` without zone | that local time, in the time zone |
//! | a date-time with offset | that time with that offset |
//! | seconds or milliseconds since 1970, a `Timestamp` with zone | that instant, shown in the time zone |
//! | a serial of Excel, `Date64`, `/Date(ms)/` | that local time; midnight counts as a date without time, since these have no other form for one |
//!
//! Nothing is guessed: day and month are told apart by the formats alone, a year must have four digits unless the
//! format is `%y` and `century_pivot` says where the centuries divide, and a date outside the plausible range is
//! rejected. A [`DateReader`] is used by any number of threads at once.

mod calendar;
mod compile;
mod iso;
mod moment;
mod named;
mod pattern;
mod read;
mod scan;
mod settings;
#[cfg(test)]
mod tests;
mod write;

pub use read::{DateReader, WrongType};
pub use settings::{DateSettings, OnGap, OnOverlap};
