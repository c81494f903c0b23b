//! Row counters: every row that goes in comes out somewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;

/// The counters of one component, shared by all who work for it.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    read: AtomicU64,
    copied: AtomicU64,
    derived: AtomicU64,
    combined: AtomicU64,
    filtered: AtomicU64,
    rejected: AtomicU64,
    skipped: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    not_sent: AtomicU64,
    nothing_new: AtomicBool,
}

/// What [`Counts`] held at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Totals {
    /// Rows that sources read.
    pub read: u64,
    /// Rows that went to more than one component, counted once for each further one.
    pub copied: u64,
    /// Rows that a query made of others; absent when there are none, and in the history.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub derived: u64,
    /// Rows that went into a query that makes new ones of them; absent when there are none, and in the history.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub combined: u64,
    /// Rows that a `where` or a query left out.
    pub filtered: u64,
    /// Rows put aside with a reason.
    pub rejected: u64,
    /// Rows that the job had accepted before, or that were in the input a second time, and that were not sent again.
    pub skipped: u64,
    /// Rows that a sink's other side took.
    pub accepted: u64,
    /// Rows that the service said no to.
    pub refused: u64,
    /// Rows of which nobody can say whether the service took them: the answer to the upload never came.
    pub unknown: u64,
    /// Rows that were read but not sent, because the run stopped before.
    pub not_sent: u64,
}

impl Counts {
    /// A source says that there was nothing to read because everything there is was read by earlier runs. No rows of all
    /// sources mean no shrinking then: guards are not judged, and the run is none that later ones are compared with.
    pub fn nothing_new(&self) {
        self.0.nothing_new.store(true, Ordering::Relaxed);
    }

    /// Whether there was nothing new to read.
    pub fn is_nothing_new(&self) -> bool {
        self.0.nothing_new.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),*) => {
        impl Counts {
            $($(#[$doc])* pub fn $name(&self, rows: usize) {
                self.0.$name.fetch_add(rows as u64, Ordering::Relaxed);
            })*

            /// What the counters hold now.
            pub fn totals(&self) -> Totals {
                Totals { $($name: self.0.$name.load(Ordering::Relaxed)),* }
            }
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
    /// Counts rows that go to a further component.
    copied,
    /// Counts rows that a query made of others.
    derived,
    /// Counts rows that went into a query which makes new ones of them.
    combined,
    /// Counts rows that a `where` or a query left out.
    filtered,
    /// Counts rows put aside with a reason.
    rejected,
    /// Counts rows that were accepted before.
    skipped,
    /// Counts rows that the other side took.
    accepted,
    /// Counts rows that the service said no to.
    refused,
    /// Counts rows whose upload has no answer.
    unknown,
    /// Counts rows that were read and not sent.
    not_sent
}

impl Totals {
    /// Whether every row that went in came out: `read + copied + derived` equals the sum of the rest.
    pub fn conserved(&self) -> bool {
        self.read + self.copied + self.derived == self.combined + self.finished()
    }

    /// Rows that have a final state. Those that went into a query live on in what it made of them.
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
