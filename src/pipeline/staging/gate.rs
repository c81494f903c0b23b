//! Where the sinks of a run wait for one another. See the [module](super).

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::guards::{self, Evaluated, Evaluator, Figures, GuardOutcome, GuardsReport};
use crate::error::Error;
use crate::settings::BoundedInt;

/// Opens when the figures of all sinks are in and no guard tripped; for all sinks or for none.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Shared>);

struct Shared {
    evaluator: Evaluator,
    cancel: CancellationToken,
    state: watch::Sender<State>,
}

struct State {
    /// By sink; set once it has all its rows.
    figures: Vec<Option<Figures>>,
    evaluated: Option<Vec<Evaluated>>,
    /// Set once.
    is_open: Option<bool>,
}

/// One sink at the gate. Dropped without figures, it closes the gate: a sink with half its rows cannot be evaluated.
pub(crate) struct Participant {
    shared: Arc<Shared>,
    index: usize,
    has_figures: bool,
}

#[derive(Debug)]
pub(super) enum Verdict {
    Open,
    /// Send nothing: guards of this sink tripped.
    Tripped(Error),
    /// Send nothing, for a reason that another sink has.
    Closed,
}

impl Gate {
    /// A gate and a participant for each sink of `evaluator`, in order. It stays closed when `cancel`, the run's, is
    /// cancelled before it opens.
    pub(crate) fn new(evaluator: Evaluator, cancel: CancellationToken) -> (Self, Vec<Participant>) {
        let sinks = evaluator.sinks.len();
        let shared = Arc::new(Shared {
            evaluator,
            cancel,
            state: watch::Sender::new(State {
                figures: vec![None; sinks],
                evaluated: None,
                is_open: None,
            }),
        });
        let participants = (0..sinks)
            .map(|index| Participant {
                shared: shared.clone(),
                index,
                has_figures: false,
            })
            .collect();
        (Self(shared), participants)
    }

    /// The result of every guard; `not_evaluated` when the run ended before all rows were in.
    pub(crate) fn report(&self) -> GuardsReport {
        let evaluated = self.0.state.borrow().evaluated.clone();
        let not_evaluated = || {
            self.0
                .evaluator
                .not_evaluated("the run stopped before all rows were received")
        };
        GuardsReport {
            staged: true,
            evaluated: evaluated.unwrap_or_else(not_evaluated),
        }
    }
}

impl Shared {
    /// The first call counts.
    fn decide(&self, open: bool) {
        self.state.send_modify(|state| {
            state.is_open.get_or_insert(open);
        });
    }

    /// Adds a sink's figures. With the last ones, the guards are evaluated.
    fn add(&self, index: usize, figures: Figures) {
        self.state.send_modify(|state| {
            if let Some(slot) = state.figures.get_mut(index) {
                *slot = Some(figures);
            }
            let Some(all) = state.figures.iter().copied().collect::<Option<Vec<_>>>() else {
                return;
            };
            if self.cancel.is_cancelled() || state.is_open.is_some() {
                state.is_open.get_or_insert(false);
                return;
            }
            let evaluated = self.evaluate(&all);
            let open = evaluated.iter().all(|one| one.outcome != GuardOutcome::Tripped);
            state.evaluated = Some(evaluated);
            state.is_open = Some(open);
        });
    }

    fn evaluate(&self, all: &[Figures]) -> Vec<Evaluated> {
        let evaluated = self.evaluator.evaluate(all);
        for one in &evaluated {
            let (sink, guard, why) = (&one.sink, one.guard, &one.why);
            match one.outcome {
                GuardOutcome::Tripped => {}
                GuardOutcome::Allowed => {
                    tracing::warn!(sink, %guard, "guard tripped and allowed with --allow: {why}");
                }
                GuardOutcome::NotEvaluated => tracing::warn!(sink, %guard, "guard not evaluated: {why}"),
                GuardOutcome::Passed => tracing::debug!(sink, %guard, "guard passed: {why}"),
            }
        }
        evaluated
    }
}

impl Participant {
    /// Cancelled when the run must stop.
    pub(super) fn cancel(&self) -> &CancellationToken {
        &self.shared.cancel
    }

    /// The limit of `max_rows_per_person`, if this sink has it.
    pub(super) fn max_rows_per_person(&self) -> Option<u64> {
        self.shared
            .evaluator
            .sinks
            .get(self.index)?
            .guards
            .max_rows_per_person
            .map(BoundedInt::get)
    }

    /// The most rows with which this sink's guards can pass.
    pub(super) fn max_rows(&self) -> u64 {
        self.shared.evaluator.max_rows(self.index)
    }

    /// Whether it is certain that nothing will be sent.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.cancel.is_cancelled() || self.shared.state.borrow().is_open == Some(false)
    }

    /// Hands in the figures and waits for the verdict on all sinks.
    pub(super) async fn wait(mut self, figures: Figures) -> Verdict {
        self.has_figures = true;
        let mut state = self.shared.state.subscribe();
        self.shared.add(self.index, figures);
        tokio::select! {
            biased;
            _ = state.wait_for(|state| state.is_open.is_some()) => {}
            () = self.shared.cancel.cancelled() => self.shared.decide(false),
        }
        // Decided here or, in between, by the last participant: the verdict is the same for all.
        let state = self.shared.state.borrow();
        if state.is_open == Some(true) {
            return Verdict::Open;
        }
        let sink = self.shared.evaluator.sinks.get(self.index);
        match (sink, &state.evaluated) {
            (Some(guarded), Some(evaluated)) => {
                guards::tripped(&guarded.sink, evaluated).map_or(Verdict::Closed, Verdict::Tripped)
            }
            _ => Verdict::Closed,
        }
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        if !self.has_figures {
            self.shared.decide(false);
        }
    }
}
