//! The settings planned for the columns of one input.

use std::sync::{Arc, PoisonError, RwLock};

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::physical_expr::expressions::cast;
use datafusion::physical_plan::PhysicalExpr;

use super::config::{Check, Checked};
use crate::component::Part;
use crate::error::{Error, Result};
use crate::transforms::Engine;

/// Physical expressions over one schema.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
    /// In the order of the checked fields.
    pub(super) fields: Vec<Arc<dyn PhysicalExpr>>,
}

/// Plans, and remembers: all chunks of a file share a schema, and so do most files.
#[derive(Debug)]
pub(super) struct Planner {
    engine: Engine,
    known: RwLock<Vec<(SchemaRef, Arc<Plan>)>>,
}

/// Schemas remembered. Files of one pattern rarely have more forms than this.
const REMEMBERED: usize = 8;

impl Planner {
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            engine,
            known: RwLock::new(Vec::new()),
        }
    }

    /// The plan for rows of `schema`.
    ///
    /// # Errors
    /// All columns that are missing and all types that do not fit, with the part they are missing in.
    pub(super) fn plan(
        &self,
        name: &str,
        checked: &Checked,
        schema: &SchemaRef,
        part: &Part,
    ) -> Result<Arc<Plan>> {
        let find = |known: &[(SchemaRef, Arc<Plan>)]| {
            let same = |other: &SchemaRef| Arc::ptr_eq(other, schema) || other == schema;
            known
                .iter()
                .find(|(other, _)| same(other))
                .map(|(_, plan)| plan.clone())
        };
        if let Some(plan) = find(&self.known.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(plan);
        }
        let plan = Arc::new(self.make(name, checked, schema, part)?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() == REMEMBERED {
            known.remove(0);
        }
        known.push((schema.clone(), plan.clone()));
        Ok(plan)
    }

    fn make(&self, name: &str, checked: &Checked, schema: &Schema, part: &Part) -> Result<Plan> {
        let mut problems: Vec<String> = Vec::new();
        let mut plan_one = |what: &str, expression, check: Option<&Check>| {
            let planned = match self.engine.plan(expression, schema, part.shown_columns()) {
                Ok(planned) => planned,
                Err(error) => {
                    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                    problems.push(format!("{what}: {error}{hint}"));
                    return None;
                }
            };
            match planned.data_type(schema) {
                Ok(found) => {
                    if let Some(expected) = unfit(check, &found) {
                        problems.push(format!(
                            "{what}: `{}` gives {found}, and {expected}",
                            expression.sql()
                        ));
                        return None;
                    }
                    // In the plan, so that a value that has no text fails alone, like any other.
                    let is_text = matches!(check, Some(Check::Upn | Check::Text { .. }));
                    if is_text && found != DataType::Utf8 {
                        return cast(planned, schema, DataType::Utf8)
                            .map_err(|error| problems.push(format!("{what}: {}", error.strip_backtrace())))
                            .ok();
                    }
                }
                Err(error) => {
                    problems.push(format!("{what}: {}", error.strip_backtrace()));
                    return None;
                }
            }
            Some(planned)
        };
        let filter = checked
            .filter
            .as_ref()
            .map(|filter| plan_one("where", filter, None));
        let fields: Vec<_> = checked
            .fields
            .iter()
            .map(|field| plan_one(field.field.name, &field.expression, Some(&field.check)))
            .collect();
        let planned: Option<Vec<_>> = fields.into_iter().collect();
        match (filter, planned) {
            (None, Some(fields)) => Ok(Plan { filter: None, fields }),
            (Some(Some(filter)), Some(fields)) => Ok(Plan {
                filter: Some(filter),
                fields,
            }),
            _ => {
                let error = Error::input(format!(
                    "the transform `{name}` does not fit the columns of `{}`",
                    part.name
                ))
                .with_source(std::io::Error::other(problems.join("; ")));
                Err(match part.shown_columns() {
                    [] => error.with_hint(
                        "what should be the names of columns looks like values: a file without a header row needs \
                         `header: false` and `columns` in its `format`",
                    ),
                    columns => error.with_hint(format!("its columns are: {}", column_list(columns))),
                })
            }
        }
    }
}

/// Why a value of type `found` cannot become the field; `None` when it can. Without a check: a condition.
fn unfit(check: Option<&Check>, found: &DataType) -> Option<&'static str> {
    match check {
        None => {
            (!matches!(found, DataType::Boolean | DataType::Null)).then_some("a condition is true or false")
        }
        Some(Check::Date(_)) => None,
        Some(Check::Upn | Check::Text { .. }) => (found.is_nested()
            || matches!(
                found,
                DataType::Binary | DataType::LargeBinary | DataType::BinaryView
            ))
        .then_some("the field takes text; pick a part of it, such as `column['key']`"),
    }
}

fn column_list(columns: &[String]) -> String {
    const SHOWN: usize = 40;
    let mut list = columns
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if columns.len() > SHOWN {
        list.push_str(&format!(" and {} more", columns.len() - SHOWN));
    }
    list
}
