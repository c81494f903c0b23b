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
pub(super) use self::keys::Parent;
pub(super) use self::skip::SkipPolicy;
use super::template::{Kind, Names, Uses, Values};
use crate::component::Problems;

/// What one sequence of requests reads.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Partition {
    /// Values of the placeholders.
    pub(super) values: Values,
    /// Columns that every row gets.
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

/// A checked `for_each`. The parent's request belongs to the source.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Partitioning {
    partitions: Vec<Partition>,
    fixed: Vec<Arc<str>>,
    parent: Option<Parent>,
    /// How many partitions are read at a time.
    pub(super) max_concurrent: usize,
    pub(super) skip: SkipPolicy,
}

impl Partitioning {
    /// One partition for each combination of `values`; one without values if there are only keys.
    pub(super) fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// How a parent's rows become partitions.
    pub(super) fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// Adds the placeholders of the parent's request: those of `values`.
    pub(super) fn outer_names(&self, names: &mut Names) {
        for name in &self.fixed {
            names.add(name, Kind::Fixed);
        }
    }

    /// Adds the placeholders of the source's request.
    pub(super) fn names(&self, names: &mut Names) {
        self.outer_names(names);
        if let Some(parent) = &self.parent {
            let kind = match parent.batch_size {
                Some(_) => Kind::Group,
                None => Kind::Key,
            };
            for (name, _) in &parent.keys {
                names.add(name, kind);
            }
        }
    }

    /// Reports every placeholder that no request uses.
    pub(super) fn check_used(&self, uses: &Uses, problems: &mut Problems<'_>) {
        let mut unused = |block: &str, name: &str| {
            problems.at(block).at(name).add_with_hint(
                "no request uses this placeholder, so all requests would be the same",
                format!("write `{{{name}}}` where the value belongs, such as in `request.path`"),
            );
        };
        for name in self.fixed.iter().filter(|name| !uses.contains(*name)) {
            unused("values", name);
        }
        // One key of a parent's row is enough; the others may be columns.
        if let Some(parent) = &self.parent
            && !parent.keys.iter().any(|(name, _)| uses.contains(name))
        {
            for (name, _) in &parent.keys {
                unused("key", name);
            }
        }
    }

    /// The columns that every row gets, in order.
    pub(super) fn column_names(&self) -> Vec<Arc<str>> {
        let mut all = self.fixed.clone();
        if let Some(parent) = &self.parent {
            if parent.batch_size.is_none() {
                all.extend(parent.keys.iter().map(|(name, _)| name.clone()));
            }
            all.extend(parent.include.iter().map(|(name, _)| name.clone()));
        }
        all
    }
}
