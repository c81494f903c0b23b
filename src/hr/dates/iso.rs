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

use jiff::fmt::temporal::DateTimeParser;

use super::moment::Moment;

static PARSER: DateTimeParser = DateTimeParser::new();

/// Reads `text`, which is trimmed. `digits`: whether eight bare digits are a date.
pub(super) fn read(text: &str, digits: bool) -> Option<Moment> {
    let bytes = text.as_bytes();
    if !bytes.first()?.is_ascii_digit() || (bytes.len() == 8 && !digits) {
        return None;
    }
    // jiff takes offsets behind a time only.
    if let [_, _, _, _, b'-', _, _, b'-', _, _, b'Z' | b'z' | b'+' | b'-', ..] = bytes {
        let (day, offset) = text.split_at_checked(10)?;
        return read(&format!("{day}T00:00{offset}"), digits);
    }
    let text = normalized(text)?;
    let pieces = PARSER.parse_pieces(text.as_ref()).ok()?;
    // `[Europe/Berlin]` and the like are not ISO 8601.
    if pieces.time_zone_annotation().is_some() {
        return None;
    }
    Moment::of(pieces.date(), pieces.time(), pieces.to_numeric_offset())
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
