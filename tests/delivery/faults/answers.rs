//! Successes that are slow, truncated, or not from the service.

use std::time::Duration;

use super::{Endpoint, Fault, Fixture, Time, batches, is_delivered, is_resumed, passes_and_lasts};
use crate::support::history;
use crate::{fails, ok, outcomes, token};
use hrsink::error::ErrorKind;
use hrsink::plugin::BatchOutcome::{Accepted, NotSent, Unknown};
use serde_json::json;
use test_server::{Reply, Step};

const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sign in to the guest network</title></head></html>";

fn binary() -> Vec<u8> {
    (0..=255).cycle().take(70_000).collect()
}

#[tokio::test]
async fn accepts_every_form_of_success() {
    let answers = [
        (
            "trickles",
            Step::Trickle(Reply::new(200), Duration::from_millis(1)),
        ),
        ("truncated", Reply::new(200).body("saved").truncate(2)),
        ("binary", Reply::new(200).body(binary()).into()),
        ("202", Reply::new(202).into()),
        ("204", Reply::new(204).into()),
    ];
    for (name, step) in answers {
        let fault = Fault::new("", step, "");
        let fixture = Fixture::new(Endpoint::Upload, &fault, 1, vec![ok()]).await;
        let report = fixture.pipeline.run().await;
        assert_eq!(report.exit_code, 0, "{name}: {report:#?}");
        assert_eq!(outcomes(&report), [(1, Accepted, 1), (2, Accepted, 1)], "{name}");
        let shown = report.batches[0].answer.as_deref().unwrap_or_default();
        assert!(
            shown.len() < 2_000 && !shown.chars().any(char::is_control),
            "{name}: {shown:?}"
        );
        let recorded = history(&fixture.pipeline).await;
        assert_eq!(recorded["runs"][0]["batches"][0]["outcome"], "accepted", "{name}");
        is_delivered(&fixture, name).await;
        fixture.server.finish();
    }
}

#[tokio::test]
async fn times_out_on_an_answer_that_trickles() {
    let slow = Step::Trickle(Reply::new(200), Duration::from_secs(30));
    let fault = Fault::new("trickles too long", slow, "no response within the timeout")
        .unknown()
        .time(Time::Out(60));
    passes_and_lasts(Endpoint::Upload, [fault]).await;
}

#[tokio::test]
async fn stops_at_a_web_page_and_reports_the_rows_as_unknown() {
    let fault = Fault::new("a web page", Step::from(Reply::new(200).body(PAGE)), "").unknown();
    let fixture = Fixture::new(Endpoint::Upload, &fault, 1, vec![token(), ok(), ok()]).await;
    let report = fixture.pipeline.run().await;
    let texts = [
        "is unknown: the response to POST",
        "web page",
        "Sign in to the guest network",
    ];
    let error = fails(&report, 5, &texts);
    assert_eq!(
        error.kind,
        ErrorKind::Refused,
        "retries do not help against a login page"
    );
    assert_eq!(outcomes(&report), [(1, Unknown, 1), (2, NotSent, 0)]);
    assert_rows!(report, 4, unknown: 2, not_sent: 2);
    let recorded = history(&fixture.pipeline).await;
    assert_eq!(batches(&recorded["runs"][0]), json!([[1, "unknown", 1, 0, 200]]));
    is_resumed(&fixture, &fault, &report, 4).await;
    is_delivered(&fixture, "a web page").await;
    fixture.server.finish();
}
