use std::collections::BTreeSet;
use std::sync::Mutex;

use tokio_util::sync::CancellationToken;

use super::super::guards::GuardOutcome::{Allowed, NotEvaluated, Passed, Tripped};
use super::super::guards::{Evaluator, Guarded, GuardsReport};
use super::*;
use crate::component::{Checkpoint, Chunk, Delivered, Output, RowKind, Totals, contract};
use crate::config::{Guard, GuardsConfig};
use crate::hr::Scenario;
use crate::settings::BoundedInt;

/// Records what it receives; delivers everything.
struct Recorder {
    counts: Counts,
    cancel: CancellationToken,
    got: Arc<Mutex<Vec<(usize, String)>>>,
}

#[async_trait]
impl Sink for Recorder {
    async fn run(self: Box<Self>, input: &mut Input) -> Result<()> {
        let mut checkpoints = Vec::new();
        self.got.lock().unwrap().push((9, "run".to_owned()));
        while let Some((input, item)) = input.next().await {
            match item {
                Item::Chunk(chunk) if self.cancel.is_cancelled() => self.counts.not_sent(chunk.num_rows()),
                Item::Chunk(chunk) => {
                    self.counts.accepted(chunk.num_rows());
                    let text = chunk.num_rows().to_string();
                    self.got.lock().unwrap().push((input, text));
                }
                Item::Checkpoint(checkpoint) => {
                    self.got
                        .lock()
                        .unwrap()
                        .push((input, checkpoint.position().to_owned()));
                    checkpoints.push(checkpoint);
                }
            }
        }
        if !self.cancel.is_cancelled() {
            checkpoints.into_iter().for_each(Checkpoint::done);
        }
        Ok(())
    }
}

/// A run of staged sinks without the pipeline around it.
struct Fixture {
    guards: Vec<GuardsConfig>,
    allowed: BTreeSet<Guard>,
    memory: usize,
    folder: tempfile::TempDir,
    /// Below `folder`.
    state: &'static str,
    cancel: CancellationToken,
}

struct Ended {
    results: Vec<Result<()>>,
    /// What each inner sink received; `None` when it did not run.
    got: Vec<Option<Vec<(usize, String)>>>,
    counts: Vec<Totals>,
    all: Totals,
    report: GuardsReport,
}

impl Ended {
    fn error(&self, sink: usize) -> &Error {
        self.results[sink].as_ref().unwrap_err()
    }
}

fn max_rows(limit: u64) -> GuardsConfig {
    GuardsConfig {
        max_rows: Some(BoundedInt::new(limit)),
        ..GuardsConfig::default()
    }
}

impl Fixture {
    fn new(guards: impl IntoIterator<Item = GuardsConfig>) -> Self {
        Self {
            guards: guards.into_iter().collect(),
            allowed: BTreeSet::new(),
            memory: 0,
            folder: tempfile::tempdir().unwrap(),
            state: ".",
            cancel: CancellationToken::new(),
        }
    }

    /// Runs the sinks as the engine does. `send` gets an output for each sink.
    async fn run<T>(&self, send: impl AsyncFnOnce(Vec<Output>) -> T) -> (Ended, T) {
        let source = Counts::default();
        let counts: Vec<Counts> = self.guards.iter().map(|_| Counts::default()).collect();
        let all: Vec<Counts> = counts.iter().chain([&source]).cloned().collect();
        let sinks = self.guards.iter().enumerate().map(|(index, guards)| Guarded {
            sink: format!("sink {index}").into(),
            guards: guards.clone(),
            last: None,
        });
        let evaluator = Evaluator {
            sinks: sinks.collect(),
            allowed: self.allowed.clone(),
            partial: false,
            sources: Vec::new(),
            all: all.clone(),
        };
        let (gate, participants) = Gate::new(evaluator, self.cancel.clone());
        let mut outputs = Vec::new();
        let mut records = Vec::new();
        let mut work = Vec::new();
        for (participant, counts) in participants.into_iter().zip(&counts) {
            let (sender, mut input) = channel(1, counts.clone());
            let cancel = self.cancel.clone();
            outputs.push(Output::source(
                vec![(sender.clone(), 0), (sender, 1)],
                source.clone(),
                cancel.clone(),
                None,
            ));
            let got = Arc::<Mutex<Vec<_>>>::default();
            records.push(got.clone());
            let inner = Recorder {
                counts: counts.clone(),
                cancel: cancel.clone(),
                got,
            };
            let folder = self.folder.path().join(self.state).into();
            let inner = Box::new(inner);
            let staged = StagedSink::new(inner, participant, counts.clone(), folder, self.memory);
            work.push(async move {
                let ended = Box::new(staged).run(&mut input).await;
                if ended.is_err() {
                    cancel.cancel();
                }
                input.drain().await;
                ended
            });
        }
        let (results, sent) = tokio::join!(futures::future::join_all(work), send(outputs));
        let ended = Ended {
            results,
            got: records
                .iter()
                .map(|got| std::mem::take(&mut *got.lock().unwrap()))
                .map(|got| (!got.is_empty()).then(|| got[1..].to_vec()))
                .collect(),
            counts: counts.iter().map(Counts::totals).collect(),
            all: Counts::sum(&all),
            report: gate.report(),
        };
        let left: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().flatten().collect();
        assert!(
            left.iter()
                .all(|entry| entry.path().is_dir() || entry.file_name() == "file"),
            "{left:?}"
        );
        (ended, sent)
    }
}

/// Rows of persons, the first `same` of them of one.
fn chunk(rows: usize, same: usize) -> Chunk {
    let address = |row: usize| format!("person{}@contoso.com\n", if row < same { 0 } else { row });
    let addresses: String = (0..rows).map(address).collect();
    Chunk {
        kind: RowKind::Schema(Scenario::EmployeeResignation.id()),
        ..contract::chunk("a.csv", 1, &format!("EmailAddress\n{addresses}"))
    }
}

/// Sends a chunk to each sink, with a checkpoint behind it, and ends. Each goes to two inputs of the sink.
async fn send(outputs: Vec<Output>, same: usize) -> Vec<Delivered> {
    let mut delivered = Vec::new();
    for (output, rows) in outputs.iter().zip([4, 7]) {
        output.send(chunk(rows, same)).await.unwrap();
        delivered.push(output.checkpoint("end").await.unwrap());
    }
    delivered
}

#[tokio::test]
async fn sends_everything_in_order_or_nothing() {
    let per_person = GuardsConfig {
        max_rows_per_person: Some(BoundedInt::new(5)),
        ..GuardsConfig::default()
    };
    // Each sink receives its chunk on two inputs.
    for (guards, same, allowed, outcome, error) in [
        (max_rows(8), 1, false, Passed, ""),
        (max_rows(7), 1, true, Allowed, ""),
        (max_rows(7), 1, false, Tripped, "8 rows, at most 7 allowed"),
        (per_person.clone(), 2, false, Passed, ""),
        (
            per_person,
            3,
            false,
            Tripped,
            "up to 6 rows of one person, at most 5",
        ),
    ] {
        for memory in [0, MAX_MEMORY_BYTES] {
            let mut fixture = Fixture::new([guards.clone(), GuardsConfig::default()]);
            fixture.memory = memory;
            fixture.allowed.extend(allowed.then_some(Guard::MaxRows));
            let (ended, delivered) = fixture
                .run(async |outputs| futures::future::join_all(send(outputs, same).await).await)
                .await;
            let is_open = error.is_empty();
            assert_eq!(delivered, [is_open, is_open]);
            assert_eq!(ended.report.evaluated.len(), 1);
            assert_eq!(ended.report.evaluated[0].outcome, outcome);
            assert!(ended.all.conserved());
            if is_open {
                assert!(ended.results.iter().all(Result::is_ok));
                let item = |input, text: &str| (input, text.to_owned());
                let expected = [item(0, "4"), item(1, "4"), item(0, "end"), item(1, "end")];
                assert_eq!(ended.got[0].as_deref().unwrap(), expected);
                assert_eq!(ended.counts[1].accepted, 14);
            } else {
                let text = ended.error(0).to_string();
                assert_eq!(ended.error(0).kind(), ErrorKind::Guard);
                assert!(text.contains(error) && !text.contains("contoso"), "{text}");
                assert_eq!(ended.error(1).kind(), ErrorKind::Interrupted);
                assert_eq!(ended.got, [None, None]);
                assert_eq!((ended.counts[0].not_sent, ended.counts[1].not_sent), (8, 14));
            }
        }
    }
}

#[tokio::test]
async fn counts_rows_that_cannot_pass_without_storing_them() {
    let mut fixture = Fixture::new([max_rows(7)]);
    // The first 4 rows fit into memory. The next are over the limit: a folder for them is never needed.
    std::fs::write(fixture.folder.path().join("file"), "").unwrap();
    (fixture.state, fixture.memory) = ("file/state", 2_000);
    let (ended, ()) = fixture
        .run(async |outputs| {
            for rows in [2, 5_000, 5_000] {
                outputs[0].send(chunk(rows, 1)).await.unwrap();
            }
        })
        .await;
    let text = ended.error(0).to_string();
    assert!(text.contains("20004 rows, at most 7 allowed"), "{text}");
    assert_eq!(ended.all.not_sent, 20_004);
    assert!(ended.all.conserved());
}

#[tokio::test]
async fn sends_nothing_when_the_run_is_cancelled() {
    for memory in [0, MAX_MEMORY_BYTES] {
        let mut fixture = Fixture::new([max_rows(100), GuardsConfig::default()]);
        fixture.memory = memory;
        let (ended, delivered) = fixture
            .run(async |outputs| {
                let delivered = send(outputs.clone(), 1).await;
                fixture.cancel.cancel();
                assert!(outputs[0].send(chunk(4, 1)).await.is_err());
                drop(outputs);
                futures::future::join_all(delivered).await
            })
            .await;
        assert_eq!(ended.got, [None, None]);
        assert_eq!(ended.error(0).kind(), ErrorKind::Interrupted);
        assert_eq!(ended.all.not_sent, 22);
        assert!(ended.all.conserved());
        assert_eq!(delivered, [false, false]);
        assert_eq!(ended.report.evaluated[0].outcome, NotEvaluated);
    }
}
