//! Where the sinks of a run wait for one another. See the [module](super).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::guards::{self, Figures, GuardOutcome, GuardsReport, Judge, Judged};
use crate::error::Error;

/// Opens when the figures of all sinks are there and no guard was tripped; for all of them or for none.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Shared>);

struct Shared {
    judge: Judge,
    cancel: CancellationToken,
    state: Mutex<State>,
    /// Set once and for good.
    verdict: watch::Sender<Option<Verdict>>,
}

struct State {
    /// Of each sink that has its rows.
    figures: Vec<Option<Figures>>,
    /// What the guards said, once they were asked.
    judged: Option<Vec<Judged>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Open,
    Closed,
}

/// One sink's place at the gate. Left without an answer, it closes the gate: a sink that does not have all its rows
/// cannot be judged.
pub(crate) struct Seat {
    shared: Arc<Shared>,
    index: usize,
    has_asked: bool,
}

/// The gate's answer to one sink.
#[derive(Debug)]
pub(super) enum Ruling {
    /// Send.
    Open,
    /// Send nothing: this sink's guards were tripped.
    Tripped(Error),
    /// Send nothing, for a reason that another has.
    Closed,
}

impl Gate {
    /// A gate for the sinks of `judge`, with a seat for each, in their order. It stays closed when `cancel`, the run's,
    /// is cancelled before it opens.
    pub(crate) fn new(judge: Judge, cancel: CancellationToken) -> (Self, Vec<Seat>) {
        let sinks = judge.sinks.len();
        let shared = Arc::new(Shared {
            judge,
            cancel,
            state: Mutex::new(State {
                figures: vec![None; sinks],
                judged: None,
            }),
            verdict: watch::Sender::new(None),
        });
        let seats = (0..sinks)
            .map(|index| Seat {
                shared: shared.clone(),
                index,
                has_asked: false,
            })
            .collect();
        (Self(shared), seats)
    }

    /// What the guards said; every one as not judged when the run ended before they were asked.
    pub(crate) fn report(&self) -> GuardsReport {
        let judged = self.0.state().judged.clone();
        GuardsReport {
            staged: true,
            judged: judged.unwrap_or_else(|| {
                self.0
                    .judge
                    .not_judged("the run stopped before all rows were there")
            }),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the gate if nobody has asked for all yet.
    fn close(&self) {
        self.settle(Verdict::Closed);
    }

    fn settle(&self, verdict: Verdict) {
        self.verdict.send_if_modified(|settled| {
            let first = settled.is_none();
            settled.get_or_insert(verdict);
            first
        });
    }

    /// Takes a sink's figures; the last one's have the guards judged.
    fn report(&self, index: usize, figures: Figures) {
        let mut state = self.state();
        if let Some(place) = state.figures.get_mut(index) {
            *place = Some(figures);
        }
        let Some(all) = state.figures.iter().copied().collect::<Option<Vec<_>>>() else {
            return;
        };
        if self.cancel.is_cancelled() || self.verdict.borrow().is_some() {
            return self.close();
        }
        let judged = self.judge.judge(&all);
        let mut verdict = Verdict::Open;
        for one in &judged {
            match one.outcome {
                GuardOutcome::Tripped => verdict = Verdict::Closed,
                GuardOutcome::Allowed => {
                    tracing::warn!(sink = one.sink, guard = %one.guard, "guard let through by hand: {}", one.why);
                }
                GuardOutcome::NotJudged => {
                    tracing::warn!(sink = one.sink, guard = %one.guard, "guard not judged: {}", one.why);
                }
                GuardOutcome::Passed => {
                    tracing::debug!(sink = one.sink, guard = %one.guard, "guard passed: {}", one.why);
                }
            }
        }
        state.judged = Some(judged);
        self.settle(verdict);
    }
}

impl Seat {
    /// Cancelled when the run must stop.
    pub(super) fn cancel(&self) -> &CancellationToken {
        &self.shared.cancel
    }

    /// The limit of `max_rows_per_person`, if it is to be judged for this sink.
    pub(super) fn max_rows_per_person(&self) -> Option<u64> {
        self.shared
            .judge
            .sinks
            .get(self.index)?
            .guards
            .max_rows_per_person
    }

    /// The most rows with which this sink's guards can pass.
    pub(super) fn most_rows(&self) -> u64 {
        self.shared.judge.most_rows(self.index)
    }

    /// Whether it is known already that nothing will be sent.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.cancel.is_cancelled() || *self.shared.verdict.borrow() == Some(Verdict::Closed)
    }

    /// Hands in the figures and waits for the answer to all.
    pub(super) async fn ask(mut self, figures: Figures) -> Ruling {
        self.has_asked = true;
        let mut verdict = self.shared.verdict.subscribe();
        self.shared.report(self.index, figures);
        tokio::select! {
            biased;
            _ = verdict.wait_for(Option::is_some) => {}
            () = self.shared.cancel.cancelled() => self.shared.close(),
        }
        // Settled either way, here or, in between, by the last who asked: the answer is the same for all.
        if *self.shared.verdict.borrow() == Some(Verdict::Open) {
            return Ruling::Open;
        }
        let state = self.shared.state();
        let sink = self.shared.judge.sinks.get(self.index);
        match (sink, &state.judged) {
            (Some(guarded), Some(judged)) => {
                guards::tripped(&guarded.sink, judged).map_or(Ruling::Closed, Ruling::Tripped)
            }
            _ => Ruling::Closed,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.has_asked {
            self.shared.close();
        }
    }
}
