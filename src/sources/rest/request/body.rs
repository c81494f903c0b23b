//! Request bodies: JSON and forms.

use bytes::Bytes;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::super::template::{Names, Template, Values, check, fill_json};
use super::pairs::Pairs;
use crate::component::Problems;
use crate::error::{Error, Result};

/// A body to send.
#[derive(Clone, PartialEq)]
pub(in super::super) struct Body {
    /// Its bytes.
    pub(in super::super) bytes: Bytes,
    /// What they are.
    pub(in super::super) content_type: &'static str,
}

/// Shows no content: it may contain ids.
impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes", self.content_type, self.bytes.len())
    }
}

/// A body with placeholders.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum BodyPlan {
    None,
    Json(Node),
    Form(Pairs),
}

/// JSON with placeholders in its strings.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Fixed(Value),
    Text(Template),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn new(value: &Value, names: &Names, problems: &mut Problems<'_>) -> Self {
        match value {
            Value::String(text) => match check(text, names, problems) {
                Some(template) => match template.literal() {
                    Some(text) => Self::Fixed(text.into()),
                    None => Self::Text(template),
                },
                None => Self::Fixed(Value::Null),
            },
            Value::Array(values) => Self::List(
                values
                    .iter()
                    .enumerate()
                    .map(|(index, value)| Self::new(value, names, &mut problems.at_index(index)))
                    .collect(),
            ),
            Value::Object(map) => Self::Object(
                map.iter()
                    .map(|(key, value)| (key.clone(), Self::new(value, names, &mut problems.at(key))))
                    .collect(),
            ),
            other => Self::Fixed(other.clone()),
        }
    }

    fn fill(&self, values: &Values) -> Result<Value> {
        Ok(match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(template) => fill_json(template, values)?,
            Self::List(nodes) => Value::Array(
                nodes
                    .iter()
                    .map(|node| node.fill(values))
                    .collect::<Result<_>>()?,
            ),
            Self::Object(nodes) => Value::Object(
                nodes
                    .iter()
                    .map(|(key, node)| Ok((key.clone(), node.fill(values)?)))
                    .collect::<Result<_>>()?,
            ),
        })
    }
}

impl BodyPlan {
    /// The body, with values injected. Injecting into no body creates a JSON object.
    pub(super) fn fill(&self, values: &Values, set: &[(&str, &Value)]) -> Result<Option<Body>> {
        let mut json = match self {
            Self::None if set.is_empty() => return Ok(None),
            Self::None => Value::Object(Map::new()),
            Self::Json(node) => node.fill(values)?,
            Self::Form(pairs) => return form(pairs, values, set).map(Some),
        };
        for (place, value) in set {
            put(&mut json, place, value)?;
        }
        let bytes = serde_json::to_vec(&json)
            .map_err(|error| Error::unexpected("cannot write the body as JSON").with_source(error))?;
        Ok(Some(Body {
            bytes: bytes.into(),
            content_type: "application/json",
        }))
    }
}

fn form(pairs: &Pairs, values: &Values, set: &[(&str, &Value)]) -> Result<Body> {
    let mut all = pairs.fill(values)?;
    for (name, value) in set {
        super::pairs::put(&mut all, name, super::text_to_set(name, value)?);
    }
    let bytes = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(all)
        .finish();
    Ok(Body {
        bytes: bytes.into(),
        content_type: "application/x-www-form-urlencoded",
    })
}

/// Puts `value` at `place`, names joined by dots; missing objects are created. A number is an index where there is an
/// array.
fn put(document: &mut Value, place: &str, value: &Value) -> Result<()> {
    let wrong = || {
        Error::config(format!(
            "cannot inject `{place}` into the JSON body: a value on the way is not an object"
        ))
    };
    let mut at = document;
    for name in place.split('.') {
        at = match at {
            Value::Object(map) => map.entry(name).or_insert(Value::Null),
            Value::Array(list) => name
                .parse()
                .ok()
                .and_then(|index: usize| list.get_mut(index))
                .ok_or_else(wrong)?,
            Value::Null => {
                *at = Value::Object(Map::new());
                match at {
                    Value::Object(map) => map.entry(name).or_insert(Value::Null),
                    _ => return Err(wrong()),
                }
            }
            _ => return Err(wrong()),
        };
    }
    *at = value.clone();
    Ok(())
}
