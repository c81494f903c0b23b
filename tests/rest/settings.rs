//! Mistakes in a pipeline file, and the examples of `rest-api.md` and `rest-auth.md` in `docs/src/how-to`.

use std::collections::BTreeSet;

use hrsink::config::{Notation, PipelineConfig};
use serde_json::{Value, json};
use test_server::{Reply, Server};

use crate::fixture::Pipeline;

/// The problems of a source with these settings.
fn problems(settings: Value) -> String {
    let server = Server::script(Vec::<Reply>::new());
    Pipeline::new(&server, settings).problems()
}

#[test]
fn reports_all_problems_at_once_each_with_its_position() {
    let not_decoded = json!({
        "timeout": "3h",
        "proxy": "not a url",
        "retry": {"max_attempts": 101},
        "rate_limit": {"max_concurrent": 65, "max_wait": "25h"},
        "for_each": {"values": {"unused": []}, "max_concurrent": 0},
    });
    let invalid = json!({
        "base_url": "http://api.contoso.com",
        "request": {"path": "people/{nobody}", "headers": {"Authorization": "Basic marker"}},
        "allowed_hosts": ["*"],
        "pagination": {
            "type": "cursor", "from": {"body": "$.c"}, "into": {"header": "Authorization"}, "size_param": {"query": "n"},
        },
        "rate_limit": {"reset_headers": [
            {"name": "Retry-After", "format": "seconds"}, {"name": "x-reset", "format": "epoch_seconds"},
            {"name": "X-Reset", "format": "epoch_milliseconds"},
        ]},
        "records": {
            "path": "$..x", "key_as": "", "columns": {"c": "$"},
            "explode": {"path": "$", "keep": "none", "prefix": "p_"},
        },
        "columns": {},
        "response_actions": [{"when": {"status": [404]}, "action": "skip"}, {"when": {}, "action": "renew_token"}],
        "for_each": {"values": {"unused": []}},
    });
    let paths = json!({"records": {"path": "data", "explode": {"path": "$.a[*].b"}}});
    let kept = json!({"records": {"explode": {"path": "$.a.b", "keep": ["x", "a", "x"]}}});
    for (settings, keys) in [
        (
            not_decoded,
            "timeout proxy retry.max_attempts rate_limit.max_concurrent for_each.max_concurrent rate_limit.max_wait",
        ),
        (paths, "records.path records.explode.path"),
        (kept, "records.explode.keep[1] records.explode.keep[2]"),
        (
            invalid,
            "base_url request.path request.headers.Authorization allowed_hosts pagination.size_param \
             pagination.into.header rate_limit.reset_headers[0].name rate_limit.reset_headers[2].name \
             records.key_as records.columns.c records.explode.path records.explode.prefix columns \
             response_actions[0].action response_actions[1].when response_actions[1].action for_each.values.unused",
        ),
    ] {
        let found = problems(settings);
        for key in keys.split(' ') {
            assert!(
                found.contains(&format!("\"sources.api.{key}\"")),
                "{key} is not in {found}"
            );
        }
        assert!(!found.contains("marker"), "{found}");
    }
}

#[test]
fn rejects_request_values_that_the_pagination_injects() {
    let page = json!({"type": "page", "size": 5, "size_param": {"query": "n"}});
    let cursor = |into: Value| json!({"type": "cursor", "from": {"body": "$.next"}, "into": into});
    let offset = json!({"type": "offset"});
    let header = cursor(json!({"header": "X-Cursor"}));
    for (request, pagination, key) in [
        (json!({"query": {"page": 3}}), &page, "query.page"),
        (json!({"query": {"n": 7}}), &page, "query.n"),
        (json!({"query": {"offset": 0}}), &offset, "query.offset"),
        (
            json!({"query": {"c": ""}}),
            &cursor(json!({"query": "c"})),
            "query.c",
        ),
        (json!({"headers": {"x-cursor": "a"}}), &header, "headers.x-cursor"),
        (
            json!({"form": {"c": "a"}}),
            &cursor(json!({"body": "c"})),
            "form.c",
        ),
        (
            json!({"json": {"v": {"c": "a"}}}),
            &cursor(json!({"body": "v.c"})),
            "json.v.c",
        ),
    ] {
        let found = problems(json!({"request": request, "pagination": pagination}));
        assert!(
            found.contains(&format!("\"sources.api.request.{key}\"")),
            "{key}: {found}"
        );
    }
    for request in [json!({"json": {"v": {"c": null}}}), json!({"json": {"v": {}}})] {
        let settings = json!({"request": request, "pagination": cursor(json!({"body": "v.c"}))});
        assert_eq!(problems(settings), "");
    }
}

#[test]
fn reports_a_missing_variable_and_an_undeclared_column_once() {
    let found = problems(json!({
        "base_url": "https://${SF_URL}/odata",
        "request": {"path": "people", "query": {"q": "a${SF_Q}"}, "json": {"x": "${SF_X}"}},
        "auth": {
            "type": "oauth2_client_credentials", "token_url": "https://${SF_URL}/token", "client_id": "app",
            "client_secret": {"env": "SECRET"},
        },
    }));
    assert_eq!(found.matches("is not set").count(), 4, "{found}");
    assert_eq!(found.matches("Problem {").count(), 4, "{found}");

    let found = problems(json!({
        "records": {
            "explode": {"path": "$.jobs", "keep": ["id", "person", "mail"], "prefix": "p_"},
            "columns": {"name": "$.p_person.name"},
        },
        "columns": {"p_mail": "text"},
    }));
    assert_eq!(found.matches("Problem {").count(), 1, "{found}");
    assert!(found.contains("sources.api.records.explode.keep[0]"), "{found}");
}

fn examples(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap())
}

/// The first example is a pipeline, the others are settings of a source.
#[test]
fn the_examples_of_the_documentation_are_valid() {
    let mut api = examples(include_str!("../../docs/src/how-to/rest-api.md"));
    let auth = examples(include_str!("../../docs/src/how-to/rest-auth.md"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.yaml");
    let config = PipelineConfig::parse(api.next().unwrap(), Notation::Yaml, &path, &|_| None);
    assert!(config.is_ok(), "{config:#?}");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config-examples/rest-auth.yaml");
    let config = PipelineConfig::load(example.as_ref());
    assert!(config.is_ok(), "{config:#?}");
    let mut types = BTreeSet::new();
    for block in api.chain(auth) {
        let settings: Value = serde_saphyr::from_str(block).unwrap();
        types.extend(settings["auth"]["type"].as_str().map(str::to_owned));
        assert_eq!(problems(settings), "", "{block}");
    }
    assert_eq!(types.len(), 8, "every type but `none`: {types:?}");
}
