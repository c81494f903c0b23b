//! Reading only what is new.

use serde_json::{Value, json};
use test_server::{Reply, Server};

use crate::fixture::{Pipeline, merged};

fn record(id: u64, at: &str) -> Value {
    json!({"id": id, "at": at})
}

fn by_cursor(more: Value) -> Value {
    let incremental = merged(json!({"initial": "2026-01-01", "cursor": "$.at"}), more);
    json!({"request": {"path": "people", "query": {"since": "{start}"}}, "incremental": incremental})
}

const FIRST: &str = "GET /v1/people?since=2026-01-01T00:00:00Z";

fn first() -> Reply {
    Reply::ok(json!([
        record(1, "2026-02-01T10:00:00Z"),
        record(2, "2026-01-05T00:00:00Z")
    ]))
}

fn again() -> Reply {
    Reply::ok(json!([record(1, "2026-02-01T10:00:00Z")]))
}

#[tokio::test(flavor = "multi_thread")]
async fn continues_from_what_was_delivered() {
    for (more, second) in [
        (json!({}), "GET /v1/people?since=2026-02-01T10:00:00Z"),
        (
            json!({"lookback": "1d"}),
            "GET /v1/people?since=2026-01-31T10:00:00Z",
        ),
    ] {
        let new = Reply::ok(json!([record(3, "2026-03-01T00:00:00Z")]));
        let server = Server::expect([(FIRST, first()), (second, new)]);
        let pipeline = Pipeline::new(&server, by_cursor(more));
        assert_eq!(pipeline.run().await.good(), ["1", "2"]);
        assert_eq!(pipeline.run().await.good(), ["3"]);
        server.finish();
    }
}

/// The cursor of a page counts once, however often it is requested.
#[tokio::test(flavor = "multi_thread")]
async fn ignores_cursors_of_aborted_pages() {
    let aborted = Reply::ok(json!([record(1, "2026-09-01T00:00:00Z")])).break_after_body();
    let server = Server::expect([
        (FIRST, aborted),
        (FIRST, again().into()),
        ("GET /v1/people?since=2026-02-01T10:00:00Z", again().into()),
    ]);
    let pipeline = Pipeline::new(&server, by_cursor(json!({})));
    assert_eq!(pipeline.run().await.good(), ["1"]);
    pipeline.run().await.good();
    server.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_undelivered_and_rejected_rows_again() {
    let server = Server::expect([(FIRST, first()), (FIRST, again())]);
    let pipeline = Pipeline::new(&server, by_cursor(json!({})));
    // A folder in place of the file: nothing can be delivered.
    std::fs::create_dir_all(pipeline.path("out.csv/in-the-way")).unwrap();
    let failed = pipeline.run().await;
    assert_ne!(failed.code, 0, "{}", failed.text);
    std::fs::remove_dir_all(pipeline.path("out.csv")).unwrap();
    assert_eq!(pipeline.run().await.good(), ["1"]);
    server.finish();

    let server = Server::expect([(FIRST, first()), (FIRST, again())]);
    let mut pipeline = Pipeline::new(&server, by_cursor(json!({}))).show("'no one'");
    pipeline.max_ratio = 0.9;
    assert_eq!(pipeline.run().await.code, 3);
    assert_eq!(pipeline.show("id").run().await.good(), ["1"]);
    server.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn full_runs_and_changed_settings_start_at_initial() {
    let next = "GET /v1/people?since=2026-02-01T10:00:00Z";
    let server = Server::expect([(FIRST, first()), (next, again()), (FIRST, again())]);
    let pipeline = Pipeline::new(&server, by_cursor(json!({"full_refresh_every": {"runs": 2}})));
    for _ in 0..3 {
        assert_eq!(pipeline.run().await.code, 0);
    }
    server.finish();

    let other = "GET /v1/people?since=2025-01-01T00:00:00Z";
    let all = "GET /v1/people?since=2025-01-01T00:00:00Z&state=all";
    let server = Server::expect([(FIRST, first()), (other, again()), (all, again())]);
    let mut pipeline = Pipeline::new(&server, by_cursor(json!({})));
    pipeline.run().await.good();
    pipeline.source["incremental"]["initial"] = json!("2025-01-01");
    pipeline.run().await.good();
    pipeline.source["request"]["query"]["state"] = json!("all");
    pipeline.run().await.good();
    server.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_meet_without_a_gap() {
    let server = Server::handler(|_| async { Reply::ok(json!([])) });
    let settings = json!({
        "request": {"path": "people", "query": {"from": "{start}", "to": "{end}"}},
        "incremental": {"initial": "2026-01-01", "format": "%Y-%m-%d", "window": "30d"},
    });
    assert!(Pipeline::new(&server, settings).run().await.good().is_empty());
    let requests = server.requests();
    let spans: Vec<_> = requests.iter().map(|request| request.query()).collect();
    assert_eq!((&*spans[0][0].1, &*spans[0][1].1), ("2026-01-01", "2026-01-31"));
    assert!(spans.len() > 2);
    for pair in spans.windows(2) {
        assert_eq!(pair[0][1].1, pair[1][0].1);
    }
}
