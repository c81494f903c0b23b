//! How responses become rows, and what columns they have.

use serde_json::{Value, json};
use test_server::{Reply, Server};

use crate::fixture::{PEOPLE, Pipeline, people};

/// The rows of one response, and `show` of each.
async fn rows(settings: Value, reply: Reply, show: &str) -> Vec<String> {
    let server = Server::expect([(PEOPLE, reply)]);
    let ran = Pipeline::new(&server, settings).show(show).run().await;
    server.finish();
    ran.good();
    ran.rows
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_records_and_builds_rows() {
    let cases: Vec<(Value, Value, &str, &[&str])> = vec![
        (json!({}), json!([{"id": 1}, {"id": 2}]), "id", &["1", "2"]),
        (json!({}), json!({"id": 7}), "id", &["7"]),
        (json!({}), json!([]), "id", &[]),
        (
            json!({"path": "$.x[?@.y==1]"}),
            json!({"x": [{"id": 1, "y": 1}, {"id": 2, "y": 2}, {"id": 3, "y": 1}]}),
            "id",
            &["1", "3"],
        ),
        (
            json!({"path": "$.people.*", "key_as": "who"}),
            json!({"people": {"a": {"id": 1}, "b": {"id": 2}}}),
            "concat(who, id)",
            &["a1", "b2"],
        ),
        (
            json!({"explode": {"path": "$.jobs[*]"}}),
            json!([{"id": 1, "jobs": [{"j": "x"}, {"j": "y"}]}, {"id": 2, "jobs": []}]),
            "concat(id, j)",
            &["1x", "1y"],
        ),
        (
            json!({"missing": "empty", "explode": {"path": "$.jobs"}}),
            json!([{"id": 1}]),
            "1",
            &[],
        ),
        (
            json!({}),
            json!([{"address": {"city": "Oslo"}}]),
            "address['city']",
            &["Oslo"],
        ),
    ];
    for (records, body, show, expected) in cases {
        let found = rows(json!({"records": records}), Reply::ok(body), show).await;
        assert_eq!(found, expected, "{records}");
    }
    let lines = Reply::text("{\"id\":1}\n{\"id\":2}\n");
    let found = rows(json!({"records": {"format": "ndjson"}}), lines, "id").await;
    assert_eq!(found, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_where_records_or_columns_do_not_fit() {
    for (records, body, expected) in [
        (
            json!({"path": "$.dta"}),
            json!({"data": []}),
            vec!["has no member `dta`", "data", "missing: empty"],
        ),
        (
            json!({"explode": {"path": "$.job"}}),
            json!([{"id": 1, "jobs": [{"j": 1}]}, {"id": 2, "jobs": []}]),
            vec!["none of 2 records", "$.job", "explode"],
        ),
        (
            json!({"explode": {"path": "$.jobs"}}),
            json!([{"id": 1, "jobs": [{"id": 2}]}]),
            vec!["the column `id` comes from", "prefix"],
        ),
    ] {
        let server = Server::expect([(PEOPLE, Reply::ok(body))]);
        let ran = Pipeline::new(&server, json!({"records": records})).run().await;
        ran.failed(2, &expected);
        assert!(ran.rows.is_empty());
    }
}

/// Two pages and an empty one.
fn pages(first: Value, second: Value) -> Server {
    Server::expect([
        ("GET /v1/people?page=1", Reply::ok(first)),
        ("GET /v1/people?page=2", Reply::ok(second)),
        ("GET /v1/people?page=3", Reply::ok(json!([]))),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn infers_columns_from_all_pages() {
    for (second, show, expected) in [
        (
            json!([{"id": 2, "late": "x"}]),
            "concat(id, coalesce(late, 'none'))",
            ["1none", "2x"],
        ),
        (json!([{"id": "E2"}]), "id", ["1", "E2"]),
        (json!([{"id": 2.5}]), "id", ["1.0", "2.5"]),
    ] {
        let server = pages(json!([{"id": 1}]), second);
        let pipeline = Pipeline::new(&server, json!({"pagination": {"type": "page"}}));
        let ran = pipeline.show(show).run().await;
        server.finish();
        assert_eq!(ran.good(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_columns_do_not_depend_on_the_records() {
    let columns = json!({"id": "integer", "name": "text", "part": "number", "here": "boolean"});
    let settings = json!({"columns": columns, "pagination": {"type": "page"}});
    let first = json!([{"id": 1, "name": 5, "part": 1, "here": true, "unknown": {"deep": 1}}]);
    let server = pages(first, json!([{"id": 2}, {"id": "not a number"}]));
    let show = "concat(id + 1, coalesce(name, 'none'), coalesce(here, false), coalesce(part, 0.5))";
    let pipeline = Pipeline::new(&server, settings.clone()).show(show);
    let ran = pipeline.run().await;
    assert_eq!(ran.good(), ["25true1.0", "3nonefalse0.5"]);
    let report = ran.report.unwrap();
    assert_eq!((report.rows.read, report.rows.rejected), (3, 1), "{}", ran.text);
    let rejects = std::fs::read_to_string(report.rejects.path.unwrap()).unwrap();
    let reject: Value = serde_json::from_str(rejects.lines().next().unwrap()).unwrap();
    assert!(
        reject["file"].as_str().unwrap().ends_with("/v1/people (page 2)"),
        "{reject}"
    );
    assert_eq!(reject["row"], json!(2), "{reject}");
    assert!(!rejects.contains("not a number"), "{rejects}");

    let server = Server::expect([("GET /v1/people?page=1", Reply::ok(people([])))]);
    let ran = Pipeline::new(&server, settings).show(show).run().await;
    assert!(ran.good().is_empty());
    assert_eq!(ran.report.unwrap().rows.read, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn added_columns_need_no_declaration() {
    let settings = json!({
        "records": {
            "path": "$.people", "key_as": "who", "columns": {"mail": "$.contact.mail"},
            "explode": {"path": "$.jobs", "keep": ["id"], "prefix": "p_"},
        },
        "columns": {"j": "text", "p_id": "integer"},
    });
    let job = json!({"j": "y", "contact": {"mail": "z"}});
    let body = json!({"people": {"a": {"id": 1, "contact": {"mail": "x"}, "jobs": [job]}}});
    let found = rows(settings, Reply::ok(body), "concat(who, p_id, mail, j)").await;
    assert_eq!(found, ["a1zy"]);
}
