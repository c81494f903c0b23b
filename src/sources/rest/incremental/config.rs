//! What users write about reading only what is new.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::Value;

use super::super::json_path::SinglePath;
use crate::config::HumanDuration;

/// Asks only for what is new since the last run: the `incremental:` block of a source. `{start}`, and `{end}` where the
/// service takes one, stand in the request where they belong. How far the runs came is kept in the ledger, and moves on
/// only when all that was read before has a final state.
///
/// ```yaml
/// incremental: {initial: 2020-01-01, format: "%m-%d-%Y", lookback: 3d}
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncrementalConfig {
    /// Where the next run begins: at this run's own begin (`run_time`), or at the greatest value found at this path of
    /// the records, such as `$.lastModifiedDateTime`. Default: `run_time`.
    #[serde(default)]
    pub cursor: CursorConfig,
    /// How the cursor is written in the records. Default: `iso8601`.
    #[serde(default)]
    pub cursor_format: CursorFormat,
    /// How `{start}` and `{end}` are written: `iso_z` (`2024-05-31T10:00:00Z`), `iso_offset`
    /// (`2024-05-31T12:00:00+02:00`), `epoch_seconds`, `epoch_milliseconds`, or a pattern of `strftime` such as
    /// `%Y-%m-%d`. Default: `iso_z`.
    #[serde(default = "iso_z")]
    pub format: String,
    /// The time zone of formats and of cursors without an offset: an IANA name such as `America/New_York`, or a fixed
    /// offset such as `+02:00`. Default: UTC.
    pub timezone: Option<String>,
    /// Where the first run begins, and every full one: a date, a date-time, or the number before the first with
    /// `cursor_format: integer`. When it is changed, the next run begins there.
    #[schemars(with = "Initial")]
    pub initial: Value,
    /// How much before the last position a run begins, to see what the service put in late. Rows that were delivered
    /// before are not delivered again. Default: none.
    pub lookback: Option<HumanDuration>,
    /// How old what is asked for must be at least, for services that are behind themselves. Default: no delay.
    pub delay: Option<HumanDuration>,
    /// The longest span that is asked for at once; a longer one is cut into windows, asked one after another. Default:
    /// one span.
    pub window: Option<HumanDuration>,
    /// The smallest difference that the service tells apart: windows begin and end at multiples of it. Default: that of
    /// `format`, such as a day for `%Y-%m-%d`; a greater one can be given.
    pub granularity: Option<HumanDuration>,
    /// Whether the service leaves out what is exactly at `{start}`: then it is set one `granularity` earlier. Default:
    /// false.
    #[serde(default)]
    pub start_exclusive: bool,
    /// Whether the service gives what is exactly at `{end}` too: then it is set one `granularity` earlier, so that
    /// windows neither overlap nor leave a gap. Default: false.
    #[serde(default)]
    pub end_inclusive: bool,
    /// Reads everything again, from `initial`, every so often: what changed without a sign is found then.
    pub full_refresh_every: Option<FullRefresh>,
    /// What becomes of a position that was kept for other settings than now (base URL, path, cursor, initial, …).
    /// Default: `restart`.
    #[serde(default)]
    pub on_change: OnChange,
}

/// How often everything is read again: one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullRefresh {
    /// One of so many runs is full; at least 2.
    pub runs: Option<u32>,
    /// A run is full when the last full one began so long ago.
    pub every: Option<HumanDuration>,
}

/// What becomes of a position kept for other settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnChange {
    /// It is not used: the run begins at `initial`, and says so.
    #[default]
    Restart,
    /// The run fails.
    Error,
}

/// Where the next run begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum CursorConfig {
    /// At this run's begin.
    #[default]
    RunTime,
    /// At the greatest value found here.
    Path(SinglePath),
}

impl<'de> Deserialize<'de> for CursorConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "run_time" {
            return Ok(Self::RunTime);
        }
        SinglePath::parse(&text)
            .map(Self::Path)
            .map_err(|message| de::Error::custom(format!("expected `run_time` or a path: {message}")))
    }
}

impl JsonSchema for CursorConfig {
    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`run_time`, or the JSONPath of the cursor in a record.",
            "examples": ["run_time", "$.lastModifiedDateTime"],
        })
    }
}

/// How a cursor is written in the records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CursorFormat {
    /// ISO 8601 dates and date-times, with offset or without, and `/Date(1462060800000+0000)/`.
    #[default]
    Iso8601,
    /// Seconds since 1970 in UTC.
    EpochSeconds,
    /// Milliseconds since 1970 in UTC.
    EpochMilliseconds,
    /// Whole numbers that grow, such as ids: no times.
    Integer,
    /// A pattern of `strftime`.
    Pattern(String),
}

impl CursorFormat {
    const NAMES: [&str; 4] = ["iso8601", "epoch_seconds", "epoch_milliseconds", "integer"];
}

impl<'de> Deserialize<'de> for CursorFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "iso8601" => Self::Iso8601,
            "epoch_seconds" => Self::EpochSeconds,
            "epoch_milliseconds" => Self::EpochMilliseconds,
            "integer" => Self::Integer,
            pattern if pattern.contains('%') => Self::Pattern(text),
            other => return Err(de::Error::unknown_variant(other, &Self::NAMES)),
        })
    }
}

impl JsonSchema for CursorFormat {
    fn schema_name() -> Cow<'static, str> {
        "CursorFormat".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`iso8601`, `epoch_seconds`, `epoch_milliseconds`, `integer`, or a pattern of strftime.",
            "examples": Self::NAMES,
        })
    }
}

/// For the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes, is never made")]
enum Initial {
    Text(String),
    Number(i64),
}

fn iso_z() -> String {
    "iso_z".to_owned()
}
