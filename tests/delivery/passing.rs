//! What passes: waited for as told, tried again, and given up in time.

use crate::common::{Pipeline, arrived, emails, emulator, failure};
use crate::{outcomes, totals};
use hrsink::component::BatchOutcome::{Accepted, NotSent};
use serde_json::json;

#[tokio::test]
async fn throttling_is_waited_for_as_told() {
    for (faults, at_least) in [
        ("429=first:1,retry_after=1s", 1000),
        // An HTTP date has whole seconds only: two seconds ahead is more than one.
        ("503=nth:1,retry_after=date:2s", 900),
        ("429=nth:1,retry_after=0s", 0),
        ("token_503=nth:1,retry_after=1s", 1000),
    ] {
        let emulator = emulator(faults).await;
        let report = Pipeline::new(&emulator.url(), 3).run().await;
        assert_eq!(report.exit_code, 0, "{faults}");
        assert_eq!(outcomes(&report), [(1, Accepted, 2), (2, Accepted, 1)]);
        assert!(
            report.batches[0].duration_ms >= at_least,
            "{faults}: {}",
            report.batches[0].duration_ms
        );
        assert_eq!(report.batches[0].unknown_attempts, 0);
        assert_eq!(arrived(&emulator), emails(3));
    }
}

#[tokio::test]
async fn a_wait_longer_than_the_time_left_ends_the_run_at_once() {
    for faults in ["429=1,retry_after=3600s", "503=1,retry_after=date:3600s"] {
        let emulator = emulator(faults).await;
        let mut pipeline = Pipeline::new(&emulator.url(), 6);
        pipeline.sink()["retry"]["max_elapsed"] = json!("30m");
        pipeline.sink()["delivery"] = json!({"max_consecutive_failures": 1});
        let report = pipeline.run().await;
        let error = failure(&report, 75);
        assert!(
            error.message.contains("the service asked to wait 3"),
            "{}",
            error.message
        );
        assert!(error.hints[0].contains("run again later"), "{:?}", error.hints);
        assert_eq!(emulator.status().uploads, 1);
        assert_eq!(report.rows, totals(6, |rows| rows.not_sent = 6));
    }
}

#[tokio::test]
async fn an_outage_longer_than_the_attempts_is_exit_code_75_and_nothing_is_called_sent() {
    let emulator = emulator("503=1").await;
    let report = Pipeline::new(&emulator.url(), 8).run().await;
    let error = failure(&report, 75);
    assert!(
        error.message.contains("3 attempts") && error.message.contains("503"),
        "{}",
        error.message
    );
    let told = error.hints.join("\n");
    assert!(
        told.contains("3 batches in a row") && told.contains("`delivery.max_consecutive_failures`"),
        "{told}"
    );
    let tried = |number| (number, NotSent, 3);
    assert_eq!(outcomes(&report), [tried(1), tried(2), tried(3), (4, NotSent, 0)]);
    assert_eq!((report.rows.not_sent, emulator.status().uploads), (8, 9));
}

#[tokio::test]
async fn trouble_at_the_token_endpoint_passes() {
    let emulator = emulator("token_503=nth:1,token_drop=nth:2").await;
    let report = Pipeline::new(&emulator.url(), 4).run().await;
    assert_eq!(report.exit_code, 0);
    assert_eq!(outcomes(&report), [(1, Accepted, 3), (2, Accepted, 1)]);
    assert_eq!(
        (emulator.status().tokens_issued, arrived(&emulator)),
        (1, emails(4))
    );
}

#[tokio::test]
async fn where_nothing_listens_nothing_was_sent() {
    let emulator = emulator("").await;
    let gone = crate::common::emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.sink()["cloud"]["ingestion"] = json!(gone.url());
    gone.stop().await.unwrap();
    let report = pipeline.run().await;
    let error = failure(&report, 75);
    assert!(error.message.contains("cannot connect"), "{}", error.message);
    assert_eq!(outcomes(&report)[0], (1, NotSent, 3));
    assert_eq!(report.rows, totals(4, |rows| rows.not_sent = 4));
}
