//! Deletes rows, history and positions.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::BY_HAND;
use crate::error::Result;
use crate::ledger::Ledger;
use crate::ledger::error::LedgerError;
use crate::ledger::lock;
use crate::ledger::rows::{all, natural, now};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Deleted {
    pub runs: u64,
    /// Batches that were deleted, have lost their history, or whose rows were forgotten.
    pub batches: u64,
    /// Rows that were forgotten, and are sent again if the input still has them; one accepted twice counts twice.
    pub rows: u64,
    /// Sources that are read from the start again because those rows may come from them.
    pub sources: u64,
}

impl Ledger {
    /// Deletes the history of runs that ended before `before`; with `rows` also the rows accepted before, and the
    /// positions of the sources they may come from. Keeps runs with an open unknown batch, and the last complete run of
    /// each sink, which guards compare with. `dry_run` only counts.
    pub(crate) async fn prune(&self, before: Timestamp, rows: bool, dry_run: bool) -> Result<Deleted> {
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

    /// Forgets the rows of `scenario` that `job` has accepted, so that they are sent again, and the positions of the
    /// sources they may come from. Open unknown batches stay. `dry_run` only counts.
    pub(crate) async fn forget(&self, job: &str, scenario: &str, dry_run: bool) -> Result<Deleted> {
        let _lock = self.lock_job(job, scenario, BY_HAND)?;
        let rows = AcceptedRows {
            of: Some((job.to_owned(), scenario.to_owned())),
            before: i64::MAX,
        };
        self.write(move |db| if dry_run { rows.count(db) } else { rows.forget(db) })
            .await
    }

    /// Deletes the positions of a pipeline's sources, or of one, so that they are read from the start again. Returns
    /// the names of the sources that had one; `dry_run` does only that.
    pub(crate) async fn rewind(
        &self,
        pipeline: &str,
        source: Option<&str>,
        dry_run: bool,
    ) -> Result<Vec<String>> {
        let _lock = self.lock_pipeline(pipeline, BY_HAND)?;
        let (pipeline, source) = (pipeline.to_owned(), source.map(str::to_owned));
        self.write(move |db| {
            const SELECTED: &str = "pipeline = ?1 AND (?2 IS NULL OR source = ?2)";
            let sql = format!("SELECT source FROM position WHERE {SELECTED} ORDER BY source");
            let found = all(db, &sql, params![pipeline, source], |row| Ok(row.get(0)?))?;
            if !dry_run {
                db.execute(
                    &format!("DELETE FROM position WHERE {SELECTED}"),
                    params![pipeline, source],
                )?;
            }
            Ok(found)
        })
        .await
    }
}

/// Accepted rows: all, or those of a job and scenario.
struct AcceptedRows {
    of: Option<(String, String)>,
    /// In milliseconds.
    before: i64,
}

impl AcceptedRows {
    /// Batches, as the reader of accepted rows selects them.
    const SELECTED: &'static str = "(?1 IS NULL OR job = ?1) AND (?2 IS NULL OR scenario = ?2) AND (
            outcome = 'accepted' AND decision IS NULL AND settled < ?3
            OR outcome = 'unknown' AND decision = 'accepted' AND intended < ?3
        )";

    fn params(&self) -> (Option<&str>, Option<&str>, i64) {
        let of = self.of.as_ref();
        let (job, scenario) = of
            .map(|(job, scenario)| (job.as_str(), scenario.as_str()))
            .unzip();
        (job, scenario, self.before)
    }

    /// Positions of the sources the rows may come from: those of the pipelines that delivered them; all positions if one
    /// of their runs has been pruned.
    fn positions() -> String {
        let selected = Self::SELECTED;
        format!(
            "pipeline IN (SELECT run.pipeline FROM batch JOIN run ON run.seq = batch.run WHERE {selected})
             OR EXISTS (SELECT 1 FROM batch WHERE batch.run IS NULL AND {selected})"
        )
    }

    fn count(&self, db: &Connection) -> Result<Deleted, LedgerError> {
        let (selected, positions) = (Self::SELECTED, Self::positions());
        let sql = format!(
            "SELECT count(*), coalesce(sum(rows), 0), (SELECT count(*) FROM position WHERE {positions})
             FROM batch WHERE {selected}"
        );
        Ok(db.query_row(&sql, self.params(), |row| {
            Ok(Deleted {
                runs: 0,
                batches: natural(row, 0)?,
                rows: natural(row, 1)?,
                sources: natural(row, 2)?,
            })
        })?)
    }

    fn forget(&self, db: &Connection) -> Result<Deleted, LedgerError> {
        let counted = self.count(db)?;
        let (selected, positions) = (Self::SELECTED, Self::positions());
        for sql in [
            // An incremental source would not return the rows again.
            format!("DELETE FROM position WHERE {positions}"),
            format!("DELETE FROM batch_rows WHERE batch IN (SELECT id FROM batch WHERE {selected})"),
            // Those of pruned runs are in no history.
            format!("DELETE FROM batch WHERE run IS NULL AND {selected}"),
        ] {
            db.execute(&sql, self.params())?;
        }
        let (job, scenario, before) = self.params();
        db.execute(
            &format!(
                "UPDATE batch SET decision = 'forgotten', decided = ?4, decided_by = NULL WHERE {selected}"
            ),
            params![job, scenario, before, now()],
        )?;
        Ok(counted)
    }
}

fn prune(db: &Connection, path: &Path, before: i64, rows: bool) -> Result<Deleted, LedgerError> {
    let mut pruned = match rows {
        true => AcceptedRows { of: None, before }.forget(db)?,
        false => Deleted::default(),
    };
    pruned.batches = 0;
    let sql = "SELECT seq, id, pipeline, ended FROM run WHERE coalesce(ended, started) < ?1
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
             )";
    let old: Vec<(i64, String, String, Option<i64>)> = all(db, sql, [before], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    for (seq, id, pipeline, ended) in old {
        if ended.is_none() && lock::is_running(path, &pipeline, &id) {
            continue;
        }
        pruned.runs += 1;
        pruned.batches += db.query_row("SELECT count(*) FROM batch WHERE run = ?1", [seq], |row| {
            natural(row, 0)
        })?;
        for sql in [
            "DELETE FROM batch WHERE run = ?1
                 AND NOT EXISTS (SELECT 1 FROM batch_rows WHERE batch_rows.batch = batch.id)",
            "UPDATE batch SET request_ids = NULL WHERE run = ?1",
            "DELETE FROM run WHERE seq = ?1",
        ] {
            db.execute(sql, [seq])?;
        }
    }
    Ok(pruned)
}
