//! The engine for queries: what is switched on and off, and how tables are found by name.

use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::common::JoinType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::SortExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::EmptyRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode, SortMergeJoinExec};
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionConfig;

use super::hub::Hub;
use super::scratch::Scratch;

/// The catalog and the schema of tables whose name has no dot. Nobody writes a blank as a name by accident.
const CATALOG: &str = "hrsink";
const SCHEMA: &str = " ";

/// Most rows in a batch of the engine, and fewest where there is little memory: what is merged from disk needs room for
/// a batch of each file.
const BATCH_ROWS: usize = 8_192;
const LEAST_BATCH_ROWS: usize = 128;

/// Bytes of memory for each row of a batch: a few hundred for the row itself, and room for dozens of batches.
const BYTES_PER_BATCH_ROW: usize = 16 << 10;

/// The part of the memory that the sorts of a plan set aside together for merging. A sort takes twice the size of its rows
/// and, before it spills, needs their keys once more: as much again, if all of a row is key.
const MERGE_SHARE: usize = 3;

/// What a query may use.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Bytes of the engine's operators.
    pub(super) operators: usize,
    /// Where they spill.
    pub(super) scratch: Scratch,
}

/// An engine without tables. `limits`: none when nothing is run with it.
pub(super) fn state(limits: Option<&Limits>, sorted_joins: bool) -> Result<SessionState> {
    let batch_rows = limits.map_or(BATCH_ROWS, |limits| {
        (limits.operators / BYTES_PER_BATCH_ROW).clamp(LEAST_BATCH_ROWS, BATCH_ROWS)
    });
    let mut config = SessionConfig::new()
        // One: order is kept, memory is not divided, and components run beside one another anyway.
        .with_target_partitions(1)
        .with_batch_size(batch_rows)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    let mut rules = PhysicalOptimizer::new().rules;
    let after = rules.iter().position(|rule| rule.name() == "join_selection");
    rules.insert(
        after.map_or(0, |at| at + 1),
        Arc::new(Joins { sorted: sorted_joins }),
    );
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime(limits)?)
        .with_default_features()
        .with_physical_optimizer_rules(rules)
        .build();
    state.mark_start_execution();
    Ok(state)
}

fn runtime(limits: Option<&Limits>) -> Result<Arc<RuntimeEnv>> {
    let Some(limits) = limits else {
        return Ok(Arc::default());
    };
    RuntimeEnvBuilder::new()
        // Several operators of one plan may spill; each gets its share.
        .with_memory_pool(Arc::new(FairSpillPool::new(limits.operators)))
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_temp_file_factory(Arc::new(limits.scratch.clone())),
        )
        .build_arc()
}

/// Makes `tables` known to the engine, each as `"name"` and, when its name has one dot, as `schema.table`.
pub(super) fn register(state: &SessionState, tables: &[(Arc<str>, Arc<dyn TableProvider>)]) -> Result<()> {
    let catalog = Arc::new(MemoryCatalogProvider::new());
    let schema = |name: &str| -> Result<Arc<dyn SchemaProvider>> {
        if let Some(schema) = catalog.schema(name) {
            return Ok(schema);
        }
        let schema: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
        catalog.register_schema(name, schema.clone())?;
        Ok(schema)
    };
    for (name, table) in tables {
        schema(SCHEMA)?.register_table(name.to_string(), table.clone())?;
        if let Some((before, after)) = name.split_once('.')
            && !after.contains('.')
        {
            schema(before)?.register_table(after.to_owned(), table.clone())?;
        }
    }
    schema(SCHEMA)?;
    let catalogs = state.catalog_list();
    catalogs.register_catalog(CATALOG.to_owned(), catalog);
    Ok(())
}

/// One input as a table that is read as its rows come, sorted by `order`: for the planner, and as it stands in the plan.
pub(super) fn table(
    input: usize,
    schema: SchemaRef,
    order: Vec<SortExpr>,
) -> Result<(Arc<dyn TableProvider>, Arc<dyn PartitionStream>)> {
    let stream: Arc<dyn PartitionStream> = Arc::new(TableStream {
        input,
        schema: schema.clone(),
    });
    let table = StreamingTable::try_new(schema, vec![stream.clone()])?.with_sort_order(order);
    Ok((Arc::new(table), stream))
}

/// The rows of one input out of the [`Hub`] of the task.
struct TableStream {
    input: usize,
    schema: SchemaRef,
}

impl fmt::Debug for TableStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TableStream").field(&self.input).finish()
    }
}

impl PartitionStream for TableStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, cx: Arc<TaskContext>) -> SendableRecordBatchStream {
        match cx.session_config().get_extension::<Hub>() {
            Some(hub) => hub.read(self.input, self.schema.clone()),
            None => Box::pin(EmptyRecordBatchStream::new(self.schema.clone())),
        }
    }
}

/// Decides how equal keys are joined, before anything is sorted for it.
///
/// A hash join holds its left side in memory and streams the right one. Without statistics nobody knows which is smaller,
/// so the query decides: what it names first streams, in its order, and what it joins to it is held. That is how joins
/// are written (the rows, then what to look up), and it keeps the order of the rows. A hash join cannot spill; where the
/// held side does not fit, the query is run again with `sorted` joins, which can.
#[derive(Debug)]
struct Joins {
    sorted: bool,
}

impl Joins {
    fn sorted(join: &HashJoinExec) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(SortMergeJoinExec::try_new(
            join.left().clone(),
            join.right().clone(),
            join.on().to_vec(),
            join.filter().cloned(),
            *join.join_type(),
            vec![SortOptions::default(); join.on().len()],
            join.null_equality(),
        )?))
    }
}

impl PhysicalOptimizerRule for Joins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(join) = plan.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(plan));
            };
            // `NOT IN` over nulls is known to the hash join alone.
            if join.null_aware || join.contains_projection() {
                return Ok(Transformed::no(plan));
            }
            if self.sorted {
                return Self::sorted(join).map(Transformed::yes);
            }
            let first_is_held = matches!(
                join.join_type(),
                JoinType::Inner
                    | JoinType::Left
                    | JoinType::LeftSemi
                    | JoinType::LeftAnti
                    | JoinType::LeftMark
            );
            if !first_is_held {
                return Ok(Transformed::no(plan));
            }
            join.swap_inputs(PartitionMode::CollectLeft).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The context in which a plan with so many `sorts` reads from `hub`.
pub(super) fn task(state: &SessionState, limits: &Limits, sorts: usize, hub: Arc<Hub>) -> Arc<TaskContext> {
    let cx = TaskContext::from(state);
    let mut config = cx.session_config().clone().with_extension(hub);
    let reserved = limits.operators / MERGE_SHARE / sorts.max(1);
    config.options_mut().execution.sort_spill_reservation_bytes = reserved;
    Arc::new(cx.with_session_config(config))
}

/// An error of ours on its way through the engine, which finds the real one in the [`Hub`].
pub(super) fn passed() -> DataFusionError {
    DataFusionError::Execution("rows could not be had".to_owned())
}
