//! Connections that end without an answer.

use crate::support::{JOB, Pipeline, arrived, emulator, failure};
use crate::{fails, outcomes, token};
use hrsink::plugin::BatchOutcome::Unknown;
use test_server::{Reply, Server, Step};

#[tokio::test]
async fn reports_rows_without_an_answer_as_unknown() {
    let emulator = emulator("drop_after=1").await;
    let report = Pipeline::new(&emulator.url(), 8).run().await;
    fails(&report, 75, &["`RecordsSaved`", JOB]);
    assert_rows!(report, 8, unknown: 6, not_sent: 2);
    assert_eq!(outcomes(&report)[0], (1, Unknown, 3));
    let unknown = report.batches[0].unknown_attempts;
    assert_eq!(unknown, 2, "the last of three is the outcome itself");
    assert_eq!(arrived(&emulator).len(), 18, "six rows, three times");
}

#[tokio::test]
async fn keeps_an_unknown_outcome_when_a_retry_is_refused() {
    let steps = [token(), Step::CloseAfterBody, Reply::new(403).into()];
    let server = Server::script(steps);
    let report = Pipeline::new(&server.url(), 2).run().await;
    assert_rows!(report, 2, unknown: 2);
    failure(&report, 5);
    server.finish();
}
