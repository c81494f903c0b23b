//! How rows come out of answers, and what columns they have.

use serde_json::{Value, json};

use crate::stand::{Answer, Reading, Stand, ok, text};

/// One answer, read with `settings`, and `show` of each row.
async fn rows(settings: Value, answer: Answer, show: &str) -> Vec<String> {
    let stand = Stand::script([("GET /v1/people", answer)]).await;
    let ran = Reading::new(&stand, settings).show(show).run().await;
    stand.done();
    ran.good();
    ran.rows
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_where_the_path_leads() {
    let body = || ok(json!({"x": [{"id": 1, "y": 1}, {"id": 2, "y": 2}, {"id": 3, "y": 1}]}));
    for (records, answer, show, wanted) in [
        (json!({}), ok(json!([{"id": 1}, {"id": 2}])), "id", vec!["1", "2"]),
        (json!({}), ok(json!({"id": 7})), "id", vec!["7"]),
        (json!({"path": "$.x[?@.y==1]"}), body(), "id", vec!["1", "3"]),
        (json!({"path": "$.x"}), ok(json!({"x": null})), "1", vec![]),
        (
            json!({"path": "$.x", "missing": "empty"}),
            ok(json!({})),
            "1",
            vec![],
        ),
        (
            json!({"path": "$.people.*", "key_as": "who"}),
            ok(json!({"people": {"a": {"id": 1}, "b": {"id": 2}}})),
            "concat(who, id)",
            vec!["a1", "b2"],
        ),
        (
            json!({"path": "$.people", "key_as": "who"}),
            ok(json!({"people": {"a": {"id": 1}, "b": {"id": 2}}})),
            "concat(who, id)",
            vec!["a1", "b2"],
        ),
        (
            json!({"explode": {"path": "$.jobs[*]"}}),
            ok(json!([{"id": 1, "jobs": [{"j": "x"}, {"j": "y"}]}, {"id": 2, "jobs": []}])),
            "concat(id, j)",
            vec!["1x", "1y"],
        ),
        (
            json!({"explode": {"path": "$.jobs", "keep": ["id"], "prefix": "p_", "empty": "keep"}}),
            ok(json!([{"id": 1, "jobs": [{"id": "x"}]}, {"id": 2}])),
            "concat(p_id, coalesce(id, 'none'))",
            vec!["1x", "2none"],
        ),
        (
            json!({}),
            ok(json!([{"id": 1, "address": {"city": "Oslo"}}, {"id": 2, "address": {"city": "Bergen"}}])),
            "address['city']",
            vec!["Oslo", "Bergen"],
        ),
        (
            json!({"nested": "json"}),
            ok(json!([{"id": 1, "tags": ["a", "b"]}])),
            "translate(tags, '[]\",', '')",
            vec!["ab"],
        ),
        (
            json!({"format": "ndjson"}),
            text("{\"id\":1}\n{\"id\":2}\n"),
            "id",
            vec!["1", "2"],
        ),
    ] {
        let got = rows(json!({"records": records}), answer, show).await;
        assert_eq!(got, wanted, "{records}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_leads_nowhere_is_an_error_that_says_what_is_there() {
    for (records, body, told) in [
        (
            json!({"path": "$.dta"}),
            json!({"data": []}),
            vec!["has no member `dta`", "data", "missing: empty"],
        ),
        (json!({"path": "$.data"}), json!({"data": "text"}), vec!["a text"]),
        (
            json!({"explode": {"path": "$.job"}}),
            json!([{"id": 1, "jobs": [{"j": 1}]}, {"id": 2, "jobs": []}]),
            vec!["none of 2 records", "$.job", "explode"],
        ),
        (
            json!({"path": "$.p", "key_as": "id"}),
            json!({"p": {"a": {"id": "b"}}}),
            vec!["`id` would come from"],
        ),
        (
            json!({"explode": {"path": "$.jobs"}}),
            json!([{"id": 1, "jobs": [{"id": 2}]}]),
            vec!["`id` would come from", "prefix"],
        ),
    ] {
        let stand = Stand::script([("GET /v1/people", ok(body))]).await;
        let ran = Reading::new(&stand, json!({"records": records})).run().await;
        ran.failed(2, &told);
        assert!(ran.rows.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_may_be_left_out_are_no_error() {
    let settings = json!({"records": {"missing": "empty", "explode": {"path": "$.jobs"}}});
    let got = rows(settings, ok(json!([{"id": 1}, {"id": 2}])), "1").await;
    assert!(got.is_empty());
}

/// Three pages, the last of which is empty.
fn pages(first: Value, second: Value) -> Vec<(&'static str, Answer)> {
    vec![
        ("GET /v1/people?page=1", ok(first)),
        ("GET /v1/people?page=2", ok(second)),
        ("GET /v1/people?page=3", ok(json!([]))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_learnt_from_all_pages() {
    for (first, second, show, wanted) in [
        (
            json!([{"id": 1}]),
            json!([{"id": 2, "late": "x"}]),
            "concat(id, coalesce(late, 'none'))",
            ["1none", "2x"],
        ),
        (json!([{"id": 1}]), json!([{"id": "E2"}]), "id", ["1", "E2"]),
        (json!([{"id": 1}]), json!([{"id": 2.5}]), "id", ["1.0", "2.5"]),
    ] {
        let stand = Stand::script(pages(first, second)).await;
        let ran = Reading::new(&stand, json!({"pagination": {"type": "page"}}))
            .show(show)
            .run()
            .await;
        stand.done();
        assert_eq!(ran.good(), wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_columns_are_the_same_whatever_comes() {
    let columns = json!({"id": "integer", "name": "text", "part": "number", "here": "boolean"});
    let settings = json!({"columns": columns, "pagination": {"type": "page"}});
    let first = json!([{"id": 1, "name": 5, "part": 1, "here": true, "unknown": {"deep": 1}}]);
    let second = json!([{"id": 2}, {"id": "not a number"}]);
    let stand = Stand::script(pages(first, second)).await;
    let show = "concat(id + 1, coalesce(name, 'none'), coalesce(here, false), coalesce(part, 0.5))";
    let reading = Reading::new(&stand, settings.clone()).show(show);
    let ran = reading.run().await;
    assert_eq!(ran.good(), ["25true1.0", "3nonefalse0.5"]);
    let report = ran.report.unwrap();
    assert_eq!((report.rows.read, report.rows.rejected), (3, 1), "{}", ran.told);
    let rejects = std::fs::read_to_string(report.rejects.path.unwrap()).unwrap();
    let reject: Value = serde_json::from_str(rejects.lines().next().unwrap()).unwrap();
    assert!(
        reject["file"].as_str().unwrap().ends_with("/v1/people (page 2)"),
        "{reject}"
    );
    assert_eq!(reject["row"], json!(2), "{reject}");
    assert!(!rejects.contains("not a number"), "{rejects}");

    let stand = Stand::script([("GET /v1/people?page=1", ok(json!([])))]).await;
    let ran = Reading::new(&stand, settings).show(show).run().await;
    assert!(ran.good().is_empty(), "columns are there without a row");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rows_are_no_error() {
    for settings in [json!({}), json!({"columns": {"id": "text"}})] {
        let stand = Stand::script([("GET /v1/people", ok(json!([])))]).await;
        let ran = Reading::new(&stand, settings).run().await;
        assert!(ran.good().is_empty());
        assert_eq!(ran.report.unwrap().rows.read, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_stops_after_the_first_pages() {
    let stand = Stand::by(|asked| async move {
        let page: u64 = asked.line.rsplit('=').next().unwrap().parse().unwrap();
        ok(json!([{"id": page * 2}, {"id": page * 2 + 1}]))
    })
    .await;
    let mut reading = Reading::new(&stand, json!({"pagination": {"type": "page"}}));
    reading.options.limit = Some(3);
    let ran = reading.run().await;
    assert_eq!(ran.good(), ["2", "3", "4"]);
    let asked = stand.lines().len();
    assert!((2..40).contains(&asked), "{asked} pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_to_rows_is_a_column_beside_those_declared() {
    let settings = json!({
        "records": {
            "path": "$.people", "key_as": "who", "columns": {"mail": "$.contact.mail"},
            "explode": {"path": "$.jobs", "keep": ["id"], "prefix": "p_"},
        },
        "columns": {"j": "text", "p_id": "integer"},
    });
    let answer = ok(
        json!({"people": {"a": {"id": 1, "contact": {"mail": "x"}, "jobs": [{"j": "y", "contact": {"mail": "z"}}]}}}),
    );
    let got = rows(settings, answer, "concat(who, p_id, mail, j)").await;
    assert_eq!(got, ["a1zy"]);
}
