//! The report of a run: for the terminal, for `--report` and for the exit code.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::GuardsReport;
use crate::component::{BatchReport, EarlierUnknown, OutputReport, RejectCode, Role, Totals};
use crate::error::{Error, ErrorKind};

/// The report of a run, as `hrsink run --report` writes it.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct RunReport {
    /// Version of the report's format. Fields may be added within a version.
    pub report_version: u32,
    /// Version of hrsink.
    pub hrsink_version: String,
    /// Id of the run, also in its log lines and file names.
    pub run_id: String,
    /// The pipeline file.
    pub pipeline: PathBuf,
    /// Whether it was a dry run: everything but sending.
    pub dry_run: bool,
    /// Start, RFC 3339.
    pub started: String,
    /// End, RFC 3339.
    pub finished: String,
    /// From start to end, in milliseconds.
    pub duration_ms: u64,
    /// The exit code of the program.
    pub exit_code: u8,
    /// Sums over all components.
    pub rows: Totals,
    /// Whether `read + copied + derived` equals the sum of the other counters. `false` is a bug in a component.
    pub conserved: bool,
    /// Each component's counters.
    pub components: Vec<ComponentReport>,
    /// Every upload, in the order in which they ended.
    pub batches: Vec<BatchReport>,
    /// Batches of earlier runs with an unknown outcome, and how many of their rows this run sent again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier_unknown: Vec<EarlierUnknown>,
    /// Accepted rows that the emulator did not save. A job does not save them either, and only its log says so.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub not_saved: u64,
    /// The guards, evaluated before anything was sent.
    pub guards: GuardsReport,
    /// The rejected rows.
    pub rejects: RejectsReport,
    /// Files that the run left behind.
    pub outputs: Vec<OutputReport>,
    /// Why the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
    /// Further failures of other components.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub further_errors: Vec<ErrorReport>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(rows: &u64) -> bool {
    *rows == 0
}

/// The counters of a component.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ComponentReport {
    /// Its name in the pipeline file.
    pub name: String,
    /// `source`, `transform` or `sink`.
    #[schemars(with = "String")]
    pub role: Role,
    /// Its counters.
    pub rows: Totals,
}

/// The rejected rows.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct RejectsReport {
    /// The NDJSON file; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Their ratio to the rows that were to be sent.
    pub ratio: f64,
    /// The allowed ratio.
    pub max_ratio: f64,
    /// By field and reason, most frequent first. A row with several faults is counted under its first.
    pub by_reason: Vec<ReasonCount>,
}

/// How many rows were rejected for a reason.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ReasonCount {
    /// The HR field; empty if the reason is not about one.
    pub field: String,
    /// The reason.
    pub code: RejectCode,
    /// Rows.
    pub rows: u64,
}

/// A failure, for the report.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ErrorReport {
    /// The component that failed, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The kind of the failure.
    #[schemars(with = "String")]
    pub kind: ErrorKind,
    /// The message with its causes.
    pub message: String,
    /// What to do, most likely first.
    pub hints: Vec<String>,
    /// The message and its causes, one by one, for the terminal.
    #[serde(skip)]
    chain: Vec<String>,
}

impl ErrorReport {
    pub(super) fn new(component: Option<&str>, error: &Error) -> Self {
        Self {
            component: component.map(str::to_owned),
            kind: error.kind(),
            message: error.chain(),
            hints: error.hints().map(str::to_owned).collect(),
            chain: error.links().collect(),
        }
    }

    pub(crate) fn chain(&self) -> &[String] {
        &self.chain
    }
}

/// The program's exit codes: a scheduler can distinguish "retry later" from "a person must act".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Delivered, or nothing to do.
    Delivered = 0,
    /// An unexpected failure.
    Unexpected = 1,
    /// The command line, the pipeline file or the input is wrong.
    Config = 2,
    /// Delivered, but more rows were rejected than allowed.
    TooManyRejects = 3,
    /// A guard stopped the run before anything was sent, or a batch of unknown outcome is held.
    Guarded = 4,
    /// Refused by the service; a retry does not help.
    Refused = 5,
    /// Not everything delivered; the cause is transient.
    Transient = 75,
    /// Interrupted (Ctrl-C).
    Interrupted = 130,
    /// Terminated (SIGTERM).
    Terminated = 143,
}

impl From<ErrorKind> for ExitCode {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Config | ErrorKind::Input => Self::Config,
            ErrorKind::Guard => Self::Guarded,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Transient => Self::Transient,
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::Unexpected => Self::Unexpected,
        }
    }
}
