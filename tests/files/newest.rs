//! `take: newest`: an old snapshot never goes out after a newer one.

use crate::common::{arrived, email, emails, emulator, failure};
use crate::{drop_file, files, pipeline, there};
use serde_json::json;
use std::collections::BTreeSet;

/// The persons of these rows.
fn persons(rows: &[usize]) -> BTreeSet<String> {
    rows.iter().map(|&row| email(row)).collect()
}

#[tokio::test]
async fn while_a_move_fails_no_older_file_takes_the_place_of_the_newest() {
    let emulator = emulator("").await;
    let pipeline = pipeline(
        &emulator.url(),
        files(json!({"take": "newest", "after": {"move": "archive/"}})),
    );
    drop_file(&pipeline, "a1.csv", &[1]);
    drop_file(&pipeline, "a2.csv", &[2]);
    // A file where the folder should be.
    drop_file(&pipeline, "archive", &[]);
    for rows in [1, 0, 0] {
        let report = pipeline.run().await;
        assert_eq!((report.exit_code, report.rows.read), (0, rows), "{report:#?}");
        assert_eq!(there(&pipeline), ["a1.csv", "a2.csv", "archive"]);
    }
    assert_eq!(persons(&[2]), arrived(&emulator).into_iter().collect());
}

#[tokio::test]
async fn the_newest_that_was_delivered_is_remembered_when_it_is_gone() {
    let emulator = emulator("").await;
    for after in [json!({"move": "archive/"}), json!("delete"), json!("leave")] {
        let pipeline = pipeline(
            &emulator.url(),
            files(json!({"take": "newest", "after": after, "read_again": "always"})),
        );
        drop_file(&pipeline, "a1.csv", &[1]);
        drop_file(&pipeline, "a2.csv", &[2]);
        assert_eq!(pipeline.run().await.rows.read, 1);
        // Also if somebody else takes it away.
        let _ = std::fs::remove_file(pipeline.path("in").join("a2.csv"));
        let report = pipeline.run().await;
        assert_eq!(
            (report.exit_code, report.rows.read),
            (0, 0),
            "{after}: {report:#?}"
        );
        drop_file(&pipeline, "a3.csv", &[3, 4]);
        assert_eq!(pipeline.run().await.rows.read, 2);
        assert!(there(&pipeline).contains(&"a1.csv".to_owned()), "{after}");
    }
    assert_eq!(persons(&[2, 3, 4]), arrived(&emulator).into_iter().collect());
}

#[tokio::test]
async fn an_older_file_is_taken_when_it_is_named() {
    let emulator = emulator("").await;
    let mut pipeline = pipeline(
        &emulator.url(),
        files(json!({"take": "newest", "after": "delete", "if_nothing_new": "error"})),
    );
    drop_file(&pipeline, "a1.csv", &[1]);
    drop_file(&pipeline, "a2.csv", &[2]);
    assert_eq!(pipeline.run().await.exit_code, 0);
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    assert!(error.message.contains("of the 1 files"), "{}", error.message);
    assert!(
        error.message.contains("1 older than the newest"),
        "{}",
        error.message
    );
    assert!(error.hints[0].contains("`in/a2.csv`"), "{:?}", error.hints);
    pipeline.file["sources"]["export"]["path"] = json!("in/a1.csv");
    assert_eq!(pipeline.run().await.rows.read, 1);
    assert_eq!(arrived(&emulator), emails(2));
}
