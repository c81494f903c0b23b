//! Runs the query and sends its rows.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use async_trait::async_trait;
use datafusion::common::DataFusionError;
use futures::{StreamExt, TryStreamExt};

use super::buffer::Buffers;
use super::config::MemoryLimit;
use super::error;
use super::inputs::Inputs;
use super::plan::Plan;
use super::query::Query;
use super::session::Limits;
use crate::component::{Chunk, Input, Item, Origins, Output, Part, Transform, TransformContext};
use crate::error::{Error, ErrorKind, Result};

const CHUNK_ROWS: usize = 8_192;

#[derive(Debug)]
pub(super) struct Sql {
    cx: TransformContext,
    query: Arc<Query>,
    memory_limit: MemoryLimit,
    limits: Limits,
}

/// The output, and what was sent to it.
struct Sent<'a> {
    out: &'a Output,
    part: Arc<Part>,
    /// Whether the query makes new rows instead of passing rows on.
    derived: bool,
    rows: usize,
    chunks: usize,
}

impl Sql {
    pub(super) fn new(cx: TransformContext, query: Query, memory_limit: MemoryLimit) -> Self {
        let limits = Limits {
            // The rest is for rows that wait for the plan.
            operator_bytes: memory_limit.as_usize() / 4 * 3,
            folder: cx.run.scratch_folder(),
        };
        Self {
            cx,
            query: Arc::new(query),
            memory_limit,
            limits,
        }
    }

    async fn plan(&self, inputs: &Inputs<'_>, sort_joins: bool) -> Result<Plan> {
        let tables: Vec<_> = inputs.tables().collect();
        Plan::new(&self.cx.name, &self.query, &tables, &self.limits, sort_joins).await
    }

    fn failed(&self, buffers: &Buffers, error: &DataFusionError) -> Error {
        let folder: &Path = &self.limits.folder;
        let failed = || error::failed(&self.cx.name, &self.query, self.memory_limit, folder, error);
        buffers.take_error().unwrap_or_else(failed)
    }

    async fn work(&self, inputs: &mut Inputs<'_>, out: &Output) -> Result<()> {
        if !inputs.find_columns().await? {
            return pass_checkpoints(inputs, out).await;
        }
        let plan = self.plan(inputs, false).await?;
        let columns = plan.schema.fields().iter().map(|field| field.name().clone());
        let mut sent = Sent {
            out,
            part: Arc::new(Part {
                name: format!("sql transform {}", self.cx.name).into(),
                columns: columns.collect(),
            }),
            derived: plan.filtered.is_empty(),
            rows: 0,
            chunks: 0,
        };
        match plan.row_by_row {
            true => self.run_row_by_row(inputs, &mut sent, &plan).await,
            false => self.run_all(inputs, &mut sent, plan).await,
        }
    }

    /// Runs the query for each chunk, so that checkpoints keep their place.
    async fn run_row_by_row(&self, inputs: &mut Inputs<'_>, sent: &mut Sent<'_>, plan: &Plan) -> Result<()> {
        // Of parts without rows.
        pass_checkpoints(inputs, sent.out).await?;
        for batch in inputs.buffers.take(0).await? {
            self.run_batch(inputs, sent, plan, batch).await?;
        }
        while let Some((input, item)) = inputs.next().await? {
            match item {
                Item::Checkpoint(checkpoint) => sent.out.pass_checkpoint(checkpoint).await?,
                Item::Chunk(chunk) => {
                    let batch = inputs.fit(input, &chunk)?;
                    self.run_batch(inputs, sent, plan, batch).await?;
                }
            }
        }
        sent.send_schema(plan).await
    }

    async fn run_batch(
        &self,
        inputs: &mut Inputs<'_>,
        sent: &mut Sent<'_>,
        plan: &Plan,
        batch: RecordBatch,
    ) -> Result<()> {
        let rows = batch.num_rows();
        let mut buffers = Buffers::new(1, self.limits.folder.clone(), usize::MAX);
        buffers.push(0, batch).await?;
        let buffers = Arc::new(buffers);
        let failed = |error: DataFusionError| self.failed(&buffers, &error);
        let stream = plan.start(buffers.clone()).map_err(failed)?;
        let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(failed)?;
        let selected: usize = batches.iter().map(RecordBatch::num_rows).sum();
        self.cx.counts.filtered(rows - selected);
        inputs.inputs[0].rows -= rows - selected;
        for batch in batches {
            sent.send(inputs, &self.cx, plan, &batch).await?;
        }
        Ok(())
    }

    /// Runs the query over all rows; checkpoints wait for the end.
    async fn run_all(&self, inputs: &mut Inputs<'_>, sent: &mut Sent<'_>, mut plan: Plan) -> Result<()> {
        inputs.receive_all().await?;
        let nothing = Buffers::new(0, self.limits.folder.clone(), 0);
        let buffers = Arc::new(std::mem::replace(&mut inputs.buffers, nothing));
        while let Err(error) = self.run_plan(inputs, sent, &plan, &buffers).await? {
            if !plan.hash_joins || sent.chunks > 0 || !error::is_out_of_memory(&error) {
                return Err(self.failed(&buffers, &error));
            }
            tracing::debug!(transform = %self.cx.name, "a join does not fit into memory and is sorted instead");
            plan = self.plan(inputs, true).await?;
            plan.hash_joins = false;
        }
        sent.send_schema(&plan).await?;
        self.count(inputs, &plan);
        pass_checkpoints(inputs, sent.out).await
    }

    /// Runs the plan once; the inner error is one of the engine.
    async fn run_plan(
        &self,
        inputs: &mut Inputs<'_>,
        sent: &mut Sent<'_>,
        plan: &Plan,
        buffers: &Arc<Buffers>,
    ) -> Result<Result<(), DataFusionError>> {
        let cancel = &self.cx.run.cancel;
        let stream = match plan.start(buffers.clone()) {
            Ok(stream) => stream.take_until(cancel.cancelled()),
            Err(error) => return Ok(Err(error)),
        };
        let mut stream = std::pin::pin!(stream);
        while let Some(batch) = stream.next().await {
            match batch {
                Ok(batch) => sent.send(inputs, &self.cx, plan, &batch).await?,
                Err(error) => return Ok(Err(error)),
            }
        }
        match cancel.is_cancelled() {
            true => Err(Error::interrupted()),
            false => Ok(Ok(())),
        }
    }

    /// Adds the received rows to the counters after a successful run.
    fn count(&self, inputs: &mut Inputs<'_>, plan: &Plan) {
        let mut candidates = 0;
        for (number, input) in inputs.inputs.iter_mut().enumerate() {
            let rows = std::mem::take(&mut input.rows);
            match plan.filtered.contains(&number) {
                true => candidates += rows,
                false => self.cx.counts.combined(rows),
            }
        }
        self.cx
            .counts
            .filtered(candidates - std::mem::take(&mut inputs.sent));
    }
}

async fn pass_checkpoints(inputs: &mut Inputs<'_>, out: &Output) -> Result<()> {
    for checkpoint in std::mem::take(&mut inputs.checkpoints) {
        out.pass_checkpoint(checkpoint).await?;
    }
    Ok(())
}

impl Sent<'_> {
    /// Sends an empty chunk if none was sent: the next component needs the columns.
    async fn send_schema(&mut self, plan: &Plan) -> Result<()> {
        if self.chunks == 0 {
            let batch = RecordBatch::new_empty(plan.schema.clone());
            let origins = Origins::consecutive(self.part.clone(), 1, 0);
            self.chunks += 1;
            self.out.send(Chunk::records(batch, origins)).await?;
        }
        Ok(())
    }

    async fn send(
        &mut self,
        inputs: &mut Inputs<'_>,
        cx: &TransformContext,
        plan: &Plan,
        batch: &RecordBatch,
    ) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let records = to_schema(plan, batch)
            .map_err(|_| Error::unexpected("the columns of a query differ from the schema of its plan"))?;
        let origin = batch.columns().get(plan.schema.fields().len());
        let origin = origin.filter(|_| plan.origins);
        let first = self.rows as u64 + 1;
        let origins = inputs.parts.origins(origin, &self.part, first, rows);
        let chunk = Chunk::records(records, origins);
        for first in (0..rows).step_by(CHUNK_ROWS) {
            let chunk = chunk.slice(first, CHUNK_ROWS.min(rows - first));
            let rows = chunk.num_rows();
            if self.derived {
                cx.counts.derived(rows);
            } else {
                inputs.sent += rows;
            }
            self.rows += rows;
            self.chunks += 1;
            self.out.send(chunk).await?;
        }
        Ok(())
    }
}

/// The columns of the query, in the types that the plan declares.
fn to_schema(plan: &Plan, batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let fields = plan.schema.fields().iter().zip(batch.columns());
    let columns = fields.map(|(field, column)| cast(column, field.data_type()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(plan.schema.clone(), columns.collect::<Result<_, _>>()?, &options)
}

#[async_trait]
impl Transform for Sql {
    async fn run(self: Box<Self>, input: &mut Input, out: Output) -> Result<()> {
        let buffer_bytes = self.memory_limit.as_usize() / 4;
        let buffers = Buffers::new(self.cx.inputs.len(), self.limits.folder.clone(), buffer_bytes);
        let mut inputs = Inputs::new(input, &self.cx, self.query.clone(), buffers);
        let result = self.work(&mut inputs, &out).await;
        // After an error or a stop: received rows that are in no sent row.
        self.cx.counts.not_sent(inputs.rows() - inputs.sent);
        match result {
            // The run is cancelled, or nothing receives rows anymore.
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }
}
