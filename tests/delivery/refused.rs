//! Refusals: no retry, and a hint that says what to change.

use crate::support::{CLIENT, Pipeline, SECRET, TENANT, arrived, emulator_with};
use crate::{OTHER_ID, fails, strict};
use hrsink::error::ErrorKind;
use hrsink::plugin::BatchOutcome::{NotSent, Refused, Split};
use serde_json::json;

#[tokio::test]
async fn does_not_retry_a_wrong_secret() {
    // A second token request would trigger the fault.
    for concurrency in [1, 4] {
        let mut settings = strict();
        settings["faults"] = json!("token_503=nth:2");
        let emulator = emulator_with(settings).await;
        let mut pipeline = Pipeline::new(&emulator.url(), 6);
        pipeline.sink()["max_concurrent"] = json!(concurrency);
        pipeline.write("secret", "the-id-of-the-secret");
        let report = pipeline.run().await;
        let error = fails(
            &report,
            5,
            &["AADSTS7000215", "use the secret's value, not its ID"],
        );
        let found = (error.component.as_deref(), error.kind);
        assert_eq!(found, (Some("purview"), ErrorKind::Refused));
        assert_rows!(report, 6, not_sent: 6);
        let status = emulator.status();
        assert_eq!((status.uploads, status.tokens_issued), (0, 0));
        assert!(status.injected.is_empty(), "{:?}", status.injected);
    }
}

#[tokio::test]
async fn explains_every_refusal_of_credentials() {
    let expired =
        json!([{"tenant_id": TENANT, "client_id": CLIENT, "client_secret": SECRET, "secret_expired": true}]);
    let resource = "https://other.example";
    for (pointer, value, code, advice) in [
        ("/tenant_id", OTHER_ID, "AADSTS90002:", "directory (tenant) ID"),
        ("/auth/client_id", OTHER_ID, "AADSTS700016:", "not the object ID"),
        ("/cloud/resource", resource, "AADSTS500011:", "consent"),
        ("", CLIENT, "AADSTS7000222:", "has expired"),
    ] {
        let mut settings = strict();
        if pointer.is_empty() {
            settings["apps"] = expired.clone();
        }
        let emulator = emulator_with(settings).await;
        let mut pipeline = Pipeline::new(&emulator.url(), 2);
        if !pointer.is_empty() {
            *pipeline.sink().pointer_mut(pointer).unwrap() = json!(value);
        }
        let report = pipeline.run().await;
        fails(&report, 5, &[code, advice, value]);
        assert_eq!((report.rows.not_sent, emulator.status().uploads), (2, 0));
    }
}

#[tokio::test]
async fn stops_when_a_single_row_is_too_large() {
    let mut settings = strict();
    settings["max_body"] = json!(64);
    let emulator = emulator_with(settings).await;
    let report = Pipeline::new(&emulator.url(), 6).run().await;
    fails(&report, 5, &["413 Payload Too Large", "lower `batch.max_rows`"]);
    let parts: Vec<_> = report
        .batches
        .iter()
        .filter(|batch| batch.number == 1)
        .map(|batch| (batch.part, batch.rows, batch.outcome, batch.attempts))
        .collect();
    assert_eq!(parts, [(0, 2, Split, 1), (1, 1, Refused, 1), (0, 1, NotSent, 0)]);
    assert_rows!(report, 6, refused: 1, not_sent: 5);
    assert_eq!(emulator.status().uploads, 2);
    assert!(arrived(&emulator).is_empty());
}
