//! The open ledger: what a run writes and looks up.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::error::LedgerError;
use super::file::{self, Opened};
use super::history::{COUNTERS, counters};
use super::lock::{self, Subject};
use super::rows::{Reader, accepted_headers, checksum, int, natural, now, time};
use super::writer::{Access, Writer};
use super::{BatchId, Intent, JobState, LastRun, Lock, NewRun, RowHash, RowHasher, RunEnd, UploadOutcome};
use crate::component::BatchOutcome;
use crate::disk::blocking;
use crate::error::{Error, Result};

/// An open ledger. Cheap to clone. Dropping the last clone waits until the file is closed.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Inner>);

struct Inner {
    path: Arc<Path>,
    read_only: bool,
    hasher: RowHasher,
    checksums: [u8; 32],
    writer: Writer,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("path", &self.0.path)
            .field("read_only", &self.0.read_only)
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens the ledger at `path`, or creates it and its key. A ledger that was lost is never replaced by a new one.
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        blocking("access to the ledger", move || {
            let path: Arc<Path> = file::resolve(&path)?.into();
            Self::new(file::open(&path)?, path, false)
        })
        .await
    }

    /// Opens it read-only and without locks; `None` if there is no ledger.
    pub(crate) async fn open_read_only(path: &Path) -> Result<Option<Self>> {
        let path = path.to_owned();
        blocking("access to the ledger", move || {
            let path: Arc<Path> = file::resolve(&path)?.into();
            file::open_read_only(&path)?
                .map(|opened| Self::new(opened, path, true))
                .transpose()
        })
        .await
    }

    fn new(opened: Opened, path: Arc<Path>, read_only: bool) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            read_only,
            hasher: RowHasher::new(opened.key.for_rows()),
            checksums: opened.key.for_checksums(),
            writer: Writer::start(opened.connection, path.clone())?,
            path,
        })))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    pub(crate) fn hasher(&self) -> RowHasher {
        self.0.hasher.clone()
    }

    pub(crate) fn lock_pipeline(&self, pipeline: &str, run: &str) -> Result<Lock> {
        self.require_write()?;
        lock::acquire(&self.0.path, &Subject::pipeline(pipeline), run)
    }

    /// Locks a scenario of a job for `run`. `job` identifies the job, its tenant included.
    pub(crate) fn lock_job(&self, job: &str, scenario: &str, run: &str) -> Result<Lock> {
        self.require_write()?;
        lock::acquire(&self.0.path, &Subject::job(job, scenario), run)
    }

    pub(crate) async fn begin_run(&self, run: NewRun) -> Result<()> {
        let allowed = json(&run.allowed)?;
        let started = run.started.as_millisecond();
        self.write(move |db| {
            db.execute(
                "INSERT INTO run (id, pipeline, started, allowed, partial) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![run.id, run.pipeline, started, allowed, run.partial],
            )?;
            Ok(())
        })
        .await
    }

    /// Records the end of a run; its batches without an outcome become unknown.
    pub(crate) async fn end_run(&self, run: &str, end: RunEnd) -> Result<()> {
        let run = run.to_owned();
        self.write(move |db| {
            let seq = run_seq(db, &run)?;
            let ended = end.ended.as_millisecond();
            let mut rows = end.rows;
            let mut values: Vec<Value> = vec![
                seq.into(),
                ended.into(),
                i64::from(end.exit_code).into(),
                end.error.into(),
            ];
            values.extend(counters(&mut rows).map(|counter| int(*counter).into()));
            db.execute(
                &format!(
                    "UPDATE run SET (ended, exit_code, error, {COUNTERS})
                         = (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
                     WHERE seq = ?1"
                ),
                params_from_iter(values),
            )?;
            for sink in end.sinks {
                db.execute(
                    "INSERT OR REPLACE INTO run_sink (run, sink, rows, complete) VALUES (?1, ?2, ?3, ?4)",
                    params![seq, sink.sink, int(sink.rows), sink.complete],
                )?;
            }
            db.execute(
                "UPDATE batch SET outcome = 'unknown', settled = ?2 WHERE run = ?1 AND outcome IS NULL",
                params![seq, ended],
            )?;
            Ok(())
        })
        .await
    }

    /// The rows of `scenario` that `job` accepted at `since` or later, and its open unknown batches. The caller holds the
    /// lock, so intents of runs other than `run` without an outcome first become unknown. A read-only ledger returns
    /// them as unknown without writing.
    pub(crate) async fn job_state(
        &self,
        job: &str,
        scenario: &str,
        since: Option<Timestamp>,
        run: &str,
    ) -> Result<JobState> {
        let (job, scenario, run) = (job.to_owned(), scenario.to_owned(), run.to_owned());
        let reader = self.reader();
        let read_only = self.0.read_only;
        let access = if read_only { Access::Read } else { Access::Write };
        let work = move |db: &Connection| {
            if !read_only {
                db.execute(
                    "UPDATE batch SET outcome = 'unknown', settled = ?4
                     WHERE job = ?1 AND scenario = ?2 AND outcome IS NULL
                         AND run IS NOT (SELECT seq FROM run WHERE id = ?3)",
                    params![job, scenario, run, now()],
                )?;
            }
            Ok(JobState {
                accepted: reader.accepted(db, &job, &scenario, since)?,
                headers: accepted_headers(db, &job, &scenario)?,
                unknown: reader.unknown(db, &job, &scenario, &run)?,
            })
        };
        self.0.writer.call(access, work).await
    }

    /// Records that a batch is about to be sent.
    /// If this fails, the batch must not be sent.
    pub(crate) async fn intend(&self, intent: Intent) -> Result<BatchId> {
        let checksums = self.0.checksums;
        self.write(move |db| {
            let seq = run_seq(db, &intent.run)?;
            db.execute(
                "INSERT INTO batch (run, sink, job, scenario, number, part, rows, bytes, resent, header, intended)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    seq,
                    intent.sink,
                    intent.job,
                    intent.scenario,
                    int(intent.number),
                    intent.part,
                    int(intent.rows.len() as u64),
                    int(intent.bytes),
                    int(intent.resent),
                    intent.header.0.to_le_bytes(),
                    now(),
                ],
            )?;
            let id = db.last_insert_rowid();
            let mut hashes = Vec::with_capacity(intent.rows.len() * RowHash::BYTES);
            for row in intent.rows.iter() {
                hashes.extend_from_slice(&row.0.to_le_bytes());
            }
            db.execute(
                "INSERT INTO batch_rows (batch, checksum, hashes) VALUES (?1, ?2, ?3)",
                params![id, checksum(&checksums, id, &hashes), hashes],
            )?;
            Ok(BatchId(id))
        })
        .await
    }

    /// Records the outcome of a batch, and forgets its rows if the service did not accept them.
    pub(crate) async fn record_outcome(&self, batch: BatchId, upload: UploadOutcome) -> Result<()> {
        let request_ids = match &upload.request_ids[..] {
            [] => None,
            ids => Some(json(ids)?),
        };
        // Named as in reports.
        let outcome = json(&upload.outcome)?.trim_matches('"').to_owned();
        self.write(move |db| {
            let recorded = db.execute(
                "UPDATE batch SET outcome = ?2, settled = ?3, attempts = ?4, unknown_attempts = ?5, status = ?6,
                     request_ids = ?7, duration_ms = ?8
                 WHERE id = ?1 AND outcome IS NULL",
                params![
                    batch.0,
                    outcome,
                    now(),
                    upload.attempts,
                    upload.unknown_attempts,
                    upload.status,
                    request_ids,
                    int(upload.duration_ms),
                ],
            )?;
            if recorded == 0 {
                return Err(unexpected_state(batch, "is not in progress").into());
            }
            if !keeps_rows(upload.outcome) {
                forget_rows(db, batch)?;
            }
            Ok(())
        })
        .await
    }

    /// Closes unknown batches whose rows `run` has resent as far as the input still had them. Their rows are kept: one
    /// that returns in a later run is resent and reported then. The rows of the batches in `reported` are forgotten:
    /// there is nothing left to report about them.
    pub(crate) async fn close_unknown(
        &self,
        batches: Vec<BatchId>,
        reported: Vec<BatchId>,
        run: &str,
    ) -> Result<()> {
        let run = run.to_owned();
        self.write(move |db| {
            for batch in batches {
                let closed = db.execute(
                    "UPDATE batch SET decision = 'resent', decided = ?2, decided_by = ?3
                     WHERE id = ?1 AND outcome = 'unknown' AND decision IS NULL",
                    params![batch.0, now(), run],
                )?;
                if closed == 0 {
                    return Err(unexpected_state(batch, "is not an open unknown batch").into());
                }
            }
            for batch in reported {
                forget_rows(db, batch)?;
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn last_run(&self, pipeline: &str, sink: &str) -> Result<Option<LastRun>> {
        let (pipeline, sink) = (pipeline.to_owned(), sink.to_owned());
        self.read(move |db| {
            let found = db.query_row(
                "SELECT run.id, run.ended, run_sink.rows FROM run JOIN run_sink ON run_sink.run = run.seq
                 WHERE run.pipeline = ?1 AND run_sink.sink = ?2 AND run_sink.complete AND NOT run.partial
                     AND run.ended IS NOT NULL
                 ORDER BY run.seq DESC LIMIT 1",
                params![pipeline, sink],
                |row| {
                    Ok(LastRun {
                        run: row.get(0)?,
                        ended: time(row, 1)?,
                        rows: natural(row, 2)?,
                    })
                },
            );
            Ok(found.optional()?)
        })
        .await
    }

    pub(crate) async fn position(&self, pipeline: &str, source: &str) -> Result<Option<String>> {
        let (pipeline, source) = (pipeline.to_owned(), source.to_owned());
        self.read(move |db| {
            let found = db.query_row(
                "SELECT position FROM position WHERE pipeline = ?1 AND source = ?2",
                params![pipeline, source],
                |row| row.get(0),
            );
            Ok(found.optional()?)
        })
        .await
    }

    pub(crate) async fn save_position(&self, pipeline: &str, source: &str, position: String) -> Result<()> {
        self.restore_position(pipeline, source, Some(position)).await
    }

    /// Sets a source's position back to `position`; `None` removes it.
    pub(crate) async fn restore_position(
        &self,
        pipeline: &str,
        source: &str,
        position: Option<String>,
    ) -> Result<()> {
        let (pipeline, source) = (pipeline.to_owned(), source.to_owned());
        self.write(move |db| {
            match position {
                Some(position) => db.execute(
                    "INSERT OR REPLACE INTO position (pipeline, source, position, saved) VALUES (?1, ?2, ?3, ?4)",
                    params![pipeline, source, position, now()],
                )?,
                None => db.execute(
                    "DELETE FROM position WHERE pipeline = ?1 AND source = ?2",
                    params![pipeline, source],
                )?,
            };
            Ok(())
        })
        .await
    }

    pub(super) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        self.0.writer.call(Access::Read, work).await
    }

    pub(super) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        self.require_write()?;
        self.0.writer.call(Access::Write, work).await
    }

    pub(super) fn reader(&self) -> Reader {
        Reader {
            path: self.0.path.clone(),
            checksums: self.0.checksums,
        }
    }

    fn require_write(&self) -> Result<()> {
        if self.0.read_only {
            return Err(Error::unexpected(format!(
                "the ledger `{}` is open read-only",
                self.0.path.display()
            )));
        }
        Ok(())
    }
}

/// Whether the rows of a batch with this outcome matter to later runs.
fn keeps_rows(outcome: BatchOutcome) -> bool {
    match outcome {
        BatchOutcome::Accepted | BatchOutcome::Unknown => true,
        BatchOutcome::Refused | BatchOutcome::NotSent | BatchOutcome::Split | BatchOutcome::Rejected => false,
    }
}

pub(super) fn forget_rows(db: &Connection, batch: BatchId) -> rusqlite::Result<usize> {
    db.execute("DELETE FROM batch_rows WHERE batch = ?1", [batch.0])
}

fn run_seq(db: &Connection, run: &str) -> Result<i64, LedgerError> {
    db.query_row("SELECT seq FROM run WHERE id = ?1", [run], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Error::unexpected(format!("the run {run} is not in the ledger")).into())
}

fn unexpected_state(batch: BatchId, how: &str) -> Error {
    Error::unexpected(format!("batch {} of the ledger {how}", batch.0))
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::unexpected("cannot serialize an entry of the ledger").with_source(error))
}
