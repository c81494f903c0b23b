//! Records what a person found out about a batch of unknown outcome.

use rusqlite::{Connection, OptionalExtension, params};

use super::BY_HAND;
use crate::error::{Error, Result};
use crate::ledger::history::{BATCH, BatchRecord, batch_of};
use crate::ledger::rows::{all, int, now};
use crate::ledger::store::forget_rows;
use crate::ledger::{BatchId, Ledger};

#[derive(Debug, Clone)]
pub(crate) struct BatchSelector {
    /// Start of the run's id.
    pub run: String,
    /// Required if the run has several sinks.
    pub sink: Option<String>,
    pub number: u64,
    /// 0 for a complete batch.
    pub part: u32,
}

impl Ledger {
    pub(crate) async fn find_batch(&self, selector: BatchSelector) -> Result<BatchRecord> {
        self.read(move |db| {
            let sql = format!(
                "SELECT {BATCH} FROM batch JOIN run ON run.seq = batch.run
                 WHERE substr(run.id, 1, length(?1)) = ?1 AND (?2 IS NULL OR batch.sink = ?2) AND batch.number = ?3
                     AND batch.part = ?4
                 ORDER BY batch.id LIMIT 2"
            );
            let BatchSelector { run, sink, number, part } = selector;
            let found = all(db, &sql, params![run, sink, int(number), part], batch_of)?;
            let mut batches = found.into_iter();
            match (batches.next(), batches.next()) {
                (Some(batch), None) => Ok(batch),
                (Some(one), Some(other)) => {
                    let hint = if one.run == other.run {
                        let (one, other) = (one.sink, other.sink);
                        format!("select the sink with `--sink`: `{one}`, `{other}`, ...")
                    } else {
                        "enter more of the run's id".to_owned()
                    };
                    Err(Error::config("more than one batch matches").with_hint(hint).into())
                }
                (None, _) => Err(Error::config("no such batch in the ledger")
                    .with_hint("`hrsink history FILE --batches` lists the batches of each run")
                    .into()),
            }
        })
        .await
    }

    /// Resolves a batch of unknown outcome. If the service accepted it, its rows count as accepted; if not, as never
    /// sent.
    pub(crate) async fn resolve(&self, batch: &BatchRecord, accepted: bool) -> Result<()> {
        let _lock = self.lock_job(&batch.job, &batch.scenario, BY_HAND)?;
        let id = batch.id;
        self.write(move |db| {
            // The lock is held: a batch without an outcome was left by a run that died.
            let resolved = db.execute(
                "UPDATE batch SET outcome = 'unknown', settled = coalesce(settled, ?2), decision = ?3, decided = ?2
                 WHERE id = ?1 AND (outcome IS NULL OR outcome = 'unknown') AND decision IS NULL",
                params![id.0, now(), if accepted { "accepted" } else { "not_accepted" }],
            )?;
            if resolved == 0 {
                return Err(Error::config(why_not(db, id)?)
                    .with_hint("only a batch of unknown outcome can be resolved, and only once")
                    .into());
            }
            if !accepted {
                forget_rows(db, id)?;
            }
            Ok(())
        })
        .await
    }
}

fn why_not(db: &Connection, batch: BatchId) -> rusqlite::Result<String> {
    let sql = "SELECT outcome, decision FROM batch WHERE id = ?1";
    let found: Option<(String, Option<String>)> = db
        .query_row(sql, [batch.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        None => "the batch is no longer in the ledger".to_owned(),
        Some((outcome, None)) => format!("the outcome of the batch is known: {outcome}"),
        Some((_, Some(decision))) => format!("the batch is already resolved: {decision}"),
    })
}
