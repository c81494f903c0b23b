//! Takes one batch to the service: writes down the intent, uploads, writes down the outcome, and cuts the batch in parts
//! where the service took it to be too large or objects to some of its rows.
//!
//! What has happened so far stands in a [`Trail`], so that it is known even if the work is cut off.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Batch;
use super::driver::{Lane, Outgoing, Shape, Uploaded, Uploader};
use super::memory::Unknown;
use super::policy::{OnRefused, Policy};
use crate::component::{BatchOutcome, Origin, RunInfo};
use crate::error::{Error, Result};
use crate::ledger::{BatchId, Intent, Ledger, UploadOutcome};

/// Requests that may be spent on finding the rows of one batch that the service objects to. Telling `k` rows apart in a
/// batch of `n` takes about `2 k log2(n / k)`: this finds about a dozen among 5,000.
const MOST_PARTS: u32 = 256;

/// Single rows refused, with nothing ever taken under these columns, after which it is not about rows.
const MOST_SUSPECTS: u32 = 8;

/// Statuses that speak of what is in the payload.
const ABOUT_ROWS: [u16; 2] = [400, 422];

/// The payload is larger than the service takes.
const TOO_LARGE: u16 = 413;

/// What every batch of a sink shares.
pub(super) struct Courier {
    pub(super) uploader: Arc<dyn Uploader>,
    pub(super) ledger: Option<Ledger>,
    pub(super) sink: Arc<str>,
    pub(super) run: RunInfo,
    pub(super) policy: Policy,
}

/// What happened to a batch so far.
#[derive(Clone, Default)]
pub(super) struct Trail(Arc<Mutex<Progress>>);

/// See [`Trail`].
#[derive(Default)]
pub(super) struct Progress {
    /// What has an outcome, in the order of sending.
    pub(super) pieces: Vec<Piece>,
    /// What is under way.
    pub(super) sending: Option<Sending>,
}

/// A batch, or a part of it, with its outcome.
pub(super) struct Piece {
    /// 0 for the whole.
    pub(super) part: u32,
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// How many of the rows were in each earlier batch of unknown outcome.
    pub(super) resent: BTreeMap<usize, u64>,
    pub(super) duration: Duration,
    pub(super) uploaded: Uploaded,
    /// Whether the ledger has what happened to it.
    pub(super) recorded: bool,
    /// Where the row came from, if it is one that the service objects to.
    pub(super) suspect: Option<Origin>,
}

/// A batch, or a part of it, that is under way.
#[derive(Debug, Clone)]
pub(super) struct Sending {
    pub(super) part: u32,
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// As [`Piece::resent`].
    pub(super) resent: BTreeMap<usize, u64>,
    pub(super) began: Instant,
}

impl Trail {
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch on its way.
pub(super) struct Load {
    pub(super) number: u64,
    pub(super) lane: Lane,
    pub(super) batch: Batch,
    pub(super) unknown: Unknown,
    pub(super) shape: Shape,
}

impl Courier {
    /// Gives every row of `load` an outcome, or leaves it untouched because a part before it failed; `trail` has what
    /// was done.
    pub(super) async fn deliver(&self, load: Load, trail: Trail) {
        let mut waiting = Vec::new();
        waiting.push(0..load.batch.rows());
        let mut part = 0;
        let mut suspects = 0;
        while !waiting.is_empty() {
            let taken = load.shape.taken.load(Ordering::Relaxed);
            if !taken && suspects == MOST_SUSPECTS {
                break;
            }
            // As long as nothing was taken, the largest part is the one most likely to tell that something is.
            let next = if taken || suspects == 0 {
                waiting.pop()
            } else {
                Some(waiting.remove(0))
            };
            let Some(range) = next else { break };
            // Only what has begun is finished once the run is stopping.
            if part > 0 && self.run.cancel.is_cancelled() {
                break;
            }
            let mut piece = if part == 0 {
                self.send(&load, part, &load.batch, &trail).await
            } else {
                let batch = load.batch.part(range.clone());
                self.send(&load, part, &batch, &trail).await
            };
            let outcome = piece.uploaded.outcome;
            let mut go_on = false;
            match (outcome, piece.uploaded.status) {
                (BatchOutcome::Accepted, _) => {
                    load.shape.taken.store(true, Ordering::Relaxed);
                    go_on = true;
                }
                (BatchOutcome::Split, _) => {
                    waiting.extend(halves(&range));
                    go_on = true;
                }
                (BatchOutcome::Refused, Some(status))
                    if range.len() == 1 && piece.recorded && self.splits(status) =>
                {
                    piece.suspect = load.batch.origin(range.start);
                    suspects += 1;
                    go_on = true;
                }
                _ => {}
            }
            part += 1;
            trail.progress().pieces.push(piece);
            if !go_on {
                break;
            }
        }
        self.judge(&load, &trail);
    }

    /// Single rows that were refused are rejects, if the service has ever taken a payload with these columns; if it has
    /// not, it objects to something that all rows have.
    fn judge(&self, load: &Load, trail: &Trail) {
        let rejects = load.shape.taken.load(Ordering::Relaxed);
        for piece in &mut trail.progress().pieces {
            if piece.suspect.is_none() {
                continue;
            }
            if rejects {
                piece.uploaded.outcome = BatchOutcome::Rejected;
            } else {
                piece.suspect = None;
                let error = piece.uploaded.error.take();
                piece.uploaded.error = error.map(|error| {
                    error.with_hint("every part was refused, down to a single row: it is not about some of the rows, but about what all have, such as a column the job does not know")
                });
            }
        }
    }

    /// Whether rows that an answer of `status` is about are looked for.
    fn splits(&self, status: u16) -> bool {
        self.policy.on_refused == OnRefused::Split && (ABOUT_ROWS.contains(&status) || status == TOO_LARGE)
    }

    async fn send(&self, load: &Load, part: u32, batch: &Batch, trail: &Trail) -> Piece {
        let mut resent = BTreeMap::new();
        if !load.unknown.is_empty() {
            for index in batch.hashes().iter().filter_map(|row| load.unknown.get(row)) {
                *resent.entry(*index).or_insert(0) += 1;
            }
        }
        let (rows, bytes) = (batch.rows(), batch.payload().len());
        let mut piece = Piece {
            part,
            rows,
            bytes,
            resent,
            duration: Duration::ZERO,
            uploaded: Uploaded::not_sent(None),
            recorded: true,
            suspect: None,
        };
        let id = match self.intend(load, &piece, batch).await {
            Ok(id) => id,
            Err(error) => {
                piece.uploaded = Uploaded::not_sent(Some(error));
                piece.recorded = false;
                return piece;
            }
        };
        let began = Instant::now();
        trail.progress().sending = Some(Sending {
            part,
            rows,
            bytes,
            resent: piece.resent.clone(),
            began,
        });
        let outgoing = Outgoing {
            number: load.number,
            part,
            label: load.lane.label,
            payload: batch.payload().clone(),
        };
        let mut uploaded = self.uploader.upload(outgoing).await;
        piece.duration = began.elapsed();
        if uploaded.outcome == BatchOutcome::Refused
            && rows > 1
            && let Some(status) = uploaded.status
            && (status == TOO_LARGE || self.splits(status))
        {
            if part + 2 < MOST_PARTS {
                uploaded.outcome = BatchOutcome::Split;
            } else {
                uploaded.error = uploaded.error.map(|error| {
                    error.with_hint(format!(
                        "batch {} was cut in parts until {MOST_PARTS} requests were spent: more of its rows are refused than it is worth telling apart this way",
                        load.number
                    ))
                });
            }
        }
        if let Err(error) = self.record_outcome(id, &uploaded, piece.duration).await {
            // What the ledger does not know, the next run must take for unknown; so the report says the same.
            match uploaded.outcome {
                BatchOutcome::Accepted => uploaded.outcome = BatchOutcome::Unknown,
                BatchOutcome::Split => uploaded.outcome = BatchOutcome::Refused,
                _ => {}
            }
            uploaded.error = Some(error);
            piece.recorded = false;
        }
        trail.progress().sending = None;
        piece.uploaded = uploaded;
        piece
    }

    async fn intend(&self, load: &Load, piece: &Piece, batch: &Batch) -> Result<Option<BatchId>> {
        let Some(ledger) = &self.ledger else {
            return Ok(None);
        };
        let intent = Intent {
            run: self.run.id.to_string(),
            sink: self.sink.to_string(),
            job: self.policy.job.clone(),
            scenario: load.lane.label.to_owned(),
            number: load.number,
            part: piece.part,
            bytes: piece.bytes as u64,
            rows: batch.hashes().clone(),
            resent: piece.resent.values().sum(),
            header: load.shape.header,
        };
        ledger.intend(intent).await.map(Some)
    }

    async fn record_outcome(
        &self,
        id: Option<BatchId>,
        uploaded: &Uploaded,
        duration: Duration,
    ) -> Result<()> {
        let (Some(ledger), Some(id)) = (&self.ledger, id) else {
            return Ok(());
        };
        let upload_outcome = UploadOutcome {
            outcome: uploaded.outcome,
            attempts: uploaded.attempts,
            unknown_attempts: uploaded.unknown_attempts,
            status: uploaded.status,
            request_ids: uploaded.request_ids.clone(),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        };
        ledger.record_outcome(id, upload_outcome).await
    }
}

/// Both halves, the first one last: it is sent next.
fn halves(range: &Range<usize>) -> [Range<usize>; 2] {
    let middle = range.start + range.len() / 2;
    [middle..range.end, range.start..middle]
}

impl Uploaded {
    /// What was not sent.
    pub(super) fn not_sent(error: Option<Error>) -> Self {
        Self {
            outcome: BatchOutcome::NotSent,
            attempts: 0,
            unknown_attempts: 0,
            status: None,
            request_ids: Vec::new(),
            answer: None,
            error,
            pause: false,
        }
    }
}
