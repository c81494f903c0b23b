//! Formats with a name instead of a pattern: numbers, and OData's way of writing dates in JSON.

use super::iso;
use super::moment::{Clock, DAY_SECONDS, Day, Moment};

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

    /// Whether eight digits may be meant by it.
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
                let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
                if !whole
                    .trim_start_matches('-')
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
                {
                    return None;
                }
                let negative = whole.starts_with('-');
                let (part, rest) = iso::fraction(fraction.as_bytes())?;
                if !rest.is_empty() {
                    return None;
                }
                self.epoch(whole.parse().ok()?, negative, part)
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
            (_, Number::Int(count)) => self.epoch(count, false, 0),
            (_, Number::Float(count)) => {
                // Whole numbers beyond are not exact any more, and far outside any year with four digits.
                if !count.is_finite() || count.abs() >= 1e15 {
                    return None;
                }
                // A double has about microseconds to give at today's seconds.
                let micros = ((count - count.floor()) * 1e6).round() as u32;
                self.epoch(
                    count.floor() as i64 + i64::from(micros / 1_000_000),
                    false,
                    micros % 1_000_000 * 1000,
                )
            }
        }
    }

    /// `fraction`: billionths of the unit, to be taken off when `negative`.
    fn epoch(self, count: i64, negative: bool, fraction: u32) -> Option<Moment> {
        let (count, fraction) = match (negative, fraction) {
            (true, 1..) => (count.checked_sub(1)?, 1_000_000_000 - fraction),
            _ => (count, fraction),
        };
        let (seconds, nanos) = match self {
            Self::EpochMilliseconds => {
                let millis = count.rem_euclid(1000) as u32;
                (count.div_euclid(1000), millis * 1_000_000 + fraction / 1000)
            }
            _ => (count, fraction),
        };
        Some(Moment::Instant { seconds, nanos })
    }
}

/// Days since Excel's epoch, the time of day behind the point, to the millisecond. The 1900 system counts a day that
/// never was, 1900-02-29: serial 60 is refused, and those below are one day off against those above.
fn excel(system: Named, serial: f64) -> Option<Moment> {
    const DAY_MILLIS: i64 = DAY_SECONDS * 1000;
    // The last one is 9999-12-31 in the 1900 system.
    if !(0.0..2_958_466.0).contains(&serial) {
        return None;
    }
    let millis = (serial * DAY_MILLIS as f64).round() as i64;
    let epoch_day = match (system, millis / DAY_MILLIS) {
        (Named::ExcelSerial1904, days) => days - 24_107,
        (_, 0 | 60) => return None,
        (_, days @ 1..60) => days - 25_568,
        (_, days) => days - 25_569,
    };
    let of_day = millis % DAY_MILLIS;
    let seconds = epoch_day * DAY_SECONDS + of_day / 1000;
    Moment::from_local(seconds, (of_day % 1000) as u32 * 1_000_000, true)
}

/// `/Date(ms)/` is a civil date-time without zone, counted as if it were UTC (`Edm.DateTime`, which has no form for
/// days: midnight is a day). `/Date(ms+0100)/` is an instant with the offset to show it in (`Edm.DateTimeOffset`);
/// offsets are met as hours and minutes, and as minutes alone (`+0090`), which is taken where the last two digits
/// cannot be minutes. The instant is the same either way.
fn odata(text: &str) -> Option<Moment> {
    let inner = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
    let (millis, offset) = match inner.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')) {
        Some((at, _)) => (&inner[..at], Some(&inner[at..])),
        None => (inner, None),
    };
    let Moment::Instant { seconds, nanos } = Named::EpochMilliseconds.read(millis)? else {
        return None;
    };
    let Some(offset) = offset else {
        return Moment::from_local(seconds, nanos, true);
    };
    let minutes = match iso::offset(offset.as_bytes()) {
        Some(minutes) => minutes,
        None => offset
            .parse()
            .ok()
            .filter(|minutes: &i16| offset.len() == 5 && minutes.abs() <= iso::MAX_OFFSET)?,
    };
    let local = seconds.checked_add(i64::from(minutes) * 60)?;
    let day = Day::from_epoch(local.div_euclid(DAY_SECONDS))?;
    Some(Moment::Offset(
        day,
        Some(Clock::from_seconds(local, nanos)),
        minutes,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i16, month: u8, of_month: u8) -> Day {
        Day::new(year, month, of_month).unwrap()
    }

    fn at(hour: u8, minute: u8, second: u8, nanos: u32) -> Clock {
        Clock::new(hour, minute, second, nanos).unwrap()
    }

    #[test]
    fn excel_1900() {
        let read = |text| Named::ExcelSerial.read(text);
        assert_eq!(read("45306"), Some(Moment::Day(day(2024, 1, 15))));
        assert_eq!(read("45306.0"), Some(Moment::Day(day(2024, 1, 15))));
        assert_eq!(
            read("45306.604166666664"),
            Some(Moment::Local(day(2024, 1, 15), at(14, 30, 0, 0)))
        );
        assert_eq!(read("45306.9999999999"), Some(Moment::Day(day(2024, 1, 16))));
        assert_eq!(read("1"), Some(Moment::Day(day(1900, 1, 1))));
        assert_eq!(read("59"), Some(Moment::Day(day(1900, 2, 28))));
        assert_eq!(read("60"), None, "1900-02-29 never was");
        assert_eq!(read("60.5"), None);
        assert_eq!(read("61"), Some(Moment::Day(day(1900, 3, 1))));
        assert_eq!(read("2958465"), Some(Moment::Day(day(9999, 12, 31))));
        for text in [
            "0", "0.5", "-1", "2958466", "4.5e4", "inf", "NaN", "", ".", "45,306", "1.2.3",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn excel_1904_is_1462_days_off() {
        assert_eq!(
            Named::ExcelSerial1904.read("0"),
            Some(Moment::Day(day(1904, 1, 1)))
        );
        assert_eq!(
            Named::ExcelSerial1904.read_number(Number::Int(45_306 - 1462)),
            Named::ExcelSerial.read_number(Number::Int(45_306))
        );
    }

    #[test]
    fn epochs() {
        let instant = |seconds, nanos| Some(Moment::Instant { seconds, nanos });
        assert_eq!(Named::EpochSeconds.read("1705312800"), instant(1_705_312_800, 0));
        assert_eq!(
            Named::EpochSeconds.read("1705312800.25"),
            instant(1_705_312_800, 250_000_000)
        );
        assert_eq!(Named::EpochSeconds.read("-1"), instant(-1, 0));
        assert_eq!(Named::EpochSeconds.read("-1.5"), instant(-2, 500_000_000));
        assert_eq!(Named::EpochSeconds.read("-0.5"), instant(-1, 500_000_000));
        assert_eq!(Named::EpochMilliseconds.read("-1"), instant(-1, 999_000_000));
        assert_eq!(
            Named::EpochMilliseconds.read("1705312800123.0"),
            instant(1_705_312_800, 123_000_000)
        );
        assert_eq!(
            Named::EpochSeconds.read_number(Number::Float(1.25)),
            instant(1, 250_000_000)
        );
        assert_eq!(
            Named::EpochSeconds.read_number(Number::Float(-1.5)),
            instant(-2, 500_000_000)
        );
        assert_eq!(Named::EpochSeconds.read_number(Number::Float(f64::NAN)), None);
        for text in ["", "-", "--1", "1e9", "1.", "99999999999999999999", "1.5x", "+1"] {
            assert_eq!(Named::EpochSeconds.read(text), None, "{text}");
        }
    }

    #[test]
    fn odata_with_and_without_offset() {
        let may = day(2016, 5, 1);
        assert_eq!(odata("/Date(1462060800000)/"), Some(Moment::Day(may)));
        assert_eq!(
            odata("/Date(1462060800001)/"),
            Some(Moment::Local(may, at(0, 0, 0, 1_000_000)))
        );
        assert_eq!(
            odata("/Date(1462060800000+0000)/"),
            Some(Moment::Offset(may, Some(at(0, 0, 0, 0)), 0))
        );
        let april = day(2016, 4, 30);
        assert_eq!(
            odata("/Date(1462060800000-0430)/"),
            Some(Moment::Offset(april, Some(at(19, 30, 0, 0)), -270))
        );
        assert_eq!(
            odata("/Date(1462060800000+0090)/"),
            Some(Moment::Offset(may, Some(at(1, 30, 0, 0)), 90))
        );
        assert_eq!(odata("/Date(-86400000)/"), Some(Moment::Day(day(1969, 12, 31))));
        assert_eq!(
            odata("/Date(-86400000-0100)/"),
            Some(Moment::Offset(day(1969, 12, 30), Some(at(23, 0, 0, 0)), -60))
        );
        for text in [
            "/Date()/",
            "/Date(x)/",
            "/Date(1)",
            "/Date(1+)/",
            "/Date(1+99)/",
            "/Date(1+9999)/",
            "/Date(é+0000)/",
        ] {
            assert_eq!(odata(text), None, "{text}");
        }
    }
}
