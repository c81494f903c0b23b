//! What a value says before the time zone is applied: a day, a local time, or an instant.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::Offset;

use super::Reason;

pub(super) const DAY_SECONDS: i64 = 86_400;

/// What a value says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Moment {
    /// A day without a time: takes the default time, in the time zone of the settings.
    Day(Date),
    /// A local time, in the time zone of the settings.
    Local(DateTime),
    /// A day, or a local time, with its own offset.
    Offset(Date, Option<Time>, Offset),
    /// An instant, as its date and time in UTC; shown in the time zone of the settings.
    Instant(DateTime),
    /// Outside the years that have four digits.
    OutOfRange(Reason),
}

impl Moment {
    /// A number of days since 1970-01-01.
    pub(super) fn from_days(days: i64) -> Self {
        match day(days) {
            Ok(day) => Self::Day(day),
            Err(reason) => Self::OutOfRange(reason),
        }
    }

    /// A civil date and time counted in seconds since 1970-01-01T00:00. With `midnight_is_day`, midnight means that there
    /// is no time.
    pub(super) fn from_local(seconds: i64, nanos: i32, midnight_is_day: bool) -> Self {
        match civil(seconds, nanos) {
            Ok(local) if midnight_is_day && local.time() == Time::midnight() => Self::Day(local.date()),
            Ok(local) => Self::Local(local),
            Err(reason) => Self::OutOfRange(reason),
        }
    }

    /// An instant counted in seconds since 1970-01-01T00:00:00Z.
    pub(super) fn from_epoch(seconds: i64, nanos: i32) -> Self {
        match civil(seconds, nanos) {
            Ok(utc) => Self::Instant(utc),
            Err(reason) => Self::OutOfRange(reason),
        }
    }
}

fn civil(seconds: i64, nanos: i32) -> Result<DateTime, Reason> {
    let of_day = seconds.rem_euclid(DAY_SECONDS);
    let time = Time::midnight() + jiff::SignedDuration::new(of_day, nanos);
    Ok(day(seconds.div_euclid(DAY_SECONDS))?.to_datetime(time))
}

fn day(days: i64) -> Result<Date, Reason> {
    let reason = if days < 0 {
        Reason::TooEarly
    } else {
        Reason::TooLate
    };
    let in_range = i32::try_from(days)
        .ok()
        .filter(|days| (-4_000_000..4_000_000).contains(days));
    let day = in_range.and_then(|days| date(1970, 1, 1).checked_add(days.days()).ok());
    day.filter(has_four_digits).ok_or(reason)
}

/// Whether the year has four digits. Others are typing errors, or two digits that `%Y` would accept.
pub(super) fn has_four_digits(day: &Date) -> bool {
    (1000..=9999).contains(&day.year())
}
