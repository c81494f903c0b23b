//! A parent's rows into partitions.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::super::json_path::SinglePath;
use super::super::template::scalar_text;
use super::{ForEachConfig, OnMissingKey, Partition, Partitioning};
use crate::error::{Error, Result};

pub(in super::super) struct Keys<'p> {
    config: &'p ForEachConfig,
    outer: Partition,
    seen: HashSet<Vec<String>>,
    batch: Vec<Value>,
    pub(in super::super) rows: u64,
    /// Rows without a key, skipped.
    pub(in super::super) missing: u64,
    /// Rows whose key was requested before.
    pub(in super::super) repeated: u64,
}

impl Partitioning {
    /// Starts with the rows of the parent that was read for `outer`, whose values and columns every partition inherits.
    pub(in super::super) fn keys(&self, outer: &Partition) -> Keys<'_> {
        Keys {
            config: &self.config,
            outer: outer.clone(),
            seen: HashSet::new(),
            batch: Vec::new(),
            rows: 0,
            missing: 0,
            repeated: 0,
        }
    }
}

impl Keys<'_> {
    /// Takes a row; returns a partition if one is complete.
    /// An error names the path, never the value.
    pub(in super::super) fn take(&mut self, row: &Value) -> Result<Option<Partition>> {
        self.rows += 1;
        let mut found: Vec<(Arc<str>, &Value)> = Vec::with_capacity(self.config.key.len());
        for (name, path) in &self.config.key {
            match key(name, path, row)? {
                Some(value) => found.push((name.as_str().into(), value)),
                None if self.config.on_missing_key == OnMissingKey::Skip => {
                    self.missing += 1;
                    return Ok(None);
                }
                None => {
                    return Err(Error::input(format!(
                        "row {} of the parent has no value at `{path}` for the key `{name}`",
                        self.rows
                    ))
                    .with_hint("check the path of `key` against an answer of the service")
                    .with_hint("set `on_missing_key: skip` to skip and count such rows"));
                }
            }
        }
        // Compared as texts, which is how the service sees them.
        let texts = found
            .iter()
            .filter_map(|(_, value)| scalar_text(value).map(std::borrow::Cow::into_owned));
        if !self.seen.insert(texts.collect()) {
            self.repeated += 1;
            return Ok(None);
        }
        if let Some(size) = self.config.batch_size {
            let keys = found.into_iter().map(|(_, value)| value.clone());
            self.batch.extend(keys);
            let full = self.batch.len() >= size.as_usize();
            return Ok(full.then(|| self.finish()).flatten());
        }
        let mut partition = self.outer.clone();
        for (name, value) in found {
            partition.values.set(name.clone(), value.clone());
            partition.columns.0.push((name, value.clone()));
        }
        for (name, path) in &self.config.include_from_parent {
            let value = path.find(row).cloned().unwrap_or(Value::Null);
            partition.columns.0.push((name.as_str().into(), value));
        }
        Ok(Some(partition))
    }

    /// The partition of the keys that are still in the batch.
    pub(in super::super) fn finish(&mut self) -> Option<Partition> {
        let name = self.config.key.keys().next()?;
        if self.batch.is_empty() {
            return None;
        }
        let mut partition = self.outer.clone();
        let keys = Value::Array(std::mem::take(&mut self.batch));
        partition.values.set(name.as_str().into(), keys);
        Some(partition)
    }
}

/// The key in a row; `None` for nothing, null and blank text.
fn key<'v>(name: &str, path: &SinglePath, row: &'v Value) -> Result<Option<&'v Value>> {
    let problem = match path.find(row) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::Object(_)) => "an object",
        Some(Value::Array(_)) => "a list",
        Some(value) if scalar_text(value).is_none() => "a fraction or too large to be exact",
        Some(value) => return Ok(Some(value)),
    };
    Err(Error::input(format!(
        "the key `{name}` at `{path}` of a parent's row is {problem}"
    ))
    .with_hint("a key is a text, a whole number or a boolean"))
}
