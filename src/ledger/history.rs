//! Reads past runs and their batches.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::error::LedgerError;
use super::rows::{all, natural, time};
use super::store::Ledger;
use super::{SinkEnd, lock};
use crate::component::Totals;
use crate::error::Result;

/// A run. Fields that are known at its end are missing while it runs, and if it died.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunRecord {
    pub run: String,
    pub pipeline: String,
    pub state: RunState,
    pub started: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Totals>,
    pub partial: bool,
    pub allowed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub sinks: Vec<SinkEnd>,
    pub batch_count: u64,
    /// Batches of unknown outcome that nobody has resolved.
    pub open_unknown: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batches: Option<Vec<BatchRecord>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunState {
    Ended,
    /// Its process holds the pipeline's lock.
    Running,
    /// It was killed, or the machine went down.
    Dead,
}

/// A batch. Fields that are known with its outcome are missing before.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BatchRecord {
    #[serde(skip)]
    pub(crate) id: super::BatchId,
    #[serde(skip)]
    pub(crate) run: String,
    #[serde(skip)]
    pub(crate) job: String,
    pub sink: String,
    pub scenario: String,
    pub number: u64,
    /// Number of the part; 0 for a complete batch.
    pub part: u32,
    pub rows: u64,
    pub bytes: u64,
    /// Rows that were in an earlier batch of unknown outcome.
    pub resent: u64,
    pub intended: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

impl BatchRecord {
    pub(crate) fn is_open(&self) -> bool {
        self.outcome.as_deref() == Some("unknown") && self.decision.is_none()
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Decision {
    /// `resent`, `accepted` or `not_accepted` for an unknown batch; `forgotten`: its rows no longer count.
    pub decision: String,
    pub decided: Timestamp,
    /// The run that decided; missing if a person did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct RunFilter {
    pub pipeline: Option<String>,
    /// Start of the run's id.
    pub run: Option<String>,
    pub limit: Option<u32>,
    pub batches: bool,
}

impl Ledger {
    /// Past runs, newest first.
    pub(crate) async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRecord>> {
        let path = self.path().to_owned();
        self.read(move |db| {
            let sql = format!(
                "SELECT seq, id, pipeline, started, ended, exit_code, partial, allowed, error, {COUNTERS}
                 FROM run
                 WHERE (?1 IS NULL OR pipeline = ?1) AND (?2 IS NULL OR substr(id, 1, length(?2)) = ?2)
                 ORDER BY started DESC, seq DESC LIMIT ?3"
            );
            let limit = filter.limit.map_or(-1, i64::from);
            all(db, &sql, params![filter.pipeline, filter.run, limit], |row| {
                let seq: i64 = row.get(0)?;
                let mut run = run_of(row)?;
                if run.ended.is_none() && lock::is_running(&path, &run.pipeline, &run.run) {
                    run.state = RunState::Running;
                }
                run.sinks = sinks_of(db, seq)?;
                let batches = batches_of(db, seq, run.state)?;
                run.batch_count = batches.len() as u64;
                run.open_unknown = batches.iter().filter(|batch| batch.is_open()).count() as u64;
                run.batches = filter.batches.then_some(batches);
                Ok(run)
            })
        })
        .await
    }
}

/// The columns of `run` with its [`counters`], in the same order.
pub(super) const COUNTERS: &str =
    "read, copied, filtered, rejected, skipped, accepted, refused, unknown, not_sent";

/// `derived` and `combined` are not recorded: they describe a query, not the outcome of rows.
pub(super) fn counters(rows: &mut Totals) -> [&mut u64; 9] {
    [
        &mut rows.read,
        &mut rows.copied,
        &mut rows.filtered,
        &mut rows.rejected,
        &mut rows.skipped,
        &mut rows.accepted,
        &mut rows.refused,
        &mut rows.unknown,
        &mut rows.not_sent,
    ]
}

fn run_of(row: &Row<'_>) -> Result<RunRecord, LedgerError> {
    let started = time(row, 3)?;
    let ended = optional_time(row, 4)?;
    let mut rows = Totals::default();
    if ended.is_some() {
        for (column, counter) in (9..).zip(counters(&mut rows)) {
            *counter = natural(row, column)?;
        }
    }
    Ok(RunRecord {
        run: row.get(1)?,
        pipeline: row.get(2)?,
        state: match ended {
            Some(_) => RunState::Ended,
            None => RunState::Dead,
        },
        started,
        ended,
        // Zero if the clock was set back.
        duration_ms: ended.map(|ended| {
            u64::try_from(ended.as_millisecond() - started.as_millisecond()).unwrap_or_default()
        }),
        exit_code: row.get(5)?,
        rows: ended.map(|_| rows),
        partial: row.get(6)?,
        allowed: list(row, 7)?,
        error: row.get(8)?,
        sinks: Vec::new(),
        batch_count: 0,
        open_unknown: 0,
        batches: None,
    })
}

fn sinks_of(db: &Connection, run: i64) -> Result<Vec<SinkEnd>, LedgerError> {
    let sql = "SELECT sink, rows, complete FROM run_sink WHERE run = ?1 ORDER BY sink";
    all(db, sql, [run], |row| {
        Ok(SinkEnd {
            sink: row.get(0)?,
            rows: natural(row, 1)?,
            complete: row.get(2)?,
        })
    })
}

pub(super) const BATCH: &str =
    "batch.id, run.id, batch.job, batch.sink, batch.scenario, batch.number, batch.part,
    batch.rows, batch.bytes, batch.resent, batch.intended, batch.outcome, batch.settled, batch.attempts,
    batch.unknown_attempts, batch.status, batch.request_ids, batch.duration_ms, batch.decision, batch.decided,
    batch.decided_by";

fn batches_of(db: &Connection, run: i64, state: RunState) -> Result<Vec<BatchRecord>, LedgerError> {
    let sql = format!(
        "SELECT {BATCH} FROM batch JOIN run ON run.seq = batch.run WHERE batch.run = ?1
         ORDER BY batch.sink, batch.number, batch.part, batch.id"
    );
    all(db, &sql, [run], |row| {
        let mut batch = batch_of(row)?;
        if state != RunState::Running {
            // Its run died before it could record the outcome.
            batch.outcome.get_or_insert_with(|| "unknown".to_owned());
        }
        Ok(batch)
    })
}

pub(super) fn batch_of(row: &Row<'_>) -> Result<BatchRecord, LedgerError> {
    let decision = match row.get(18)? {
        None => None,
        Some(decision) => Some(Decision {
            decision,
            decided: time(row, 19)?,
            run: row.get(20)?,
        }),
    };
    Ok(BatchRecord {
        id: super::BatchId(row.get(0)?),
        run: row.get(1)?,
        job: row.get(2)?,
        sink: row.get(3)?,
        scenario: row.get(4)?,
        number: natural(row, 5)?,
        part: row.get(6)?,
        rows: natural(row, 7)?,
        bytes: natural(row, 8)?,
        resent: natural(row, 9)?,
        intended: time(row, 10)?,
        outcome: row.get(11)?,
        recorded: optional_time(row, 12)?,
        attempts: row.get(13)?,
        unknown_attempts: row.get(14)?,
        status: row.get(15)?,
        request_ids: list(row, 16)?,
        duration_ms: match row.get::<_, Option<i64>>(17)? {
            None => None,
            Some(_) => Some(natural(row, 17)?),
        },
        decision,
    })
}

/// A JSON list in column `n`; empty if it is null.
fn list(row: &Row<'_>, n: usize) -> rusqlite::Result<Vec<String>> {
    let text: Option<String> = row.get(n)?;
    serde_json::from_str(text.as_deref().unwrap_or("[]")).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(n, rusqlite::types::Type::Text, error.into())
    })
}

pub(super) fn optional_time(row: &Row<'_>, n: usize) -> rusqlite::Result<Option<Timestamp>> {
    match row.get::<_, Option<i64>>(n)? {
        None => Ok(None),
        Some(_) => time(row, n).map(Some),
    }
}
