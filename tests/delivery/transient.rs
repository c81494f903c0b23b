//! Transient failures: waits as requested, and gives up in time.

use crate::outcomes;
use crate::support::{Pipeline, arrived, emails, emulator, failure};
use hrsink::plugin::BatchOutcome::Accepted;
use serde_json::json;

#[tokio::test]
async fn honors_retry_after() {
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
async fn stops_when_retry_after_exceeds_the_time_left() {
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
        assert_rows!(report, 6, not_sent: 6);
    }
}
