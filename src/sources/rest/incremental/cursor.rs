//! Cursors in records.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::super::json_path::{SinglePath, type_name};
use crate::error::{Error, Result};

/// Systems write "no end" as `9999-12-31`, which lies beyond the last instant.
const LAST_YEAR: i16 = 9999;
const LAST_MILLISECOND: i64 = 253_402_300_799_999;

/// Cursors of some of the records, to be merged once those records were read completely.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Seen {
    pub(super) greatest: Option<Timestamp>,
    pub(in super::super) with: u64,
    /// Records whose cursor is missing, null or blank.
    pub(in super::super) without: u64,
    /// Records whose cursor lies after the start of the run.
    pub(in super::super) future: u64,
}

impl Seen {
    pub(in super::super) fn merge(&mut self, other: &Self) {
        self.greatest = self.greatest.max(other.greatest);
        self.with += other.with;
        self.without += other.without;
        self.future += other.future;
    }
}

/// A cursor; `None` if it is missing, null or blank. An error names the path, never the value.
pub(super) fn read(value: Option<&Value>, path: &SinglePath, zone: &TimeZone) -> Result<Option<Timestamp>> {
    let found = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => match iso8601(text, zone) {
            Some(at) => return Ok(Some(at)),
            None => "a text in another format",
        },
        Some(other) => type_name(other),
    };
    Err(Error::input(format!(
        "the cursor at `{path}` of a record is {found}, expected an ISO 8601 date or date-time"
    )))
}

/// An ISO 8601 date or date-time, or `/Date(ms)/`; the first instant that it can mean in the zone.
pub(super) fn iso8601(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let text = text.trim();
    let inside = text
        .strip_prefix("/Date(")
        .and_then(|rest| rest.strip_suffix(")/"));
    if let Some(inside) = inside {
        // An offset only says how the instant is displayed.
        let sign = inside.rfind(['+', '-']).filter(|at| *at > 0);
        let (ms, offset) = inside.split_at(sign.unwrap_or(inside.len()));
        let is_offset = offset.chars().skip(1).all(|c| c.is_ascii_digit());
        return is_offset.then_some(ms)?.parse().ok().and_then(milliseconds);
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant);
    }
    let Ok(local) = text.parse::<DateTime>() else {
        // With an offset, the last day is beyond the last instant.
        return (Pieces::parse(text).ok()?.date().year() == LAST_YEAR).then_some(Timestamp::MAX);
    };
    match zone.to_ambiguous_timestamp(local).earlier() {
        Ok(instant) => Some(instant),
        Err(_) => (local.year() == LAST_YEAR).then_some(Timestamp::MAX),
    }
}

fn milliseconds(ms: i64) -> Option<Timestamp> {
    match Timestamp::from_millisecond(ms) {
        Ok(instant) => Some(instant),
        Err(_) => (Timestamp::MAX.as_millisecond()..=LAST_MILLISECOND)
            .contains(&ms)
            .then_some(Timestamp::MAX),
    }
}
