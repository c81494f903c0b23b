//! The position of a file in an order, which decides what the newest is.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use super::OrderBy;
use crate::storage::{FileInfo, FilePattern};

/// Comparable with ranks of the same order only. Part of the state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sources::file) struct Rank {
    order: OrderBy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date: Option<DateTime>,
    name: Arc<str>,
}

impl Rank {
    pub(super) fn of(file: &FileInfo, order: OrderBy, pattern: &FilePattern) -> Self {
        let dated = order == OrderBy::DateInName;
        Self {
            order,
            modified: file.modified.filter(|_| order == OrderBy::Modified),
            date: dated.then(|| pattern.date_in_name(file.file_name())).flatten(),
            name: file.name.clone(),
        }
    }

    /// `false` for ranks of different orders.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.order == other.order && self < other
    }

    /// The name of the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}
