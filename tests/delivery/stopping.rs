//! Stopping: uploads in progress are finished, nothing new is started, and sources stop.

use crate::support::{Pipeline, arrived, email, emulator, failure, until};
use crate::{infinite, outcomes, reject_row};
use hrsink::error::ErrorKind;
use hrsink::pipeline::{Observer, RunOptions, RunReport};
use hrsink::plugin::BatchOutcome::{Accepted, NotSent};
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs `pipeline` and cancels it once `when` holds.
async fn cancelled(
    pipeline: &Pipeline,
    grace: Duration,
    observer: &Observer,
    when: impl Fn() -> bool,
) -> RunReport {
    let cancel = CancellationToken::new();
    let options = RunOptions::with(|options| {
        options.grace = grace;
        options.cancel = cancel.clone();
    });
    let stop = async {
        until(when).await;
        cancel.cancel();
    };
    tokio::join!(pipeline.run_with(options, observer), stop).0
}

#[tokio::test]
async fn finishes_uploads_in_progress_when_cancelled() {
    let emulator = emulator("latency=200ms").await;
    let pipeline = Pipeline::new(&emulator.url(), 60);
    let taken = || emulator.status().imports >= 1;
    let report = cancelled(&pipeline, Duration::from_secs(60), &Observer::default(), taken).await;
    let error = failure(&report, 130);
    assert_eq!(error.kind, ErrorKind::Interrupted);
    let delivered = arrived(&emulator).len();
    assert!((2..60).contains(&delivered), "{delivered}");
    let delivered = delivered as u64;
    assert_rows!(report, 60, accepted: delivered, not_sent: 60 - delivered; "no answer was abandoned");
    let all = outcomes(&report);
    assert!(
        all.iter()
            .all(|(_, outcome, _)| matches!(outcome, Accepted | NotSent))
    );
}

#[tokio::test]
async fn does_not_wait_for_the_next_attempt_when_cancelled() {
    let emulator = emulator("429=1,retry_after=3600s").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.sink()["retry"]["max_elapsed"] = json!("2h");
    let refused = || emulator.status().refused.contains_key(&429);
    let hour = Duration::from_secs(3600);
    let report = cancelled(&pipeline, hour, &Observer::default(), refused).await;
    failure(&report, 130);
    assert_rows!(report, 4, not_sent: 4; "a 429 was not taken");
}

/// More rows than fit between an infinite source and its sink.
fn max_rows_in_between() -> u64 {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (threads as u64 + 20) * 10
}

#[tokio::test]
async fn stops_an_infinite_source_after_a_refusal() {
    let emulator = emulator("403=1").await;
    let report = infinite(&emulator.url()).run().await;
    failure(&report, 5);
    let read = report.rows.read;
    assert_rows!(report, read, refused: 10, not_sent: read - 10);
    assert_eq!(emulator.status().uploads, 1);
}

#[tokio::test]
async fn slows_the_source_when_the_service_is_slow() {
    let emulator = emulator("latency=10m").await;
    let pipeline = infinite(&emulator.url());
    let observer = Observer::default();
    let begun = std::time::Instant::now();
    // Long enough to read many times as much without backpressure.
    let waited = || emulator.status().imports == 1 && begun.elapsed() > Duration::from_millis(300);
    let report = cancelled(&pipeline, Duration::ZERO, &observer, waited).await;
    failure(&report, 130);
    assert_eq!(report.rows.unknown, 10);
    let read = report.rows.read;
    assert!(read <= max_rows_in_between(), "{read} rows were read");
}

#[tokio::test]
async fn does_not_cancel_the_token_of_the_caller() {
    let emulator = emulator("403=1").await;
    let options = RunOptions::default();
    let cancel = options.cancel.clone();
    let pipeline = Pipeline::new(&emulator.url(), 4);
    let report = pipeline.run_with(options, &Observer::default()).await;
    failure(&report, 5);
    assert!(!cancel.is_cancelled(), "it may stop other runs too");
}

#[tokio::test]
async fn reports_an_interrupt_when_no_component_failed() {
    let mut pipeline = infinite("http://127.0.0.1:1");
    // Every row is rejected, and the console accepts everything: only the caller stops the run.
    pipeline.file["transforms"]["resignations"]["fields"]["EmailAddress"] = json!("'no address'");
    pipeline.file["sinks"] = json!({"table": {"type": "console", "inputs": ["resignations"]}});
    let observer = Observer::default();
    let some = || observer.totals().rejected > 0;
    let report = cancelled(&pipeline, Duration::ZERO, &observer, some).await;
    assert_eq!(failure(&report, 130).kind, ErrorKind::Interrupted);
    // Not exit code 3, which means that the rest was delivered.
    assert_eq!(report.rejects.ratio, 1.0);
}

#[tokio::test]
async fn exits_with_3_after_too_many_rejects() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 3);
    reject_row(&mut pipeline, 2);
    pipeline.file["rejects"] = json!({"max_ratio": 0.3});
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 3);
    assert_rows!(report, 3, accepted: 2, rejected: 1);
    pipeline.file["rejects"] = json!({"max_ratio": 0.34});
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0);
    assert_rows!(report, 3, skipped: 2, rejected: 1);
    assert_eq!(arrived(&emulator), [email(1), email(3)]);
}
