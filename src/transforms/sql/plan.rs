//! A query planned for tables whose columns are known.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, SchemaError, TableReference};
use datafusion::datasource::source_as_provider;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};

use super::failure::shown;
use super::hub::Hub;
use super::origin;
use super::place::Place;
use super::query::{Query, Wrong};
use super::session::{self, Limits};
use super::table::Table;
use crate::config::suggestion;
use crate::error::{Error, Result};

/// A query that can be run.
#[derive(Debug)]
pub(super) struct Plan {
    state: SessionState,
    physical: Arc<dyn ExecutionPlan>,
    /// What comes out, without the column of origins.
    pub(super) schema: SchemaRef,
    /// Whether that column comes out too, as the last.
    pub(super) origins: bool,
    /// Whether each row is worked on alone.
    pub(super) row_by_row: bool,
    /// The inputs whose rows go through or are left out. Of the others, rows are combined; with none, rows are derived.
    pub(super) passing: BTreeSet<usize>,
    /// How often each input is read.
    pub(super) readers: Vec<usize>,
    /// Whether inputs may be read more often than that.
    pub(super) recursive: bool,
    /// Whether something is held in memory for a join that could be sorted instead.
    pub(super) hash_joins: bool,
    limits: Limits,
    sorts: usize,
}

impl Plan {
    /// Plans `query` over `tables`. `sorted_joins`: see [`session::state`].
    ///
    /// # Errors
    /// It does not fit the tables' columns.
    pub(super) async fn make(
        name: &str,
        query: &Query,
        tables: &[&Table],
        limits: &Limits,
        sorted_joins: bool,
    ) -> Result<Self> {
        let state = session::state(Some(limits), sorted_joins).map_err(|error| unexpected(&error))?;
        let fits = |error: DataFusionError| misfit(name, query, tables, &error);
        let mut plain: Vec<(Arc<str>, Arc<dyn TableProvider>)> = Vec::new();
        let mut carrying: Vec<Arc<dyn TableProvider>> = Vec::new();
        let mut streams = Vec::new();
        for (input, table) in tables.iter().enumerate() {
            let make = |schema: &SchemaRef, order| {
                session::table(input, schema.clone(), order).map_err(|error| unexpected(&error))
            };
            let (provider, stream) = make(&table.schema, vec![])?;
            plain.push((table.name.clone(), provider));
            streams.push((stream, input));
            let (provider, stream) = make(&table.with_origin, vec![origin::order()])?;
            carrying.push(provider);
            streams.push((stream, input));
        }
        session::register(&state, &plain).map_err(|error| unexpected(&error))?;
        let number = |plan: &LogicalPlan| -> Option<usize> {
            let LogicalPlan::TableScan(scan) = plan else {
                return None;
            };
            let provider = source_as_provider(&scan.source).ok()?;
            plain.iter().position(|(_, table)| Arc::ptr_eq(table, &provider))
        };
        let logical = state
            .statement_to_plan(query.statement.clone())
            .await
            .map_err(fits)?;
        let schema = plain_schema(name, &logical)?;
        let with = |plan: &LogicalPlan| number(plan).map(|input| carrying[input].clone());
        let carried = origin::carry(&logical, &with).map_err(|error| unexpected(&error))?;
        let origins = carried.is_some();
        let physical = state
            .create_physical_plan(carried.as_ref().unwrap_or(&logical))
            .await
            .map_err(fits)?;
        let passing: BTreeSet<usize> = origin::passing(&logical, &number)
            .unwrap_or_default()
            .into_iter()
            .collect();
        let mut plan = Self {
            schema,
            origins,
            row_by_row: !passing.is_empty() && origin::row_by_row(&logical),
            passing,
            readers: vec![0; tables.len()],
            recursive: false,
            hash_joins: false,
            limits: limits.clone(),
            sorts: 0,
            physical: physical.clone(),
            state,
        };
        plan.look_at(&physical, &streams);
        Ok(plan)
    }

    fn look_at(&mut self, node: &Arc<dyn ExecutionPlan>, streams: &[(Arc<dyn PartitionStream>, usize)]) {
        if let Some(scan) = node.downcast_ref::<StreamingTableExec>() {
            for partition in scan.partitions() {
                for (stream, input) in streams {
                    if std::ptr::addr_eq(Arc::as_ptr(stream), Arc::as_ptr(partition)) {
                        self.readers[*input] += 1;
                    }
                }
            }
        }
        self.recursive |= node.is::<RecursiveQueryExec>();
        self.hash_joins |= node
            .downcast_ref::<HashJoinExec>()
            .is_some_and(|join| !join.null_aware);
        self.sorts += usize::from(node.is::<SortExec>());
        for child in node.children() {
            self.look_at(child, streams);
        }
    }

    /// Begins to run it over the rows of `hub`.
    pub(super) fn start(&self, hub: Arc<Hub>) -> Result<SendableRecordBatchStream, DataFusionError> {
        // Some nodes remember what they did.
        let fresh = datafusion::physical_plan::execution_plan::reset_plan_states(self.physical.clone())?;
        execute_stream(fresh, session::task(&self.state, &self.limits, self.sorts, hub))
    }
}

/// What comes out, in types that the rest of the pipeline knows.
fn plain_schema(name: &str, plan: &LogicalPlan) -> Result<SchemaRef> {
    let fields: Vec<Field> = plan
        .schema()
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), plain(field.data_type()), true))
        .collect();
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> = fields
        .iter()
        .map(|field| field.name().as_str())
        .filter(|name| !seen.insert(*name))
        .collect();
    if !twice.is_empty() {
        let names: Vec<String> = twice.iter().map(|name| format!("`{name}`")).collect();
        return Err(Error::input(format!(
            "the query of the transform `{name}` gives more than one column of a name: {}",
            names.join(", ")
        ))
        .with_hint("name what is meant instead of `*`, and give columns of one name others with AS"));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Without the views that the engine prefers inside.
fn plain(kind: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        Arc::new(field.as_ref().clone().with_data_type(plain(field.data_type())))
    };
    match kind {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::ListView(item) => DataType::List(field(item)),
        DataType::LargeListView(item) => DataType::LargeList(field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        other => other.clone(),
    }
}

fn unexpected(error: &DataFusionError) -> Error {
    Error::unexpected("the SQL engine could not be set up")
        .with_source(std::io::Error::other(error.strip_backtrace()))
}

/// The query does not fit the columns. No row was looked at, so the engine's text holds no value.
fn misfit(name: &str, query: &Query, tables: &[&Table], error: &DataFusionError) -> Error {
    let wrong = explain(query, tables, error);
    let error = Error::input(format!(
        "the query of the transform `{name}` does not fit the columns of its inputs"
    ))
    .with_source(std::io::Error::other(wrong.message));
    match wrong.hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn explain(query: &Query, tables: &[&Table], error: &DataFusionError) -> Wrong {
    let mut place = None;
    let mut link = Some(error);
    while let Some(DataFusionError::Diagnostic(diagnostic, inner)) = link {
        place = diagnostic
            .span
            .map(|span| Place::new(span.start.line, span.start.column));
        link = Some(inner);
    }
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => match &**schema {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let of = field.relation.as_ref();
                let known = known_columns(of, valid_fields, tables);
                let of = of
                    .map(|table| format!(" in `{}`", table.table()))
                    .unwrap_or_default();
                Wrong::new(
                    query.place_of(&field.name).or(place),
                    format!("there is no column `{}`{of}", field.name),
                )
                .hint(suggestion(
                    &field.name,
                    known.iter().map(String::as_str).collect::<Vec<_>>(),
                ))
            }
            SchemaError::AmbiguousReference { field } => Wrong::new(
                query.place_of(&field.name).or(place),
                format!("the column `{}` is in more than one table", field.name),
            )
            .hint(format!(
                "put the table's name before it, such as `t.{}`",
                field.name
            )),
            _ => other(query, tables, error, place),
        },
        _ => other(query, tables, error, place),
    }
}

/// Of what the engine tells as a text only.
fn other(query: &Query, tables: &[&Table], error: &DataFusionError, place: Option<Place>) -> Wrong {
    let root = error.find_root();
    let whole = root.strip_backtrace();
    if let Some(field) = whole
        .split_once("Field ")
        .and_then(|(_, rest)| rest.split_once(" not found in struct"))
        .map(|(field, _)| field)
    {
        let known: BTreeSet<String> = tables
            .iter()
            .flat_map(|table| table.schema.fields())
            .flat_map(|column| fields_in(column.data_type()))
            .collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Wrong::new(
            query.place_of_field(field).or(place),
            format!("there is no field `{field}` in this column"),
        )
        .hint(suggestion(field, known));
    }
    if let Some((_, expression)) = whole.split_once("Physical plan does not support logical expression ") {
        let place = query.place_of_function_in(expression).or(place);
        // What follows shows how the engine is made inside.
        return if expression.starts_with("WindowFunction") {
            Wrong::new(
                place,
                "a window function (one with OVER) cannot stand in WHERE, HAVING or GROUP BY",
            )
            .hint("compute it in a subquery, and put the condition around that".to_owned())
        } else {
            Wrong::new(place, "an expression of this kind cannot stand here")
        };
    }
    let (own, text) = text(error);
    let place = place.or(own).or_else(|| query.place_of_function_in(&text));
    if let (None, DataFusionError::ArrowError(..)) = (place, root) {
        // A value written in the query itself that cannot be cast.
        return match query.casts.as_slice() {
            [only] => Wrong::new(Some(*only), text),
            several => Wrong::new(None, text).hint(
                shown(several).map(|places| format!("the query turns values into another type at {places}")),
            ),
        };
    }
    Wrong::new(place, text)
}

/// The names of fields in a type, at any depth.
fn fields_in(kind: &DataType) -> Vec<String> {
    match kind {
        DataType::List(item) | DataType::LargeList(item) => fields_in(item.data_type()),
        DataType::Struct(fields) => fields
            .iter()
            .flat_map(|field| std::iter::once(field.name().clone()).chain(fields_in(field.data_type())))
            .collect(),
        _ => Vec::new(),
    }
}

/// What the engine says, and where.
fn text(error: &DataFusionError) -> (Option<Place>, String) {
    let root = error.find_root().strip_backtrace();
    if let Some(text) = no_such_call(&root) {
        return (None, text);
    }
    let text = [
        "Error during planning: ",
        "Schema error: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "Arrow error: ",
        "Cast error: ",
    ]
    .iter()
    .fold(root.as_str(), |text, start| {
        text.strip_prefix(start).unwrap_or(text)
    });
    let (text, place) = Place::split_off(text);
    (place, lower_start(text.trim_end_matches('.')))
}

/// What is wrong with a function's arguments. The engine puts its attempts before it, and takes some of them for bugs of
/// its own.
fn no_such_call(text: &str) -> Option<String> {
    let (_, text) = text.split_once("No function matches the given name and argument types '")?;
    let (call, rest) = text.split_once('\'')?;
    let known: Vec<&str> = match rest.split_once("Candidate functions:") {
        Some((_, known)) => known
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect(),
        None => Vec::new(),
    };
    let mut text = format!("there is no function `{call}`");
    if !known.is_empty() {
        text.push_str(", but ");
        text.push_str(&known.join(", "));
    }
    Some(text)
}

/// As our own messages begin; `UNION` and the like stay.
fn lower_start(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}

/// The columns that can be named there: those the engine knows, and those of the parts, which sources need not have
/// read.
fn known_columns(
    of: Option<&TableReference>,
    valid: &[datafusion::common::Column],
    tables: &[&Table],
) -> BTreeSet<String> {
    let mut known: BTreeSet<String> = valid
        .iter()
        .filter(|column| of.is_none() || column.relation.as_ref() == of)
        .map(|column| column.name.clone())
        .collect();
    let nothing_known = known.is_empty();
    for table in tables {
        // Behind an alias nobody says which table it is.
        let is_this = match of {
            None => true,
            Some(of) => {
                of.table() == &*table.name
                    || table
                        .schema
                        .fields()
                        .iter()
                        .any(|field| known.contains(field.name()))
                    || nothing_known
            }
        };
        if is_this {
            known.extend(table.part.shown_columns().iter().cloned());
        }
        if table.part.shown_columns().len() < table.part.columns.len() {
            // Its names look like values.
            for field in table.schema.fields() {
                known.remove(field.name());
            }
        }
    }
    known
}
