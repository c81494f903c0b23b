//! The transforms, and the SQL engine they share.

pub(crate) mod hr_schema;
pub(crate) mod sql;
mod sql_expression;

use sql_expression::is_about_a_value;
pub(crate) use sql_expression::{Engine, ParsedExpression, SqlError};
