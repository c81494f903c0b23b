//! The DataFusion session: options, tables by name, joins, and files that operators spill to.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, TableProvider};
use datafusion::common::JoinType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::spill_file::{SpillFile, SpillWriter, TempFileFactory};
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::SortExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::EmptyRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode, SortMergeJoinExec};
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionConfig;
use futures::Stream;

use super::buffer::Buffers;
use crate::disk::SharedFile;

/// The catalog, and the schema of tables whose name has no dot. Nobody uses a blank as a name by accident.
const CATALOG: &str = "hrsink";
const SCHEMA: &str = " ";

/// Rows in a batch of the engine; fewer with little memory, because merging spilled files needs room for a batch of each.
const MAX_BATCH_ROWS: usize = 8_192;
const MIN_BATCH_ROWS: usize = 128;

/// Bytes of memory for each row of a batch: room for dozens of batches with rows of a few hundred bytes.
const BYTES_PER_BATCH_ROW: usize = 16 << 10;

/// The fraction of the memory that the sorts of a plan together reserve for merging. A sort takes twice the size of its
/// rows and, before it spills, memory for their keys: as much again if the entire row is the key.
const MERGE_SHARE: usize = 3;

/// Bytes read from a spill file at once.
const SPILL_BUFFER_BYTES: usize = 256 << 10;

#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) operator_bytes: usize,
    pub(super) folder: Arc<Path>,
}

/// An engine without tables; without `limits` only for checks. `sort_joins`: see [`JoinRule`].
pub(super) fn state(limits: Option<&Limits>, sort_joins: bool) -> Result<SessionState> {
    let batch_rows = limits.map_or(MAX_BATCH_ROWS, |limits| {
        (limits.operator_bytes / BYTES_PER_BATCH_ROW).clamp(MIN_BATCH_ROWS, MAX_BATCH_ROWS)
    });
    let mut config = SessionConfig::new()
        // One keeps the order and does not divide the memory. Components run in parallel anyway.
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
    rules.insert(after.map_or(0, |at| at + 1), Arc::new(JoinRule { sort_joins }));
    let mut builder = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_physical_optimizer_rules(rules);
    if let Some(limits) = limits {
        let spill = Arc::new(SpillFolder(limits.folder.clone()));
        let runtime = RuntimeEnvBuilder::new()
            // Several operators of one plan may spill; each gets its share.
            .with_memory_pool(Arc::new(FairSpillPool::new(limits.operator_bytes)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_temp_file_factory(spill));
        builder = builder.with_runtime_env(runtime.build_arc()?);
    }
    let mut state = builder.build();
    state.mark_start_execution();
    Ok(state)
}

/// Registers `tables`, each as `"name"` and, if its name has one dot, also as `schema.table`.
pub(super) fn register(
    state: &SessionState,
    tables: impl Iterator<Item = (Arc<str>, Arc<dyn TableProvider>)>,
) -> Result<()> {
    let catalog = Arc::new(MemoryCatalogProvider::new());
    let register = |schema: &str, name: &str, table: Arc<dyn TableProvider>| -> Result<()> {
        if catalog.schema(schema).is_none() {
            catalog.register_schema(schema, Arc::new(MemorySchemaProvider::new()))?;
        }
        if let Some(schema) = catalog.schema(schema) {
            schema.register_table(name.to_owned(), table)?;
        }
        Ok(())
    };
    for (name, table) in tables {
        register(SCHEMA, &name, table.clone())?;
        if let Some((schema, name)) = name.split_once('.')
            && !name.contains('.')
        {
            register(schema, name, table)?;
        }
    }
    state.catalog_list().register_catalog(CATALOG.to_owned(), catalog);
    Ok(())
}

/// An input, sorted by `order`, as a table for the planner.
pub(super) fn table(input: usize, schema: SchemaRef, order: Vec<SortExpr>) -> Result<Arc<dyn TableProvider>> {
    let stream = Arc::new(TableStream(input, schema.clone()));
    let table = StreamingTable::try_new(schema, vec![stream])?;
    Ok(Arc::new(table.with_sort_order(order)))
}

/// The rows of one input, from the [`Buffers`] of the task.
#[derive(Debug)]
struct TableStream(usize, SchemaRef);

impl PartitionStream for TableStream {
    fn schema(&self) -> &SchemaRef {
        &self.1
    }

    fn execute(&self, cx: Arc<TaskContext>) -> SendableRecordBatchStream {
        match cx.session_config().get_extension::<Buffers>() {
            Some(buffers) => buffers.read(self.0, self.1.clone()),
            None => Box::pin(EmptyRecordBatchStream::new(self.1.clone())),
        }
    }
}

/// Decides how equal keys are joined, before sorts are added.
///
/// A hash join holds its left side in memory and streams the right one. Without statistics, the query decides: its first
/// table streams, in its order, and what is joined to it is held. Joins are usually written that way (rows, then lookups).
/// A hash join cannot spill; if the held side does not fit, the query runs again with `sort_joins`, which can.
#[derive(Debug)]
struct JoinRule {
    sort_joins: bool,
}

impl PhysicalOptimizerRule for JoinRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(join) = plan.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(plan));
            };
            use JoinType::{Inner, Left, LeftAnti, LeftMark, LeftSemi};
            let first_is_held = matches!(join.join_type(), Inner | Left | LeftSemi | LeftAnti | LeftMark);
            // Only the hash join handles `NOT IN` over nulls.
            if join.null_aware || join.contains_projection() || !(self.sort_joins || first_is_held) {
                return Ok(Transformed::no(plan));
            }
            if !self.sort_joins {
                return join.swap_inputs(PartitionMode::CollectLeft).map(Transformed::yes);
            }
            let sorted = SortMergeJoinExec::try_new(
                join.left().clone(),
                join.right().clone(),
                join.on().to_vec(),
                join.filter().cloned(),
                *join.join_type(),
                vec![SortOptions::default(); join.on().len()],
                join.null_equality(),
            )?;
            Ok(Transformed::yes(Arc::new(sorted)))
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

/// The context of a plan with so many `sorts` that reads from `buffers`.
pub(super) fn task(
    state: &SessionState,
    limits: &Limits,
    sorts: usize,
    buffers: Arc<Buffers>,
) -> Arc<TaskContext> {
    let cx = TaskContext::from(state);
    let mut config = cx.session_config().clone().with_extension(buffers);
    let reserved = limits.operator_bytes / MERGE_SHARE / sorts.max(1);
    config.options_mut().execution.sort_spill_reservation_bytes = reserved;
    Arc::new(cx.with_session_config(config))
}

/// Creates unnamed files for operators that spill.
#[derive(Debug)]
struct SpillFolder(Arc<Path>);

impl TempFileFactory for SpillFolder {
    fn create_temp_file(&self, _description: &str) -> Result<Arc<dyn SpillFile>> {
        Ok(Arc::new(SharedFile::unnamed(&self.0)?))
    }
}

impl SpillFile for SharedFile {
    fn size(&self) -> Option<u64> {
        Some(self.len())
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        let file = self.clone();
        Ok(Box::pin(futures::stream::try_unfold(0, move |at| {
            let file = file.clone();
            async move {
                let read = tokio::task::spawn_blocking(move || file.read_vec(at, SPILL_BUFFER_BYTES)).await;
                let bytes = read.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))??;
                let next = at + bytes.len() as u64;
                Ok((!bytes.is_empty()).then(|| (Bytes::from(bytes), next)))
            }
        })))
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(self.clone()))
    }
}

impl SpillWriter for SharedFile {
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
