//! The transforms, and the SQL engine they share.

pub mod hr_schema;
mod sql_expression;

pub use sql_expression::{Engine, ParsedExpression, SqlError};
