//! ISO 8601, as far as it is accepted without a format.
//!
//! - `2024-01-15`, and with an offset as XML Schema writes dates: `2024-01-15-07:00`, `2024-01-15Z`;
//! - `2024-01-15T09:30`, `…T09:30:00`, `…T09:30:00.1234567`, with `T` or spaces between, a dot or a comma before the
//!   fraction, then nothing, `Z`, `+02`, `+0200` or `+02:00`, after spaces if need be;
//! - the same without separators: `20240115`, `20240115T0930`, `20240115T093000Z`.
//!
//! Eight bare digits are safe to read as `yyyymmdd`: in `ddmmyyyy` or `mmddyyyy` of a plausible year, the fifth and sixth
//! are 19, 20 or 21, which is not a month. They are left alone where formats count from 1970. Week dates, days of the
//! year, single digits, months alone and 24:00 are not accepted; a format can be given for most of them.

use std::borrow::Cow;

use jiff::civil::Date;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::Offset;

use super::moment::{Moment, has_four_digits};

static PARSER: DateTimeParser = DateTimeParser::new();

const MAX_OFFSET_SECONDS: i32 = 14 * 3600;

/// Reads `text`, which is trimmed. `digits`: whether eight bare digits are a date.
pub(super) fn read(text: &str, digits: bool) -> Option<Moment> {
    let bytes = text.as_bytes();
    if !bytes.first()?.is_ascii_digit() || (bytes.len() == 8 && !digits) {
        return None;
    }
    // jiff takes offsets behind a time only.
    if let [_, _, _, _, b'-', _, _, b'-', _, _, b'Z' | b'z' | b'+' | b'-', ..] = bytes {
        let day: Date = PARSER.parse_date(&text[..10]).ok().filter(has_four_digits)?;
        return Some(Moment::Offset(day.into(), offset(&text[10..])?));
    }
    let text = normalized(text)?;
    let pieces = PARSER.parse_pieces(text.as_ref()).ok()?;
    let day = Some(pieces.date()).filter(has_four_digits)?;
    // `[Europe/Berlin]` and the like are not ISO 8601.
    if pieces.time_zone_annotation().is_some() {
        return None;
    }
    Some(match (pieces.time(), pieces.to_numeric_offset()) {
        (None, _) => Moment::Day(day),
        (Some(time), None) => Moment::Local(day.to_datetime(time)),
        (Some(time), Some(offset)) => Moment::Offset(day.to_datetime(time), in_use(offset)?),
    })
}

/// The text with a `T` for spaces before the time, none before the offset, and at most nine digits of a fraction.
fn normalized(text: &str) -> Option<Cow<'_, str>> {
    let mut text = Cow::Borrowed(text);
    if text.contains(|c: char| c.is_ascii_whitespace()) {
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        text = match (parts.as_slice(), text.as_bytes().get(4)) {
            ([day, time], Some(b'-')) if day.len() == 10 => format!("{day}T{time}"),
            ([day, time, offset], Some(b'-')) if day.len() == 10 => format!("{day}T{time}{offset}"),
            ([local, offset], _) => format!("{local}{offset}"),
            _ => return None,
        }
        .into();
    }
    let Some(point) = text.find(['.', ',']) else {
        return Some(text);
    };
    let digits = text[point + 1..].bytes().take_while(u8::is_ascii_digit).count();
    if digits > 9 {
        text.to_mut().replace_range(point + 10..point + 1 + digits, "");
    }
    Some(text)
}

/// Reads `Z`, `+hh`, `+hhmm` or `+hh:mm`.
pub(super) fn offset(text: &str) -> Option<Offset> {
    match text {
        "Z" | "z" => Some(Offset::UTC),
        _ if text.starts_with(['+', '-']) => {
            in_use(PARSER.parse_time_zone(text).ok()?.to_fixed_offset().ok()?)
        }
        _ => None,
    }
}

/// An offset of whole minutes within the range in use.
pub(super) fn in_use(offset: Offset) -> Option<Offset> {
    let seconds = offset.seconds();
    (seconds % 60 == 0 && seconds.abs() <= MAX_OFFSET_SECONDS).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_documented_forms() {
        for line in "2024-01-15 => 2024-01-15
            20240115 => 2024-01-15
            2024-01-15Z => 2024-01-15T00:00:00+00
            2024-01-15-07:00 => 2024-01-15T00:00:00-07
            2024-01-15T09:30 => local 2024-01-15T09:30:00
            2024-01-15t09:30:05 => local 2024-01-15T09:30:05
            2024-01-15  09:30:05.25 => local 2024-01-15T09:30:05.25
            2024-01-15T09:30:05,1234567890123 => local 2024-01-15T09:30:05.123456789
            2024-01-15T09:30:60 => local 2024-01-15T09:30:59
            2024-01-15T09:30Z => 2024-01-15T09:30:00+00
            2024-01-15T09:30:00 +02 => 2024-01-15T09:30:00+02
            2024-01-15 09:30:00  +02:00 => 2024-01-15T09:30:00+02
            2024-01-15T09:30:00-0330 => 2024-01-15T09:30:00-03:30
            2024-01-15T09:30:00.5+14:00 => 2024-01-15T09:30:00.5+14
            20240115T0930 => local 2024-01-15T09:30:00
            20240115T093005.5Z => 2024-01-15T09:30:05.5+00"
            .lines()
        {
            let (text, expected) = line.trim().split_once(" => ").unwrap();
            assert_eq!(Moment::shown(read(text, true)), expected, "{text}");
        }
    }

    #[test]
    fn refuses_other_forms() {
        for text in "|2024|2024-01|2024-1-5|2024-W03-1|2024-015|15-01-2024|2024/01/15|2023-02-29|2024-01-15T|\
            2024-01-15T9:30|2024-01-15T24:00|2024-01-15T09:60|2024-01-15T09:30:|2024-01-15T09:30:0|\
            2024-01-15T09:30:00.|2024-01-15T09:30:00x|2024-01-15T09:30+2|2024-01-15T09:30+15:00|\
            2024-01-15T09:30+02:60|20240115 0930|202401150930|0000-00-00|0999-01-01|２０２４-01-15|2024-01-1é|\
            20240115Z|2024-01-15T09:30[Europe/Berlin]|2024-01-15T09:30Z[Europe/Berlin]|+002024-01-15|\
            2024-01-15 09:30 +02 x|15012024|01152024"
            .split('|')
        {
            assert_eq!(read(text, true), None, "{text}");
        }
        assert_eq!(read("20240115", false), None);
    }
}
