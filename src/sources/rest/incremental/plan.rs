//! One run: what it requests, and how far it came.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::super::template::Values;
use super::cursor::Seen;
use super::format::DAY;
use super::state::{State, hashed};
use super::{FullRefresh, Incremental};
use crate::error::{Error, ErrorKind, Result};

/// More windows in one run are a mistake.
const MAX_WINDOWS: u64 = 100_000;
/// Milliseconds that a position may lie in the future: a clock was adjusted.
const CLOCK_TOLERANCE: i64 = 5 * 60_000;

/// Why a run starts where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum StartReason {
    FirstRun,
    Continues,
    FullRefreshDue,
    /// Continues an interrupted full run.
    Resumed,
    /// These settings differ from those of the position.
    SettingsChanged(Vec<String>),
}

impl StartReason {
    /// Whether everything will have been read at the end, in this run or in the ones that it continues.
    pub(in super::super) fn is_full(&self) -> bool {
        *self != Self::Continues
    }
}

impl fmt::Display for StartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstRun => f.write_str("no position yet: reading everything from `initial`"),
            Self::Continues => f.write_str("reading what is new since the last position"),
            Self::FullRefreshDue => f.write_str("a full run is due: reading everything from `initial`"),
            Self::Resumed => f.write_str("resuming an interrupted full run"),
            Self::SettingsChanged(names) => write!(
                f,
                "the position belongs to other settings (`{}`): reading everything from `initial`",
                names.join("`, `")
            ),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Window {
    pub(in super::super) values: Values,
    /// For messages, such as `2024-05-01 to 2024-05-07`.
    pub(in super::super) shown: String,
}

/// A span of an axis in windows of equal length, the last one shorter: each point is in exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Windows {
    start: i64,
    end: i64,
    length: i64,
}

impl Windows {
    /// Splits `start` (inclusive) to `end` (exclusive); no length means one window.
    fn new(start: i64, end: i64, length: Option<i64>) -> Self {
        let end = end.max(start);
        let length = length.unwrap_or(end.saturating_sub(start)).max(1);
        Self { start, end, length }
    }

    fn len(&self) -> u64 {
        self.end.abs_diff(self.start).div_ceil(self.length.unsigned_abs())
    }

    fn get(&self, index: u64) -> Option<(i64, i64)> {
        if index >= self.len() {
            return None;
        }
        let offset = i64::try_from(index).ok()?.checked_mul(self.length)?;
        let start = self.start.checked_add(offset)?;
        Some((start, start.saturating_add(self.length).min(self.end)))
    }
}

/// What one run requests, and how far it came. See the [module](super).
#[derive(Debug, Clone)]
pub(in super::super) struct Plan {
    incremental: Incremental,
    pub(in super::super) why: StartReason,
    now: Timestamp,
    state: State,
    windows: Windows,
    /// Cursors of records that were read completely.
    pub(in super::super) seen: Seen,
}

impl Incremental {
    /// Starts a run at `now` from the saved position. `settings_of_source` are the source's settings that give a
    /// position its meaning, such as base URL and path.
    pub(in super::super) fn begin(
        &self,
        saved: Option<&str>,
        settings_of_source: &[(&str, &str)],
        now: Timestamp,
    ) -> Result<Plan> {
        if self.initial > now {
            return Err(
                Error::config(format!("`initial` ({}) is in the future", self.initial))
                    .with_hint("check the clock of this machine"),
            );
        }
        let cursor = self.config.cursor.as_ref();
        let cursor = cursor.map_or("run_time".to_owned(), ToString::to_string);
        let own = [
            ("cursor", &*cursor),
            ("timezone", self.config.timezone.name()),
            ("initial", &*self.config.initial),
        ];
        let settings = hashed(own.into_iter().chain(settings_of_source.iter().copied()));
        let full = |of| State::full(self.initial, now, of);
        let (why, state) = match saved.map(State::read).transpose()? {
            None => (StartReason::FirstRun, full(settings)),
            Some(state) => {
                let changed = state.changed(&settings);
                if changed.is_empty() {
                    self.resume(state, now)?
                } else {
                    (StartReason::SettingsChanged(changed), full(settings))
                }
            }
        };
        let windows = self.windows(state.at, now);
        if windows.len() > MAX_WINDOWS {
            return Err(Error::config(format!(
                "the run would request {} windows, more than {MAX_WINDOWS}",
                windows.len()
            ))
            .with_hint("set a later `initial`, or a longer `window`"));
        }
        Ok(Plan {
            incremental: self.clone(),
            why,
            now,
            state,
            windows,
            seen: Seen::default(),
        })
    }

    fn resume(&self, mut state: State, now: Timestamp) -> Result<(StartReason, State)> {
        let at = state.at;
        if at.as_millisecond() > now.as_millisecond().saturating_add(CLOCK_TOLERANCE) {
            return Err(Error::new(
                ErrorKind::Guard,
                format!("the last run came to {at}, and now is {now}: the clock was wrong then or is wrong now"),
            )
            .with_hint("set the clock of this machine")
            .with_hint(
                "if it was wrong then, changes made in the meantime were not read: change `initial` to read from there",
            ));
        }
        if state.filling.is_some() {
            return Ok((StartReason::Resumed, state));
        }
        if self.is_full_refresh_due(&state, now) {
            state.at = self.initial;
            state.filling = Some(now);
            return Ok((StartReason::FullRefreshDue, state));
        }
        Ok((StartReason::Continues, state))
    }

    fn is_full_refresh_due(&self, state: &State, now: Timestamp) -> bool {
        match self.config.full_refresh_every {
            None => false,
            Some(FullRefresh { runs: Some(runs), .. }) => {
                u64::from(state.runs.saturating_add(1)) >= runs.get()
            }
            Some(FullRefresh { every, .. }) => every.is_some_and(|every| match state.full {
                Some(full) => {
                    let passed = now.as_millisecond().saturating_sub(full.as_millisecond());
                    u128::try_from(passed).is_ok_and(|passed| passed >= every.get().as_millis())
                }
                None => true,
            }),
        }
    }

    /// The end of what is requested, in milliseconds.
    fn until(&self, now: Timestamp) -> i64 {
        now.as_millisecond().saturating_sub(self.delay)
    }

    fn windows(&self, at: Timestamp, now: Timestamp) -> Windows {
        let unit = self.format.unit;
        let floor = |point: i64| point - point.rem_euclid(unit);
        let start = at
            .as_millisecond()
            .saturating_sub(self.lookback)
            .max(self.initial.as_millisecond());
        let start = floor(self.format.point(start));
        let until = self.format.point(self.until(now));
        // Today's records are wanted although the day is not over, unless `delay` excludes them.
        let end = if unit >= DAY && self.delay == 0 && until != floor(until) {
            floor(until) + unit
        } else {
            floor(until)
        };
        if self.uses_end {
            return Windows::new(start, end, self.window);
        }
        // Without an end there is always something to request.
        Windows::new(start, end.max(start.saturating_add(1)), None)
    }
}

impl Plan {
    /// The number of windows; 0 if nothing can be new.
    pub(in super::super) fn len(&self) -> u64 {
        self.windows.len()
    }

    /// The window with this index.
    pub(in super::super) fn window(&self, index: u64) -> Result<Window> {
        let (start, end) = self
            .windows
            .get(index)
            .ok_or_else(|| Error::unexpected("there is no such window"))?;
        let format = &self.incremental.format;
        let (start, end) = (format.write(start)?, format.write(end)?);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let shown = if self.incremental.uses_end {
            format!("{} to {}", text(&start), text(&end))
        } else {
            format!("from {}", text(&start))
        };
        let mut values = Values::default();
        values.set(Arc::from("start"), start);
        values.set(Arc::from("end"), end);
        Ok(Window { values, shown })
    }

    /// Adds the cursor of a record to `seen`, if there is one.
    /// An error names the path, never the value.
    pub(in super::super) fn observe(&self, seen: &mut Seen, value: Option<&Value>) -> Result<()> {
        let config = &self.incremental.config;
        match &config.cursor {
            Some(path) => seen.observe(value, path, config.timezone.zone(), self.now),
            None => Ok(()),
        }
    }

    /// The position to save once all rows up to the end of this window have an outcome. Requires that the cursors of
    /// these windows were [merged](Self::merge), and none of a later one.
    pub(in super::super) fn after_window(&self, index: u64) -> Result<String> {
        if index.saturating_add(1) >= self.len() {
            return self.finished();
        }
        let mut state = self.state.clone();
        state.at = self.reached(Some(index))?;
        if state.filling.is_none() {
            state.at = state.at.max(self.state.at);
        }
        state.write()
    }

    /// The position to save once all rows of the run have an outcome.
    pub(in super::super) fn finished(&self) -> Result<String> {
        let mut state = self.state.clone();
        state.at = self.reached(None)?.max(self.state.at);
        match state.filling.take() {
            Some(started) => {
                state.full = Some(started);
                state.runs = 0;
            }
            None => state.runs = state.runs.saturating_add(1),
        }
        state.write()
    }

    /// How far the run came after this window, or after all.
    fn reached(&self, window: Option<u64>) -> Result<Timestamp> {
        let last = self.len().checked_sub(1);
        let Some((start, end)) = window.or(last).and_then(|index| self.windows.get(index)) else {
            return Ok(self.state.at);
        };
        let until = Timestamp::from_millisecond(self.incremental.until(self.now))
            .map_err(|error| Error::config("`delay` is out of range").with_source(error))?;
        let end = match window {
            None if !self.incremental.uses_end => until,
            _ => self.incremental.format.instant(end)?.min(until),
        };
        if self.incremental.config.cursor.is_none() {
            return Ok(end);
        }
        // The service's clock decides: a window without records may not be over there.
        let start = self.incremental.format.instant(start)?.min(until);
        let latest = if window.is_none() || window == last {
            self.now
        } else {
            end
        };
        Ok(match self.seen.greatest {
            Some(seen) => seen.min(latest).max(start),
            None => start,
        })
    }
}
