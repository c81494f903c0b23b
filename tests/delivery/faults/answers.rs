//! The service answers with a success that is slow, broken off, or not what a service says.

use std::time::Duration;

use super::{Fault, Place, Stand, Time, batches, is_delivered, is_resumed, lasts, ok, passes};
use crate::common::{failure, history};
use crate::{outcomes, token, totals};
use hrsink::component::BatchOutcome::{Accepted, NotSent, Unknown};
use hrsink::error::ErrorKind;
use serde_json::json;
use test_server::{Reply, Step};

const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sign in to the guest network</title></head></html>";

fn binary() -> Vec<u8> {
    (0..=255).cycle().take(70_000).collect()
}

#[tokio::test]
async fn a_success_is_a_success_however_it_comes() {
    let answers = [
        (
            "trickles",
            Step::Trickle(Reply::new(200), Duration::from_millis(1)),
        ),
        ("breaks off", Reply::new(200).body("saved").truncate(2)),
        ("binary", Reply::new(200).body(binary()).into()),
        ("202", Reply::new(202).into()),
        ("204", Reply::new(204).into()),
    ];
    for (name, step) in answers {
        let fault = Fault::new("", step, "");
        let stand = Stand::new(Place::Upload, &fault, 1, vec![ok()]).await;
        let report = stand.pipeline.run().await;
        assert_eq!(report.exit_code, 0, "{name}: {report:#?}");
        assert_eq!(outcomes(&report), [(1, Accepted, 1), (2, Accepted, 1)], "{name}");
        let shown = report.batches[0].answer.as_deref().unwrap_or_default();
        assert!(
            shown.len() < 2_000 && !shown.chars().any(char::is_control),
            "{name}: {shown:?}"
        );
        let told = history(&stand.pipeline).await;
        assert_eq!(told["runs"][0]["batches"][0]["outcome"], "accepted", "{name}");
        is_delivered(&stand, name).await;
        stand.server.finish();
    }
}

#[tokio::test]
async fn an_answer_that_trickles_for_longer_than_allowed_is_none() {
    let slow = Step::Trickle(Reply::new(200), Duration::from_secs(30));
    let fault = Fault::new("trickles too long", slow, "no response within the timeout")
        .unknown()
        .time(Time::Out(60));
    passes(Place::Upload, &fault).await;
    lasts(Place::Upload, &fault).await;
}

#[tokio::test]
async fn a_body_that_never_ends_does_not_undo_its_status() {
    // The head comes at once, and tells all that counts.
    let reply = Reply::new(200).header("request-id", "7").body(vec![b'x'; 100]);
    let fault = Fault::new("half a body", reply.truncate(10), "").time(Time::Stands);
    let stand = Stand::new(Place::Upload, &fault, 2, vec![]).await;
    let report = stand.pipeline.run().await;
    assert_eq!((report.exit_code, report.rows.accepted), (0, 4));
    assert_eq!(report.batches[0].request_ids, ["request-id: 7"]);
    stand.server.finish();
}

#[tokio::test]
async fn a_web_page_in_place_of_an_answer_stops_the_run_and_leaves_the_rows_unknown() {
    let fault = Fault::new("a web page", Step::from(Reply::new(200).body(PAGE)), "").unknown();
    let stand = Stand::new(Place::Upload, &fault, 1, vec![token(), ok(), ok()]).await;
    let report = stand.pipeline.run().await;
    let error = failure(&report, 5);
    assert_eq!(
        error.kind,
        ErrorKind::Refused,
        "no retry helps against a login page"
    );
    for part in ["cannot tell whether", "web page", "Sign in to the guest network"] {
        assert!(error.message.contains(part), "{part}: {}", error.message);
    }
    assert_eq!(outcomes(&report), [(1, Unknown, 1), (2, NotSent, 0)]);
    assert_eq!(
        report.rows,
        totals(4, |rows| (rows.unknown, rows.not_sent) = (2, 2))
    );
    let told = history(&stand.pipeline).await;
    assert_eq!(batches(&told["runs"][0]), json!([[1, "unknown", 1, 0, 200]]));
    is_resumed(&stand, &fault, &report, 4).await;
    is_delivered(&stand, "a web page").await;
    stand.server.finish();
}
