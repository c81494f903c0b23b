//! Reading once for each of several values.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::stand::{Answer, Reading, Stand, ok, people, status};

fn parent(more: Value) -> Value {
    let mut each = json!({
        "parent": {"request": {"path": "ids"}, "records": {"path": "$.ids"}},
        "key": {"x": "$.id"}, "max_parallel": 1,
    });
    for (key, value) in more.as_object().unwrap() {
        each[key] = value.clone();
    }
    json!({"request": {"path": "people/{x}"}, "for_each": each})
}

fn ids(ids: impl IntoIterator<Item = u64>) -> Answer {
    ok(json!({"ids": people(ids)}))
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_combined_the_last_changing_fastest() {
    let stand = Stand::script([
        ("GET /v1/a/people?of=1", ok(json!([{"id": 1}]))),
        ("GET /v1/a/people?of=2", ok(json!([]))),
        ("GET /v1/b/people?of=1", ok(json!([{"id": 3}]))),
        ("GET /v1/b/people?of=2", ok(json!([{"id": 4}]))),
    ])
    .await;
    let settings = json!({
        "request": {"path": "{c}/people", "query": {"of": "{n}"}},
        "for_each": {"values": {"c": ["a", "b"], "n": [1, 2]}, "max_parallel": 1},
    });
    let ran = Reading::new(&stand, settings)
        .show("concat(id, c, n)")
        .run()
        .await;
    stand.done();
    assert_eq!(ran.good(), ["1a1", "3b1", "4b2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parents_keys_are_asked_for_once_each() {
    let row = |id: u64| ok(json!({"id": id}));
    let stand = Stand::script([
        (
            "GET /v1/ids",
            ok(json!({"ids": [{"id": 1, "n": "a"}, {"id": 2}, {"id": 1, "n": "b"}, {"no": 1}, {"id": " "}]})),
        ),
        ("GET /v1/people/1", row(1)),
        ("GET /v1/people/2", row(2)),
    ])
    .await;
    let settings = parent(json!({"keep": {"kept": "$.n"}, "on_missing_key": "skip"}));
    let ran = Reading::new(&stand, settings)
        .show("concat(x, coalesce(kept, 'none'))")
        .run()
        .await;
    stand.done();
    assert_eq!(ran.good(), ["1a", "2none"]);

    let stand = Stand::script([("GET /v1/ids", ok(json!({"ids": [{"no": 1}]})))]).await;
    Reading::new(&stand, parent(json!({})))
        .run()
        .await
        .failed(2, &["on_missing_key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_joined_repeated_or_listed() {
    let each = parent(json!({"group": 2}))["each"].clone();
    for (request, wanted) in [
        (
            json!({"path": "people", "query": {"ids": "{x}"}}),
            ["GET /v1/people?ids=1,2", "GET /v1/people?ids=3"],
        ),
        (
            json!({"path": "people", "query": {"id": ["{x}"]}}),
            ["GET /v1/people?id=1&id=2", "GET /v1/people?id=3"],
        ),
        (
            json!({"path": "people", "json": {"ids": "{x}"}}),
            [
                r#"POST /v1/people {"ids":[1,2]}"#,
                r#"POST /v1/people {"ids":[3]}"#,
            ],
        ),
    ] {
        let stand = Stand::script([
            ("GET /v1/ids", ids([1, 2, 3])),
            (wanted[0], ok(people([1, 2]))),
            (wanted[1], ok(people([3]))),
        ])
        .await;
        let ran = Reading::new(&stand, json!({"request": request, "for_each": each}))
            .run()
            .await;
        stand.done();
        assert_eq!(ran.good(), ["1", "2", "3"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_max_parallel_are_asked_at_once_and_the_order_is_kept() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (now.clone(), most.clone());
    let stand = Stand::by(move |asked| {
        let (now, most) = (counted.clone(), highest.clone());
        async move {
            if asked.line == "GET /v1/ids" {
                return ids(0..30);
            }
            let id: u64 = asked.line.rsplit('/').next().unwrap().parse().unwrap();
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(31 - id)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            ok(json!({"id": id}))
        }
    })
    .await;
    let ran = Reading::new(&stand, parent(json!({"max_parallel": 3})))
        .run()
        .await;
    let wanted: Vec<String> = (0..30).map(|id| id.to_string()).collect();
    assert_eq!(ran.good(), wanted);
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_does_not_give_is_left_out_only_where_said_and_up_to_the_share() {
    let run = |each: Value, missing: u64| async move {
        let stand = Stand::by(move |asked| async move {
            if asked.line == "GET /v1/ids" {
                return ids(0..10);
            }
            let id: u64 = asked.line.rsplit('/').next().unwrap().parse().unwrap();
            match id < missing {
                true if id.is_multiple_of(2) => status(403),
                true => status(404),
                false => ok(json!({"id": id})),
            }
        })
        .await;
        Reading::new(&stand, parent(each)).run().await
    };
    assert_eq!(run(json!({"on_error": "skip"}), 1).await.good().len(), 9);
    run(json!({"on_error": "skip"}), 2)
        .await
        .failed(5, &["2 of 10", "max_skipped"]);
    assert_eq!(
        run(json!({"on_error": "skip", "max_skipped": 0.3}), 3)
            .await
            .good()
            .len(),
        7
    );
    run(json!({"on_error": "skip", "skip_statuses": [404]}), 1)
        .await
        .failed(5, &["403"]);
    run(json!({}), 1).await.failed(5, &["403", "/v1/people/{x}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_not_left_out_when_some_of_it_was_read() {
    let stand = Stand::script([
        ("GET /v1/a?page=1", ok(people([1]))),
        ("GET /v1/a?page=2", status(404)),
    ])
    .await;
    let settings = json!({
        "request": {"path": "{c}"}, "pagination": {"type": "page"},
        "for_each": {"values": {"c": ["a"]}, "on_error": "skip", "max_skipped": 1.0},
    });
    Reading::new(&stand, settings).run().await.failed(5, &["404"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_leaves_values_out() {
    let none = |code: &str| ok(json!({"error": {"code": code}}));
    let stand = Stand::script([
        ("GET /v1/a", none("NO_DATA")),
        ("GET /v1/b", ok(json!({"d": people([2])}))),
    ])
    .await;
    let settings = json!({
        "request": {"path": "{c}"}, "records": {"path": "$.d"},
        "for_each": {"values": {"c": ["a", "b"]}, "on_error": "skip", "max_skipped": 0.5, "max_parallel": 1},
        "response_actions": [{"when": {"body": {"path": "$.error.code", "equals": "NO_DATA"}}, "action": "skip"}],
    });
    let ran = Reading::new(&stand, settings).run().await;
    stand.done();
    assert_eq!(ran.good(), ["2"]);
}

/// A page so large that it goes on before its end must not keep the only place at the host from the one before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_page_lets_the_others_of_its_host_ask() {
    let stand = Stand::by(|asked| async move {
        let padding = "x".repeat(64 << 10);
        let large = |ids: std::ops::Range<u64>| {
            ids.map(|id| json!({"id": id, "padding": padding}))
                .collect::<Vec<_>>()
        };
        match asked.line.strip_prefix("GET /v1/").unwrap() {
            "a?page=1" => ok(people([1])),
            "a?page=2" => ok(people([2])),
            "b?page=1" => ok(large(100..340).into()),
            "b?page=2" => ok(people([3])),
            _ => ok(json!([])),
        }
    })
    .await;
    let settings = json!({
        "request": {"path": "{part}"}, "pagination": {"type": "page"}, "columns": {"id": "integer"},
        "for_each": {"values": {"part": ["a", "b"]}}, "rate_limit": {"max_concurrent": 1},
    });
    let ran = Reading::new(&stand, settings).run().await;
    let ids = ran.good();
    assert_eq!((ids.len(), ids[0], ids[1], ids[242]), (243, "1", "2", "3"));
}
