//! `sql` runs one SQL query over its inputs as tables: joins, windows, deduplication, unions.
//!
//! ```text
//! Inputs ──▶ Table: one schema for all chunks ──▶ Buffers: rows that wait ──▶ DataFusion plan ──▶ chunks with origins
//! ```
//!
//! All rows of all inputs are received, in memory and then in a file, before the plan reads them: no input can block
//! another. Only a query that handles each row alone runs chunk by chunk. Error messages contain no value of a row; see `error`. Knows `component`, `disk` and DataFusion.

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
mod tests;
