//! What was sent, durably: runs, batches, and a keyed hash of every row a job has accepted.
//!
//! One SQLite file, which several pipelines may share, and beside it a key. A batch is written down before its upload
//! ([`intend`](Ledger::intend)) and its outcome after it ([`settle`](Ledger::settle)), each on disk before the caller
//! goes on. So after a crash, a kill or a power cut it is known of every batch whether it was accepted, never left, or
//! may have been taken; the last is [unknown](BatchOutcome::Unknown), and no run passes over it silently.
//!
//! Rows are kept as 128-bit keyed hashes, one blob a batch: never a name, an address or a date of a person. Without
//! the key a hash cannot be tried against a guessed row; key and file are for their owner only.
//!
//! # Who may write
//!
//! A run holds a [lock](Lock) on its pipeline, and on each job and scenario from the first row it has for them. So a
//! batch that is intended and not settled, of a job and scenario whose lock one holds, belongs to a run that died.
//! The locks are the operating system's: they end with the process that held them.

mod failure;
mod file;
mod hash;
pub mod history;
mod key;
mod lock;
mod rows;
mod schema;
mod set;
mod store;
#[cfg(test)]
mod tests;
pub mod upkeep;
mod writer;

pub use hash::{RowHash, RowHasher};
pub use lock::Lock;
pub use set::RowSet;
pub use store::Ledger;

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::component::{BatchOutcome, Totals};

/// A run that begins.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The run's id.
    pub id: String,
    /// What its pipeline is known by: the absolute path of its file.
    pub pipeline: String,
    /// When it began.
    pub started: Timestamp,
    /// Guards that were let through by hand.
    pub allowed: Vec<String>,
    /// Whether it reads its sources only in part: no measure for a later run's guards.
    pub partial: bool,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct RunEnd {
    /// When.
    pub ended: Timestamp,
    /// The program's exit code.
    pub exit_code: u8,
    /// Sums over all components.
    pub rows: Totals,
    /// Each sink: its name, the rows that came to it, and whether all of them have a final state.
    pub sinks: Vec<SinkEnd>,
    /// The message of the failure, without its causes.
    pub error: Option<String>,
}

/// A sink's part of a run.
#[derive(Debug, Clone)]
pub struct SinkEnd {
    /// Its name in the pipeline file.
    pub sink: String,
    /// Rows that came to it.
    pub rows: u64,
    /// Whether it delivered all of them.
    pub complete: bool,
}

/// A batch about to be uploaded.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The run's id.
    pub run: String,
    /// Name of the sink.
    pub sink: String,
    /// The job, as [`Ledger::lock_job`] was given it.
    pub job: String,
    /// Identifier of the scenario.
    pub scenario: String,
    /// Number of the batch in the sink and run, from 1.
    pub number: u64,
    /// Which part of it, from 1, when it was split; 0 for the whole.
    pub part: u32,
    /// Bytes of the payload.
    pub bytes: u64,
    /// The rows; their number is the batch's.
    pub rows: Arc<Vec<RowHash>>,
    /// How many of them were in an earlier batch whose outcome is unknown.
    pub resent: u64,
    /// The hash of the header row: which columns the payload has.
    pub header: RowHash,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The outcome.
    pub outcome: BatchOutcome,
    /// Requests made.
    pub attempts: u32,
    /// Requests before the last without an answer after the body may have been taken.
    pub unknown_attempts: u32,
    /// Status of the last answer.
    pub status: Option<u16>,
    /// Ids for a support case.
    pub request_ids: Vec<String>,
    /// From the first request to the outcome, in milliseconds.
    pub duration_ms: u64,
}

/// A batch in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub(crate) i64);

/// What a job knows of a scenario's rows.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Rows it has accepted.
    pub accepted: RowSet,
    /// Header rows of payloads that it has accepted.
    pub headers: HashSet<RowHash>,
    /// Batches of earlier runs whose outcome is unknown and of which nobody has said what became of them.
    pub unknown: Vec<UnknownBatch>,
}

/// A batch of an earlier run that the service may or may not have taken.
#[derive(Debug, Clone)]
pub struct UnknownBatch {
    /// The batch.
    pub id: BatchId,
    /// Its run.
    pub run: String,
    /// Its sink.
    pub sink: String,
    /// Its number in the sink and run.
    pub number: u64,
    /// Which part of it, 0 for the whole.
    pub part: u32,
    /// When it was about to be sent.
    pub intended: Timestamp,
    /// How many rows it has.
    pub row_count: u64,
    /// Its rows.
    pub rows: Vec<RowHash>,
    /// Whether nothing was decided about it, and no complete run has sent again what was still there.
    pub open: bool,
    /// If it is open: how many of its rows the job has accepted since from runs that died before they could say so.
    pub resent_unsaid: u64,
}

/// The last complete run of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// The run's id.
    pub run: String,
    /// When it ended.
    pub ended: Timestamp,
    /// Rows that came to the sink.
    pub rows: u64,
}

/// What the pipeline of the file `path` is known by: its absolute path, links resolved where that is possible.
pub fn pipeline_name(path: &std::path::Path) -> String {
    let absolute = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.canonicalize()
        .unwrap_or_else(|_| absolute())
        .display()
        .to_string()
}
