//! Reading once for each of several values.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use test_server::{Reply, Server};

use crate::fixture::{Pipeline, merged, people};

fn parent(more: Value) -> Value {
    let for_each = json!({
        "parent": {"request": {"path": "ids"}, "records": {"path": "$.ids"}},
        "key": {"x": "$.id"}, "max_concurrent": 1,
    });
    json!({"request": {"path": "people/{x}"}, "for_each": merged(for_each, more)})
}

fn ids(ids: impl IntoIterator<Item = u64>) -> Reply {
    Reply::ok(json!({"ids": people(ids)}))
}

fn id(path: &str) -> u64 {
    path.rsplit('/').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn combines_values_with_the_last_changing_fastest() {
    let server = Server::expect([
        ("GET /v1/a/people?of=1", Reply::ok(people([1]))),
        ("GET /v1/a/people?of=2", Reply::ok(people([]))),
        ("GET /v1/b/people?of=1", Reply::ok(people([3]))),
        ("GET /v1/b/people?of=2", Reply::ok(people([4]))),
    ]);
    let settings = json!({
        "request": {"path": "{c}/people", "query": {"of": "{n}"}},
        "for_each": {"values": {"c": ["a", "b"], "n": [1, 2]}, "max_concurrent": 1},
    });
    let ran = Pipeline::new(&server, settings)
        .show("concat(id, c, n)")
        .run()
        .await;
    server.finish();
    assert_eq!(ran.good(), ["1a1", "3b1", "4b2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_each_key_of_the_parent_once() {
    let rows =
        json!({"ids": [{"id": 1, "n": "a"}, {"id": 2}, {"id": "1", "n": "b"}, {"no": 1}, {"id": " "}]});
    let server = Server::expect([
        ("GET /v1/ids", Reply::ok(rows)),
        ("GET /v1/people/1", Reply::ok(json!({"id": 1}))),
        ("GET /v1/people/2", Reply::ok(json!({"id": 2}))),
    ]);
    let settings = parent(json!({"include_from_parent": {"kept": "$.n"}, "on_missing_key": "skip"}));
    let pipeline = Pipeline::new(&server, settings).show("concat(x, coalesce(kept, 'none'))");
    let ran = pipeline.run().await;
    server.finish();
    assert_eq!(ran.good(), ["1a", "2none"]);

    let server = Server::expect([("GET /v1/ids", Reply::ok(json!({"ids": [{"no": 1}]})))]);
    let ran = Pipeline::new(&server, parent(json!({}))).run().await;
    ran.failed(2, &["on_missing_key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_joined_repeated_or_listed() {
    for (request, first, second) in [
        (
            json!({"path": "people", "query": {"ids": "{x}"}}),
            "GET /v1/people?ids=1,2",
            "GET /v1/people?ids=3",
        ),
        (
            json!({"path": "people", "query": {"id": ["{x}"]}}),
            "GET /v1/people?id=1&id=2",
            "GET /v1/people?id=3",
        ),
        (
            json!({"path": "people", "json": {"ids": "{x}"}}),
            r#"POST /v1/people {"ids":[1,2]}"#,
            r#"POST /v1/people {"ids":[3]}"#,
        ),
    ] {
        let server = Server::expect([
            ("GET /v1/ids", ids([1, 2, 3])),
            (first, Reply::ok(people([1, 2]))),
            (second, Reply::ok(people([3]))),
        ]);
        let settings = merged(parent(json!({"batch_size": 2})), json!({"request": request}));
        let ran = Pipeline::new(&server, settings).run().await;
        server.finish();
        assert_eq!(ran.good(), ["1", "2", "3"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_in_parallel_and_keeps_the_order() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (open.clone(), most.clone());
    let server = Server::handler(move |request| {
        let (open, most) = (counted.clone(), highest.clone());
        async move {
            if request.path == "/v1/ids" {
                return ids(0..30);
            }
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first replies come last.
            tokio::time::sleep(Duration::from_millis(31 - id(&request.path))).await;
            open.fetch_sub(1, Ordering::SeqCst);
            Reply::ok(json!({"id": id(&request.path)}))
        }
    });
    let ran = Pipeline::new(&server, parent(json!({"max_concurrent": 3})))
        .run()
        .await;
    let expected: Vec<String> = (0..30).map(|id| id.to_string()).collect();
    assert_eq!(ran.good(), expected);
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn skips_partitions_only_where_allowed_and_up_to_the_limit() {
    for (for_each, missing, expected) in [
        (json!({"skip": {}}), 1, Ok(9)),
        (json!({"skip": {}}), 2, Err("2 of 10")),
        (json!({"skip": {"max_ratio": 0.3}}), 3, Ok(7)),
        (json!({"skip": {"status": [404]}}), 1, Err("403")),
        (json!({}), 1, Err("/v1/people/{x}")),
    ] {
        let server = Server::handler(move |request| async move {
            match request.path.as_str() {
                "/v1/ids" => ids(0..10),
                path if id(path) >= missing => Reply::ok(json!({"id": id(path)})),
                path if id(path).is_multiple_of(2) => Reply::new(403),
                _ => Reply::new(404),
            }
        });
        let ran = Pipeline::new(&server, parent(for_each)).run().await;
        match expected {
            Ok(rows) => assert_eq!(ran.good().len(), rows),
            Err(message) => ran.failed(5, &[message]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn never_skips_a_partition_that_was_read_in_part() {
    let server = Server::expect([
        ("GET /v1/a?page=1", Reply::ok(people([1]))),
        ("GET /v1/a?page=2", Reply::new(404)),
    ]);
    let settings = json!({
        "request": {"path": "{c}"}, "pagination": {"type": "page"},
        "for_each": {"values": {"c": ["a"]}, "skip": {"max_ratio": 1.0}},
    });
    Pipeline::new(&server, settings).run().await.failed(5, &["404"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_action_skips_partitions() {
    let server = Server::expect([
        ("GET /v1/a", Reply::ok(json!({"error": {"code": "NO_DATA"}}))),
        ("GET /v1/b", Reply::ok(json!({"d": people([2])}))),
    ]);
    let settings = json!({
        "request": {"path": "{c}"}, "records": {"path": "$.d"},
        "for_each": {"values": {"c": ["a", "b"]}, "skip": {"max_ratio": 0.5}, "max_concurrent": 1},
        "response_actions": [{"when": {"body": {"path": "$.error.code", "equals": "NO_DATA"}}, "action": "skip"}],
    });
    let ran = Pipeline::new(&server, settings).run().await;
    server.finish();
    assert_eq!(ran.good(), ["2"]);
}

/// A large page must not keep the only connection to the host from the partition before it.
#[tokio::test(flavor = "multi_thread")]
async fn large_pages_do_not_block_other_partitions() {
    let server = Server::handler(|request| async move {
        let padding = "x".repeat(64 << 10);
        let record = |id: u64| json!({"id": id, "padding": padding});
        match request.path.strip_prefix("/v1/").unwrap() {
            "a?page=1" => Reply::ok(people([1])),
            "a?page=2" => Reply::ok(people([2])),
            "b?page=1" => Reply::ok((100..340).map(record).collect::<Value>()),
            "b?page=2" => Reply::ok(people([3])),
            _ => Reply::ok(json!([])),
        }
    });
    let settings = json!({
        "request": {"path": "{part}"}, "pagination": {"type": "page"}, "columns": {"id": "integer"},
        "for_each": {"values": {"part": ["a", "b"]}}, "rate_limit": {"max_concurrent": 1},
    });
    let ran = Pipeline::new(&server, settings).run().await;
    let ids = ran.good();
    assert_eq!((ids.len(), ids[0], ids[1], ids[242]), (243, "1", "2", "3"));
}
