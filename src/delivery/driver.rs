//! Uploads batches, several at a time, and settles what became of their rows.
//!
//! One loop takes rows, starts uploads and settles those that end, until the input is closed and nothing is in flight.
//! The first reason to stop (a batch that was not accepted, a cancelled run) settles at once what has not left; what is
//! in flight has the run's grace period to end, and is unknown after it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use tokio::task::{Id, JoinError, JoinSet};
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
    /// Body of the last answer, fit to be shown.
    pub answer: Option<String>,
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

/// A batch that is on its way, or was to be.
struct Flight {
    lane: usize,
    number: u64,
    rows: usize,
    bytes: usize,
}

struct State {
    lanes: Vec<LaneState>,
    /// Cut and not yet under way.
    ready: VecDeque<(Flight, Batch)>,
    uploads: JoinSet<Uploaded>,
    /// The batches of `uploads`, and when each began.
    in_flight: HashMap<Id, (Flight, Instant)>,
    last_number: u64,
    stop: Option<Stop>,
}

/// Nothing more is sent.
struct Stop {
    error: Error,
    /// When what is in flight is given up; none once it was, or if it may take for ever.
    deadline: Option<Instant>,
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

    /// Takes every item of `input`, whose inputs are `lanes` in order, and gives every row its outcome. Stops, and
    /// cancels the run, with the first batch that is not accepted; what is in flight then, or when the run is
    /// cancelled, has [`RunInfo::grace`](crate::component::RunInfo::grace) to end and is counted as unknown after it.
    ///
    /// # Errors
    /// The failure of the first batch that was not accepted, or of a chunk that could not be encoded; or that the run
    /// was interrupted.
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
            in_flight: HashMap::new(),
            last_number: 0,
            stop: None,
        };
        let mut open = true;
        loop {
            self.start_uploads(&mut state);
            if !open && state.uploads.is_empty() {
                break;
            }
            let deadline = state.stop.as_ref().and_then(|stop| stop.deadline);
            // A batch that cannot start holds back the input: that is what keeps memory flat.
            let room = state.ready.is_empty();
            tokio::select! {
                biased;
                () = self.cx.run.cancel.cancelled(), if state.stop.is_none() => {
                    self.stop(&mut state, Error::interrupted());
                }
                Some(ended) = state.uploads.join_next_with_id(), if !state.uploads.is_empty() => {
                    self.ended(&mut state, ended);
                }
                () = passed(deadline), if !state.uploads.is_empty() => {
                    state.uploads.abort_all();
                    if let Some(stop) = &mut state.stop {
                        stop.deadline = None;
                    }
                }
                item = input.next(), if open && room => match item {
                    Some((lane, Item::Chunk(chunk))) => self.take(&mut state, lane, &chunk),
                    Some((lane, Item::Checkpoint(checkpoint))) => state.checkpoint(lane, checkpoint),
                    None => {
                        open = false;
                        state.cut_rest();
                    }
                },
            }
        }
        match state.stop {
            Some(stop) => Err(stop.error),
            None => Ok(()),
        }
    }

    /// Encodes a chunk and cuts what is full.
    fn take(&self, state: &mut State, lane: usize, chunk: &Chunk) {
        if state.stop.is_some() {
            self.cx.counts.not_sent(chunk.num_rows());
            return;
        }
        let schema = chunk.batch.schema_ref();
        let at = &mut state.lanes[lane];
        if at
            .filling
            .as_ref()
            .is_some_and(|filling| filling.schema != *schema)
        {
            let last = at.finish();
            at.filling = None;
            if let Some(batch) = last {
                state.cut(lane, batch);
            }
        }
        let at = &mut state.lanes[lane];
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
                let error = Error::unexpected("cannot encode rows for the upload").with_source(error);
                self.stop(state, error);
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
        let mut full = Vec::new();
        filling
            .batcher
            .push(&encoded, &chunk.origins, |batch| full.push(batch), too_large);
        for batch in full {
            state.cut(lane, batch);
        }
    }

    /// Starts what is ready as far as the concurrency allows.
    fn start_uploads(&self, state: &mut State) {
        while state.uploads.len() < self.concurrency {
            let Some((flight, batch)) = state.ready.pop_front() else {
                return;
            };
            // A dry run does everything but send.
            if self.cx.run.dry_run {
                self.not_sent(state, &flight);
                continue;
            }
            let uploader = self.uploader.clone();
            let (lane, number) = (state.lanes[flight.lane].lane.clone(), flight.number);
            self.cx.in_flight.fetch_add(1, Ordering::Relaxed);
            let id = state
                .uploads
                .spawn(async move { uploader.upload(number, &lane, batch).await })
                .id();
            state.in_flight.insert(id, (flight, Instant::now()));
        }
    }

    fn ended(&self, state: &mut State, ended: Result<(Id, Uploaded), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, uploaded)) => (id, Ok(uploaded)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some((flight, started)) = state.in_flight.remove(&id) else {
            return;
        };
        self.cx.in_flight.fetch_sub(1, Ordering::Relaxed);
        let uploaded = outcome.unwrap_or_else(|error| self.broken_off(&flight, &error));
        self.count(uploaded.outcome, flight.rows);
        self.report(state, &flight, started.elapsed(), Some(&uploaded));
        if uploaded.outcome == BatchOutcome::Accepted {
            state.lanes[flight.lane].accepted(flight.number);
        } else {
            let error = uploaded.error.unwrap_or_else(|| {
                Error::new(
                    ErrorKind::Passing,
                    format!("batch {} was not accepted", flight.number),
                )
            });
            self.stop(state, error);
        }
    }

    /// An upload that did not come to its end: nobody knows what the other side took of it.
    fn broken_off(&self, flight: &Flight, error: &JoinError) -> Uploaded {
        let error = if error.is_panic() {
            // The panic's text may hold anything, values of rows included.
            Error::unexpected(format!("the upload of batch {} panicked", flight.number))
                .with_hint("please report this: it should not happen")
        } else {
            Error::new(
                ErrorKind::Interrupted,
                format!(
                    "the upload of batch {} was cut off: it had not ended {} after the run was stopped",
                    flight.number,
                    humantime::format_duration(self.cx.run.grace)
                ),
            )
            .with_hint("the service may have taken its rows: look there before sending them again")
        };
        Uploaded {
            outcome: BatchOutcome::Unknown,
            attempts: 1,
            unknown_attempts: 0,
            status: None,
            request_ids: Vec::new(),
            answer: None,
            error: Some(error),
        }
    }

    /// Sends no more: keeps the reason, lets the sources stop, and settles what has not left.
    fn stop(&self, state: &mut State, error: Error) {
        match &mut state.stop {
            // An interrupt cancels the run too; a refusal met while finishing says more.
            Some(stop) if stop.error.kind() == ErrorKind::Interrupted => stop.error = error,
            Some(_) => {}
            None => {
                state.stop = Some(Stop {
                    error,
                    deadline: Instant::now().checked_add(self.cx.run.grace),
                });
            }
        }
        self.cx.run.cancel.cancel();
        for (flight, _) in std::mem::take(&mut state.ready) {
            self.not_sent(state, &flight);
        }
        for lane in &mut state.lanes {
            self.cx.counts.not_sent(lane.filled());
            lane.filling = None;
        }
        state.let_go();
    }

    /// Settles a batch that never left.
    fn not_sent(&self, state: &State, flight: &Flight) {
        self.cx.counts.not_sent(flight.rows);
        self.report(state, flight, Duration::ZERO, None);
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

    fn report(&self, state: &State, flight: &Flight, duration: Duration, uploaded: Option<&Uploaded>) {
        let Flight {
            lane,
            number,
            rows,
            bytes,
        } = *flight;
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
            answer: uploaded.and_then(|uploaded| uploaded.answer.clone()),
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

/// When the time has come; never, if there is none.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
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
        let flight = Flight {
            lane,
            number: self.last_number,
            rows: batch.rows,
            bytes: batch.payload.len(),
        };
        self.ready.push_back((flight, batch));
    }

    /// The input has ended: no batch waits for more rows.
    fn cut_rest(&mut self) {
        for lane in 0..self.lanes.len() {
            if let Some(batch) = self.lanes[lane].finish() {
                self.cut(lane, batch);
            }
        }
    }

    fn checkpoint(&mut self, lane: usize, checkpoint: Checkpoint) {
        // Rows before it were not sent, or may not have been: dropped, it is not delivered.
        if self.stop.is_none() {
            self.lanes[lane].checkpoint(checkpoint);
        }
    }

    /// Drops the checkpoints that will not be done any more, so that nobody waits for them.
    fn let_go(&mut self) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.behind.clear();
            let lost = lane.pending.iter().position(|pending| match pending {
                Pending::Batch { number, accepted } => {
                    let in_flight = || {
                        self.in_flight
                            .values()
                            .any(|(flight, _)| (flight.lane, flight.number) == (index, *number))
                    };
                    !accepted && !in_flight()
                }
                Pending::Checkpoint(_) => false,
            });
            if let Some(lost) = lost {
                lane.pending.truncate(lost);
            }
        }
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

#[cfg(test)]
mod tests;
