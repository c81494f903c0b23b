//! The service answers with a status that is not a success.

use super::{Endpoint, Fault, batches, columns, passes_and_lasts, rows_of};
use crate::support::{Pipeline, failure, history};
use crate::{fails, ok, outcomes, token, totals};
use hrsink::plugin::BatchOutcome::{Accepted, NotSent};
use serde_json::{Value, json};
use test_server::{Reply, Server, Step};

/// The retried statuses. Behind a gateway, the service may have accepted the rows.
fn faults() -> [Fault; 7] {
    let of = |name, status| Fault::status(name, status, Reply::new(status).body("no"));
    [
        of("408", 408),
        of("429", 429),
        of("500", 500),
        of("501", 501),
        of("502", 502).unknown(),
        of("503", 503),
        of("504", 504).unknown(),
    ]
}

fn status(status: u16) -> Step {
    Reply::new(status).into()
}

/// The rows of each upload, in order; a token request is an empty list.
fn asked(requests: &[test_server::Request]) -> Vec<Vec<usize>> {
    requests.iter().map(rows_of).collect()
}

#[tokio::test]
async fn retries_transient_statuses_and_delivers_in_the_next_run() {
    passes_and_lasts(Endpoint::Upload, faults()).await;
}

#[tokio::test]
async fn splits_a_batch_after_a_413() {
    let steps = [token(), status(413), ok(), status(413), ok(), ok()];
    let server = Server::script(steps);
    let mut pipeline = Pipeline::new(&server.url(), 4);
    pipeline.sink()["batch"]["max_rows"] = json!(4);
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert_rows!(report, 4, accepted: 4);
    let parts = |run: &Value| columns(run, &["part", "rows", "outcome", "attempts", "status"]);
    let expected = json!([
        [0, 4, "split", 1, 413],
        [1, 2, "accepted", 1, 200],
        [2, 2, "split", 1, 413],
        [3, 1, "accepted", 1, 200],
        [4, 1, "accepted", 1, 200],
    ]);
    assert_eq!(parts(&serde_json::to_value(&report).unwrap()), expected);
    assert_eq!(parts(&history(&pipeline).await["runs"][0]), expected);
    assert_eq!(pipeline.run().await.rows, totals(4, |rows| rows.skipped = 4));
    assert_eq!(
        asked(&server.finish()),
        [vec![], vec![1, 2, 3, 4], vec![1, 2], vec![3, 4], vec![3], vec![4]]
    );
}

#[tokio::test]
async fn does_not_resend_a_delivered_part() {
    // The first half is accepted, the second fails.
    let down = || status(503);
    let steps = [token(), status(413), ok(), down(), down(), token(), ok()];
    let server = Server::script(steps);
    let mut pipeline = Pipeline::new(&server.url(), 2);
    pipeline.sink()["retry"]["max_attempts"] = json!(2);
    let report = pipeline.run().await;
    failure(&report, 75);
    assert_rows!(report, 2, accepted: 1, not_sent: 1);
    let report = pipeline.run().await;
    assert_rows!(report, 2, accepted: 1, skipped: 1);
    assert_eq!(asked(&server.finish())[5..], [vec![], vec![2]]);
}

#[tokio::test]
async fn delivers_the_rest_after_a_refusal_is_fixed() {
    for refused in [400, 403, 404, 405, 409, 422] {
        let steps = [token(), ok(), status(refused), token(), ok(), ok()];
        let server = Server::script(steps);
        let pipeline = Pipeline::new(&server.url(), 6);
        let report = pipeline.run().await;
        fails(&report, 5, &[&format!("the response was {refused}")]);
        let recorded = history(&pipeline).await;
        assert_eq!(
            batches(&recorded["runs"][0]),
            json!([[1, "accepted", 1, 0, 200], [2, "refused", 1, 0, refused]])
        );
        let report = pipeline.run().await;
        assert_rows!(report, 6, accepted: 4, skipped: 2; "{refused}");
        assert_eq!(asked(&server.finish())[3..], [vec![], vec![3, 4], vec![5, 6]]);
    }
}

#[tokio::test]
async fn stops_after_consecutive_failures_for_the_same_cause() {
    let down = vec![status(503); 4];
    let steps = [vec![token(), ok()], down, vec![token(), ok(), ok(), ok()]].concat();
    let server = Server::script(steps);
    let mut pipeline = Pipeline::new(&server.url(), 8);
    pipeline.sink()["retry"]["max_attempts"] = json!(2);
    pipeline.sink()["delivery"] = json!({"max_consecutive_failures": 2});
    let report = pipeline.run().await;
    fails(
        &report,
        75,
        &["2 consecutive batches", "`delivery.max_consecutive_failures`"],
    );
    let expected = [
        (1, Accepted, 1),
        (2, NotSent, 2),
        (3, NotSent, 2),
        (4, NotSent, 0),
    ];
    assert_eq!(outcomes(&report), expected);
    let report = pipeline.run().await;
    assert_eq!((report.exit_code, report.rows.accepted), (0, 6));
    server.finish();
}

#[tokio::test]
async fn continues_after_failures_for_different_causes() {
    let failing = [
        status(503),
        status(500),
        status(503),
        ok(),
        Step::CloseAfterBody,
        ok(),
    ];
    let steps = [token()].into_iter().chain(failing);
    let server = Server::script(steps);
    let mut pipeline = Pipeline::new(&server.url(), 12);
    pipeline.sink()["retry"]["max_attempts"] = json!(1);
    pipeline.sink()["delivery"] = json!({"max_consecutive_failures": 2});
    let report = pipeline.run().await;
    // The first failure is reported.
    fails(&report, 75, &["503"]);
    assert_rows!(report, 12, accepted: 4, unknown: 2, not_sent: 6);
    server.finish();
}
