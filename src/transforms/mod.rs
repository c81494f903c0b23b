//! The transforms, and the SQL engine they share.

pub mod hr_schema;
pub mod sql;
mod sql_expression;

use sql_expression::is_about_a_value;
pub use sql_expression::{Engine, ParsedExpression, SqlError};
