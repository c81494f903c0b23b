//! Failures of the token endpoint. Its outcome is never unknown.

use super::{Endpoint, Fault, Fixture, batches, is_delivered, is_resumed, passes_and_lasts};
use crate::support::barrier::Break;
use crate::support::history;
use crate::{fails, ok, outcomes};
use hrsink::error::ErrorKind;
use hrsink::plugin::BatchOutcome::NotSent;
use serde_json::json;
use std::time::Duration;
use test_server::{Reply, Step};

fn faults() -> Vec<Fault> {
    let ended = "the connection ended without a response";
    let status = |status: u16| {
        let says = format!("the response was {status}");
        Fault::new("a status", Step::from(Reply::new(status).body("no")), says)
    };
    let busy = json!({"error": "temporarily_unavailable", "error_description": "AADSTS90033: try later"});
    let trickling = Step::Trickle(Reply::new(503).body("no"), Duration::from_millis(1));
    let cut = Reply::new(200).body("{\"access_token\": \"a-to").truncate(12);
    let mut faults = vec![
        Fault::new("reset before the body", Break::ResetBeforeBody, ended),
        Fault::new("reset after the body", Break::ResetAfterBody, ended),
        Fault::new("closed without an answer", Step::CloseAfterBody, ended),
        Fault::new("not HTTP", Step::Garbage(b"\x16\x03\x01\x00\x02".to_vec()), ended),
        Fault::new("trickles", trickling, "the response was 503"),
        Fault::new(
            "503 in OAuth's words",
            Step::from(Reply::new(503).json(&busy)),
            "503 temporarily_unavailable: AADSTS90033",
        ),
        Fault::new("a truncated answer", cut, "is truncated"),
    ];
    faults.extend([408, 429, 500, 501, 502, 503, 504].map(status));
    faults
}

#[tokio::test]
async fn retries_transient_failures_of_the_token_endpoint_and_delivers_in_the_next_run() {
    passes_and_lasts(Endpoint::Token, faults()).await;
}

#[tokio::test]
async fn does_not_retry_a_refused_token_request() {
    let invalid = json!({
        "error": "invalid_client",
        "error_description": "AADSTS7000215: Invalid client secret provided.",
        "error_codes": [7_000_215],
    });
    let refused = |status| Reply::new(status).json(&invalid);
    let page = Reply::new(200).body("<html><title>Sign in</title></html>");
    let empty = Reply::ok(json!({"access_token": ""}));
    for (name, reply, says) in [
        ("400", refused(400), "400 invalid_client: AADSTS7000215"),
        ("401", refused(401), "401 invalid_client: AADSTS7000215"),
        (
            "no token",
            Reply::new(200).body("\x00\x02\u{fffd}"),
            "not a JSON object with a token",
        ),
        ("a web page", page, "is a web page with the title `Sign in`"),
        ("an empty token", empty, "has no `access_token`"),
    ] {
        let fault = Fault::new(name, Step::from(reply), says);
        let rest = vec![ok(), ok()];
        let fixture = Fixture::new(Endpoint::Token, &fault, 1, rest).await;
        let report = fixture.pipeline.run().await;
        let error = fails(&report, 5, &[says, "cannot get an access token", "1 attempt "]);
        let found = (error.component.as_deref(), error.kind);
        assert_eq!(found, (Some("purview"), ErrorKind::Refused));
        assert!(!error.hints.is_empty(), "{name}");
        assert_eq!(outcomes(&report), [(1, NotSent, 1), (2, NotSent, 0)], "{name}");
        assert_rows!(report, 4, not_sent: 4; "{name}");
        let recorded = batches(&history(&fixture.pipeline).await["runs"][0]);
        assert_eq!(recorded, json!([[1, "not_sent", 1, 0, null]]), "{name}");
        is_resumed(&fixture, &fault, &report, 4).await;
        is_delivered(&fixture, name).await;
        fixture.server.finish();
    }
}
