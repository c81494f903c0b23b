//! Carries the origin of rows through a query.
//!
//! Each table has a further column at its end that the query cannot name: the row's place in the table, the number of its
//! part, its number there, and its line. The planned query is rewritten so that the column comes out again wherever a row of the output
//! stands for one row of an input: through projections, filters, sorts, limits, windows and subqueries, through a union
//! of all rows, and from the side of a join whose rows are preserved; of an inner join, from the first. Aggregates and
//! DISTINCT merge rows, so what they give has no such column, and the query itself is its origin.
//!
//! The place only ever grows, so a table is sorted by its column. The engine is told: a join puts rows that found nothing
//! after those that did, unless it knows of an order that it must keep.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, StructArray, UInt32Array, UInt64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, UInt32Type, UInt64Type};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, Result, ScalarValue};
use datafusion::datasource::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::logical_plan::{TableScanBuilder, Union};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, SortExpr};

use crate::component::{Mixed, Origins, Part};

/// The name of the column. No parser lets it through unquoted, and no table has it.
const COLUMN: &str = "\u{1}origin";

/// The column's type: place, part, row, line.
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

/// What a table with the column is sorted by.
pub(super) fn order() -> SortExpr {
    Expr::Column(Column::new_unqualified(COLUMN)).sort(true, true)
}

/// The parts that rows came from, numbered.
#[derive(Debug, Default)]
pub(super) struct Parts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    /// The names as they were last handed out.
    shared: Arc<[Arc<str>]>,
}

impl Known {
    fn number(&mut self, name: &Arc<str>) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }
}

impl Parts {
    /// The origins of an input's rows as the column of their table, in which they stand from `first` on.
    pub(super) fn column(&self, origins: &Origins, first: u64) -> ArrayRef {
        let mut known = self.known();
        let (rows, lines) = origins.columns();
        let parts: UInt32Array = match origins.mixed() {
            None => vec![known.number(&origins.part().name); rows.len()].into(),
            Some(mixed) => {
                let numbers: Vec<u32> = mixed.names.iter().map(|name| known.number(name)).collect();
                mixed
                    .index
                    .values()
                    .iter()
                    .map(|index| numbers[*index as usize])
                    .collect()
            }
        };
        let lines = match lines {
            Some(lines) => lines.clone(),
            None => UInt64Array::new_null(rows.len()),
        };
        let places: UInt64Array = (first..first + rows.len() as u64).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(places),
            Arc::new(parts),
            Arc::new(rows.clone()),
            Arc::new(lines),
        ];
        Arc::new(StructArray::new(fields(), columns, None))
    }

    /// The origins of output rows out of the column, as far as there is one: of the others, the row is the `first`,
    /// `first + 1`, … that `query` made.
    pub(super) fn origins(
        &self,
        column: Option<&ArrayRef>,
        query: &Arc<Part>,
        first: u64,
        rows: usize,
    ) -> Origins {
        let own = Origins::consecutive(query.clone(), first, rows);
        let Some(column) = column.and_then(|column| column.as_struct_opt()) else {
            return own;
        };
        let children = (
            column.column(1).as_primitive_opt::<UInt32Type>(),
            column.column(2).as_primitive_opt::<UInt64Type>(),
            column.column(3).as_primitive_opt::<UInt64Type>(),
        );
        let (Some(parts), Some(numbers), Some(lines)) = children else {
            return own;
        };
        let mut known = self.known();
        let (parts, numbers, lines) = match column.nulls() {
            Some(nulls) if nulls.null_count() > 0 => {
                let here = known.number(&query.name);
                let parts = pick(nulls, |row| parts.value(row), |_| here);
                let numbers = pick(nulls, |row| numbers.value(row), |row| first + row as u64);
                let lines = UInt64Array::new(
                    lines.values().clone(),
                    NullBuffer::union(lines.nulls(), Some(nulls)),
                );
                (parts.into(), numbers.into(), lines)
            }
            _ => (parts.clone(), numbers.clone(), lines.clone()),
        };
        if known.shared.len() < known.names.len() {
            known.shared = known.names.as_slice().into();
        }
        let lines = (lines.null_count() < lines.len()).then_some(lines);
        Origins::of_columns(query.clone(), numbers, lines).mixed_with(Mixed {
            names: known.shared.clone(),
            index: parts,
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pick<T>(nulls: &NullBuffer, value: impl Fn(usize) -> T, other: impl Fn(usize) -> T) -> Vec<T> {
    (0..nulls.len())
        .map(|row| {
            if nulls.is_valid(row) {
                value(row)
            } else {
                other(row)
            }
        })
        .collect()
}

/// The plan with the column at its end; `None` if its rows are not rows of an input. `carrying` gives, for a table of
/// the query, the one with the column.
pub(super) fn carry(
    plan: &LogicalPlan,
    carrying: &dyn Fn(&LogicalPlan) -> Option<Arc<dyn TableProvider>>,
) -> Result<Option<LogicalPlan>> {
    match carried(plan, carrying)? {
        Some(found) => at_its_end(plan, found).map(Some),
        None => Ok(None),
    }
}

/// The plan with the column somewhere.
fn carried(
    plan: &LogicalPlan,
    carrying: &dyn Fn(&LogicalPlan) -> Option<Arc<dyn TableProvider>>,
) -> Result<Option<LogicalPlan>> {
    let with_input = |input: &LogicalPlan| -> Result<Option<LogicalPlan>> {
        let Some(input) = carried(input, carrying)? else {
            return Ok(None);
        };
        plan.with_new_exprs(plan.expressions(), vec![input]).map(Some)
    };
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(table) = carrying(plan) else {
                return Ok(None);
            };
            let scan = TableScanBuilder::new(scan.table_name.clone(), provider_as_source(table))
                .with_filters(scan.filters.clone())
                .with_fetch(scan.fetch)
                .build()?;
            Ok(Some(LogicalPlan::TableScan(scan)))
        }
        LogicalPlan::Projection(projection) => {
            let Some(input) = carried(&projection.input, carrying)? else {
                return Ok(None);
            };
            let mut exprs = projection.expr.clone();
            exprs.extend(column_of(&input).map(Expr::Column));
            Projection::try_new(exprs, Arc::new(input))
                .map(|projection| Some(LogicalPlan::Projection(projection)))
        }
        LogicalPlan::Filter(node) => with_input(&node.input),
        LogicalPlan::Sort(node) => with_input(&node.input),
        LogicalPlan::Limit(node) => with_input(&node.input),
        LogicalPlan::Window(node) => with_input(&node.input),
        LogicalPlan::SubqueryAlias(node) => with_input(&node.input),
        LogicalPlan::Join(join) => {
            let sides: &[usize] = match join.join_type {
                JoinType::Inner => &[0, 1],
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => &[0],
                JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => &[1],
                JoinType::Full => &[],
            };
            let inputs = [&join.left, &join.right];
            for side in sides {
                if let Some(found) = carried(inputs[*side], carrying)? {
                    let mut inputs = inputs.map(|input| input.as_ref().clone());
                    inputs[*side] = found;
                    return plan.with_new_exprs(plan.expressions(), inputs.into()).map(Some);
                }
            }
            Ok(None)
        }
        LogicalPlan::Union(union) => {
            let mut any = false;
            let mut inputs = Vec::new();
            for input in &union.inputs {
                inputs.push(Arc::new(match carry(input, carrying)? {
                    Some(found) => {
                        any = true;
                        found
                    }
                    None => without(input)?,
                }));
            }
            if !any {
                return Ok(None);
            }
            Ok(Some(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
        }
        _ => Ok(None),
    }
}

/// The columns of `plan`, and then the one that `found` has more.
fn at_its_end(plan: &LogicalPlan, found: LogicalPlan) -> Result<LogicalPlan> {
    let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    exprs.extend(column_of(&found).map(Expr::Column));
    Projection::try_new(exprs, Arc::new(found)).map(LogicalPlan::Projection)
}

/// The plan with a column that says nothing.
fn without(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let null = ScalarValue::try_from(field().data_type())?;
    exprs.push(Expr::Literal(null, None).alias(COLUMN));
    Projection::try_new(exprs, Arc::new(plan.clone())).map(LogicalPlan::Projection)
}

fn column_of(plan: &LogicalPlan) -> Option<Column> {
    plan.schema()
        .columns()
        .into_iter()
        .find(|column| column.name == COLUMN)
}

/// The tables whose rows go through the plan one to one or not at all, by their number; `None` if there is none, or it
/// makes other rows of them. `number` gives the number of the table that is scanned.
pub(super) fn passing(
    plan: &LogicalPlan,
    number: &dyn Fn(&LogicalPlan) -> Option<usize>,
) -> Option<Vec<usize>> {
    match plan {
        LogicalPlan::TableScan(_) => Some(vec![number(plan)?]),
        LogicalPlan::Projection(node) => passing(&node.input, number),
        LogicalPlan::Filter(node) => passing(&node.input, number),
        LogicalPlan::Sort(node) => passing(&node.input, number),
        LogicalPlan::Limit(node) => passing(&node.input, number),
        LogicalPlan::Window(node) => passing(&node.input, number),
        LogicalPlan::SubqueryAlias(node) => passing(&node.input, number),
        LogicalPlan::Union(union) => {
            let mut all = Vec::new();
            for input in &union.inputs {
                for table in passing(input, number)? {
                    // Whose rows come twice.
                    if all.contains(&table) {
                        return None;
                    }
                    all.push(table);
                }
            }
            Some(all)
        }
        _ => None,
    }
}

/// Whether each row can be worked on alone: one table, picked, computed and filtered.
pub(super) fn row_by_row(plan: &LogicalPlan) -> bool {
    let alone = |exprs: Vec<Expr>| {
        exprs.iter().all(|expr| {
            let mut alone = true;
            let visited = expr.apply(|expr| {
                if matches!(
                    expr,
                    Expr::ScalarSubquery(_)
                        | Expr::Exists(_)
                        | Expr::InSubquery(_)
                        | Expr::SetComparison(_)
                        | Expr::WindowFunction(_)
                        | Expr::Unnest(_)
                ) {
                    alone = false;
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            });
            visited.is_ok() && alone
        })
    };
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Projection(node) => alone(node.expr.clone()) && row_by_row(&node.input),
        LogicalPlan::Filter(node) => alone(vec![node.predicate.clone()]) && row_by_row(&node.input),
        LogicalPlan::SubqueryAlias(node) => row_by_row(&node.input),
        _ => false,
    }
}
