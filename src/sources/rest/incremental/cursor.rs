//! Cursors in records.

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::super::json_path::SinglePath;
use super::config::CursorFormat;
use super::state::At;
use crate::error::{Error, Result};

/// `9999-12-31` is how systems write "no end": a time that is later than any, and reaches past the last instant.
const LAST_YEAR: i16 = 9999;
/// The end of that year.
const LAST_MILLISECOND: i64 = 253_402_300_799_999;

/// Where cursors are, and how they are read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cursor {
    pub(super) path: SinglePath,
    pub(super) format: CursorFormat,
    pub(super) zone: TimeZone,
}

/// Cursors seen in a part of the records. Each part of a run has its own, and
/// [`Plan::merge`](super::Plan::merge) puts them together once the part is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Seen {
    pub(super) greatest: Option<At>,
    /// Records that had one.
    pub(in super::super) with: u64,
    /// Records that had none: nothing there, null, or a blank text.
    pub(in super::super) without: u64,
    /// Records whose cursor lies after the run's begin.
    pub(in super::super) future: u64,
}

impl Seen {
    pub(super) fn observe(&mut self, cursor: &Cursor, value: Option<&Value>, now: Timestamp) -> Result<()> {
        let Some(at) = cursor.read(value)? else {
            self.without += 1;
            return Ok(());
        };
        self.with += 1;
        if matches!(at, At::Time(time) if time > now) {
            self.future += 1;
        }
        self.greatest = self.greatest.max(Some(at));
        Ok(())
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.greatest = self.greatest.max(other.greatest);
        self.with += other.with;
        self.without += other.without;
        self.future += other.future;
    }
}

impl Cursor {
    /// Reads a value; `None` if there is none.
    ///
    /// # Errors
    /// It is no cursor of the format. The path is named, the value is not.
    fn read(&self, value: Option<&Value>) -> Result<Option<At>> {
        let value = match value {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(value) => value,
        };
        let read = match (&self.format, value) {
            (CursorFormat::Integer, value) => integer(value).map(At::Number),
            (CursorFormat::EpochSeconds, value) => seconds(value).map(At::Time),
            (CursorFormat::EpochMilliseconds, value) => integer(value).and_then(milliseconds).map(At::Time),
            (CursorFormat::Iso8601, Value::String(text)) => iso8601(text, &self.zone).map(At::Time),
            (CursorFormat::Pattern(pattern), Value::String(text)) => {
                with_pattern(pattern, text, &self.zone).map(At::Time)
            }
            _ => None,
        };
        read.map(Some).ok_or_else(|| {
            let found = match value {
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "a number that is none",
                Value::String(_) => "a text that is none",
                Value::Array(_) => "a list",
                Value::Null | Value::Object(_) => "an object",
            };
            let wanted = match &self.format {
                CursorFormat::Iso8601 => "a date or date-time of ISO 8601".to_owned(),
                CursorFormat::EpochSeconds => "a number of seconds since 1970".to_owned(),
                CursorFormat::EpochMilliseconds => "a number of milliseconds since 1970".to_owned(),
                CursorFormat::Integer => "a whole number".to_owned(),
                CursorFormat::Pattern(pattern) => format!("a time as `{pattern}`"),
            };
            Error::input(format!(
                "the cursor at `{}` of a record is {found}: expected {wanted}",
                self.path
            ))
            .with_hint("`cursor_format` says how the cursor is written")
        })
    }
}

/// An ISO 8601 date or date-time, or `/Date(ms)/`; the first instant that it can mean in the zone.
pub(super) fn iso8601(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let text = text.trim();
    if let Some(inside) = text
        .strip_prefix("/Date(")
        .and_then(|rest| rest.strip_suffix(")/"))
    {
        // The offset only says how the instant is shown.
        let end = inside
            .char_indices()
            .skip(1)
            .find_map(|(at, c)| matches!(c, '+' | '-').then_some(at))
            .unwrap_or(inside.len());
        let offset = inside[end..].trim_start_matches(['+', '-']);
        if !offset.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        return milliseconds(inside[..end].parse().ok()?);
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant);
    }
    match text.parse::<DateTime>() {
        Ok(local) => instant(local, zone),
        // The end of time with an offset is past the last instant.
        Err(_) => (Pieces::parse(text).ok()?.date().year() == LAST_YEAR).then_some(Timestamp::MAX),
    }
}

/// The first instant that a local time can mean.
fn instant(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(local).earlier() {
        Ok(instant) => Some(instant),
        Err(_) => (local.year() == LAST_YEAR).then_some(Timestamp::MAX),
    }
}

/// Milliseconds since 1970, up to the end of the last year.
fn milliseconds(ms: i64) -> Option<Timestamp> {
    match Timestamp::from_millisecond(ms) {
        Ok(instant) => Some(instant),
        Err(_) => (Timestamp::MAX.as_millisecond()..=LAST_MILLISECOND)
            .contains(&ms)
            .then_some(Timestamp::MAX),
    }
}

fn with_pattern(pattern: &str, text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let parts = BrokenDownTime::parse(pattern, text.trim()).ok()?;
    if parts.offset().is_some() || parts.timestamp().is_some() {
        return parts.to_timestamp().ok();
    }
    let local = parts
        .to_datetime()
        .or_else(|_| parts.to_date().map(DateTime::from))
        .ok()?;
    instant(local, zone)
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Seconds, with a fraction or without; what is beyond milliseconds is cut off.
fn seconds(value: &Value) -> Option<Timestamp> {
    if let Some(whole) = integer(value) {
        return milliseconds(whole.checked_mul(1000)?);
    }
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let since = SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(since).ok()
}
