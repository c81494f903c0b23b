//! History and maintenance.

use serde_json::json;

use super::*;
use crate::ledger::history::{RunFilter, RunRecord};
use crate::ledger::maintenance::{BatchSelector, Compaction};

fn at(day: i8) -> Timestamp {
    format!("2026-01-{day:02}T06:00:00Z").parse().unwrap()
}

/// A run on a day of January, with a batch for each outcome.
async fn past(ledger: &Ledger, id: &str, day: i8, outcomes: &[BatchOutcome]) {
    let started = at(day);
    ledger.begin_run(NewRun { started, ..run(id) }).await.unwrap();
    for (n, outcome) in (1u64..).zip(outcomes) {
        let row = u128::try_from(day).unwrap() * 10 + u128::from(n);
        send(ledger, intent(id, n, [row]), *outcome).await;
    }
    let end = RunEnd {
        ended: started + Duration::from_millis(1_500),
        exit_code: 75,
        rows: Totals {
            read: 10,
            accepted: 7,
            unknown: 3,
            ..Totals::default()
        },
        sinks: vec![SinkEnd {
            sink: "purview".to_owned(),
            rows: 10,
            complete: true,
        }],
        error: Some("no answer".to_owned()),
    };
    ledger.end_run(id, end).await.unwrap();
}

async fn runs(ledger: &Ledger) -> Vec<RunRecord> {
    let which = RunFilter {
        batches: true,
        ..RunFilter::default()
    };
    ledger.runs(which).await.unwrap()
}

fn ids(runs: &[RunRecord]) -> Vec<&str> {
    runs.iter().map(|run| &*run.run).collect()
}

/// Dates batches to the start and end of their run.
fn backdate(fixture: &Fixture) {
    let sql = "UPDATE batch SET settled = (SELECT ended FROM run WHERE seq = batch.run),
         intended = (SELECT started FROM run WHERE seq = batch.run)";
    fixture.sqlite().execute_batch(sql).unwrap();
}

/// Resolves batch `number` of a run.
async fn resolve(ledger: &Ledger, run: &str, number: u64, accepted: bool) -> Result<()> {
    let batch = ledger.find_batch(BatchSelector {
        run: run.to_owned(),
        sink: None,
        number,
        part: 0,
    });
    ledger.resolve(&batch.await?, accepted).await
}

async fn is_valid(ledger: &Ledger) {
    assert_eq!(ledger.verify().await.unwrap(), Vec::<String>::new());
}

use BatchOutcome::{Accepted, Refused, Unknown};

#[tokio::test]
async fn selects_runs_by_pipeline_and_number() {
    let (_fixture, ledger) = opened().await;
    past(&ledger, "a", 1, &[]).await;
    past(&ledger, "b", 2, &[]).await;
    let pipeline = "/etc/other.yaml".to_owned();
    let other = NewRun { pipeline, ..run("c") };
    ledger.begin_run(other).await.unwrap();
    let newest = RunFilter {
        pipeline: Some("/etc/hr.yaml".to_owned()),
        limit: Some(1),
        ..RunFilter::default()
    };
    assert_eq!(ids(&ledger.runs(newest).await.unwrap()), ["b"]);
}

#[tokio::test]
async fn shows_no_outcome_of_a_batch_in_progress() {
    let (_fixture, ledger) = started().await;
    ledger.intend(intent("a", 1, [1])).await.unwrap();
    let _running = ledger.lock_pipeline(&run("a").pipeline, "a").unwrap();
    let running = &runs(&ledger).await[0];
    assert_eq!(running.open_unknown, 0);
    assert_eq!(running.batches.as_ref().unwrap()[0].outcome, None);
}

#[tokio::test]
async fn serializes_runs_as_json() {
    let (fixture, ledger) = opened().await;
    past(&ledger, "a", 1, &[Refused]).await;
    backdate(&fixture);
    let json = serde_json::to_value(&runs(&ledger).await[0]).unwrap();
    let expected = json!({
        "run": "a", "pipeline": "/etc/hr.yaml", "state": "ended", "partial": false, "allowed": [],
        "started": "2026-01-01T06:00:00Z", "ended": "2026-01-01T06:00:01.5Z", "duration_ms": 1500,
        "exit_code": 75, "error": "no answer",
        "rows": {
            "read": 10, "copied": 0, "filtered": 0, "rejected": 0, "skipped": 0, "accepted": 7,
            "refused": 0, "unknown": 3, "not_sent": 0,
        },
        "sinks": [{"sink": "purview", "rows": 10, "complete": true}],
        "batch_count": 1, "open_unknown": 0,
        "batches": [{
            "sink": "purview", "scenario": SCENARIO, "number": 1, "part": 0, "rows": 1, "bytes": 1000,
            "resent": 0, "intended": "2026-01-01T06:00:00Z", "outcome": "refused",
            "recorded": "2026-01-01T06:00:01.5Z", "attempts": 2, "unknown_attempts": 1, "status": 200,
            "request_ids": ["request-1"], "duration_ms": 1234,
        }],
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn resolves_open_unknown_batches_only() {
    let (_fixture, ledger) = opened().await;
    past(&ledger, "run-a", 1, &[Unknown, Accepted]).await;
    past(&ledger, "run-b", 2, &[Unknown]).await;
    {
        let _run = ledger.lock_job(JOB, SCENARIO, "run-c").unwrap();
        let error = resolve(&ledger, "run-a", 1, true).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
    }
    for (run, number, message) in [
        ("run-a", 2, "outcome of the batch is known: accepted"),
        ("run-a", 3, "no such batch"),
        ("run-", 1, "more than one batch matches"),
    ] {
        let error = resolve(&ledger, run, number, false).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.hints().count() > 0, "{error}");
    }
}

#[tokio::test]
async fn dates_resolved_rows_to_their_upload() {
    let (fixture, ledger) = opened().await;
    past(&ledger, "a", 1, &[Unknown]).await;
    backdate(&fixture);
    resolve(&ledger, "a", 1, true).await.unwrap();
    for (since, rows) in [(at(1), 1), (at(2), 0)] {
        let state = ledger.job_state(JOB, SCENARIO, Some(since), "x").await;
        assert_eq!(state.unwrap().accepted.len(), rows);
    }
}

#[tokio::test]
async fn counts_batches_of_a_dead_run_as_unknown() {
    let (_fixture, ledger) = started().await;
    let open = async || {
        let stats = ledger.stats().await.unwrap();
        (stats.jobs[0].open_unknown, stats.jobs[0].unknown_rows)
    };
    ledger.intend(intent("a", 1, [1, 2])).await.unwrap();
    let running = ledger.lock_pipeline(&run("a").pipeline, "a").unwrap();
    assert_eq!(open().await, (0, 0), "in progress");
    drop(running);
    assert_eq!(open().await, (1, 2), "dead");
    // Another run of the pipeline changes nothing.
    ledger.begin_run(run("b")).await.unwrap();
    let _running = ledger.lock_pipeline(&run("b").pipeline, "b").unwrap();
    ledger.intend(intent("b", 1, [3])).await.unwrap();
    assert_eq!(open().await, (1, 2));
    resolve(&ledger, "a", 1, false).await.unwrap();
    assert_eq!(open().await, (0, 0));
}

#[tokio::test]
async fn forgets_accepted_rows_and_rewinds_their_sources() {
    let (_fixture, ledger) = opened().await;
    past(&ledger, "a", 1, &[Accepted, Unknown, Unknown]).await;
    resolve(&ledger, "a", 2, true).await.unwrap();
    let (here, elsewhere) = (run("a").pipeline, "elsewhere.yaml");
    for (pipeline, source) in [(&*here, "export"), (&here, "ids"), (elsewhere, "export")] {
        let saved = ledger.save_position(pipeline, source, "there".to_owned());
        saved.await.unwrap();
    }
    {
        let _run = ledger.lock_job(JOB, SCENARIO, "b").unwrap();
        let error = ledger.forget(JOB, SCENARIO, false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
    }
    let all = ledger.forget(JOB, SCENARIO, false).await.unwrap();
    assert_eq!((all.batches, all.rows, all.sources), (2, 2, 2));
    assert_eq!(known(&ledger, "x").await, (vec![], vec![vec![13]]));
    // Only the sources that the rows may come from are rewound.
    assert_eq!(ledger.position(&here, "export").await.unwrap(), None);
    assert!(ledger.position(elsewhere, "export").await.unwrap().is_some());
}

#[tokio::test]
async fn prunes_history_but_not_rows_open_batches_or_the_last_complete_run() {
    let (fixture, ledger) = opened().await;
    past(&ledger, "a", 1, &[Accepted, Refused]).await;
    past(&ledger, "b", 2, &[Unknown]).await;
    past(&ledger, "c", 3, &[Accepted]).await;
    // Died at once.
    let started = at(3);
    ledger.begin_run(NewRun { started, ..run("d") }).await.unwrap();
    past(&ledger, "e", 4, &[Accepted]).await;
    past(&ledger, "f", 5, &[]).await;
    backdate(&fixture);
    let rows = (vec![11, 31, 41], vec![vec![21]]);

    let pruned = ledger.prune(at(4), false, false).await.unwrap();
    assert_eq!((pruned.runs, pruned.batches), (3, 3));
    assert_eq!(ids(&runs(&ledger).await), ["f", "e", "b"]);
    assert_eq!(known(&ledger, "x").await, rows);
    is_valid(&ledger).await;

    let all = ledger.prune(at(9), false, false).await.unwrap();
    assert_eq!((all.runs, all.batches), (1, 1));
    // The last complete run and the open batch stay.
    assert_eq!(ids(&runs(&ledger).await), ["f", "b"]);
    assert_eq!(known(&ledger, "x").await, rows);

    let saved = ledger.save_position("elsewhere.yaml", "export", "there".to_owned());
    saved.await.unwrap();
    let pruned = ledger.prune(at(4), true, false).await.unwrap();
    // Their pipeline is no longer known.
    assert_eq!((pruned.runs, pruned.rows, pruned.sources), (0, 2, 1));
    assert_eq!(known(&ledger, "x").await, (vec![41], vec![vec![21]]));
    is_valid(&ledger).await;
}

#[tokio::test]
async fn does_not_prune_a_run_in_progress() {
    let (_fixture, ledger) = started().await;
    let prune = async || ledger.prune(Timestamp::now(), false, false).await.unwrap().runs;
    let lock = ledger.lock_pipeline(&run("a").pipeline, "a").unwrap();
    assert_eq!(prune().await, 0);
    drop(lock);
    assert_eq!(prune().await, 1);
}

#[tokio::test]
async fn compacts_the_file() {
    let (_fixture, ledger) = started().await;
    send(&ledger, intent("a", 1, 0..10_000), Accepted).await;
    assert_eq!(ledger.compact().await.unwrap(), Compaction::NotNeeded);
    ledger.forget(JOB, SCENARIO, false).await.unwrap();
    // A run in progress could not write meanwhile.
    let run = ledger.lock_pipeline("/etc/hr.yaml", "b").unwrap();
    assert_eq!(ledger.compact().await.unwrap(), Compaction::Postponed);
    drop(run);
    let Compaction::Done { before, after } = ledger.compact().await.unwrap() else {
        panic!("not compacted")
    };
    assert!(after < before && after < 100_000, "{before} {after}");
    is_valid(&ledger).await;
}

#[tokio::test]
async fn verifies_everything() {
    let (fixture, ledger) = opened().await;
    past(&ledger, "a", 1, &[Accepted, Accepted, Accepted, Unknown]).await;
    let sql = "PRAGMA foreign_keys = OFF;
         UPDATE batch_rows SET hashes = zeroblob(16) WHERE batch = 1;
         DELETE FROM batch_rows WHERE batch = 2;
         UPDATE batch SET outcome = 'refused' WHERE id = 3;
         INSERT INTO batch_rows VALUES (99, zeroblob(16), zeroblob(16));";
    fixture.sqlite().execute_batch(sql).unwrap();
    let problems = ledger.verify().await.unwrap();
    let expected = [
        "entry 99 of the table `batch_rows` has no `batch`",
        "the rows of batch 1 have changed since they were written",
        "the rows of batch 2 are missing",
        "the rows of batch 3 should have been deleted",
    ];
    assert_eq!(problems, expected);
}
