//! The digits of the text that is sent: `yyyy-mm-ddThh:mm:ss[.fffffff]±hh:mm`.

use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::moment::{Clock, Day};

/// Appends a local time with its offset; nothing if its year does not have four digits.
pub(super) fn write(buffer: &mut String, local: DateTime, offset: Offset) {
    if let Some(day) = Day::from_civil(local.date()) {
        write_day(buffer, day);
        write_clock(buffer, Clock::from_civil(local.time()));
        write_offset(buffer, offset.seconds());
    }
}

pub(super) fn write_day(buffer: &mut String, day: Day) {
    let year = day.year().unsigned_abs();
    buffer.push_str(two(year / 100));
    buffer.push_str(two(year % 100));
    buffer.push('-');
    buffer.push_str(two(day.month().into()));
    buffer.push('-');
    buffer.push_str(two(day.day().into()));
    buffer.push('T');
}

/// The fraction is cut to seven digits, as many as the documentation's samples show, and has no zeros at its end.
pub(super) fn write_clock(buffer: &mut String, clock: Clock) {
    buffer.push_str(two(clock.hour.into()));
    buffer.push(':');
    buffer.push_str(two(clock.minute.into()));
    buffer.push(':');
    buffer.push_str(two(clock.second.into()));
    let mut ticks = clock.nanos / 100;
    if ticks != 0 {
        buffer.push('.');
        let mut unit = 1_000_000;
        while ticks != 0 {
            buffer.push(char::from(b'0' + (ticks / unit) as u8));
            ticks %= unit;
            unit /= 10;
        }
    }
}

/// Offsets with seconds, which zones had before they took a standard time, are rounded to the minute; the local time
/// stays.
pub(super) fn write_offset(buffer: &mut String, seconds: i32) {
    let minutes = (seconds.unsigned_abs() + 30) / 60;
    buffer.push(if seconds < 0 && minutes != 0 { '-' } else { '+' });
    buffer.push_str(two((minutes / 60) as u16));
    buffer.push(':');
    buffer.push_str(two((minutes % 60) as u16));
}

/// A number below 100 in two digits.
fn two(number: u16) -> &'static str {
    const DIGITS: &str = "00010203040506070809101112131415161718192021222324\
                          25262728293031323334353637383940414243444546474849\
                          50515253545556575859606162636465666768697071727374\
                          75767778798081828384858687888990919293949596979899";
    let start = usize::from(number % 100) * 2;
    &DIGITS[start..start + 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_with_seconds_are_rounded() {
        let mut buffer = String::new();
        for (seconds, expected) in [
            (0, "+00:00"),
            (-29, "+00:00"),
            (-2670, "-00:45"),
            (1172, "+00:20"),
            (-12_600, "-03:30"),
        ] {
            buffer.clear();
            write_offset(&mut buffer, seconds);
            assert_eq!(buffer, expected);
        }
    }

    #[test]
    fn fractions_have_no_zeros_at_their_end() {
        let mut buffer = String::new();
        for (nanos, expected) in [
            (0, ""),
            (99, ""),
            (100, ".0000001"),
            (120_000_000, ".12"),
            (999_999_999, ".9999999"),
        ] {
            buffer.clear();
            write_clock(&mut buffer, Clock::new(9, 5, 0, nanos).unwrap());
            assert_eq!(buffer, format!("09:05:00{expected}"));
        }
    }
}
