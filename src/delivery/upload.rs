//! Uploads one batch: records the intent, sends it, records the outcome, and splits the batch where the service found it
//! too large or rejected its content.
//!
//! Results go into [`Progress`] as they arrive, so that they survive when the upload is aborted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::batch::Batch;
use super::dedup::UnknownRows;
use super::policy::{OnRefused, Policy};
use super::service::{Answer, SinkService, Upload, Verdict};
use crate::component::{BatchOutcome, Origin, SinkContext};
use crate::error::{Error, Result};
use crate::ledger::{BatchId, Intent, Ledger, RowHash, UploadOutcome};

/// Requests that may be spent on one batch to find the rows that the service rejects. Finding `k` rows in a batch of `n`
/// takes about `2 k log2(n / k)`: a dozen among 5,000.
const MAX_PARTS: u32 = 256;

/// Single rows rejected, with nothing ever accepted under these columns, after which it is not about rows.
const MAX_SUSPECTS: u32 = 8;

/// What all uploads of a sink share.
pub(crate) struct Uploader {
    pub(crate) cx: SinkContext,
    pub(crate) service: Arc<dyn SinkService>,
    pub(crate) policy: Policy,
}

#[derive(Debug, Clone)]
pub(super) struct PayloadColumns {
    /// Hash of the header row; unused without a ledger.
    pub(super) header: RowHash,
    /// Whether the service has accepted a payload with these columns, now or in an earlier run.
    pub(super) accepted: Arc<AtomicBool>,
}

pub(super) struct UploadTask {
    pub(super) partition: usize,
    pub(super) number: u64,
    pub(super) label: &'static str,
    pub(super) batch: Batch,
    pub(super) unknown: UnknownRows,
    pub(super) columns: PayloadColumns,
}

/// A complete batch, or part of one, with its outcome.
pub(super) struct PartOutcome {
    /// 0 for a complete batch.
    pub(super) part: u32,
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// Rows that were in each earlier batch of unknown outcome.
    pub(super) resent: BTreeMap<usize, u64>,
    pub(super) duration: Duration,
    pub(super) outcome: BatchOutcome,
    pub(super) answer: Answer,
    /// Whether the ledger has the outcome.
    pub(super) recorded: bool,
    /// The origin of a single rejected row.
    pub(super) suspect: Option<Origin>,
}

/// The parts of a batch that have an outcome, in the order of sending, and the one in progress.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<Mutex<Parts>>);

#[derive(Default)]
pub(super) struct Parts {
    pub(super) finished: Vec<PartOutcome>,
    pub(super) in_progress: Option<(PartOutcome, Instant)>,
}

impl Progress {
    pub(super) fn take(&self) -> Parts {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartOutcome {
    pub(super) fn not_sent(part: u32, rows: usize, bytes: usize, error: Option<Error>) -> Self {
        Self {
            part,
            rows,
            bytes,
            resent: BTreeMap::new(),
            duration: Duration::ZERO,
            outcome: BatchOutcome::NotSent,
            answer: Answer::without_request(Verdict::PermanentlyRefused, error),
            recorded: true,
            suspect: None,
        }
    }
}

impl Uploader {
    /// Uploads the batch. Rows without an outcome in `progress` were not sent, because a part before them failed.
    pub(super) async fn upload(&self, task: &UploadTask, progress: &Progress) {
        let all = 0..task.batch.rows();
        let mut waiting = vec![all];
        let (mut part, mut suspects) = (0, 0);
        while !waiting.is_empty() {
            let accepted = task.columns.accepted.load(Ordering::Relaxed);
            if !accepted && suspects == MAX_SUSPECTS {
                break;
            }
            // Until something was accepted, the largest part is most likely to be.
            let range = if accepted || suspects == 0 {
                waiting.pop()
            } else {
                Some(waiting.remove(0))
            };
            let Some(range) = range else { break };
            // A stopped run sends no further part.
            if part > 0 && self.cx.run.cancel.is_cancelled() {
                break;
            }
            let batch = match part {
                0 => Cow::Borrowed(&task.batch),
                _ => Cow::Owned(task.batch.part(range.clone())),
            };
            let mut sent = self.send(task, part, &batch, progress).await;
            let proceed = match sent.outcome {
                BatchOutcome::Accepted => {
                    task.columns.accepted.store(true, Ordering::Relaxed);
                    true
                }
                BatchOutcome::Split => {
                    // The first half is sent next.
                    let middle = range.start + range.len() / 2;
                    waiting.extend([middle..range.end, range.start..middle]);
                    true
                }
                BatchOutcome::Refused
                    if range.len() == 1 && sent.recorded && self.splits(sent.answer.verdict) =>
                {
                    sent.suspect = task.batch.origin(range.start);
                    suspects += 1;
                    true
                }
                _ => false,
            };
            part += 1;
            progress.lock().finished.push(sent);
            if !proceed {
                break;
            }
        }
        reject_suspects(task, &mut progress.lock().finished);
    }

    /// Whether rows that the service rejects are searched for.
    fn splits(&self, verdict: Verdict) -> bool {
        self.policy.on_refused == OnRefused::Split
            && matches!(verdict, Verdict::ContentRejected | Verdict::TooLarge)
    }

    async fn send(&self, task: &UploadTask, part: u32, batch: &Batch, progress: &Progress) -> PartOutcome {
        let rows = batch.rows();
        let new = || {
            let mut new = PartOutcome::not_sent(part, rows, batch.payload.len(), None);
            if !task.unknown.is_empty() {
                for index in batch.hashes.iter().filter_map(|row| task.unknown.get(row)) {
                    *new.resent.entry(*index).or_insert(0) += 1;
                }
            }
            new
        };
        let mut sent = new();
        let id = match self.record_intent(task, &sent, batch).await {
            Ok(id) => id,
            Err(error) => {
                sent.answer.error = Some(error);
                sent.recorded = false;
                return sent;
            }
        };
        let started = Instant::now();
        progress.lock().in_progress = Some((new(), started));
        sent.answer = self
            .service
            .upload(Upload {
                number: task.number,
                part,
                label: task.label,
                payload: batch.payload.clone(),
            })
            .await;
        sent.duration = started.elapsed();
        let verdict = sent.answer.verdict;
        sent.outcome = match verdict {
            Verdict::Accepted => BatchOutcome::Accepted,
            Verdict::TooLarge | Verdict::ContentRejected => BatchOutcome::Refused,
            Verdict::PermanentlyRefused if sent.answer.status.is_some() => BatchOutcome::Refused,
            Verdict::PermanentlyRefused | Verdict::Transient => BatchOutcome::NotSent,
            Verdict::Unknown => BatchOutcome::Unknown,
        };
        if rows > 1 && (verdict == Verdict::TooLarge || self.splits(verdict)) {
            if part + 2 < MAX_PARTS {
                sent.outcome = BatchOutcome::Split;
            } else {
                sent.answer.error = sent.answer.error.map(|error| {
                    error.with_hint(format!(
                        "batch {} was split until {MAX_PARTS} requests were spent: too many of its rows are rejected to find them this way",
                        task.number
                    ))
                });
            }
        }
        if let Err(error) = self.record_outcome(id, &sent).await {
            // The next run takes what the ledger does not know for unknown; the report must say the same.
            sent.outcome = match sent.outcome {
                BatchOutcome::Accepted => BatchOutcome::Unknown,
                BatchOutcome::Split => BatchOutcome::Refused,
                outcome => outcome,
            };
            sent.answer.error = Some(error);
            sent.recorded = false;
        }
        progress.lock().in_progress = None;
        sent
    }

    async fn record_intent(
        &self,
        task: &UploadTask,
        part: &PartOutcome,
        batch: &Batch,
    ) -> Result<Option<BatchId>> {
        let Some(ledger) = self.cx.run.services.get::<Ledger>() else {
            return Ok(None);
        };
        let intent = Intent {
            run: self.cx.run.id.to_string(),
            sink: self.cx.name.to_string(),
            job: self.policy.job.clone(),
            scenario: task.label.to_owned(),
            number: task.number,
            part: part.part,
            bytes: part.bytes as u64,
            rows: batch.hashes.clone(),
            resent: part.resent.values().sum(),
            header: task.columns.header,
        };
        ledger.intend(intent).await.map(Some)
    }

    async fn record_outcome(&self, id: Option<BatchId>, sent: &PartOutcome) -> Result<()> {
        let (Some(ledger), Some(id)) = (self.cx.run.services.get::<Ledger>(), id) else {
            return Ok(());
        };
        let upload = UploadOutcome {
            outcome: sent.outcome,
            attempts: sent.answer.attempts,
            unknown_attempts: sent.answer.unknown_attempts,
            status: sent.answer.status,
            request_ids: sent.answer.request_ids.clone(),
            duration_ms: u64::try_from(sent.duration.as_millis()).unwrap_or(u64::MAX),
        };
        ledger.record_outcome(id, upload).await
    }
}

/// Rejects the single rows that were refused, if the service has ever accepted a payload with these columns; otherwise
/// it objects to something that all rows have.
fn reject_suspects(task: &UploadTask, parts: &mut [PartOutcome]) {
    let accepted = task.columns.accepted.load(Ordering::Relaxed);
    for part in parts.iter_mut().filter(|part| part.suspect.is_some()) {
        if accepted {
            part.outcome = BatchOutcome::Rejected;
        } else {
            part.suspect = None;
            part.answer.error = part.answer.error.take().map(|error| {
                error.with_hint("every part was refused, down to a single row: the cause is common to all rows, such as a column that the job does not know")
            });
        }
    }
}
