//! Failures of the token endpoint. Its outcome is never unknown.

use super::{Endpoint, Fault, Fixture, batches, is_delivered, is_resumed, lasts, ok, passes};
use crate::outcomes;
use crate::support::barrier::Break;
use crate::support::{failure, history};
use hrsink::error::ErrorKind;
use hrsink::plugin::BatchOutcome::NotSent;
use serde_json::json;
use std::time::Duration;
use test_server::{Reply, Step};

fn faults() -> Vec<Fault> {
    let ended = "the connection ended without a response";
    let status = |name, status| {
        Fault::new(
            name,
            Step::from(Reply::new(status).body("no")),
            format!("the response was {status}"),
        )
    };
    let busy = json!({"error": "temporarily_unavailable", "error_description": "AADSTS90033: try later"});
    vec![
        Fault::new("reset before the body", Break::ResetBeforeBody, ended),
        Fault::new("reset after the body", Break::ResetAfterBody, ended),
        Fault::new("closed without an answer", Step::CloseAfterBody, ended),
        Fault::new("not HTTP", Step::Garbage(b"\x16\x03\x01\x00\x02".to_vec()), ended),
        Fault::new(
            "trickles",
            Step::Trickle(Reply::new(503).body("no"), Duration::from_millis(1)),
            "the response was 503",
        ),
        status("408", 408),
        status("429", 429),
        status("500", 500),
        status("501", 501),
        status("502", 502),
        status("503", 503),
        status("504", 504),
        Fault::new(
            "503 in OAuth's words",
            Step::from(Reply::new(503).json(&busy)),
            "503 temporarily_unavailable: AADSTS90033",
        ),
        Fault::new(
            "a truncated answer",
            Reply::new(200).body("{\"access_token\": \"a-to").truncate(12),
            "is truncated",
        ),
    ]
}

#[tokio::test]
async fn retries_transient_failures_of_the_token_endpoint() {
    for fault in faults() {
        passes(Endpoint::Token, &fault).await;
    }
}

#[tokio::test]
async fn delivers_in_the_next_run_without_a_token_in_the_first() {
    for fault in faults() {
        lasts(Endpoint::Token, &fault).await;
    }
}

#[tokio::test]
async fn does_not_retry_a_refused_token_request() {
    let invalid = json!({
        "error": "invalid_client",
        "error_description": "AADSTS7000215: Invalid client secret provided.",
        "error_codes": [7_000_215],
    });
    let refusals: [(&str, Reply, &str); 5] = [
        (
            "400",
            Reply::new(400).json(&invalid),
            "400 invalid_client: AADSTS7000215",
        ),
        (
            "401",
            Reply::new(401).json(&invalid),
            "401 invalid_client: AADSTS7000215",
        ),
        (
            "no token",
            Reply::new(200).body("\x00\x01\x02\u{fffd}"),
            "not a JSON object with a token",
        ),
        (
            "a web page",
            Reply::new(200).body("<html><title>Sign in</title></html>"),
            "is a web page with the title `Sign in`",
        ),
        (
            "an empty token",
            Reply::new(200).json(&json!({"access_token": ""})),
            "has no `access_token`",
        ),
    ];
    for (name, reply, says) in refusals {
        let fault = Fault::new(name, Step::from(reply), says);
        let rest = vec![ok(), ok()];
        let fixture = Fixture::new(Endpoint::Token, &fault, 1, rest).await;
        let report = fixture.pipeline.run().await;
        let error = failure(&report, 5);
        assert_eq!(
            (error.component.as_deref(), error.kind),
            (Some("purview"), ErrorKind::Refused)
        );
        for part in [says, "cannot get an access token", "1 attempt "] {
            assert!(error.message.contains(part), "{name}: {part}: {}", error.message);
        }
        assert!(!error.hints.is_empty(), "{name}");
        assert_eq!(outcomes(&report), [(1, NotSent, 1), (2, NotSent, 0)], "{name}");
        assert_rows!(report, 4, not_sent: 4; "{name}");
        let recorded = history(&fixture.pipeline).await;
        assert_eq!(
            batches(&recorded["runs"][0]),
            json!([[1, "not_sent", 1, 0, null]]),
            "{name}"
        );
        is_resumed(&fixture, &fault, &report, 4).await;
        is_delivered(&fixture, name).await;
        fixture.server.finish();
    }
}
