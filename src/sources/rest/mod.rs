//! Reads records from REST APIs, as a pipeline file describes them.
//!
//! ```text
//! partitions ─▶ windows ─▶ pagination ─▶ request ─▶ fetch: auth, rate limit, retry ─▶ body: records, probes ─▶ rows ─▶ chunks
//!                                       ▲                                                       │
//!                                       └───────────── what the answer told ────────────────────┘
//! ```
//!
//! - `config` and `plan` hold the settings and check them as a whole,
//! - `partitions`, `incremental` and `pagination` say what is asked next; they know nothing of a network,
//! - `template` and `request` make a request of values, `auth` and `client` what it is sent with, `rate_limit` how fast,
//! - `fetch` asks for one page, `body` takes the records out of the answer while it comes, `response_actions` judge it,
//! - `rows` makes columns of the records of all pages, `source` goes through all of it in order.
//!
//! What holds for every service: rows come in the order of the steps, windows and pages, each with its page and its
//! number there; a page that breaks off is asked for again and gives no row twice; what looks like an end and may be
//! none is an error or a warning; a position is saved only when every row before it is delivered; nothing of an
//! answer, and no query, is in an error or a log line but the service's own message.

pub mod auth;
mod client;
mod config;
pub mod extract;
mod fetch;
mod header_name;
pub mod incremental;
mod json_path;
mod mapped_columns;
mod page;
pub mod pagination;
pub mod partitions;
mod plan;
pub mod rate_limit;
pub mod request;
pub mod response_actions;
mod rows;
mod source;
mod template;
mod typed_keys;

pub use config::{ColumnKind, ConnectionConfig, RestConfig};
pub use json_path::SinglePath;
pub use page::InjectInto;
pub use partitions::ParentConfig;
