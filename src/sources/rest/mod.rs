//! The source `rest`: reads records from REST APIs as a pipeline file describes them.
//!
//! ```text
//! partitions ─▶ windows ─▶ pagination ─▶ request ─▶ fetch: auth, rate limit, retry ─▶ extract: records, values ─▶ decode
//!                              ▲                                                          │
//!                              └────────────────────── values of the response ────────────┘
//! ```
//!
//! `partitions`, `incremental` and `pagination` decide what to request and know no network. Rows keep the order of
//! partitions, windows and pages; a page is passed on when it is complete, so a retry neither loses nor repeats a row; a
//! position is saved once all rows before it are delivered.

pub(crate) mod auth;
mod config;
mod decode;
pub(crate) mod extract;
mod fetch;
mod header_name;
pub(crate) mod incremental;
mod json_path;
mod page;
pub(crate) mod pagination;
pub(crate) mod partitions;
mod plan;
pub(crate) mod rate_limit;
mod reader;
pub(crate) mod request;
pub(crate) mod response_actions;
mod source;
mod template;
#[cfg(test)]
mod test_cases;
mod typed_keys;
