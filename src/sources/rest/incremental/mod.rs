//! Reading only what is new since the last run.
//!
//! ```text
//! position saved ─begin─▶ Plan: windows ─{start}, {end}─▶ requests ─cursors─▶ Plan ─finished─▶ position to save
//! ```
//!
//! A position is an instant before which everything was read (or the last number seen). What is asked for begins at it,
//! less `lookback`, and ends at the run's begin, less `delay`; windows cut it into pieces such that each point is in
//! exactly one. Everything is rounded so that rather something is read twice than not at all: starts go back to a
//! multiple of the granularity, local times that the clocks show twice go back before both, a cursor in the future
//! counts as now. The ledger keeps rows that come again from being delivered again.
//!
//! A position may be saved only when all rows before it have a final state; what is kept holds times, numbers and
//! hashes of settings, and nothing of a record.

mod config;
mod cursor;
mod format;
mod plan;
mod state;
#[cfg(test)]
mod tests;
mod windows;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone, db};
use serde_json::Value;

pub use self::config::{CursorConfig, CursorFormat, FullRefresh, IncrementalConfig, OnChange};
use self::cursor::Cursor;
pub(super) use self::cursor::Seen;
use self::format::Format;
pub(super) use self::plan::Plan;
#[cfg(test)]
use self::plan::Why;
use self::state::At;
use super::json_path::SinglePath;
use super::template::{Kind, Names, Uses};
use crate::config::{HumanDuration, Problems, suggestion};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// An `incremental:` block that was checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Incremental {
    cursor: Option<Cursor>,
    format: Format,
    initial: At,
    lookback: i64,
    delay: i64,
    window: Option<i64>,
    granularity: i64,
    start_exclusive: bool,
    end_inclusive: bool,
    full_refresh_every: Option<FullRefresh>,
    on_change: OnChange,
    /// Whether the request has `{end}`.
    asks_end: bool,
    /// Of its own settings, those that give a position its meaning.
    meaning: [(&'static str, String); 4],
}

impl IncrementalConfig {
    /// Checks the block; `problems` points at it. `uses` are the placeholders of all requests of the source.
    pub(super) fn compile(&self, uses: &Uses, problems: &mut Problems<'_>) -> Option<Incremental> {
        let before = problems.len();
        let zone = match &self.timezone {
            Some(name) => time_zone(name, &mut problems.at("timezone")),
            None => Some(TimeZone::UTC),
        };
        let zone = zone.unwrap_or(TimeZone::UTC);
        let integers = self.cursor_format == CursorFormat::Integer;
        if matches!(self.cursor, CursorConfig::RunTime) && self.cursor_format != CursorFormat::Iso8601 {
            problems.at("cursor_format").add_with_hint(
                "there is no cursor in the records",
                "`cursor: $.path` says where it is",
            );
        }
        let format = Format::new(&self.format, &zone, &mut problems.at("format"));
        let unit = format.as_ref().map_or(1, |format| format.unit);
        let initial = self.initial(&zone, &mut problems.at("initial"));
        let mut length = |key: &str, value: Option<HumanDuration>| {
            value.map(|value| {
                let ms = i64::try_from(value.0.as_millis()).unwrap_or(i64::MAX);
                if ms > 200 * 366 * DAY {
                    problems.at(key).add("longer than 200 years");
                }
                ms.min(200 * 366 * DAY)
            })
        };
        let lookback = length("lookback", self.lookback);
        let delay = length("delay", self.delay);
        let window = length("window", self.window);
        let granularity = length("granularity", self.granularity);
        let granularity = match granularity {
            Some(given) if given < unit || given % unit != 0 => {
                problems.at("granularity").add(format!(
                    "it is no multiple of what `format` can tell apart ({})",
                    shown(unit)
                ));
                unit
            }
            Some(given) => given,
            None => unit,
        };
        if let Some(window) = window
            && (window < granularity || window % granularity != 0)
        {
            problems.at("window").add_with_hint(
                format!(
                    "it is no multiple of the granularity ({}): windows would overlap or leave a gap",
                    shown(granularity)
                ),
                "give a multiple, or a finer `format`",
            );
        }
        let asks_end = uses.contains("end");
        self.check_uses(uses, integers, problems);
        if let Some(every) = self.full_refresh_every {
            let mut here = problems.at("full_refresh_every");
            match (every.runs, every.every) {
                (Some(0 | 1), None) => here.at("runs").add("expected a number from 2 on"),
                (Some(_), None) => {}
                (None, Some(every)) if every.0.is_zero() => {
                    here.at("every").add("expected more than nothing");
                }
                (None, Some(_)) => {}
                _ => here.add("give `runs` or `every`"),
            }
        }
        if problems.len() > before {
            return None;
        }
        let cursor = match &self.cursor {
            CursorConfig::RunTime => None,
            CursorConfig::Path(path) => Some(Cursor {
                path: path.clone(),
                format: self.cursor_format.clone(),
                zone,
            }),
        };
        Some(Incremental {
            meaning: [
                (
                    "cursor",
                    cursor
                        .as_ref()
                        .map_or_else(|| "run_time".to_owned(), |cursor| cursor.path.to_string()),
                ),
                ("cursor_format", format!("{:?}", self.cursor_format)),
                ("timezone", self.timezone.clone().unwrap_or_default()),
                ("initial", self.initial.to_string()),
            ],
            cursor,
            format: format?,
            initial: initial?,
            lookback: lookback.unwrap_or(0),
            delay: delay.unwrap_or(0),
            window,
            granularity,
            start_exclusive: self.start_exclusive,
            end_inclusive: self.end_inclusive,
            full_refresh_every: self.full_refresh_every,
            on_change: self.on_change,
            asks_end,
        })
    }

    fn initial(&self, zone: &TimeZone, problems: &mut Problems<'_>) -> Option<At> {
        let integers = self.cursor_format == CursorFormat::Integer;
        let read = match &self.initial {
            Value::Number(number) if integers => number.as_i64().map(At::Number),
            Value::String(text) if !integers => cursor::iso8601(text, zone).map(At::Time),
            _ => None,
        };
        if read.is_none() {
            problems.add_with_hint(
                if integers {
                    "expected a whole number"
                } else {
                    "expected a date or a date-time of ISO 8601"
                },
                if integers {
                    "such as 0, to begin with the first"
                } else {
                    "such as `2020-01-01` or `2020-01-01T00:00:00Z`"
                },
            );
        }
        read
    }

    fn check_uses(&self, uses: &Uses, integers: bool, problems: &mut Problems<'_>) {
        if !uses.contains("start") {
            problems.add_with_hint(
                "no request uses `{start}`: everything would be read in every run",
                "write `{start}` where the service takes it, such as `query: {since: \"{start}\"}`",
            );
        }
        let asks_end = uses.contains("end");
        if !asks_end {
            for (key, given, without) in [
                (
                    "window",
                    self.window.is_some(),
                    "every window would be read to the end",
                ),
                ("delay", self.delay.is_some(), "what is newer would be read too"),
                ("end_inclusive", self.end_inclusive, "there is no end"),
            ] {
                if given && !integers {
                    problems.at(key).add_with_hint(
                        format!("no request uses `{{end}}`: {without}"),
                        "write `{end}` where the service takes it, such as `query: {until: \"{end}\"}`",
                    );
                }
            }
        }
        if integers {
            for (key, given) in [
                ("lookback", self.lookback.is_some()),
                ("delay", self.delay.is_some()),
                ("window", self.window.is_some()),
                ("granularity", self.granularity.is_some()),
                ("start_exclusive", self.start_exclusive),
                ("end_inclusive", self.end_inclusive),
                ("timezone", self.timezone.is_some()),
                ("format", self.format != "iso_z"),
            ] {
                if given {
                    problems
                        .at(key)
                        .add("it is about times, and with `cursor_format: integer` there are none");
                }
            }
            if asks_end {
                problems.add("a request uses `{end}`, and with `cursor_format: integer` there is none");
            }
        }
    }
}

impl Incremental {
    /// Adds the placeholders it gives.
    pub(super) fn names(names: &mut Names) {
        names.add("start", Kind::Window);
        names.add("end", Kind::Window);
    }

    /// Where the cursor is in a record, if there is one: [`Plan::observe`] wants what is there.
    pub(super) fn cursor(&self) -> Option<&SinglePath> {
        self.cursor.as_ref().map(|cursor| &cursor.path)
    }
}

/// A length as people write it.
fn shown(ms: i64) -> HumanDuration {
    HumanDuration(std::time::Duration::from_millis(ms.unsigned_abs()))
}

fn time_zone(name: &str, problems: &mut Problems<'_>) -> Option<TimeZone> {
    if name.starts_with(['+', '-']) {
        // Read as the offset of some time.
        let offset = format!("1970-01-01T12:00{name}");
        let sound = name.len() == 6 && offset.parse::<Timestamp>().is_ok();
        let seconds = || {
            let hours: i32 = name[1..3].parse().ok()?;
            let minutes: i32 = name[4..6].parse().ok()?;
            let sign = if name.starts_with('-') { -1 } else { 1 };
            Some(sign * (hours * 3600 + minutes * 60))
        };
        let zone = sound
            .then(seconds)
            .flatten()
            .and_then(|seconds| Offset::from_seconds(seconds).ok())
            .map(TimeZone::fixed);
        if zone.is_none() {
            problems.add_with_hint(format!("`{name}` is no offset"), "write `+hh:mm` or `-hh:mm`");
        }
        return zone;
    }
    if name.eq_ignore_ascii_case("utc") {
        return Some(TimeZone::UTC);
    }
    match TimeZone::get(name) {
        Ok(zone) if !zone.is_unknown() => Some(zone),
        _ => {
            let names: Vec<_> = db().available().map(|name| name.as_str().to_owned()).collect();
            let near = suggestion(name, names.iter().map(String::as_str));
            problems.add_with_hint(
                format!("`{name}` is no time zone"),
                near.unwrap_or_else(|| {
                    "give an IANA name such as `America/New_York`, or a fixed offset such as `+02:00`"
                        .to_owned()
                }),
            );
            None
        }
    }
}
