//! Maps records to the rows of an HR scenario with SQL expressions.
//!
//! For each chunk: `where` filters rows, the fields' expressions are evaluated over whole columns, and the kind of each
//! field ([`FieldKind`](crate::hr::FieldKind)) decides how its values are checked. A row with a fault in any field is
//! rejected with all its faults. Chunks are mapped in parallel and leave in order.

mod config;
mod plan;
mod transform;
