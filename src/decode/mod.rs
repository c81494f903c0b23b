//! Makes chunks of records as they are written: what the sources that read files and those that read answers share.

mod added;
mod feed;
pub(crate) mod json;

pub(crate) use added::{Added, AddedColumns};
pub(crate) use feed::{CHUNK_BYTES, CHUNK_ROWS, End, Feed, READ_BYTES, Step};
