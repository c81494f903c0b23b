//! Tracks the origin of rows through a query.
//!
//! Each table gets a last column that the query cannot name: the row's place in the table, the number of its part, its
//! number there, and its line. The plan is rewritten so that the column is in the output wherever an output row stands
//! for one input row: through projections, filters, sorts, limits, windows, subqueries and unions, and from the preserved
//! side of a join (the first of an inner join). Aggregates and DISTINCT merge rows; their origin is the query.
//!
//! The place only grows, and the engine knows that a table is sorted by it. Otherwise a join would put rows without a
//! match after the others.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray, UInt32Array, UInt64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, UInt32Type, UInt64Type};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, JoinType, Result, ScalarValue};
use datafusion::datasource::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::logical_plan::{TableScanBuilder, Union};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, SortExpr};

use crate::component::{Mixed, Origins, Part};

/// The name of the column: not valid in SQL, and in no table.
const COLUMN: &str = "\u{1}origin";

pub(super) fn field() -> Field {
    Field::new(COLUMN, DataType::Struct(fields()), true)
}

fn fields() -> Fields {
    Fields::from(vec![
        // First: structs are compared field by field.
        Field::new("place", DataType::UInt64, false),
        Field::new("part", DataType::UInt32, false),
        Field::new("row", DataType::UInt64, false),
        Field::new("line", DataType::UInt64, true),
    ])
}

/// The sort order of a table with the column.
pub(super) fn order() -> SortExpr {
    Expr::Column(Column::new_unqualified(COLUMN)).sort(true, true)
}

/// Numbers the parts that rows came from.
#[derive(Debug, Default)]
pub(super) struct Parts {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    /// The names, as last used in origins.
    shared: Arc<[Arc<str>]>,
}

impl Parts {
    fn number(&mut self, name: &Arc<str>) -> u32 {
        let names = &mut self.names;
        *self.numbers.entry(name.clone()).or_insert_with(|| {
            names.push(name.clone());
            u32::try_from(names.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// The column for the rows of a chunk; its first row is row `first` of the table.
    pub(super) fn column(&mut self, origins: &Origins, first: u64) -> ArrayRef {
        let (rows, lines) = origins.columns();
        let numbers: UInt32Array = match origins.mixed() {
            None => vec![self.number(&origins.part().name); rows.len()].into(),
            Some(mixed) => {
                let numbers: Vec<u32> = mixed.names.iter().map(|name| self.number(name)).collect();
                let index = mixed.index.values().iter();
                index.map(|index| numbers[*index as usize]).collect()
            }
        };
        let lines = lines.map_or_else(|| UInt64Array::new_null(rows.len()), Clone::clone);
        let places: UInt64Array = (first..first + rows.len() as u64).collect();
        let rows = rows.clone();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(places),
            Arc::new(numbers),
            Arc::new(rows),
            Arc::new(lines),
        ];
        Arc::new(StructArray::new(fields(), columns, None))
    }

    /// The origins of output rows. Rows without a value in the column are rows `first`, `first + 1`, … of `query`.
    pub(super) fn origins(
        &mut self,
        column: Option<&ArrayRef>,
        query: &Arc<Part>,
        first: u64,
        rows: usize,
    ) -> Origins {
        let Some(column) = column.and_then(|column| column.as_struct_opt()) else {
            return Origins::consecutive(query.clone(), first, rows);
        };
        let parts = column.column(1).as_primitive::<UInt32Type>();
        let numbers = column.column(2).as_primitive::<UInt64Type>();
        let lines = column.column(3).as_primitive::<UInt64Type>();
        let here = self.number(&query.name);
        let valid = |row: &usize| column.is_valid(*row);
        let index = (0..rows).map(|row| if valid(&row) { parts.value(row) } else { here });
        let index = index.collect();
        let number = |row: usize| match valid(&row) {
            true => numbers.value(row),
            false => first + row as u64,
        };
        let numbers = (0..rows).map(number).collect();
        let lines = UInt64Array::new(
            lines.values().clone(),
            NullBuffer::union(lines.nulls(), column.nulls()),
        );
        if self.shared.len() < self.names.len() {
            self.shared = self.names.as_slice().into();
        }
        let lines = (lines.null_count() < lines.len()).then_some(lines);
        let names = self.shared.clone();
        Origins::of_columns(query.clone(), numbers, lines).mixed_with(Mixed { names, index })
    }
}

/// For a table of the query, the same table with the column.
type TableOf<'a> = &'a dyn Fn(&LogicalPlan) -> Option<Arc<dyn TableProvider>>;

/// The plan with the column at its end; `None` if its rows are not rows of an input.
pub(super) fn track(plan: &LogicalPlan, table_of: TableOf<'_>) -> Result<Option<LogicalPlan>> {
    let tracked = with_column(plan, table_of)?;
    let at_end = |tracked| with_last(plan, column_of(&tracked).map(Expr::Column), tracked);
    tracked.map(at_end).transpose()
}

/// The plan with the column in any place.
fn with_column(plan: &LogicalPlan, table_of: TableOf<'_>) -> Result<Option<LogicalPlan>> {
    if let Some(input) = row_preserving_input(plan) {
        let Some(input) = with_column(input, table_of)? else {
            return Ok(None);
        };
        if let LogicalPlan::Projection(projection) = plan {
            let mut exprs = projection.expr.clone();
            exprs.extend(column_of(&input).map(Expr::Column));
            let projection = Projection::try_new(exprs, Arc::new(input))?;
            return Ok(Some(LogicalPlan::Projection(projection)));
        }
        return plan.with_new_exprs(plan.expressions(), vec![input]).map(Some);
    }
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(table) = table_of(plan) else {
                return Ok(None);
            };
            let scan = TableScanBuilder::new(scan.table_name.clone(), provider_as_source(table))
                .with_filters(scan.filters.clone())
                .with_fetch(scan.fetch)
                .build()?;
            Ok(Some(LogicalPlan::TableScan(scan)))
        }
        LogicalPlan::Join(join) => {
            let sides: &[usize] = match join.join_type {
                JoinType::Inner => &[0, 1],
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => &[0],
                JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => &[1],
                JoinType::Full => &[],
            };
            let inputs = [&join.left, &join.right];
            for side in sides {
                if let Some(tracked) = with_column(inputs[*side], table_of)? {
                    let mut inputs = inputs.map(|input| input.as_ref().clone());
                    inputs[*side] = tracked;
                    return plan.with_new_exprs(plan.expressions(), inputs.into()).map(Some);
                }
            }
            Ok(None)
        }
        LogicalPlan::Union(union) => {
            let tracked = union.inputs.iter().map(|input| track(input, table_of));
            let tracked: Vec<_> = tracked.collect::<Result<_>>()?;
            if tracked.iter().all(Option::is_none) {
                return Ok(None);
            }
            let null = Expr::Literal(ScalarValue::try_from(field().data_type())?, None).alias(COLUMN);
            let with_null = |input: &LogicalPlan| with_last(input, Some(null.clone()), input.clone());
            let inputs = tracked.into_iter().zip(&union.inputs);
            let inputs = inputs
                .map(|(tracked, input)| tracked.map_or_else(|| with_null(input), Ok).map(Arc::new))
                .collect::<Result<_>>()?;
            Ok(Some(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
        }
        _ => Ok(None),
    }
}

/// The only input of a node that drops and reorders rows at most.
fn row_preserving_input(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    Some(match plan {
        LogicalPlan::Projection(node) => &node.input,
        LogicalPlan::Filter(node) => &node.input,
        LogicalPlan::Sort(node) => &node.input,
        LogicalPlan::Limit(node) => &node.input,
        LogicalPlan::Window(node) => &node.input,
        LogicalPlan::SubqueryAlias(node) => &node.input,
        _ => return None,
    })
}

/// The columns of `plan`, then `origin`, of `input`.
fn with_last(plan: &LogicalPlan, origin: Option<Expr>, input: LogicalPlan) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    Projection::try_new(columns.chain(origin).collect(), Arc::new(input)).map(LogicalPlan::Projection)
}

fn column_of(plan: &LogicalPlan) -> Option<Column> {
    let mut columns = plan.schema().columns().into_iter();
    columns.find(|column| column.name == COLUMN)
}

/// The inputs whose rows the plan only filters: each output row is one input row. Empty if it makes other rows, or reads
/// an input twice. `input_of` gives the input that is scanned.
pub(super) fn filtered(plan: &LogicalPlan, input_of: &dyn Fn(&LogicalPlan) -> Option<usize>) -> Vec<usize> {
    let mut inputs = Vec::new();
    let makes_rows = plan.exists(|node| {
        Ok(match input_of(node) {
            Some(input) if inputs.contains(&input) => true,
            Some(input) => {
                inputs.push(input);
                false
            }
            None => !matches!(node, LogicalPlan::Union(_)) && row_preserving_input(node).is_none(),
        })
    });
    match makes_rows {
        Ok(false) => inputs,
        _ => Vec::new(),
    }
}

/// Whether the plan only filters and computes rows of one table, so that each row can be processed alone.
pub(super) fn row_by_row(plan: &LogicalPlan) -> bool {
    use LogicalPlan::{Filter, Projection, SubqueryAlias, TableScan};
    let needs_other_rows = |expr: &Expr| {
        matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::WindowFunction(_)
                | Expr::Unnest(_)
        )
    };
    let found = plan.exists(|node| {
        let is_simple = matches!(node, TableScan(_) | Projection(_) | Filter(_) | SubqueryAlias(_));
        let mut exprs = node.expressions().into_iter();
        Ok(!is_simple
            || exprs.any(|expr| !matches!(expr.exists(|expr| Ok(needs_other_rows(expr))), Ok(false))))
    });
    matches!(found, Ok(false))
}
