//! A dispatcher with a scripted service and sources, and what must hold of every run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use async_trait::async_trait;
use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::component::{
    BatchOutcome, BatchReport, Checkpoint, Chunk, Item, Origins, Part, RunInfo, SinkContext, Totals, channel,
};
use crate::delivery::{
    Answer, Dispatcher, Limits, OnRefused, Partition, Policy, SinkService, Upload, Uploader, Verdict,
    contract,
};
use crate::error::{Error, ErrorKind, Result};
use crate::format::encode::{CsvEncoder, Values};

pub(super) use BatchOutcome::{Accepted, NotSent, Refused, Unknown};

pub(super) const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    After(Duration, Verdict),
    Panic,
}

pub(super) fn after(seconds: u64, verdict: Verdict) -> Step {
    Step::After(Duration::from_secs(seconds), verdict)
}

/// Answers each batch by its number; batches after the script are accepted at once.
#[derive(Default)]
struct ScriptedService {
    script: Vec<Step>,
    running: AtomicUsize,
    max_running: AtomicUsize,
    seen: Mutex<BTreeMap<(u64, u32), Seen>>,
    bad_rows: BTreeSet<String>,
    max_bytes: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) label: &'static str,
    pub(super) header: String,
    pub(super) rows: Vec<String>,
    pub(super) bytes: usize,
    pub(super) accepted: bool,
}

#[async_trait]
impl SinkService for ScriptedService {
    async fn upload(&self, upload: Upload) -> Answer {
        let key = (upload.number, upload.part);
        let text = String::from_utf8(upload.payload.to_vec()).unwrap();
        let mut lines = text.lines().map(str::to_owned);
        let seen = Seen {
            label: upload.label,
            header: lines.next().unwrap(),
            rows: lines.collect(),
            bytes: upload.payload.len(),
            accepted: false,
        };
        let too_large = self.max_bytes.is_some_and(|max| seen.bytes > max);
        let bad = seen.rows.iter().any(|row| self.bad_rows.contains(row));
        let before = self.seen.lock().unwrap().insert(key, seen);
        assert_eq!(before, None, "sent twice");
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.max_running.fetch_max(running, Ordering::SeqCst);
        let step = self.script.get(usize::try_from(upload.number).unwrap() - 1);
        let verdict = match step.copied().unwrap_or(after(0, Verdict::Accepted)) {
            Step::Panic => panic!("ada@contoso.com is no char boundary"),
            Step::After(time, verdict) => {
                tokio::time::sleep(time).await;
                verdict
            }
        };
        let verdict = match verdict {
            Verdict::Accepted if too_large => Verdict::TooLarge,
            Verdict::Accepted if bad => Verdict::ContentRejected,
            verdict => verdict,
        };
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.seen.lock().unwrap().get_mut(&key).unwrap().accepted = verdict == Verdict::Accepted;
        let (kind, status) = match verdict {
            Verdict::Unknown => (ErrorKind::Transient, None),
            Verdict::Transient => (ErrorKind::Transient, Some(503)),
            Verdict::PermanentlyRefused => (ErrorKind::Refused, Some(403)),
            Verdict::ContentRejected => (ErrorKind::Refused, Some(400)),
            Verdict::TooLarge => (ErrorKind::Refused, Some(413)),
            Verdict::Accepted => (ErrorKind::Refused, Some(202)),
        };
        let error = Error::new(kind, format!("batch {} failed", upload.number));
        Answer {
            attempts: 1,
            status,
            body: bad.then(|| "row not valid".to_owned()),
            ..Answer::without_request(verdict, (verdict != Verdict::Accepted).then_some(error))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_scripted_service_keeps_the_contract() {
    let script = |verdict| ScriptedService {
        script: vec![after(1, verdict)],
        ..ScriptedService::default()
    };
    contract::check(script).await;
}

/// An item of the input, or an action of a source.
#[derive(Debug, Clone)]
pub(super) enum Feed {
    /// A chunk for a partition: one row for each length of padding.
    Rows(usize, Vec<usize>),
    Wider(usize, usize),
    NotText(usize, usize),
    Checkpoint(usize),
    /// Waits until all checkpoints so far are resolved.
    AwaitCheckpoints,
    Wait(Duration),
}

pub(super) const CHECK: Feed = Feed::Checkpoint(0);

pub(super) fn rows(partition: usize, rows: usize) -> Feed {
    Feed::Rows(partition, vec![0; rows])
}

pub(super) struct Fixture {
    pub(super) script: Vec<Step>,
    pub(super) limits: Limits,
    pub(super) concurrency: usize,
    pub(super) dry_run: bool,
    pub(super) grace: Duration,
    pub(super) cancel_at: Option<Duration>,
    /// Rows whose payloads the service rejects.
    pub(super) bad_rows: BTreeSet<String>,
    pub(super) max_bytes: Option<usize>,
    pub(super) policy: Policy,
}

impl Default for Fixture {
    fn default() -> Self {
        Self {
            script: Vec::new(),
            limits: limits(2),
            concurrency: 1,
            dry_run: false,
            grace: 30 * SECOND,
            cancel_at: None,
            bad_rows: BTreeSet::new(),
            max_bytes: None,
            policy: Policy::new("job"),
        }
    }
}

/// A service that accepts each batch after so many seconds.
pub(super) fn accepting(concurrency: usize, seconds: impl IntoIterator<Item = u64>) -> Fixture {
    let steps = seconds.into_iter();
    let steps = steps.map(|seconds| after(seconds, Verdict::Accepted));
    Fixture {
        concurrency,
        ..Fixture::scripted(steps)
    }
}

pub(super) fn limits(max_rows: usize) -> Limits {
    Limits {
        max_rows,
        max_bytes: 1 << 20,
    }
}

/// Splits batches in which rows of the first partition are rejected.
pub(super) fn splitting(max_rows: usize, bad: impl IntoIterator<Item = u64>) -> Fixture {
    Fixture {
        limits: limits(max_rows),
        bad_rows: bad.into_iter().map(|row| id(0, row, 0)).collect(),
        policy: Policy {
            on_refused: OnRefused::Split,
            ..Policy::new("job")
        },
        ..Fixture::default()
    }
}

/// What a run did.
pub(super) struct Outcome {
    pub(super) result: Result<()>,
    pub(super) totals: Totals,
    pub(super) reports: Vec<BatchReport>,
    /// For each checkpoint: the rows of its partition before it, whether it was delivered, and when.
    pub(super) checkpoints: Vec<(BTreeSet<String>, bool, Duration)>,
    pub(super) rejected: BTreeSet<String>,
    pub(super) seen: BTreeMap<(u64, u32), Seen>,
    pub(super) max_running: usize,
    pub(super) in_flight: usize,
    pub(super) elapsed: Duration,
    pub(super) rows_in: u64,
}

const LABELS: [&str; 3] = ["first", "second", "third"];

pub(super) fn id(partition: usize, row: u64, padding: usize) -> String {
    format!("{partition}-{row}-{}", "x".repeat(padding))
}

impl Fixture {
    pub(super) fn scripted(script: impl IntoIterator<Item = Step>) -> Self {
        Self {
            script: script.into_iter().collect(),
            ..Self::default()
        }
    }

    pub(super) async fn run(self, feed: Vec<Feed>) -> Outcome {
        let started = Instant::now();
        let cancel = CancellationToken::new();
        let (batches, mut reports) = mpsc::unbounded_channel();
        let mut run = RunInfo::new("");
        run.dry_run = self.dry_run;
        run.grace = self.grace;
        run.cancel = cancel.clone();
        let mut cx = SinkContext::new("sink", run, Vec::new());
        cx.batches = batches;
        let service = Arc::new(ScriptedService {
            script: self.script,
            bad_rows: self.bad_rows,
            max_bytes: self.max_bytes,
            ..ScriptedService::default()
        });
        let uploader = Uploader {
            cx: cx.clone(),
            service: service.clone(),
            policy: self.policy,
        };
        let dispatcher = Dispatcher {
            uploader,
            limits: self.limits,
            concurrency: self.concurrency,
        };
        let partitions = LABELS.map(|label| Partition {
            label,
            encoder: Arc::new(|schema: &Schema| {
                let columns = schema.fields().iter().map(|field| field.name());
                let columns = columns.map(|name| (name.clone(), Values::Column(name.clone())));
                CsvEncoder {
                    columns: columns.collect(),
                }
            }),
        });
        let (sender, mut input) = channel(2, cx.counts.clone());
        let mut canceller = JoinSet::new();
        if let Some(at) = self.cancel_at {
            let cancel = cancel.clone();
            canceller.spawn(async move {
                tokio::time::sleep(at).await;
                cancel.cancel();
            });
        }
        let running = async {
            let result = dispatcher.run(partitions.to_vec(), &mut input).await;
            drop(input);
            (result, started.elapsed())
        };
        let ((result, elapsed), (checkpoints, ids, rows_in)) =
            tokio::join!(running, send(feed, sender, started));
        let rejected = cx.rejects.kept();
        let (totals, in_flight) = (cx.counts.totals(), cx.in_flight.load(Ordering::SeqCst));
        drop(cx);
        let mut received = Vec::new();
        while let Some(report) = reports.recv().await {
            received.push(report);
        }
        let ids = rejected.iter().map(|reject| ids[&reject.origin.row].clone());
        Outcome {
            result,
            totals,
            reports: received,
            checkpoints,
            rejected: ids.collect(),
            seen: service.seen.lock().unwrap().clone(),
            max_running: service.max_running.load(Ordering::SeqCst),
            in_flight,
            elapsed,
            rows_in,
        }
    }
}

type Sent = (
    Vec<(BTreeSet<String>, bool, Duration)>,
    BTreeMap<u64, String>,
    u64,
);

async fn send(feed: Vec<Feed>, sender: mpsc::Sender<(usize, Item)>, started: Instant) -> Sent {
    let mut before = vec![BTreeSet::new(); LABELS.len()];
    let mut rows_before = Vec::new();
    let mut waiting = JoinSet::new();
    let mut resolved = BTreeMap::new();
    let mut ids = BTreeMap::new();
    let mut row = 0;
    for feed in feed {
        let (partition, paddings) = match &feed {
            Feed::Rows(partition, paddings) => (*partition, paddings.clone()),
            Feed::Wider(partition, rows) | Feed::NotText(partition, rows) => (*partition, vec![0; *rows]),
            Feed::Checkpoint(partition) => {
                let (checkpoint, delivered) = Checkpoint::new("here");
                let index = rows_before.len();
                waiting.spawn(async move { (index, (delivered.await, started.elapsed())) });
                rows_before.push(before[*partition].clone());
                let _ = sender.send((*partition, Item::Checkpoint(checkpoint))).await;
                continue;
            }
            Feed::AwaitCheckpoints => {
                resolved.extend(std::mem::take(&mut waiting).join_all().await);
                continue;
            }
            Feed::Wait(time) => {
                tokio::time::sleep(*time).await;
                continue;
            }
        };
        let first = row + 1;
        let mut texts = Vec::new();
        for padding in paddings {
            row += 1;
            let text = id(partition, row, padding);
            ids.insert(row, text.clone());
            before[partition].insert(text.clone());
            texts.push(text);
        }
        let len = texts.len();
        let mut columns: Vec<(&str, ArrayRef)> = vec![("id", Arc::new(StringArray::from(texts)))];
        match feed {
            Feed::Wider(..) => columns.push(("note", Arc::new(StringArray::from(vec!["more"; len])))),
            Feed::NotText(..) => columns.push(("number", Arc::new(Int32Array::from(vec![1; len])))),
            _ => {}
        }
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let part = Arc::new(Part {
            name: "test".into(),
            columns: Vec::new(),
        });
        let chunk = Chunk::records(batch, Origins::consecutive(part, first, len));
        let sent = sender.send((partition, Item::Chunk(chunk))).await;
        assert!(sent.is_ok(), "the dispatcher takes every item");
    }
    drop(sender);
    resolved.extend(waiting.join_all().await);
    let checkpoints = rows_before.into_iter().zip(resolved.into_values());
    let checkpoints = checkpoints.map(|(rows, (delivered, when))| (rows, delivered, when));
    (checkpoints.collect(), ids, row)
}

impl Outcome {
    pub(super) fn outcomes(&self) -> BTreeMap<u64, BatchOutcome> {
        let reports = self.reports.iter();
        reports.map(|report| (report.number, report.outcome)).collect()
    }

    pub(super) fn delivered(&self) -> Vec<bool> {
        let all = self.checkpoints.iter();
        all.map(|(_, delivered, _)| *delivered).collect()
    }

    pub(super) fn error(&self) -> &Error {
        self.result.as_ref().unwrap_err()
    }

    /// What must hold of every run.
    pub(super) fn check(&self, limits: Limits, concurrency: usize) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.totals.finished(), self.rows_in, "rows are conserved");
        prop_assert_eq!(self.in_flight, 0);
        prop_assert!(self.max_running <= concurrency);
        let sent = self.reports.iter().filter(|report| report.attempts > 0);
        let parts: BTreeSet<_> = sent.clone().map(|report| (report.number, report.part)).collect();
        prop_assert_eq!(parts.len(), sent.count(), "one report for each upload");
        let numbers: BTreeSet<u64> = self.reports.iter().map(|report| report.number).collect();
        prop_assert!(numbers.iter().copied().eq(1..=numbers.len() as u64));
        let rows = |outcome| -> u64 {
            let reports = self.reports.iter().filter(|report| report.outcome == outcome);
            reports.map(|report| report.rows).sum()
        };
        prop_assert_eq!(rows(Accepted), self.totals.accepted);
        prop_assert_eq!(rows(Refused), self.totals.refused);
        prop_assert_eq!(rows(Unknown), self.totals.unknown);
        prop_assert!(rows(BatchOutcome::Rejected) <= self.totals.rejected);
        prop_assert!(
            rows(NotSent) <= self.totals.not_sent,
            "rows in no batch have no report"
        );
        let mut accepted = BTreeSet::new();
        for seen in self.seen.values() {
            prop_assert!(!seen.rows.is_empty() && seen.rows.len() <= limits.max_rows);
            prop_assert!(seen.bytes <= limits.max_bytes);
            let partition = LABELS.iter().position(|label| *label == seen.label).unwrap();
            let prefix = format!("{partition}-");
            prop_assert!(seen.rows.iter().all(|id| id.starts_with(&prefix)));
            let wider = seen.header.contains(',');
            prop_assert!(
                seen.rows.iter().all(|row| row.contains(',') == wider),
                "one schema"
            );
            if seen.accepted {
                let ids = seen.rows.iter().map(|row| row.split(',').next().unwrap());
                accepted.extend(ids.map(str::to_owned));
            }
        }
        prop_assert_eq!(accepted.len() as u64, self.totals.accepted, "no row twice");
        for (before, delivered, _) in &self.checkpoints {
            let is_final = |id| accepted.contains(id) || self.rejected.contains(id);
            prop_assert!(!delivered || before.iter().all(is_final), "done before its rows");
        }
        Ok(())
    }
}
