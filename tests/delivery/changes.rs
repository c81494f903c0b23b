//! Only what the job does not have is sent: rows that are new, changed, mended, or due again.

use crate::common::{JOB, Pipeline, arrived, email, emails, emulator};
use crate::{OTHER_ID, totals};
use serde_json::json;

/// As if the rows had been accepted so many hours earlier.
fn age(pipeline: &Pipeline, batch: i64, hours: i64) {
    let changed = rusqlite::Connection::open(pipeline.path(".hrsink/state.db"))
        .unwrap()
        .execute(
            "UPDATE batch SET intended = intended - ?1, settled = settled - ?1 WHERE number = ?2",
            (hours * 3_600_000, batch),
        )
        .unwrap();
    assert_eq!(changed, 1);
}

fn change(pipeline: &Pipeline, from: &str, to: &str) {
    let export = std::fs::read_to_string(pipeline.path("export.csv")).unwrap();
    assert!(export.contains(from));
    pipeline.write("export.csv", &export.replace(from, to));
}

#[tokio::test]
async fn a_changed_row_is_sent_and_the_others_are_not() {
    let emulator = emulator("").await;
    let pipeline = Pipeline::new(&emulator.url(), 6);
    pipeline.run().await;
    change(
        &pipeline,
        &format!("{},2026-03-02T09", email(4)),
        &format!("{},2026-03-02T10", email(4)),
    );
    let report = pipeline.run().await;
    assert_eq!(
        report.rows,
        totals(6, |rows| (rows.accepted, rows.skipped) = (1, 5))
    );
    assert_eq!(emulator.imports().last().unwrap().rows, 1);
    // The same moment written in another way is the same row.
    change(&pipeline, "2026-03-02T09:00:00Z", "2026-03-02T09:00:00+00:00");
    let report = pipeline.run().await;
    assert_eq!(report.rows, totals(6, |rows| rows.skipped = 6));
}

#[tokio::test]
async fn a_row_that_is_twice_in_the_input_is_sent_once() {
    let emulator = emulator("").await;
    let pipeline = Pipeline::new(&emulator.url(), 3);
    change(&pipeline, &email(3), &email(1));
    let report = pipeline.run().await;
    assert_eq!(
        report.rows,
        totals(3, |rows| (rows.accepted, rows.skipped) = (2, 1))
    );
    assert_eq!(arrived(&emulator), emails(2));
}

#[tokio::test]
async fn with_mode_all_every_row_is_sent_each_time() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.sink()["delivery"] = json!({"mode": "all"});
    for _ in 0..2 {
        assert_eq!(pipeline.run().await.rows, totals(4, |rows| rows.accepted = 4));
    }
    assert_eq!(arrived(&emulator).len(), 8);
    // What was sent counts when the mode is changed.
    pipeline.sink()["delivery"] = json!({"mode": "changes"});
    assert_eq!(pipeline.run().await.rows, totals(4, |rows| rows.skipped = 4));
}

#[tokio::test]
async fn another_job_gets_everything() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    for job in [JOB, OTHER_ID] {
        pipeline.sink()["job_id"] = json!(job);
        assert_eq!(
            pipeline.run().await.rows,
            totals(4, |rows| rows.accepted = 4),
            "{job}"
        );
    }
}

#[tokio::test]
async fn rows_are_sent_again_once_they_are_as_old_as_refresh_after_says() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.sink()["delivery"] = json!({"refresh_after": "5h"});
    pipeline.run().await;
    // The first batch is due, the second is not.
    age(&pipeline, 1, 6);
    age(&pipeline, 2, 4);
    let report = pipeline.run().await;
    assert_eq!(
        report.rows,
        totals(4, |rows| (rows.accepted, rows.skipped) = (2, 2))
    );
    let twice = [email(1), email(1), email(2), email(2), email(3), email(4)];
    assert_eq!(arrived(&emulator), twice);
    let report = pipeline.run().await;
    assert_eq!(
        report.rows,
        totals(4, |rows| rows.skipped = 4),
        "they are fresh now"
    );
}

#[tokio::test]
async fn employee_profiles_are_due_after_20_days_and_other_rows_never() {
    for (scenario, fields, days, due) in [
        ("employee_profile", profile(), 19, 0),
        ("employee_profile", profile(), 21, 2),
        ("employee_resignation", json!(null), 400, 0),
    ] {
        let emulator = emulator("").await;
        let mut pipeline = Pipeline::new(&emulator.url(), 2);
        let transform = &mut pipeline.file["transforms"]["resignations"];
        transform["scenario"] = json!(scenario);
        if !fields.is_null() {
            transform["fields"] = fields;
            transform.as_object_mut().unwrap().remove("dates");
        }
        assert_eq!(pipeline.run().await.rows.accepted, 2, "{scenario}");
        age(&pipeline, 1, days * 24);
        let report = pipeline.run().await;
        assert_eq!(
            (report.rows.accepted, report.rows.skipped),
            (due, 2 - due),
            "{scenario}, {days} days"
        );
    }
}

fn profile() -> serde_json::Value {
    json!({
        "EmployeeAddressLine1": "'1 Main Street'",
        "EmployeeZipCode": "'00501'",
        "EmailAddress": "upn",
        "EmployeeFirstName": "upn",
        "EmployeeLastName": "upn",
    })
}

#[tokio::test]
async fn a_rejected_row_flows_in_the_run_after_it_is_mended() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.file["rejects"] = json!({"max_ratio": 0.5});
    change(&pipeline, &email(2), "no address");
    let report = pipeline.run().await;
    assert_eq!(
        report.rows,
        totals(4, |rows| (rows.accepted, rows.rejected) = (3, 1))
    );
    assert_eq!(
        pipeline.run().await.rows,
        totals(4, |rows| (rows.skipped, rows.rejected) = (3, 1)),
        "as long as it is not mended it is told each time"
    );
    change(&pipeline, "no address", &email(2));
    let report = pipeline.run().await;
    assert_eq!(
        report.rows,
        totals(4, |rows| (rows.accepted, rows.skipped) = (1, 3))
    );
    assert_eq!(arrived(&emulator), emails(4));
}

#[tokio::test]
async fn a_dry_run_tells_what_would_be_sent_and_changes_nothing() {
    let emulator = emulator("").await;
    let pipeline = Pipeline::new(&emulator.url(), 4);
    let dry = || hrsink::pipeline::RunOptions {
        dry_run: true,
        ..Default::default()
    };
    let report = pipeline.run_with(dry(), &Default::default()).await;
    assert_eq!(report.rows, totals(4, |rows| rows.not_sent = 4));
    assert!(!pipeline.path(".hrsink/state.db").exists());
    pipeline.run().await;
    change(&pipeline, &email(4), &email(5));
    for _ in 0..2 {
        let report = pipeline.run_with(dry(), &Default::default()).await;
        assert_eq!(
            report.rows,
            totals(4, |rows| (rows.not_sent, rows.skipped) = (1, 3))
        );
    }
    assert_eq!(emulator.imports().len(), 2);
}
