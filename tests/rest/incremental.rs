//! Reading only what is new.

use serde_json::{Value, json};

use crate::stand::{Answer, Reading, Stand, ok};

fn record(id: u64, at: &str) -> Value {
    json!({"id": id, "at": at})
}

fn by_cursor(more: Value) -> Value {
    let mut incremental = json!({"initial": "2026-01-01", "cursor": "$.at"});
    for (key, value) in more.as_object().unwrap() {
        incremental[key] = value.clone();
    }
    json!({"request": {"path": "people", "query": {"since": "{start}"}}, "incremental": incremental})
}

const FIRST: &str = "GET /v1/people?since=2026-01-01T00:00:00Z";

fn script(rest: Vec<(&str, Answer)>) -> Vec<(String, Answer)> {
    let first = ok(json!([
        record(1, "2026-02-01T10:00:00Z"),
        record(2, "2026-01-05T00:00:00Z")
    ]));
    std::iter::once((FIRST, first))
        .chain(rest)
        .map(|(line, answer)| (line.to_owned(), answer))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_run_goes_on_from_what_was_delivered() {
    for (more, second) in [
        (json!({}), "GET /v1/people?since=2026-02-01T10:00:00Z"),
        (
            json!({"lookback": "1d"}),
            "GET /v1/people?since=2026-01-31T10:00:00Z",
        ),
        (
            json!({"start_exclusive": true}),
            "GET /v1/people?since=2026-02-01T09:59:59Z",
        ),
    ] {
        let first = if more.get("start_exclusive").is_some() {
            "GET /v1/people?since=2025-12-31T23:59:59Z"
        } else {
            FIRST
        };
        let mut script = script(vec![(second, ok(json!([record(3, "2026-03-01T00:00:00Z")])))]);
        script[0].0 = first.to_owned();
        let stand = Stand::script(script).await;
        let reading = Reading::new(&stand, by_cursor(more));
        assert_eq!(reading.run().await.good(), ["1", "2"]);
        assert_eq!(reading.run().await.good(), ["3"]);
        stand.done();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_delivered_is_asked_for_again() {
    let again = ok(json!([record(1, "2026-02-01T10:00:00Z")]));
    let stand = Stand::script(script(vec![(FIRST, again)])).await;
    let reading = Reading::new(&stand, by_cursor(json!({})));
    // A folder in the file's place: nothing can be delivered.
    std::fs::create_dir_all(reading.path("out.csv/in-the-way")).unwrap();
    let failed = reading.run().await;
    assert_ne!(failed.code, 0, "{}", failed.told);
    std::fs::remove_dir_all(reading.path("out.csv")).unwrap();
    assert_eq!(reading.run().await.good(), ["1"]);
    stand.done();
}

/// The mapping was wrong, and is mended.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_rejected_for_the_most_part_is_asked_for_again() {
    let again = ok(json!([record(1, "2026-02-01T10:00:00Z")]));
    let stand = Stand::script(script(vec![(FIRST, again)])).await;
    let mut reading = Reading::new(&stand, by_cursor(json!({}))).show("'no one'");
    reading.max_ratio = 0.9;
    assert_eq!(reading.run().await.code, 3);
    assert_eq!(reading.show("id").run().await.good(), ["1"]);
    stand.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn full_runs_and_changed_settings_begin_at_initial() {
    let again = || ok(json!([record(1, "2026-02-01T10:00:00Z")]));
    let stand = Stand::script(script(vec![
        ("GET /v1/people?since=2026-02-01T10:00:00Z", again()),
        (FIRST, again()),
    ]))
    .await;
    let reading = Reading::new(&stand, by_cursor(json!({"full_refresh_every": {"runs": 2}})));
    for _ in 0..3 {
        assert_eq!(reading.run().await.code, 0);
    }
    let lines = stand.lines();
    assert_eq!(
        lines.iter().filter(|line| *line == FIRST).count(),
        2,
        "{lines:#?}"
    );

    let other = "GET /v1/people?since=2025-01-01T00:00:00Z";
    let all = "GET /v1/people?since=2025-01-01T00:00:00Z&state=all";
    let stand = Stand::script(script(vec![(other, again()), (all, again())])).await;
    let mut reading = Reading::new(&stand, by_cursor(json!({})));
    reading.run().await.good();
    reading.source["incremental"]["initial"] = json!("2025-01-01");
    reading.run().await.good();
    // So is what is asked for.
    reading.source["request"]["query"]["state"] = json!("all");
    reading.run().await.good();
    reading.source["incremental"]["initial"] = json!("2024-01-01");
    reading.source["incremental"]["on_change"] = json!("error");
    reading.run().await.failed(4, &["initial"]);
    stand.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_meet_without_a_gap() {
    let stand = Stand::by(|_| async { ok(json!([])) }).await;
    let settings = json!({
        "request": {"path": "people", "query": {"from": "{start}", "to": "{end}"}},
        "incremental": {"initial": "2026-01-01", "format": "%Y-%m-%d", "window": "30d"},
    });
    assert!(Reading::new(&stand, settings).run().await.good().is_empty());
    let spans: Vec<(String, String)> = stand
        .lines()
        .iter()
        .map(|line| {
            let (from, to) = line.split_once("from=").unwrap().1.split_once("&to=").unwrap();
            (from.to_owned(), to.to_owned())
        })
        .collect();
    assert_eq!(spans[0], ("2026-01-01".to_owned(), "2026-01-31".to_owned()));
    assert!(spans.len() > 2);
    for pair in spans.windows(2) {
        assert_eq!(pair[0].1, pair[1].0);
    }
}
