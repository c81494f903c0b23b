//! The settings planned for the columns of one input.

use std::sync::{Arc, PoisonError};

use arrow::datatypes::{DataType, Schema};
use datafusion::physical_expr::expressions::cast;
use datafusion::physical_plan::PhysicalExpr;

use super::config::Check;
use super::transform::Mapper;
use crate::component::{Chunk, Part};
use crate::error::{Error, Result};
use crate::suggest::quoted;
use crate::transforms::ParsedExpression;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(super) fields: Vec<Arc<dyn PhysicalExpr>>,
}

impl Mapper {
    /// The plan for the rows of `chunk`.
    pub(super) fn plan(&self, chunk: &Chunk) -> Result<Arc<Plan>> {
        let schema = chunk.batch.schema();
        let last = self.last_plan.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, plan)) = &*last
            && *known == schema
        {
            return Ok(plan.clone());
        }
        drop(last);
        let plan = Arc::new(self.make(&schema, chunk.origins.part())?);
        let mut last = self.last_plan.write().unwrap_or_else(PoisonError::into_inner);
        *last = Some((schema, plan.clone()));
        Ok(plan)
    }

    fn make(&self, schema: &Schema, part: &Part) -> Result<Plan> {
        let mut problems: Vec<String> = Vec::new();
        let mut plan = |what: &str, expression: &ParsedExpression, check: Option<&Check>| {
            let planned = self.plan_one(expression, check, schema, part.shown_columns());
            planned
                .map_err(|problem| problems.push(format!("{what}: {problem}")))
                .ok()
        };
        let filter = self.checked.filter.as_ref();
        let filter = filter.map(|filter| plan("where", filter, None));
        let fields = self.checked.fields.iter();
        let fields: Vec<_> = fields
            .filter_map(|field| plan(field.field.name, &field.expression, Some(&field.check)))
            .collect();
        if problems.is_empty() {
            let filter = filter.flatten();
            return Ok(Plan { filter, fields });
        }
        let (name, part_name) = (&self.cx.name, &part.name);
        let error = Error::input(format!(
            "the transform `{name}` does not fit the columns of `{part_name}`"
        ))
        .with_source(std::io::Error::other(problems.join("; ")));
        Err(match part.shown_columns() {
            [] => error.with_hint(
                "the column names look like values: a file without a header row needs `header: false` and `columns` in \
                 its `format`",
            ),
            columns => error.with_hint(format!("its columns are: {}", column_list(columns))),
        })
    }

    /// Plans one expression. `check`: what its field requires; without it, a condition.
    fn plan_one(
        &self,
        expression: &ParsedExpression,
        check: Option<&Check>,
        schema: &Schema,
        shown_columns: &[String],
    ) -> Result<Arc<dyn PhysicalExpr>, String> {
        let planned = self
            .engine
            .plan(expression, schema, shown_columns)
            .map_err(|error| {
                let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                format!("{error}{hint}")
            })?;
        let found = planned
            .data_type(schema)
            .map_err(|error| error.strip_backtrace())?;
        if let Some(expected) = mismatch(check, &found) {
            return Err(format!("`{}` is {found}, and {expected}", expression.sql()));
        }
        // The cast is part of the plan, so that a value that has no text fails alone, like any other.
        let is_text = matches!(check, Some(Check::Upn | Check::Text { .. }));
        if is_text && found != DataType::Utf8 {
            return cast(planned, schema, DataType::Utf8).map_err(|error| error.strip_backtrace());
        }
        Ok(planned)
    }
}

/// What is expected instead of the type `found`; `None` if it fits.
fn mismatch(check: Option<&Check>, found: &DataType) -> Option<&'static str> {
    use DataType::{Binary, BinaryView, Boolean, LargeBinary, Null};
    match check {
        Some(Check::Date(_)) => None,
        None if matches!(found, Boolean | Null) => None,
        None => Some("a condition must be true or false"),
        Some(_) if found.is_nested() || matches!(found, Binary | LargeBinary | BinaryView) => {
            Some("the field requires text; select a part of it, such as `column['key']`")
        }
        Some(_) => None,
    }
}

fn column_list(columns: &[String]) -> String {
    const MAX_SHOWN: usize = 40;
    let list = quoted(columns.iter().take(MAX_SHOWN));
    match columns.len().saturating_sub(MAX_SHOWN) {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}
