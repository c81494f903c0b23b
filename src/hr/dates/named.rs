//! Formats with a name instead of a pattern: numbers, and OData's notation for dates in JSON.

use jiff::SignedDuration;
use jiff::tz::Offset;

use super::iso;
use super::moment::{DAY_SECONDS, Moment};

/// A format with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    ExcelSerial,
    ExcelSerial1904,
    EpochSeconds,
    EpochMilliseconds,
    OData,
}

/// A bare number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Named {
    pub(super) const ALL: [Self; 5] = [
        Self::ExcelSerial,
        Self::ExcelSerial1904,
        Self::EpochSeconds,
        Self::EpochMilliseconds,
        Self::OData,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ExcelSerial => "excel_serial",
            Self::ExcelSerial1904 => "excel_serial_1904",
            Self::EpochSeconds => "epoch_seconds",
            Self::EpochMilliseconds => "epoch_milliseconds",
            Self::OData => "odata",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|named| named.name() == name)
    }

    /// Whether it gives a meaning to a bare number.
    pub(super) fn is_numeric(self) -> bool {
        self != Self::OData
    }

    /// Whether eight digits may be a count.
    pub(super) fn is_epoch(self) -> bool {
        matches!(self, Self::EpochSeconds | Self::EpochMilliseconds)
    }

    pub(super) fn read(self, text: &str) -> Option<Moment> {
        match self {
            Self::OData => odata(text),
            Self::ExcelSerial | Self::ExcelSerial1904 => {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                self.read_number(Number::Float(text.parse().ok().filter(|_| digits)?))
            }
            Self::EpochSeconds | Self::EpochMilliseconds => {
                let (sign, digits) = match text.strip_prefix('-') {
                    Some(digits) => (-1, digits),
                    None => (1, text),
                };
                let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
                let is_digits =
                    |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                if !is_digits(whole) || !is_digits(fraction) {
                    return None;
                }
                let whole = i128::from(whole.parse::<i64>().ok()?);
                let billionths: i128 = format!("{fraction:0<9.9}").parse().ok()?;
                self.epoch(sign * (whole * 1_000_000_000 + billionths))
            }
        }
    }

    pub(super) fn read_number(self, number: Number) -> Option<Moment> {
        match (self, number) {
            (Self::OData, _) => None,
            (Self::ExcelSerial | Self::ExcelSerial1904, Number::Int(serial)) => {
                excel(self, i32::try_from(serial).ok()?.into())
            }
            (Self::ExcelSerial | Self::ExcelSerial1904, Number::Float(serial)) => excel(self, serial),
            (_, Number::Int(count)) => self.epoch(i128::from(count) * 1_000_000_000),
            (_, Number::Float(count)) => {
                // Larger counts are not exact, and far outside the years that have four digits.
                if !count.is_finite() || count.abs() >= 1e15 {
                    return None;
                }
                // A double resolves about microseconds at today's seconds.
                let millionths = ((count - count.floor()) * 1e6).round() as i128;
                self.epoch(count.floor() as i128 * 1_000_000_000 + millionths * 1000)
            }
        }
    }

    /// `billionths` of seconds or milliseconds.
    fn epoch(self, billionths: i128) -> Option<Moment> {
        let nanos = match self {
            Self::EpochMilliseconds => billionths.div_euclid(1000),
            _ => billionths,
        };
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
        Some(Moment::from_epoch(
            seconds,
            nanos.rem_euclid(1_000_000_000) as i32,
        ))
    }
}

/// Days since Excel's epoch, with the time of day as fraction, to the millisecond. The 1900 system counts a day that never
/// was, 1900-02-29: serial 60 is refused, and those below are one day off from those above.
fn excel(system: Named, serial: f64) -> Option<Moment> {
    const DAY_MILLIS: i64 = DAY_SECONDS * 1000;
    // The last one is 9999-12-31 in the 1900 system.
    if !(0.0..2_958_466.0).contains(&serial) {
        return None;
    }
    let millis = (serial * DAY_MILLIS as f64).round() as i64;
    let days = match (system, millis / DAY_MILLIS) {
        (Named::ExcelSerial1904, days) => days - 24_107,
        (_, 0 | 60) => return None,
        (_, days @ 1..60) => days - 25_568,
        (_, days) => days - 25_569,
    };
    let of_day = millis % DAY_MILLIS;
    let nanos = (of_day % 1000) as i32 * 1_000_000;
    Some(Moment::from_local(
        days * DAY_SECONDS + of_day / 1000,
        nanos,
        true,
    ))
}

/// `/Date(ms)/` is a civil date and time without zone, counted as if it were UTC (`Edm.DateTime`, which has no form for
/// days: midnight is a day). `/Date(ms+0100)/` is an instant with the offset to show it in (`Edm.DateTimeOffset`); some
/// services write the offset in minutes (`+0090`), which is accepted where the last two digits cannot be minutes.
fn odata(text: &str) -> Option<Moment> {
    let inner = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
    let sign = inner.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-'));
    let (millis, offset) = inner.split_at(sign.map_or(inner.len(), |(at, _)| at));
    let utc = match Named::EpochMilliseconds.read(millis)? {
        Moment::Instant(utc) => utc,
        out_of_range => return Some(out_of_range),
    };
    if offset.is_empty() {
        let is_day = utc.time() == jiff::civil::Time::midnight();
        return Some(if is_day {
            Moment::Day(utc.date())
        } else {
            Moment::Local(utc)
        });
    }
    let offset = match iso::offset(offset) {
        Some(offset) => offset,
        None if offset.len() == 5 => {
            let minutes: i32 = offset.parse().ok()?;
            iso::in_use(Offset::from_seconds(minutes * 60).ok()?)?
        }
        None => return None,
    };
    let local = utc
        .checked_add(SignedDuration::from_secs(offset.seconds().into()))
        .ok()?;
    Some(Moment::Offset(local.date(), Some(local.time()), offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(moment: Option<Moment>) -> String {
        match moment {
            Some(Moment::Day(day)) => day.to_string(),
            Some(Moment::Local(local)) => format!("local {local}"),
            Some(Moment::Instant(utc)) => format!("{utc}Z"),
            Some(Moment::Offset(day, time, offset)) => {
                format!("{}{offset}", day.to_datetime(time.unwrap_or_default()))
            }
            Some(Moment::OutOfRange(reason)) => format!("{reason:?}"),
            None => "none".to_owned(),
        }
    }

    #[test]
    fn reads_texts() {
        for case in "excel_serial 45306 => 2024-01-15
            excel_serial 45306.0 => 2024-01-15
            excel_serial 45306.604166666664 => local 2024-01-15T14:30:00
            excel_serial 45306.9999999999 => 2024-01-16
            excel_serial 1 => 1900-01-01
            excel_serial 59 => 1900-02-28
            excel_serial 61 => 1900-03-01
            excel_serial 2958465 => 9999-12-31
            excel_serial_1904 0 => 1904-01-01
            excel_serial_1904 43844 => 2024-01-15
            epoch_seconds 1705312800 => 2024-01-15T10:00:00Z
            epoch_seconds 1705312800.25 => 2024-01-15T10:00:00.25Z
            epoch_seconds -1 => 1969-12-31T23:59:59Z
            epoch_seconds -1.5 => 1969-12-31T23:59:58.5Z
            epoch_seconds -0.5 => 1969-12-31T23:59:59.5Z
            epoch_seconds 999999999999999 => TooLate
            epoch_milliseconds -1 => 1969-12-31T23:59:59.999Z
            epoch_milliseconds 1705312800123.0 => 2024-01-15T10:00:00.123Z
            odata /Date(1462060800000)/ => 2016-05-01
            odata /Date(1462060800001)/ => local 2016-05-01T00:00:00.001
            odata /Date(1462060800000+0000)/ => 2016-05-01T00:00:00+00
            odata /Date(1462060800000-0430)/ => 2016-04-30T19:30:00-04:30
            odata /Date(1462060800000+0090)/ => 2016-05-01T01:30:00+01:30
            odata /Date(-86400000)/ => 1969-12-31
            odata /Date(-86400000-0100)/ => 1969-12-30T23:00:00-01"
            .lines()
        {
            let (input, expected) = case.trim().split_once(" => ").unwrap();
            let (name, text) = input.split_once(' ').unwrap();
            assert_eq!(
                shown(Named::from_name(name).unwrap().read(text)),
                expected,
                "{input}"
            );
        }
        for (named, texts) in [
            (
                Named::ExcelSerial,
                "60 60.5 0 0.5 -1 2958466 4.5e4 inf NaN . 45,306 1.2.3",
            ),
            (Named::EpochSeconds, "- --1 1e9 1. 99999999999999999999 1.5x +1"),
            (
                Named::OData,
                "/Date()/ /Date(x)/ /Date(1) /Date(1+)/ /Date(1+99)/ /Date(1+9999)/ /Date(é+0000)/",
            ),
        ] {
            for text in texts.split(' ').chain([""]) {
                assert_eq!(named.read(text), None, "{text}");
            }
        }
    }

    #[test]
    fn reads_numbers() {
        use Named::{EpochMilliseconds, EpochSeconds, ExcelSerial};
        for (named, number, expected) in [
            (ExcelSerial, Number::Int(45_306), "2024-01-15"),
            (EpochSeconds, Number::Float(1.25), "1970-01-01T00:00:01.25Z"),
            (EpochSeconds, Number::Float(-1.5), "1969-12-31T23:59:58.5Z"),
            (EpochSeconds, Number::Float(f64::NAN), "none"),
            (EpochMilliseconds, Number::Int(1), "1970-01-01T00:00:00.001Z"),
            (EpochSeconds, Number::Int(i64::MIN), "TooEarly"),
        ] {
            assert_eq!(shown(named.read_number(number)), expected, "{number:?}");
        }
    }
}
