//! What the engine hands a component when it is built.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Counts, Recorder, Reject, Rejects, RowKind};
use crate::error::Result;
use crate::http::auth::SharedTokens;
use crate::http::rate_limit::RateLimiters;
use crate::ledger::Ledger;
use crate::secret::SecretFiles;

/// The run a component works for.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// A time-ordered UUID, in the report, in the names of files and in the log lines about the run.
    pub id: Arc<str>,
    /// Folder that relative paths of the pipeline file are relative to.
    pub base: Arc<PathBuf>,
    /// Do everything but send.
    pub dry_run: bool,
    /// Which secret files are taken; for [`SecretRef::read`](crate::secret::SecretRef::read).
    pub secret_files: SecretFiles,
    /// Whether sources read only a part of what there is: what was not seen is not gone.
    pub partial: bool,
    /// Stores what services answered, masked, for a support case; `None` unless asked for.
    pub record: Option<Recorder>,
    /// How long uploads in flight may take after the run was cancelled.
    pub grace: Duration,
    /// Cancelled when the run must stop: an interrupt, or a component that gave up.
    pub cancel: CancellationToken,
    /// What sources share that ask the same services.
    pub services: Services,
    /// The folder of the ledger, where files that last no longer than the run may be put.
    pub state: Arc<Path>,
}

impl RunInfo {
    /// A folder for files without a name: that of the ledger, which is there where there is one, else the system's. It is
    /// not always on a disk: many systems keep theirs in memory.
    pub fn scratch_folder(&self) -> Arc<Path> {
        if self.state.is_dir() {
            self.state.clone()
        } else {
            std::env::temp_dir().into()
        }
    }
}

/// What sources of a run share that ask the same services. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// How fast each host is asked.
    pub(crate) limiters: RateLimiters,
    /// Tokens, for sources that sign in in the same way.
    pub(crate) tokens: SharedTokens,
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
    /// Where the source is, from run to run.
    pub position: Position,
    /// Pages read so far, for the progress line; a source without pages leaves it alone.
    pub pages: Pages,
}

/// Counts the pages that the sources of a run have read. Cheap to clone; the clones count together.
#[derive(Debug, Clone, Default)]
pub struct Pages(Arc<AtomicU64>);

impl Pages {
    /// Notes that a page was read.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Pages read so far.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl SourceContext {
    /// Puts a record aside that could not be made a row of a chunk: it counts as read and as rejected.
    pub fn reject(&self, reject: Reject) {
        self.counts.read(1);
        self.counts.rejected(1);
        self.rejects.add(reject);
    }
}

/// A source's position, kept in the ledger from run to run. Never holds personal data: the ledger does not either.
#[derive(Debug, Clone)]
pub struct Position {
    pub(crate) ledger: Option<Ledger>,
    pub(crate) pipeline: Arc<str>,
    pub(crate) source: Arc<str>,
    pub(crate) rejects: Option<Rejects>,
}

impl Position {
    /// One that is kept nowhere.
    pub fn nowhere() -> Self {
        Self {
            ledger: None,
            pipeline: "".into(),
            source: "".into(),
            rejects: None,
        }
    }

    /// What was saved last; `None` at the first run, or if the run has no ledger (see
    /// [`SourceConfig::keeps_position`](super::SourceConfig::keeps_position)).
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn load(&self) -> Result<Option<String>> {
        match &self.ledger {
            Some(ledger) => ledger.position(&self.pipeline, &self.source).await,
            None => Ok(None),
        }
    }

    /// Saves `position`, durably. Call it only with the position of a checkpoint that was
    /// [delivered](super::Delivered): then every row before it has a final state.
    ///
    /// # Errors
    /// The ledger, or the rejects file, cannot be written: rows before the position may have been put aside.
    pub async fn save(&self, position: impl Into<String>) -> Result<()> {
        if let Some(rejects) = &self.rejects {
            rejects.flush()?;
        }
        match &self.ledger {
            Some(ledger) => {
                ledger
                    .save_position(&self.pipeline, &self.source, position.into())
                    .await
            }
            None => Ok(()),
        }
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
    /// What was delivered before, for a sink that [asks for it](super::SinkConfig::uses_ledger). In a dry run it can
    /// only be read, and is absent before the first run.
    pub ledger: Option<Ledger>,
}

impl SinkContext {
    /// Puts a row aside and counts it.
    pub fn reject(&self, reject: Reject) {
        self.counts.rejected(1);
        self.rejects.add(reject);
    }
}

/// Collects what a run leaves behind, and what it found of earlier ones. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Outputs(Arc<Mutex<Collected>>);

#[derive(Debug, Default)]
struct Collected {
    outputs: Vec<OutputReport>,
    unknown: Vec<EarlierUnknown>,
}

/// A batch of an earlier run whose outcome is unknown: no answer came, or the run died before it could be written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct EarlierUnknown {
    /// Name of the sink that met it in this run.
    pub sink: String,
    /// Identifier of the HR scenario of its rows.
    pub scenario: String,
    /// Id of the run that sent it.
    pub run: String,
    /// Its number in that run.
    pub number: u64,
    /// Which part of it, from 1, when it was split; 0 for the whole.
    pub part: u32,
    /// When it was about to be sent, RFC 3339.
    pub sent: String,
    /// Rows in it.
    pub rows: u64,
    /// How many of them this run sent again: the service may have them twice.
    pub resent_rows: u64,
    /// How many of them runs sent again that died before they could report it: the service may have these twice, too.
    pub resent_unreported: u64,
}

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
        self.collected().outputs.push(output);
    }

    /// Notes a batch of an earlier run whose outcome is unknown.
    pub fn add_unknown(&self, batch: EarlierUnknown) {
        self.collected().unknown.push(batch);
    }

    /// All that was left behind.
    pub fn all(&self) -> Vec<OutputReport> {
        self.collected().outputs.clone()
    }

    /// The batches of earlier runs whose outcome is unknown.
    pub fn unknown(&self) -> Vec<EarlierUnknown> {
        self.collected().unknown.clone()
    }

    fn collected(&self) -> std::sync::MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// The service said no to the whole, and its rows went on in two smaller parts, which have outcomes of their own.
    Split,
    /// One row that the service said no to, found by splitting, and put aside as a reject.
    Rejected,
}

/// One upload, for the run report.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct BatchReport {
    /// Name of the sink.
    pub sink: String,
    /// Number of the batch within the sink and run, from 1.
    pub number: u64,
    /// Which part of the batch, in the order of sending from 1, when it was split; 0 for the whole.
    pub part: u32,
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
    /// Rows in it that were in a batch of an earlier run whose outcome is unknown: the service may have them twice.
    pub resent_rows: u64,
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
