//! Selects records in a buffered document, for paths with filters, slices or `..`.

use std::collections::HashMap;

use serde_json::Value;
use serde_json_path::{JsonPath, PathElement};

use super::super::json_path::Step;
use super::error::BodyError;
use super::rows::{elements, members};

/// Passes the raw text of each record that a path selects to `take`, in the path's order; the elements of an array are
/// records each.
pub(super) fn records(
    document: &str,
    path: &JsonPath,
    take: &mut dyn FnMut(&str) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    let value: Value = serde_json::from_str(document).map_err(|error| BodyError::syntax(&error, 0))?;
    let locations: Vec<Vec<Step>> = path
        .query_located(&value)
        .locations()
        .map(|location| {
            let step = |element: &PathElement<'_>| match element {
                PathElement::Name(name) => Step::Name((*name).to_owned()),
                PathElement::Index(index) => Step::Index(*index),
            };
            location.iter().map(step).collect()
        })
        .collect();
    drop(value);
    let mut texts = vec![None; locations.len()];
    let wanted: Vec<(usize, &[Step])> = locations.iter().map(Vec::as_slice).enumerate().collect();
    find_all(document.trim(), &wanted, &mut texts);
    for text in texts.into_iter().flatten() {
        match text.as_bytes().first() {
            Some(b'[') => {
                for element in elements(text) {
                    take(element.get())?;
                }
            }
            Some(b'n') | None => {}
            Some(_) => take(text)?,
        }
    }
    Ok(())
}

/// Finds the raw texts at several locations; each level is parsed once.
fn find_all<'t>(text: &'t str, wanted: &[(usize, &[Step])], found: &mut [Option<&'t str>]) {
    let mut below: HashMap<&Step, Vec<(usize, &[Step])>> = HashMap::new();
    for (index, steps) in wanted {
        match steps.split_first() {
            None => found[*index] = Some(text),
            Some((step, rest)) => below.entry(step).or_default().push((*index, rest)),
        }
    }
    if below.is_empty() {
        return;
    }
    let mut descend = |step: Step, text| {
        if let Some(wanted) = below.get(&step) {
            find_all(text, wanted, found);
        }
    };
    if text.starts_with('{') {
        for (name, value) in members(text).unwrap_or_default() {
            descend(Step::Name(name.into_owned()), value);
        }
    } else {
        for (index, element) in elements(text).into_iter().enumerate() {
            descend(Step::Index(index), element.get());
        }
    }
}
