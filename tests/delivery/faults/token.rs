//! The token endpoint fails, in the ways in which the service does. Nothing is ever unknown of it.

use super::{Fault, Place, Stand, batches, is_delivered, is_resumed, lasts, ok, passes};
use crate::common::gate::Break;
use crate::common::{failure, history};
use crate::{outcomes, totals};
use hrsink::component::BatchOutcome::NotSent;
use hrsink::error::ErrorKind;
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
        Fault::new("no HTTP", Step::Garbage(b"\x16\x03\x01\x00\x02".to_vec()), ended),
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
            "an answer that breaks off",
            Reply::new(200).body("{\"access_token\": \"a-to").truncate(12),
            "broke off",
        ),
    ]
}

#[tokio::test]
async fn a_failure_at_the_token_endpoint_that_passes_is_tried_again() {
    for fault in faults() {
        passes(Place::Token, &fault).await;
    }
}

#[tokio::test]
async fn rows_without_a_token_were_not_sent_and_are_by_the_next_run() {
    for fault in faults() {
        lasts(Place::Token, &fault).await;
    }
}

/// What no retry helps against: the run stops at once, nothing was sent, and the next run sends everything.
#[tokio::test]
async fn a_token_endpoint_that_refuses_is_asked_once() {
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
            "no JSON object with a token",
        ),
        (
            "a web page",
            Reply::new(200).body("<html><title>Sign in</title></html>"),
            "is a web page with the title `Sign in`",
        ),
        (
            "an empty token",
            Reply::new(200).json(&json!({"access_token": ""})),
            "holds no `access_token`",
        ),
    ];
    for (name, reply, says) in refusals {
        let fault = Fault::new(name, Step::from(reply), says);
        let rest = vec![ok(), ok()];
        let stand = Stand::new(Place::Token, &fault, 1, rest).await;
        let report = stand.pipeline.run().await;
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
        assert_eq!(report.rows, totals(4, |rows| rows.not_sent = 4), "{name}");
        let told = history(&stand.pipeline).await;
        assert_eq!(
            batches(&told["runs"][0]),
            json!([[1, "not_sent", 1, 0, null]]),
            "{name}"
        );
        is_resumed(&stand, &fault, &report, 4).await;
        is_delivered(&stand, name).await;
        stand.server.finish();
    }
}
