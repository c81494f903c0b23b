//! Uploads batches, several at a time, and settles what became of their rows.
//!
//! One loop takes rows, leaves out those that the job has, starts uploads and settles those that end, until the input is
//! closed and nothing is in flight. A batch that fails for a passing cause does not keep others from being tried, until
//! several in a row failed alike; any other failure, and a cancelled run, ends it: what has not left is settled at once,
//! what is in flight is finished; when the run was cancelled it has the run's grace period for that, and is unknown
//! after it.

mod state;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::datatypes::Schema;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use self::state::{Filling, Flight, InARow, LaneState, Ready, State, Stop};
use super::courier::{Courier, Load, Piece, Sending, Trail};
use super::memory::Memory;
use super::policy::{OnUnknown, Policy};
use super::{Batcher, Limits};
use crate::component::{
    BatchOutcome, BatchReport, Checkpoint, Chunk, Fault, Input, Item, Origin, Reject, RejectCode, SinkContext,
};
use crate::error::{Error, ErrorKind, Result};
use crate::format::encode::CsvEncoder;
use crate::ledger::RowHash;

pub(super) use self::state::Shape;

/// Sends one payload; knows how to retry.
#[async_trait]
pub trait Uploader: Send + Sync + 'static {
    /// Sends `outgoing`.
    async fn upload(&self, outgoing: Outgoing) -> Uploaded;
}

/// What an [`Uploader`] sends.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Number of the batch in this run, from 1.
    pub number: u64,
    /// Which part of it, in the order of sending from 1, when it was split; 0 for the whole.
    pub part: u32,
    /// The [lane's](Lane::label).
    pub label: &'static str,
    /// The header row and the rows.
    pub payload: Bytes,
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
    /// Whether the other side asked for a longer pause than there is time for: nothing else is to be sent either.
    pub pause: bool,
}

/// The way of one input's rows: what they are and how they are encoded. Rows of different lanes never share a batch,
/// so that the batches do not depend on which input was faster.
#[derive(Clone)]
pub struct Lane {
    /// What the rows are, for the ledger, reports and file names: the identifier of a scenario, or `records`.
    pub label: &'static str,
    /// Makes the encoder for rows of a schema. Rows of different schemas never share a batch either.
    pub encoder: Arc<dyn Fn(&Schema) -> CsvEncoder + Send + Sync>,
}

/// Takes a sink's input to its end.
pub struct Driver {
    cx: SinkContext,
    courier: Arc<Courier>,
    limits: Limits,
    concurrency: usize,
}

/// Why a batch was not delivered.
struct Failure {
    error: Error,
    outcome: BatchOutcome,
    status: Option<u16>,
    pause: bool,
}

impl Failure {
    fn interrupted() -> Self {
        Self {
            error: Error::interrupted(),
            outcome: BatchOutcome::NotSent,
            status: None,
            pause: false,
        }
    }
}

impl Driver {
    /// A driver for the sink of `cx`. `concurrency`: uploads at a time, at least 1.
    pub fn new(
        cx: SinkContext,
        uploader: Arc<dyn Uploader>,
        policy: Policy,
        limits: Limits,
        concurrency: usize,
    ) -> Self {
        let courier = Courier {
            uploader,
            ledger: cx.ledger.clone(),
            sink: cx.name.clone(),
            run: cx.run.clone(),
            policy,
        };
        Self {
            cx,
            courier: Arc::new(courier),
            limits,
            concurrency,
        }
    }

    /// Takes every item of `input`, whose inputs are `lanes` in order, and gives every row its outcome. When it stops
    /// before the end (see the [module](super)) it cancels the run; what is in flight then, or when the run is
    /// cancelled, has [`RunInfo::grace`](crate::component::RunInfo::grace) to end and is counted as unknown after it.
    ///
    /// # Errors
    /// The failure of the first batch that was not delivered; what the ledger had against sending anything; that a
    /// chunk could not be encoded; that the run was interrupted.
    pub async fn run(&self, lanes: Vec<Lane>, input: &mut Input) -> Result<()> {
        let labels: BTreeSet<&'static str> = lanes.iter().map(|lane| lane.label).collect();
        let lanes = lanes
            .into_iter()
            .map(|lane| LaneState {
                lane,
                filling: None,
                behind: Vec::new(),
                pending: VecDeque::new(),
                lost: false,
                warned: false,
                taken_bytes: usize::MAX,
            })
            .collect();
        let mut state = State {
            lanes,
            memory: None,
            ready: VecDeque::new(),
            uploads: JoinSet::new(),
            in_flight: HashMap::new(),
            last_number: 0,
            resent: HashMap::new(),
            failed: None,
            in_a_row: None,
            stop: None,
        };
        match Memory::open(&self.cx, &self.courier.policy, labels).await {
            Ok(memory) => state.memory = memory,
            Err(error) => self.stop(&mut state, error),
        }
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
                    Some((lane, Item::Chunk(chunk))) => self.take(&mut state, lane, chunk),
                    Some((lane, Item::Checkpoint(checkpoint))) => self.checkpoint(&mut state, lane, checkpoint),
                    None => {
                        open = false;
                        state.cut_rest();
                    }
                },
            }
        }
        let failure = state.stop.map(|stop| stop.error).or(state.failed);
        if let Some(memory) = state.memory {
            let all = failure.is_none() && !self.cx.run.partial;
            memory.close(&self.cx, &state.resent, all).await?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Leaves out the rows that the job has, encodes the others and cuts what is full.
    fn take(&self, state: &mut State, lane: usize, chunk: Chunk) {
        let rows = chunk.num_rows();
        if state.stop.is_some() {
            self.cx.counts.not_sent(rows);
            return;
        }
        if let Err(error) = self.fill(state, lane, chunk) {
            self.cx.counts.not_sent(rows);
            self.stop(state, error);
        }
    }

    /// [`take`](Self::take); on an error, no row of the chunk has an outcome.
    fn fill(&self, state: &mut State, lane: usize, mut chunk: Chunk) -> Result<()> {
        let label = state.lanes[lane].lane.label;
        let mut hashes = Vec::new();
        let mut skipped = 0;
        if let Some(memory) = &mut state.memory {
            let screened = memory.screen(label, &chunk.batch)?;
            hashes = screened.hashes;
            if let Some(keep) = screened.keep {
                let before = chunk.num_rows();
                chunk = chunk.filter(&keep).map_err(|error| {
                    Error::unexpected("cannot leave out rows that were sent before").with_source(error)
                })?;
                skipped = before - chunk.num_rows();
            }
        }
        let schema = chunk.batch.schema_ref();
        let at = &mut state.lanes[lane];
        if at
            .filling
            .as_ref()
            .is_some_and(|filling| filling.schema != *schema)
        {
            state.cut_lane(lane);
            state.lanes[lane].filling = None;
        }
        let at = &mut state.lanes[lane];
        let taken_bytes = at.taken_bytes;
        let memory = state.memory.as_ref();
        let filling = at.filling.get_or_insert_with(|| {
            let encoder = (at.lane.encoder)(schema);
            let header = encoder.header();
            let known = memory.map(|memory| memory.header(label, &header));
            let (hash, taken) = known.unwrap_or((RowHash(0), false));
            let mut batcher = Batcher::new(header, self.limits);
            batcher.shrink(taken_bytes);
            Filling {
                schema: schema.clone(),
                encoder,
                batcher,
                shape: Shape {
                    header: hash,
                    taken: Arc::new(taken.into()),
                },
            }
        });
        let encoded = filling
            .encoder
            .encode(&chunk.batch)
            .map_err(|error| Error::unexpected("cannot encode rows for the upload").with_source(error))?;
        self.cx.counts.skipped(skipped);
        let header = filling.shape.header;
        if skipped > 0 && !at.warned && memory.is_some_and(|memory| memory.knows_other_headers(label, header))
        {
            at.warned = true;
            tracing::warn!(
                sink = %self.cx.name, scenario = label,
                "rows are skipped that the job accepted under other column names; if those were wrong, `hrsink ledger forget` has them sent again"
            );
        }
        let mut full = Vec::new();
        let mut too_large = Vec::new();
        filling.batcher.push(
            &encoded,
            &chunk.origins,
            &hashes,
            |batch| full.push(batch),
            |row| too_large.push(row),
        );
        let shape = filling.shape.clone();
        for row in too_large {
            if let (Some(memory), Some(hash)) = (&mut state.memory, hashes.get(row)) {
                memory.went_nowhere(label, &[*hash]);
            }
            self.reject(
                chunk.origins.at(row),
                RejectCode::TooLarge,
                format!(
                    "the row alone is larger than a batch may be ({} bytes)",
                    self.limits.max_bytes
                ),
            );
        }
        for batch in full {
            state.cut(lane, batch, shape.clone());
        }
        Ok(())
    }

    fn reject(&self, origin: Origin, code: RejectCode, message: String) {
        self.cx.reject(Reject {
            origin,
            component: self.cx.name.clone(),
            faults: vec![Fault {
                field: None,
                code,
                message: message.into(),
                value: None,
            }],
        });
    }

    fn checkpoint(&self, state: &mut State, lane: usize, checkpoint: Checkpoint) {
        // Rows before it were not sent, or may not have been: dropped, it is not delivered. In a dry run none is.
        if state.stop.is_none() && !self.cx.run.dry_run {
            state.lanes[lane].checkpoint(checkpoint);
        }
    }

    /// Starts what is ready as far as the concurrency allows.
    fn start_uploads(&self, state: &mut State) {
        while state.uploads.len() < self.concurrency {
            let Some(ready) = state.ready.pop_front() else {
                return;
            };
            let Ready { flight, batch, shape } = ready;
            // A dry run does everything but send.
            if self.cx.run.dry_run {
                self.not_sent(state, &flight);
                continue;
            }
            let lane = state.lanes[flight.lane].lane.clone();
            let unknown = state.memory.as_ref().map(|memory| memory.unknown(lane.label));
            let load = Load {
                number: flight.number,
                lane,
                batch,
                unknown: unknown.unwrap_or_default(),
                shape,
            };
            let (courier, trail) = (self.courier.clone(), Trail::default());
            self.cx.in_flight.fetch_add(1, Ordering::Relaxed);
            let id = state
                .uploads
                .spawn({
                    let trail = trail.clone();
                    async move { courier.deliver(load, trail).await }
                })
                .id();
            state.in_flight.insert(id, (flight, trail));
        }
    }

    /// Settles a batch whose delivery came to its end, or was cut off.
    fn ended(&self, state: &mut State, ended: Result<(Id, ()), JoinError>) {
        let (id, cut_off) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some((flight, trail)) = state.in_flight.remove(&id) else {
            return;
        };
        self.cx.in_flight.fetch_sub(1, Ordering::Relaxed);
        let (mut pieces, sending) = {
            let mut progress = trail.progress();
            (std::mem::take(&mut progress.pieces), progress.sending.take())
        };
        if let Some(error) = cut_off {
            pieces.push(self.broken_off(&flight, sending, &error));
        }
        let mut left = flight.rows;
        let mut failed = None;
        for piece in pieces {
            let outcome = piece.uploaded.outcome;
            if outcome != BatchOutcome::Split {
                left -= piece.rows;
            }
            self.settle(state, &flight, piece, &mut failed);
        }
        // Parts that were not begun, because one before them failed.
        self.cx.counts.not_sent(left);
        if left > 0 {
            self.report_unsent(state, &flight, left);
        }
        match failed {
            None if left == 0 => {
                state.in_a_row = None;
                state.lanes[flight.lane].done(flight.number);
            }
            failed => self.failed(state, &flight, failed.unwrap_or_else(Failure::interrupted)),
        }
    }

    /// Counts and reports a piece; keeps the failure that says most in `failed`.
    fn settle(&self, state: &mut State, flight: &Flight, mut piece: Piece, failed: &mut Option<Failure>) {
        let (outcome, status) = (piece.uploaded.outcome, piece.uploaded.status);
        let label = state.lanes[flight.lane].lane.label;
        let counts = &self.cx.counts;
        match outcome {
            BatchOutcome::Accepted => counts.accepted(piece.rows),
            BatchOutcome::Refused => counts.refused(piece.rows),
            BatchOutcome::Unknown => counts.unknown(piece.rows),
            BatchOutcome::NotSent => counts.not_sent(piece.rows),
            BatchOutcome::Split if status == Some(413) => state.shrink(flight.lane, piece.bytes / 2),
            BatchOutcome::Split => {}
            BatchOutcome::Rejected => {
                if let Some(origin) = piece.suspect.take() {
                    self.reject(origin, RejectCode::Refused, words(&piece.uploaded));
                }
            }
        }
        if matches!(outcome, BatchOutcome::Accepted | BatchOutcome::Unknown) {
            for (index, rows) in &piece.resent {
                *state.resent.entry((label, *index)).or_default() += rows;
            }
        }
        self.report(label, flight, &piece);
        let delivered = matches!(
            outcome,
            BatchOutcome::Accepted | BatchOutcome::Split | BatchOutcome::Rejected
        );
        // A failure of this side, such as of the ledger, counts whatever the service said.
        let own_failure = !piece.recorded;
        if delivered && !own_failure {
            return;
        }
        let error = piece.uploaded.error.take().unwrap_or_else(|| {
            Error::new(
                ErrorKind::Transient,
                format!("batch {} was not accepted", flight.number),
            )
        });
        let says_more = failed
            .as_ref()
            .is_none_or(|failed| failed.error.kind() == ErrorKind::Interrupted);
        if says_more {
            *failed = Some(Failure {
                error,
                outcome,
                status,
                // Without a ledger nothing more is sent.
                pause: piece.uploaded.pause || !piece.recorded,
            });
        }
    }

    /// A batch of `lane` was not delivered: ends the run, unless another may fare better.
    fn failed(&self, state: &mut State, flight: &Flight, failure: Failure) {
        let Failure {
            error,
            outcome,
            status,
            pause,
        } = failure;
        let label = state.lanes[flight.lane].lane.label;
        // Rows of this batch may have been skipped as doubles in another lane of the scenario.
        for lane in state.lanes.iter_mut().filter(|lane| lane.lane.label == label) {
            lane.lost = true;
        }
        if outcome == BatchOutcome::NotSent
            && let Some(memory) = &mut state.memory
        {
            memory.went_nowhere(label, &flight.hashes);
        }
        let policy = &self.courier.policy;
        let held = outcome == BatchOutcome::Unknown && policy.on_unknown == OnUnknown::Hold;
        if error.kind() != ErrorKind::Transient
            || outcome == BatchOutcome::Refused
            || held
            || pause
            || state.stop.is_some()
        {
            let error = if held && error.kind() == ErrorKind::Transient {
                hold(error)
            } else {
                error
            };
            return self.stop(state, error);
        }
        let cause = (outcome, status);
        let batches = match &state.in_a_row {
            Some(before) if before.cause == cause => before.batches + 1,
            _ => 1,
        };
        state.in_a_row = Some(InARow { cause, batches });
        if batches >= policy.max_consecutive_failures.get() {
            let error = if batches > 1 {
                error.with_hint(format!(
                    "{batches} batches in a row failed for the same cause, and no more were tried (`delivery.max_consecutive_failures`)"
                ))
            } else {
                error
            };
            return self.stop(state, error);
        }
        tracing::warn!(sink = %self.cx.name, error = %error.chain(), "a batch failed; others are tried");
        state.failed.get_or_insert(error);
        state.let_go();
    }

    /// A delivery that did not come to its end: nobody knows what the other side took of what was under way.
    fn broken_off(&self, flight: &Flight, sending: Option<Sending>, error: &JoinError) -> Piece {
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
            .with_hint("the service may have taken its rows: the next run says so when it sends them again")
        };
        let outcome = if sending.is_some() {
            BatchOutcome::Unknown
        } else {
            BatchOutcome::NotSent
        };
        let (part, rows, bytes, resent, duration) = match sending {
            Some(sent) => (
                sent.part,
                sent.rows,
                sent.bytes,
                sent.resent,
                sent.began.elapsed(),
            ),
            None => Default::default(),
        };
        Piece {
            part,
            rows,
            bytes,
            resent,
            duration,
            uploaded: Uploaded {
                outcome,
                attempts: u32::from(outcome == BatchOutcome::Unknown),
                unknown_attempts: 0,
                status: None,
                request_ids: Vec::new(),
                answer: None,
                error: Some(error),
                pause: false,
            },
            recorded: true,
            suspect: None,
        }
    }

    /// Sends no more: keeps the reason, lets the sources stop, and settles what has not left.
    fn stop(&self, state: &mut State, error: Error) {
        match &mut state.stop {
            // An interrupt cancels the run too; a refusal met while finishing says more.
            Some(stop) if stop.error.kind() == ErrorKind::Interrupted => stop.error = error,
            Some(_) => {}
            None => {
                // After a failure of its own it waits for what is in flight: the requests have their time-out, and are
                // not tried again.
                let interrupted = error.kind() == ErrorKind::Interrupted;
                let deadline = interrupted
                    .then(|| Instant::now().checked_add(self.cx.run.grace))
                    .flatten();
                state.stop = Some(Stop { error, deadline });
            }
        }
        self.cx.run.cancel.cancel();
        for ready in std::mem::take(&mut state.ready) {
            self.not_sent(state, &ready.flight);
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
        self.report_unsent(state, flight, flight.rows);
    }

    /// Reports `rows` of a batch that never left.
    fn report_unsent(&self, state: &State, flight: &Flight, rows: usize) {
        let bytes = if rows == flight.rows { flight.bytes } else { 0 };
        let piece = Piece {
            part: 0,
            rows,
            bytes,
            resent: Default::default(),
            duration: Duration::ZERO,
            uploaded: Uploaded::not_sent(None),
            recorded: true,
            suspect: None,
        };
        self.report(state.lanes[flight.lane].lane.label, flight, &piece);
    }

    fn report(&self, label: &str, flight: &Flight, piece: &Piece) {
        let (number, uploaded) = (flight.number, &piece.uploaded);
        let outcome = uploaded.outcome;
        tracing::debug!(sink = %self.cx.name, batch = number, part = piece.part, label, rows = piece.rows, bytes = piece.bytes, ?outcome, "batch settled");
        // The report's reader may have gone when a run is torn down; the counts stay right.
        let _ = self.cx.batches.send(BatchReport {
            sink: self.cx.name.to_string(),
            number,
            part: piece.part,
            scenario: label.to_owned(),
            rows: piece.rows as u64,
            bytes: piece.bytes as u64,
            outcome,
            attempts: uploaded.attempts,
            unknown_attempts: uploaded.unknown_attempts,
            resent_rows: piece.resent.values().sum(),
            status: uploaded.status,
            answer: uploaded.answer.clone(),
            request_ids: uploaded.request_ids.clone(),
            duration_ms: u64::try_from(piece.duration.as_millis()).unwrap_or(u64::MAX),
            error: uploaded.error.as_ref().map(Error::chain),
        });
    }
}

/// What the service had to say about a row.
fn words(uploaded: &Uploaded) -> String {
    let mut text = match uploaded.status {
        Some(status) => format!("the service refused this row on its own: status {status}"),
        None => "the service refused this row on its own".to_owned(),
    };
    if let Some(answer) = uploaded.answer.as_deref().filter(|answer| !answer.is_empty()) {
        text.push_str(": ");
        text.push_str(answer);
    }
    text
}

/// The failure of a batch whose rows wait for a decision.
fn hold(error: Error) -> Error {
    let message = "the service may have taken a batch, and `delivery.on_unknown` is `hold`: no more is sent until a person has decided";
    Error::new(ErrorKind::Guard, message)
        .with_hint("`hrsink history FILE --batches` names the batch; look for it in the connector's log in the Purview portal, then say what you found: `hrsink ledger resolve FILE --run RUN --batch NUMBER --as accepted` or `--as not-accepted`")
        .with_source(error)
}

/// When the time has come; never, if there is none.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
