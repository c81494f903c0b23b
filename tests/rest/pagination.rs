//! Every kind of paging, and everything that ends one.

use serde_json::{Value, json};

use crate::stand::{Answer, Reading, Stand, ok, people, raw, status};

/// A case: what it shows, settings, requests with answers, ids.
type Case = (
    &'static str,
    Value,
    Vec<(&'static str, Answer)>,
    &'static [&'static str],
);

async fn check(cases: Vec<Case>) {
    for (name, paging, script, ids) in cases {
        let stand = Stand::script(script).await;
        let settings = json!({"pagination": paging, "records": {"path": "$.d", "missing": "empty"}});
        let ran = Reading::new(&stand, settings).run().await;
        stand.done();
        assert_eq!(ran.good(), ids, "{name}");
    }
}

fn page(ids: &[u64]) -> Answer {
    ok(json!({"d": people(ids.iter().copied())}))
}

fn with(ids: &[u64], more: Value) -> Answer {
    let mut body = json!({"d": people(ids.iter().copied())});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    ok(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_counted() {
    check(vec![
        (
            "page, its own names and start",
            json!({"type": "page", "param": {"query": "p"}, "start": 0, "size": 2, "size_param": {"query": "n"}}),
            vec![
                ("GET /v1/people?p=0&n=2", page(&[1, 2])),
                ("GET /v1/people?p=1&n=2", page(&[3])),
                ("GET /v1/people?p=2&n=2", page(&[])),
            ],
            &["1", "2", "3"],
        ),
        (
            "offset goes on after the rows that came",
            json!({"type": "offset", "limit": 3}),
            vec![
                ("GET /v1/people?offset=0&limit=3", page(&[1, 2])),
                ("GET /v1/people?offset=2&limit=3", page(&[3, 4, 5])),
                ("GET /v1/people?offset=5&limit=3", page(&[])),
            ],
            &["1", "2", "3", "4", "5"],
        ),
        (
            "offset goes on by the limit",
            json!({"type": "offset", "limit": 3, "step": "limit", "param": {"query": "skip"}, "limit_param": {"query": "top"}}),
            vec![
                ("GET /v1/people?skip=0&top=3", page(&[1, 2])),
                ("GET /v1/people?skip=3&top=3", page(&[4])),
                ("GET /v1/people?skip=6&top=3", page(&[])),
            ],
            &["1", "2", "4"],
        ),
        (
            "a short page saves a request",
            json!({"type": "page", "size": 2, "size_param": {"query": "n"}, "stop": {"short_page": true}}),
            vec![("GET /v1/people?page=1&n=2", page(&[1, 2])), ("GET /v1/people?page=2&n=2", page(&[3]))],
            &["1", "2", "3"],
        ),
        (
            "204 ends",
            json!({"type": "page"}),
            vec![("GET /v1/people?page=1", page(&[1])), ("GET /v1/people?page=2", status(204))],
            &["1"],
        ),
        (
            "404 ends where it is said to",
            json!({"type": "page", "stop": {"status": [404]}}),
            vec![
                ("GET /v1/people?page=1", page(&[1])),
                ("GET /v1/people?page=2", raw(404, "application/json", r#"{"message":"no such page"}"#)),
            ],
            &["1"],
        ),
        (
            "has_more, as text too",
            json!({"type": "page", "stop": {"has_more": "$.more"}}),
            vec![
                ("GET /v1/people?page=1", with(&[1], json!({"more": "true"}))),
                ("GET /v1/people?page=2", with(&[], json!({"more": true}))),
                ("GET /v1/people?page=3", with(&[2], json!({"more": false}))),
            ],
            &["1", "2"],
        ),
        (
            "the total of rows",
            json!({"type": "offset", "limit": 2, "stop": {"total_rows": "$.total"}}),
            vec![
                ("GET /v1/people?offset=0&limit=2", with(&[1, 2], json!({"total": 3}))),
                ("GET /v1/people?offset=2&limit=2", with(&[3], json!({"total": "3"}))),
            ],
            &["1", "2", "3"],
        ),
        (
            "the total of pages",
            json!({"type": "page", "stop": {"total_pages": "$.pages"}}),
            vec![
                ("GET /v1/people?page=1", with(&[1], json!({"pages": 2}))),
                ("GET /v1/people?page=2", with(&[2], json!({"pages": 2}))),
            ],
            &["1", "2"],
        ),
        (
            "bounds that stop",
            json!({"type": "page", "bounds": {"max_pages": 2, "on_limit": "stop"}}),
            vec![("GET /v1/people?page=1", page(&[1])), ("GET /v1/people?page=2", page(&[2]))],
            &["1", "2"],
        ),
        (
            "a bound of rows that stops, with the page whole",
            json!({"type": "page", "bounds": {"max_rows": 3, "on_limit": "stop"}}),
            vec![("GET /v1/people?page=1", page(&[1, 2])), ("GET /v1/people?page=2", page(&[3, 4]))],
            &["1", "2", "3", "4"],
        ),
        (
            "a last page that comes again",
            json!({"type": "page", "checks": {"on_duplicate_page": "stop"}}),
            vec![("GET /v1/people?page=1", page(&[1])), ("GET /v1/people?page=2", page(&[1]))],
            &["1"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors() {
    let body = json!({"body": "$.next"});
    check(vec![
        (
            "from the body into the query, with a null at the end",
            json!({"type": "cursor", "from": body, "into": {"query": "c"}}),
            vec![
                ("GET /v1/people", with(&[1], json!({"next": "a b&c=d/é"}))),
                ("GET /v1/people?c=a%20b%26c%3Dd/%C3%A9", with(&[2], json!({"next": 7}))),
                ("GET /v1/people?c=7", with(&[3], json!({"next": null}))),
            ],
            &["1", "2", "3"],
        ),
        (
            "an empty page in the middle is none",
            json!({"type": "cursor", "from": body, "into": {"query": "c"}, "start": "*"}),
            vec![
                ("GET /v1/people?c=*", with(&[], json!({"next": "x"}))),
                ("GET /v1/people?c=x", with(&[2], json!({"next": ""}))),
            ],
            &["2"],
        ),
        (
            "from a header, missing at the end",
            json!({"type": "cursor", "from": {"header": "X-Next"}, "into": {"query": "c"}}),
            vec![
                ("GET /v1/people", page(&[1]).header("x-next", "z")),
                ("GET /v1/people?c=z", page(&[2])),
            ],
            &["1", "2"],
        ),
        (
            "from the last record, to the empty page",
            json!({"type": "cursor", "from": {"last_record": "$.id"}, "into": {"query": "after"}}),
            vec![
                ("GET /v1/people", page(&[1, 5])),
                ("GET /v1/people?after=5", page(&[9])),
                ("GET /v1/people?after=9", page(&[])),
            ],
            &["1", "5", "9"],
        ),
        (
            "from the query of a link",
            json!({"type": "cursor", "from": {"link_query": {"path": "$.links.next", "param": "page"}}, "into": {"query": "page"}}),
            vec![
                ("GET /v1/people", with(&[1], json!({"links": {"next": "https://elsewhere.example/x?page=a%20b&n=1"}}))),
                ("GET /v1/people?page=a%20b", with(&[2], json!({"links": {}}))),
            ],
            &["1", "2"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_into_header_and_body() {
    let stand = Stand::script([
        ("GET /v1/people", with(&[1], json!({"next": "tok"}))),
        ("GET /v1/people", with(&[2], json!({}))),
    ])
    .await;
    let settings = json!({
        "pagination": {"type": "cursor", "from": {"body": "$.next"}, "into": {"header": "X-Cursor"}},
        "records": {"path": "$.d"},
    });
    assert_eq!(Reading::new(&stand, settings).run().await.good(), ["1", "2"]);
    stand.done();
    let cursors: Vec<_> = stand
        .asked()
        .iter()
        .map(|asked| asked.header("x-cursor").to_owned())
        .collect();
    assert_eq!(cursors, ["", "tok"]);

    let stand = Stand::script([
        (
            r#"POST /v1/people {"page":{"size":2},"q":"all"}"#,
            with(&[1], json!({"next": "tok"})),
        ),
        (
            r#"POST /v1/people {"page":{"size":2,"cursor":"tok"},"q":"all"}"#,
            with(&[2], json!({})),
        ),
    ])
    .await;
    let settings = json!({
        "request": {"path": "people", "json": {"page": {"size": 2}, "q": "all"}},
        "pagination": {"type": "cursor", "from": {"body": "$.next"}, "into": {"body": "page.cursor"}},
        "records": {"path": "$.d"},
    });
    let ran = Reading::new(&stand, settings).run().await;
    stand.done();
    assert_eq!(ran.good(), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn links() {
    let odd = "/v1/other/?$skip=%2B+a%253D&x=(1,2)&empty=&b=2&a=1&a=1&e=%e4";
    check(vec![
        (
            "absolute and followed as it is, then relative to the page that has it",
            json!({"type": "next_link", "path": "$.next", "size": 2, "size_param": {"query": "n"}}),
            vec![
                (
                    "GET /v1/people?n=2",
                    with(&[1], json!({"next": format!("$URL{odd}")})),
                ),
                (
                    "GET /v1/other/?$skip=%2B+a%253D&x=(1,2)&empty=&b=2&a=1&a=1&e=%e4",
                    with(&[2], json!({"next": "?page=3"})),
                ),
                (
                    "GET /v1/other/?page=3",
                    with(&[3], json!({"next": "more?page=4"})),
                ),
                (
                    "GET /v1/other/more?page=4",
                    with(&[4], json!({"next": "/v1/last"})),
                ),
                ("GET /v1/last", with(&[5], json!({"next": ""}))),
            ],
            &["1", "2", "3", "4", "5"],
        ),
        (
            "the Link header",
            json!({"type": "link_header"}),
            vec![
                (
                    "GET /v1/people",
                    page(&[1]).header(
                        "link",
                        r#"<$URL/v1/people?p=1>; rel="prev", <$URL/v1/people?p=2,3>; rel="last next""#,
                    ),
                ),
                (
                    "GET /v1/people?p=2,3",
                    page(&[2]).header("link", "</v1/people?p=1>; rel=prev"),
                ),
            ],
            &["1", "2"],
        ),
        (
            "OData 4",
            json!({"type": "odata_v4"}),
            vec![
                (
                    "GET /v1/people",
                    with(&[1], json!({"@odata.nextLink": "$URL/v1/people?$skiptoken=x"})),
                ),
                ("GET /v1/people?$skiptoken=x", page(&[2])),
            ],
            &["1", "2"],
        ),
    ])
    .await;
    let stand = Stand::script([
        (
            "GET /v1/people",
            ok(json!({"d": {"results": people([1]), "__next": "$URL/v1/people?$skiptoken=y"}})),
        ),
        (
            "GET /v1/people?$skiptoken=y",
            ok(json!({"d": {"results": people([2])}})),
        ),
    ])
    .await;
    let settings = json!({"pagination": {"type": "odata_v2"}, "records": {"path": "$.d.results"}});
    assert_eq!(Reading::new(&stand, settings).run().await.good(), ["1", "2"]);
    stand.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_never_end_or_lose_rows_fails() {
    for (paging, script, told) in [
        (
            json!({"type": "page"}),
            vec![
                ("GET /v1/people?page=1", page(&[1])),
                ("GET /v1/people?page=2", page(&[1])),
            ],
            "on_duplicate_page",
        ),
        (
            json!({"type": "page", "bounds": {"max_pages": 1}}),
            vec![("GET /v1/people?page=1", page(&[1]))],
            "max_pages",
        ),
        (
            json!({"type": "page", "bounds": {"max_rows": 1}}),
            vec![("GET /v1/people?page=1", page(&[1, 2]))],
            "max_rows",
        ),
        (
            json!({"type": "cursor", "from": {"body": "$.next"}, "into": {"query": "c"}}),
            vec![
                ("GET /v1/people", with(&[1], json!({"next": "a"}))),
                ("GET /v1/people?c=a", with(&[2], json!({"next": "a"}))),
            ],
            "on_repeat",
        ),
        (
            json!({"type": "cursor", "from": {"body": "$.next"}, "into": {"query": "c"}, "stop": {"has_more": "$.more"}}),
            vec![("GET /v1/people", with(&[1], json!({"more": true})))],
            "names no next page",
        ),
        (
            json!({"type": "page", "stop": {"total_rows": "$.total"}, "checks": {"on_total_mismatch": "error"}}),
            vec![
                ("GET /v1/people?page=1", with(&[1], json!({"total": 3}))),
                ("GET /v1/people?page=2", with(&[2], json!({"total": 4}))),
            ],
            "the total of rows was 3 and is 4",
        ),
    ] {
        let stand = Stand::script(script).await;
        let settings = json!({"pagination": paging, "records": {"path": "$.d"}});
        let ran = Reading::new(&stand, settings).run().await;
        stand.done();
        ran.failed(2, &[told]);
        assert!(ran.rows.is_empty(), "{:?}", ran.rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_while_it_is_read_is_warned_about() {
    let stand = Stand::script([
        ("GET /v1/people?page=1", with(&[1], json!({"total": 3}))),
        ("GET /v1/people?page=2", with(&[2], json!({"total": 2}))),
    ])
    .await;
    let settings = json!({"pagination": {"type": "page", "stop": {"total_rows": "$.total"}}, "records": {"path": "$.d"}});
    let ran = Reading::new(&stand, settings).program(&[]).await;
    assert_eq!(ran.good(), ["1", "2"]);
    assert!(
        ran.told.contains("the total of rows was 3 and is 2"),
        "{}",
        ran.told
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_follow_no_link_to_another_host() {
    let other = Stand::by(|_| async { ok(json!({"d": people([2])})) }).await;
    let elsewhere = format!("{}/v1/people?page=2", other.url);
    let auth = json!({"type": "api_key", "header": "X-Api-Key", "value": {"file": "key"}});
    let paging = json!({"type": "next_link", "path": "$.next"});
    for (link, told) in [
        (elsewhere.as_str(), "leads to another host"),
        ("http://api.contoso.com/v1/people", "http"),
        ("https://fabrikam.example/v1/people", "leads to another host"),
        ("//fabrikam.example/v1", "fabrikam.example"),
        ("https://user:pw@127.0.0.1/v1", "password"),
        ("ftp://127.0.0.1/", "neither"),
    ] {
        let stand = Stand::script([("GET /v1/people", with(&[1], json!({"next": link})))]).await;
        let reading = Reading::new(
            &stand,
            json!({"auth": auth, "pagination": paging, "records": {"path": "$.d"}}),
        );
        write_key(&reading);
        let ran = reading.run().await;
        stand.done();
        ran.failed(2, &[told]);
        assert!(other.lines().is_empty(), "{link}");
    }
}

#[cfg(unix)]
fn write_key(reading: &Reading) {
    std::fs::write(reading.path("key"), "the-key-of-the-api").unwrap();
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(reading.path("key"), owner_only).unwrap();
}

#[cfg(not(unix))]
fn write_key(reading: &Reading) {
    std::fs::write(reading.path("key"), "the-key-of-the-api").unwrap();
}
