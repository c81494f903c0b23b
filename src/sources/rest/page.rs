//! A page: its request, its response and its rows.

use std::path::Path;
use std::sync::Arc;

use reqwest::header::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::extract::Extracted;
use super::header_name::HeaderNameSetting;
use crate::disk::spool::{Spool, Stored};
use crate::error::Result;

/// Bytes of a page's rows in memory; more wait in a file.
const MAX_MEMORY: usize = 1 << 20;

const BLOCK_BYTES: usize = 256 << 10;

/// Where a value is injected into a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum InjectInto {
    /// The query parameter with this name.
    Query(#[schemars(example = &"cursor")] String),
    /// The header with this name.
    Header(#[schemars(example = &"X-Cursor")] HeaderNameSetting),
    /// The location in the JSON or form body: names joined by dots, such as `page.cursor`.
    Body(#[schemars(example = &"page.cursor")] String),
}

impl InjectInto {
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let (Self::Body(a), Self::Body(b)) = (self, other) else {
            return self == other;
        };
        let (a, b) = (format!("{a}."), format!("{b}."));
        a.starts_with(&b) || b.starts_with(&a)
    }
}

/// What the request for one page has besides what all requests have.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PageRequest {
    /// The URL that the service gave for the page; replaces the request's URL and query.
    pub(super) url: Option<String>,
    /// Values to inject; they replace what the request has there.
    pub(super) set: Vec<(InjectInto, Value)>,
}

#[derive(Debug)]
pub(super) struct PageResponse {
    pub(super) url: Url,
    /// Any 2xx, or one that ends the pages.
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) extracted: Extracted,
}

pub(super) type Block = Stored<Vec<u8>>;

pub(super) struct PageRows {
    pub(super) name: Arc<str>,
    pub(super) spool: Spool,
    pub(super) blocks: Vec<Block>,
    block: Vec<u8>,
}

impl PageRows {
    pub(super) fn new(name: Arc<str>, folder: &Arc<Path>) -> Self {
        Self {
            name,
            spool: Spool::new(folder.clone(), MAX_MEMORY, "rows of a page"),
            blocks: Vec::new(),
            block: Vec::new(),
        }
    }

    /// Adds a row. Blocks.
    pub(super) fn push(&mut self, row: &str) -> Result<()> {
        // A record is at most 16 MiB long.
        let length = u32::try_from(row.len()).unwrap_or(u32::MAX);
        self.block.extend_from_slice(&length.to_le_bytes());
        self.block.extend_from_slice(row.as_bytes());
        match self.block.len() < BLOCK_BYTES {
            true => Ok(()),
            false => self.flush(),
        }
    }

    /// Stores what [`push`](Self::push) has collected. Blocks.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        let bytes = block.len();
        self.blocks.push(self.spool.store_blocking(block, bytes)?);
        Ok(())
    }
}

pub(super) fn rows(mut block: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, after) = block.split_first_chunk()?;
        let (row, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        block = after;
        Some(row)
    })
}
