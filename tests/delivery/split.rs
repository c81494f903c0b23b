//! `on_refused: split`: rejects the rows that the service rejects, and delivers the others.

use crate::fails;
use crate::support::strict::StrictServer;
use crate::support::{Pipeline, email, history};
use hrsink::plugin::RejectCode;
use serde_json::{Value, json};

/// The numbers of the accepted rows, in order.
fn accepted_rows(server: &StrictServer) -> Vec<usize> {
    let (bodies, _) = server.seen();
    let rows = bodies.iter();
    let mut rows: Vec<usize> = rows
        .flat_map(|body| (1..=20).filter(|row| body.contains(&email(*row))))
        .collect();
    rows.sort_unstable();
    rows
}

fn all_but(rows: usize, without: &[usize]) -> Vec<usize> {
    (1..=rows).filter(|row| !without.contains(row)).collect()
}

fn splitting(server: &StrictServer, rows: usize) -> Pipeline {
    let mut pipeline = Pipeline::new(server.url(), rows);
    pipeline.sink()["batch"]["max_rows"] = json!(8);
    pipeline.sink()["delivery"] = json!({"on_refused": "split"});
    pipeline.file["rejects"] = json!({"max_ratio": 0.5});
    pipeline
}

fn fix(pipeline: &Pipeline, row: usize) {
    let export = std::fs::read_to_string(pipeline.path("export.csv")).unwrap();
    let fixed = export.replace(&email(row), &format!("fixed.{row}@contoso.com"));
    pipeline.write("export.csv", &fixed);
}

#[tokio::test]
async fn rejects_the_row_that_the_service_rejects() {
    let server = StrictServer::start(&[&email(5)]).await;
    let pipeline = splitting(&server, 12);
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert_rows!(report, 12, accepted: 11, rejected: 1);
    assert_eq!(accepted_rows(&server), all_but(12, &[5]));
    let reason = &report.rejects.by_reason[0];
    assert_eq!((reason.code, reason.rows), (RejectCode::Refused, 1));
    let rejects = std::fs::read_to_string(report.rejects.path.unwrap()).unwrap();
    let reject: Value = serde_json::from_str(&rejects).unwrap();
    assert_eq!(
        (&reject["row"], &reject["component"], &reject["faults"][0]["code"]),
        (&json!(5), &json!("purview"), &json!("refused"))
    );
    let message = reject["faults"][0]["message"].as_str().unwrap();
    let found = message.contains("400") && message.contains("a row is not right");
    assert!(found, "{message}");
    assert!(!rejects.contains(&email(5)), "no value: {rejects}");

    // The ledger has each step of the search.
    let recorded = history(&pipeline).await;
    let steps = recorded["runs"][0]["batches"].as_array().unwrap().iter();
    let steps: Vec<Value> = steps
        .filter(|batch| batch["number"] == 1)
        .map(|batch| json!([batch["part"], batch["rows"], batch["outcome"], batch["status"]]))
        .collect();
    let expected = json!([
        [0, 8, "split", 400],
        [1, 4, "accepted", 200],
        [2, 4, "split", 400],
        [3, 2, "split", 400],
        [4, 1, "refused", 400],
        [5, 1, "accepted", 200],
        [6, 2, "accepted", 200],
    ]);
    assert_eq!(json!(steps), expected);

    let report = pipeline.run().await;
    assert_rows!(report, 12, skipped: 11, rejected: 1; "in every run");
    server.seen();
    fix(&pipeline, 5);
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert_rows!(report, 12, accepted: 1, skipped: 11);
    let (bodies, refused) = server.seen();
    assert_eq!((bodies.len(), refused), (1, 0));
    let body = &bodies[0];
    assert!(body.contains("fixed.5@") && !body.contains("user"), "{body}");
}

#[tokio::test]
async fn finds_several_rejected_rows() {
    let bad = [2, 3, 8, 16];
    let marks = bad.map(email);
    let server = StrictServer::start(&marks.each_ref().map(String::as_str)).await;
    let pipeline = splitting(&server, 20);
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert_rows!(report, 20, accepted: 16, rejected: 4);
    assert_eq!(accepted_rows(&server), all_but(20, &bad));
    let rejects = std::fs::read_to_string(report.rejects.path.unwrap()).unwrap();
    let rejects = rejects.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut found: Vec<u64> = rejects
        .map(|reject: Value| reject["row"].as_u64().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, [2, 3, 8, 16]);
}

#[tokio::test]
async fn rejects_no_row_if_the_service_rejects_all() {
    let server = StrictServer::start(&["LastWorkingDate"]).await;
    let pipeline = splitting(&server, 8);
    let report = pipeline.run().await;
    fails(&report, 5, &["down to a single row"]);
    assert_eq!((report.rows.accepted, report.rows.rejected), (0, 0));
    assert_eq!(server.seen().0.len(), 0);

    // Once the job is fixed, all rows are sent.
    server.refuse(&[]);
    let report = pipeline.run().await;
    assert_rows!(report, 8, accepted: 8);
    assert_eq!(accepted_rows(&server), all_but(8, &[]));
}
