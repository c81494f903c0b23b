//! A stand for the driver: a scripted uploader, sources, and what must hold of every run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::*;
use crate::component::{Counts, Delivered, Origins, Outputs, Part, Rejects, RunInfo, Totals, channel};
use crate::ledger::Ledger;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// What the fake does with a batch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    After(Duration, BatchOutcome),
    Panic,
}

pub(super) use BatchOutcome::{Accepted, NotSent, Refused, Unknown};

/// An uploader that follows a script: for each batch, by its number, how long it takes and how it ends. Batches
/// beyond the script are accepted at once.
#[derive(Default)]
struct Fake {
    script: Vec<Answer>,
    running: AtomicUsize,
    most: AtomicUsize,
    seen: Mutex<BTreeMap<(u64, u32), Seen>>,
    bad_rows: BTreeSet<String>,
    takes_bytes: Option<usize>,
}

/// A batch that came to the fake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) label: &'static str,
    pub(super) header: String,
    pub(super) rows: Vec<String>,
    pub(super) bytes: usize,
    pub(super) accepted: bool,
}

#[async_trait]
impl Uploader for Fake {
    async fn upload(&self, outgoing: Outgoing) -> Uploaded {
        let (number, part) = (outgoing.number, outgoing.part);
        let text = String::from_utf8(outgoing.payload.to_vec()).unwrap();
        let mut lines = text.lines().map(str::to_owned);
        let seen = Seen {
            label: outgoing.label,
            header: lines.next().unwrap(),
            rows: lines.collect(),
            bytes: outgoing.payload.len(),
            accepted: false,
        };
        let too_large = self.takes_bytes.is_some_and(|most| seen.bytes > most);
        let bad = seen.rows.iter().any(|row| self.bad_rows.contains(row));
        let before = self.seen.lock().unwrap().insert((number, part), seen);
        assert_eq!(before, None, "a number is given once");
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let index = usize::try_from(number).unwrap() - 1;
        let answer = self.script.get(index).copied();
        let mut status = None;
        let mut outcome = match answer.unwrap_or(Answer::After(Duration::ZERO, Accepted)) {
            Answer::Panic => panic!("ada@contoso.com is no char boundary"),
            Answer::After(time, outcome) => {
                tokio::time::sleep(time).await;
                outcome
            }
        };
        if outcome == Accepted && (too_large || bad) {
            outcome = Refused;
            status = Some(if too_large { 413 } else { 400 });
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.seen
            .lock()
            .unwrap()
            .get_mut(&(number, part))
            .unwrap()
            .accepted = outcome == Accepted;
        let kind = match outcome {
            Refused => ErrorKind::Refused,
            _ => ErrorKind::Transient,
        };
        Uploaded {
            outcome,
            attempts: 1,
            unknown_attempts: 0,
            status,
            request_ids: Vec::new(),
            answer: bad.then(|| "row not valid".to_owned()),
            pause: false,
            error: (outcome != Accepted).then(|| Error::new(kind, format!("batch {number} came back"))),
        }
    }
}

/// What comes into the driver.
#[derive(Debug, Clone)]
pub(super) enum Feed {
    /// A chunk of a lane: a row for each of these lengths of padding.
    Rows(usize, Vec<usize>),
    /// A chunk of so many rows that are all the same.
    Same(usize, usize),
    /// A chunk with a further column.
    Wider(usize, usize),
    /// A chunk that cannot be encoded.
    NotText(usize, usize),
    Checkpoint(usize),
    /// Goes on once all checkpoints so far are settled, as a source does that must not get ahead.
    Settled,
    Wait(Duration),
}

pub(super) struct Stand {
    pub(super) script: Vec<Answer>,
    pub(super) limits: Limits,
    pub(super) concurrency: usize,
    pub(super) dry_run: bool,
    pub(super) grace: Duration,
    pub(super) cancel_at: Option<Duration>,
    /// Rows that the fake refuses every payload for (400).
    pub(super) bad_rows: BTreeSet<String>,
    /// The largest payload that the fake takes (413).
    pub(super) takes_bytes: Option<usize>,
    pub(super) policy: Policy,
    pub(super) ledger: Option<Ledger>,
    /// The run's id.
    pub(super) run: &'static str,
}

impl Default for Stand {
    fn default() -> Self {
        Self {
            script: Vec::new(),
            limits: Limits {
                max_rows: 2,
                max_bytes: 1000,
            },
            concurrency: 1,
            dry_run: false,
            grace: 30 * SECOND,
            cancel_at: None,
            bad_rows: BTreeSet::new(),
            takes_bytes: None,
            policy: Policy::new("job"),
            ledger: None,
            run: "run",
        }
    }
}

/// What came out.
pub(super) struct Found {
    pub(super) result: Result<()>,
    pub(super) totals: Totals,
    pub(super) reports: Vec<BatchReport>,
    /// For each checkpoint: the rows of its lane that came before it, whether it was delivered, and when.
    pub(super) checkpoints: Vec<(BTreeSet<String>, bool, Duration)>,
    pub(super) rejected: BTreeSet<String>,
    pub(super) reasons: Vec<String>,
    pub(super) earlier: Vec<crate::component::EarlierUnknown>,
    pub(super) seen: BTreeMap<(u64, u32), Seen>,
    pub(super) most: usize,
    pub(super) cancelled: bool,
    pub(super) in_flight: usize,
    /// Items that the driver had taken a minute after the begin.
    pub(super) taken_early: usize,
    pub(super) elapsed: Duration,
    pub(super) rows_in: u64,
    /// Rows that the job had before.
    pub(super) known: BTreeSet<String>,
}

const LABELS: [&str; 3] = ["first", "second", "third"];

pub(super) fn id(lane: usize, row: u64, padding: usize) -> String {
    format!("{lane}-{row}-{}", "x".repeat(padding))
}

impl Stand {
    pub(super) fn scripted(script: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            script: script.into_iter().collect(),
            ..Self::default()
        }
    }

    pub(super) async fn drive(self, feed: Vec<Feed>) -> Found {
        let began = Instant::now();
        let cancel = CancellationToken::new();
        let run = RunInfo {
            id: self.run.into(),
            base: Arc::default(),
            dry_run: self.dry_run,
            secret_files: Default::default(),
            partial: false,
            record: None,
            grace: self.grace,
            cancel: cancel.clone(),
            services: Default::default(),
            state: std::path::Path::new("").into(),
        };
        let (batches, mut reports) = mpsc::unbounded_channel();
        let cx = SinkContext {
            name: "sink".into(),
            run,
            inputs: Vec::new(),
            counts: Counts::default(),
            rejects: Rejects::in_memory(10_000, false),
            batches,
            in_flight: Arc::default(),
            outputs: Outputs::default(),
            ledger: self.ledger.clone(),
        };
        let fake = Arc::new(Fake {
            script: self.script,
            bad_rows: self.bad_rows,
            takes_bytes: self.takes_bytes,
            ..Fake::default()
        });
        let driver = Driver::new(
            cx.clone(),
            fake.clone(),
            self.policy,
            self.limits,
            self.concurrency,
        );
        let lanes = LABELS
            .iter()
            .map(|label| Lane {
                label,
                encoder: Arc::new(|schema: &Schema| {
                    let columns = schema.fields().iter();
                    columns.fold(CsvEncoder::new(), |encoder, field| {
                        encoder.column(field.name(), field.name())
                    })
                }),
            })
            .collect();
        let (sender, mut input) = channel(2, cx.counts.clone());
        let taken = AtomicUsize::new(0);
        let mut watch = JoinSet::new();
        if let Some(at) = self.cancel_at {
            let cancel = cancel.clone();
            watch.spawn(async move {
                tokio::time::sleep(at).await;
                cancel.cancel();
            });
        }
        let driving = async {
            let result = driver.run(lanes, &mut input).await;
            drop(input);
            (result, began.elapsed(), cancel.is_cancelled())
        };
        let early = async {
            tokio::time::sleep(60 * SECOND).await;
            taken.load(Ordering::SeqCst)
        };
        let ((result, elapsed, cancelled), (checkpoints, ids, rows_in), taken_early) =
            tokio::join!(driving, feeding(feed, sender, &taken, began), early);
        drop(driver);
        let rejected = cx.rejects.kept();
        let earlier = cx.outputs.unknown();
        let (totals, in_flight) = (cx.counts.totals(), cx.in_flight.load(Ordering::SeqCst));
        drop(cx);
        let mut found = Vec::new();
        while let Some(report) = reports.recv().await {
            found.push(report);
        }
        Found {
            result,
            totals,
            reports: found,
            checkpoints,
            rejected: rejected
                .iter()
                .map(|reject| ids[&reject.origin.row].clone())
                .collect(),
            reasons: rejected
                .iter()
                .map(|reject| format!("{}: {}", reject.faults[0].code, reject.faults[0].message))
                .collect(),
            earlier,
            seen: fake.seen.lock().unwrap().clone(),
            most: fake.most.load(Ordering::SeqCst),
            cancelled,
            in_flight,
            taken_early,
            elapsed,
            rows_in,
            known: BTreeSet::new(),
        }
    }
}

type Fed = (
    Vec<(BTreeSet<String>, bool, Duration)>,
    BTreeMap<u64, String>,
    u64,
);

/// Plays the sources.
async fn feeding(
    feed: Vec<Feed>,
    sender: mpsc::Sender<(usize, Item)>,
    taken: &AtomicUsize,
    began: Instant,
) -> Fed {
    let mut before = vec![BTreeSet::new(); LABELS.len()];
    let mut marks = Vec::new();
    let mut waiting: JoinSet<(usize, bool, Duration)> = JoinSet::new();
    let mut settled = BTreeMap::new();
    let mut ids = BTreeMap::new();
    let mut row = 0;
    for feed in feed {
        let (lane, rows) = match &feed {
            Feed::Rows(lane, rows) => (*lane, rows.clone()),
            Feed::Same(lane, rows) | Feed::Wider(lane, rows) | Feed::NotText(lane, rows) => {
                (*lane, vec![0; *rows])
            }
            Feed::Checkpoint(lane) => {
                let (checkpoint, delivered) = Checkpoint::new("here");
                let index = marks.len();
                marks.push(before[*lane].clone());
                waiting.spawn(told(index, delivered, began));
                let _ = sender.send((*lane, Item::Checkpoint(checkpoint))).await;
                continue;
            }
            Feed::Settled => {
                while let Some(told) = waiting.join_next().await {
                    let (index, delivered, when) = told.unwrap();
                    settled.insert(index, (delivered, when));
                }
                continue;
            }
            Feed::Wait(time) => {
                tokio::time::sleep(*time).await;
                continue;
            }
        };
        let first = row + 1;
        let texts: Vec<String> = rows
            .iter()
            .map(|padding| {
                row += 1;
                match feed {
                    Feed::Same(..) => id(lane, 0, *padding),
                    _ => id(lane, row, *padding),
                }
            })
            .collect();
        for (row, text) in (first..).zip(&texts) {
            ids.insert(row, text.clone());
            before[lane].insert(text.clone());
        }
        let len = texts.len();
        let column: ArrayRef = Arc::new(StringArray::from(texts));
        let batch = match feed {
            Feed::Wider(..) => {
                let more: ArrayRef = Arc::new(StringArray::from(vec!["more"; len]));
                RecordBatch::try_from_iter([("id", column), ("note", more)])
            }
            Feed::NotText(..) => {
                let number: ArrayRef = Arc::new(Int32Array::from(vec![1; len]));
                RecordBatch::try_from_iter([("id", column), ("number", number)])
            }
            _ => RecordBatch::try_from_iter([("id", column)]),
        };
        let part = Arc::new(Part {
            name: "test".into(),
            columns: Vec::new(),
        });
        let chunk = Chunk::records(batch.unwrap(), Origins::consecutive(part, first, len));
        let sent = sender.send((lane, Item::Chunk(chunk))).await;
        assert!(sent.is_ok(), "the driver takes every item");
        taken.fetch_add(1, Ordering::SeqCst);
    }
    drop(sender);
    while let Some(told) = waiting.join_next().await {
        let (index, delivered, when) = told.unwrap();
        settled.insert(index, (delivered, when));
    }
    let checkpoints = marks.into_iter().zip(settled.into_values());
    let checkpoints = checkpoints.map(|(ids, (delivered, when))| (ids, delivered, when));
    (checkpoints.collect(), ids, row)
}

async fn told(index: usize, delivered: Delivered, began: Instant) -> (usize, bool, Duration) {
    let delivered = delivered.await;
    (index, delivered, began.elapsed())
}

impl Found {
    pub(super) fn outcomes(&self) -> BTreeMap<u64, BatchOutcome> {
        self.reports
            .iter()
            .map(|report| (report.number, report.outcome))
            .collect()
    }

    pub(super) fn delivered(&self) -> Vec<bool> {
        self.checkpoints
            .iter()
            .map(|(_, delivered, _)| *delivered)
            .collect()
    }

    pub(super) fn error(&self) -> &Error {
        self.result.as_ref().unwrap_err()
    }

    /// What must hold whatever happened.
    pub(super) fn is_sound(&self, limits: Limits, concurrency: usize) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.totals.finished(), self.rows_in, "rows are conserved");
        prop_assert_eq!(self.in_flight, 0);
        prop_assert!(self.most <= concurrency);
        let sent = self.reports.iter().filter(|report| report.attempts > 0);
        let parts: BTreeSet<_> = sent.clone().map(|report| (report.number, report.part)).collect();
        prop_assert_eq!(parts.len(), sent.count(), "one line of the report an upload");
        let numbers: BTreeSet<u64> = self.reports.iter().map(|report| report.number).collect();
        prop_assert!(numbers.iter().copied().eq(1..=numbers.len() as u64));
        let rows = |outcome| -> u64 {
            let of = self.reports.iter().filter(|report| report.outcome == outcome);
            of.map(|report| report.rows).sum()
        };
        prop_assert_eq!(rows(Accepted), self.totals.accepted);
        prop_assert_eq!(rows(Refused), self.totals.refused);
        prop_assert_eq!(rows(Unknown), self.totals.unknown);
        prop_assert!(rows(BatchOutcome::Rejected) <= self.totals.rejected);
        prop_assert!(
            rows(NotSent) <= self.totals.not_sent,
            "rows that were in no batch have no line"
        );
        let mut accepted = BTreeSet::new();
        for seen in self.seen.values() {
            prop_assert!(!seen.rows.is_empty() && seen.rows.len() <= limits.max_rows);
            prop_assert!(seen.bytes <= limits.max_bytes);
            let lane = LABELS.iter().position(|label| *label == seen.label).unwrap();
            let own = format!("{lane}-");
            prop_assert!(seen.rows.iter().all(|id| id.starts_with(&own)));
            if seen.accepted {
                accepted.extend(
                    seen.rows
                        .iter()
                        .map(|row| row.split(',').next().unwrap().to_owned()),
                );
            }
        }
        prop_assert_eq!(accepted.len() as u64, self.totals.accepted, "no row twice");
        for (before, delivered, _) in &self.checkpoints {
            let finished =
                |id| accepted.contains(id) || self.rejected.contains(id) || self.known.contains(id);
            prop_assert!(
                !delivered || before.iter().all(finished),
                "done before its rows were"
            );
        }
        Ok(())
    }
}
