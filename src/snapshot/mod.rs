//! Snapshots: the last valid rows of a source, kept encrypted from run to run.
//!
//! ```text
//! source ──chunks──▶ consumers
//!    └──tap──▶ Recorder: kept columns, valid rows, one row per key ──▶ NAME.enc.new
//!                        + rows of NAME.enc that are missing now and not expired
//! successful run ──▶ NAME.enc.new replaces NAME.enc;   NAME.enc at the next start ──▶ the source `NAME.previous`
//! ```
//!
//! Only a run that delivered everything replaces the file, in one step, after the ledger has the run's end. Damage is an
//! error before the first row is sent. Knows settings, encryption and files; nothing of the pipeline graph.

mod config;
mod encrypted;
mod file;
mod key;
mod recorder;
mod source;
mod table;

pub use config::{SnapshotConfig, SourceSnapshot};
pub(crate) use config::{snapshot_input, source_of_input};
pub(crate) use recorder::{FinishedSnapshot, Recorder};
pub(crate) use source::SnapshotSource;
