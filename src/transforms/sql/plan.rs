//! A query, planned for tables whose columns are known.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{DataFusionError, SchemaError, TableReference};
use datafusion::datasource::source_as_provider;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};

use super::buffer::Buffers;
use super::error::{self, Position, QueryError};
use super::origin;
use super::query::Query;
use super::session::{self, Limits};
use super::table::Table;
use crate::error::{Error, Result};
use crate::suggest::{quoted, suggestion};

#[derive(Debug)]
pub(super) struct Plan {
    state: SessionState,
    physical: Arc<dyn ExecutionPlan>,
    /// The output, without the origin column.
    pub(super) schema: SchemaRef,
    /// Whether the output ends with the origin column.
    pub(super) origins: bool,
    /// Whether each row can be processed alone.
    pub(super) row_by_row: bool,
    /// The inputs whose rows are only filtered. Rows of the others are combined. If empty, the output is derived.
    pub(super) filtered: Vec<usize>,
    /// Whether it holds rows in memory for a join that could be sorted instead.
    pub(super) hash_joins: bool,
    limits: Limits,
    sorts: usize,
}

impl Plan {
    /// Plans `query` over `tables`. `sort_joins`: see [`session::state`].
    pub(super) async fn new(
        name: &str,
        query: &Query,
        tables: &[&Table],
        limits: &Limits,
        sort_joins: bool,
    ) -> Result<Self> {
        let engine = |error: DataFusionError| error::engine(&error);
        let mismatch = |error: DataFusionError| schema_mismatch(name, query, tables, &error);
        let state = session::state(Some(limits), sort_joins).map_err(engine)?;
        // Each table without and with the origin column.
        let mut providers = Vec::new();
        for (input, table) in tables.iter().enumerate() {
            let plain = session::table(input, table.schema.clone(), vec![]).map_err(engine)?;
            let order = vec![origin::order()];
            let tracked = session::table(input, table.with_origin.clone(), order).map_err(engine)?;
            providers.push((plain, tracked));
        }
        let plain = providers.iter().map(|(plain, _)| plain.clone());
        let names = tables.iter().map(|table| table.name.clone());
        session::register(&state, names.zip(plain)).map_err(engine)?;
        let input_of = |plan: &LogicalPlan| -> Option<usize> {
            let LogicalPlan::TableScan(scan) = plan else {
                return None;
            };
            let provider = source_as_provider(&scan.source).ok()?;
            providers
                .iter()
                .position(|(plain, _)| Arc::ptr_eq(plain, &provider))
        };
        let statement = query.statement.clone();
        let logical = state.statement_to_plan(statement).await.map_err(mismatch)?;
        let schema = output_schema(name, &logical)?;
        let table_of = |plan: &LogicalPlan| input_of(plan).map(|input| providers[input].1.clone());
        let tracked = origin::track(&logical, &table_of).map_err(engine)?;
        let physical = state
            .create_physical_plan(tracked.as_ref().unwrap_or(&logical))
            .await
            .map_err(mismatch)?;
        let filtered = origin::filtered(&logical, &input_of);
        let mut plan = Self {
            schema,
            origins: tracked.is_some(),
            row_by_row: !filtered.is_empty() && origin::row_by_row(&logical),
            filtered,
            hash_joins: false,
            limits: limits.clone(),
            sorts: 0,
            physical: physical.clone(),
            state,
        };
        plan.inspect(&physical);
        Ok(plan)
    }

    fn inspect(&mut self, node: &Arc<dyn ExecutionPlan>) {
        let join = node.downcast_ref::<HashJoinExec>();
        self.hash_joins |= join.is_some_and(|join| !join.null_aware);
        self.sorts += usize::from(node.is::<SortExec>());
        node.children().into_iter().for_each(|child| self.inspect(child));
    }

    pub(super) fn start(&self, buffers: Arc<Buffers>) -> Result<SendableRecordBatchStream, DataFusionError> {
        // Some nodes keep state of an earlier run.
        let fresh = datafusion::physical_plan::execution_plan::reset_plan_states(self.physical.clone())?;
        let task = session::task(&self.state, &self.limits, self.sorts, buffers);
        execute_stream(fresh, task)
    }
}

/// The output, in types that the rest of the pipeline supports.
fn output_schema(name: &str, plan: &LogicalPlan) -> Result<SchemaRef> {
    let fields = plan.schema().fields().iter();
    let fields = fields.map(|field| Field::new(field.name(), without_views(field.data_type()), true));
    let fields: Vec<Field> = fields.collect();
    let mut seen = BTreeSet::new();
    let names = fields.iter().map(Field::name);
    let duplicates: BTreeSet<&String> = names.filter(|name| !seen.insert(*name)).collect();
    if duplicates.is_empty() {
        return Ok(Arc::new(Schema::new(fields)));
    }
    Err(Error::input(format!(
        "the query of the transform `{name}` returns several columns with the same name: {}",
        quoted(duplicates)
    ))
    .with_hint("name the columns instead of `*`, and rename duplicates with AS"))
}

/// Replaces the view types that the engine prefers.
fn without_views(kind: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        let kind = without_views(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(kind))
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

/// The query does not match the columns. No row was read, so the engine's message contains no value.
fn schema_mismatch(name: &str, query: &Query, tables: &[&Table], error: &DataFusionError) -> Error {
    let reason = explain(query, tables, error);
    let error = Error::input(format!(
        "the query of the transform `{name}` does not match the columns of its inputs"
    ))
    .with_source(std::io::Error::other(reason.message));
    match reason.hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn explain(query: &Query, tables: &[&Table], error: &DataFusionError) -> QueryError {
    let mut position = None;
    let mut link = Some(error);
    while let Some(DataFusionError::Diagnostic(diagnostic, inner)) = link {
        let start = diagnostic.span.map(|span| span.start);
        position = start.map(|start| Position::new(start.line, start.column));
        link = Some(inner);
    }
    let root = error.find_root();
    let DataFusionError::SchemaError(schema, _) = root else {
        return explain_text(query, tables, root, position);
    };
    match &**schema {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let of = field.relation.as_ref();
            let known = known_columns(of, valid_fields, tables);
            let of = of.map_or_else(String::new, |table| format!(" in `{}`", table.table()));
            let position = query.position_of(&field.name).or(position);
            QueryError::new(position, format!("unknown column `{}`{of}", field.name))
                .hint(suggestion(&field.name, known.iter().map(String::as_str)))
        }
        SchemaError::AmbiguousReference { field } => QueryError::new(
            query.position_of(&field.name).or(position),
            format!("the column `{}` is in several tables", field.name),
        )
        .hint(format!("write the table before it, such as `t.{}`", field.name)),
        _ => explain_text(query, tables, root, position),
    }
}

/// Errors that the engine reports only as text.
fn explain_text(
    query: &Query,
    tables: &[&Table],
    root: &DataFusionError,
    position: Option<Position>,
) -> QueryError {
    let message = root.strip_backtrace();
    let rest = message.split_once("Field ").map(|(_, rest)| rest);
    if let Some((field, _)) = rest.and_then(|rest| rest.split_once(" not found in struct")) {
        let columns = tables.iter().flat_map(|table| table.schema.fields());
        let known: BTreeSet<String> = columns.flat_map(|column| fields_in(column.data_type())).collect();
        let position = query.position_of_field(field).or(position);
        return QueryError::new(position, format!("unknown field `{field}` of this column"))
            .hint(suggestion(field, known.iter().map(String::as_str)));
    }
    if let Some((_, expression)) = message.split_once("Physical plan does not support logical expression ") {
        let position = query.position_of_function_in(expression).or(position);
        // The rest of the message describes internals of the engine.
        if !expression.starts_with("WindowFunction") {
            return QueryError::new(position, "an expression of this kind is not allowed here");
        }
        let message = "a window function (with OVER) is not allowed in WHERE, HAVING or GROUP BY";
        return QueryError::new(position, message)
            .hint("compute it in a subquery and filter its result".to_owned());
    }
    let (own, text) = clean_message(&message);
    let position = position.or(own).or_else(|| query.position_of_function_in(&text));
    match (position, root, query.names.casts.as_slice()) {
        // A literal in the query that cannot be cast.
        (None, DataFusionError::ArrowError(..), [only]) => QueryError::new(Some(*only), text),
        (None, DataFusionError::ArrowError(..), several) => {
            let positions = error::list(several);
            let hint = positions.map(|positions| format!("the query converts values at {positions}"));
            QueryError::new(None, text).hint(hint)
        }
        _ => QueryError::new(position, text),
    }
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

/// A message of the engine without its prefixes, and its position.
fn clean_message(message: &str) -> (Option<Position>, String) {
    if let Some(text) = unknown_signature(message) {
        return (None, text);
    }
    let prefixes = [
        "Error during planning: ",
        "Schema error: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "Arrow error: ",
        "Cast error: ",
    ];
    let text = prefixes
        .iter()
        .fold(message, |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
    let (text, position) = Position::split_off(text);
    let text = text.trim_end_matches('.');
    // As our own messages start; `UNION` and the like stay.
    let mut chars = text.chars();
    let text = match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    };
    (position, text)
}

/// What is wrong with the arguments of a function. The engine puts its attempts before it.
fn unknown_signature(text: &str) -> Option<String> {
    let (_, text) = text.split_once("No function matches the given name and argument types '")?;
    let (call, rest) = text.split_once('\'')?;
    let candidates = rest.split_once("Candidate functions:").unwrap_or_default().1;
    let candidates = candidates.lines().map(str::trim);
    let candidates: Vec<&str> = candidates.filter(|line| !line.is_empty()).collect();
    if candidates.is_empty() {
        return Some(format!("unknown function `{call}`"));
    }
    Some(format!(
        "unknown function `{call}`; available: {}",
        candidates.join(", ")
    ))
}

/// The columns that are valid there: those the engine knows, and those of the parts, which sources may not have read.
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
        let mut fields = table.schema.fields().iter();
        // The engine does not say which table an alias stands for.
        let may_be_meant = nothing_known
            || of.is_none_or(|of| of.table() == &*table.name)
            || fields.any(|field| known.contains(field.name()));
        let shown = table.part.shown_columns();
        if may_be_meant {
            known.extend(shown.iter().cloned());
        }
        if shown.len() < table.part.columns.len() {
            // Its column names look like values.
            for field in table.schema.fields() {
                known.remove(field.name());
            }
        }
    }
    known
}
