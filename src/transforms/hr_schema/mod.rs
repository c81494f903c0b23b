//! Maps records to the rows of an HR scenario: SQL expressions in, typed HR rows out.
//!
//! For each chunk: `where` decides which rows are meant, the fields' expressions are evaluated over whole columns,
//! and the kind of each field ([`FieldKind`](crate::hr::FieldKind)) decides what happens to its values. A row with a
//! fault in any field is put aside with all its faults; the others go on. Chunks do not depend on one another, so
//! they are mapped in parallel, and leave in the order in which they came.
//!
//! - `config`: the settings and their check, without input.
//! - `plan`: the settings planned for the columns of one input.
//! - `transform`: the work on a chunk.

mod config;
mod plan;
mod transform;

pub use config::{FieldConfig, HrSchemaConfig};
