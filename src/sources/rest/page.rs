//! What a page is asked with, and what its answer told.

use reqwest::header::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::json_path::ExtractedValues;

/// Where a value goes in a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InjectInto {
    /// The query parameter of this name.
    Query(String),
    /// The header of this name.
    Header(String),
    /// The place in the JSON or form body: names joined by dots, such as `page.cursor`.
    Body(String),
}

/// What one page's request has besides what all requests have.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PageRequest {
    /// The whole URL, as the service gave it: taken as it is in place of the request's own URL and query.
    pub(super) url: Option<String>,
    /// Values and their places; they take the place of what the request has there.
    pub(super) set: Vec<(InjectInto, Value)>,
}

/// What the answer to a page told.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageResponse<'a> {
    /// The URL asked.
    pub(super) url: &'a Url,
    /// The status: any 2xx, or one that a rule calls the empty end.
    pub(super) status: u16,
    /// The headers.
    pub(super) headers: &'a HeaderMap,
    /// Values found in the body.
    pub(super) values: &'a ExtractedValues,
    /// Records on the page, before any of them was exploded or put aside.
    pub(super) records: u64,
}
