//! What is told of past runs, and what looking after the ledger does to it.

use super::*;
use crate::ledger::history::{BatchRecord, RunFilter, RunRecord, RunState};
use crate::ledger::maintenance::{BatchSelector, Compaction, Forgotten, Pruned};

fn at(day: i8) -> Timestamp {
    format!("2026-01-{day:02}T06:00:00Z").parse().unwrap()
}

/// A run on a day of January that began and ended, with a batch for each outcome.
async fn past(ledger: &Ledger, id: &str, day: i8, outcomes: &[BatchOutcome]) {
    let new = NewRun {
        started: at(day),
        ..run(id)
    };
    ledger.begin_run(new).await.unwrap();
    for (n, outcome) in (1u64..).zip(outcomes) {
        let row = u128::try_from(day).unwrap() * 10 + u128::from(n);
        send(ledger, intent(id, n, [row]), *outcome).await;
    }
    let end = RunEnd {
        ended: at(day) + Duration::from_millis(1_500),
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

/// Makes batches look as if they had been settled when their run ended.
fn backdate(place: &Place) {
    place
        .sqlite()
        .execute_batch(
            "UPDATE batch SET settled = (SELECT ended FROM run WHERE seq = batch.run),
                 intended = (SELECT started FROM run WHERE seq = batch.run)",
        )
        .unwrap();
}

async fn pick(ledger: &Ledger, run: &str, number: u64) -> Result<BatchRecord> {
    let pick = BatchSelector {
        run: run.to_owned(),
        sink: None,
        number,
        part: 0,
    };
    ledger.find_batch(pick).await
}

async fn whole(ledger: &Ledger) {
    assert_eq!(ledger.verify().await.unwrap(), Vec::<String>::new());
}

use BatchOutcome::{Accepted, Refused, Unknown};

#[tokio::test]
async fn runs_come_newest_first_with_what_became_of_them() {
    let place = Place::new();
    let ledger = place.open().await;
    past(&ledger, "a", 1, &[Accepted, Unknown]).await;
    past(&ledger, "b", 2, &[]).await;
    let other = NewRun {
        pipeline: "/etc/other.yaml".to_owned(),
        started: at(3),
        ..run("c")
    };
    ledger.begin_run(other).await.unwrap();
    ledger.intend(intent("c", 1, [99])).await.unwrap();

    let found = runs(&place.look().await).await;
    assert_eq!(ids(&found), ["c", "b", "a"]);
    let (dead, first) = (&found[0], &found[2]);
    assert_eq!(
        (dead.state, dead.open_unknown, dead.rows),
        (RunState::Dead, 1, None)
    );
    assert_eq!(first.state, RunState::Ended);
    assert_eq!((first.duration_ms, first.exit_code), (Some(1_500), Some(75)));
    assert_eq!(
        (first.rows.unwrap().accepted, first.error.as_deref()),
        (7, Some("no answer"))
    );
    assert_eq!((first.batch_count, first.open_unknown), (2, 1));
    let batch = &first.batches.as_ref().unwrap()[1];
    assert_eq!(
        (batch.outcome.as_deref(), batch.is_open()),
        (Some("unknown"), true)
    );
    assert_eq!(
        (batch.attempts, batch.status, batch.duration_ms),
        (Some(2), Some(200), Some(1_234))
    );
    assert_eq!(batch.request_ids, ["request-1"]);

    let _held = ledger.lock_pipeline("/etc/other.yaml", "c").unwrap();
    let running = &runs(&ledger).await[0];
    assert_eq!((running.state, running.open_unknown), (RunState::Running, 0));
    assert_eq!(running.batches.as_ref().unwrap()[0].outcome, None);

    let only = |pipeline: Option<&str>, run: Option<&str>, most| RunFilter {
        pipeline: pipeline.map(str::to_owned),
        run: run.map(str::to_owned),
        limit: most,
        batches: false,
    };
    for (which, expected) in [
        (only(Some("/etc/hr.yaml"), None, None), &["b", "a"][..]),
        (only(Some("/etc/hr.yaml"), None, Some(1)), &["b"]),
        (only(None, Some("c"), None), &["c"]),
        (only(None, Some("%"), None), &[]),
    ] {
        assert_eq!(ids(&ledger.runs(which).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn a_run_as_json_is_for_other_tools() {
    let place = Place::new();
    let ledger = place.open().await;
    past(&ledger, "a", 1, &[Refused]).await;
    backdate(&place);
    let json = serde_json::to_string_pretty(&runs(&ledger).await[0]).unwrap();
    insta::assert_snapshot!(json, @r#"
    {
      "run": "a",
      "pipeline": "/etc/hr.yaml",
      "state": "ended",
      "started": "2026-01-01T06:00:00Z",
      "ended": "2026-01-01T06:00:01.5Z",
      "duration_ms": 1500,
      "exit_code": 75,
      "rows": {
        "read": 10,
        "copied": 0,
        "filtered": 0,
        "rejected": 0,
        "skipped": 0,
        "accepted": 7,
        "refused": 0,
        "unknown": 3,
        "not_sent": 0
      },
      "partial": false,
      "allowed": [],
      "error": "no answer",
      "sinks": [
        {
          "sink": "purview",
          "rows": 10,
          "complete": true
        }
      ],
      "batch_count": 1,
      "open_unknown": 0,
      "batches": [
        {
          "sink": "purview",
          "scenario": "employee_resignation",
          "number": 1,
          "part": 0,
          "rows": 1,
          "bytes": 1000,
          "resent": 0,
          "intended": "2026-01-01T06:00:00Z",
          "outcome": "refused",
          "recorded": "2026-01-01T06:00:01.5Z",
          "attempts": 2,
          "unknown_attempts": 1,
          "status": 200,
          "request_ids": [
            "request-1"
          ],
          "duration_ms": 1234
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn a_person_decides_about_unknown_batches_once() {
    let place = Place::new();
    let ledger = place.open().await;
    past(&ledger, "run-a", 1, &[Unknown, Unknown, Accepted]).await;
    ledger.begin_run(run("run-b")).await.unwrap();
    ledger.intend(intent("run-b", 1, [50])).await.unwrap();
    assert_eq!(
        known(&ledger, "x").await,
        (vec![13], vec![vec![11], vec![12], vec![50]])
    );

    let taken = pick(&ledger, "run-a", 1).await.unwrap();
    {
        let _run = ledger.lock_job(JOB, SCENARIO, "run-c").unwrap();
        let error = ledger.resolve(&taken, true).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
    }
    ledger.resolve(&taken, true).await.unwrap();
    ledger
        .resolve(&pick(&ledger, "run-a", 2).await.unwrap(), false)
        .await
        .unwrap();
    ledger
        .resolve(&pick(&ledger, "run-b", 1).await.unwrap(), true)
        .await
        .unwrap();
    assert_eq!(known(&ledger, "x").await, (vec![11, 13, 50], vec![]));
    whole(&ledger).await;

    let again = ledger.resolve(&taken, false).await.unwrap_err();
    assert!(
        again.to_string().contains("already resolved: accepted"),
        "{again}"
    );
    let settled = pick(&ledger, "run-a", 3).await.unwrap();
    let error = ledger.resolve(&settled, false).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("outcome of the batch is known: accepted"),
        "{error}"
    );
    let ambiguous = pick(&ledger, "run-", 1).await.unwrap_err();
    assert!(
        ambiguous
            .hints()
            .any(|hint| hint.contains("more of the run's id"))
    );
    assert!(
        pick(&ledger, "run-a", 4)
            .await
            .unwrap_err()
            .to_string()
            .contains("no such batch")
    );
    assert_eq!(known(&ledger, "x").await.0, [11, 13, 50]);
    let decision = runs(&ledger).await[1].batches.as_ref().unwrap()[1]
        .decision
        .clone()
        .unwrap();
    assert_eq!((&*decision.decision, decision.run), ("not_accepted", None));
}

#[tokio::test]
async fn what_was_taken_by_a_persons_word_counts_from_when_it_was_sent() {
    let place = Place::new();
    let ledger = place.open().await;
    past(&ledger, "a", 1, &[Unknown]).await;
    backdate(&place);
    ledger
        .resolve(&pick(&ledger, "a", 1).await.unwrap(), true)
        .await
        .unwrap();
    for (since, rows) in [(at(1), 1), (at(2), 0)] {
        let remembered = ledger.job_state(JOB, SCENARIO, Some(since), "x").await.unwrap();
        assert_eq!(remembered.accepted.len(), rows);
    }
}

#[tokio::test]
async fn statistics_count_each_row_once() {
    let place = Place::new();
    let ledger = place.open().await;
    past(&ledger, "a", 1, &[Accepted, Accepted, Unknown, Refused]).await;
    send(&ledger, intent("a", 9, [11, 12, 77]), Accepted).await;
    let stats = ledger.stats().await.unwrap();
    assert!(stats.bytes > 0);
    assert_eq!((stats.runs, stats.oldest), (1, Some(at(1))));
    let [job] = &stats.jobs[..] else {
        panic!("{stats:?}")
    };
    assert_eq!((&*job.job, &*job.scenario), (JOB, SCENARIO));
    assert_eq!((job.accepted_rows, job.batches), (3, 3));
    assert_eq!((job.open_unknown, job.unknown_rows), (1, 1));
    assert!(job.last_accepted.is_some());
}

#[tokio::test]
async fn what_a_dead_run_left_counts_as_unknown() {
    let place = Place::new();
    let ledger = place.open().await;
    let open = async || {
        let stats = ledger.stats().await.unwrap();
        (stats.jobs[0].open_unknown, stats.jobs[0].unknown_rows)
    };
    ledger.begin_run(run("a")).await.unwrap();
    ledger.intend(intent("a", 1, [1, 2])).await.unwrap();
    let running = ledger.lock_pipeline(&run("a").pipeline, "a").unwrap();
    assert_eq!(open().await, (0, 0), "under way");
    drop(running);
    assert_eq!(open().await, (1, 2), "dead");
    // Another run of the pipeline does not settle it.
    ledger.begin_run(run("b")).await.unwrap();
    let _running = ledger.lock_pipeline(&run("b").pipeline, "b").unwrap();
    ledger.intend(intent("b", 1, [3])).await.unwrap();
    assert_eq!(open().await, (1, 2));
    let batch = pick(&ledger, "a", 1).await.unwrap();
    ledger.resolve(&batch, false).await.unwrap();
    assert_eq!(open().await, (0, 0));
}

#[tokio::test]
async fn what_is_forgotten_is_sent_again_and_stays_in_the_history() {
    let place = Place::new();
    let ledger = place.open().await;
    past(&ledger, "a", 1, &[Accepted, Unknown, Unknown]).await;
    ledger
        .resolve(&pick(&ledger, "a", 2).await.unwrap(), true)
        .await
        .unwrap();
    let elsewhere = "elsewhere.yaml";
    for (pipeline, source) in [
        (&*run("a").pipeline, "export"),
        (&*run("a").pipeline, "ids"),
        (elsewhere, "export"),
    ] {
        ledger
            .save_position(pipeline, source, "there".to_owned())
            .await
            .unwrap();
    }
    let two = Forgotten {
        batches: 2,
        rows: 2,
        sources: 2,
    };
    assert_eq!(ledger.forget(JOB, SCENARIO, true).await.unwrap(), two);
    assert_eq!(known(&ledger, "x").await, (vec![11, 12], vec![vec![13]]));
    {
        let _run = ledger.lock_job(JOB, SCENARIO, "b").unwrap();
        assert_eq!(
            ledger.forget(JOB, SCENARIO, false).await.unwrap_err().kind(),
            ErrorKind::Transient
        );
    }
    assert_eq!(ledger.forget("other", SCENARIO, false).await.unwrap().batches, 0);
    assert_eq!(ledger.forget(JOB, SCENARIO, false).await.unwrap(), two);
    assert_eq!(known(&ledger, "x").await, (vec![], vec![vec![13]]));
    // What the rows may have come from is read again, and nothing else.
    assert_eq!(ledger.position(&run("a").pipeline, "export").await.unwrap(), None);
    assert!(ledger.position(elsewhere, "export").await.unwrap().is_some());
    assert_eq!(runs(&ledger).await[0].batch_count, 3);
    assert_eq!(
        ledger.jobs().await.unwrap(),
        [(JOB.to_owned(), SCENARIO.to_owned())]
    );
    whole(&ledger).await;
}

#[tokio::test]
async fn pruning_keeps_the_rows_the_undecided_and_the_measure() {
    let place = Place::new();
    let ledger = place.open().await;
    past(&ledger, "a", 1, &[Accepted, Refused]).await;
    past(&ledger, "b", 2, &[Unknown]).await;
    past(&ledger, "c", 3, &[Accepted]).await;
    // Died before it did anything.
    let dead = NewRun {
        started: at(3),
        ..run("d")
    };
    ledger.begin_run(dead).await.unwrap();
    past(&ledger, "e", 4, &[Accepted]).await;
    past(&ledger, "f", 5, &[]).await;
    backdate(&place);
    let remembered = (vec![11, 31, 41], vec![vec![21]]);
    assert_eq!(known(&ledger, "x").await, remembered);

    let pruned = Pruned {
        runs: 3,
        batches: 3,
        rows: 0,
        sources: 0,
    };
    assert_eq!(ledger.prune(at(4), false, true).await.unwrap(), pruned);
    assert_eq!(ids(&runs(&ledger).await), ["f", "e", "d", "c", "b", "a"]);
    assert_eq!(ledger.prune(at(4), false, false).await.unwrap(), pruned);
    assert_eq!(ids(&runs(&ledger).await), ["f", "e", "b"]);
    assert_eq!(known(&ledger, "x").await, remembered);
    whole(&ledger).await;

    let all = ledger.prune(at(9), false, false).await.unwrap();
    assert_eq!((all.runs, all.batches), (1, 1));
    assert_eq!(
        ids(&runs(&ledger).await),
        ["f", "b"],
        "the measure and the undecided stay"
    );
    assert_eq!(known(&ledger, "x").await, remembered);

    ledger
        .save_position("elsewhere.yaml", "export", "there".to_owned())
        .await
        .unwrap();
    let rows = ledger.prune(at(4), true, false).await.unwrap();
    // Nobody knows any more which pipeline they came from.
    assert_eq!((rows.runs, rows.rows, rows.sources), (0, 2, 1));
    assert_eq!(known(&ledger, "x").await, (vec![41], vec![vec![21]]));
    whole(&ledger).await;
}

#[tokio::test]
async fn a_run_under_way_is_not_pruned() {
    let place = Place::new();
    let ledger = place.open().await;
    ledger.begin_run(run("a")).await.unwrap();
    let lock = ledger.lock_pipeline(&run("a").pipeline, "a").unwrap();
    assert_eq!(
        ledger.prune(Timestamp::now(), false, false).await.unwrap().runs,
        0
    );
    drop(lock);
    assert_eq!(
        ledger.prune(Timestamp::now(), false, false).await.unwrap().runs,
        1
    );
}

#[tokio::test]
async fn space_is_given_back() {
    let place = Place::new();
    let ledger = place.open().await;
    ledger.begin_run(run("a")).await.unwrap();
    send(&ledger, intent("a", 1, 0..10_000), Accepted).await;
    assert_eq!(
        ledger.compact().await.unwrap(),
        Compaction::NotNeeded,
        "nothing is free"
    );
    ledger.forget(JOB, SCENARIO, false).await.unwrap();
    // A run under way could not write meanwhile.
    let run = ledger.lock_pipeline("/etc/hr.yaml", "b").unwrap();
    assert_eq!(ledger.compact().await.unwrap(), Compaction::Postponed);
    drop(run);
    let Compaction::Done {
        bytes_before: before,
        bytes_after: after,
    } = ledger.compact().await.unwrap()
    else {
        panic!("it is worth it")
    };
    assert!(after < before && after < 100_000, "{before} {after}");
    whole(&ledger).await;
}

#[tokio::test]
async fn verifying_names_everything_that_is_wrong() {
    let place = Place::new();
    let ledger = place.open().await;
    past(&ledger, "a", 1, &[Accepted, Accepted, Accepted, Unknown]).await;
    place
        .sqlite()
        .execute_batch(
            "PRAGMA foreign_keys = OFF;
             UPDATE batch_rows SET hashes = zeroblob(16) WHERE batch = 1;
             DELETE FROM batch_rows WHERE batch = 2;
             UPDATE batch SET outcome = 'refused' WHERE id = 3;
             INSERT INTO batch_rows VALUES (99, zeroblob(16), zeroblob(16));",
        )
        .unwrap();
    let problems = ledger.verify().await.unwrap();
    let expected = [
        "entry 99 of the table `batch_rows` has no `batch`",
        "the rows of batch 1 have changed since they were written",
        "the rows of batch 2 are missing",
        "the rows of batch 3 should have been deleted",
    ];
    assert_eq!(problems, expected);
}
