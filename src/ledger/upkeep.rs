//! Looking after a ledger: what is in it, whether it is whole, what can go, and what a person knows better.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::failure::Fault;
use super::file::{self, beside};
use super::history::{BATCH, BatchRecord, batch_of, optional_text, optional_time, text};
use super::lock;
use super::rows::{natural, now, time};
use super::store::{Ledger, blocking, forget_rows};
use super::{BatchId, Lock};
use crate::error::{Error, Result};

/// What a ledger holds.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Its size on disk.
    pub bytes: u64,
    /// Runs.
    pub runs: u64,
    /// When the oldest of them began.
    #[serde(serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// Each job and scenario.
    pub jobs: Vec<JobStats>,
    /// Sources that go on where they were.
    pub sources: Vec<SourceStats>,
}

/// A source that goes on where it was.
#[derive(Debug, Clone, Serialize)]
pub struct SourceStats {
    /// Path of its pipeline file.
    pub pipeline: String,
    /// Its name in there.
    pub source: String,
    /// When its position was saved.
    #[serde(serialize_with = "text")]
    pub saved: Timestamp,
}

/// What a job knows of a scenario.
#[derive(Debug, Clone, Serialize)]
pub struct JobStats {
    /// The job.
    pub job: String,
    /// The scenario.
    pub scenario: String,
    /// Rows it has accepted, each counted once.
    pub remembered: u64,
    /// Batches they are in.
    pub batches: u64,
    /// When the last of them was accepted.
    #[serde(serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub last_accepted: Option<Timestamp>,
    /// Batches of unknown outcome that nobody has decided about.
    pub open_unknown: u64,
    /// Rows in these.
    pub unknown_rows: u64,
}

/// What was pruned, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Runs whose history is gone.
    pub runs: u64,
    /// Batches that are gone, or whose history is.
    pub batches: u64,
    /// Rows that are forgotten, and sent again if they are still in the input.
    pub rows: u64,
    /// Sources that are read from their beginning again, so that those rows are in the input.
    pub sources: u64,
}

/// What became of giving free space back to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compacted {
    /// There is little to give back.
    NotNeeded,
    /// A run is under way, which could not write to the ledger meanwhile.
    LeftOut,
    /// It was given back.
    Done {
        /// Bytes of the file before.
        before: u64,
        /// Bytes of the file now.
        after: u64,
    },
}

/// What was forgotten, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Batches.
    pub batches: u64,
    /// Rows in them; one that was accepted twice counts twice.
    pub rows: u64,
    /// Sources that are read from their beginning again, so that those rows are in the input.
    pub sources: u64,
}

/// Which batch a person means.
#[derive(Debug, Clone)]
pub struct Pick {
    /// Begin of its run's id.
    pub run: String,
    /// Its sink, if there is more than one.
    pub sink: Option<String>,
    /// Its number.
    pub number: u64,
    /// Its part, 0 for the whole.
    pub part: u32,
}

impl Ledger {
    /// What is in it.
    ///
    /// # Errors
    /// It cannot be read, or the rows of a batch are not those that were written.
    pub async fn stats(&self) -> Result<Stats> {
        let reader = self.reader();
        let path = self.path().to_owned();
        self.read(move |db| {
            let (runs, oldest) = db.query_row("SELECT count(*), min(started) FROM run", (), |row| {
                Ok((natural(row, 0)?, optional_time(row, 1)?))
            })?;
            // Without an outcome: under way, or left by a run that died and nobody is left to settle.
            let running = running(db, &path)?;
            let mut query = db.prepare(&format!(
                "WITH known AS (
                     SELECT *, decision IS NULL AND (
                         outcome = 'unknown' OR outcome IS NULL AND coalesce(run NOT IN ({running}), TRUE)
                     ) AS open FROM batch
                 )
                 SELECT job, scenario,
                     sum(outcome = 'accepted' AND decision IS NULL OR outcome = 'unknown' AND decision IS 'accepted'),
                     max(CASE WHEN outcome = 'accepted' THEN settled END),
                     sum(open),
                     sum(CASE WHEN open THEN rows ELSE 0 END)
                 FROM known GROUP BY job, scenario ORDER BY job, scenario"
            ))?;
            let mut found = query.query(())?;
            let mut jobs = Vec::new();
            while let Some(row) = found.next()? {
                let (job, scenario): (String, String) = (row.get(0)?, row.get(1)?);
                jobs.push(JobStats {
                    remembered: reader.accepted(db, &job, &scenario, None)?.len() as u64,
                    job,
                    scenario,
                    batches: optional_natural(row, 2)?,
                    last_accepted: optional_time(row, 3)?,
                    open_unknown: optional_natural(row, 4)?,
                    unknown_rows: optional_natural(row, 5)?,
                });
            }
            Ok(Stats {
                bytes: size(&path),
                runs,
                oldest,
                jobs,
                sources: sources(db)?,
            })
        })
        .await
    }

    /// Everything that is wrong with it, each in a sentence; nothing if it is whole. That the key is the ledger's was
    /// seen when it was opened.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub async fn verify(&self) -> Result<Vec<String>> {
        let reader = self.reader();
        self.read(move |db| {
            let mut problems = Vec::new();
            let mut query = db.prepare("PRAGMA integrity_check")?;
            let mut found = query.query(())?;
            while let Some(row) = found.next()? {
                let said: String = row.get(0)?;
                if said != "ok" {
                    problems.push(format!("SQLite: {said}"));
                }
            }
            let mut query = db.prepare("PRAGMA foreign_key_check")?;
            let mut found = query.query(())?;
            while let Some(row) = found.next()? {
                let (table, id, parent): (String, Option<i64>, String) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                let id = id.map_or_else(|| "an entry".to_owned(), |id| format!("entry {id}"));
                problems.push(format!(
                    "{id} of the table `{table}` belongs to none of `{parent}`"
                ));
            }
            let mut query = db.prepare(
                "SELECT batch.id, batch.rows, batch_rows.checksum, batch_rows.hashes,
                     batch.outcome IS NULL
                     OR batch.outcome = 'accepted' AND batch.decision IS NULL
                     OR batch.outcome = 'unknown' AND (batch.decision IS NULL OR batch.decision = 'accepted'
                         OR batch.decision = 'resent' AND batch_rows.batch IS NOT NULL),
                     batch_rows.batch IS NOT NULL
                 FROM batch LEFT JOIN batch_rows ON batch_rows.batch = batch.id ORDER BY batch.id",
            )?;
            let mut found = query.query(())?;
            while let Some(row) = found.next()? {
                let (id, wanted, there): (i64, bool, bool) = (row.get(0)?, row.get(4)?, row.get(5)?);
                if wanted || there {
                    if let Err(how) = reader.hashes(row)? {
                        problems.push(how);
                    } else if !wanted {
                        problems.push(format!(
                            "the rows of batch {id} are there, but they should be forgotten"
                        ));
                    }
                }
            }
            Ok(problems)
        })
        .await
    }

    /// Deletes the history of runs that ended before `before`. Rows they delivered stay remembered, unless `rows`: then
    /// those accepted before are forgotten as well, with the positions of the sources that they may have come from. What
    /// stays in any case: a run with a batch of unknown outcome that
    /// nobody has decided about, and the last complete run of each sink, which the next run is measured by. With
    /// `dry_run` nothing is changed.
    ///
    /// # Errors
    /// The ledger cannot be written to.
    pub async fn prune(&self, before: Timestamp, rows: bool, dry_run: bool) -> Result<Pruned> {
        let path = self.path().to_owned();
        let before = before.as_millisecond();
        self.write(move |db| {
            db.execute_batch("SAVEPOINT prune")?;
            let pruned = prune(db, &path, before, rows)?;
            if dry_run {
                db.execute_batch("ROLLBACK TO prune")?;
            }
            db.execute_batch("RELEASE prune")?;
            Ok(pruned)
        })
        .await
    }

    /// Gives space that is free in the file back to the disk, if it is a good part of it and no run is under way.
    ///
    /// # Errors
    /// The file cannot be rewritten; nothing is lost then.
    pub async fn compact(&self) -> Result<Compacted> {
        let path = self.path().to_owned();
        let worth_it = self
            .write(|db| {
                let pages: i64 = db.query_row("PRAGMA page_count", (), |row| row.get(0))?;
                let free: i64 = db.query_row("PRAGMA freelist_count", (), |row| row.get(0))?;
                Ok(free * 4 > pages)
            })
            .await?;
        if !worth_it {
            return Ok(Compacted::NotNeeded);
        }
        blocking(move || {
            // Nothing else can be written as long as the file is rewritten. A run that begins meanwhile fails at its
            // start, before it has sent anything; one under way would fail with batches sent and not settled.
            if lock::any_held(&path)? {
                return Ok(Compacted::LeftOut);
            }
            let connection = file::open(&path)?.connection;
            let rewrite = || -> rusqlite::Result<_> {
                let size = || -> rusqlite::Result<u64> {
                    let sql = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
                    connection.query_row(sql, (), |row| natural(row, 0))
                };
                let before = size()?;
                connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
                Ok(Compacted::Done {
                    before,
                    after: size()?,
                })
            };
            rewrite().map_err(|error| Fault::from(error).on(&path, "compact"))
        })
        .await
    }

    /// Every job and scenario of which rows are remembered or were.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn jobs(&self) -> Result<Vec<(String, String)>> {
        self.read(|db| {
            let found = db
                .prepare("SELECT DISTINCT job, scenario FROM batch ORDER BY job, scenario")?
                .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(found)
        })
        .await
    }

    /// Forgets the rows that `job` has accepted of `scenario`, so that the next run sends them again, and the positions of
    /// the sources that they may have come from. Batches of unknown outcome that nobody has decided about stay. With
    /// `dry_run` it only counts.
    ///
    /// # Errors
    /// A run sends the scenario to the job at this moment, or the ledger cannot be written to.
    pub async fn forget(&self, job: &str, scenario: &str, dry_run: bool) -> Result<Forgotten> {
        let _lock = self.lock_by_hand(job, scenario)?;
        let (job, scenario) = (job.to_owned(), scenario.to_owned());
        self.write(move |db| {
            let which = Remembered::All {
                job: &job,
                scenario: &scenario,
            };
            if dry_run {
                which.count(db)
            } else {
                which.forget(db)
            }
        })
        .await
    }

    /// Drops the positions of a pipeline's sources, or of one, so that the next run reads them from their beginning. Gives
    /// the names of those that had one; with `dry_run` that is all.
    ///
    /// # Errors
    /// A run of the pipeline is under way, or the ledger cannot be written to.
    pub async fn rewind(&self, pipeline: &str, source: Option<&str>, dry_run: bool) -> Result<Vec<String>> {
        let _lock = self.lock_pipeline(pipeline, "none: hrsink ledger")?;
        let (pipeline, source) = (pipeline.to_owned(), source.map(str::to_owned));
        self.write(move |db| {
            const WHICH: &str = "pipeline = ?1 AND (?2 IS NULL OR source = ?2)";
            let found = db
                .prepare(&format!(
                    "SELECT source FROM position WHERE {WHICH} ORDER BY source"
                ))?
                .query_map(params![pipeline, source], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            if !dry_run {
                db.execute(
                    &format!("DELETE FROM position WHERE {WHICH}"),
                    params![pipeline, source],
                )?;
            }
            Ok(found)
        })
        .await
    }

    /// The batch that a person means.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub async fn pick(&self, pick: Pick) -> Result<BatchRecord> {
        self.read(move |db| {
            let mut query = db.prepare(&format!(
                "SELECT {BATCH} FROM batch JOIN run ON run.seq = batch.run
                 WHERE substr(run.id, 1, length(?1)) = ?1 AND (?2 IS NULL OR batch.sink = ?2) AND batch.number = ?3
                     AND batch.part = ?4
                 ORDER BY batch.id"
            ))?;
            let number = i64::try_from(pick.number).unwrap_or(i64::MAX);
            let mut found = query.query(params![pick.run, pick.sink, number, pick.part])?;
            let mut batches = Vec::new();
            while let Some(row) = found.next()? {
                batches.push(batch_of(row)?);
            }
            let mut batches = batches.into_iter();
            match (batches.next(), batches.next()) {
                (Some(batch), None) => Ok(batch),
                (Some(one), Some(other)) => {
                    let error = Error::config("more than one batch fits");
                    Err(if one.run == other.run {
                        error.with_hint(format!(
                            "say of which sink with `--sink`: `{}`, `{}`, ...",
                            one.sink, other.sink
                        ))
                    } else {
                        error.with_hint("give more of the run's id")
                    }
                    .into())
                }
                (None, _) => Err(Error::config("there is no such batch in the ledger")
                    .with_hint("`hrsink history FILE --batches` names the batches of each run")
                    .into()),
            }
        })
        .await
    }

    /// Notes that a person knows what became of a batch of unknown outcome. If it was `accepted`, its rows count as
    /// accepted; if not, they count as never sent.
    ///
    /// # Errors
    /// Its outcome is known or decided already, a run sends its scenario to its job at this moment, or the ledger cannot
    /// be written to.
    pub async fn decide(&self, batch: &BatchRecord, accepted: bool) -> Result<()> {
        let _lock = self.lock_by_hand(&batch.job, &batch.scenario)?;
        let id = batch.id;
        self.write(move |db| {
            // With the lock held, one without an outcome was left by a run that died.
            let decided = db.execute(
                "UPDATE batch SET outcome = 'unknown', settled = coalesce(settled, ?2), decision = ?3, decided = ?2
                 WHERE id = ?1 AND (outcome IS NULL OR outcome = 'unknown') AND decision IS NULL",
                params![id.0, now(), if accepted { "accepted" } else { "not_accepted" }],
            )?;
            if decided == 0 {
                return Err(Error::config(decided_already(db, id)?)
                    .with_hint("only a batch of unknown outcome can be decided about, and once")
                    .into());
            }
            if !accepted {
                forget_rows(db, id)?;
            }
            Ok(())
        })
        .await
    }

    fn lock_by_hand(&self, job: &str, scenario: &str) -> Result<Lock> {
        self.lock_job(job, scenario, "none: hrsink ledger")
    }
}

fn decided_already(db: &Connection, batch: BatchId) -> rusqlite::Result<String> {
    let found: Option<(String, Option<String>)> = db
        .query_row(
            "SELECT outcome, decision FROM batch WHERE id = ?1",
            [batch.0],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    Ok(match found {
        None => "the batch is not in the ledger any more".to_owned(),
        Some((outcome, None)) => format!("the batch's outcome is known: {outcome}"),
        Some((_, Some(decision))) => format!("the batch was decided about before: {decision}"),
    })
}

/// Remembered rows.
#[derive(Clone, Copy)]
enum Remembered<'a> {
    /// All of a job and scenario.
    All { job: &'a str, scenario: &'a str },
    /// Those accepted before.
    Before(i64),
}

impl Remembered<'_> {
    /// As the reader of accepted rows has it.
    const WHICH: &'static str = "(?1 IS NULL OR job = ?1) AND (?2 IS NULL OR scenario = ?2) AND (
            outcome = 'accepted' AND decision IS NULL AND settled < ?3
            OR outcome = 'unknown' AND decision = 'accepted' AND intended < ?3
        )";

    fn params(self) -> (Option<String>, Option<String>, i64) {
        match self {
            Self::All { job, scenario } => (Some(job.to_owned()), Some(scenario.to_owned()), i64::MAX),
            Self::Before(before) => (None, None, before),
        }
    }

    fn count(self, db: &Connection) -> Result<Forgotten, Fault> {
        let which = Self::WHICH;
        let sources = Self::positions();
        Ok(db.query_row(
            &format!(
                "SELECT count(*), coalesce(sum(rows), 0), (SELECT count(*) FROM position WHERE {sources})
                 FROM batch WHERE {which}"
            ),
            self.params(),
            |row| {
                Ok(Forgotten {
                    batches: natural(row, 0)?,
                    rows: natural(row, 1)?,
                    sources: natural(row, 2)?,
                })
            },
        )?)
    }

    /// Positions behind which the rows may lie: those of the pipelines that delivered them, and all if the record of a
    /// run that did is gone.
    fn positions() -> String {
        let which = Self::WHICH;
        format!(
            "pipeline IN (SELECT run.pipeline FROM batch JOIN run ON run.seq = batch.run WHERE {which})
             OR EXISTS (SELECT 1 FROM batch WHERE batch.run IS NULL AND {which})"
        )
    }

    fn forget(self, db: &Connection) -> Result<Forgotten, Fault> {
        let counted = self.count(db)?;
        let which = Self::WHICH;
        let (job, scenario, before) = self.params();
        // A source that leaves out what it has read would not give them again.
        db.execute(
            &format!("DELETE FROM position WHERE {}", Self::positions()),
            params![job, scenario, before],
        )?;
        db.execute(
            &format!("DELETE FROM batch_rows WHERE batch IN (SELECT id FROM batch WHERE {which})"),
            params![job, scenario, before],
        )?;
        // Without a run there is no history it would be missing from.
        db.execute(
            &format!("DELETE FROM batch WHERE run IS NULL AND {which}"),
            params![job, scenario, before],
        )?;
        db.execute(
            &format!(
                "UPDATE batch SET decision = 'forgotten', decided = ?4, decided_by = NULL WHERE {which}"
            ),
            params![job, scenario, before, now()],
        )?;
        Ok(counted)
    }
}

fn prune(db: &Connection, path: &Path, before: i64, rows: bool) -> Result<Pruned, Fault> {
    let forgotten = if rows {
        Some(Remembered::Before(before).forget(db)?)
    } else {
        None
    };
    let mut query = db.prepare(
        "SELECT seq, id, pipeline, ended FROM run WHERE coalesce(ended, started) < ?1
             AND NOT EXISTS (
                 SELECT 1 FROM batch WHERE batch.run = run.seq
                     AND (outcome IS NULL OR outcome = 'unknown' AND decision IS NULL)
             )
             AND NOT EXISTS (
                 SELECT 1 FROM run_sink WHERE run_sink.run = run.seq AND run_sink.complete AND NOT run.partial
                     AND NOT EXISTS (
                         SELECT 1 FROM run AS later JOIN run_sink AS its ON its.run = later.seq
                         WHERE later.pipeline = run.pipeline AND its.sink = run_sink.sink AND its.complete
                             AND NOT later.partial AND (later.ended, later.seq) > (run.ended, run.seq)
                     )
             )",
    )?;
    let old: Vec<(i64, String, String, Option<i64>)> = query
        .query_map([before], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut pruned = Pruned {
        runs: 0,
        batches: 0,
        rows: forgotten.map_or(0, |forgotten| forgotten.rows),
        sources: forgotten.map_or(0, |forgotten| forgotten.sources),
    };
    for (seq, id, pipeline, ended) in old {
        if ended.is_none() && lock::is_running(path, &pipeline, &id) {
            continue;
        }
        let count = db.query_row("SELECT count(*) FROM batch WHERE run = ?1", [seq], |row| {
            natural(row, 0)
        })?;
        db.execute(
            "DELETE FROM batch WHERE run = ?1
                 AND NOT EXISTS (SELECT 1 FROM batch_rows WHERE batch_rows.batch = batch.id)",
            [seq],
        )?;
        db.execute("UPDATE batch SET request_ids = NULL WHERE run = ?1", [seq])?;
        db.execute("DELETE FROM run WHERE seq = ?1", [seq])?;
        pruned.runs += 1;
        pruned.batches += count;
    }
    Ok(pruned)
}

fn sources(db: &Connection) -> rusqlite::Result<Vec<SourceStats>> {
    db.prepare("SELECT pipeline, source, saved FROM position ORDER BY pipeline, source")?
        .query_map((), |row| {
            Ok(SourceStats {
                pipeline: row.get(0)?,
                source: row.get(1)?,
                saved: time(row, 2)?,
            })
        })?
        .collect()
}

/// The runs that are under way, as SQL has a list.
fn running(db: &Connection, path: &Path) -> rusqlite::Result<String> {
    let mut query = db.prepare("SELECT seq, id, pipeline FROM run WHERE ended IS NULL")?;
    let mut found = query.query(())?;
    let mut running = Vec::new();
    while let Some(row) = found.next()? {
        let (seq, id, pipeline): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if lock::is_running(path, &pipeline, &id) {
            running.push(seq.to_string());
        }
    }
    Ok(running.join(", "))
}

/// Bytes of the file and its write-ahead log.
fn size(path: &Path) -> u64 {
    [path.to_owned(), beside(path, "-wal")]
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|about| about.len())
        .sum()
}

/// A sum in column `n`; of nothing it is none.
fn optional_natural(row: &rusqlite::Row<'_>, n: usize) -> rusqlite::Result<u64> {
    match row.get::<_, Option<i64>>(n)? {
        None => Ok(0),
        Some(_) => natural(row, n),
    }
}
