//! Successful runs send no more than needed.

use crate::support::{JOB, Pipeline, TENANT, arrived, email, emails, emulator};
use crate::{ok, outcomes, token};
use hrsink::pipeline::{Observer, RunOptions};
use hrsink::plugin::BatchOutcome::{Accepted, NotSent};
use hrsink::plugin::RejectCode;
use serde_json::json;
use test_server::{Server, Step};

#[tokio::test]
async fn sends_one_token_request_and_one_request_per_batch() {
    let server = Server::script([token(), ok(), ok(), ok()]);
    let report = Pipeline::new(&server.url(), 5).run().await;
    assert_eq!(report.exit_code, 0);
    assert_rows!(report, 5, accepted: 5);
    assert_eq!(outcomes(&report), [1, 2, 3].map(|number| (number, Accepted, 1)));
    let requests = server.finish();
    let path = &requests[0].path;
    assert!(path.starts_with(&format!("/{TENANT}/oauth2/token")), "{path}");
    for (request, rows) in requests[1..].iter().zip([2, 2, 1]) {
        assert_eq!(request.path, format!("/api/signals?jobid={JOB}"));
        assert_eq!(request.header("authorization"), Some("Bearer a-token"));
        assert_eq!(request.text().matches("@contoso.com").count(), rows);
    }
}

#[tokio::test]
async fn shares_one_token_between_concurrent_uploads() {
    // With the second, the token expires once, and is renewed once.
    for (faults, tokens) in [("latency=5ms", 1), ("token_expires=uses:14,latency=5ms", 2)] {
        let emulator = emulator(faults).await;
        let mut pipeline = Pipeline::new(&emulator.url(), 41);
        pipeline.sink()["max_concurrent"] = json!(8);
        let report = pipeline.run().await;
        assert_eq!((report.exit_code, report.batches.len()), (0, 21));
        assert_eq!(arrived(&emulator), emails(41));
        assert_eq!(emulator.status().tokens_issued, tokens);
    }
}

#[tokio::test]
async fn sends_no_request_in_a_dry_run() {
    let server = Server::script(Vec::<Step>::new());
    let options = RunOptions::with(|options| options.dry_run = true);
    let pipeline = Pipeline::new(&server.url(), 3);
    let report = pipeline.run_with(options, &Observer::default()).await;
    assert_eq!((report.exit_code, report.dry_run), (0, true));
    assert_rows!(report, 3, not_sent: 3);
    assert_eq!(outcomes(&report), [(1, NotSent, 0), (2, NotSent, 0)]);
    assert!(server.finish().is_empty());
}

#[tokio::test]
async fn limits_each_source_to_its_first_rows() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 9);
    pipeline.write(
        "more.csv",
        "upn,resigned,last_day\nz@contoso.com,2026-03-02T09:00:00Z,2026-03-02T09:00:00Z\n",
    );
    pipeline.file["sources"]["more"] = json!({"type": "file", "path": "more.csv"});
    pipeline.file["transforms"]["resignations"]["inputs"] = json!(["export", "more"]);
    let options = RunOptions::with(|options| options.limit = Some(3));
    let report = pipeline.run_with(options, &Observer::default()).await;
    assert_rows!(report, 4, accepted: 4);
    let expected = [emails(3), vec!["z@contoso.com".to_owned()]].concat();
    assert_eq!(arrived(&emulator), expected);
}

#[tokio::test]
async fn rejects_rows_larger_than_an_upload() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 0);
    let long = "ü".repeat(600);
    let csv = format!(
        "upn,first,last\n{},Ada,Byron\n{},Grace,{long}\n{},Emmy,Noether\n",
        email(1),
        email(2),
        email(3)
    );
    pipeline.write("export.csv", &csv);
    pipeline.file["transforms"]["resignations"] = json!({
        "type": "hr_schema",
        "inputs": ["export"],
        "scenario": "employee_profile",
        "fields": {"EmployeeAddressLine1": "'1 Main Street'", "EmployeeZipCode": "'00501'", "EmailAddress": "upn", "EmployeeFirstName": "first", "EmployeeLastName": "last"},
    });
    pipeline.sink()["batch"] = json!({"max_bytes": "1KiB"});
    pipeline.file["rejects"] = json!({"max_ratio": 0.5});
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0);
    assert_rows!(report, 3, accepted: 2, rejected: 1);
    assert_eq!(report.rejects.by_reason[0].code, RejectCode::TooLarge);
    assert_eq!(arrived(&emulator), [email(1), email(3)]);
    let rejects = std::fs::read_to_string(report.rejects.path.unwrap()).unwrap();
    let found = rejects.contains("\"row\":2") && rejects.contains("1024 bytes");
    assert!(found, "{rejects}");
}
