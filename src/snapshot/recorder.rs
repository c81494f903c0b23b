//! Writes the snapshot of a run, and reads a stored one.

use std::path::{Path, PathBuf};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use jiff::Timestamp;

use super::config::SourceSnapshot;
use super::encrypted::{Frame, ReadError};
use super::file::{NewSnapshot, SnapshotFile};
use super::table::{self, Table};
use crate::component::{Chunk, RunInfo};
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
    new: Option<NewSnapshot>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct RowCounts {
    kept: u64,
    carried: u64,
    expired: u64,
    without_key: u64,
    invalid: u64,
    duplicates: u64,
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
            hasher: file.key().row_hasher(),
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
        let sorted = self.table.sort_out(chunk)?;
        self.counts.without_key += sorted.without_key as u64;
        self.counts.invalid += sorted.invalid as u64;
        let (kept, duplicates) = self.unseen(&sorted.valid)?;
        self.counts.duplicates += duplicates as u64;
        self.counts.kept += kept.num_rows() as u64;
        self.write(&kept)
    }

    /// Adds the stored rows whose key did not come in this run, and completes the file. Blocks.
    pub(crate) fn finish(mut self) -> Result<FinishedSnapshot> {
        if self.new.is_some()
            && let Some(mut old) = self.file.open()?
        {
            while let Frame::More(bytes) = old.next().map_err(|error| self.file.read_error(error))? {
                let (rows, expired) = self.table.unexpired(&table::decode(&bytes)?)?;
                self.counts.expired += expired as u64;
                let (rows, _) = self.unseen(&rows)?;
                self.counts.carried += rows.num_rows() as u64;
                self.write(&rows)?;
            }
        }
        if let Some(new) = &mut self.new {
            let rows = self.counts.kept + self.counts.carried;
            new.finish(rows.to_le_bytes().to_vec())?;
        }
        Ok(FinishedSnapshot {
            path: self.file.path().to_owned(),
            new: self.new,
            counts: self.counts,
        })
    }

    /// The rows whose key has not been seen yet, and the number of the others.
    fn unseen(&mut self, rows: &RecordBatch) -> Result<(RecordBatch, usize)> {
        let hashes = self.table.hash(rows, &self.hasher)?;
        let unseen: BooleanArray = hashes
            .into_iter()
            .map(|key| Some(self.seen.insert(key)))
            .collect();
        let kept = filter_record_batch(rows, &unseen)
            .map_err(|_| Error::unexpected("cannot filter the rows of a snapshot"))?;
        let others = rows.num_rows() - kept.num_rows();
        Ok((kept, others))
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let Some(new) = &mut self.new else { return Ok(()) };
        for from in (0..rows.num_rows()).step_by(MAX_FRAME_ROWS) {
            let some = rows.slice(from, MAX_FRAME_ROWS.min(rows.num_rows() - from));
            table::encode(&some, &mut self.frame)?;
            new.write(&mut self.frame)?;
        }
        Ok(())
    }
}

/// A complete, synced file that has not replaced the current one yet. Dropped, it leaves nothing behind.
pub(crate) struct FinishedSnapshot {
    path: PathBuf,
    new: Option<NewSnapshot>,
    counts: RowCounts,
}

impl FinishedSnapshot {
    /// Replaces the current file; returns its path and a description for the report. Blocks.
    pub(crate) fn replace(self, source: &str) -> Result<Option<(PathBuf, String)>> {
        let Some(new) = self.new else { return Ok(None) };
        new.replace()?;
        let RowCounts {
            kept,
            carried,
            expired,
            without_key,
            invalid,
            duplicates,
        } = self.counts;
        tracing::info!(
            source,
            kept,
            carried,
            expired,
            without_key,
            invalid,
            "snapshot written"
        );
        if duplicates > 0 {
            tracing::warn!(
                source,
                rows = duplicates,
                "duplicate keys: the first valid row of each key is kept; check `snapshot.key`"
            );
        }
        if kept == 0 && invalid > 0 {
            tracing::warn!(
                source,
                rows = invalid,
                "no valid rows: every row lacks a value in a column that `snapshot.required` names"
            );
        }
        let what = format!("snapshot for the next run: {} rows, encrypted", kept + carried);
        Ok(Some((self.path, what)))
    }
}

/// The stored snapshot of a source.
pub(super) struct StoredSnapshot {
    pub(super) file: SnapshotFile,
    pub(super) table: Table,
}

impl StoredSnapshot {
    /// Passes the unexpired rows to `each` until it returns false. Blocks.
    pub(super) fn read(&self, mut each: impl FnMut(RecordBatch) -> bool) -> Result<()> {
        let Some(mut reader) = self.file.open()? else {
            return Ok(());
        };
        let mut rows: u64 = 0;
        loop {
            match reader.next().map_err(|error| self.file.read_error(error))? {
                Frame::More(bytes) => {
                    let batch = table::decode(&bytes)?;
                    rows += batch.num_rows() as u64;
                    let (batch, _) = self.table.unexpired(&batch)?;
                    if !each(batch) {
                        return Ok(());
                    }
                }
                Frame::Last(count) if count[..] == rows.to_le_bytes() => return Ok(()),
                Frame::Last(_) => {
                    return Err(self.file.read_error(ReadError::Damaged("rows are missing")));
                }
            }
        }
    }
}
