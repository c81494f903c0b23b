//! Writes the snapshot of a run.

use std::path::{Path, PathBuf};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use jiff::Timestamp;

use super::config::SourceSnapshot;
use super::file::{NewFile, SnapshotFile};
use super::table::{self, RowCounts, Table};
use crate::component::{Chunk, RunInfo};
use crate::disk::AtomicFile;
use crate::error::{Error, Result};
use crate::ledger::{RowHasher, RowSet};

const MAX_FRAME_ROWS: usize = 8192;

/// Writes the valid rows of a source to a new file. Dropped before [`finish`](Self::finish), it leaves nothing behind.
pub(crate) struct Recorder {
    table: Table,
    file: SnapshotFile,
    hasher: RowHasher,
    seen: RowSet,
    counts: RowCounts,
    frame: Vec<u8>,
    /// `None` in a run that must not change the snapshot.
    new: Option<NewFile>,
}

impl Recorder {
    /// Starts a new file. A dry run, and one that reads only part of its input, checks the rows and writes nothing.
    pub(crate) fn start(
        snapshot: &SourceSnapshot,
        run: &RunInfo,
        ledger: &Path,
        pipeline: &str,
        now: Timestamp,
    ) -> Result<Self> {
        let file = SnapshotFile::new(snapshot, run, ledger, pipeline)?;
        let writes = !run.dry_run && !run.partial;
        Ok(Self {
            table: Table::new(snapshot, now),
            hasher: file.key.row_hasher(),
            new: writes.then(|| file.create()).transpose()?,
            file,
            seen: RowSet::default(),
            counts: RowCounts::default(),
            frame: Vec::new(),
        })
    }

    /// Adds rows of the source. Blocks.
    pub(crate) fn add(&mut self, chunk: &Chunk) -> Result<()> {
        // An empty JSON array has no columns that could be missing.
        if chunk.num_rows() == 0 && chunk.origins.part().columns.is_empty() {
            return Ok(());
        }
        let valid = self.table.valid(chunk, &mut self.counts)?;
        let kept = self.unseen(&valid)?;
        self.counts.duplicates += (valid.num_rows() - kept.num_rows()) as u64;
        self.counts.kept += kept.num_rows() as u64;
        self.write(&kept)
    }

    /// Adds the stored rows whose key did not come in this run, and completes the file. Blocks.
    pub(crate) fn finish(mut self) -> Result<FinishedSnapshot> {
        if self.new.is_some() {
            let file = self.file.clone();
            file.read(|stored| {
                let rows = self.table.unexpired(stored, &mut self.counts)?;
                let rows = self.unseen(&rows)?;
                self.counts.carried += rows.num_rows() as u64;
                self.write(&rows).map(|()| true)
            })?;
        }
        let rows = self.counts.kept + self.counts.carried;
        let new = self.new.map(|new| self.file.finish(new, rows)).transpose()?;
        Ok(FinishedSnapshot {
            file: self.file,
            new,
            counts: self.counts,
        })
    }

    /// The rows whose key has not been seen yet.
    fn unseen(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        let hashes = self.table.hash(rows, &self.hasher)?;
        let unseen = hashes.into_iter().map(|key| Some(self.seen.insert(key)));
        let unseen: BooleanArray = unseen.collect();
        filter_record_batch(rows, &unseen)
            .map_err(|_| Error::unexpected("cannot filter the rows of a snapshot"))
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let Some(new) = &mut self.new else { return Ok(()) };
        for from in (0..rows.num_rows()).step_by(MAX_FRAME_ROWS) {
            let some = rows.slice(from, MAX_FRAME_ROWS.min(rows.num_rows() - from));
            table::encode(&some, &mut self.frame)?;
            self.file.write(new, &mut self.frame)?;
        }
        Ok(())
    }
}

/// A complete, synced file that has not replaced the current one yet. Dropped, it leaves nothing behind.
pub(crate) struct FinishedSnapshot {
    file: SnapshotFile,
    new: Option<AtomicFile>,
    counts: RowCounts,
}

impl FinishedSnapshot {
    /// Replaces the current file; returns its path and a description for the report. Blocks.
    pub(crate) fn replace(self, source: &str) -> Result<Option<(PathBuf, String)>> {
        let Some(new) = self.new else { return Ok(None) };
        self.file.replace(new)?;
        let counts = self.counts;
        tracing::info!(
            source,
            kept = counts.kept,
            carried = counts.carried,
            expired = counts.expired,
            without_key = counts.without_key,
            invalid = counts.invalid,
            "snapshot written"
        );
        if counts.duplicates > 0 {
            tracing::warn!(
                source,
                rows = counts.duplicates,
                "duplicate keys: the first valid row of each key is kept; check `snapshot.key`"
            );
        }
        if counts.kept == 0 && counts.invalid > 0 {
            tracing::warn!(
                source,
                rows = counts.invalid,
                "no valid rows: every row lacks a value in a column that `snapshot.required` names"
            );
        }
        let kept = counts.kept + counts.carried;
        let what = format!("snapshot for the next run: {kept} rows, encrypted");
        Ok(Some((self.file.path, what)))
    }
}
