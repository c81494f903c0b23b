//! What components report about their work.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;

/// The outcome of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchOutcome {
    /// The service accepted it (any 2xx).
    Accepted,
    /// The service refused it.
    Refused,
    /// No response arrived after the service may have accepted it.
    Unknown,
    /// It was not sent.
    NotSent,
    /// The service refused it, and its rows were sent in two smaller parts with outcomes of their own.
    Split,
    /// A single row that the service refused, found by splitting, and rejected.
    Rejected,
}

/// One upload, for the run report.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BatchReport {
    /// Name of the sink.
    pub sink: String,
    /// Number of the batch within the sink and run, from 1.
    pub number: u64,
    /// Which part of the batch, in the order of sending from 1, when it was split; 0 for the whole batch.
    pub part: u32,
    /// Identifier of the HR scenario of its rows, such as `employee_resignation`; `records` for other rows.
    pub scenario: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of its payload, header row included.
    pub bytes: u64,
    /// Its outcome.
    pub outcome: BatchOutcome,
    /// HTTP requests made for it.
    pub attempts: u32,
    /// Attempts before the last that ended without a response after the service may have read the body: with more than
    /// none, it may have these rows more than once.
    pub unknown_attempts: u32,
    /// Rows in it that were in a batch of an earlier run with an unknown outcome: the service may have them twice.
    pub resent_rows: u64,
    /// Status of the last response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Request and correlation ids of the last response, for a support case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_ids: Vec<String>,
    /// Body of the last response, truncated, without values of rows. Microsoft documents none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// From the first request to the outcome, in milliseconds.
    pub duration_ms: u64,
    /// The reason, when it was not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A batch of an earlier run with an unknown outcome: no response arrived, or the run crashed before recording it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EarlierUnknown {
    /// Name of the sink that found it in this run.
    pub sink: String,
    /// Identifier of the HR scenario of its rows.
    pub scenario: String,
    /// Id of the run that sent it.
    pub run: String,
    /// Its number in that run.
    pub number: u64,
    /// Which part of it, from 1, when it was split; 0 for the whole batch.
    pub part: u32,
    /// When it was about to be sent, RFC 3339.
    pub sent: String,
    /// Rows in it.
    pub rows: u64,
    /// Rows that this run sent again: the service may have them twice.
    pub resent_rows: u64,
    /// Rows that crashed runs sent again without a report: the service may have these twice, too.
    pub resent_unreported: u64,
}

/// A file or folder that a run leaves behind, for the run report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OutputReport {
    /// Name of the component.
    pub component: String,
    /// What it is, such as `rows accepted by the emulator`.
    pub what: String,
    /// Its path.
    pub path: PathBuf,
}

/// Collects what a run leaves behind, and what it found of earlier runs. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Outputs(Arc<Mutex<Collected>>);

#[derive(Debug, Default)]
struct Collected {
    outputs: Vec<OutputReport>,
    unknown: Vec<EarlierUnknown>,
    not_saved: u64,
}

impl Outputs {
    /// Reports that `component` leaves something at `path`.
    pub fn add(&self, component: &str, what: impl Into<String>, path: impl Into<PathBuf>) {
        let output = OutputReport {
            component: component.to_owned(),
            what: what.into(),
            path: path.into(),
        };
        self.collected().outputs.push(output);
    }

    /// Reports a batch of an earlier run with an unknown outcome.
    pub fn add_unknown(&self, batch: EarlierUnknown) {
        self.collected().unknown.push(batch);
    }

    /// Reports accepted rows that the emulator did not save.
    pub(crate) fn add_not_saved(&self, rows: u64) {
        self.collected().not_saved += rows;
    }

    pub(crate) fn not_saved(&self) -> u64 {
        self.collected().not_saved
    }

    /// Everything that was left behind.
    pub fn all(&self) -> Vec<OutputReport> {
        self.collected().outputs.clone()
    }

    /// The batches of earlier runs with an unknown outcome.
    pub fn unknown(&self) -> Vec<EarlierUnknown> {
        self.collected().unknown.clone()
    }

    fn collected(&self) -> std::sync::MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
