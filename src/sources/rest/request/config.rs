//! What users write about a request.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde_json::{Map, Value};

use super::super::page::InjectInto;
use crate::config::Problems;
use crate::secret::SecretRef;

/// What is asked for: the `request:` block of a source. Texts may have placeholders, `{name}`, whose values come from
/// `each:` and `incremental:`; a brace itself is written twice.
///
/// ```yaml
/// request:
///   path: employees/{id}/tables/jobInfo
///   query: {since: "{start}", "page[limit]": 500}
///   headers: {Accept: application/json, US-Customer-Api-Key: {env: UKG_KEY}}
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestConfig {
    /// Default: POST when there is a body, else GET.
    pub method: Option<RequestMethod>,
    /// Appended to the base URL, with one `/` between them whether or not it begins with one. A value in it is one
    /// segment, whatever it has in it. Default: the base URL itself.
    pub path: String,
    /// Query parameters, in order. A value is a text, a number, a boolean, or a list of them: then the parameter is
    /// repeated.
    pub query: Map<String, Value>,
    /// Headers: a text, or a secret by reference, `{env: NAME}` or `{file: PATH}`.
    pub headers: BTreeMap<String, HeaderConfig>,
    /// A JSON body. Texts in it may have placeholders; a text that is one placeholder and nothing else becomes the
    /// value in its own type, a group of keys a list.
    pub json: Option<Value>,
    /// A form body: names and values as in `query`.
    pub form: Option<Map<String, Value>>,
}

impl RequestConfig {
    /// Notes that it sets what `pagination` sets for each page in its place; `problems` points at it.
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
                    // Null keeps the place free, and says where it is.
                    None | Some(Value::Null) => return,
                    Some(_) => ("json", name.clone()),
                }
            }
            InjectInto::Query(_) => return,
        };
        problems.at(block).at(&name).add_with_hint(
            "`pagination` puts its own value here, and this one would never be sent as it stands",
            "leave it out; `pagination` has `start` for the first page and `size` or `limit` for the rows of each",
        );
    }
}

/// A method of HTTP that reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum RequestMethod {
    /// GET.
    #[serde(rename = "GET", alias = "get")]
    Get,
    /// POST: searches and reports that take a body.
    #[serde(rename = "POST", alias = "post")]
    Post,
}

/// A header's value.
#[derive(Debug, Clone, PartialEq)]
pub enum HeaderConfig {
    /// Text, with placeholders.
    Text(String),
    /// A secret.
    Secret(SecretRef),
}

impl<'de> Deserialize<'de> for HeaderConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = HeaderConfig;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a secret by reference: `{env: NAME}` or `{file: PATH}`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<HeaderConfig, E> {
                Ok(HeaderConfig::Text(text.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, is: bool) -> Result<HeaderConfig, E> {
                Ok(HeaderConfig::Text(is.to_string()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HeaderConfig, E> {
                Ok(HeaderConfig::Text(number.to_string()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<HeaderConfig, E> {
                Ok(HeaderConfig::Text(number.to_string()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HeaderConfig, A::Error> {
                SecretRef::deserialize(MapAccessDeserializer::new(map)).map(HeaderConfig::Secret)
            }
        }
        deserializer.deserialize_any(HeaderVisitor)
    }
}

impl JsonSchema for HeaderConfig {
    fn schema_name() -> Cow<'static, str> {
        "Header".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<SecretRef>();
        json_schema!({
            "description": "A text, or a secret by reference.",
            "anyOf": [{"type": ["string", "integer", "boolean"]}, secret],
        })
    }
}
