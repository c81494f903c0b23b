//! The source `rest` against a server on loopback that fails on anything unexpected: each setting, through a whole
//! pipeline.

#![allow(clippy::disallowed_methods, reason = "a server of a test ends with it")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are given"
)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod first;
mod incremental;
mod pagination;
mod partitions;
mod parts;
mod records;
mod request;
mod settings;
mod stand;
