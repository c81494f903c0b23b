//! The ledger as its users see it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::disk::with_suffix;
use crate::error::{ErrorKind, Result};

mod damage;
mod history;

const JOB: &str = "d5723623 b8be4a7d";
const SCENARIO: &str = "employee_resignation";

struct Fixture(TempDir);

impl Fixture {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state").join("state.db")
    }

    async fn open(&self) -> Ledger {
        Ledger::open(&self.path()).await.unwrap()
    }

    async fn open_read_only(&self) -> Ledger {
        Ledger::open_read_only(&self.path()).await.unwrap().unwrap()
    }

    /// A connection to the same file.
    fn sqlite(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

async fn opened() -> (Fixture, Ledger) {
    let fixture = Fixture::new();
    let ledger = fixture.open().await;
    (fixture, ledger)
}

/// A ledger in which the run `a` has started.
async fn started() -> (Fixture, Ledger) {
    let (fixture, ledger) = opened().await;
    ledger.begin_run(run("a")).await.unwrap();
    (fixture, ledger)
}

fn run(id: &str) -> NewRun {
    NewRun {
        id: id.to_owned(),
        pipeline: "/etc/hr.yaml".to_owned(),
        started: "2026-01-31T06:00:00Z".parse().unwrap(),
        allowed: Vec::new(),
        partial: false,
    }
}

fn end() -> RunEnd {
    RunEnd {
        ended: "2026-01-31T06:01:00Z".parse().unwrap(),
        exit_code: 0,
        rows: Totals::default(),
        sinks: Vec::new(),
        error: None,
    }
}

fn intent(run: &str, number: u64, rows: impl IntoIterator<Item = u128>) -> Intent {
    Intent {
        run: run.to_owned(),
        sink: "purview".to_owned(),
        job: JOB.to_owned(),
        scenario: SCENARIO.to_owned(),
        number,
        part: 0,
        bytes: 1_000,
        rows: Arc::new(rows.into_iter().map(RowHash).collect()),
        resent: 0,
        header: RowHash(u128::MAX),
    }
}

fn upload_outcome(outcome: BatchOutcome) -> UploadOutcome {
    UploadOutcome {
        outcome,
        attempts: 2,
        unknown_attempts: 1,
        status: Some(200),
        request_ids: vec!["request-1".to_owned()],
        duration_ms: 1_234,
    }
}

async fn send(ledger: &Ledger, intent: Intent, outcome: BatchOutcome) {
    let batch = ledger.intend(intent).await.unwrap();
    let recorded = ledger.record_outcome(batch, upload_outcome(outcome));
    recorded.await.unwrap();
}

/// The accepted rows below 100, and the rows of open unknown batches.
async fn known(ledger: &Ledger, run: &str) -> (Vec<u128>, Vec<Vec<u128>>) {
    let state = ledger.job_state(JOB, SCENARIO, None, run).await.unwrap();
    let accepted = (0..100).filter(|&row| state.accepted.contains(RowHash(row)));
    let rows = |batch: &UnknownBatch| batch.rows.iter().map(|row| row.0).collect();
    (accepted.collect(), state.unknown.iter().map(rows).collect())
}

#[tokio::test]
async fn records_one_outcome_and_closes_a_batch_once() {
    let (_fixture, ledger) = started().await;
    let batch = ledger.intend(intent("a", 1, [1])).await.unwrap();
    ledger.end_run("a", end()).await.unwrap();
    let late = upload_outcome(BatchOutcome::Accepted);
    let late = ledger.record_outcome(batch, late).await.unwrap_err();
    assert!(late.to_string().contains("not in progress"), "{late}");
    ledger.close_unknown(vec![batch], vec![], "b").await.unwrap();
    let again = ledger.close_unknown(vec![batch], vec![], "b").await.unwrap_err();
    assert!(again.to_string().contains("not an open unknown batch"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_many_writers() {
    let (fixture, ledger) = started().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 1..=100u64 {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            let row = u128::from(n) << 120 | u128::from(n);
            send(&ledger, intent("a", n, [row]), BatchOutcome::Accepted).await;
            // A failed request in the same transaction does not disturb the others.
            ledger.intend(intent("nobody", n, [5])).await.unwrap_err();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let ledger = fixture.open_read_only().await;
    let state = ledger.job_state(JOB, SCENARIO, None, "b").await.unwrap();
    assert_eq!((state.accepted.len(), state.unknown.len()), (100, 0));
}

#[tokio::test]
async fn finds_the_last_complete_run_of_a_sink() {
    let (_fixture, ledger) = opened().await;
    let last = async |pipeline, sink| {
        let last = ledger.last_run(pipeline, sink).await.unwrap();
        last.map(|last| (last.run, last.rows))
    };
    for (id, partial, rows) in [("a", false, 100), ("b", false, 200), ("c", true, 300)] {
        let new = NewRun { partial, ..run(id) };
        ledger.begin_run(new).await.unwrap();
        let (sink, complete) = ("purview".to_owned(), true);
        let sinks = vec![SinkEnd { sink, rows, complete }];
        ledger.end_run(id, RunEnd { sinks, ..end() }).await.unwrap();
    }
    assert_eq!(last("/etc/hr.yaml", "purview").await, Some(("b".to_owned(), 200)));
    assert_eq!(last("/etc/hr.yaml", "other").await, None);
    assert_eq!(last("/etc/other.yaml", "purview").await, None);
}

#[tokio::test]
async fn writes_nothing_when_read_only() {
    let (fixture, ledger) = opened().await;
    drop(ledger);
    let before = std::fs::read(fixture.path()).unwrap();
    let ledger = fixture.open_read_only().await;
    assert_eq!(known(&ledger, "a").await, (vec![], vec![]));
    for error in [
        ledger.begin_run(run("a")).await.unwrap_err(),
        ledger.save_position("p", "s", String::new()).await.unwrap_err(),
        ledger.lock_pipeline("p", "a").unwrap_err(),
    ] {
        assert!(error.to_string().contains("read-only"), "{error}");
    }
    drop(ledger);
    assert_eq!(std::fs::read(fixture.path()).unwrap(), before);
    drop(fixture.open().await);
}

#[tokio::test]
async fn counts_rows_resent_by_a_run_that_died() {
    let (_fixture, ledger) = started().await;
    let unreported = async |run: &str| {
        let state = ledger.job_state(JOB, SCENARIO, None, run).await.unwrap();
        let unreported = state.unknown.iter().map(|batch| batch.resent_unreported);
        unreported.collect::<Vec<u64>>()
    };
    // Accepted before it was unknown: not resent.
    send(&ledger, intent("a", 1, [1, 9]), BatchOutcome::Accepted).await;
    send(&ledger, intent("a", 2, [1, 2, 3]), BatchOutcome::Unknown).await;
    ledger.end_run("a", end()).await.unwrap();
    ledger.begin_run(run("b")).await.unwrap();
    send(&ledger, intent("b", 1, [2]), BatchOutcome::Accepted).await;
    assert_eq!(unreported("b").await, [0], "it will report it itself");
    ledger.begin_run(run("c")).await.unwrap();
    send(&ledger, intent("c", 1, [3, 4]), BatchOutcome::Accepted).await;
    assert_eq!(unreported("d").await, [2]);
    ledger.end_run("b", end()).await.unwrap();
    assert_eq!(unreported("d").await, [1], "one of them reported it");
}
