//! CSV payloads from Arrow columns: UTF-8 without BOM, RFC 4180 quoting, CRLF line ends.
//!
//! Rows are encoded before batches are cut, so that a batch's limit in bytes is about the bytes that travel. The
//! output is one buffer a chunk with the end of each row in it; a batch is made by copying ranges of it behind a
//! header row.

mod csv;

pub use csv::{CsvEncoder, EncodeError, EncodedRows};
