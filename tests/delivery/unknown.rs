//! Connections that end without an answer.

use crate::support::{JOB, Pipeline, arrived, email, emulator, failure};
use crate::{outcomes, token};
use hrsink::plugin::BatchOutcome::Unknown;
use test_server::{Reply, Server, Step};

#[tokio::test]
async fn retries_after_a_lost_answer_and_reports_possible_duplicates() {
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
    assert_eq!(arrived(&emulator), twice, "the first batch was accepted twice");
}

#[tokio::test]
async fn reports_rows_without_an_answer_as_unknown() {
    let emulator = emulator("drop_after=1").await;
    let report = Pipeline::new(&emulator.url(), 8).run().await;
    let error = failure(&report, 75);
    assert_rows!(report, 8, unknown: 6, not_sent: 2);
    assert_eq!(outcomes(&report)[0], (1, Unknown, 3));
    assert_eq!(
        report.batches[0].unknown_attempts, 2,
        "the last of three is the outcome itself"
    );
    let hints = error.hints.join("\n");
    assert!(hints.contains("`RecordsSaved`") && hints.contains(JOB), "{hints}");
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
