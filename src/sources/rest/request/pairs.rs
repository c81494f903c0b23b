//! Names and values in order: queries and forms.

use serde_json::{Map, Value};
use url::form_urlencoded;

use super::super::template::{Filling, Names, Template, Uses, Values, scalar_text};
use super::encode;
use crate::config::Problems;
use crate::error::{Error, Result};

/// Names and values with placeholders, in order; a name may be there more than once.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Pairs(Vec<Pair>);

#[derive(Debug, Clone, PartialEq)]
struct Pair {
    name: String,
    value: Template,
    /// It stood in a list: a group of values becomes so many pairs.
    repeats: bool,
}

impl Pairs {
    /// Checks what users wrote; `problems` points at it.
    pub(super) fn new(map: &Map<String, Value>, names: &Names, problems: &mut Problems<'_>) -> Self {
        let mut pairs = Vec::new();
        for (name, value) in map {
            let mut here = problems.at(name);
            if name.is_empty() {
                here.add("a parameter has no name");
            }
            let mut add = |value: &Value, repeats: bool, here: &mut Problems<'_>| match scalar_text(value) {
                Some(text) => {
                    if let Some(value) = Template::check(&text, names, here) {
                        pairs.push(Pair {
                            name: name.clone(),
                            value,
                            repeats,
                        });
                    }
                }
                None => here.add_with_hint(
                    format!(
                        "expected a text, a whole number or a boolean, found {}",
                        what(value)
                    ),
                    match value {
                        Value::Number(_) => "write a number with a fraction in quotes, as it is to be sent",
                        Value::Null => "write `\"\"` for an empty value",
                        _ => "a list of texts repeats the parameter",
                    },
                ),
            };
            match value {
                Value::Array(values) => {
                    if values.is_empty() {
                        here.add("an empty list: the parameter would not be sent; leave it out");
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

    /// Adds the placeholders in it.
    pub(super) fn uses(&self, uses: &mut Uses) {
        uses.extend(self.0.iter().flat_map(|pair| pair.value.names().cloned()));
    }

    /// Names and values, not encoded.
    pub(super) fn fill(&self, values: &Values) -> Result<Vec<(String, String)>> {
        let mut all = Vec::with_capacity(self.0.len());
        for pair in &self.0 {
            let group = pair
                .value
                .alone()
                .filter(|_| pair.repeats)
                .and_then(|name| values.get(name));
            if let Some(Filling::Many { values, .. }) = group {
                all.extend(
                    values
                        .iter()
                        .filter_map(scalar_text)
                        .map(|text| (pair.name.clone(), text.into_owned())),
                );
            } else {
                all.push((pair.name.clone(), pair.value.fill(values)?));
            }
        }
        Ok(all)
    }
}

/// Sets `name` where it is first, and takes away where it is again; at the end if it is not there.
pub(super) fn put(pairs: &mut Vec<(String, String)>, name: &str, value: String) {
    let at = pairs.iter().position(|(known, _)| known == name);
    pairs.retain({
        let mut index = 0;
        move |(known, _)| {
            let keep = known != name || Some(index) == at;
            index += 1;
            keep
        }
    });
    match at.and_then(|at| pairs.get_mut(at)) {
        Some(pair) => pair.1 = value,
        None => pairs.push((name.to_owned(), value)),
    }
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

/// Sets a parameter in a query that the service wrote; all others stay as they are, letter by letter.
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
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number with a fraction",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// The text of a value that goes into a parameter or a header.
pub(super) fn text_to_set(place: &str, value: &Value) -> Result<String> {
    match value {
        Value::Number(number) => Ok(number.to_string()),
        other => scalar_text(other)
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| {
                Error::input(format!(
                    "the value for `{place}` is {}, and a text or a number is wanted",
                    what(other)
                ))
            }),
    }
}
