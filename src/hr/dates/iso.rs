//! ISO 8601, as far as it is understood without being told.
//!
//! - `2024-01-15`, and with an offset as XML Schema writes dates: `2024-01-15-07:00`, `2024-01-15Z`;
//! - `2024-01-15T09:30`, `…T09:30:00`, `…T09:30:00.1234567`, with `T` or spaces between, a dot or a comma before the
//!   fraction, and behind it nothing, `Z`, `+02`, `+0200` or `+02:00`, after spaces if need be;
//! - the same without separators: `20240115`, `20240115T0930`, `20240115T093000Z`.
//!
//! Eight bare digits are safe to read as `yyyymmdd`: if they were `ddmmyyyy` or `mmddyyyy` of a plausible year, the
//! fifth and sixth would be 19, 20 or 21, which is no month. They are left alone where seconds or milliseconds since
//! 1970 are expected. Week dates (`2024-W03-1`), days of the year (`2024-015`), single digits (`2024-1-5`), months
//! alone and 24:00 are not understood; a format can be given for most of them.

use super::moment::{Clock, Day, Moment};

/// Reads `text`, which has no white space around it. `digits`: whether eight bare digits are a date.
pub(super) fn read(text: &str, digits: bool) -> Option<Moment> {
    let bytes = text.as_bytes();
    let (day, extended, rest) = match bytes {
        [_, _, _, _, b'-', _, _, b'-', _, _, rest @ ..] => (day(bytes, 5, 8)?, true, rest),
        [_, _, _, _, _, _, _, _, rest @ ..] if digits || !rest.is_empty() => (day(bytes, 4, 6)?, false, rest),
        _ => return None,
    };
    match rest {
        [] => Some(Moment::Day(day)),
        [b'T' | b't', rest @ ..] => time(day, extended, rest),
        [b' ', ..] if extended => time(day, extended, rest.trim_ascii_start()),
        _ if extended => Some(Moment::Offset(day, None, offset(rest)?)),
        _ => None,
    }
}

fn day(bytes: &[u8], month: usize, day: usize) -> Option<Day> {
    let year = i16::from(two(bytes, 0)?) * 100 + i16::from(two(bytes, 2)?);
    Day::new(year, two(bytes, month)?, two(bytes, day)?)
}

fn time(day: Day, extended: bool, mut rest: &[u8]) -> Option<Moment> {
    let mut part = |first: bool| {
        if extended && !first {
            rest = rest.strip_prefix(b":")?;
        }
        let value = two(rest, 0)?;
        rest = &rest[2..];
        Some(value)
    };
    let hour = part(true)?;
    let minute = part(false)?;
    let mut second = 0;
    let mut nanos = 0;
    let more = match rest {
        [b':', ..] => extended,
        [b'0'..=b'9', ..] => !extended,
        _ => false,
    };
    if more {
        let mut part = || {
            let digits = if extended { rest.strip_prefix(b":")? } else { rest };
            rest = &digits[digits.len().min(2)..];
            two(digits, 0)
        };
        second = part()?;
        if let [b'.' | b',', tail @ ..] = rest {
            (nanos, rest) = fraction(tail)?;
        }
    }
    let clock = Clock::new(hour, minute, second, nanos)?;
    match rest.trim_ascii_start() {
        [] => Some(Moment::Local(day, clock)),
        rest => Some(Moment::Offset(day, Some(clock), offset(rest)?)),
    }
}

/// The nanoseconds of the digits at the start, of which there must be one; those past the ninth are dropped.
pub(super) fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let padded = text[..digits]
        .iter()
        .map(|byte| byte - b'0')
        .chain(std::iter::repeat(0));
    let nanos = padded
        .take(9)
        .fold(0, |nanos, digit| nanos * 10 + u32::from(digit));
    Some((nanos, &text[digits..]))
}

/// An offset in minutes: `Z`, `+hh`, `+hhmm`, `+hh:mm`, within the 14 hours in use.
pub(super) fn offset(text: &[u8]) -> Option<i16> {
    let (sign, rest) = match text {
        [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest {
        [_, _] => (two(rest, 0)?, 0),
        [_, _, _, _] => (two(rest, 0)?, two(rest, 2)?),
        [_, _, b':', _, _] => (two(rest, 0)?, two(rest, 3)?),
        _ => return None,
    };
    let total = i16::from(hours) * 60 + i16::from(minutes);
    (minutes < 60 && total <= MAX_OFFSET).then_some(sign * total)
}

/// Minutes. No place on earth is further from UTC.
pub(super) const MAX_OFFSET: i16 = 14 * 60;

/// The number of the two digits at `at`.
fn two(bytes: &[u8], at: usize) -> Option<u8> {
    let tens = bytes.get(at)?.wrapping_sub(b'0');
    let ones = bytes.get(at + 1)?.wrapping_sub(b'0');
    (tens < 10 && ones < 10).then(|| tens * 10 + ones)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(year: i16, month: u8, of_month: u8) -> Day {
        Day::new(year, month, of_month).unwrap()
    }

    #[test]
    fn documented_forms() {
        let on = day(2024, 1, 15);
        let at = |hour, minute, second, nanos| Clock::new(hour, minute, second, nanos).unwrap();
        for (text, expected) in [
            ("2024-01-15", Moment::Day(on)),
            ("20240115", Moment::Day(on)),
            ("2024-01-15Z", Moment::Offset(on, None, 0)),
            ("2024-01-15-07:00", Moment::Offset(on, None, -420)),
            ("2024-01-15T09:30", Moment::Local(on, at(9, 30, 0, 0))),
            ("2024-01-15t09:30:05", Moment::Local(on, at(9, 30, 5, 0))),
            (
                "2024-01-15  09:30:05.25",
                Moment::Local(on, at(9, 30, 5, 250_000_000)),
            ),
            (
                "2024-01-15T09:30:05,1234567890123",
                Moment::Local(on, at(9, 30, 5, 123_456_789)),
            ),
            ("2024-01-15T09:30:60", Moment::Local(on, at(9, 30, 59, 0))),
            ("2024-01-15T09:30Z", Moment::Offset(on, Some(at(9, 30, 0, 0)), 0)),
            (
                "2024-01-15T09:30:00 +02",
                Moment::Offset(on, Some(at(9, 30, 0, 0)), 120),
            ),
            (
                "2024-01-15T09:30:00-0330",
                Moment::Offset(on, Some(at(9, 30, 0, 0)), -210),
            ),
            (
                "2024-01-15T09:30:00.5+14:00",
                Moment::Offset(on, Some(at(9, 30, 0, 500_000_000)), 840),
            ),
            ("20240115T0930", Moment::Local(on, at(9, 30, 0, 0))),
            (
                "20240115T093005.5Z",
                Moment::Offset(on, Some(at(9, 30, 5, 500_000_000)), 0),
            ),
        ] {
            assert_eq!(read(text, true), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood() {
        for text in [
            "",
            "2024",
            "2024-01",
            "2024-1-5",
            "2024-W03-1",
            "2024-015",
            "15-01-2024",
            "2024/01/15",
            "2023-02-29",
            "2024-01-15T",
            "2024-01-15T09",
            "2024-01-15T9:30",
            "2024-01-15T24:00",
            "2024-01-15T09:60",
            "2024-01-15T0930",
            "2024-01-15T09:30:",
            "2024-01-15T09:30:0",
            "2024-01-15T09:30:00.",
            "2024-01-15T09:30:00x",
            "2024-01-15T09:30+2",
            "2024-01-15T09:30+15:00",
            "2024-01-15T09:30+02:60",
            "20240115 0930",
            "202401150930",
            "0000-00-00",
            "0999-01-01",
            "２０２４-01-15",
            "2024-01-1é",
            "20240115T09:30",
            "20240115Z",
        ] {
            assert_eq!(read(text, true), None, "{text}");
        }
        assert_eq!(read("20240115", false), None);
    }

    proptest! {
        #[test]
        fn any_text_is_no_panic(text in "\\PC{0,30}|[0-9TZ:+. -]{0,30}") {
            read(&text, true);
        }

        #[test]
        fn digits_of_other_orders_are_never_taken_for_a_date(year in 1900i16..2200, month in 1u8..13, of_month in 1u8..29) {
            let text = format!("{of_month:02}{month:02}{year}");
            prop_assert_eq!(read(&text, true), None);
            let text = format!("{month:02}{of_month:02}{year}");
            prop_assert_eq!(read(&text, true), None);
        }
    }
}
