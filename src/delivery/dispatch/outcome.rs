//! Counts and reports what happened to batches, and decides whether the run continues.

use std::sync::atomic::Ordering;

use tokio::task::{Id, JoinError};
use tokio::time::Instant;

use super::Run;
use crate::component::{BatchOutcome, BatchReport, RejectCode};
use crate::delivery::policy::OnUnknown;
use crate::delivery::service::{Answer, Verdict};
use crate::delivery::upload::{PartOutcome, UploadTask};
use crate::error::{Error, ErrorKind};

impl Run<'_> {
    pub(super) fn upload_ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, aborted) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some((task, progress)) = self.in_flight.remove(&id) else {
            return;
        };
        self.uploader.cx.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut parts = progress.take();
        if let Some(error) = aborted {
            let aborted = self.aborted(&task, parts.in_progress, &error);
            parts.finished.push(aborted);
        }
        let mut left = task.batch.rows();
        let mut failed: Option<PartOutcome> = None;
        for part in parts.finished {
            if part.outcome != BatchOutcome::Split {
                left -= part.rows;
            }
            // An interrupt says least.
            if let Some(failure) = self.record_part(&task, part)
                && failed.as_ref().is_none_or(is_interrupted)
            {
                failed = Some(failure);
            }
        }
        if left > 0 {
            // Parts that were not sent, because one before them failed.
            self.not_sent(&task, left);
            let interrupted = || PartOutcome::not_sent(0, left, 0, Some(Error::interrupted()));
            failed.get_or_insert_with(interrupted);
        }
        match failed {
            None => {
                self.streak = None;
                self.partitions[task.partition].batch_done(task.number);
            }
            Some(failed) => self.batch_failed(&task, failed),
        }
    }

    /// Counts and reports a part. Returns it if it was not delivered.
    fn record_part(&mut self, task: &UploadTask, mut part: PartOutcome) -> Option<PartOutcome> {
        let counts = &self.uploader.cx.counts;
        match part.outcome {
            BatchOutcome::Accepted => counts.accepted(part.rows),
            BatchOutcome::Refused => counts.refused(part.rows),
            BatchOutcome::Unknown => counts.unknown(part.rows),
            BatchOutcome::NotSent => counts.not_sent(part.rows),
            BatchOutcome::Split if part.answer.verdict == Verdict::TooLarge => {
                self.partitions[task.partition].shrink(part.bytes / 2);
            }
            BatchOutcome::Split => {}
            BatchOutcome::Rejected => {
                if let Some(origin) = part.suspect.take() {
                    self.reject(origin, RejectCode::Refused, reason(&part.answer));
                }
            }
        }
        if matches!(part.outcome, BatchOutcome::Accepted | BatchOutcome::Unknown) {
            for (index, rows) in &part.resent {
                *self.resent.entry((task.label, *index)).or_default() += rows;
            }
        }
        self.report(task, &part);
        let delivered = matches!(
            part.outcome,
            BatchOutcome::Accepted | BatchOutcome::Split | BatchOutcome::Rejected
        );
        // A failure of the ledger counts whatever the service answered.
        (!delivered || !part.recorded).then_some(part)
    }

    /// A batch was not delivered: stops the run, unless the next one may succeed.
    fn batch_failed(&mut self, task: &UploadTask, failed: PartOutcome) {
        let PartOutcome {
            outcome,
            answer,
            recorded,
            ..
        } = failed;
        let error = answer.error.unwrap_or_else(|| {
            Error::new(
                ErrorKind::Transient,
                format!("batch {} was not accepted", task.number),
            )
        });
        // Rows of this batch may have been skipped as duplicates in another partition of the scenario.
        for state in &mut self.partitions {
            state.incomplete |= state.partition.label == task.label;
        }
        if outcome == BatchOutcome::NotSent
            && let Some(dedup) = &mut self.dedup
        {
            dedup.mark_unsent(task.label, &task.batch.hashes);
        }
        let policy = &self.uploader.policy;
        let may_pass = match outcome {
            BatchOutcome::Unknown => error.kind() == ErrorKind::Transient,
            _ => answer.verdict == Verdict::Transient && error.kind() != ErrorKind::Interrupted,
        };
        let held = outcome == BatchOutcome::Unknown && policy.on_unknown == OnUnknown::Hold;
        if held && may_pass {
            return self.stop(hold(error, policy.evidence));
        }
        // Without a ledger nothing more may be sent.
        if held || !may_pass || answer.stop || !recorded || self.stopped.is_some() {
            return self.stop(error);
        }
        let cause = (answer.verdict, answer.status);
        let before = self.streak.filter(|(last, _)| *last == cause);
        let batches = before.map_or(1, |(_, batches)| batches + 1);
        self.streak = Some((cause, batches));
        if batches >= policy.max_consecutive_failures.get() {
            return self.stop(match batches {
                1 => error,
                _ => error.with_hint(format!(
                    "{batches} consecutive batches failed for the same cause, so the run stopped (`delivery.max_consecutive_failures`)"
                )),
            });
        }
        tracing::warn!(sink = %self.uploader.cx.name, error = %error.chain(), "a batch failed; trying the next ones");
        self.first_failure.get_or_insert(error);
        self.drop_stale_checkpoints();
    }

    /// The outcome of the part that was in progress when its upload was aborted or panicked: the service may have
    /// accepted it.
    fn aborted(
        &self,
        task: &UploadTask,
        in_progress: Option<(PartOutcome, Instant)>,
        error: &JoinError,
    ) -> PartOutcome {
        let error = if error.is_panic() {
            // The panic's text may contain values of rows.
            Error::unexpected(format!("the upload of batch {} panicked", task.number))
                .with_hint("please report this: it should not happen")
        } else {
            Error::new(
                ErrorKind::Interrupted,
                format!(
                    "the upload of batch {} was aborted: it had not ended {} after the run was stopped",
                    task.number,
                    humantime::format_duration(self.uploader.cx.run.grace)
                ),
            )
            .with_hint(
                "the service may have accepted its rows: the next run reports it when it sends them again",
            )
        };
        match in_progress {
            None => PartOutcome::not_sent(0, 0, 0, Some(error)),
            Some((mut part, started)) => {
                part.duration = started.elapsed();
                part.outcome = BatchOutcome::Unknown;
                part.answer = Answer {
                    attempts: 1,
                    ..Answer::without_request(Verdict::Unknown, Some(error))
                };
                part
            }
        }
    }

    pub(super) fn not_sent(&self, task: &UploadTask, rows: usize) {
        self.uploader.cx.counts.not_sent(rows);
        let complete = rows == task.batch.rows();
        let bytes = if complete { task.batch.payload.len() } else { 0 };
        self.report(task, &PartOutcome::not_sent(0, rows, bytes, None));
    }

    fn report(&self, task: &UploadTask, part: &PartOutcome) {
        let (number, label, outcome, answer) = (task.number, task.label, part.outcome, &part.answer);
        tracing::debug!(
            sink = %self.uploader.cx.name, batch = number, part = part.part, label, rows = part.rows, bytes = part.bytes, ?outcome,
            "batch finished"
        );
        // The receiver may be gone when a run is torn down; the counts are right all the same.
        let _ = self.uploader.cx.batches.send(BatchReport {
            sink: self.uploader.cx.name.to_string(),
            number,
            part: part.part,
            scenario: label.to_owned(),
            rows: part.rows as u64,
            bytes: part.bytes as u64,
            outcome,
            attempts: answer.attempts,
            unknown_attempts: answer.unknown_attempts,
            resent_rows: part.resent.values().sum(),
            status: answer.status,
            answer: answer.body.clone(),
            request_ids: answer.request_ids.clone(),
            duration_ms: u64::try_from(part.duration.as_millis()).unwrap_or(u64::MAX),
            error: answer.error.as_ref().map(Error::chain),
        });
    }
}

fn is_interrupted(part: &PartOutcome) -> bool {
    let error = part.answer.error.as_ref();
    error.is_some_and(|error| error.kind() == ErrorKind::Interrupted)
}

fn reason(answer: &Answer) -> String {
    let mut text = "the service rejected this row on its own".to_owned();
    if let Some(status) = answer.status {
        text.push_str(&format!(": status {status}"));
    }
    if let Some(body) = answer.body.as_deref().filter(|body| !body.is_empty()) {
        text.push_str(": ");
        text.push_str(body);
    }
    text
}

fn hold(error: Error, evidence: &str) -> Error {
    let message = "the service may have accepted a batch, and `delivery.on_unknown` is `hold`: nothing more is sent until the batch is resolved";
    Error::new(ErrorKind::Guard, message)
        .with_hint(format!("`hrsink history FILE --batches` names the batch; find it in {evidence}, then record what you found: `hrsink ledger resolve FILE --run RUN --batch NUMBER --as accepted` or `--as not-accepted`"))
        .with_source(error)
}
