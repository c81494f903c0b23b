//! What nobody can know: connections that end without an answer.

use crate::common::{JOB, Pipeline, arrived, email, emails, emulator, failure};
use crate::{outcomes, token, totals};
use hrsink::component::BatchOutcome::{Accepted, Unknown};
use serde_json::json;
use test_server::{Reply, Server, Step};

#[tokio::test]
async fn a_connection_dropped_before_the_body_is_tried_again_and_the_rows_arrive_once() {
    let emulator = emulator("drop_before=first:1").await;
    let report = Pipeline::new(&emulator.url(), 4).run().await;
    assert_eq!(report.exit_code, 0);
    assert_eq!(outcomes(&report), [(1, Accepted, 2), (2, Accepted, 1)]);
    assert_eq!(arrived(&emulator), emails(4));
}

#[tokio::test]
async fn a_lost_answer_is_tried_again_and_the_report_says_that_rows_may_be_there_twice() {
    let emulator = emulator("drop_after=first:1").await;
    let report = Pipeline::new(&emulator.url(), 4).run().await;
    assert_eq!((report.exit_code, report.rows.accepted), (0, 4));
    let unknown: Vec<_> = report
        .batches
        .iter()
        .map(|batch| (batch.number, batch.unknown_attempts))
        .collect();
    assert_eq!(unknown, [(1, 1), (2, 0)]);
    let twice = [email(1), email(1), email(2), email(2), email(3), email(4)];
    assert_eq!(arrived(&emulator), twice, "the first batch was taken both times");
}

#[tokio::test]
async fn rows_without_an_answer_are_unknown_when_the_attempts_are_spent() {
    let emulator = emulator("drop_after=1").await;
    let report = Pipeline::new(&emulator.url(), 8).run().await;
    let error = failure(&report, 75);
    assert_eq!(
        report.rows,
        totals(8, |rows| (rows.unknown, rows.not_sent) = (6, 2))
    );
    assert_eq!(outcomes(&report)[0], (1, Unknown, 3));
    assert_eq!(
        report.batches[0].unknown_attempts, 2,
        "of the three, the last is the outcome itself"
    );
    let hints = error.hints.join("\n");
    assert!(hints.contains("`RecordsSaved`") && hints.contains(JOB), "{hints}");
    assert_eq!(arrived(&emulator).len(), 18, "six rows, three times");
}

#[tokio::test]
async fn rows_are_unknown_when_no_answer_comes_in_time() {
    let emulator = emulator("latency=10m").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 2);
    pipeline.sink()["timeout"] = json!("200ms");
    pipeline.sink()["retry"]["max_attempts"] = json!(1);
    let report = pipeline.run().await;
    let error = failure(&report, 75);
    assert!(
        error.message.contains("no response within the timeout"),
        "{}",
        error.message
    );
    assert_eq!(report.rows, totals(2, |rows| rows.unknown = 2));
    assert_eq!(arrived(&emulator), emails(2));
}

#[tokio::test]
async fn an_unknown_attempt_stays_unknown_when_a_later_one_is_refused() {
    let steps = [token(), Step::CloseAfterBody, Reply::new(403).into()];
    let server = Server::script(steps);
    let report = Pipeline::new(&server.url(), 2).run().await;
    assert_eq!(report.rows, totals(2, |rows| rows.unknown = 2));
    failure(&report, 5);
    server.finish();
}
