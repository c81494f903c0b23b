//! Turns a [`Moment`] into the text that is sent.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Disambiguation, Offset, TimeZone};

use super::moment::Moment;
use super::settings::{OnGap, OnOverlap};

/// The settings that apply to every value, however it is written.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) zone: TimeZone,
    pub(super) default_time: Time,
    pub(super) on_gap: OnGap,
    pub(super) on_overlap: OnOverlap,
    pub(super) earliest: Date,
    pub(super) latest: Date,
    /// Days that mean "no value".
    pub(super) null_days: Vec<Date>,
}

/// Why a moment has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The day means "no value".
    Null,
    TooEarly,
    TooLate,
    Gap,
    Overlap,
}

impl Rules {
    /// The text of `moment`: `yyyy-mm-ddThh:mm:ss[.fffffff]±hh:mm`.
    pub(super) fn text(&self, moment: Moment) -> Result<String, Reason> {
        let (local, offset) = match moment {
            Moment::Day(day) => {
                self.check(day)?;
                self.resolve(day.to_datetime(self.default_time), false)?
            }
            Moment::Local(local) => {
                self.check(local.date())?;
                self.resolve(local, true)?
            }
            Moment::Offset(day, time, offset) => {
                self.check(day)?;
                (day.to_datetime(time.unwrap_or(self.default_time)), offset)
            }
            Moment::Instant(utc) => {
                // Placeholders such as 9999-12-31 are written in UTC, which may be the day before in the zone.
                if self.null_days.contains(&utc.date()) {
                    return Err(Reason::Null);
                }
                let instant = Offset::UTC.to_timestamp(utc).map_err(|_| Reason::TooLate)?;
                let offset = self.zone.to_offset(instant);
                let local = offset.to_datetime(instant);
                self.check(local.date())?;
                (local, offset)
            }
            Moment::OutOfRange(reason) => return Err(reason),
        };
        Ok(write(local, offset))
    }

    /// Whether `moment` has a text or means "no value".
    pub(super) fn is_plausible(&self, moment: Moment) -> bool {
        matches!(self.text(moment), Ok(_) | Err(Reason::Null))
    }

    fn check(&self, day: Date) -> Result<(), Reason> {
        if self.null_days.contains(&day) {
            Err(Reason::Null)
        } else if day < self.earliest {
            Err(Reason::TooEarly)
        } else if day > self.latest {
            Err(Reason::TooLate)
        } else {
            Ok(())
        }
    }

    /// The local time that is sent and its offset. `strict`: reject times on a DST change if the settings say so. A plain
    /// date never is: its time is the default one, not the record's.
    fn resolve(&self, local: DateTime, strict: bool) -> Result<(DateTime, Offset), Reason> {
        let found = self.zone.to_ambiguous_timestamp(local);
        let choice = match found.offset() {
            AmbiguousOffset::Unambiguous { offset } => return Ok((local, offset)),
            AmbiguousOffset::Gap { .. } => match self.on_gap {
                OnGap::Later => Disambiguation::Later,
                OnGap::Earlier => Disambiguation::Earlier,
                OnGap::Reject if strict => return Err(Reason::Gap),
                OnGap::Reject => Disambiguation::Compatible,
            },
            AmbiguousOffset::Fold { .. } => match self.on_overlap {
                OnOverlap::Earlier => Disambiguation::Earlier,
                OnOverlap::Later => Disambiguation::Later,
                OnOverlap::Reject if strict => return Err(Reason::Overlap),
                OnOverlap::Reject => Disambiguation::Compatible,
            },
        };
        // Fails only at the end of jiff's last year.
        let instant = found.disambiguate(choice).map_err(|_| Reason::TooLate)?;
        let offset = self.zone.to_offset(instant);
        Ok((offset.to_datetime(instant), offset))
    }
}

/// At most seven digits of a fraction, as in Microsoft's samples. Offsets with seconds, which zones had before standard
/// time, are rounded to the minute; the local time stays.
fn write(local: DateTime, offset: Offset) -> String {
    let ticks = local.subsec_nanosecond() / 100 * 100;
    let local = local.with().subsec_nanosecond(ticks).build().unwrap_or(local);
    let minutes = (offset.seconds().unsigned_abs() + 30) / 60;
    let sign = if offset.is_negative() && minutes > 0 {
        '-'
    } else {
        '+'
    };
    format!("{local}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}
