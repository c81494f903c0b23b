//! Partitions: one sequence of requests for each of several values, written in the pipeline file or taken from a
//! parent's rows.
//!
//! ```text
//! values ─combinations─▶ Partition ─┬────────────────────────────────────▶ one sequence of requests each
//!                                   └─ parent ─rows─▶ Keys ─▶ Partition ─▶ one sequence of requests each
//! ```
//!
//! Partitions keep the order of the values and of the parent's rows. Rows without a key, repeated keys and skipped
//! partitions are counted; none is skipped unless the pipeline file says so.

mod config;
mod keys;
mod skip;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

pub(crate) use self::config::{ForEachConfig, OnMissingKey, SkipConfig};
use super::template::{Kind, Names, Uses, Values};
use crate::component::Problems;

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Partition {
    pub(super) values: Values,
    pub(super) columns: Columns,
}

/// Columns with the same value in all rows of a partition.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Columns(pub(super) Vec<(Arc<str>, Value)>);

/// Shows names only: values are personal data.
impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// A valid `for_each`. The parent's request belongs to the source.
#[derive(Debug, Clone)]
pub(super) struct Partitioning {
    pub(super) config: ForEachConfig,
    /// One for each combination of `values`; one without values if there are only keys.
    pub(super) partitions: Vec<Partition>,
}

impl Partitioning {
    /// Adds the placeholders of the parent's request: those of `values`.
    pub(super) fn outer_names(&self, names: &mut Names) {
        for name in self.config.values.keys() {
            names.add(name, Kind::Fixed);
        }
    }

    pub(super) fn names(&self, names: &mut Names) {
        self.outer_names(names);
        let kind = match self.config.batch_size {
            Some(_) => Kind::Group,
            None => Kind::Key,
        };
        for name in self.config.key.keys() {
            names.add(name, kind);
        }
    }

    pub(super) fn check_used(&self, uses: &Uses, problems: &mut Problems<'_>) {
        let mut unused = |block: &str, name: &str| {
            problems.at(block).at(name).add_with_hint(
                "no request uses this placeholder, so all requests would be the same",
                format!("write `{{{name}}}` where the value belongs, such as in `request.path`"),
            );
        };
        let is_unused = |name: &&String| !uses.contains(name.as_str());
        for name in self.config.values.keys().filter(is_unused) {
            unused("values", name);
        }
        // One key of a parent's row is enough; the others may be columns.
        let keys = &self.config.key;
        if keys.keys().all(|name| is_unused(&name)) {
            for name in keys.keys() {
                unused("key", name);
            }
        }
    }

    pub(super) fn column_names(&self) -> impl Iterator<Item = &String> {
        let config = &self.config;
        let keys = config.key.keys().filter(|_| config.batch_size.is_none());
        let include = config.include_from_parent.keys();
        config.values.keys().chain(keys).chain(include)
    }
}
