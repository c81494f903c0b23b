//! Tokens that wear out.

use crate::common::{Pipeline, arrived, emails, emulator, failure};
use crate::outcomes;
use hrsink::component::BatchOutcome::{Accepted, Refused};
use serde_json::json;

#[tokio::test]
async fn a_token_that_wore_out_is_renewed_once_for_each_401() {
    let emulator = emulator("token_expires=uses:1").await;
    let report = Pipeline::new(&emulator.url(), 6).run().await;
    assert_eq!(report.exit_code, 0);
    assert_eq!(
        outcomes(&report),
        [(1, Accepted, 1), (2, Accepted, 2), (3, Accepted, 2)]
    );
    let status = emulator.status();
    assert_eq!(
        (status.tokens_issued, status.uploads, status.refused[&401]),
        (3, 5, 2)
    );
    assert_eq!(arrived(&emulator), emails(6));
}

#[tokio::test]
async fn concurrent_uploads_renew_a_token_together() {
    let emulator = emulator("token_expires=uses:4,latency=5ms").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 16);
    pipeline.sink()["max_concurrent"] = json!(4);
    let report = pipeline.run().await;
    assert_eq!((report.exit_code, emulator.status().tokens_issued), (0, 2));
    assert_eq!(arrived(&emulator), emails(16));
}

#[tokio::test]
async fn a_401_with_a_new_token_too_is_a_refusal() {
    let emulator = emulator("401=1").await;
    let report = Pipeline::new(&emulator.url(), 4).run().await;
    let error = failure(&report, 5);
    assert!(error.message.contains("401 Unauthorized"), "{}", error.message);
    assert_eq!(outcomes(&report)[0], (1, Refused, 2));
    let status = emulator.status();
    assert_eq!((status.tokens_issued, status.uploads), (2, 2));
}
