//! A parent's rows into steps.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::super::json_path::SinglePath;
use super::super::template::{Filling, scalar_text};
use super::{OnMissingKey, Parent, Partition};
use crate::error::{Error, Result};

/// What was found in a parent's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct KeyCounts {
    /// Rows seen.
    pub(in super::super) rows: u64,
    /// Rows without a key, left out.
    pub(in super::super) missing: u64,
    /// Rows whose key came before, not asked for again.
    pub(in super::super) repeated: u64,
}

/// Takes the keys out of a parent's rows, one parent read at a time.
#[derive(Debug)]
pub(in super::super) struct Keys<'p> {
    parent: &'p Parent,
    outer: Partition,
    seen: Seen,
    group: Vec<Value>,
    counts: KeyCounts,
}

/// Keys that came before. Shows none of them.
#[derive(Default)]
struct Seen(HashSet<Vec<String>>);

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl Parent {
    /// Begins with the rows of the parent that was read for `outer`; its values and columns go on to every step.
    pub(in super::super) fn keys(&self, outer: &Partition) -> Keys<'_> {
        Keys {
            parent: self,
            outer: outer.clone(),
            seen: Seen::default(),
            group: Vec::new(),
            counts: KeyCounts::default(),
        }
    }
}

impl Keys<'_> {
    /// Takes a row; gives a step if one is complete.
    ///
    /// # Errors
    /// The row has no key, unless such rows are left out, or what is there is no key. The path is named, the value is
    /// not.
    pub(in super::super) fn take(&mut self, row: &Value) -> Result<Option<Partition>> {
        self.counts.rows += 1;
        let mut found: Vec<(&Arc<str>, &Value)> = Vec::with_capacity(self.parent.keys.len());
        for (name, path) in &self.parent.keys {
            match key(name, path, row)? {
                Some(value) => found.push((name, value)),
                None if self.parent.on_missing_key == OnMissingKey::Skip => {
                    self.counts.missing += 1;
                    return Ok(None);
                }
                None => {
                    return Err(Error::input(format!(
                        "row {} of the parent has no key: there is nothing at `{path}`, which `{name}` is taken from",
                        self.counts.rows
                    ))
                    .with_hint("check the path of `key` against an answer of the service")
                    .with_hint("`on_missing_key: skip` leaves such rows out, and counts them"));
                }
            }
        }
        if self.parent.distinct {
            // As texts: that is how the service sees them.
            let texts = found
                .iter()
                .filter_map(|(_, value)| scalar_text(value).map(std::borrow::Cow::into_owned))
                .collect();
            if !self.seen.0.insert(texts) {
                self.counts.repeated += 1;
                return Ok(None);
            }
        }
        if let Some((size, _)) = &self.parent.group {
            self.group
                .extend(found.into_iter().map(|(_, value)| value.clone()));
            return Ok(if self.group.len() >= *size {
                self.grouped()
            } else {
                None
            });
        }
        let mut step = self.outer.clone();
        for (name, value) in found {
            step.values.set(name.clone(), Filling::One(value.clone()));
            if self.parent.columns {
                step.columns.0.push((name.clone(), value.clone()));
            }
        }
        for (name, path) in &self.parent.keep {
            let value = path.find(row).cloned().unwrap_or(Value::Null);
            step.columns.0.push((name.clone(), value));
        }
        Ok(Some(step))
    }

    /// The last step, of a group that was not full, once the parent's rows are at their end.
    pub(in super::super) fn finish(&mut self) -> Option<Partition> {
        self.grouped()
    }

    /// What was found so far.
    pub(in super::super) fn counts(&self) -> KeyCounts {
        self.counts
    }

    fn grouped(&mut self) -> Option<Partition> {
        let (_, separator) = self.parent.group.as_ref()?;
        let (name, _) = self.parent.keys.first()?;
        if self.group.is_empty() {
            return None;
        }
        let mut step = self.outer.clone();
        step.values.set(
            name.clone(),
            Filling::Many {
                values: std::mem::take(&mut self.group),
                separator: separator.clone(),
            },
        );
        Some(step)
    }
}

/// The key in a row; `None` for nothing, null and blank texts.
fn key<'v>(name: &str, path: &SinglePath, row: &'v Value) -> Result<Option<&'v Value>> {
    let wrong = |what: &str| {
        Err(Error::input(format!(
            "the key at `{path}`, which `{name}` is taken from, is {what}"
        ))
        .with_hint("a key is a text, a whole number or a boolean"))
    };
    match path.find(row) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::Object(_)) => wrong("an object"),
        Some(Value::Array(_)) => wrong("a list"),
        Some(value) if scalar_text(value).is_none() => {
            wrong("a number with a fraction, or too large to be kept exactly")
        }
        Some(value) => Ok(Some(value)),
    }
}
