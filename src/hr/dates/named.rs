//! Formats with a name instead of a pattern: numbers, and OData's notation for dates in JSON.

use jiff::SignedDuration;
use jiff::civil::Time;
use jiff::tz::Offset;

use super::iso;
use super::moment::Moment;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    ExcelSerial,
    EpochSeconds,
    EpochMilliseconds,
    OData,
}

pub(super) const NAMED: [(&str, Named); 4] = [
    ("excel_serial", Named::ExcelSerial),
    ("epoch_seconds", Named::EpochSeconds),
    ("epoch_milliseconds", Named::EpochMilliseconds),
    ("odata", Named::OData),
];

impl Named {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let (_, named) = NAMED.into_iter().find(|(known, _)| *known == name)?;
        Some(named)
    }

    pub(super) fn read(self, text: &str) -> Option<Moment> {
        if self == Self::OData {
            return odata(text);
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        self.read_number(text.parse().ok()?)
    }

    pub(super) fn read_number(self, number: f64) -> Option<Moment> {
        let micros = match self {
            Self::OData => return None,
            // Days since 1899-12-30, with the time of day as fraction; exact to the millisecond. The first serials are a day
            // off, since Excel counts 1900-02-29, but far before the plausible dates. The last one is 9999-12-31.
            Self::ExcelSerial if !(0.0..2_958_466.0).contains(&number) => return None,
            Self::ExcelSerial => ((number - 25_569.0) * 86_400e3).round() * 1e3,
            Self::EpochSeconds => number * 1e6,
            Self::EpochMilliseconds => number * 1e3,
        };
        if micros.is_nan() {
            return None;
        }
        // Saturates, far outside the plausible years. A double resolves about microseconds at today's seconds.
        let micros = micros.round() as i64;
        let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
        let nanos = micros as i32 * 1000;
        Some(match self {
            Self::ExcelSerial => Moment::from_local(seconds, nanos, true),
            _ => Moment::from_epoch(seconds, nanos),
        })
    }
}

/// `/Date(ms)/` is a civil date and time without zone, counted as if it were UTC (`Edm.DateTime`, which has no form for
/// days: midnight is a day). `/Date(ms+0100)/` is an instant with the offset to show it in (`Edm.DateTimeOffset`); some
/// services write the offset in minutes (`+0090`), which is accepted where the last two digits cannot be minutes.
fn odata(text: &str) -> Option<Moment> {
    let inner = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
    let sign = inner.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-'));
    let (millis, offset) = inner.split_at(sign.map_or(inner.len(), |(at, _)| at));
    let Moment::Instant(utc) = Named::EpochMilliseconds.read(millis)? else {
        return None;
    };
    if offset.is_empty() {
        return Some(match utc.time() == Time::midnight() {
            true => Moment::Day(utc.date()),
            false => Moment::Local(utc),
        });
    }
    let offset = match iso::read(&format!("1970-01-01{offset}"), false) {
        Some(Moment::Offset(_, offset)) => offset,
        _ if offset.len() == 5 => Offset::from_seconds(offset.parse::<i32>().ok()? * 60).ok()?,
        _ => return None,
    };
    let shift = SignedDuration::from_secs(offset.seconds().into());
    let local = utc.checked_add(shift).ok()?;
    Moment::of(local.date(), Some(local.time()), Some(offset))
}
