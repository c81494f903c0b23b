//! What past runs did, out of the ledger.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde::{Serialize, Serializer};

use super::failure::Fault;
use super::lock;
use super::rows::{natural, time};
use super::store::Ledger;
use crate::component::Totals;
use crate::error::Result;

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct RunRecord {
    /// Its id.
    pub run: String,
    /// What its pipeline is known by.
    pub pipeline: String,
    /// Whether it has ended.
    pub state: RunState,
    /// When it began.
    #[serde(serialize_with = "text")]
    pub started: Timestamp,
    /// When it ended; absent if it runs or died. So with all that is known at the end.
    #[serde(serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// From start to end, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The program's exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Sums over all components.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Totals>,
    /// Whether it read its sources only in part.
    pub partial: bool,
    /// Guards that were let through by hand.
    pub allowed: Vec<String>,
    /// The message of its failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its sinks, with what came to them.
    pub sinks: Vec<SinkRecord>,
    /// Number of its batches.
    pub batch_count: u64,
    /// How many of them are of unknown outcome, and nobody has decided about them.
    pub open_unknown: u64,
    /// Its batches, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batches: Option<Vec<BatchRecord>>,
}

/// Whether a run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It has, and left its sums.
    Ended,
    /// It is under way: its process holds the pipeline.
    Running,
    /// It was killed, or the machine went down.
    Dead,
}

/// What came to a sink.
#[derive(Debug, Clone, Serialize)]
pub struct SinkRecord {
    /// Its name.
    pub sink: String,
    /// Rows.
    pub rows: u64,
    /// Whether it delivered all of them.
    pub complete: bool,
}

/// A batch.
#[derive(Debug, Clone, Serialize)]
pub struct BatchRecord {
    /// Its place in the ledger.
    #[serde(skip)]
    pub(crate) id: super::BatchId,
    /// Its run.
    #[serde(skip)]
    pub(crate) run: String,
    /// Its job.
    #[serde(skip)]
    pub(crate) job: String,
    /// Name of the sink.
    pub sink: String,
    /// Identifier of the scenario.
    pub scenario: String,
    /// Number of the batch in the sink and run.
    pub number: u64,
    /// Which part of it, 0 for the whole.
    pub part: u32,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of its payload.
    pub bytes: u64,
    /// How many of its rows were in an earlier batch of unknown outcome.
    pub resent: u64,
    /// When it was about to be sent.
    #[serde(serialize_with = "text")]
    pub intended: Timestamp,
    /// What became of it; absent while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// When that was known.
    #[serde(serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub settled: Option<Timestamp>,
    /// Requests made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Requests before the last without an answer after the body may have been taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_attempts: Option<u32>,
    /// Status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Ids for a support case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_ids: Vec<String>,
    /// From the first request to the outcome, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What came of it later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

impl BatchRecord {
    /// Its number, with its part where it has one: `3`, `3.2`.
    pub fn label(&self) -> String {
        match self.part {
            0 => self.number.to_string(),
            part => format!("{}.{part}", self.number),
        }
    }

    /// Whether the service may have taken it and nobody has decided about it.
    pub fn is_open(&self) -> bool {
        self.outcome.as_deref() == Some("unknown") && self.decision.is_none()
    }
}

/// What came of a batch after its outcome was written down.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// `resent`, `accepted` or `not_accepted` of an unknown one; `forgotten`: its rows count no more.
    pub decision: String,
    /// When.
    #[serde(serialize_with = "text")]
    pub decided: Timestamp,
    /// By which run; absent: by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// Which runs to look at.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Those of this pipeline only.
    pub pipeline: Option<String>,
    /// Those whose id begins like this only.
    pub run: Option<String>,
    /// At most so many, the newest.
    pub most: Option<u32>,
    /// Whether with their batches.
    pub batches: bool,
}

impl Ledger {
    /// Past runs, newest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn runs(&self, which: Which) -> Result<Vec<RunRecord>> {
        let path = self.path().to_owned();
        self.read(move |db| {
            let mut query = db.prepare(
                "SELECT seq, id, pipeline, started, ended, exit_code, partial, allowed, error, read, copied, filtered,
                     rejected, skipped, accepted, refused, unknown, not_sent
                 FROM run
                 WHERE (?1 IS NULL OR pipeline = ?1) AND (?2 IS NULL OR substr(id, 1, length(?2)) = ?2)
                 ORDER BY started DESC, seq DESC LIMIT ?3",
            )?;
            let most = which.most.map_or(-1, i64::from);
            let mut found = query.query(params![which.pipeline, which.run, most])?;
            let mut runs = Vec::new();
            while let Some(row) = found.next()? {
                let seq: i64 = row.get(0)?;
                let mut run = run_of(row)?;
                if run.ended.is_none() && lock::is_running(&path, &run.pipeline, &run.run) {
                    run.state = RunState::Running;
                }
                run.sinks = sinks_of(db, seq)?;
                let batches = batches_of(db, seq, run.state)?;
                run.batch_count = batches.len() as u64;
                run.open_unknown = batches.iter().filter(|batch| batch.is_open()).count() as u64;
                run.batches = which.batches.then_some(batches);
                runs.push(run);
            }
            Ok(runs)
        })
        .await
    }
}

fn run_of(row: &Row<'_>) -> Result<RunRecord, Fault> {
    let started = time(row, 3)?;
    let ended = optional_time(row, 4)?;
    let rows = match ended {
        None => None,
        Some(_) => Some(Totals {
            read: natural(row, 9)?,
            copied: natural(row, 10)?,
            filtered: natural(row, 11)?,
            rejected: natural(row, 12)?,
            skipped: natural(row, 13)?,
            accepted: natural(row, 14)?,
            refused: natural(row, 15)?,
            unknown: natural(row, 16)?,
            not_sent: natural(row, 17)?,
            // Not kept: they say how a query works, not what became of a row.
            ..Totals::default()
        }),
    };
    Ok(RunRecord {
        run: row.get(1)?,
        pipeline: row.get(2)?,
        state: match ended {
            Some(_) => RunState::Ended,
            None => RunState::Dead,
        },
        started,
        ended,
        duration_ms: ended.map(|ended| between(started, ended)),
        exit_code: row.get(5)?,
        rows,
        partial: row.get(6)?,
        allowed: list(row, 7)?,
        error: row.get(8)?,
        sinks: Vec::new(),
        batch_count: 0,
        open_unknown: 0,
        batches: None,
    })
}

fn sinks_of(db: &Connection, run: i64) -> rusqlite::Result<Vec<SinkRecord>> {
    db.prepare("SELECT sink, rows, complete FROM run_sink WHERE run = ?1 ORDER BY sink")?
        .query_map([run], |row| {
            Ok(SinkRecord {
                sink: row.get(0)?,
                rows: natural(row, 1)?,
                complete: row.get(2)?,
            })
        })?
        .collect()
}

/// The columns that [`batch_of`] reads.
pub(super) const BATCH: &str =
    "batch.id, run.id, batch.job, batch.sink, batch.scenario, batch.number, batch.part,
    batch.rows, batch.bytes, batch.resent, batch.intended, batch.outcome, batch.settled, batch.attempts,
    batch.unknown_attempts, batch.status, batch.request_ids, batch.duration_ms, batch.decision, batch.decided,
    batch.decided_by";

fn batches_of(db: &Connection, run: i64, state: RunState) -> Result<Vec<BatchRecord>, Fault> {
    let mut query = db.prepare(&format!(
        "SELECT {BATCH} FROM batch JOIN run ON run.seq = batch.run WHERE batch.run = ?1
         ORDER BY batch.sink, batch.number, batch.part, batch.id"
    ))?;
    let mut found = query.query([run])?;
    let mut batches = Vec::new();
    while let Some(row) = found.next()? {
        let mut batch = batch_of(row)?;
        if state != RunState::Running {
            // Nobody is left to settle it.
            batch.outcome.get_or_insert_with(|| "unknown".to_owned());
        }
        batches.push(batch);
    }
    Ok(batches)
}

pub(super) fn batch_of(row: &Row<'_>) -> Result<BatchRecord, Fault> {
    let decision: Option<String> = row.get(18)?;
    let decision = match decision {
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
        settled: optional_time(row, 12)?,
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

/// A JSON list in column `n`; none is an empty one.
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

/// Milliseconds; a clock that was set back gives none.
fn between(started: Timestamp, ended: Timestamp) -> u64 {
    u64::try_from(ended.as_millisecond() - started.as_millisecond()).unwrap_or_default()
}

pub(super) fn text<S: Serializer>(time: &Timestamp, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

pub(super) fn optional_text<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    match time {
        Some(time) => text(time, serializer),
        None => serializer.serialize_none(),
    }
}
