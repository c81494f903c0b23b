//! Request bodies: JSON and forms.

use bytes::Bytes;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::super::template::{Names, Template, Values, check, fill_json};
use super::pairs::{self, Pairs, text_to_set};
use crate::component::Problems;
use crate::error::{Error, Result};

type Body = (Bytes, &'static str);

pub(super) fn check_json(json: &Value, names: &Names, problems: &mut Problems<'_>) {
    match json {
        Value::String(text) => drop(check(text, names, problems)),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                check_json(value, names, &mut problems.at_index(index));
            }
        }
        Value::Object(members) => {
            for (key, value) in members {
                check_json(value, names, &mut problems.at(key));
            }
        }
        _ => {}
    }
}

fn fill_strings(json: &mut Value, values: &Values) -> Result<()> {
    match json {
        Value::String(text) => {
            let template = Template::parse(text);
            // It was checked.
            let template = template.map_err(|error| Error::unexpected(error.to_string()))?;
            *json = fill_json(&template, values)?;
            Ok(())
        }
        Value::Array(list) => list.iter_mut().try_for_each(|value| fill_strings(value, values)),
        Value::Object(map) => map.values_mut().try_for_each(|value| fill_strings(value, values)),
        _ => Ok(()),
    }
}

/// A JSON body, with values injected. Injecting into no body creates a JSON object.
pub(super) fn json(json: Option<&Value>, values: &Values, set: &[(&str, &Value)]) -> Result<Body> {
    let mut json = json.cloned().unwrap_or_default();
    fill_strings(&mut json, values)?;
    for (place, value) in set {
        put(&mut json, place, value)?;
    }
    Ok((json.to_string().into(), "application/json"))
}

pub(super) fn form(pairs: &Pairs, values: &Values, set: &[(&str, &Value)]) -> Result<Body> {
    let mut all = pairs.fill(values)?;
    for (name, value) in set {
        pairs::put(&mut all, name, text_to_set(name, value)?);
    }
    let mut form = form_urlencoded::Serializer::new(String::new());
    let form = form.extend_pairs(all).finish();
    Ok((form.into(), "application/x-www-form-urlencoded"))
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
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        at = match at {
            Value::Object(map) => map.entry(name).or_insert(Value::Null),
            Value::Array(list) => name
                .parse()
                .ok()
                .and_then(|index: usize| list.get_mut(index))
                .ok_or_else(wrong)?,
            _ => return Err(wrong()),
        };
    }
    *at = value.clone();
    Ok(())
}
