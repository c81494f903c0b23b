//! Delivered files are not read again unless they change.

use serde_json::json;

use crate::support::{arrived, emails, emulator, failure, sink};
use crate::{pipeline, put, set_age};

#[tokio::test]
async fn reads_an_overwritten_file_again_but_not_an_unchanged_one() {
    let emulator = emulator("").await;
    let pipeline = pipeline(&emulator, json!({}));
    put(&pipeline, "a.csv", &[1, 2]);
    assert_eq!(pipeline.run().await.rows.read, 2);
    assert_eq!(pipeline.run().await.rows.read, 0);
    // The same size, other content, another time.
    put(&pipeline, "a.csv", &[3, 4]);
    set_age(&pipeline, "a.csv", 1800);
    put(&pipeline, "b.csv", &[1]);
    assert_eq!(pipeline.run().await.rows.read, 3);
    assert_eq!(arrived(&emulator), emails(4));
    assert_eq!(pipeline.run().await.rows.read, 0);
}

#[tokio::test]
async fn reads_local_files_in_every_run_by_default() {
    let emulator = emulator("").await;
    let mut pipeline = pipeline(&emulator, json!({}));
    let source = pipeline.file["sources"]["export"].as_object_mut().unwrap();
    source.remove("select");
    put(&pipeline, "a.csv", &[1, 2]);
    for _ in 0..2 {
        assert_eq!(pipeline.run().await.rows.read, 2);
    }
    assert_eq!(emulator.status().uploads, 1);
}

#[tokio::test]
async fn reads_a_file_again_whose_rows_were_not_accepted() {
    let (down, up) = (emulator("503=1").await, emulator("").await);
    let mut pipeline = pipeline(&down, json!({}));
    put(&pipeline, "a.csv", &[1, 2]);
    failure(&pipeline.run().await, 75);
    *pipeline.sink() = sink(&up.url(), crate::support::JOB, "resignations");
    assert_eq!(pipeline.run().await.rows.read, 2);
    assert_eq!(arrived(&up), emails(2));
}

#[tokio::test]
async fn reports_why_nothing_is_new() {
    let emulator = emulator("").await;
    let read = pipeline(&emulator, json!({"select": {"if_none_new": "error"}}));
    put(&read, "a.csv", &[1]);
    assert_eq!(read.run().await.exit_code, 0);
    let select = json!({"if_none_new": "error", "marker": "{name}.done"});
    let incomplete = pipeline(&emulator, json!({"select": select}));
    put(&incomplete, "a.csv", &[1]);
    for (pipeline, message, hint) in [
        (read, "1 read before", "`select.incremental: false`"),
        (
            incomplete,
            "1 without a marker",
            "`select.marker`, `select.quiet_period`",
        ),
    ] {
        let report = pipeline.run().await;
        let error = failure(&report, 2);
        assert!(error.message.ends_with(message), "{}", error.message);
        assert_eq!(error.hints.len(), 1);
        assert!(error.hints[0].contains(hint), "{:?}", error.hints);
    }
}

#[tokio::test]
async fn a_run_without_new_files_passes_guards_and_is_not_compared_with() {
    let emulator = emulator("").await;
    let mut pipeline = pipeline(&emulator, json!({}));
    pipeline.file["guards"] = json!({"min_rows": 1, "max_shrink": 0.1, "max_growth": 0.1});
    put(&pipeline, "a.csv", &[1, 2, 3, 4]);
    assert_eq!(pipeline.run().await.exit_code, 0);
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    for guard in &report.guards.evaluated {
        let why = &guard.why;
        assert!(
            why.contains("nothing new") || why.contains("anything new"),
            "{why}"
        );
    }
    // Compared with the four rows of the first run.
    put(&pipeline, "b.csv", &[1, 2, 3]);
    failure(&pipeline.run().await, 4);
    put(&pipeline, "b.csv", &[1, 2, 3, 5]);
    assert_eq!(pipeline.run().await.exit_code, 0);
}
