//! Invalid settings.

use serde_json::{Value, json};

use super::super::super::json_path::ValuePaths;
use super::super::PaginationConfig;
use crate::component::Problems;

/// Settings, and their problem; without a key, they do not decode.
const INVALID: &str = r#"
{"type":"none","size":5} → size: `size` does not apply to `type: none`
{"type":"page","step":"rows"} → step: `step` does not apply to `type: page`
{"type":"next_link"} → path: `path` is required with `type: next_link`
{"type":"page","size_param":{"query":"n"}} → size_param: requires `size`
{"type":"page","size":5,"size_param":{"query":"page"}} → size_param: is the same place as `param`: one of the two values would be lost
{"type":"page","param":{"body":"page"},"size":5,"size_param":{"body":"page.size"}} → size_param: is the same place as `param`: one of the two values would be lost
{"type":"offset","param":{"query":"limit"},"size":5} → size_param: is the same place as `param`: one of the two values would be lost
{"type":"page","stop":{"short_page":true}} → stop.short_page: requires `size`: without it no page is short
{"type":"page","start":3,"stop":{"total_pages":"$.n"}} → stop.total_pages: what lies before `start` is not read, so a total cannot be compared
{"type":"offset","step":"size"} → step: `step: size` requires `size`
{"type":"page","stop":{"total_rows":"$.n","total_pages":"$.n"}} → stop.total_pages: is the same path as `total_rows`: a number cannot count both
{"type":"pages"} → unknown variant `pages`
{"type":"page","stop":{"short":true}} → unknown field `short`
{"type":"next_link","path":"$..next"} → may select several values
{"type":"page","size":0} → nonzero
{"type":"page","param":{"header":"a b"}} → `a b` is not a valid header name
{"size":1} → missing field `type`
"#;

#[test]
fn rejects_invalid_settings_by_key() {
    for line in INVALID.lines().filter(|line| !line.is_empty()) {
        let (config, expected) = line.split_once(" → ").unwrap();
        match serde_json::from_str::<PaginationConfig>(config) {
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
            Ok(config) => {
                let mut found = Vec::new();
                config.compile(&mut ValuePaths::default(), &mut Problems::new(&mut found));
                let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                assert_eq!(found, [expected], "{line}");
            }
        }
    }
}

#[test]
fn describes_the_keys_of_each_type_in_the_schema() {
    let schema = schemars::schema_for!(PaginationConfig);
    let rules = schema.as_value()["allOf"].as_array().unwrap();
    let is_next_link = |rule: &&Value| rule["if"]["properties"]["type"]["const"] == "next_link";
    let next_link = &rules.iter().find(is_next_link).unwrap()["then"];
    assert_eq!(next_link["required"], json!(["path"]));
    assert_eq!(next_link["properties"]["step"], json!(false));
    assert!(next_link["properties"].get("size").is_none());
}
