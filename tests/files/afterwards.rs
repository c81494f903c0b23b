//! What is done with files once their rows are final, and only then.

use crate::common::{Pipeline, arrived, emails, emulator, failure};
use crate::{age, drop_file, files, pipeline, there};
use hrsink::pipeline::{Observer, RunOptions};
use serde_json::{Value, json};

fn moving() -> Value {
    files(json!({"after": {"move": "archive/{name}"}}))
}

#[tokio::test]
async fn a_file_is_moved_once_its_rows_are_accepted_and_never_over_another() {
    let emulator = emulator("").await;
    let pipeline = pipeline(&emulator.url(), moving());
    drop_file(&pipeline, "a.csv", &[1, 2, 3]);
    drop_file(&pipeline, "b.csv", &[4]);
    assert_eq!(pipeline.run().await.exit_code, 0);
    assert_eq!(there(&pipeline), ["archive/a.csv", "archive/b.csv"]);
    assert_eq!(arrived(&emulator).len(), 4);
    // Another file of the same name: the vendor's names do not change.
    drop_file(&pipeline, "a.csv", &[5]);
    assert_eq!(pipeline.run().await.exit_code, 0);
    assert_eq!(
        there(&pipeline),
        ["archive/a.csv", "archive/a.csv-2", "archive/b.csv"]
    );
    assert_eq!(arrived(&emulator).len(), 5);
}

#[tokio::test]
async fn a_file_stays_when_its_rows_are_not_accepted_and_the_next_run_sends_and_moves_it() {
    let down = emulator("503=1").await;
    let mut pipeline = pipeline(&down.url(), moving());
    drop_file(&pipeline, "a.csv", &[1, 2]);
    failure(&pipeline.run().await, 75);
    assert_eq!(there(&pipeline), ["a.csv"]);
    let up = emulator("").await;
    let sink = crate::common::sink(&up.url(), crate::common::JOB, "resignations");
    *pipeline.sink() = sink;
    assert_eq!(pipeline.run().await.exit_code, 0);
    assert_eq!(there(&pipeline), ["archive/a.csv"]);
    assert_eq!(arrived(&up).len(), 2);
}

#[tokio::test]
async fn a_run_that_only_looks_leaves_everything_as_it_is() {
    let emulator = emulator("").await;
    let pipeline = pipeline(&emulator.url(), files(json!({"after": "delete"})));
    drop_file(&pipeline, "a.csv", &[1, 2]);
    for options in [
        RunOptions {
            dry_run: true,
            ..RunOptions::default()
        },
        RunOptions {
            limit: Some(1),
            dry_run: true,
            ..RunOptions::default()
        },
        RunOptions {
            limit: Some(1),
            ..RunOptions::default()
        },
    ] {
        pipeline.run_with(options, &Observer::default()).await;
        assert_eq!(there(&pipeline), ["a.csv"]);
    }
    assert_eq!(pipeline.run().await.exit_code, 0);
    assert_eq!(there(&pipeline), [""; 0]);
    assert_eq!(arrived(&emulator).len(), 2);
}

#[tokio::test]
async fn the_trigger_goes_with_its_file() {
    let emulator = emulator("").await;
    for (after, left) in [
        (
            json!({"move": "archive/"}),
            &["archive/a.csv", "archive/a.csv.done", "b.csv"][..],
        ),
        (json!("delete"), &["b.csv"]),
    ] {
        let pipeline = pipeline(
            &emulator.url(),
            files(json!({"after": after, "trigger": "{name}.done"})),
        );
        drop_file(&pipeline, "a.csv", &[1]);
        drop_file(&pipeline, "a.csv.done", &[]);
        drop_file(&pipeline, "b.csv", &[2]);
        assert_eq!(pipeline.run().await.exit_code, 0);
        assert_eq!(there(&pipeline), left);
    }
}

#[tokio::test]
async fn a_move_that_fails_is_no_lost_run_and_is_done_by_the_next_one_without_reading_again() {
    let emulator = emulator("").await;
    let mut pipeline = pipeline(&emulator.url(), moving());
    // Each run would send its rows again, if it read them.
    pipeline.sink()["delivery"] = json!({"mode": "all"});
    drop_file(&pipeline, "a.csv", &[1, 2]);
    // A file where the folder should be.
    drop_file(&pipeline, "archive", &[]);
    for _ in 0..2 {
        assert_eq!(pipeline.run().await.exit_code, 0);
        assert_eq!(there(&pipeline), ["a.csv", "archive"]);
    }
    std::fs::remove_file(pipeline.path("in").join("archive")).unwrap();
    assert_eq!(pipeline.run().await.exit_code, 0);
    assert_eq!(there(&pipeline), ["archive/a.csv"]);
    assert_eq!(arrived(&emulator), emails(2));
    assert_eq!(emulator.status().uploads, 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_put_aside_and_all_others_are_left_for_the_next_run() {
    let emulator = emulator("").await;
    let source = files(json!({"after": {"move": "archive/"}, "on_failure": {"move": "failed/{name}"}}));
    let pipeline = pipeline(&emulator.url(), source);
    drop_file(&pipeline, "a.csv", &[1]);
    std::fs::write(pipeline.path("in").join("b.csv"), "").unwrap();
    age(&pipeline, "b.csv", 3600);
    drop_file(&pipeline, "c.csv", &[2]);
    let report = pipeline.run().await;
    assert!(failure(&report, 2).message.contains("b.csv"));
    assert_eq!(there(&pipeline), ["a.csv", "c.csv", "failed/b.csv"]);
    assert_eq!(arrived(&emulator).len(), 0);
    assert_eq!(pipeline.run().await.exit_code, 0);
    assert_eq!(
        there(&pipeline),
        ["archive/a.csv", "archive/c.csv", "failed/b.csv"]
    );
    assert_eq!(arrived(&emulator), emails(2));
}

#[tokio::test]
async fn files_of_a_source_with_two_sinks_wait_for_both() {
    let (good, bad) = (emulator("").await, emulator("503=1").await);
    let mut pipeline: Pipeline = pipeline(&good.url(), moving());
    let other = "b8be4a7d-e338-43eb-a69e-c513cd458ebb";
    pipeline.file["sinks"]["other"] = crate::common::sink(&bad.url(), other, "resignations");
    drop_file(&pipeline, "a.csv", &[1]);
    failure(&pipeline.run().await, 75);
    assert_eq!(there(&pipeline), ["a.csv"]);
}

#[tokio::test]
async fn a_name_under_which_a_file_would_be_found_again_is_refused() {
    let emulator = emulator("").await;
    let mut source = files(json!({"after": {"move": "archive/{name}"}}));
    source["path"] = json!("in/**/*.csv");
    let pipeline = pipeline(&emulator.url(), source);
    drop_file(&pipeline, "a.csv", &[1]);
    let report = pipeline.run().await;
    assert!(failure(&report, 2).message.contains("finds again"), "{report:#?}");
    assert_eq!(arrived(&emulator).len(), 0);
}

#[tokio::test]
async fn a_pending_move_is_done_by_a_run_that_fails_for_want_of_new_files() {
    let emulator = emulator("").await;
    let source = files(json!({"after": {"move": "archive/"}, "if_nothing_new": "error"}));
    let pipeline = pipeline(&emulator.url(), source);
    drop_file(&pipeline, "a.csv", &[1]);
    drop_file(&pipeline, "archive", &[]);
    assert_eq!(pipeline.run().await.exit_code, 0);
    std::fs::remove_file(pipeline.path("in").join("archive")).unwrap();
    // Found once and read before once.
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    assert!(
        error
            .message
            .ends_with("of the 1 files that match `in/*.csv`, 1 read before"),
        "{}",
        error.message
    );
    assert_eq!(there(&pipeline), ["archive/a.csv"]);
    // And it is known to be done: a new file of that name is one.
    drop_file(&pipeline, "a.csv", &[2]);
    assert_eq!(pipeline.run().await.rows.read, 1);
}

#[tokio::test]
async fn a_file_of_which_every_row_was_rejected_stays_and_is_read_again() {
    for after in [json!("delete"), json!({"move": "archive/"}), json!("leave")] {
        let emulator = emulator("").await;
        let stays = after == json!("leave");
        let mut pipeline = pipeline(&emulator.url(), files(json!({"after": after})));
        drop_file(&pipeline, "a.csv", &[1, 2]);
        drop_file(&pipeline, "b.csv", &[3]);
        // A wrong mapping.
        let right = pipeline.file["transforms"].clone();
        let wrong = right.to_string().replace("upn", "last_day");
        pipeline.file["transforms"] = serde_json::from_str(&wrong).unwrap();
        let report = pipeline.run().await;
        assert_eq!((report.exit_code, report.rows.rejected), (3, 3), "{report:#?}");
        assert_eq!(there(&pipeline), ["a.csv", "b.csv"]);
        pipeline.file["transforms"] = right;
        let report = pipeline.run().await;
        assert_eq!((report.exit_code, report.rows.read), (0, 3), "{report:#?}");
        assert_eq!(there(&pipeline).contains(&"a.csv".to_owned()), stays);
        assert_eq!(pipeline.path("in").join("b.csv").exists(), stays);
        assert_eq!(arrived(&emulator), emails(3));
    }
}

/// Rows that a `where` leaves out are no good ones.
#[tokio::test]
async fn a_file_with_rejects_is_done_if_there_are_no_more_of_them_than_allowed() {
    for (allowed, left) in [(0.5, vec![]), (0.4, vec!["a.csv", "b.csv"])] {
        let emulator = emulator("").await;
        let mut pipeline = pipeline(&emulator.url(), files(json!({"after": "delete"})));
        pipeline.file["rejects"] = json!({"max_ratio": allowed});
        pipeline.file["transforms"]["resignations"]["where"] = json!("upn <> 'left-out@contoso.com'");
        for (name, second) in [("a.csv", "nobody"), ("b.csv", "no one")] {
            drop_file(&pipeline, name, &[1]);
            let path = pipeline.path("in").join(name);
            let mut text = std::fs::read_to_string(&path).unwrap();
            for who in [second, "left-out@contoso.com", "left-out@contoso.com"] {
                text.push_str(&format!("{who},2026-03-02T09:00:00Z,2026-04-01T00:00:00Z\n"));
            }
            std::fs::write(path, text).unwrap();
        }
        let report = pipeline.run().await;
        let code = if left.is_empty() { 0 } else { 3 };
        assert_eq!((report.exit_code, report.rows.rejected), (code, 2), "{report:#?}");
        assert_eq!(there(&pipeline), left);
    }
}
