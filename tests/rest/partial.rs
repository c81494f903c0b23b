//! Previews, row limits and recordings, and warnings at the end of a run.

use serde_json::{Value, json};
use test_server::{Reply, Server};

use crate::fixture::{Pipeline, merged, people};

/// Five pages of five people; the first page lacks the key `termDate`, as services omit empty values.
fn sparse() -> Server {
    Server::handler(|request| async move {
        let page: u64 = request.path.rsplit_once("page=").unwrap().1.parse().unwrap();
        let person = |n: u64| match page {
            1 => json!({"id": n, "email": format!("emp.{n}@contoso.com")}),
            _ => json!({"id": n, "email": format!("emp.{n}@contoso.com"), "termDate": "2026-03-02"}),
        };
        match page {
            1..=5 => Reply::ok((page * 10..page * 10 + 5).map(person).collect::<Value>()),
            _ => Reply::ok(json!([])),
        }
    })
}

fn paged() -> Value {
    json!({"pagination": {"type": "page"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_the_keys_of_all_its_rows() {
    let server = sparse();
    let args = ["preview", "pipeline.json", "--source", "api", "--rows", "20"];
    let ran = Pipeline::new(&server, paged()).command(&args, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.text);
    assert!(!ran.text.contains("reject"), "{}", ran.text);
    assert!(server.lines().len() < 20, "it stops when it has enough");
    ran.said(&["termDate", "fields:", "LastWorkingDate: termDate"]);
    assert!(
        !ran.text.contains("emp.10@"),
        "addresses are masked: {}",
        ran.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_used_columns_beyond_the_row_limit() {
    let server = sparse();
    for limit in [2, 20] {
        let mut pipeline = Pipeline::new(&server, paged()).show("coalesce(termDate, 'none')");
        pipeline.options.limit = Some(limit);
        let ran = pipeline.run().await;
        assert_eq!(ran.good().len() as u64, limit);
        assert_eq!(ran.rows[0], "none");
    }
    let mut pipeline = Pipeline::new(&server, paged());
    pipeline.options.limit = Some(3);
    assert_eq!(pipeline.run().await.good(), ["10", "11", "12"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ignores_errors_of_prefetched_pages() {
    let server = Server::handler(|request| async move {
        match request.path.as_str() {
            "/v1/ids" => Reply::ok(people(1..=7)),
            "/v1/people/3" => Reply::new(403),
            path => Reply::ok(json!({"n": path.len()})),
        }
    });
    let settings = json!({
        "request": {"path": "people/{id}"},
        "for_each": {"parent": {"request": {"path": "ids"}}, "key": {"id": "$.id"}},
    });
    for _ in 0..5 {
        let mut pipeline = Pipeline::new(&server, settings.clone());
        pipeline.options.limit = Some(2);
        assert_eq!(pipeline.run().await.good(), ["1", "2"]);
        pipeline.options.limit = Some(3);
        pipeline.run().await.failed(5, &["403"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_contain_no_values() {
    let server = Server::handler(|_| async {
        Reply::ok(json!([{"id": 7, "email": "emp.7@contoso.com", "name": "Marker"}]))
    });
    let query = json!({"path": "people", "query": {"of": "emp.7@contoso.com"}});
    let mut pipeline = Pipeline::new(&server, json!({"request": query}));
    let folder = pipeline.path("support");
    pipeline.options.record = Some(folder.clone());
    assert_eq!(pipeline.run().await.good(), ["7"]);
    let files = |folder| {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    let runs: Vec<_> = files(folder).collect();
    assert_eq!(runs.len(), 1);
    let pages: Vec<_> = files(runs[0].clone()).collect();
    assert_eq!(pages.len(), 1, "{pages:?}");
    let page = std::fs::read_to_string(&pages[0]).unwrap();
    for (part, kept) in [
        ("\"email\"", true),
        ("\"name\"", true),
        ("/v1/people", true),
        ("200", true),
        ("emp.7", false),
        ("Marker", false),
    ] {
        assert_eq!(page.contains(part), kept, "{part}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn warns_once_of_columns_that_no_record_has() {
    for (settings, missing) in [
        (
            json!({"records": {"columns": {"term": "$.trem"}}}),
            Some("`$.trem`"),
        ),
        (
            json!({"columns": {"id": "integer", "trem": "text"}}),
            Some("trem"),
        ),
        (
            json!({"records": {"columns": {"number": "$.id"}}, "columns": {"id": "integer"}}),
            None,
        ),
    ] {
        let server = Server::expect([
            ("GET /v1/people?page=1", Reply::ok(people(1..3))),
            ("GET /v1/people?page=2", Reply::ok(people(3..5))),
            ("GET /v1/people?page=3", Reply::ok(json!([]))),
        ]);
        let ran = Pipeline::new(&server, merged(paged(), settings))
            .program(&[])
            .await;
        server.finish();
        ran.good();
        match missing {
            Some(missing) => assert_eq!(ran.text.matches(missing).count(), 1, "{}", ran.text),
            None => assert!(!ran.text.contains("spelling"), "{}", ran.text),
        }
    }
}
