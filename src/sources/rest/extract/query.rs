//! Takes records out of a whole document, for paths that no single pass can follow.

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;
use serde_json_path::{JsonPath, PathElement};

use super::super::json_path::Step;
use super::error::BodyError;
use super::row::raw_members;

/// The texts of what a path names in a document that begins at byte `base` of the body, in the path's order.
///
/// # Errors
/// It is not valid JSON.
pub(super) fn texts<'t>(document: &'t [u8], base: u64, path: &JsonPath) -> Result<Vec<&'t str>, BodyError> {
    let structure = |at: usize, what: &'static str| BodyError::Structure {
        at: base + at as u64,
        what: what.into(),
    };
    let text = std::str::from_utf8(document)
        .map_err(|error| structure(error.valid_up_to(), "it is not valid UTF-8"))?;
    let value: Value = serde_json::from_str(text)
        .map_err(|error| structure(offset(text, &error), "it does not go on as JSON does"))?;
    let places: Vec<Vec<Step>> = path
        .query_located(&value)
        .locations()
        .map(|place| {
            let step = |element: &PathElement<'_>| match element {
                PathElement::Name(name) => Step::Name((*name).to_owned()),
                PathElement::Index(index) => Step::Index(*index),
            };
            place.iter().map(step).collect()
        })
        .collect();
    drop(value);
    let mut found = vec![None; places.len()];
    let wanted: Vec<(usize, &[Step])> = places.iter().map(Vec::as_slice).enumerate().collect();
    cut(text.trim(), &wanted, &mut found);
    // Every place was found in this text.
    Ok(found.into_iter().flatten().collect())
}

/// Bytes before an error.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1)
}

/// Finds the texts of places; each level is read once.
fn cut<'t>(text: &'t str, wanted: &[(usize, &[Step])], found: &mut [Option<&'t str>]) {
    let mut below: HashMap<&Step, Vec<(usize, &[Step])>> = HashMap::new();
    for (which, steps) in wanted {
        match steps.split_first() {
            None => found[*which] = Some(text),
            Some((step, rest)) => below.entry(step).or_default().push((*which, rest)),
        }
    }
    if below.is_empty() {
        return;
    }
    if text.starts_with('{') {
        for (name, _, value) in raw_members(text).unwrap_or_default() {
            if let Some(wanted) = below.get(&Step::Name(name.into_owned())) {
                cut(value, wanted, found);
            }
        }
    } else {
        let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        for (index, element) in elements.into_iter().enumerate() {
            if let Some(wanted) = below.get(&Step::Index(index)) {
                cut(element.get(), wanted, found);
            }
        }
    }
}
