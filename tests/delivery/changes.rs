//! Sends only new, changed, fixed and expired rows.

use crate::OTHER_ID;
use crate::support::{Pipeline, arrived, email, emails, emulator};
use serde_json::json;

/// Moves the acceptance of a batch back in time.
fn age(pipeline: &Pipeline, batch: i64, hours: i64) {
    let ledger = rusqlite::Connection::open(pipeline.path(".hrsink/state.db")).unwrap();
    let sql = "UPDATE batch SET intended = intended - ?1, settled = settled - ?1 WHERE number = ?2";
    assert_eq!(ledger.execute(sql, (hours * 3_600_000, batch)), Ok(1));
}

fn change(pipeline: &Pipeline, from: &str, to: &str) {
    let export = std::fs::read_to_string(pipeline.path("export.csv")).unwrap();
    assert!(export.contains(from));
    pipeline.write("export.csv", &export.replace(from, to));
}

#[tokio::test]
async fn sends_changed_rows_only() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 6);
    pipeline.run().await;
    let at = |hour: &str| format!("{},2026-03-02T{hour}", email(4));
    change(&pipeline, &at("09"), &at("10"));
    let report = pipeline.run().await;
    assert_rows!(report, 6, accepted: 1, skipped: 5);
    assert_eq!(emulator.imports().last().unwrap().rows, 1);
    // Another notation of the same instant is the same row.
    change(&pipeline, "2026-03-02T09:00:00Z", "2026-03-02T09:00:00+00:00");
    let report = pipeline.run().await;
    assert_rows!(report, 6, skipped: 6);
    pipeline.sink()["job_id"] = json!(OTHER_ID);
    let report = pipeline.run().await;
    assert_rows!(report, 6, accepted: 6; "another job");
}

#[tokio::test]
async fn sends_duplicates_in_the_input_once() {
    let emulator = emulator("").await;
    let pipeline = Pipeline::new(&emulator.url(), 3);
    change(&pipeline, &email(3), &email(1));
    let report = pipeline.run().await;
    assert_rows!(report, 3, accepted: 2, skipped: 1);
    assert_eq!(arrived(&emulator), emails(2));
}

#[tokio::test]
async fn resends_rows_after_refresh_after() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.sink()["delivery"] = json!({"refresh_after": "5h"});
    pipeline.run().await;
    // The first batch is due, the second is not.
    age(&pipeline, 1, 6);
    age(&pipeline, 2, 4);
    let report = pipeline.run().await;
    assert_rows!(report, 4, accepted: 2, skipped: 2);
    let twice = [email(1), email(1), email(2), email(2), email(3), email(4)];
    assert_eq!(arrived(&emulator), twice);
    let report = pipeline.run().await;
    assert_rows!(report, 4, skipped: 4; "accepted just now");
}

#[tokio::test]
async fn resends_employee_profiles_after_20_days_by_default() {
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
        assert_rows!(report, 2, accepted: due, skipped: 2 - due; "{scenario}, {days} days");
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
async fn sends_a_rejected_row_once_it_is_fixed() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.file["rejects"] = json!({"max_ratio": 0.5});
    change(&pipeline, &email(2), "no address");
    let report = pipeline.run().await;
    assert_rows!(report, 4, accepted: 3, rejected: 1);
    let report = pipeline.run().await;
    assert_rows!(report, 4, skipped: 3, rejected: 1; "reported in each run until it is fixed");
    change(&pipeline, "no address", &email(2));
    let report = pipeline.run().await;
    assert_rows!(report, 4, accepted: 1, skipped: 3);
    assert_eq!(arrived(&emulator), emails(4));
}

#[tokio::test]
async fn changes_nothing_in_a_dry_run() {
    let emulator = emulator("").await;
    let pipeline = Pipeline::new(&emulator.url(), 4);
    let dry = || hrsink::pipeline::RunOptions::with(|options| options.dry_run = true);
    let report = pipeline.run_with(dry(), &Default::default()).await;
    assert_rows!(report, 4, not_sent: 4);
    assert!(!pipeline.path(".hrsink/state.db").exists());
    pipeline.run().await;
    change(&pipeline, &email(4), &email(5));
    for _ in 0..2 {
        let report = pipeline.run_with(dry(), &Default::default()).await;
        assert_rows!(report, 4, not_sent: 1, skipped: 3);
    }
    assert_eq!(emulator.imports().len(), 2);
}
