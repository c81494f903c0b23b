//! What a sink wants of its deliveries: the choices that its user has.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

/// Which rows are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Those that the job has not accepted unchanged. A row whose values change and change back is one that it has.
    #[default]
    Changes,
    /// All, each time.
    All,
}

/// What happens to rows whose outcome is unknown: no answer came after the service may have taken them, or the run died
/// before the answer could be written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// They are sent again, and the report says so: none is lost, some may be there twice.
    #[default]
    Resend,
    /// Nothing more is sent until a person has decided about them: none is there twice.
    Hold,
}

/// What happens when the service says no to a batch for what is in it (status 400 or 422).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRefused {
    /// The run stops with the diagnosis.
    #[default]
    Stop,
    /// The batch is halved until the rows it is about stand alone; they become rejects, the others are delivered.
    Split,
}

/// How batches are delivered.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What the other side is known by in the ledger: rows accepted by one job say nothing of another.
    pub job: String,
    /// Which rows are sent.
    pub mode: Mode,
    /// By a lane's label, after what time rows are sent again though they have not changed; never, if it is not there.
    pub refresh_after: BTreeMap<&'static str, Duration>,
    /// What happens to rows of unknown outcome.
    pub on_unknown: OnUnknown,
    /// What happens to a batch that the service says no to.
    pub on_refused: OnRefused,
    /// After so many batches in a row that failed for the same passing cause, no more is sent.
    pub max_consecutive_failures: NonZeroU32,
}

impl Policy {
    /// The default for `job`: changes only, unknown rows again, a refusal stops, and so do three failures in a row.
    pub fn new(job: impl Into<String>) -> Self {
        Self {
            job: job.into(),
            mode: Mode::default(),
            refresh_after: BTreeMap::new(),
            on_unknown: OnUnknown::default(),
            on_refused: OnRefused::default(),
            max_consecutive_failures: Self::MAX_CONSECUTIVE_FAILURES,
        }
    }

    /// Failures in a row that end a run, unless set.
    pub const MAX_CONSECUTIVE_FAILURES: NonZeroU32 = NonZeroU32::new(3).expect("not zero");
}
