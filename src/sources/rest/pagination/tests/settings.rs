//! Invalid settings.

use serde_json::{Value, json};

use super::super::super::json_path::ValuePaths;
use super::super::PaginationConfig;
use crate::component::Problems;

fn problems(config: Value) -> Vec<String> {
    let config: PaginationConfig = serde_json::from_value(config).unwrap();
    let mut found = Vec::new();
    config.compile(&mut ValuePaths::default(), &mut Problems::new(&mut found));
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn rejects_contradictions_by_key() {
    let cursor = |key: &str, value: Value| {
        let mut config = json!({"type": "cursor", "from": {"body": "$.c"}, "into": {"query": "c"}});
        config[key] = value;
        config
    };
    for (config, expected) in [
        (
            json!({"type": "none", "size": 5}),
            "size: `size` does not apply to `type: none`",
        ),
        (
            json!({"type": "page", "step": "rows"}),
            "step: `step` does not apply to `type: page`",
        ),
        (
            json!({"type": "next_link"}),
            "path: `path` is required with `type: next_link`",
        ),
        (
            json!({"type": "page", "size_param": {"query": "n"}}),
            "size_param: requires `size`",
        ),
        (
            json!({"type": "page", "size": 5, "size_param": {"query": "page"}}),
            "size_param: is the same place as `param`: one of the two values would be lost",
        ),
        (
            json!({"type": "page", "param": {"body": "page"}, "size": 5, "size_param": {"body": "page.size"}}),
            "size_param: is the same place as `param`: one of the two values would be lost",
        ),
        (
            json!({"type": "offset", "param": {"query": "limit"}, "size": 5}),
            "size_param: is the same place as `param`: one of the two values would be lost",
        ),
        (
            json!({"type": "page", "stop": {"short_page": true}}),
            "stop.short_page: requires `size`: without it no page is short",
        ),
        (
            json!({"type": "page", "start": 3, "stop": {"total_pages": "$.n"}}),
            "stop.total_pages: what lies before `start` is not read, so a total cannot be compared",
        ),
        (
            json!({"type": "offset", "step": "size"}),
            "step: `step: size` requires `size`",
        ),
        (
            cursor("into", json!({"header": "Authorization"})),
            "into.header: pagination cannot use the header `authorization`",
        ),
        (
            cursor("into", json!({"body": "a..b"})),
            "into.body: `a..b` is not a place in the body: give names joined by dots, such as `page.cursor`",
        ),
        (
            cursor("from", json!({"header": "not a name"})),
            "from.header: `not a name` is not a valid header name",
        ),
        (
            cursor("from", json!({"last_record": "$"})),
            "from.last_record: names the whole record, not a text or number in it",
        ),
        (
            cursor("stop", json!({"total_rows": "$.n", "total_pages": "$.n"})),
            "stop.total_pages: is the same path as `total_rows`: a number cannot count both",
        ),
    ] {
        assert_eq!(problems(config.clone()), [expected], "{config}");
    }
}

#[test]
fn rejects_unknown_keys_and_values_out_of_range() {
    for (config, expected) in [
        (json!({"type": "pages"}), "unknown variant `pages`"),
        (
            json!({"type": "page", "stop": {"short": true}}),
            "unknown field `short`",
        ),
        (
            json!({"type": "next_link", "path": "$..next"}),
            "may select several values",
        ),
        (json!({"type": "page", "size": 0}), "nonzero"),
        (json!({"size": 1}), "missing field `type`"),
    ] {
        let error = serde_json::from_value::<PaginationConfig>(config)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn describes_the_keys_of_each_type_in_the_schema() {
    let config: PaginationConfig = serde_json::from_value(json!({"type": "offset", "size": 50})).unwrap();
    assert_eq!(config.targets().len(), 2);
    assert!(PaginationConfig::default().targets().is_empty());
    let schema = schemars::schema_for!(PaginationConfig);
    let rules = schema.as_value()["allOf"].as_array().unwrap();
    let next_link = rules
        .iter()
        .find(|rule| rule["if"]["properties"]["type"]["const"] == "next_link")
        .unwrap();
    assert_eq!(next_link["then"]["required"], json!(["path"]));
    assert_eq!(next_link["then"]["properties"]["step"], json!(false));
    assert!(next_link["then"]["properties"].get("size").is_none());
}
