//! The settings `request`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::page::InjectInto;
use crate::component::Problems;
use crate::secret::SecretRef;

/// The request. Strings may contain placeholders, `{name}`, whose values come from `for_each` and `incremental`; write a
/// literal brace twice.
///
/// ```yaml
/// request:
///   path: employees/{id}/tables/jobInfo
///   query: {since: "{start}", "page[limit]": 500}
///   headers: {Accept: application/json, US-Customer-Api-Key: {env: UKG_KEY}}
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RequestConfig {
    /// The method. Default: `POST` with a body, else `GET`.
    pub method: Option<RequestMethod>,
    /// The path, appended to the base URL. The value of a placeholder is always one path segment. Default: the base URL
    /// itself.
    pub path: String,
    /// The query parameters, in order: strings, integers, booleans, or lists of them, which repeat the parameter.
    pub query: Map<String, Value>,
    /// The headers, each a text or a secret (`{env: NAME}` or `{file: PATH}`).
    pub headers: BTreeMap<String, HeaderConfig>,
    /// A JSON body. A string that consists of a single placeholder is replaced by the value and keeps the value's type; a
    /// group of keys becomes an array.
    pub json: Option<Value>,
    /// A form body, with the same kinds of values as `query`.
    #[schemars(example = serde_json::json!({"report": "employees", "since": "{start}"}))]
    pub form: Option<Map<String, Value>>,
}

impl RequestConfig {
    /// Reports a value where `pagination` injects its own; `problems` is at this block.
    pub(in super::super) fn check_free(&self, place: &InjectInto, problems: &mut Problems<'_>) {
        let (block, name) = match place {
            InjectInto::Query(name) if self.query.contains_key(name) => ("query", name.clone()),
            InjectInto::Header(name) => {
                let same = |known: &&String| known.eq_ignore_ascii_case(name);
                match self.headers.keys().find(same) {
                    Some(known) => ("headers", known.clone()),
                    None => return,
                }
            }
            InjectInto::Body(name) if self.form.as_ref().is_some_and(|form| form.contains_key(name)) => {
                ("form", name.clone())
            }
            InjectInto::Body(name) => {
                let inside = |value: &'_ Value, key: &str| match value {
                    Value::Array(list) => list.get(key.parse::<usize>().ok()?).cloned(),
                    value => value.get(key).cloned(),
                };
                let json = self.json.clone();
                let found = name
                    .split('.')
                    .try_fold(json, |value, key| Some(inside(&value?, key)));
                match found.flatten() {
                    // Null reserves the position.
                    None | Some(Value::Null) => return,
                    Some(_) => ("json", name.clone()),
                }
            }
            InjectInto::Query(_) => return,
        };
        problems.at(block).at(&name).add_with_hint(
            "`pagination` injects its own value here, so this one would never be sent",
            "remove it; `pagination` has `start` for the first page and `size` or `limit` for the rows of each",
        );
    }
}

/// An HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum RequestMethod {
    /// GET.
    #[serde(rename = "GET")]
    Get,
    /// POST, for searches and reports with a body.
    #[serde(rename = "POST")]
    Post,
}

/// The value of a header: text, or a secret, `{env: NAME}` or `{file: PATH}`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "Value")]
#[schemars(with = "HeaderSchema")]
pub(crate) enum HeaderConfig {
    /// Text, with placeholders.
    Text(String),
    /// A secret.
    Secret(SecretRef),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes what is accepted")]
enum HeaderSchema {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Secret(SecretRef),
}

impl TryFrom<Value> for HeaderConfig {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Bool(_) | Value::Number(_) => Ok(Self::Text(value.to_string())),
            Value::Object(_) => {
                let secret = SecretRef::deserialize(value).map_err(|error| error.to_string())?;
                Ok(Self::Secret(secret))
            }
            _ => Err("expected text, or a secret: `{env: NAME}` or `{file: PATH}`".to_owned()),
        }
    }
}
