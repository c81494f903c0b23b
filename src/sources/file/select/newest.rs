//! Which file is the newest, and which the newest one was that was delivered.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use super::Order;
use crate::storage::{FileInfo, FilePattern};

/// A file's place in an order: compared with others of the same order only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sources::file) struct Rank {
    order: Order,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date: Option<DateTime>,
    name: Arc<str>,
}

impl Rank {
    pub(super) fn of(file: &FileInfo, order: Order, wanted: &FilePattern) -> Self {
        Self {
            order,
            modified: file.modified.filter(|_| order == Order::Time),
            date: match order {
                Order::Date => wanted.date_in_name(file.file_name()),
                Order::Name | Order::Time => None,
            },
            name: file.name.clone(),
        }
    }

    /// Whether it comes before `other` in the order of both; `false` where they are of different ones.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.order == other.order && self < other
    }

    /// The name of the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}
