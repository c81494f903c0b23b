//! Values of settings in the example pipelines.

use serde_json::Value;

use crate::{files, repository};

/// All example pipelines, with the simplest first.
pub(crate) fn pipelines() -> Vec<Value> {
    let folder = repository().join("config-examples");
    let mut found = Vec::new();
    for path in files(&folder, "yaml") {
        let text = std::fs::read_to_string(&path).unwrap();
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        found.push((text.len(), document));
    }
    for path in files(&folder, "toml") {
        let text = std::fs::read_to_string(&path).unwrap();
        found.push((text.len(), toml::from_str(&text).unwrap()));
    }
    found.sort_by_key(|(length, _)| *length);
    found.into_iter().map(|(_, document)| document).collect()
}

/// A step from a setting to one below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A key of an object.
    Key(String),
    /// Any element of a list.
    Element,
    /// Any value of an object whose keys the user chooses.
    Entry,
    /// An object with this `type`.
    Variant(String),
}

/// The values at `path` below `value`.
pub(crate) fn find<'v>(value: &'v Value, path: &[Step]) -> Vec<&'v Value> {
    let Some((step, rest)) = path.split_first() else {
        return vec![value];
    };
    match (step, value) {
        (Step::Key(key), Value::Object(map)) => map.get(key).map_or_else(Vec::new, |value| find(value, rest)),
        (Step::Element, Value::Array(list)) => list.iter().flat_map(|value| find(value, rest)).collect(),
        // A list of one may be written without brackets.
        (Step::Element, value) => find(value, rest),
        (Step::Entry, Value::Object(map)) => map.values().flat_map(|value| find(value, rest)).collect(),
        (Step::Variant(name), Value::Object(map)) if map.get("type").is_some_and(|found| found == name) => {
            find(value, rest)
        }
        _ => Vec::new(),
    }
}

/// YAML in one line, as in a pipeline file.
pub(crate) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries = map
                .iter()
                .map(|(key, value)| format!("{}: {}", scalar(key), flow(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./%$ ()".contains(c);
    let reads_as_text = serde_saphyr::from_str::<Value>(text).is_ok_and(|value| value.is_string());
    if !text.is_empty() && text.trim() == text && text.chars().all(plain) && reads_as_text {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}
