//! Names and values of queries and forms, in order.

use serde_json::{Map, Value};
use url::form_urlencoded;

use super::super::template::{Filling, Names, Template, Values, check, fill, scalar_text};
use super::encode;
use crate::component::Problems;
use crate::error::{Error, Result};

/// Names and values with placeholders, in order; a name may be there more than once.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Pairs(Vec<Pair>);

#[derive(Debug, Clone, PartialEq)]
struct Pair {
    name: String,
    value: Template,
    /// It is an element of a list: a group of values becomes one pair each.
    repeats: bool,
}

impl Pairs {
    /// Checks the setting; `problems` is at it.
    pub(super) fn new(map: &Map<String, Value>, names: &Names, problems: &mut Problems<'_>) -> Self {
        let mut pairs = Vec::new();
        for (name, value) in map {
            let mut here = problems.at(name);
            if name.is_empty() {
                here.add("a parameter name must not be empty");
            }
            let mut add = |value: &Value, repeats: bool, here: &mut Problems<'_>| match scalar_text(value) {
                Some(text) => {
                    if let Some(value) = check(&text, names, here) {
                        pairs.push(Pair {
                            name: name.clone(),
                            value,
                            repeats,
                        });
                    }
                }
                None => here.add_with_hint(
                    format!(
                        "expected a string, an integer or a boolean, found {}",
                        what(value)
                    ),
                    match value {
                        Value::Number(_) => "put a number with a fraction in quotes",
                        Value::Null => "write `\"\"` for an empty value",
                        _ => "a list repeats the parameter",
                    },
                ),
            };
            match value {
                Value::Array(values) => {
                    if values.is_empty() {
                        here.add("empty list: the parameter would not be sent; remove it");
                    }
                    for (index, value) in values.iter().enumerate() {
                        add(value, true, &mut here.at_index(index));
                    }
                }
                value => add(value, false, &mut here),
            }
        }
        Self(pairs)
    }

    /// Names and values, not encoded.
    pub(super) fn fill(&self, values: &Values) -> Result<Vec<(String, String)>> {
        let mut all = Vec::with_capacity(self.0.len());
        for pair in &self.0 {
            let group = pair
                .value
                .only_placeholder()
                .filter(|_| pair.repeats)
                .and_then(|placeholder| values.get(&placeholder.name));
            if let Some(Filling::Many { values, .. }) = group {
                all.extend(
                    values
                        .iter()
                        .filter_map(scalar_text)
                        .map(|text| (pair.name.clone(), text.into_owned())),
                );
            } else {
                all.push((pair.name.clone(), fill(&pair.value, values)?));
            }
        }
        Ok(all)
    }
}

/// Sets `name` at its first position and removes the others; adds it at the end if it does not exist.
pub(super) fn put(pairs: &mut Vec<(String, String)>, name: &str, value: String) {
    let at = pairs
        .iter()
        .position(|(known, _)| known == name)
        .unwrap_or(pairs.len());
    pairs.retain(|(known, _)| known != name);
    pairs.insert(at, (name.to_owned(), value));
}

/// The pairs as a query; `None` if there are none.
pub(super) fn query(pairs: &[(String, String)]) -> Option<String> {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        pair(name, value, &mut out);
    }
    (!pairs.is_empty()).then_some(out)
}

/// Sets a parameter in a query that the service wrote; all others stay as they are, byte for byte.
pub(super) fn put_raw(query: Option<&str>, name: &str, value: &str) -> String {
    let mut out = String::new();
    let mut done = false;
    for piece in query
        .unwrap_or_default()
        .split('&')
        .filter(|piece| !piece.is_empty())
    {
        let same = form_urlencoded::parse(piece.as_bytes())
            .next()
            .is_some_and(|(known, _)| known == name);
        if same && done {
            continue;
        }
        if !out.is_empty() {
            out.push('&');
        }
        if same {
            pair(name, value, &mut out);
            done = true;
        } else {
            out.push_str(piece);
        }
    }
    if !done {
        if !out.is_empty() {
            out.push('&');
        }
        pair(name, value, &mut out);
    }
    out
}

fn pair(name: &str, value: &str, out: &mut String) {
    encode::query(name, out);
    out.push('=');
    encode::query(value, out);
}

fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number with a fraction",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// The text of a value for a parameter or a header.
pub(super) fn text_to_set(place: &str, value: &Value) -> Result<String> {
    match value {
        Value::Number(number) => Ok(number.to_string()),
        other => scalar_text(other)
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| {
                Error::input(format!(
                    "the value for `{place}` is {}, expected a string or a number",
                    what(other)
                ))
            }),
    }
}
