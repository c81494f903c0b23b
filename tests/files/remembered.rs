//! Files that were read are not read again, unless they are others by now.

use crate::common::{arrived, emails, emulator, failure};
use crate::{age, drop_file, files, pipeline};
use serde_json::json;

#[tokio::test]
async fn an_unchanged_file_is_not_read_again_and_an_overwritten_one_is() {
    let emulator = emulator("").await;
    let pipeline = pipeline(&emulator.url(), files(json!({})));
    drop_file(&pipeline, "a.csv", &[1, 2]);
    assert_eq!(pipeline.run().await.rows.read, 2);
    assert_eq!(pipeline.run().await.rows.read, 0);
    // The same size, another content, another time.
    drop_file(&pipeline, "a.csv", &[3, 4]);
    age(&pipeline, "a.csv", 1800);
    drop_file(&pipeline, "b.csv", &[1]);
    assert_eq!(pipeline.run().await.rows.read, 3);
    assert_eq!(arrived(&emulator), emails(4));
    assert_eq!(pipeline.run().await.rows.read, 0);
}

#[tokio::test]
async fn a_file_whose_rows_did_not_arrive_is_read_again() {
    let down = emulator("503=1").await;
    let mut pipeline = pipeline(&down.url(), files(json!({})));
    drop_file(&pipeline, "a.csv", &[1, 2]);
    failure(&pipeline.run().await, 75);
    let up = emulator("").await;
    *pipeline.sink() = crate::common::sink(&up.url(), crate::common::JOB, "resignations");
    assert_eq!(pipeline.run().await.rows.read, 2);
    assert_eq!(arrived(&up), emails(2));
}

#[tokio::test]
async fn nothing_new_can_be_an_error() {
    let emulator = emulator("").await;
    let pipeline = pipeline(&emulator.url(), files(json!({"if_nothing_new": "error"})));
    drop_file(&pipeline, "a.csv", &[1]);
    assert_eq!(pipeline.run().await.exit_code, 0);
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    assert!(error.message.contains("nothing new"), "{}", error.message);
    assert!(error.hints[0].contains("read_again: always"), "{:?}", error.hints);
}

#[tokio::test]
async fn what_is_held_back_is_not_said_to_have_been_read() {
    let emulator = emulator("").await;
    let source = files(json!({"if_nothing_new": "error", "trigger": "{name}.done"}));
    let pipeline = pipeline(&emulator.url(), source);
    drop_file(&pipeline, "a.csv", &[1]);
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    assert!(
        error.message.ends_with("1 without their trigger"),
        "{}",
        error.message
    );
    assert!(
        error.hints[0].contains("`trigger` or `settle`"),
        "{:?}",
        error.hints
    );
    assert!(!error.hints.concat().contains("read_again"), "{:?}", error.hints);
}

#[tokio::test]
async fn files_on_the_disk_are_read_in_every_run_unless_it_is_set() {
    let emulator = emulator("").await;
    let mut source = files(json!({}));
    source.as_object_mut().unwrap().remove("read_again");
    let pipeline = pipeline(&emulator.url(), source);
    drop_file(&pipeline, "a.csv", &[1, 2]);
    for _ in 0..2 {
        assert_eq!(pipeline.run().await.rows.read, 2);
    }
    assert_eq!(emulator.status().uploads, 1);
}

#[tokio::test]
async fn a_run_without_new_files_trips_no_guard_and_is_none_to_compare_with() {
    let emulator = emulator("").await;
    let mut pipeline = pipeline(&emulator.url(), files(json!({})));
    pipeline.file["guards"] = json!({"min_rows": 1, "max_shrink": 0.1, "max_growth": 0.1});
    drop_file(&pipeline, "a.csv", &[1, 2, 3, 4]);
    assert_eq!(pipeline.run().await.exit_code, 0);
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert!(
        report
            .guards
            .evaluated
            .iter()
            .all(|guard| guard.why.contains("nothing new") || guard.why.contains("anything new"))
    );
    // Compared with the four rows of the first run, not with none.
    drop_file(&pipeline, "b.csv", &[1, 2, 3]);
    failure(&pipeline.run().await, 4);
    drop_file(&pipeline, "b.csv", &[1, 2, 3, 5]);
    assert_eq!(pipeline.run().await.exit_code, 0);
}
