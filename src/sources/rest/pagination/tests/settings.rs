//! What is said about settings that are wrong.

use serde_json::{Value, json};

use super::super::PaginationConfig;
use crate::config::Problems;

fn problems(config: Value) -> Vec<String> {
    let config: PaginationConfig = serde_json::from_value(config).unwrap();
    let mut found = Vec::new();
    config.validate(&mut Problems::new(&mut found).at("paging"));
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn contradictions_are_refused_by_name() {
    let cursor = |more: Value| {
        let mut config = json!({"type": "cursor", "from": {"body": "$.c"}, "into": {"query": "c"}});
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    };
    for (config, wanted) in [
        (
            json!({"type": "page", "size_param": {"query": "n"}}),
            "paging.size_param: there is no `size` to send",
        ),
        (
            json!({"type": "page", "size": 5, "size_param": {"query": "page"}}),
            "paging.size_param: is the same place as `param`: one of the two values would be lost",
        ),
        (
            json!({"type": "page", "param": {"body": "page"}, "size": 5, "size_param": {"body": "page.size"}}),
            "paging.size_param: is the same place as `param`: one of the two values would be lost",
        ),
        (
            json!({"type": "page", "stop": {"short_page": true}}),
            "paging.stop.short_page: nobody knows what is short without a page size",
        ),
        (
            json!({"type": "page", "stop": {"empty_page": false}}),
            "paging.stop.empty_page: nothing else ends the reading",
        ),
        (
            json!({"type": "page", "start": 3, "stop": {"total_pages": "$.n"}}),
            "paging.stop.total_pages: what is before `start` is not read, so that what is read cannot be held against a total",
        ),
        (
            json!({"type": "offset", "step": "limit"}),
            "paging.step: `step: limit` needs a `limit`",
        ),
        (
            json!({"type": "offset", "param": {"query": "limit"}, "limit": 5}),
            "paging.limit_param: is the same place as `param`: one of the two values would be lost",
        ),
        (
            cursor(json!({"into": {"header": "Authorization"}})),
            "paging.into.header: `authorization` is not a header for paging",
        ),
        (
            cursor(json!({"into": {"body": "a..b"}})),
            "paging.into.body: `a..b` is not a place in the body: give names joined by dots, such as `page.cursor`",
        ),
        (
            cursor(json!({"from": {"header": "not a name"}})),
            "paging.from.header: `not a name` is not the name of a header",
        ),
        (
            cursor(json!({"from": {"last_record": "$"}})),
            "paging.from.last_record: names the whole record, and a text or number in it is wanted",
        ),
        (
            cursor(json!({"from": {"last_record": "$.id"}, "stop": {"empty_page": false}})),
            "paging.stop.empty_page: an empty page has no last record to go on after, and is the end",
        ),
        (
            cursor(json!({"stop": {"status": [403]}})),
            "paging.stop.status[0]: 403 speaks of access, and would leave out records unseen",
        ),
        (
            cursor(json!({"stop": {"status": [404, 429]}})),
            "paging.stop.status[1]: 429 speaks of a passing trouble, and the pages after it would be lost",
        ),
        (
            cursor(json!({"stop": {"total_rows": "$.n", "total_pages": "$.n"}})),
            "paging.stop.total_pages: is the same path as `total_rows`: a number is the count of one of them",
        ),
        (
            cursor(json!({"bounds": {"max_pages": 99_000_000}})),
            "paging.bounds.max_pages: 99000000 is not between 1 and 10000000",
        ),
        (
            cursor(json!({"checks": {"on_total_mismatch": "error"}})),
            "paging.checks.on_total_mismatch: there is no total to compare with",
        ),
    ] {
        assert_eq!(problems(config.clone()), [wanted], "{config}");
    }
}

#[test]
fn unknown_keys_and_paths_to_many_values_are_refused() {
    for (config, wanted) in [
        (json!({"type": "none", "size": 5}), "unknown field `size`"),
        (json!({"type": "pages"}), "unknown variant `pages`"),
        (
            json!({"type": "page", "stop": {"short": true}}),
            "unknown field `short`",
        ),
        (
            json!({"type": "next_link", "path": "$..next"}),
            "may name several values",
        ),
        (json!({"type": "page", "size": 0}), "nonzero"),
    ] {
        let error = serde_json::from_value::<PaginationConfig>(config)
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn defaults_are_the_usual_names() {
    let config: PaginationConfig = serde_json::from_value(json!({"type": "offset", "limit": 50})).unwrap();
    assert_eq!(config.page_size(), Some(50));
    assert_eq!(config.places().len(), 2);
    assert!(config.end_statuses().is_empty());
    assert!(PaginationConfig::default().places().is_empty());
    let schema = schemars::schema_for!(PaginationConfig);
    assert!(schema.as_value().to_string().contains("odata_v2"));
}
