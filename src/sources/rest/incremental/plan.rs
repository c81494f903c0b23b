//! One run: what it requests, and how far it came.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::super::template::Values;
use super::cursor::{self, Seen};
use super::format::DAY;
use super::state::{State, hashed};
use super::{FullRefresh, Incremental};
use crate::error::{Error, ErrorKind, Result};

/// More windows in one run are a mistake.
const MAX_WINDOWS: u64 = 100_000;
/// Milliseconds that a position may lie in the future: a clock was adjusted.
const CLOCK_TOLERANCE: i64 = 5 * 60_000;

#[derive(Debug, Clone)]
pub(in super::super) struct Plan {
    incremental: Incremental,
    /// Why the run starts where it does, for the log.
    pub(in super::super) why: String,
    now: Timestamp,
    state: State,
    /// Start (inclusive) and end (exclusive) of each request, on the line of the format.
    windows: Vec<(i64, i64)>,
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
            let message = format!("`initial` ({}) is in the future", self.initial);
            return Err(Error::config(message).with_hint("check the clock of this machine"));
        }
        let cursor = self.config.cursor.as_ref();
        let cursor = cursor.map_or("run_time".to_owned(), ToString::to_string);
        let own = [
            ("cursor", &*cursor),
            ("timezone", self.config.timezone.name()),
            ("initial", &*self.config.initial),
        ];
        let settings = hashed(own.into_iter().chain(settings_of_source.iter().copied()));
        let saved = saved.map(State::read).transpose()?;
        let changed = saved.as_ref().map(|state| state.changed(&settings).join("`, `"));
        let (why, state) = match (saved, changed.unwrap_or_default()) {
            (Some(mut state), changed) if changed.is_empty() => {
                (self.resume(&mut state, now)?.to_owned(), state)
            }
            (saved, changed) => {
                let why = match saved {
                    None => "no position yet".to_owned(),
                    Some(_) => format!("the position belongs to other settings (`{changed}`)"),
                };
                let why = why + ": reading everything from `initial`";
                (why, State::full(self.initial, now, settings))
            }
        };
        Ok(Plan {
            incremental: self.clone(),
            why,
            now,
            windows: self.windows(state.at, now)?,
            state,
            seen: Seen::default(),
        })
    }

    fn resume(&self, state: &mut State, now: Timestamp) -> Result<&'static str> {
        let at = state.at;
        if at.as_millisecond() > now.as_millisecond().saturating_add(CLOCK_TOLERANCE) {
            return Err(Error::new(
                ErrorKind::Guard,
                format!("the last run read up to {at}, which is later than now ({now}): the clock was wrong then or is wrong now"),
            )
            .with_hint("set the clock of this machine")
            .with_hint(
                "if it was wrong then, changes made in the meantime were not read: change `initial` to read from there",
            ));
        }
        if state.filling.is_some() {
            return Ok("resuming an interrupted full run");
        }
        if self.is_full_refresh_due(state, now) {
            state.at = self.initial;
            state.filling = Some(now);
            return Ok("a full run is due: reading everything from `initial`");
        }
        Ok("reading what is new since the last position")
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

    /// Windows of equal length, the last one shorter: each point is in exactly one.
    fn windows(&self, at: Timestamp, now: Timestamp) -> Result<Vec<(i64, i64)>> {
        let unit = self.format.unit;
        let floor = |point: i64| point - point.rem_euclid(unit);
        let start = at
            .as_millisecond()
            .saturating_sub(self.lookback)
            .max(self.initial.as_millisecond());
        let start = floor(self.format.point(start));
        let until = self.format.point(self.until(now));
        // Today's records are wanted although the day is not over, unless `delay` excludes them.
        let today = unit >= DAY && self.delay == 0 && until != floor(until);
        let end = floor(until) + if today { unit } else { 0 };
        if !self.uses_end {
            // Without an end there is always something to request.
            return Ok(vec![(start, end.max(start.saturating_add(1)))]);
        }
        let length = self.window.unwrap_or(i64::MAX);
        let count = end.saturating_sub(start).max(0).unsigned_abs();
        let count = count.div_ceil(length.unsigned_abs());
        if count > MAX_WINDOWS {
            let message = format!("the run would request {count} windows, more than {MAX_WINDOWS}");
            return Err(Error::config(message).with_hint("set a later `initial`, or a longer `window`"));
        }
        let starts = (start..end).step_by(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(starts
            .map(|start| (start, start.saturating_add(length).min(end)))
            .collect())
    }
}

impl Plan {
    /// Whether everything will have been read at the end, in this run or in the ones that it continues.
    pub(in super::super) fn is_full(&self) -> bool {
        self.state.filling.is_some()
    }

    pub(in super::super) fn len(&self) -> usize {
        self.windows.len()
    }

    /// The values of `{start}` and `{end}` in a window, and a text for messages, such as `2024-05-01 to 2024-05-07`.
    pub(in super::super) fn window(&self, index: usize) -> Result<(Values, String)> {
        let format = &self.incremental.format;
        let (start, end) = self.windows[index];
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
        Ok((values, shown))
    }

    /// Adds the cursor of a record to `seen`.
    pub(in super::super) fn observe(&self, seen: &mut Seen, value: Option<&Value>) -> Result<()> {
        let config = &self.incremental.config;
        let Some(path) = &config.cursor else {
            return Ok(());
        };
        match cursor::read(value, path, config.timezone.zone())? {
            None => seen.without += 1,
            Some(at) => {
                seen.with += 1;
                seen.future += u64::from(at > self.now);
                seen.greatest = seen.greatest.max(Some(at));
            }
        }
        Ok(())
    }

    /// The position to save once all rows up to the end of this window have an outcome. Requires that the cursors of
    /// these windows were merged into `seen`, and none of a later one.
    pub(in super::super) fn after_window(&self, index: usize) -> Result<String> {
        if index + 1 >= self.len() {
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
    fn reached(&self, window: Option<usize>) -> Result<Timestamp> {
        let last = self.len().checked_sub(1);
        let Some(&(start, end)) = window.or(last).and_then(|index| self.windows.get(index)) else {
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
        let is_last = window.is_none() || window == last;
        let latest = if is_last { self.now } else { end };
        let seen = self.seen.greatest.unwrap_or(start);
        Ok(seen.min(latest).max(start))
    }
}
