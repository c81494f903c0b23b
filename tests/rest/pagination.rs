//! Every kind of pagination, and everything that ends one.

use serde_json::{Value, json};
use test_server::{Reply, Server};

use crate::fixture::{PEOPLE, Pipeline, Ran, page, people};

/// Requests as they follow `GET /v1`, each with the ids of its page and the members beside them.
type Steps<'a> = &'a [(&'a str, &'a [u64], Value)];

fn server(steps: Steps<'_>) -> Server {
    let step = |(line, ids, more): &(&str, &[u64], Value)| match more {
        Value::Number(status) => (
            format!("GET /v1{line}"),
            Reply::new(status.as_u64().unwrap() as u16),
        ),
        more => (format!("GET /v1{line}"), page(ids, more.clone())),
    };
    Server::expect(steps.iter().map(step))
}

async fn run(pagination: Value, steps: Steps<'_>) -> Ran {
    let server = server(steps);
    let settings = json!({"pagination": pagination, "records": {"path": "$.d", "missing": "empty"}});
    let ran = Pipeline::new(&server, settings).run().await;
    server.finish();
    ran
}

/// Reads all pages, and expects the rows in their order.
async fn check(name: &str, pagination: Value, steps: Steps<'_>) {
    let ran = run(pagination, steps).await;
    let ids = steps
        .iter()
        .flat_map(|(_, ids, _)| ids.iter().map(u64::to_string));
    assert_eq!(ran.good(), ids.collect::<Vec<_>>(), "{name}");
}

const NONE: Value = Value::Null;

#[tokio::test(flavor = "multi_thread")]
async fn counts_pages_and_offsets() {
    let size = json!({"query": "n"});
    check(
        "page, with names and start",
        json!({"type": "page", "param": {"query": "p"}, "start": 0, "size": 2, "size_param": size}),
        &[
            ("/people?p=0&n=2", &[1, 2], NONE),
            ("/people?p=1&n=2", &[3], NONE),
            ("/people?p=2&n=2", &[], NONE),
        ],
    )
    .await;
    check(
        "an offset advances by the rows received",
        json!({"type": "offset", "size": 3}),
        &[
            ("/people?offset=0&limit=3", &[1, 2], NONE),
            ("/people?offset=2&limit=3", &[3, 4, 5], NONE),
            ("/people?offset=5&limit=3", &[], NONE),
        ],
    )
    .await;
    check(
        "an offset advances by the page size",
        json!({"type": "offset", "size": 3, "step": "size", "param": {"query": "skip"}}),
        &[
            ("/people?skip=0&limit=3", &[1, 2], NONE),
            ("/people?skip=3&limit=3", &[4], NONE),
            ("/people?skip=6&limit=3", &[], NONE),
        ],
    )
    .await;
    check(
        "204 is the end",
        json!({"type": "page"}),
        &[
            ("/people?page=1", &[1], NONE),
            ("/people?page=2", &[], json!(204)),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_action_ends_the_pages() {
    let server = server(&[
        ("/people?page=1", &[1], NONE),
        ("/people?page=2", &[], json!(404)),
    ]);
    let settings = json!({
        "pagination": {"type": "page"}, "records": {"path": "$.d"},
        "response_actions": [{"when": {"status": [404]}, "action": "empty"}],
    });
    assert_eq!(Pipeline::new(&server, settings).run().await.good(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_cursors() {
    let cursor = |from: Value| json!({"type": "cursor", "from": from, "into": {"query": "c"}});
    check(
        "from the body, to a null",
        cursor(json!({"body": "$.next"})),
        &[
            ("/people", &[1], json!({"next": "a b&c=d/é"})),
            ("/people?c=a%20b%26c%3Dd/%C3%A9", &[], json!({"next": 7})),
            ("/people?c=7", &[3], json!({"next": null})),
        ],
    )
    .await;
    let next = Reply::ok(json!({"d": people([1])})).header("x-next", "z");
    let server = Server::expect([(PEOPLE, next), ("GET /v1/people?c=z", page(&[2], NONE))]);
    let settings = json!({"pagination": cursor(json!({"header": "X-Next"})), "records": {"path": "$.d"}});
    assert_eq!(Pipeline::new(&server, settings).run().await.good(), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn injects_cursors_into_headers_and_bodies() {
    let pages = || [page(&[1], json!({"next": "tok"})), page(&[2], json!({}))];
    let cursor = |into: Value| json!({"type": "cursor", "from": {"body": "$.next"}, "into": into});
    let server = Server::script(pages());
    let settings = json!({"pagination": cursor(json!({"header": "X-Cursor"})), "records": {"path": "$.d"}});
    assert_eq!(Pipeline::new(&server, settings).run().await.good(), ["1", "2"]);
    let requests = server.finish();
    let cursors = requests.iter().map(|request| request.header("x-cursor"));
    assert_eq!(cursors.collect::<Vec<_>>(), [None, Some("tok")]);

    let lines = [
        r#"POST /v1/people {"page":{"size":2},"q":"all"}"#,
        r#"POST /v1/people {"page":{"size":2,"cursor":"tok"},"q":"all"}"#,
    ];
    let server = Server::expect(lines.into_iter().zip(pages()));
    let settings = json!({
        "request": {"path": "people", "json": {"page": {"size": 2}, "q": "all"}},
        "pagination": cursor(json!({"body": "page.cursor"})), "records": {"path": "$.d"},
    });
    assert_eq!(Pipeline::new(&server, settings).run().await.good(), ["1", "2"]);
    server.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_links_unchanged_and_relative_to_their_page() {
    let odd = "/other/?$skip=%2B+a%253D&x=(1,2)&empty=&b=2&a=1&a=1&e=%e4";
    check(
        "links in the body",
        json!({"type": "next_link", "path": "$.next", "size": 2, "size_param": {"query": "n"}}),
        &[
            ("/people?n=2", &[1], json!({"next": format!("$URL/v1{odd}")})),
            (odd, &[2], json!({"next": "?page=3"})),
            ("/other/?page=3", &[3], json!({"next": "more?page=4"})),
            ("/other/more?page=4", &[4], json!({"next": "/v1/last"})),
            ("/last", &[5], json!({"next": ""})),
        ],
    )
    .await;
    check(
        "OData 4",
        json!({"type": "odata_v4"}),
        &[
            (
                "/people",
                &[1],
                json!({"@odata.nextLink": "$URL/v1/people?$skiptoken=x"}),
            ),
            ("/people?$skiptoken=x", &[2], NONE),
        ],
    )
    .await;
    let links = [
        r#"<$URL/v1/people?p=1>; rel="prev", <$URL/v1/people?p=2,3>; rel="last next""#,
        "</v1/people?p=1>; rel=prev",
    ];
    let results =
        |more: Value| Reply::ok(json!({"d": crate::fixture::merged(json!({"results": people([2])}), more)}));
    for (pagination, records, steps) in [
        (
            json!({"type": "link_header"}),
            "$.d",
            [
                (PEOPLE, page(&[2], NONE).header("link", links[0])),
                ("GET /v1/people?p=2,3", page(&[3], NONE).header("link", links[1])),
            ],
        ),
        (
            json!({"type": "odata_v2"}),
            "$.d.results",
            [
                (PEOPLE, results(json!({"__next": "$URL/v1/people?$skiptoken=y"}))),
                (
                    "GET /v1/people?$skiptoken=y",
                    Reply::ok(json!({"d": {"results": people([3])}})),
                ),
            ],
        ),
    ] {
        let server = Server::expect(steps);
        let settings = json!({"pagination": pagination, "records": {"path": records}});
        assert_eq!(Pipeline::new(&server, settings).run().await.good(), ["2", "3"]);
        server.finish();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fails_where_it_would_never_end_or_lose_rows() {
    let steps: Steps<'_> = &[("/people?page=1", &[1], NONE), ("/people?page=2", &[1], NONE)];
    let ran = run(json!({"type": "page"}), steps).await;
    ran.failed(2, &["same records as the page before"]);
    assert!(ran.rows.is_empty(), "{:?}", ran.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn warns_of_a_total_that_changes() {
    let server = server(&[
        ("/people?page=1", &[1], json!({"total": 3})),
        ("/people?page=2", &[2], json!({"total": 2})),
    ]);
    let pagination = json!({"type": "page", "stop": {"total_rows": "$.total"}});
    let settings = json!({"pagination": pagination, "records": {"path": "$.d"}});
    let ran = Pipeline::new(&server, settings).program(&[]).await;
    assert_eq!(ran.good(), ["1", "2"]);
    ran.said(&["total"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_credentials_to_no_other_host() {
    let other = Server::handler(|_| async { Reply::ok(json!({"d": people([2])})) });
    let elsewhere = format!("{}/v1/people?page=2", other.url());
    for (link, expected) in [
        (&*elsewhere, "another host"),
        ("//fabrikam.example/v1", "fabrikam.example"),
        ("https://user:pw@127.0.0.1/v1", "password"),
    ] {
        let server = Server::expect([(PEOPLE, page(&[1], json!({"next": link})))]);
        let settings = json!({
            "auth": {"type": "api_key", "header": "X-Api-Key", "value": {"file": "key"}},
            "pagination": {"type": "next_link", "path": "$.next"}, "records": {"path": "$.d"},
        });
        let pipeline = Pipeline::new(&server, settings);
        pipeline.write_secret("key", "the-key-of-the-api");
        let ran = pipeline.run().await;
        server.finish();
        ran.failed(2, &[expected]);
        assert!(other.lines().is_empty(), "{link}");
    }
}
