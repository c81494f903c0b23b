//! Row counters: every row that enters a pipeline leaves it exactly once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// The counters of one component. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    totals: Totals,
    nothing_new: bool,
}

/// The values of [`Counts`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Totals {
    /// Rows that sources read.
    pub read: u64,
    /// Rows sent to more than one component, counted once for each further one.
    pub copied: u64,
    /// Rows that a query created from others; absent when there are none, and in the history.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub derived: u64,
    /// Rows that a query consumed to create others; absent when there are none, and in the history.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub combined: u64,
    /// Rows excluded by a `where` or a query.
    pub filtered: u64,
    /// Rows rejected with a reason.
    pub rejected: u64,
    /// Rows not sent because the job had already accepted them, or because they were duplicates in the input.
    pub skipped: u64,
    /// Rows that the target of a sink accepted.
    pub accepted: u64,
    /// Rows that the service refused.
    pub refused: u64,
    /// Rows that the service may or may not have accepted: no response to the upload arrived.
    pub unknown: u64,
    /// Rows that were read but not sent, because the run stopped.
    pub not_sent: u64,
}

impl Counts {
    /// A source reports that earlier runs have already read everything. If all sources do, guards are not evaluated and
    /// later runs are not compared with this one.
    pub fn nothing_new(&self) {
        self.state().nothing_new = true;
    }

    /// Sums of several components.
    pub fn sum<'c>(all: impl IntoIterator<Item = &'c Self>) -> Totals {
        let mut sum = Totals::default();
        for counts in all {
            sum += counts.totals();
        }
        sum
    }

    /// Whether there was nothing new to read.
    pub fn is_nothing_new(&self) -> bool {
        self.state().nothing_new
    }

    /// What the counters hold now.
    pub fn totals(&self) -> Totals {
        self.state().totals
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),*) => {
        impl Counts {
            $($(#[$doc])* pub fn $name(&self, rows: usize) {
                self.state().totals.$name += rows as u64;
            })*
        }

        impl std::ops::AddAssign for Totals {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Counts rows that a source read.
    read,
    /// Counts rows sent to a further component.
    copied,
    /// Counts rows that a query created from others.
    derived,
    /// Counts rows that a query consumed to create others.
    combined,
    /// Counts rows excluded by a `where` or a query.
    filtered,
    /// Counts rows rejected with a reason.
    rejected,
    /// Counts rows that were already accepted.
    skipped,
    /// Counts rows that the target accepted.
    accepted,
    /// Counts rows that the service refused.
    refused,
    /// Counts rows whose upload has no response.
    unknown,
    /// Counts rows that were read and not sent.
    not_sent
}

impl Totals {
    /// Whether every row that entered left: `read + copied + derived` equals the sum of the rest.
    pub fn conserved(&self) -> bool {
        self.read + self.copied + self.derived == self.combined + self.finished()
    }

    /// The ratio of rejected rows to the rows that were to be sent.
    #[expect(clippy::cast_precision_loss, reason = "a ratio of row counts")]
    pub fn reject_ratio(&self) -> f64 {
        match self.finished().saturating_sub(self.filtered) {
            0 => 0.0,
            to_send => self.rejected as f64 / to_send as f64,
        }
    }

    /// Rows in a final state. Rows that a query consumed continue as those it created.
    pub fn finished(&self) -> u64 {
        self.filtered
            + self.rejected
            + self.skipped
            + self.accepted
            + self.refused
            + self.unknown
            + self.not_sent
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(rows: &u64) -> bool {
    *rows == 0
}
