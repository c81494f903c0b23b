//! The source `rest` against a test server: each setting, through a whole pipeline.

#![allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used"
)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;
mod incremental;
mod pagination;
mod partial;
mod partitions;
mod records;
mod request;
mod responses;
mod settings;
