//! One run: what it asks for, and how far it came.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::super::template::{Filling, Values};
use super::cursor::Seen;
use super::format::Axis;
use super::state::{At, Settings, State, settings};
use super::windows::{Windows, ceil, floor};
use super::{DAY, FullRefresh, Incremental, OnChange};
use crate::error::{Error, ErrorKind, Result};

/// More windows than this in one run are a mistake.
const MOST_WINDOWS: u64 = 100_000;
/// A position so little after now is a clock that was set right; milliseconds.
const TOLERANCE: i64 = 5 * 60_000;

/// Why a run begins where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Why {
    /// Nothing was kept: the first run.
    First,
    /// It goes on from the last position.
    GoesOn,
    /// A full run is due.
    Due,
    /// A full run was broken off, and goes on.
    Resumed,
    /// These settings are others than those of the position, which is not used.
    Changed(Vec<String>),
}

impl Why {
    /// Whether all there is will have been read at the end, here or in the runs that it goes on from.
    pub(in super::super) fn is_full(&self) -> bool {
        *self != Self::GoesOn
    }
}

/// For the log.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("there is no position yet: everything is read, from `initial`"),
            Self::GoesOn => f.write_str("what is new since the last position is read"),
            Self::Due => f.write_str("a full run is due: everything is read, from `initial`"),
            Self::Resumed => f.write_str("a full run that was broken off goes on"),
            Self::Changed(names) => {
                f.write_str("the position was kept for other settings (")?;
                for (at, name) in names.iter().enumerate() {
                    write!(f, "{}`{name}`", if at > 0 { ", " } else { "" })?;
                }
                f.write_str(") and is not used: everything is read, from `initial`")
            }
        }
    }
}

/// One span to ask for.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Window {
    /// `{start}` and `{end}`.
    pub(in super::super) values: Values,
    /// For messages, such as `2024-05-01 to 2024-05-07`.
    pub(in super::super) shown: String,
}

/// What one run asks for, and how far it came. See the [module](super).
#[derive(Debug, Clone)]
pub(in super::super) struct Plan {
    incremental: Incremental,
    why: Why,
    now: Timestamp,
    state: State,
    axis: Axis,
    /// `None` for numbers.
    windows: Option<Windows>,
    seen: Seen,
}

impl Incremental {
    /// Begins a run at `now`, with the position that was saved last. `settings` are names and values that give the
    /// position its meaning besides this block's own, such as base URL and path: a position of others is not used.
    ///
    /// # Errors
    /// The position cannot be read, lies in the future, or belongs to other settings where that is an error; or there
    /// would be too many windows.
    pub(in super::super) fn begin(
        &self,
        saved: Option<&str>,
        settings_of_source: &[(&str, &str)],
        now: Timestamp,
    ) -> Result<Plan> {
        let own = self.meaning.iter().map(|(name, value)| (*name, value.clone()));
        let others = settings_of_source
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let of = settings(own.chain(others));
        if let At::Time(initial) = self.initial
            && initial > now
        {
            return Err(Error::config(format!("`initial` ({initial}) is in the future"))
                .with_hint("check the clock of this machine"));
        }
        let (why, state) = self.judge(saved, of, now)?;
        let axis = self.format.axis(self.granularity);
        let windows = self.windows(state.at, &axis, now);
        if let Some(windows) = &windows
            && windows.len() > MOST_WINDOWS
        {
            return Err(Error::config(format!(
                "the run would ask for {} windows, more than {MOST_WINDOWS}",
                windows.len()
            ))
            .with_hint("give a later `initial`, or a longer `window`"));
        }
        Ok(Plan {
            incremental: self.clone(),
            why,
            now,
            state,
            axis,
            windows,
            seen: Seen::default(),
        })
    }

    /// Why this run begins where it does, and the state it begins with.
    fn judge(&self, saved: Option<&str>, of: Settings, now: Timestamp) -> Result<(Why, State)> {
        let anew = |of| {
            let mut state = State::new(self.initial, of);
            state.filling = Some(now);
            state
        };
        let Some(saved) = saved else {
            return Ok((Why::First, anew(of)));
        };
        let state = State::read(saved)?;
        let changed = state.changed(&of);
        if !changed.is_empty() {
            if self.on_change == OnChange::Error {
                return Err(Error::new(
                    ErrorKind::Guard,
                    format!(
                        "the position in the ledger was kept for other settings ({}), and may mean something else now",
                        changed.join(", ")
                    ),
                )
                .with_hint("set them back; or `on_change: restart` for one run, which reads everything from `initial`"));
            }
            return Ok((Why::Changed(changed), anew(of)));
        }
        // A position of the wrong kind has other settings too: `cursor_format` is one of them.
        if let At::Time(at) = state.at
            && at.as_millisecond() > now.as_millisecond().saturating_add(TOLERANCE)
        {
            return Err(Error::new(
                ErrorKind::Guard,
                format!("the last run came to {at}, and now is {now}: a clock was wrong, then or now"),
            )
            .with_hint("set the clock of this machine right")
            .with_hint("if it was wrong then, what changed meanwhile was not read: change `initial` to read from there"));
        }
        if state.filling.is_some() {
            return Ok((Why::Resumed, state));
        }
        if self.is_due(&state, now) {
            let mut state = state;
            state.at = self.initial;
            state.filling = Some(now);
            return Ok((Why::Due, state));
        }
        Ok((Why::GoesOn, state))
    }

    fn is_due(&self, state: &State, now: Timestamp) -> bool {
        match self.full_refresh_every {
            None => false,
            Some(FullRefresh { runs: Some(runs), .. }) => state.runs.saturating_add(1) >= runs,
            Some(FullRefresh { every, .. }) => every.is_some_and(|every| match state.full {
                Some(full) => {
                    let passed = now.as_millisecond().saturating_sub(full.as_millisecond());
                    u128::try_from(passed).is_ok_and(|passed| passed >= every.0.as_millis())
                }
                None => true,
            }),
        }
    }

    /// The end of what is asked for, in milliseconds.
    fn until(&self, now: Timestamp) -> i64 {
        now.as_millisecond().saturating_sub(self.delay)
    }

    fn windows(&self, at: At, axis: &Axis, now: Timestamp) -> Option<Windows> {
        let (At::Time(at), At::Time(initial)) = (at, self.initial) else {
            return None;
        };
        let start = at
            .as_millisecond()
            .saturating_sub(self.lookback)
            .max(initial.as_millisecond());
        let start = floor(axis.point(start), self.granularity);
        let until = axis.point(self.until(now));
        // Of a day that is not over, what is there so far is wanted; unless nothing may be newer than the delay says.
        let end = if self.granularity >= DAY && self.delay == 0 {
            ceil(until, self.granularity)
        } else {
            floor(until, self.granularity)
        };
        if self.asks_end {
            return Some(Windows::new(start, end, self.window));
        }
        // Without an end there is always something to ask for.
        Some(Windows::new(start, end.max(start.saturating_add(1)), None))
    }
}

impl Plan {
    /// Why the run begins where it does.
    pub(in super::super) fn why(&self) -> &Why {
        &self.why
    }

    /// How many windows there are, asked one after another; none if nothing can be new.
    pub(in super::super) fn len(&self) -> u64 {
        self.windows.map_or(1, |windows| windows.len())
    }

    /// The window with this index.
    ///
    /// # Errors
    /// A time that the format cannot write.
    pub(in super::super) fn window(&self, index: u64) -> Result<Window> {
        let past = || Error::unexpected("there is no such window");
        let (start, end) = match (self.windows, self.state.at) {
            (Some(windows), _) => {
                let (start, end) = windows.get(index).ok_or_else(past)?;
                let step = self.incremental.granularity;
                let start = if self.incremental.start_exclusive {
                    start - step
                } else {
                    start
                };
                let end = if self.incremental.end_inclusive {
                    end - step
                } else {
                    end
                };
                let format = &self.incremental.format;
                (
                    format.write(start, &self.axis)?,
                    Some(format.write(end, &self.axis)?),
                )
            }
            (None, At::Number(number)) => (number.into(), None),
            (None, At::Time(_)) => return Err(past()),
        };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let shown = match &end {
            Some(end) if self.incremental.asks_end => format!("{} to {}", text(&start), text(end)),
            _ => format!("from {}", text(&start)),
        };
        let mut values = Values::default();
        values.set(Arc::from("start"), Filling::One(start));
        if let Some(end) = end {
            values.set(Arc::from("end"), Filling::One(end));
        }
        Ok(Window { values, shown })
    }

    /// Takes what is at [`Incremental::cursor`] in a record into `seen`; does nothing if the cursor is the run's time.
    ///
    /// # Errors
    /// It is no cursor. The path is named, the value is not.
    pub(in super::super) fn observe(&self, seen: &mut Seen, value: Option<&Value>) -> Result<()> {
        match &self.incremental.cursor {
            Some(cursor) => seen.observe(cursor, value, self.now),
            None => Ok(()),
        }
    }

    /// Takes over what was seen in a part that was read to its end.
    pub(in super::super) fn merge(&mut self, seen: &Seen) {
        self.seen.merge(seen);
    }

    /// What was seen in all parts.
    pub(in super::super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The position once all rows of the windows up to this one have a final state: to be saved then. What was seen in
    /// them must have been [merged](Self::merge), and nothing of a later window.
    ///
    /// # Errors
    /// It cannot be written.
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

    /// The position once all rows of the run have a final state: to be saved then.
    ///
    /// # Errors
    /// It cannot be written.
    pub(in super::super) fn finished(&self) -> Result<String> {
        let mut state = self.state.clone();
        state.at = self.reached(None)?.max(self.state.at);
        match state.filling.take() {
            Some(begun) => {
                state.full = Some(begun);
                state.runs = 0;
            }
            None => state.runs = state.runs.saturating_add(1),
        }
        state.write()
    }

    /// How far the run came after this window, or after all.
    fn reached(&self, window: Option<u64>) -> Result<At> {
        let Some(windows) = self.windows else {
            return Ok(self.seen.greatest.unwrap_or(self.state.at));
        };
        let last = windows.len().checked_sub(1);
        let Some((start, end)) = window.or(last).and_then(|index| windows.get(index)) else {
            return Ok(self.state.at);
        };
        let until = Timestamp::from_millisecond(self.incremental.until(self.now))
            .map_err(|error| Error::config("`delay` is out of range").with_source(error))?;
        let end = match window {
            None if !self.incremental.asks_end => until,
            _ => self.axis.instant(end)?.min(until),
        };
        if self.incremental.cursor.is_none() {
            return Ok(At::Time(end));
        }
        // The service's clock counts here: a window without any record may not be over there.
        let start = self.axis.instant(start)?.min(until);
        let most = if window.is_none() || window == last {
            self.now
        } else {
            end
        };
        Ok(match self.seen.greatest {
            Some(At::Time(seen)) => At::Time(seen.min(most).max(start)),
            _ => At::Time(start),
        })
    }
}
