//! `sql` runs one SQL query over its inputs as tables: joins, windows, deduplication, unions.
//!
//! ```text
//! Inputs ──▶ Table: one schema for all chunks ──▶ Buffers: rows that wait ──▶ DataFusion plan ──▶ chunks with origins
//! ```
//!
//! The plan pulls rows. Rows of a table that it does not read yet wait in memory, then in a file: no input can block
//! another. Error messages contain no value of a row; see `error`. Knows `component`, `disk` and DataFusion.

mod buffer;
mod config;
mod error;
mod inputs;
mod origin;
mod plan;
mod query;
mod session;
mod table;
mod transform;

#[cfg(test)]
use config::SqlConfig;

#[cfg(test)]
mod tests;
