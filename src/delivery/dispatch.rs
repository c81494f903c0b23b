//! Takes the rows of a sink's inputs, and uploads their batches concurrently.
//!
//! After a transient failure of a batch the next ones are tried, up to
//! [`max_consecutive_failures`](super::Policy::max_consecutive_failures). Any other failure, and a cancelled run, stops: what was
//! not sent gets that outcome at once; uploads in progress are finished, within the grace period if the run was
//! cancelled, and are unknown after it.

mod outcome;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::OptionFuture;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::batch::{Batch, Batcher, Limits};
use super::dedup::DedupIndex;
use super::partition::{Filling, Partition, PartitionState};
use super::service::Verdict;
use super::upload::{PayloadColumns, Progress, UploadTask, Uploader};
use crate::component::{Checkpoint, Chunk, Fault, Input, Item, Origin, Reject, RejectCode};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::RowHash;

pub(crate) struct Dispatcher {
    pub(crate) uploader: Uploader,
    pub(crate) limits: Limits,
    /// Uploads at a time, at least 1.
    pub(crate) concurrency: usize,
}

impl Dispatcher {
    /// Gives every row of `input`, whose inputs are `partitions` in order, an outcome. Cancels the run when it stops
    /// early.
    pub(crate) async fn run(self, partitions: Vec<Partition>, input: &mut Input) -> Result<()> {
        let labels: BTreeSet<&'static str> = partitions.iter().map(|partition| partition.label).collect();
        let uploader = Arc::new(self.uploader);
        let mut run = Run {
            uploader: &uploader,
            limits: self.limits,
            concurrency: self.concurrency,
            partitions: partitions.into_iter().map(PartitionState::new).collect(),
            dedup: None,
            ready: VecDeque::new(),
            uploads: JoinSet::new(),
            in_flight: HashMap::new(),
            last_number: 0,
            resent: HashMap::new(),
            first_failure: None,
            streak: None,
            stopped: None,
        };
        let cx = &uploader.cx;
        match DedupIndex::open(cx, &uploader.policy, labels).await {
            Ok(dedup) => run.dedup = dedup,
            Err(error) => run.stop(error),
        }
        let mut open = true;
        loop {
            run.start_uploads();
            if !open && run.uploads.is_empty() {
                break;
            }
            let deadline = run.stopped.as_ref().and_then(|stopped| stopped.deadline);
            let aborted = OptionFuture::from(deadline.map(tokio::time::sleep_until));
            // A batch that cannot be sent yet holds back the input, so memory stays flat.
            let has_room = run.ready.is_empty();
            tokio::select! {
                biased;
                () = cx.run.cancel.cancelled(), if run.stopped.is_none() => run.stop(Error::interrupted()),
                Some(ended) = run.uploads.join_next_with_id(), if !run.uploads.is_empty() => run.upload_ended(ended),
                Some(()) = aborted, if !run.uploads.is_empty() => {
                    run.uploads.abort_all();
                    if let Some(stopped) = &mut run.stopped {
                        stopped.deadline = None;
                    }
                }
                item = input.next(), if open && has_room => match item {
                    Some((partition, Item::Chunk(chunk))) => run.add_rows(partition, chunk),
                    Some((partition, Item::Checkpoint(checkpoint))) => run.add_checkpoint(partition, checkpoint),
                    None => {
                        open = false;
                        (0..run.partitions.len()).for_each(|partition| run.cut(partition));
                    }
                },
            }
        }
        run.close().await
    }
}

struct Run<'d> {
    uploader: &'d Arc<Uploader>,
    limits: Limits,
    concurrency: usize,
    partitions: Vec<PartitionState>,
    /// `None` without a ledger.
    dedup: Option<DedupIndex>,
    /// Batches that are cut but not sent yet.
    ready: VecDeque<UploadTask>,
    uploads: JoinSet<()>,
    in_flight: HashMap<Id, (Arc<UploadTask>, Progress)>,
    last_number: u64,
    /// Rows resent, by label and index of the earlier batch.
    resent: HashMap<(&'static str, usize), u64>,
    /// The first failure that did not stop the run.
    first_failure: Option<Error>,
    /// The cause of the last failures, and the consecutive batches that failed for it.
    streak: Option<((Verdict, Option<u16>), u32)>,
    stopped: Option<Stopped>,
}

/// Nothing more is sent.
struct Stopped {
    error: Error,
    /// When uploads in progress are aborted, if ever.
    deadline: Option<Instant>,
}

impl Run<'_> {
    fn add_rows(&mut self, partition: usize, chunk: Chunk) {
        let rows = chunk.num_rows();
        if self.stopped.is_some() {
            self.uploader.cx.counts.not_sent(rows);
        } else if let Err(error) = self.fill(partition, chunk) {
            self.uploader.cx.counts.not_sent(rows);
            self.stop(error);
        }
    }

    /// Skips rows that the job has, encodes the others and cuts full batches. On an error no row has an outcome.
    fn fill(&mut self, partition: usize, mut chunk: Chunk) -> Result<()> {
        let label = self.partitions[partition].partition.label;
        let before = chunk.num_rows();
        let mut hashes = Vec::new();
        if let Some(dedup) = &mut self.dedup {
            let selected;
            (selected, hashes) = dedup.select(label, &chunk.batch)?;
            if let Some(selected) = selected {
                chunk = chunk.filter(&selected).map_err(|error| {
                    Error::unexpected("cannot skip rows that were delivered before").with_source(error)
                })?;
            }
        }
        let skipped = before - chunk.num_rows();
        let filling = self.filling(partition, &chunk);
        let encoded = filling.encoder.encode(&chunk.batch)?;
        let columns = filling.columns.clone();
        let (mut full, mut too_large) = (Vec::new(), Vec::new());
        filling.batcher.push(
            &encoded,
            &chunk.origins,
            &hashes,
            |batch| full.push(batch),
            |row| too_large.push(row),
        );
        self.uploader.cx.counts.skipped(skipped);
        let state = &mut self.partitions[partition];
        if skipped > 0
            && !state.warned
            && let Some(dedup) = &self.dedup
            && dedup.has_only_other_headers(label, columns.header)
        {
            state.warned = true;
            tracing::warn!(
                sink = %self.uploader.cx.name, scenario = label,
                "skipping rows that the job accepted under other column names; if those were wrong, run `hrsink ledger forget` to send the rows again"
            );
        }
        for row in too_large {
            if let (Some(dedup), Some(hash)) = (&mut self.dedup, hashes.get(row)) {
                dedup.mark_unsent(label, &[*hash]);
            }
            let message = format!(
                "the row exceeds the maximum size of a batch ({} bytes)",
                self.limits.max_bytes
            );
            self.reject(chunk.origins.at(row), RejectCode::TooLarge, message);
        }
        for batch in full {
            self.queue_batch(partition, batch, columns.clone());
        }
        Ok(())
    }

    fn filling(&mut self, partition: usize, chunk: &Chunk) -> &mut Filling {
        let schema = chunk.batch.schema_ref();
        let current = &self.partitions[partition].filling;
        if current.as_ref().is_some_and(|filling| filling.schema != *schema) {
            self.cut(partition);
            self.partitions[partition].filling = None;
        }
        let (limits, dedup) = (self.limits, self.dedup.as_ref());
        let state = &mut self.partitions[partition];
        let max_bytes = state.max_bytes;
        let (label, encoder) = (state.partition.label, &state.partition.encoder);
        state.filling.get_or_insert_with(|| {
            let encoder = encoder(schema);
            let header = encoder.header();
            let known = dedup.map(|dedup| dedup.header(label, &header));
            let (hash, accepted) = known.unwrap_or((RowHash(0), false));
            let mut batcher = Batcher::new(header, limits);
            batcher.shrink(max_bytes);
            Filling {
                schema: schema.clone(),
                encoder,
                batcher,
                columns: PayloadColumns {
                    header: hash,
                    accepted: Arc::new(accepted.into()),
                },
            }
        })
    }

    fn add_checkpoint(&mut self, partition: usize, checkpoint: Checkpoint) {
        // Dropped, it is not delivered: rows before it were not sent, as in every dry run.
        if self.stopped.is_none() && !self.uploader.cx.run.dry_run {
            self.partitions[partition].add_checkpoint(checkpoint);
        }
    }

    fn cut(&mut self, partition: usize) {
        if let Some(filling) = &mut self.partitions[partition].filling
            && let Some(batch) = filling.batcher.finish()
        {
            let columns = filling.columns.clone();
            self.queue_batch(partition, batch, columns);
        }
    }

    fn queue_batch(&mut self, partition: usize, batch: Batch, columns: PayloadColumns) {
        self.last_number += 1;
        let state = &mut self.partitions[partition];
        state.queue_batch(self.last_number);
        let label = state.partition.label;
        let unknown = self.dedup.as_ref().map(|dedup| dedup.unknown(label));
        self.ready.push_back(UploadTask {
            partition,
            number: self.last_number,
            label,
            batch,
            unknown: unknown.unwrap_or_default(),
            columns,
        });
    }

    fn start_uploads(&mut self) {
        while self.uploads.len() < self.concurrency {
            let Some(task) = self.ready.pop_front() else {
                return;
            };
            // A dry run does everything but send.
            if self.uploader.cx.run.dry_run {
                self.not_sent(&task, task.batch.rows());
                continue;
            }
            self.uploader.cx.in_flight.fetch_add(1, Ordering::Relaxed);
            let (task, progress) = (Arc::new(task), Progress::default());
            let (uploader, sent, shared) = (self.uploader.clone(), task.clone(), progress.clone());
            let upload = async move { uploader.upload(&sent, &shared).await };
            let id = self.uploads.spawn(upload).id();
            self.in_flight.insert(id, (task, progress));
        }
    }

    /// Sends nothing more: cancels the run, and gives what was not sent that outcome.
    fn stop(&mut self, error: Error) {
        match &mut self.stopped {
            // An interrupt cancels the run too; a failure found while finishing says more.
            Some(stopped) if stopped.error.kind() == ErrorKind::Interrupted => stopped.error = error,
            Some(_) => {}
            None => {
                // After a failure of its own, the requests' time-out bounds the wait.
                let interrupted = error.kind() == ErrorKind::Interrupted;
                let deadline = interrupted
                    .then(|| Instant::now().checked_add(self.uploader.cx.run.grace))
                    .flatten();
                self.stopped = Some(Stopped { error, deadline });
            }
        }
        self.uploader.cx.run.cancel.cancel();
        for task in std::mem::take(&mut self.ready) {
            self.not_sent(&task, task.batch.rows());
        }
        for state in &mut self.partitions {
            self.uploader.cx.counts.not_sent(state.pending());
            state.filling = None;
        }
        self.drop_stale_checkpoints();
    }

    fn drop_stale_checkpoints(&mut self) {
        let in_flight = self.in_flight.values().map(|(task, _)| &**task);
        let active: BTreeSet<u64> = in_flight.chain(&self.ready).map(|task| task.number).collect();
        let stopped = self.stopped.is_some();
        for state in self
            .partitions
            .iter_mut()
            .filter(|state| stopped || state.incomplete)
        {
            state.drop_stale_checkpoints(|number| active.contains(&number));
        }
    }

    /// Closes earlier unknown batches; the error that describes the run best.
    async fn close(self) -> Result<()> {
        let failure = self.stopped.map(|stopped| stopped.error).or(self.first_failure);
        if let Some(dedup) = self.dedup {
            let delivered_all = failure.is_none() && !self.uploader.cx.run.partial;
            dedup
                .close(&self.uploader.cx, &self.resent, delivered_all)
                .await?;
        }
        failure.map_or(Ok(()), Err)
    }

    fn reject(&self, origin: Origin, code: RejectCode, message: String) {
        self.uploader.cx.reject(Reject {
            origin,
            component: self.uploader.cx.name.clone(),
            faults: vec![Fault {
                field: None,
                code,
                message: message.into(),
                value: None,
            }],
        });
    }
}
