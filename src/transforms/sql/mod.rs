//! One SQL query over the inputs as tables: joins, windows, de-duplication, unions.
//!
//! ```text
//! Input ──▶ Table: one form for all chunks ──▶ Hub: a log for each table ──▶ DataFusion's plan ──▶ chunks with origins
//!                                               memory, then a nameless file      │
//!                                               ◀──────── asks for rows ──────────┘
//! ```
//!
//! The plan pulls: rows are taken from the input only while it waits for some. What comes for a table that is not read
//! yet waits in that table's log, in memory up to a share of `memory_limit` and then in a file, so a join cannot starve
//! one side of it, and memory stays flat. The plan's own operators have the rest of the memory and spill too.
//!
//! - A query that only picks, computes and filters the rows of one table is run chunk by chunk: order is kept and
//!   checkpoints stay in their place. For every other query the checkpoints wait until all of its output was sent.
//! - Rows keep their origin through everything that neither merges nor doubles them: see `origin`.
//! - Rows are counted as they are: a query that lets each row through or not has `filtered` rows; one that makes new
//!   rows has `combined` rows taken in and `derived` rows made. When it fails, what it took in was not sent.
//! - No message holds a value of a row: what the engine says about values is replaced, see `failure`.
//!
//! The files: `config` the settings; `query` the text, checked without input; `place` where in it something stands;
//! `session` the engine and the tables' names; `plan` the query planned for columns that are known; `origin` the columns
//! that carry origins; `table` the form of a table; `intake` what comes; `hub`, `scratch` what waits; `failure` errors; `transform` the work.

mod config;
mod failure;
mod hub;
mod intake;
mod origin;
mod place;
mod plan;
mod query;
mod scratch;
mod session;
mod table;
mod transform;

#[cfg(test)]
use config::SqlConfig;

#[cfg(test)]
mod tests;
