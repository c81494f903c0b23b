//! Maintains a ledger by hand: statistics, verification, compaction; see also [`forget`] and [`resolve`].

mod forget;
mod resolve;

pub(crate) use forget::Deleted;
pub(crate) use resolve::BatchSelector;

use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;
use serde::Serialize;

use super::error::LedgerError;
use super::file;
use super::history::optional_time;
use super::lock;
use super::rows::{all, natural, time};
use super::store::Ledger;
use crate::disk::{blocking, with_suffix};
use crate::error::Result;

/// In the lock files of commands, in place of a run's id.
const BY_HAND: &str = "none: hrsink ledger";

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stats {
    pub bytes: u64,
    pub runs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    pub jobs: Vec<JobStats>,
    pub sources: Vec<SourceStats>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct SourceStats {
    pub pipeline: String,
    pub source: String,
    pub saved: Timestamp,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct JobStats {
    pub job: String,
    pub scenario: String,
    /// Distinct rows it has accepted.
    pub accepted_rows: u64,
    pub batches: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_accepted: Option<Timestamp>,
    /// Batches of unknown outcome that nobody has resolved, and their rows.
    pub open_unknown: u64,
    pub unknown_rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compaction {
    NotNeeded,
    /// A run is in progress, which could not write meanwhile.
    Postponed,
    Done {
        before: u64,
        after: u64,
    },
}

impl Ledger {
    pub(crate) async fn stats(&self) -> Result<Stats> {
        let reader = self.reader();
        let path = self.path().to_owned();
        self.read(move |db| {
            let (runs, oldest) = db.query_row("SELECT count(*), min(started) FROM run", (), |row| {
                Ok((natural(row, 0)?, optional_time(row, 1)?))
            })?;
            // Without an outcome: in progress, or left by a run that died.
            let running = running(db, &path)?;
            let sql = format!(
                "WITH known AS (
                     SELECT *, decision IS NULL AND (
                         outcome = 'unknown' OR outcome IS NULL AND coalesce(run NOT IN ({running}), TRUE)
                     ) AS open FROM batch
                 )
                 SELECT job, scenario,
                     coalesce(sum(outcome = 'accepted' AND decision IS NULL OR outcome = 'unknown' AND decision IS 'accepted'), 0),
                     max(CASE WHEN outcome = 'accepted' THEN settled END),
                     coalesce(sum(open), 0),
                     coalesce(sum(CASE WHEN open THEN rows ELSE 0 END), 0)
                 FROM known GROUP BY job, scenario ORDER BY job, scenario"
            );
            let jobs = all(db, &sql, (), |row| {
                let (job, scenario): (String, String) = (row.get(0)?, row.get(1)?);
                Ok(JobStats {
                    accepted_rows: reader.accepted(db, &job, &scenario, None)?.len() as u64,
                    job,
                    scenario,
                    batches: natural(row, 2)?,
                    last_accepted: optional_time(row, 3)?,
                    open_unknown: natural(row, 4)?,
                    unknown_rows: natural(row, 5)?,
                })
            })?;
            let sql = "SELECT pipeline, source, saved FROM position ORDER BY pipeline, source";
            let sources = all(db, sql, (), |row| {
                Ok(SourceStats {
                    pipeline: row.get(0)?,
                    source: row.get(1)?,
                    saved: time(row, 2)?,
                })
            })?;
            Ok(Stats {
                bytes: size(&path),
                runs,
                oldest,
                jobs,
                sources,
            })
        })
        .await
    }

    /// Everything that is wrong with it, a sentence each. The key was verified when it was opened.
    pub(crate) async fn verify(&self) -> Result<Vec<String>> {
        let reader = self.reader();
        self.read(move |db| {
            let mut problems = all(db, "PRAGMA integrity_check", (), |row| {
                let message: String = row.get(0)?;
                Ok(format!("SQLite: {message}"))
            })?;
            problems.retain(|problem| problem != "SQLite: ok");
            problems.extend(all(db, "PRAGMA foreign_key_check", (), |row| {
                let (table, id, parent): (String, Option<i64>, String) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                let id = id.map_or_else(|| "an entry".to_owned(), |id| format!("entry {id}"));
                Ok(format!("{id} of the table `{table}` has no `{parent}`"))
            })?);
            let sql = "SELECT batch.id, batch.rows, batch_rows.checksum, batch_rows.hashes,
                     batch.outcome IS NULL
                     OR batch.outcome = 'accepted' AND batch.decision IS NULL
                     OR batch.outcome = 'unknown' AND (batch.decision IS NULL OR batch.decision = 'accepted'
                         OR batch.decision = 'resent' AND batch_rows.batch IS NOT NULL),
                     batch_rows.batch IS NOT NULL
                 FROM batch LEFT JOIN batch_rows ON batch_rows.batch = batch.id ORDER BY batch.id";
            all(db, sql, (), |row| {
                let (id, expected, exist): (i64, bool, bool) = (row.get(0)?, row.get(4)?, row.get(5)?);
                if expected || exist {
                    if let Err(how) = reader.hashes(row)? {
                        problems.push(how);
                    } else if !expected {
                        problems.push(format!("the rows of batch {id} should have been deleted"));
                    }
                }
                Ok(())
            })?;
            Ok(problems)
        })
        .await
    }

    /// Returns unused space of the file to the disk, if it is a good part of the file and no run is in progress.
    pub(crate) async fn compact(&self) -> Result<Compaction> {
        let path = self.path().to_owned();
        let worth_it = self
            .write(|db| {
                let pages: i64 = db.query_row("PRAGMA page_count", (), |row| row.get(0))?;
                let free: i64 = db.query_row("PRAGMA freelist_count", (), |row| row.get(0))?;
                Ok(free * 4 > pages)
            })
            .await?;
        if !worth_it {
            return Ok(Compaction::NotNeeded);
        }
        blocking("access to the ledger", move || {
            // Nothing can be written meanwhile. A run that starts then fails before it sends anything; one in progress
            // would fail with batches sent and no outcome recorded.
            if lock::any_held(&path)? {
                return Ok(Compaction::Postponed);
            }
            let connection = file::open(&path)?.connection;
            let size = || -> rusqlite::Result<u64> {
                let sql = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
                connection.query_row(sql, (), |row| natural(row, 0))
            };
            let rewrite = || -> rusqlite::Result<_> {
                let before = size()?;
                connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
                let after = size()?;
                Ok(Compaction::Done { before, after })
            };
            rewrite().map_err(|error| LedgerError::from(error).on(&path, "compact"))
        })
        .await
    }

    pub(crate) async fn jobs(&self) -> Result<Vec<(String, String)>> {
        self.read(|db| {
            let sql = "SELECT DISTINCT job, scenario FROM batch ORDER BY job, scenario";
            all(db, sql, (), |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }
}

/// The runs in progress, as a list in SQL.
fn running(db: &Connection, path: &Path) -> Result<String, LedgerError> {
    let sql = "SELECT seq, id, pipeline FROM run WHERE ended IS NULL";
    let mut open: Vec<(i64, String, String)> =
        all(db, sql, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    open.retain(|(_, id, pipeline)| lock::is_running(path, pipeline, id));
    let running: Vec<String> = open.iter().map(|(seq, ..)| seq.to_string()).collect();
    Ok(running.join(", "))
}

/// Bytes of the file and its write-ahead log.
fn size(path: &Path) -> u64 {
    [path.to_owned(), with_suffix(path, "-wal")]
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|metadata| metadata.len())
        .sum()
}
