//! What a value says (a day, a local time, or an instant), and the text that is sent for it.

use std::borrow::Cow;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::{AmbiguousOffset, Disambiguation, Offset, TimeZone};

use super::settings::OnDstChange;
use crate::component::RejectCode;

/// The first plausible day: excludes the usual placeholders (1900-01-01, 0001-01-01), the zero of 1970, and numbers read in
/// the wrong unit.
const EARLIEST: Date = date(1980, 1, 1);

/// The last plausible day: excludes the usual placeholders (2999-12-31, 9999-12-31).
const LATEST: Date = date(2100, 1, 1);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Moment {
    /// A day without a time: midnight, in the time zone of the settings.
    Day(Date),
    /// A local time, in the time zone of the settings.
    Local(DateTime),
    /// A local time with its own offset.
    Offset(DateTime, Offset),
    /// An instant, as its date and time in UTC; shown in the time zone of the settings.
    Instant(DateTime),
}

/// Why a moment has no text: the code and words.
type Fault = (RejectCode, Cow<'static, str>);

/// The fault of a value that means "no date".
pub(super) fn null_value() -> Fault {
    let message = "a required value is missing: this is one of the `null_values`";
    (RejectCode::Missing, message.into())
}

fn too_early() -> Fault {
    let message = format!("is before {EARLIEST}, the earliest plausible date");
    (RejectCode::ImplausibleDate, message.into())
}

fn too_late() -> Fault {
    let message = format!("is after {LATEST}, the latest plausible date");
    (RejectCode::ImplausibleDate, message.into())
}

impl Moment {
    /// What a notation with these parts says; `None` if nobody means it. Years without four digits are typing errors, or
    /// two digits that `%Y` would accept; offsets in use are whole minutes and at most 14 hours.
    pub(super) fn of(day: Date, time: Option<Time>, offset: Option<Offset>) -> Option<Self> {
        let seconds = offset.unwrap_or(Offset::UTC).seconds();
        if !(1000..=9999).contains(&day.year()) || seconds % 60 != 0 || seconds.abs() > 14 * 3600 {
            return None;
        }
        let local = day.to_datetime(time.unwrap_or_default());
        Some(match (offset, time) {
            (Some(offset), _) => Self::Offset(local, offset),
            (None, Some(_)) => Self::Local(local),
            (None, None) => Self::Day(day),
        })
    }

    /// A civil date and time counted in seconds since 1970-01-01T00:00. With `midnight_is_day`, midnight means that there
    /// is no time.
    pub(super) fn from_local(seconds: i64, nanos: i32, midnight_is_day: bool) -> Self {
        let local = civil(seconds, nanos);
        if midnight_is_day && local.time() == Time::midnight() {
            Self::Day(local.date())
        } else {
            Self::Local(local)
        }
    }

    /// An instant counted in seconds since 1970-01-01T00:00:00Z.
    pub(super) fn from_epoch(seconds: i64, nanos: i32) -> Self {
        Self::Instant(civil(seconds, nanos))
    }
}

/// Counted in seconds since 1970-01-01T00:00. Saturates, far outside the plausible years.
fn civil(seconds: i64, nanos: i32) -> DateTime {
    let start = date(1970, 1, 1).at(0, 0, 0, 0);
    start.saturating_add(SignedDuration::new(seconds, nanos))
}

/// The settings that apply to every value, however it is written.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) zone: TimeZone,
    pub(super) on_gap: OnDstChange,
    pub(super) on_overlap: OnDstChange,
    /// Days that mean "no value".
    pub(super) null_days: Vec<Date>,
}

impl Rules {
    pub(super) fn text(&self, moment: Moment) -> Result<String, Fault> {
        let (local, offset) = match moment {
            Moment::Day(day) => {
                self.check(day)?;
                self.resolve(day.to_datetime(Time::midnight()), false)?
            }
            Moment::Local(local) => {
                self.check(local.date())?;
                self.resolve(local, true)?
            }
            Moment::Offset(local, offset) => {
                self.check(local.date())?;
                (local, offset)
            }
            Moment::Instant(utc) => {
                // Placeholders such as 9999-12-31 are written in UTC, which may be the day before in the zone.
                if self.null_days.contains(&utc.date()) {
                    return Err(null_value());
                }
                let instant = Offset::UTC.to_timestamp(utc);
                let instant = instant.map_err(|_| match utc.year() {
                    ..0 => too_early(),
                    _ => too_late(),
                })?;
                let offset = self.zone.to_offset(instant);
                let local = offset.to_datetime(instant);
                self.check(local.date())?;
                (local, offset)
            }
        };
        Ok(write(local, offset))
    }

    /// Whether `moment` has a text or means "no value".
    pub(super) fn is_plausible(&self, moment: Moment) -> bool {
        matches!(self.text(moment), Ok(_) | Err((RejectCode::Missing, _)))
    }

    fn check(&self, day: Date) -> Result<(), Fault> {
        if self.null_days.contains(&day) {
            Err(null_value())
        } else if day < EARLIEST {
            Err(too_early())
        } else if day > LATEST {
            Err(too_late())
        } else {
            Ok(())
        }
    }

    /// The local time that is sent and its offset. `strict`: reject times on a DST change if the settings say so. A plain
    /// date never is: its time is midnight, not the record's.
    fn resolve(&self, local: DateTime, strict: bool) -> Result<(DateTime, Offset), Fault> {
        let found = self.zone.to_ambiguous_timestamp(local);
        let (choice, code, what) = match found.offset() {
            AmbiguousOffset::Unambiguous { offset } => return Ok((local, offset)),
            AmbiguousOffset::Gap { .. } => (
                self.on_gap,
                RejectCode::NonexistentTime,
                "is a local time that does not exist: the clocks skip it on a DST change",
            ),
            AmbiguousOffset::Fold { .. } => (
                self.on_overlap,
                RejectCode::AmbiguousTime,
                "is a local time that occurs twice on a DST change",
            ),
        };
        let choice = match choice {
            OnDstChange::Later => Disambiguation::Later,
            OnDstChange::Earlier => Disambiguation::Earlier,
            OnDstChange::Reject if strict => return Err((code, what.into())),
            OnDstChange::Reject => Disambiguation::Compatible,
        };
        // Fails only at the end of jiff's last year.
        let instant = found.disambiguate(choice).map_err(|_| too_late())?;
        let offset = self.zone.to_offset(instant);
        Ok((offset.to_datetime(instant), offset))
    }
}

/// At most seven digits of a fraction, as in Microsoft's samples.
fn write(local: DateTime, offset: Offset) -> String {
    let ticks = local.subsec_nanosecond() / 100 * 100;
    let local = local.with().subsec_nanosecond(ticks).build().unwrap_or(local);
    let minutes = offset.seconds().unsigned_abs() / 60;
    let sign = if offset.is_negative() { '-' } else { '+' };
    format!("{local}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}
