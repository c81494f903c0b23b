//! Mistakes in a pipeline file, and the one that `docs/src/how-to/rest-api.md` begins with.

use std::path::Path;

use hrsink::config::PipelineConfig;
use hrsink::config::document::Notation;
use serde_json::json;

use crate::stand::{Reading, Stand, ok};

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_are_told_at_once_each_with_its_place() {
    let stand = Stand::by(|_| async { ok(json!([])) }).await;
    let reading = Reading::new(
        &stand,
        json!({
            "base_url": "http://api.contoso.com",
            "request": {"path": "people/{nobody}", "headers": {"Authorization": "Basic marker"}},
            "connection": {"timeout": "3h", "proxy": "not a url", "allowed_hosts": ["*"]},
            "pagination": {"type": "page", "size_param": {"query": "n"}, "stop": {"status": [403]}},
            "records": {"explode": {"path": "$"}},
            "columns": {},
            "response_actions": [{"when": {"status": [404]}, "action": "skip"}, {"when": {}, "action": "renew_token"}],
            "retry": {"max_attempts": 101},
            "rate_limit": {"max_concurrent": 65, "max_wait": "25h"},
            "for_each": {"values": {"unused": []}, "max_parallel": 0},
        }),
    );
    let error = format!("{:#?}", reading.config().unwrap_err());
    for path in [
        "sources.api.base_url",
        "sources.api.request.path",
        "sources.api.request.headers.Authorization",
        "sources.api.connection.timeout",
        "sources.api.connection.proxy",
        "sources.api.connection.allowed_hosts",
        "sources.api.pagination.size_param",
        "sources.api.pagination.stop.status[0]",
        "sources.api.records.explode.path",
        "sources.api.columns",
        "sources.api.response_actions[0].action",
        "sources.api.response_actions[1].when",
        "sources.api.response_actions",
        "sources.api.retry.max_attempts",
        "sources.api.rate_limit.max_concurrent",
        "sources.api.for_each.values.unused",
        "sources.api.for_each.max_parallel",
        "sources.api.rate_limit.max_wait",
    ] {
        assert!(error.contains(&format!("\"{path}\"")), "{path} is not in {error}");
    }
    assert!(!error.contains("marker"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_that_stops_does_not_go_with_a_position() {
    let stand = Stand::by(|_| async { ok(json!([])) }).await;
    let reading = Reading::new(
        &stand,
        json!({
            "request": {"path": "people", "query": {"since": "{start}"}},
            "pagination": {"type": "page", "bounds": {"max_pages": 9, "on_limit": "stop"}},
            "incremental": {"initial": "2026-01-01"},
        }),
    );
    let error = format!("{:#?}", reading.config().unwrap_err());
    assert!(
        error.contains("\"sources.api.pagination.bounds.on_limit\""),
        "{error}"
    );
}

#[test]
fn the_pipelines_of_the_documentation_are_valid() {
    let text = include_str!("../../docs/src/how-to/rest-api.md");
    let first = text
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.yaml");
    let config = PipelineConfig::parse(first, Notation::Yaml, &path, &|_| None);
    assert!(config.is_ok(), "{config:#?}");
}

/// Each further block of YAML is a part of a source's settings.
#[tokio::test(flavor = "multi_thread")]
async fn the_blocks_of_the_documentation_are_valid() {
    let stand = Stand::by(|_| async { ok(json!([])) }).await;
    let text = include_str!("../../docs/src/how-to/rest-api.md");
    for block in text.split("```yaml\n").skip(2) {
        let block = block.split("```").next().unwrap();
        let settings = hrsink::config::document::parse(block, Notation::Yaml, Path::new("rest.md")).unwrap();
        let reading = Reading::new(&stand, settings);
        let config = reading.config();
        assert!(config.is_ok(), "{block}\n{config:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_paging_sets_is_not_set_in_the_request_as_well() {
    let stand = Stand::by(|_| async { ok(json!([])) }).await;
    let page = json!({"type": "page", "size": 5, "size_param": {"query": "n"}});
    let cursor =
        |into: serde_json::Value| json!({"type": "cursor", "from": {"body": "$.next"}, "into": into});
    for (request, paging, path) in [
        (json!({"query": {"page": 3}}), page.clone(), "query.page"),
        (json!({"query": {"n": "{start}"}}), page, "query.n"),
        (
            json!({"query": {"offset": 0}}),
            json!({"type": "offset"}),
            "query.offset",
        ),
        (
            json!({"query": {"c": ""}}),
            cursor(json!({"query": "c"})),
            "query.c",
        ),
        (
            json!({"headers": {"x-cursor": "a"}}),
            cursor(json!({"header": "X-Cursor"})),
            "headers.x-cursor",
        ),
        (
            json!({"form": {"c": "a"}}),
            cursor(json!({"body": "c"})),
            "form.c",
        ),
        (
            json!({"json": {"v": {"c": "a"}}}),
            cursor(json!({"body": "v.c"})),
            "json.v.c",
        ),
    ] {
        let incremental = json!({"initial": "2026-01-01"});
        let mut settings = json!({"request": request, "pagination": paging});
        if path == "query.n" {
            settings["incremental"] = incremental;
        }
        let error = format!("{:#?}", Reading::new(&stand, settings).config().unwrap_err());
        let path = format!("\"sources.api.request.{path}\"");
        assert!(error.contains(&path), "{path}: {error}");
    }
    for request in [json!({"json": {"v": {"c": null}}}), json!({"json": {"v": {}}})] {
        let settings = json!({"request": request, "pagination": cursor(json!({"body": "v.c"}))});
        assert!(Reading::new(&stand, settings).config().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_not_set_is_one_problem() {
    let stand = Stand::by(|_| async { ok(json!([])) }).await;
    let settings = json!({
        "base_url": "https://${SF_URL}/odata",
        "request": {"path": "people", "query": {"q": "a${SF_Q}"}, "json": {"x": "${SF_X}"}},
        "auth": {
            "type": "oauth2_client_credentials", "token_url": "https://${SF_URL}/token", "client_id": "app",
            "client_secret": {"env": "SECRET"},
        },
    });
    let error = format!("{:#?}", Reading::new(&stand, settings).config().unwrap_err());
    assert_eq!(error.matches("is not set").count(), 4, "{error}");
    assert_eq!(error.matches("Problem {").count(), 4, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_and_not_declared_is_told() {
    let stand = Stand::by(|_| async { ok(json!([])) }).await;
    let settings = json!({
        "records": {
            "explode": {"path": "$.jobs", "keep": ["id", "person", "mail"], "prefix": "p_"},
            "columns": {"name": "$.p_person.name"},
        },
        "columns": {"p_mail": "text"},
    });
    let error = format!("{:#?}", Reading::new(&stand, settings).config().unwrap_err());
    assert_eq!(error.matches("Problem {").count(), 1, "{error}");
    assert!(error.contains("sources.api.records.explode.keep[0]"), "{error}");
}
