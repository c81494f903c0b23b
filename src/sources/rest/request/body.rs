//! Bodies: JSON and forms.

use bytes::Bytes;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::super::template::{Names, Template, Uses, Values};
use super::pairs::Pairs;
use crate::config::Problems;
use crate::error::{Error, Result};

/// A body that was filled.
#[derive(Clone, PartialEq)]
pub(in super::super) struct Body {
    /// Its bytes.
    pub(in super::super) bytes: Bytes,
    /// What they are.
    pub(in super::super) content_type: &'static str,
}

/// Shows no content: ids may be in it.
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

/// JSON with placeholders in its texts.
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
            Value::String(text) => match Template::check(text, names, problems) {
                Some(template) => match template.plain() {
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
            Self::Text(template) => template.fill_json(values)?,
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

    fn uses(&self, uses: &mut Uses) {
        match self {
            Self::Fixed(_) => {}
            Self::Text(template) => uses.extend(template.names().cloned()),
            Self::List(nodes) => nodes.iter().for_each(|node| node.uses(uses)),
            Self::Object(nodes) => nodes.iter().for_each(|(_, node)| node.uses(uses)),
        }
    }
}

impl BodyPlan {
    /// Adds the placeholders in it.
    pub(super) fn uses(&self, uses: &mut Uses) {
        match self {
            Self::None => {}
            Self::Json(node) => node.uses(uses),
            Self::Form(pairs) => pairs.uses(uses),
        }
    }

    /// The bytes, with `set` (places and values) in it. Where there is no body and something is set, one is begun.
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

/// Puts `value` at `place`, names joined by dots; objects that are missing on the way are made. A name that is a number
/// is an index where there is a list.
fn put(document: &mut Value, place: &str, value: &Value) -> Result<()> {
    let wrong = || {
        Error::config(format!(
            "cannot set `{place}` in the JSON body: there is something else than an object on the way to it"
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
