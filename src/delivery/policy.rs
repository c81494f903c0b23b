//! The delivery settings of a sink.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which rows are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// Rows that the job has not accepted yet. A row whose values change and change back was accepted before.
    #[default]
    Changes,
    /// Every row in every run.
    All,
}

/// What happens to rows of unknown outcome: the service may have accepted them, but no answer arrived or the run died
/// before it could record the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnUnknown {
    /// Send them again and report it: no row is lost, some may arrive twice.
    #[default]
    Resend,
    /// Send nothing more until a person resolves them with `hrsink ledger resolve`: no row arrives twice.
    Hold,
}

/// What happens when the service rejects the content of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnRefused {
    /// Stop the run.
    #[default]
    Stop,
    /// Halve the batch until the rejected rows are found; reject these and deliver the others.
    Split,
}

#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Identifies the service in the ledger: rows accepted by one job say nothing about another.
    pub(crate) job: String,
    pub(crate) mode: Mode,
    /// By label of the partition, after what time unchanged rows are sent again.
    pub(crate) refresh_after: BTreeMap<&'static str, Duration>,
    pub(crate) on_unknown: OnUnknown,
    pub(crate) on_refused: OnRefused,
    /// Consecutive batches that fail for the same transient cause before the run stops.
    pub(crate) max_consecutive_failures: NonZeroU32,
    /// Where a person finds out whether a batch arrived, for hints.
    pub(crate) evidence: &'static str,
}

impl Policy {
    pub(crate) const MAX_CONSECUTIVE_FAILURES: NonZeroU32 = NonZeroU32::new(3).expect("not zero");

    pub(crate) fn new(job: impl Into<String>) -> Self {
        Self {
            job: job.into(),
            mode: Mode::default(),
            refresh_after: BTreeMap::new(),
            on_unknown: OnUnknown::default(),
            on_refused: OnRefused::default(),
            max_consecutive_failures: Self::MAX_CONSECUTIVE_FAILURES,
            evidence: "the service's log",
        }
    }
}
