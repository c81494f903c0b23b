//! The settings of `incremental`, checked and compiled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::json_path::SinglePath;
use super::super::template::Uses;
use super::cursor::iso8601;
use super::format::{DAY, Format};
use super::{Incremental, shown};
use crate::component::Problems;
use crate::settings::bounded::{SECOND, UNBOUNDED};
use crate::settings::{BoundedDuration, BoundedInt, Timezone};

/// 200 years.
const MAX_SPAN: u64 = 200 * 366 * DAY.unsigned_abs();

/// A span of time up to 200 years.
pub(crate) type Span = BoundedDuration<0, MAX_SPAN>;

/// Reads only what is new since the last run. `{start}`, and `{end}` where the service takes one, go into the request.
/// The position is kept in the ledger and advances only when all rows before it have an outcome.
///
/// ```yaml
/// incremental: {initial: 2020-01-01, format: "%m-%d-%Y", lookback: 3d}
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncrementalConfig {
    /// Where the next run starts: at the greatest value found at this JSONPath in the records, an ISO 8601 date or
    /// date-time, or `/Date(milliseconds)/`. Default: at the start time of this run.
    #[serde(default)]
    #[schemars(example = &"$.lastModifiedDateTime")]
    pub cursor: Option<SinglePath>,
    /// How `{start}` and `{end}` are written: `iso_z` (`2024-05-31T10:00:00Z`), `iso_offset`
    /// (`2024-05-31T12:00:00+02:00`), `epoch_seconds`, `epoch_milliseconds`, or a `strftime` pattern such as
    /// `%Y-%m-%d`. Windows start and end at whole units of the format, such as days.
    #[serde(default = "iso_z")]
    pub format: String,
    /// Time zone of `format` and of cursors without an offset.
    #[serde(default)]
    pub timezone: Timezone,
    /// Where the first run and every full refresh start: a date or a date-time. If you change it, the next run starts here.
    pub initial: String,
    /// How far before the last position a run starts, to include records that the service stored late. Also required if
    /// the service excludes records exactly at `{start}`. Rows that were already delivered are not delivered again.
    #[serde(default)]
    pub lookback: Option<Span>,
    /// How far before the current time the requested range ends, for services that publish records with a delay.
    #[serde(default)]
    #[schemars(example = &"15m")]
    pub delay: Option<Span>,
    /// The longest time span of one request; longer spans are split into windows. If the service includes records exactly
    /// at `{end}`, it returns records at window boundaries twice; hrsink delivers them once. Default: no split.
    #[serde(default)]
    pub window: Option<BoundedDuration<SECOND, MAX_SPAN>>,
    /// How often a run reads everything again from `initial`, to find changes that the cursor misses. Default: never.
    #[serde(default)]
    pub full_refresh_every: Option<FullRefresh>,
}

/// How often everything is read again: set either `runs` or `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FullRefresh {
    /// Every Nth run is a full refresh: `7` for every seventh.
    #[schemars(example = 7)]
    pub runs: Option<BoundedInt<2, 1_000_000>>,
    /// When this much time has passed since the last full refresh started.
    pub every: Option<BoundedDuration<1, UNBOUNDED>>,
}

fn iso_z() -> String {
    "iso_z".to_owned()
}

/// Whole milliseconds; a span is far below the range of `i64`.
fn millis<const MIN: u64, const MAX: u64>(span: BoundedDuration<MIN, MAX>) -> i64 {
    i64::try_from(span.get().as_millis()).unwrap_or(i64::MAX)
}

impl IncrementalConfig {
    /// Checks the block. `uses` are the placeholders of all requests of the source.
    pub(in super::super) fn compile(&self, uses: &Uses, problems: &mut Problems<'_>) -> Option<Incremental> {
        let before = problems.len();
        let zone = self.timezone.zone();
        let format = Format::new(&self.format, zone, &mut problems.at("format"));
        let initial = iso8601(&self.initial, zone);
        if initial.is_none() {
            problems.at("initial").add_with_hint(
                "expected an ISO 8601 date or date-time",
                "such as `2020-01-01` or `2020-01-01T00:00:00Z`",
            );
        }
        let window = self.window.map(millis);
        if let (Some(window), Some(format)) = (window, &format)
            && window % format.unit != 0
        {
            problems.at("window").add_with_hint(
                format!(
                    "expected a multiple of the smallest unit of `format` ({}), or windows would overlap",
                    shown(format.unit)
                ),
                "give a multiple, or a finer `format`",
            );
        }
        self.check_uses(uses, problems);
        if let Some(every) = self.full_refresh_every
            && every.runs.is_some() == every.every.is_some()
        {
            problems
                .at("full_refresh_every")
                .add("give either `runs` or `every`");
        }
        if problems.len() > before {
            return None;
        }
        Some(Incremental {
            config: self.clone(),
            format: format?,
            initial: initial?,
            lookback: self.lookback.map_or(0, millis),
            delay: self.delay.map_or(0, millis),
            window,
            uses_end: uses.contains("end"),
        })
    }

    fn check_uses(&self, uses: &Uses, problems: &mut Problems<'_>) {
        if !uses.contains("start") {
            problems.add_with_hint(
                "no request uses `{start}`, so every run would read everything",
                "write `{start}` where the service takes it, such as `query: {since: \"{start}\"}`",
            );
        }
        if uses.contains("end") {
            return;
        }
        for (key, given) in [("window", self.window.is_some()), ("delay", self.delay.is_some())] {
            if given {
                problems.at(key).add_with_hint(
                    "no request uses `{end}`, so every request would read to the end",
                    "write `{end}` where the service takes it, such as `query: {until: \"{end}\"}`",
                );
            }
        }
    }
}
