//! SQL expressions in DataFusion's dialect. Identifiers keep their case.
//!
//! [`Engine::parse`] is pure and finds what needs no input (syntax, unknown functions, aggregates, subqueries);
//! [`Engine::plan`] finds the rest (unknown columns, types).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::config::Dialect;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::{Expr, ObjectNamePart, visit_expressions};

use crate::suggest::suggestion;

/// Plans SQL expressions. One per run, in which `now()` is constant.
#[derive(Debug, Clone)]
pub(crate) struct Engine(Arc<SessionState>);

#[derive(Debug, Clone)]
pub(crate) struct ParsedExpression {
    sql: String,
    columns: BTreeSet<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SqlError {
    message: String,
    hint: Option<String>,
}

impl SqlError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    fn from_engine(error: &DataFusionError) -> Self {
        // The kind ("Error during planning") does not help the author of the expression.
        Self::new(
            error
                .strip_backtrace()
                .trim_start_matches("Error during planning: ")
                .trim_end_matches('.'),
        )
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl Engine {
    /// An engine whose `now()` is the current time.
    pub(crate) fn new() -> Self {
        let mut config = SessionConfig::new().with_target_partitions(1);
        config.options_mut().sql_parser.enable_ident_normalization = false;
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .build();
        state.mark_start_execution();
        Self(Arc::new(state))
    }

    pub(crate) fn parse(&self, sql: &str) -> Result<ParsedExpression, SqlError> {
        if sql.trim().is_empty() {
            return Err(SqlError::new("the expression is empty"));
        }
        let with_alias = self
            .0
            .sql_to_expr_with_alias(sql, &Dialect::Generic)
            .map_err(|error| {
                let text = error.strip_backtrace();
                let text = text.strip_prefix("SQL error: ").unwrap_or(&text);
                let text = ["ParserError(\"", "TokenizerError(\""]
                    .iter()
                    .fold(text, |text, start| text.strip_prefix(start).unwrap_or(text))
                    .trim_end_matches("\")");
                SqlError::new(format!("not a valid SQL expression: {text}"))
            })?;
        if with_alias.alias.is_some() {
            return Err(SqlError::new("an expression has no name: remove `AS …`"));
        }
        let mut columns = BTreeSet::new();
        let found = visit_expressions(&with_alias.expr, |expr| {
            match expr {
                Expr::Identifier(ident) => {
                    columns.insert(ident.value.clone());
                }
                Expr::CompoundIdentifier(parts) => {
                    columns.extend(parts.first().map(|ident| ident.value.clone()));
                }
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                    return ControlFlow::Break(SqlError::new(
                        "a subquery cannot be used here: an expression works on a single row",
                    ));
                }
                Expr::Function(function) => {
                    if let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice()
                        && let Err(error) = self.check_function(&name.value)
                    {
                        return ControlFlow::Break(error);
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        match found {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(ParsedExpression {
                sql: sql.to_owned(),
                columns,
            }),
        }
    }

    fn check_function(&self, name: &str) -> Result<(), SqlError> {
        let lower = name.to_lowercase();
        if self.0.scalar_functions().contains_key(&lower) {
            return Ok(());
        }
        if self.0.udafs().contains(&lower) || self.0.udwfs().contains(&lower) {
            return Err(SqlError::new(format!(
                "`{name}` works on many rows, an expression on a single one"
            )));
        }
        let known: Vec<&str> = self.0.scalar_functions().keys().map(String::as_str).collect();
        Err(SqlError {
            message: format!("there is no function `{name}`"),
            hint: suggestion(&lower, known),
        })
    }

    /// Plans an expression for rows of `schema`. `all_columns`: every column of the input, for suggestions.
    pub(crate) fn plan(
        &self,
        expression: &ParsedExpression,
        schema: &Schema,
        all_columns: &[String],
    ) -> Result<Arc<dyn PhysicalExpr>, SqlError> {
        for column in &expression.columns {
            if schema.column_with_name(column).is_none() {
                let known = all_columns.iter().map(String::as_str);
                return Err(SqlError {
                    message: format!("the input has no column `{column}`"),
                    hint: suggestion(column, known),
                });
            }
        }
        let schema = DFSchema::try_from(schema.clone()).map_err(|error| SqlError::from_engine(&error))?;
        let logical = self
            .0
            .create_logical_expr(&expression.sql, &schema)
            .map_err(|error| SqlError::from_engine(&error))?;
        // Some functions (`coalesce`, `nvl`) exist only as what the simplifier makes of them.
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(self.0.config_options().clone())
            .with_query_execution_start_time(self.0.execution_props().query_execution_start_time)
            .build();
        let simplifier = ExprSimplifier::new(context);
        simplifier
            .coerce(logical, &schema)
            .and_then(|expr| simplifier.simplify(expr))
            .and_then(|expr| self.0.create_physical_expr(expr, &schema))
            .map_err(|error| SqlError::from_engine(&error))
    }
}

/// Whether a planned expression failed because of a value (text that is not a number, a division by zero).
pub(super) fn is_about_a_value(error: &DataFusionError) -> bool {
    matches!(
        error.find_root(),
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_)
    )
}

impl ParsedExpression {
    pub(crate) fn sql(&self) -> &str {
        &self.sql
    }

    pub(crate) fn columns(&self) -> &BTreeSet<String> {
        &self.columns
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn rejects_invalid_expressions_without_input() {
        let engine = Engine::new();
        for (sql, expected) in [
            ("lower(trim(x)", "not a valid SQL expression"),
            ("lowr(x)", "there is no function `lowr` (did you mean `lower`"),
            ("max(x)", "works on many rows"),
            ("(select 1)", "subquery"),
            ("x as y", "AS"),
            (" ", "empty"),
        ] {
            let error = engine.parse(sql).unwrap_err();
            let shown = format!("{error} ({})", error.hint().unwrap_or("-"));
            assert!(shown.contains(expected), "{shown}");
        }
    }

    #[test]
    fn identifiers_are_case_sensitive_and_functions_are_not() {
        let engine = Engine::new();
        let sql = r#"LOWER("Work Email") || Abc || addr['city'] || name.first"#;
        let parsed = engine.parse(sql).unwrap();
        assert!(parsed.columns().iter().eq(["Abc", "Work Email", "addr", "name"]));
        let schema = Schema::new(vec![Field::new("abc", DataType::Utf8, true)]);
        let plan = |sql: &str| engine.plan(&engine.parse(sql).unwrap(), &schema, &[]);
        assert!(plan("upper(Abc)").is_err() && plan("Upper(abc)").is_ok());
    }
}
