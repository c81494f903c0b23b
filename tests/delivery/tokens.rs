//! Expiring tokens.

use crate::support::{Pipeline, arrived, emails, emulator};

use serde_json::json;

#[tokio::test]
async fn renews_a_token_once_for_concurrent_uploads() {
    let emulator = emulator("token_expires=uses:4,latency=5ms").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 16);
    pipeline.sink()["max_concurrent"] = json!(4);
    let report = pipeline.run().await;
    assert_eq!((report.exit_code, emulator.status().tokens_issued), (0, 2));
    assert_eq!(arrived(&emulator), emails(16));
}
