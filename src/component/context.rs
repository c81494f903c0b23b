//! What the engine hands a component when it is built.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Counts, Reject, Rejects, RowKind};

/// The run a component works for.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// A time-ordered UUID, in the report, in the names of files and in the log lines about the run.
    pub id: Arc<str>,
    /// Folder that relative paths of the pipeline file are relative to.
    pub base: Arc<PathBuf>,
    /// Do everything but send.
    pub dry_run: bool,
    /// How long uploads in flight may take after the run was cancelled.
    pub grace: Duration,
    /// Cancelled when the run must stop: an interrupt, or a component that gave up.
    pub cancel: CancellationToken,
}

/// For [`SourceConfig::build`](super::SourceConfig::build).
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// The component's name in the pipeline file.
    pub name: Arc<str>,
    /// The run.
    pub run: RunInfo,
    /// The columns that anybody downstream uses; others need not be read. `None`: all.
    pub columns: Option<Arc<BTreeSet<String>>>,
    /// The component's counters. Rows sent through the output are counted as read there.
    pub counts: Counts,
    /// Where rejects go; use [`reject`](Self::reject).
    pub rejects: Rejects,
}

impl SourceContext {
    /// Puts a record aside that could not be made a row of a chunk: it counts as read and as rejected.
    pub fn reject(&self, reject: Reject) {
        self.counts.read(1);
        self.counts.rejected(1);
        self.rejects.add(reject);
    }
}

/// For [`TransformConfig::build`](super::TransformConfig::build).
#[derive(Debug, Clone)]
pub struct TransformContext {
    /// The component's name in the pipeline file.
    pub name: Arc<str>,
    /// The run.
    pub run: RunInfo,
    /// What comes in, in the order of `inputs`.
    pub inputs: Vec<InputDescription>,
    /// The component's counters.
    pub counts: Counts,
    /// Where rejects go; use [`reject`](Self::reject).
    pub rejects: Rejects,
}

impl TransformContext {
    /// Puts a row aside and counts it.
    pub fn reject(&self, reject: Reject) {
        self.counts.rejected(1);
        self.rejects.add(reject);
    }
}

/// For [`SinkConfig::build`](super::SinkConfig::build).
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// The component's name in the pipeline file.
    pub name: Arc<str>,
    /// The run.
    pub run: RunInfo,
    /// What comes in, in the order of `inputs`.
    pub inputs: Vec<InputDescription>,
    /// The component's counters.
    pub counts: Counts,
    /// Where rejects go; use [`reject`](Self::reject).
    pub rejects: Rejects,
    /// Takes a line for each batch, for the report and the progress bar.
    pub batches: tokio::sync::mpsc::UnboundedSender<BatchReport>,
    /// Uploads under way, for the progress bar.
    pub in_flight: Arc<std::sync::atomic::AtomicUsize>,
    /// What the run leaves behind, for the report.
    pub outputs: Outputs,
}

impl SinkContext {
    /// Puts a row aside and counts it.
    pub fn reject(&self, reject: Reject) {
        self.counts.rejected(1);
        self.rejects.add(reject);
    }
}

/// Collects what a run leaves behind. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Outputs(Arc<Mutex<Vec<OutputReport>>>);

/// Something a sink leaves behind, for the run report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct OutputReport {
    /// Name of the sink.
    pub component: String,
    /// What it is, such as `rows accepted by the emulator`.
    pub what: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Outputs {
    /// Notes that `component` leaves something at `path`.
    pub fn add(&self, component: &str, what: impl Into<String>, path: impl Into<PathBuf>) {
        let output = OutputReport {
            component: component.to_owned(),
            what: what.into(),
            path: path.into(),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(output);
    }

    /// All that was noted.
    pub fn all(&self) -> Vec<OutputReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One of a component's inputs, as far as it is known before rows arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputDescription {
    /// Name of the component that sends.
    pub name: Arc<str>,
    /// What its rows are.
    pub kind: RowKind,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchOutcome {
    /// The service took it (any 2xx).
    Accepted,
    /// The service said no.
    Refused,
    /// No answer came after the service may have taken it.
    Unknown,
    /// It never left.
    NotSent,
}

/// One upload, for the run report.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct BatchReport {
    /// Name of the sink.
    pub sink: String,
    /// Number of the batch within the sink and run, from 1.
    pub number: u64,
    /// Identifier of the HR scenario of its rows, such as `employee_resignation`; `records` when they went as they
    /// were.
    pub scenario: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of its payload, header row included.
    pub bytes: u64,
    /// What became of it.
    pub outcome: BatchOutcome,
    /// HTTP requests made for it.
    pub attempts: u32,
    /// How many of those before the last ended without an answer after the body may have been taken: with more
    /// than none, the service may have seen these rows more than once.
    pub unknown_attempts: u32,
    /// Status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Request and correlation ids of the last answer, for a support case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_ids: Vec<String>,
    /// Body of the last answer, cleaned and cut, without what it repeats of rows. Microsoft documents none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// From the first request to the outcome, in milliseconds.
    pub duration_ms: u64,
    /// Why, when it was not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
