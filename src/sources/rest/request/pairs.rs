//! Names and values of queries and forms, in order.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::super::json_path::type_name;
use super::super::template::{Names, Template, Values, check, fill, scalar_text};
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
                None => {
                    let found = type_name(value);
                    let hint = match value {
                        Value::Number(_) => "put a number with a fraction in quotes",
                        Value::Null => "write `\"\"` for an empty value",
                        _ => "a list repeats the parameter",
                    };
                    let message = format!("expected a string, an integer or a boolean, found {found}");
                    here.add_with_hint(message, hint);
                }
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

    pub(super) fn fill(&self, values: &Values) -> Result<Vec<(String, String)>> {
        let mut all = Vec::with_capacity(self.0.len());
        for pair in &self.0 {
            let only = pair.value.only_placeholder().filter(|_| pair.repeats);
            match only.and_then(|placeholder| values.get(&placeholder.name)) {
                Some(Value::Array(values)) => {
                    let texts = values.iter().filter_map(scalar_text);
                    all.extend(texts.map(|text| (pair.name.clone(), text.into_owned())));
                }
                _ => all.push((pair.name.clone(), fill(&pair.value, values)?)),
            }
        }
        Ok(all)
    }
}

/// Sets `name` at its first position and removes the others; adds it at the end if it does not exist.
pub(super) fn put(pairs: &mut Vec<(String, String)>, name: &str, value: String) {
    let at = pairs.iter().position(|(known, _)| known == name);
    let at = at.unwrap_or(pairs.len());
    pairs.retain(|(known, _)| known != name);
    pairs.insert(at, (name.to_owned(), value));
}

pub(super) fn query(pairs: &[(String, String)]) -> Option<String> {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| pair(name, value)).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// A space becomes `%20` and a plus `%2B`, which all servers read alike. Characters that are allowed in a query and
/// separate nothing stay, so that `$filter` and times look as in the vendors' documentation.
fn pair(name: &str, value: &str) -> String {
    let mut out = String::new();
    encode(name, b"!$()*,/:@", &mut out);
    out.push('=');
    encode(value, b"!$()*,/:@", &mut out);
    out
}

/// Percent-encodes all but letters, digits, `-._~` and the bytes of `also`.
pub(super) fn encode(text: &str, also: &[u8], out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

pub(super) fn text_to_set(place: &str, value: &Value) -> Result<String> {
    match (value, scalar_text(value)) {
        (Value::Number(number), _) => Ok(number.to_string()),
        (_, Some(text)) => Ok(text.into_owned()),
        (other, None) => Err(Error::input(format!(
            "the value for `{place}` is {}, expected a string or a number",
            type_name(other)
        ))),
    }
}
