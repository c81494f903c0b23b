//! The work.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use async_trait::async_trait;
use datafusion::common::DataFusionError;
use futures::{StreamExt, TryStreamExt};

use super::failure;
use super::hub::{Hub, Keep};
use super::intake::{Event, Intake};
use super::plan::Plan;
use super::query::Query;
use super::scratch::Scratch;
use super::session::Limits;
use crate::component::{Chunk, Input, Item, Output, Part, Stopped, Transform, TransformContext};
use crate::config::ByteSize;
use crate::error::{Error, Result};

/// Rows in a chunk that is sent.
const CHUNK_ROWS: usize = 8_192;

/// The worker of `sql`.
#[derive(Debug)]
pub(super) struct Sql {
    cx: TransformContext,
    query: Arc<Query>,
    memory_limit: ByteSize,
    limits: Limits,
    /// Bytes of rows that may wait for the plan in memory.
    waiting: usize,
}

/// How the work ended, when it did not fail.
enum Ended {
    Well,
    /// Nobody wants more; whoever stopped has the reason.
    Stopped,
}

impl From<Stopped> for Ended {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What was sent.
struct Sent<'a> {
    out: &'a Output,
    part: Arc<Part>,
    /// Whether rows are made, not passed on.
    derived: bool,
    rows: usize,
    chunks: usize,
}

impl Sql {
    pub(super) fn new(cx: TransformContext, query: Query, memory_limit: ByteSize) -> Self {
        let bytes = usize::try_from(memory_limit.0).unwrap_or(usize::MAX);
        let waiting = bytes / 4;
        Self {
            cx,
            query: Arc::new(query),
            memory_limit,
            limits: Limits {
                operators: bytes - waiting,
                scratch: Scratch::new(&std::env::temp_dir()),
            },
            waiting,
        }
    }

    async fn plan(&self, intake: &Intake<'_>, sorted_joins: bool) -> Result<Plan> {
        let tables: Vec<_> = intake.tables().collect();
        Plan::make(&self.cx.name, &self.query, &tables, &self.limits, sorted_joins).await
    }

    fn failed(&self, hub: &Hub, error: &DataFusionError) -> Error {
        hub.failure().unwrap_or_else(|| {
            let folder = self.limits.scratch.folder();
            failure::of(&self.cx.name, &self.query, self.memory_limit, folder, error)
        })
    }

    async fn work(&self, intake: &mut Intake<'_>, out: &Output) -> Result<Ended> {
        while !intake.is_open() {
            let event = intake.event().await;
            if !intake.take(event).await? {
                return Ok(Ended::Stopped);
            }
            if intake.is_nothing()? {
                for checkpoint in intake.checkpoints.drain(..) {
                    if out.pass_checkpoint(checkpoint).await.is_err() {
                        return Ok(Ended::Stopped);
                    }
                }
                return Ok(Ended::Well);
            }
        }
        let plan = self.plan(intake, false).await?;
        let columns = plan.schema.fields().iter().map(|field| field.name().clone());
        let mut sent = Sent {
            out,
            part: Arc::new(Part {
                name: format!("sql transform {}", self.cx.name).into(),
                columns: columns.collect(),
            }),
            derived: plan.passing.is_empty(),
            rows: 0,
            chunks: 0,
        };
        if plan.row_by_row {
            self.row_by_row(intake, &mut sent, &plan).await
        } else {
            self.whole(intake, &mut sent, plan).await
        }
    }

    /// Runs the query for each chunk; checkpoints stay in their place.
    async fn row_by_row(&self, intake: &mut Intake<'_>, sent: &mut Sent<'_>, plan: &Plan) -> Result<Ended> {
        // Those of parts without rows.
        for checkpoint in std::mem::take(&mut intake.checkpoints) {
            if sent.out.pass_checkpoint(checkpoint).await.is_err() {
                return Ok(Ended::Stopped);
            }
        }
        for batch in intake.hub.take(0).await? {
            if self.one(intake, sent, plan, batch).await?.is_err() {
                return Ok(Ended::Stopped);
            }
        }
        while !intake.over {
            let result = match intake.event().await {
                Event::Cancelled => Err(Stopped),
                Event::Item(_, Item::Checkpoint(checkpoint)) => sent.out.pass_checkpoint(checkpoint).await,
                // The end of the only input comes as the end of all.
                Event::Ended => Ok(()),
                event => match intake.take_chunk(event).await? {
                    Some(batch) => self.one(intake, sent, plan, batch).await?,
                    None => Ok(()),
                },
            };
            if result.is_err() {
                return Ok(Ended::Stopped);
            }
        }
        self.at_least_one(sent, plan).await
    }

    /// Runs the query for one batch.
    async fn one(
        &self,
        intake: &mut Intake<'_>,
        sent: &mut Sent<'_>,
        plan: &Plan,
        batch: RecordBatch,
    ) -> Result<Result<(), Stopped>> {
        let rows = batch.num_rows();
        let hub = Arc::new(Hub::of_one(batch, self.limits.scratch.clone()));
        let stream = plan
            .start(hub.clone())
            .map_err(|error| self.failed(&hub, &error))?;
        let found: Vec<RecordBatch> = stream
            .try_collect()
            .await
            .map_err(|error| self.failed(&hub, &error))?;
        let out: usize = found.iter().map(RecordBatch::num_rows).sum();
        self.cx.counts.filtered(rows - out);
        intake.settle(0, rows - out);
        for batch in found {
            if let Err(stopped) = sent.send(intake, &self.cx, plan, &batch).await? {
                return Ok(Err(stopped));
            }
        }
        Ok(Ok(()))
    }

    /// Runs the query over everything; checkpoints wait for the end.
    async fn whole(&self, intake: &mut Intake<'_>, sent: &mut Sent<'_>, mut plan: Plan) -> Result<Ended> {
        let hub = intake.hub.clone();
        let cancel = self.cx.run.cancel.clone();
        let mut sorted = false;
        'query: loop {
            hub.expect(
                &plan.readers,
                match (plan.recursive, plan.hash_joins && !sorted) {
                    (true, _) => Keep::Always,
                    (false, true) => Keep::UntilAllRead,
                    (false, false) => Keep::WhatIsToBeRead,
                },
            );
            let mut stream = plan
                .start(hub.clone())
                .map_err(|error| self.failed(&hub, &error))?;
            loop {
                let batch = tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Ok(Ended::Stopped),
                    batch = stream.next() => batch,
                    event = intake.event(), if hub.is_hungry() && !intake.over => {
                        if !intake.take(event).await? {
                            return Ok(Ended::Stopped);
                        }
                        continue;
                    }
                    () = hub.demand() => continue,
                };
                match batch {
                    None => break 'query,
                    Some(Ok(batch)) => {
                        if !plan.recursive {
                            hub.let_pass();
                        }
                        if sent.send(intake, &self.cx, &plan, &batch).await?.is_err() {
                            return Ok(Ended::Stopped);
                        }
                    }
                    Some(Err(error)) => {
                        let again = plan.hash_joins && !sorted && sent.chunks == 0 && hub.has_all();
                        if !(again && failure::is_out_of_memory(&error)) {
                            return Err(self.failed(&hub, &error));
                        }
                        tracing::debug!(transform = %self.cx.name, "a join does not fit into memory; it is sorted instead");
                        sorted = true;
                        break;
                    }
                }
            }
            drop(stream);
            plan = self.plan(intake, sorted).await?;
        }
        // What the query did not want to see is taken all the same: its checkpoints wait behind it.
        intake.wanted = false;
        hub.expect(&vec![0; plan.readers.len()], Keep::WhatIsToBeRead);
        while !intake.over {
            let event = intake.event().await;
            if !intake.take(event).await? {
                return Ok(Ended::Stopped);
            }
        }
        if let Ended::Stopped = self.at_least_one(sent, &plan).await? {
            return Ok(Ended::Stopped);
        }
        self.count(intake, &plan);
        for checkpoint in std::mem::take(&mut intake.checkpoints) {
            if sent.out.pass_checkpoint(checkpoint).await.is_err() {
                return Ok(Ended::Stopped);
            }
        }
        Ok(Ended::Well)
    }

    /// Counts what became of the rows taken in, when all went well.
    fn count(&self, intake: &mut Intake<'_>, plan: &Plan) {
        let mut left_out = 0;
        let taken: Vec<usize> = intake.taken().collect();
        for (input, rows) in taken.into_iter().enumerate() {
            if plan.passing.contains(&input) {
                left_out += rows;
            } else {
                self.cx.counts.combined(rows);
            }
            intake.settle(input, rows);
        }
        self.cx.counts.filtered(left_out - intake.passed);
        intake.passed = 0;
    }

    /// An empty chunk, if nothing was sent: what comes after looks at the columns.
    async fn at_least_one(&self, sent: &mut Sent<'_>, plan: &Plan) -> Result<Ended> {
        if sent.chunks == 0 {
            let batch = RecordBatch::new_empty(plan.schema.clone());
            let origins = crate::component::Origins::consecutive(sent.part.clone(), 1, 0);
            sent.chunks += 1;
            if let Err(stopped) = sent.out.send(Chunk::records(batch, origins)).await {
                return Ok(stopped.into());
            }
        }
        Ok(Ended::Well)
    }
}

impl Sent<'_> {
    /// Sends rows that came out of the plan.
    async fn send(
        &mut self,
        intake: &mut Intake<'_>,
        cx: &TransformContext,
        plan: &Plan,
        batch: &RecordBatch,
    ) -> Result<Result<(), Stopped>> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(Ok(()));
        }
        let width = plan.schema.fields().len();
        let columns: Vec<ArrayRef> = batch
            .columns()
            .iter()
            .zip(plan.schema.fields())
            .map(|(column, field)| {
                if column.data_type() == field.data_type() {
                    Ok(column.clone())
                } else {
                    cast(column, field.data_type())
                }
            })
            .collect::<Result<_, _>>()
            .map_err(|_| {
                Error::unexpected("the columns of a query have types that the plan did not promise")
            })?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let records = RecordBatch::try_new_with_options(plan.schema.clone(), columns, &options)
            .map_err(|_| Error::unexpected("the columns of a query are not what the plan promised"))?;
        let origin = batch.columns().get(width).filter(|_| plan.origins);
        let origins = intake
            .parts
            .origins(origin, &self.part, self.rows as u64 + 1, rows);
        let chunk = Chunk::records(records, origins);
        for first in (0..rows).step_by(CHUNK_ROWS) {
            let chunk = chunk.slice(first, CHUNK_ROWS.min(rows - first));
            let rows = chunk.num_rows();
            if self.derived {
                cx.counts.derived(rows);
            } else {
                intake.passed += rows;
            }
            self.rows += rows;
            self.chunks += 1;
            if let Err(stopped) = self.out.send(chunk).await {
                return Ok(Err(stopped));
            }
        }
        Ok(Ok(()))
    }
}

#[async_trait]
impl Transform for Sql {
    async fn run(self: Box<Self>, input: &mut Input, out: Output) -> Result<()> {
        let names = self.cx.inputs.iter().map(|input| input.name.clone());
        let hub = Arc::new(Hub::new(
            self.cx.inputs.len(),
            self.waiting,
            self.limits.scratch.clone(),
        ));
        let cancel = self.cx.run.cancel.clone();
        let mut intake = Intake::new(input, names, cancel, self.query.clone(), hub);
        let ended = self.work(&mut intake, &out).await;
        // After a failure or a stop: what came in and is in nothing that was passed on.
        let left: usize = intake.taken().sum();
        self.cx.counts.not_sent(left - intake.passed);
        ended.map(|_| ())
    }
}
