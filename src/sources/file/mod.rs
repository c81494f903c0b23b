//! Reads HR files: CSV, Parquet, NDJSON and JSON, compressed or not, one or many.
//!
//! The parts stand for themselves, so that a new place, packing or format is one new part:
//!
//! ```text
//! place: list, open ──▶ compression ──▶ text: encoding to UTF-8 ──▶ csv | json ──▶ feed: chunks, rejects
//!                └───────────────── seekable file ────────────────▶ parquet ─────▶
//! ```
//!
//! - `config` and `format` hold the settings and their checks,
//! - `place` says which files there are and opens them; it alone knows local files from standard input,
//! - `compression` unpacks, `text` makes UTF-8 of any encoding and notices what is no text at all,
//! - `csv`, `json` and `parquet` make Arrow columns of records,
//! - `source` goes through the files in order and sends a checkpoint after each.
//!
//! What holds for every format: rows come in the file's order with the number of their record, and its line where
//! the format has lines; only columns that somebody downstream uses are built; memory does not grow with the file; a
//! record that cannot be read is a reject with its place and reason and the records around it go on; what makes the
//! rest of a file unreadable is an error that names the file and the place, never a short file.

mod compression;
mod config;
mod csv;
mod failure;
mod format;
mod json;
mod parquet;
mod pattern;
mod place;
mod source;
#[cfg(test)]
mod testing;
mod text;

pub(crate) use config::DEFAULT_MAX_COMPRESSION_RATIO;
pub use config::{Compression, FileConfig};
pub use csv::CsvOptions;
pub use format::{Format, JsonOptions, MaxRecordBytes, NdjsonOptions, ParquetOptions};
