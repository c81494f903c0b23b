//! The source `rest` against a server on loopback: pages, rules, what is given on and what is an error.

use std::collections::HashMap;

use axum::extract::{Path, Query};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use hrsink::config::PipelineConfig;
use hrsink::config::document::Notation;
use hrsink::pipeline::{Observer, RunOptions, RunReport, run};
use serde_json::{Value, json};

async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

/// Runs a pipeline from `source` to a file, whose rows come back.
async fn read(source: Value) -> (RunReport, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = json!({
        "sources": {"api": source},
        "transforms": {"leavers": {
            "type": "hr_schema",
            "inputs": ["api"],
            "scenario": "employee_resignation",
            "dates": {"timezone": "UTC"},
            "fields": {"EmailAddress": "email", "ResignationDate": "day", "LastWorkingDate": "day"},
        }},
        "sinks": {"out": {"type": "file", "inputs": ["leavers"], "path": "out.csv"}},
    });
    let path = folder.path().join("pipeline.json");
    let config = PipelineConfig::parse(&pipeline.to_string(), Notation::Json, &path, &|_| None)
        .unwrap_or_else(|error| panic!("{error:#?}"));
    let report = run(&config, RunOptions::default(), &Observer::default()).await;
    assert!(report.conserved, "{report:#?}");
    let rows = std::fs::read_to_string(folder.path().join("out.csv")).unwrap_or_default();
    let rows = rows
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap().to_owned())
        .collect();
    (report, rows)
}

fn person(id: u64) -> Value {
    json!({"id": id, "email": format!("emp.{id}@contoso.com"), "day": "2026-03-02"})
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_to_the_empty_one() {
    let url = serve(Router::new().route(
        "/v1/people",
        get(|Query(query): Query<HashMap<String, u64>>| async move {
            let page = query["page"];
            let rows: Vec<Value> = if page < 4 {
                (0..3).map(|n| person(page * 10 + n)).collect()
            } else {
                Vec::new()
            };
            Json(json!({"data": rows}))
        }),
    ))
    .await;
    for columns in [Value::Null, json!({"email": "text", "day": "text"})] {
        let mut source = json!({
            "type": "rest", "base_url": format!("{url}/v1"), "request": {"path": "people"},
            "pagination": {"type": "page"}, "records": {"path": "$.data"},
        });
        if !columns.is_null() {
            source["columns"] = columns;
        }
        let (report, rows) = read(source).await;
        assert_eq!(report.exit_code, 0, "{report:#?}");
        let wanted: Vec<String> = [10, 11, 12, 20, 21, 22, 30, 31, 32]
            .iter()
            .map(|id| format!("emp.{id}@contoso.com"))
            .collect();
        assert_eq!(rows, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parents_rows_drive_requests_and_their_order_is_kept() {
    let url = serve(
        Router::new()
            .route(
                "/ids",
                get(|| async {
                    Json(json!({"Data": (0..40).map(|id| json!({"x": id})).collect::<Vec<_>>()}))
                }),
            )
            .route(
                "/people/{id}",
                get(|Path(id): Path<u64>| async move {
                    // The first answers come last.
                    tokio::time::sleep(std::time::Duration::from_millis(40 - id)).await;
                    if id == 7 {
                        return axum::http::StatusCode::NOT_FOUND.into_response();
                    }
                    let mut person = person(id);
                    person.as_object_mut().unwrap().remove("email");
                    Json(person).into_response()
                }),
            ),
    )
    .await;
    let (report, rows) = read(json!({
        "type": "rest", "base_url": url, "request": {"path": "people/{x}"},
        "for_each": {
            "parent": {"request": {"path": "ids"}, "records": {"path": "$.Data"}},
            "key": {"x": "$.x"}, "keep": {"email": "$.x"}, "max_parallel": 8, "on_error": "skip",
        },
    }))
    .await;
    assert_eq!(report.rows.read, 39, "{report:#?}");
    assert!(rows.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_page_is_named_as_one_and_a_refusal_is_told_in_the_services_words() {
    let url = serve(
        Router::new()
            .route(
                "/login",
                get(|| async {
                    (
                        [("content-type", "text/html")],
                        "<html><title>Sign in</title></html>",
                    )
                }),
            )
            .route(
                "/refused",
                get(|headers: HeaderMap| async move {
                    assert!(headers.get("authorization").is_some());
                    (
                        axum::http::StatusCode::FORBIDDEN,
                        Json(json!({"error": {"message": "no such right: reports"}})),
                    )
                }),
            ),
    )
    .await;
    let (report, _) = read(json!({"type": "rest", "base_url": url, "request": {"path": "login"}})).await;
    assert_eq!(report.exit_code, 2);
    let error = format!("{:#?}", report.error);
    assert!(error.contains("Sign in"), "{error}");
    let (report, _) = read(json!({
        "type": "rest", "base_url": url, "request": {"path": "refused", "query": {"secretish": "value-in-query"}},
        "auth": {"type": "basic", "username": "u", "placeholder_password": "x"},
    }))
    .await;
    assert_eq!(report.exit_code, 5);
    let error = format!("{:#?}", report.error);
    assert!(
        error.contains("no such right: reports") && error.contains("/refused"),
        "{error}"
    );
    assert!(!error.contains("value-in-query"), "{error}");
}
