//! Makes chunks of records as they are written: what the sources that read files and those that read answers share.

mod feed;
pub(crate) mod json;

pub(crate) use feed::{CHUNK_BYTES, CHUNK_ROWS, End, Feed, READ_BYTES, Step};
