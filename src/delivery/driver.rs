//! Uploads batches, several at a time, and settles what became of their rows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Batch, Batcher, Limits};
use crate::component::{
    BatchOutcome, BatchReport, Checkpoint, Chunk, Fault, Input, Item, Reject, RejectCode, SinkContext,
};
use crate::encode::CsvEncoder;
use crate::error::{Error, ErrorKind, Result};

/// Sends one batch; knows how to retry.
#[async_trait]
pub trait Uploader: Send + Sync + 'static {
    /// Sends `batch`, the `number`th of this run (from 1), with rows of `lane`.
    async fn upload(&self, number: u64, lane: &Lane, batch: Batch) -> Uploaded;
}

/// What became of an upload.
#[derive(Debug)]
pub struct Uploaded {
    /// The outcome of all its rows.
    pub outcome: BatchOutcome,
    /// Requests made.
    pub attempts: u32,
    /// Requests before the last that ended without an answer after the body may have been taken.
    pub unknown_attempts: u32,
    /// Status of the last answer.
    pub status: Option<u16>,
    /// Ids for a support case.
    pub request_ids: Vec<String>,
    /// Why, when it was not accepted.
    pub error: Option<Error>,
}

/// The way of one input's rows: what they are and how they are encoded. Rows of different lanes never share a batch,
/// so that the batches do not depend on which input was faster.
#[derive(Clone)]
pub struct Lane {
    /// What the rows are, for reports and file names: the identifier of a scenario, or `records`.
    pub label: &'static str,
    /// Makes the encoder for rows of a schema. Rows of different schemas never share a batch either.
    pub encoder: Arc<dyn Fn(&Schema) -> CsvEncoder + Send + Sync>,
}

/// Takes a sink's input to its end.
pub struct Driver {
    cx: SinkContext,
    uploader: Arc<dyn Uploader>,
    limits: Limits,
    concurrency: usize,
}

/// A batch's place in the order, or a checkpoint waiting for those before it.
enum Pending {
    Batch { number: u64, accepted: bool },
    Checkpoint(Checkpoint),
}

struct LaneState {
    lane: Lane,
    /// Fills the next batch; made for the schema of the rows that came last.
    filling: Option<Filling>,
    /// Checkpoints that came while the batch was being filled.
    behind: Vec<Checkpoint>,
    /// Batches and checkpoints in order; only the front is ever settled.
    pending: VecDeque<Pending>,
}

struct Filling {
    schema: SchemaRef,
    encoder: CsvEncoder,
    batcher: Batcher,
}

/// An upload that ended.
struct Ended {
    lane: usize,
    number: u64,
    rows: usize,
    bytes: usize,
    duration: std::time::Duration,
    uploaded: Uploaded,
}

struct State {
    lanes: Vec<LaneState>,
    /// Cut and not yet under way.
    ready: VecDeque<(usize, u64, Batch)>,
    uploads: JoinSet<Ended>,
    /// What is in flight, to be settled as unknown when it must be given up.
    in_flight: Vec<(usize, u64, usize, usize)>,
    last_number: u64,
    /// Why nothing more is sent.
    failed: Option<Error>,
    started: Instant,
}

impl Driver {
    /// A driver for the sink of `cx`. `concurrency`: uploads at a time, at least 1.
    pub fn new(cx: SinkContext, uploader: Arc<dyn Uploader>, limits: Limits, concurrency: usize) -> Self {
        Self {
            cx,
            uploader,
            limits,
            concurrency,
        }
    }

    /// Takes every item of `input`, whose inputs are `lanes` in order, and gives every row its outcome.
    ///
    /// # Errors
    /// The failure of the first batch that was not accepted, or of a chunk that could not be encoded.
    pub async fn run(&self, lanes: Vec<Lane>, input: &mut Input) -> Result<()> {
        let lanes = lanes
            .into_iter()
            .map(|lane| LaneState {
                lane,
                filling: None,
                behind: Vec::new(),
                pending: VecDeque::new(),
            })
            .collect();
        let mut state = State {
            lanes,
            ready: VecDeque::new(),
            uploads: JoinSet::new(),
            in_flight: Vec::new(),
            last_number: 0,
            failed: None,
            started: Instant::now(),
        };
        let mut open = true;
        while open {
            self.start_uploads(&mut state);
            // A batch that cannot start holds back the input: that is what keeps memory flat.
            let room = state.ready.is_empty();
            tokio::select! {
                biased;
                () = self.cx.run.cancel.cancelled(), if state.failed.is_none() => {
                    state.failed = Some(Error::interrupted());
                }
                Some(ended) = state.uploads.join_next(), if !state.uploads.is_empty() => self.ended(&mut state, ended),
                item = input.next(), if room || state.failed.is_some() => match item {
                    Some((lane, Item::Chunk(chunk))) => self.take(&mut state, lane, &chunk),
                    Some((lane, Item::Checkpoint(checkpoint))) => state.lanes[lane].checkpoint(checkpoint),
                    None => open = false,
                },
            }
        }
        if state.failed.is_none() {
            for lane in 0..state.lanes.len() {
                if let Some(batch) = state.lanes[lane].finish() {
                    state.cut(lane, batch);
                }
            }
        }
        self.drain(&mut state).await;
        match state.failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Encodes a chunk and cuts what is full.
    fn take(&self, state: &mut State, lane: usize, chunk: &Chunk) {
        if state.failed.is_some() {
            self.cx.counts.not_sent(chunk.num_rows());
            return;
        }
        let mut full = Vec::new();
        let at = &mut state.lanes[lane];
        let schema = chunk.batch.schema_ref();
        if at
            .filling
            .as_ref()
            .is_some_and(|filling| filling.schema != *schema)
        {
            full.extend(at.finish());
            at.filling = None;
        }
        let filling = at.filling.get_or_insert_with(|| {
            let encoder = (at.lane.encoder)(schema);
            let batcher = Batcher::new(encoder.header(), self.limits);
            Filling {
                schema: schema.clone(),
                encoder,
                batcher,
            }
        });
        let encoded = match filling.encoder.encode(&chunk.batch) {
            Ok(encoded) => encoded,
            Err(error) => {
                self.cx.counts.not_sent(chunk.num_rows());
                self.give_up(
                    state,
                    Error::unexpected("cannot encode rows for the upload").with_source(error),
                );
                return;
            }
        };
        let max_bytes = self.limits.max_bytes;
        let too_large = |origin| {
            let fault = Fault {
                field: None,
                code: RejectCode::TooLarge,
                message: format!("the row alone is larger than a batch may be ({max_bytes} bytes)").into(),
                value: None,
            };
            self.cx.reject(Reject {
                origin,
                component: self.cx.name.clone(),
                faults: vec![fault],
            });
        };
        filling
            .batcher
            .push(&encoded, &chunk.origins, |batch| full.push(batch), too_large);
        for batch in full {
            state.cut(lane, batch);
        }
    }

    /// Starts what is ready as far as the concurrency allows.
    fn start_uploads(&self, state: &mut State) {
        while state.failed.is_none() && state.uploads.len() < self.concurrency {
            let Some((lane, number, batch)) = state.ready.pop_front() else {
                return;
            };
            if self.cx.run.dry_run {
                self.settle_dry(state, lane, number, &batch);
                continue;
            }
            let uploader = self.uploader.clone();
            let way = state.lanes[lane].lane.clone();
            let (rows, bytes) = (batch.rows, batch.payload.len());
            state.in_flight.push((lane, number, rows, bytes));
            self.cx.in_flight.fetch_add(1, Ordering::Relaxed);
            state.uploads.spawn(async move {
                let started = Instant::now();
                let uploaded = uploader.upload(number, &way, batch).await;
                Ended {
                    lane,
                    number,
                    rows,
                    bytes,
                    duration: started.elapsed(),
                    uploaded,
                }
            });
        }
    }

    /// A dry run does everything but send.
    fn settle_dry(&self, state: &mut State, lane: usize, number: u64, batch: &Batch) {
        self.cx.counts.not_sent(batch.rows);
        self.report(
            state,
            lane,
            number,
            batch.rows,
            batch.payload.len(),
            std::time::Duration::ZERO,
            None,
        );
    }

    fn ended(&self, state: &mut State, ended: Result<Ended, tokio::task::JoinError>) {
        let Ended {
            lane,
            number,
            rows,
            bytes,
            duration,
            uploaded,
        } = match ended {
            Ok(ended) => ended,
            // Aborted uploads are settled by `drain`; a panic inside one is settled there too, as unknown.
            Err(error) => {
                if error.is_panic() {
                    self.give_up(state, Error::unexpected("an upload broke off").with_source(error));
                }
                return;
            }
        };
        state
            .in_flight
            .retain(|flight| (flight.0, flight.1) != (lane, number));
        self.cx.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.count(uploaded.outcome, rows);
        self.report(state, lane, number, rows, bytes, duration, Some(&uploaded));
        if uploaded.outcome == BatchOutcome::Accepted {
            state.lanes[lane].accepted(number);
        } else {
            let error = uploaded.error.unwrap_or_else(|| {
                Error::new(ErrorKind::Passing, format!("batch {number} was not accepted"))
            });
            self.give_up(state, error);
        }
    }

    /// Sends no more: keeps the first reason, and lets the sources stop.
    fn give_up(&self, state: &mut State, error: Error) {
        // An interrupt cancels the run too; a refusal met while finishing says more.
        match &state.failed {
            Some(first) if first.kind() != ErrorKind::Interrupted => {}
            _ => state.failed = Some(error),
        }
        self.cx.run.cancel.cancel();
    }

    /// Waits for what is in flight, within the grace period when the run was stopped, and counts what is left.
    async fn drain(&self, state: &mut State) {
        let mut deadline = state.failed.is_some().then(|| Instant::now() + self.cx.run.grace);
        loop {
            self.start_uploads(state);
            if state.uploads.is_empty() {
                break;
            }
            let give_up_at =
                deadline.unwrap_or_else(|| Instant::now() + std::time::Duration::from_secs(86_400));
            tokio::select! {
                biased;
                () = self.cx.run.cancel.cancelled(), if state.failed.is_none() => {
                    state.failed = Some(Error::interrupted());
                }
                Some(ended) = state.uploads.join_next() => self.ended(state, ended),
                () = tokio::time::sleep_until(give_up_at), if deadline.is_some() => {
                    state.uploads.abort_all();
                    while state.uploads.join_next().await.is_some() {}
                }
            }
            if state.failed.is_some() && deadline.is_none() {
                deadline = Some(Instant::now() + self.cx.run.grace);
            }
        }
        for (lane, number, rows, bytes) in std::mem::take(&mut state.in_flight) {
            self.cx.in_flight.fetch_sub(1, Ordering::Relaxed);
            let uploaded = Uploaded {
                outcome: BatchOutcome::Unknown,
                attempts: 1,
                unknown_attempts: 0,
                status: None,
                request_ids: Vec::new(),
                error: Some(Error::interrupted()),
            };
            self.count(BatchOutcome::Unknown, rows);
            self.report(
                state,
                lane,
                number,
                rows,
                bytes,
                state.started.elapsed(),
                Some(&uploaded),
            );
        }
        for (lane, number, batch) in std::mem::take(&mut state.ready) {
            self.settle_dry(state, lane, number, &batch);
        }
        for lane in &mut state.lanes {
            self.cx.counts.not_sent(lane.filled());
        }
    }

    fn count(&self, outcome: BatchOutcome, rows: usize) {
        let counts = &self.cx.counts;
        match outcome {
            BatchOutcome::Accepted => counts.accepted(rows),
            BatchOutcome::Refused => counts.refused(rows),
            BatchOutcome::Unknown => counts.unknown(rows),
            BatchOutcome::NotSent => counts.not_sent(rows),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one line of the report, put together in one place"
    )]
    fn report(
        &self,
        state: &State,
        lane: usize,
        number: u64,
        rows: usize,
        bytes: usize,
        duration: std::time::Duration,
        uploaded: Option<&Uploaded>,
    ) {
        let label = state.lanes[lane].lane.label;
        let outcome = uploaded.map_or(BatchOutcome::NotSent, |uploaded| uploaded.outcome);
        tracing::debug!(sink = %self.cx.name, batch = number, label, rows, bytes, ?outcome, "batch settled");
        // The report's reader may have gone when a run is torn down; the counts stay right.
        let _ = self.cx.batches.send(BatchReport {
            sink: self.cx.name.to_string(),
            number,
            scenario: label.to_owned(),
            rows: rows as u64,
            bytes: bytes as u64,
            outcome,
            attempts: uploaded.map_or(0, |uploaded| uploaded.attempts),
            unknown_attempts: uploaded.map_or(0, |uploaded| uploaded.unknown_attempts),
            status: uploaded.and_then(|uploaded| uploaded.status),
            request_ids: uploaded
                .map(|uploaded| uploaded.request_ids.clone())
                .unwrap_or_default(),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            error: uploaded
                .and_then(|uploaded| uploaded.error.as_ref())
                .map(Error::chain),
        });
    }
}

impl State {
    /// Gives a batch its number and puts it, and the checkpoints behind it, in line.
    fn cut(&mut self, lane: usize, batch: Batch) {
        self.last_number += 1;
        let at = &mut self.lanes[lane];
        at.pending.push_back(Pending::Batch {
            number: self.last_number,
            accepted: false,
        });
        // Checkpoints come between chunks: all rows before those waiting here are in this batch or an earlier one.
        at.pending.extend(at.behind.drain(..).map(Pending::Checkpoint));
        self.ready.push_back((lane, self.last_number, batch));
    }
}

impl LaneState {
    /// Rows in the batch that is being filled.
    fn filled(&self) -> usize {
        self.filling
            .as_ref()
            .map_or(0, |filling| filling.batcher.pending())
    }

    /// The batch that is being filled, if there are rows in it.
    fn finish(&mut self) -> Option<Batch> {
        self.filling.as_mut().and_then(|filling| filling.batcher.finish())
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        if self.filled() > 0 {
            self.behind.push(checkpoint);
        } else {
            self.pending.push_back(Pending::Checkpoint(checkpoint));
            self.settle();
        }
    }

    fn accepted(&mut self, number: u64) {
        for pending in &mut self.pending {
            if let Pending::Batch {
                number: candidate,
                accepted,
            } = pending
                && *candidate == number
            {
                *accepted = true;
            }
        }
        self.settle();
    }

    /// Lets go of what is done at the front.
    fn settle(&mut self) {
        while let Some(front) = self.pending.pop_front() {
            match front {
                Pending::Batch { accepted: true, .. } => {}
                Pending::Checkpoint(checkpoint) => checkpoint.done(),
                waiting @ Pending::Batch { .. } => {
                    self.pending.push_front(waiting);
                    return;
                }
            }
        }
    }
}
