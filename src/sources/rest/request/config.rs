//! The settings `request`.

use std::collections::BTreeMap;

use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::header_name::HeaderNameSetting;
use super::super::page::InjectInto;
use super::headers::is_reserved;
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
    pub(super) fn has_body(&self) -> bool {
        self.json.is_some() || self.form.is_some()
    }

    pub(super) fn method(&self) -> Method {
        match self.method {
            Some(RequestMethod::Get) => Method::GET,
            None if !self.has_body() => Method::GET,
            Some(RequestMethod::Post) | None => Method::POST,
        }
    }

    /// Reports a position that the pagination cannot inject values into; `problems` is at it.
    pub(in super::super) fn check_place(&self, place: &InjectInto, problems: &mut Problems<'_>) {
        match place {
            InjectInto::Query(name) if name.is_empty() => {
                problems.at("query").add("a parameter name must not be empty");
            }
            InjectInto::Query(_) => {}
            InjectInto::Header(HeaderNameSetting(name)) => {
                if *name == AUTHORIZATION || is_reserved(name) {
                    let message = format!("pagination cannot use the header `{name}`");
                    problems.at("header").add(message);
                }
            }
            InjectInto::Body(name) => {
                let mut here = problems.at("body");
                if self.method() == Method::GET {
                    here.add_with_hint(
                        "a GET request has no body to inject the value into",
                        "use `query` or `header`, or set `method: POST`",
                    );
                }
                if name.split('.').any(str::is_empty) {
                    here.add(format!(
                        "`{name}` is not a path in the body: use names joined by dots, such as `page.cursor`"
                    ));
                }
            }
        }
    }

    /// Reports a value where `pagination` injects its own; `problems` is at this block.
    pub(in super::super) fn check_free(&self, place: &InjectInto, problems: &mut Problems<'_>) {
        let taken = match place {
            InjectInto::Query(name) => self.query.contains_key(name).then_some(("query", name.as_str())),
            InjectInto::Header(HeaderNameSetting(name)) => {
                let mut names = self.headers.keys();
                let same = names.find(|known| known.eq_ignore_ascii_case(name.as_str()));
                same.map(|known| ("headers", known.as_str()))
            }
            InjectInto::Body(name) => {
                let in_form = self.form.as_ref().is_some_and(|form| form.contains_key(name));
                let in_json = self.json.as_ref().and_then(|json| {
                    name.split('.').try_fold(json, |value, key| match value {
                        Value::Array(list) => list.get(key.parse::<usize>().ok()?),
                        value => value.get(key),
                    })
                });
                // Null reserves the position.
                let in_json = in_json.is_some_and(|value| !value.is_null());
                let block = if in_form { "form" } else { "json" };
                (in_form || in_json).then_some((block, name.as_str()))
            }
        };
        if let Some((block, name)) = taken {
            problems.at(block).at(name).add_with_hint(
                "`pagination` injects its own value here, so this one would never be sent",
                "remove it; `pagination` has `start` for the first page and `size` or `limit` for the rows of each",
            );
        }
    }
}

/// An HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum RequestMethod {
    /// GET.
    Get,
    /// POST, for searches and reports with a body.
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
