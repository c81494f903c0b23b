//! The durable record of deliveries: runs, batches, and a keyed hash of every row that a job has accepted.
//!
//! One SQLite file, which pipelines may share, and a key beside it. The intent of a batch is on disk before its upload,
//! the outcome before the caller continues: after a crash, a batch is known to be accepted, not sent, or
//! [unknown](BatchOutcome::Unknown). Rows are stored as 128-bit keyed hashes, never as values.
//!
//! A run holds a [lock](Lock) on its pipeline, and on each job and scenario that it has rows for. So an intent without an
//! outcome, of a job and scenario whose lock one holds, belongs to a run that died.

#![allow(missing_docs, reason = "not part of the public interface")]

mod error;
mod file;
mod hash;
pub(crate) mod history;
mod key;
mod lock;
pub(crate) mod maintenance;
mod rows;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use error::file_error;
pub(crate) use hash::{RowHash, RowHasher, RowSet};
pub(crate) use key::parse_hex_key;
pub(crate) use lock::Lock;
pub(crate) use store::Ledger;

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::component::{BatchOutcome, Totals};

#[derive(Debug, Clone)]
pub(crate) struct NewRun {
    pub id: String,
    /// The [name](pipeline_name) of its pipeline.
    pub pipeline: String,
    pub started: Timestamp,
    pub allowed: Vec<String>,
    /// Reads only part of its input, so later runs are not compared with it.
    pub partial: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct RunEnd {
    pub ended: Timestamp,
    pub exit_code: u8,
    pub rows: Totals,
    pub sinks: Vec<SinkEnd>,
    /// The message of the failure, without its causes.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct SinkEnd {
    pub sink: String,
    pub rows: u64,
    /// Whether it delivered all of them.
    pub complete: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub run: String,
    pub sink: String,
    /// As in [`Ledger::lock_job`].
    pub job: String,
    pub scenario: String,
    /// Number of the batch in the sink and run, from 1.
    pub number: u64,
    /// Number of the part, from 1, of a batch that was split; 0 for a complete batch.
    pub part: u32,
    pub bytes: u64,
    pub rows: Arc<Vec<RowHash>>,
    /// How many of the rows were in an earlier batch of unknown outcome.
    pub resent: u64,
    /// Hash of the header row, which identifies the columns.
    pub header: RowHash,
}

#[derive(Debug, Clone)]
pub(crate) struct UploadOutcome {
    pub outcome: BatchOutcome,
    pub attempts: u32,
    /// Requests before the last that got no answer although the service may have received the body.
    pub unknown_attempts: u32,
    pub status: Option<u16>,
    pub request_ids: Vec<String>,
    pub duration_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BatchId(pub(crate) i64);

#[derive(Debug, Default)]
pub(crate) struct JobState {
    pub accepted: RowSet,
    pub headers: HashSet<RowHash>,
    /// Batches of earlier runs with unknown outcome that nobody has resolved.
    pub unknown: Vec<UnknownBatch>,
}

/// A batch of an earlier run that the service may or may not have accepted.
#[derive(Debug, Clone)]
pub(crate) struct UnknownBatch {
    pub id: BatchId,
    pub run: String,
    pub number: u64,
    pub part: u32,
    pub intended: Timestamp,
    pub row_count: u64,
    pub rows: Vec<RowHash>,
    /// Neither resolved, nor its rows resent by a complete run.
    pub open: bool,
    /// If open: rows accepted since from runs that died before they could report it.
    pub resent_unreported: u64,
}

/// The last complete run of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    pub run: String,
    pub ended: Timestamp,
    /// Rows the sink received.
    pub rows: u64,
}

/// The name of a pipeline in the ledger: the absolute path of its file, symbolic links resolved where possible.
pub(crate) fn pipeline_name(path: &std::path::Path) -> String {
    let absolute = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.canonicalize()
        .unwrap_or_else(|_| absolute())
        .display()
        .to_string()
}
