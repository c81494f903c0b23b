//! Refusals: no retry, and a hint that says what to change.

use crate::support::{CLIENT, Pipeline, SECRET, TENANT, arrived, emulator_with, failure};
use crate::{OTHER_ID, strict};
use hrsink::error::ErrorKind;
use hrsink::plugin::BatchOutcome::{NotSent, Refused, Split};
use serde_json::{Value, json};

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
        let error = failure(&report, 5);
        assert_eq!(
            (error.component.as_deref(), error.kind),
            (Some("purview"), ErrorKind::Refused)
        );
        assert!(error.message.contains("AADSTS7000215"), "{}", error.message);
        assert!(
            error.hints[0].contains("use the secret's value, not its ID"),
            "{:?}",
            error.hints
        );
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
    let cases: [(&str, Value, &str, &str, &str); 4] = [
        (
            "/tenant_id",
            json!(OTHER_ID),
            "AADSTS90002:",
            "directory (tenant) ID",
            OTHER_ID,
        ),
        (
            "/auth/client_id",
            json!(OTHER_ID),
            "AADSTS700016:",
            "not the object ID",
            OTHER_ID,
        ),
        (
            "/cloud/resource",
            json!("https://other.example"),
            "AADSTS500011:",
            "consent",
            "https://other.example",
        ),
        ("", Value::Null, "AADSTS7000222:", "has expired", CLIENT),
    ];
    for (pointer, value, code, advice, named) in cases {
        let mut settings = strict();
        if pointer.is_empty() {
            settings["apps"] = expired.clone();
        }
        let emulator = emulator_with(settings).await;
        let mut pipeline = Pipeline::new(&emulator.url(), 2);
        if let Some(place) = pipeline
            .sink()
            .pointer_mut(pointer)
            .filter(|_| !pointer.is_empty())
        {
            *place = value;
        }
        let report = pipeline.run().await;
        let error = failure(&report, 5);
        assert!(error.message.contains(code), "{}", error.message);
        let hints = error.hints.join("\n");
        assert!(hints.contains(advice) && hints.contains(named), "{hints}");
        assert_eq!((report.rows.not_sent, emulator.status().uploads), (2, 0));
    }
}

#[tokio::test]
async fn stops_when_a_single_row_is_too_large() {
    let mut settings = strict();
    settings["max_body"] = json!(64);
    let emulator = emulator_with(settings).await;
    let report = Pipeline::new(&emulator.url(), 6).run().await;
    let error = failure(&report, 5);
    assert!(
        error.message.contains("413 Payload Too Large"),
        "{}",
        error.message
    );
    assert!(
        error.hints[0].contains("lower `batch.max_rows`"),
        "{:?}",
        error.hints
    );
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
