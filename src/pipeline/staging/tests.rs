use std::collections::BTreeSet;
use std::sync::Mutex;

use arrow::array::{RecordBatch, StringArray};
use tokio_util::sync::CancellationToken;

use super::super::guards::{Evaluator, GuardOutcome, Guarded, GuardsReport};
use super::*;
use crate::component::{Checkpoint, Chunk, Delivered, Origins, Output, Part, RowKind, Totals};
use crate::config::{Guard, GuardsConfig};
use crate::hr::Scenario;
use crate::settings::{BoundedInt, Ratio};

/// What the inner sink does with its first chunk.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Go,
    Fail,
    Panic,
}

/// Records what it receives; delivers everything.
struct Recorder {
    then: Then,
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
                    match self.then {
                        Then::Go => {}
                        Then::Fail => return Err(Error::unexpected("refused")),
                        Then::Panic => panic!("in the sink"),
                    }
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
    then: Then,
    memory: usize,
    folder: tempfile::TempDir,
    /// Below `folder`.
    state: &'static str,
    cancel: CancellationToken,
    /// The counters of the sources.
    source: Counts,
}

/// The results of a run.
struct Ended {
    results: Vec<std::thread::Result<Result<()>>>,
    /// What each inner sink received; `None` when it did not run.
    got: Vec<Option<Vec<(usize, String)>>>,
    counts: Vec<Totals>,
    all: Totals,
    report: GuardsReport,
}

impl Ended {
    fn error(&self, sink: usize) -> &Error {
        self.results[sink].as_ref().unwrap().as_ref().unwrap_err()
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
            then: Then::Go,
            memory: 0,
            folder: tempfile::tempdir().unwrap(),
            state: ".",
            cancel: CancellationToken::new(),
            source: Counts::default(),
        }
    }

    /// Runs the sinks as the engine does. `send` gets an output for each sink.
    async fn run<T>(&self, send: impl AsyncFnOnce(Vec<Output>) -> T) -> (Ended, T) {
        let source = self.source.clone();
        let counts: Vec<Counts> = self.guards.iter().map(|_| Counts::default()).collect();
        let everyone: Vec<Counts> = counts.iter().chain([&source]).cloned().collect();
        let totals = move || {
            let mut sum = Totals::default();
            everyone.iter().for_each(|counts| sum += counts.totals());
            sum
        };
        let sinks = self.guards.iter().enumerate();
        let evaluator = Evaluator {
            sinks: sinks
                .map(|(index, guards)| Guarded {
                    sink: format!("sink {index}").into(),
                    guards: guards.clone(),
                    last: None,
                })
                .collect(),
            allowed: self.allowed.clone(),
            partial: false,
            nothing_new: Box::new(|| false),
            totals: Box::new(totals.clone()),
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
                then: self.then,
                counts: counts.clone(),
                cancel: cancel.clone(),
                got,
            };
            let folder = self.folder.path().join(self.state).into();
            let inner = Box::new(inner);
            let staged = StagedSink::with_memory(inner, participant, counts.clone(), folder, self.memory);
            work.push(async move {
                let ended = AssertUnwindSafe(Box::new(staged).run(&mut input))
                    .catch_unwind()
                    .await;
                if !matches!(ended, Ok(Ok(()))) {
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
            all: totals(),
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
    let address = |row: usize| format!("person{}@contoso.com", if row < same { 0 } else { row });
    let column = StringArray::from_iter_values((0..rows).map(address));
    let part = Arc::new(Part {
        name: "a.csv".into(),
        columns: vec![],
    });
    Chunk {
        batch: RecordBatch::try_from_iter([("EmailAddress", Arc::new(column) as _)]).unwrap(),
        origins: Origins::consecutive(part, 1, rows),
        kind: RowKind::Schema(Scenario::EmployeeResignation.id()),
    }
}

/// Sends a chunk to each sink, with a checkpoint behind it, and ends. Each goes to two inputs of the sink.
async fn send(outputs: Vec<Output>, rows: &[usize]) -> Vec<Delivered> {
    let mut delivered = Vec::new();
    for (output, rows) in outputs.iter().zip(rows) {
        output.send(chunk(*rows, 1)).await.unwrap();
        delivered.push(output.checkpoint("end").await.unwrap());
    }
    delivered
}

/// Sends, lets go of its outputs, waits for delivery: as a source does that archives its files.
async fn send_and_wait(outputs: Vec<Output>, rows: &[usize]) -> Vec<bool> {
    let delivered = send(outputs, rows).await;
    futures::future::join_all(delivered).await
}

#[tokio::test]
async fn passes_everything_on_through_an_open_gate() {
    for memory in [0, MAX_MEMORY_BYTES] {
        let mut fixture = Fixture::new([max_rows(8), GuardsConfig::default()]);
        fixture.memory = memory;
        let (ended, delivered) = fixture
            .run(async |outputs| send_and_wait(outputs, &[4, 7]).await)
            .await;
        assert!(ended.results.iter().all(|result| matches!(result, Ok(Ok(())))));
        assert_eq!(delivered, [true, true]);
        let item = |input, text: &str| (input, text.to_owned());
        assert_eq!(
            ended.got[0].as_deref().unwrap(),
            [item(0, "4"), item(1, "4"), item(0, "end"), item(1, "end")]
        );
        assert_eq!(ended.counts[1].accepted, 14);
        assert!(ended.all.conserved());
        assert_eq!(ended.report.evaluated.len(), 1);
        assert_eq!(ended.report.evaluated[0].outcome, GuardOutcome::Passed);
    }
}

#[tokio::test]
async fn sends_nothing_when_one_guard_trips() {
    for memory in [0, MAX_MEMORY_BYTES] {
        let mut fixture = Fixture::new([max_rows(7), GuardsConfig::default()]);
        fixture.memory = memory;
        let (ended, delivered) = fixture
            .run(async |outputs| send_and_wait(outputs, &[4, 7]).await)
            .await;
        assert_eq!(ended.error(0).kind(), ErrorKind::Guard);
        assert!(ended.error(0).to_string().contains("8 rows, at most 7 allowed"));
        assert_eq!(ended.error(1).kind(), ErrorKind::Interrupted);
        assert_eq!(ended.got, [None, None]);
        assert_eq!((ended.counts[0].not_sent, ended.counts[1].not_sent), (8, 14));
        assert!(ended.all.conserved());
        assert_eq!(delivered, [false, false]);
        assert_eq!(ended.report.evaluated[0].outcome, GuardOutcome::Tripped);
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
async fn lists_an_allowed_guard() {
    let mut fixture = Fixture::new([max_rows(1)]);
    fixture.allowed.insert(Guard::MaxRows);
    let (ended, delivered) = fixture
        .run(async |outputs| send_and_wait(outputs, &[4]).await)
        .await;
    assert!(matches!(ended.results[0], Ok(Ok(()))));
    assert_eq!(delivered, [true]);
    assert_eq!(ended.report.evaluated[0].outcome, GuardOutcome::Allowed);
}

#[tokio::test]
async fn detects_a_join_that_multiplied_one_person() {
    let guards = GuardsConfig {
        max_rows_per_person: Some(BoundedInt::new(5)),
        ..GuardsConfig::default()
    };
    let (ended, ()) = Fixture::new([guards])
        .run(async |outputs| {
            outputs[0].send(chunk(10, 1)).await.unwrap();
            outputs[0].send(chunk(4, 3)).await.unwrap();
        })
        .await;
    // Each chunk comes on two inputs: 1 + 3 rows of the first person, 1 and 1 of another.
    let text = ended.error(0).to_string();
    assert!(
        text.contains("up to 8 rows of one person, at most 5 allowed; one person has more"),
        "{text}"
    );
    assert!(!text.contains("contoso"));
}

#[tokio::test]
async fn includes_the_rejects_of_all_components() {
    let guards = GuardsConfig {
        max_reject_ratio: Some(Ratio::new(0.5)),
        ..GuardsConfig::default()
    };
    for (rejected, outcome) in [(8, GuardOutcome::Passed), (9, GuardOutcome::Tripped)] {
        let fixture = Fixture::new([guards.clone()]);
        let (ended, ()) = fixture
            .run(async |outputs| {
                // 4 rows on two inputs are 8.
                outputs[0].send(chunk(4, 1)).await.unwrap();
                fixture.source.read(rejected);
                fixture.source.rejected(rejected);
            })
            .await;
        assert_eq!(ended.report.evaluated[0].outcome, outcome, "{:?}", ended.report);
        assert!(ended.all.conserved());
    }
}

#[tokio::test]
async fn sends_nothing_when_the_run_is_cancelled() {
    for memory in [0, MAX_MEMORY_BYTES] {
        let mut fixture = Fixture::new([max_rows(100), GuardsConfig::default()]);
        fixture.memory = memory;
        let (ended, delivered) = fixture
            .run(async |outputs| {
                let delivered = send(outputs.clone(), &[4, 7]).await;
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
        assert_eq!(ended.report.evaluated[0].outcome, GuardOutcome::NotEvaluated);
    }
}

#[tokio::test]
async fn sends_nothing_when_one_sink_cannot_buffer_its_rows() {
    let mut fixture = Fixture::new([max_rows(100), GuardsConfig::default()]);
    std::fs::write(fixture.folder.path().join("file"), "").unwrap();
    fixture.state = "file/state";
    let (ended, ()) = fixture
        .run(async |outputs| {
            // Only one sink has rows to keep.
            let _stopped = outputs[0].send(chunk(4, 1)).await;
        })
        .await;
    assert_eq!(ended.error(0).kind(), ErrorKind::Config);
    assert_eq!(ended.error(1).kind(), ErrorKind::Interrupted);
    assert_eq!(ended.got, [None, None]);
    assert_eq!(ended.all.not_sent, 8);
    assert!(ended.all.conserved());
}

/// A gate with two participants.
fn gate(cancel: &CancellationToken) -> (Gate, [Participant; 2]) {
    let evaluator = Evaluator {
        sinks: ["a", "b"]
            .map(|sink| Guarded {
                sink: sink.into(),
                guards: max_rows(1),
                last: None,
            })
            .into(),
        allowed: BTreeSet::new(),
        partial: false,
        nothing_new: Box::new(|| false),
        totals: Box::new(Totals::default),
    };
    let (gate, participants) = Gate::new(evaluator, cancel.clone());
    let Ok(participants) = participants.try_into() else {
        panic!("a participant for each sink")
    };
    (gate, participants)
}

#[tokio::test]
async fn closes_when_a_sink_is_gone() {
    let (gate, [here, gone]) = gate(&CancellationToken::new());
    let (verdict, ()) = tokio::join!(here.wait(Figures::default()), async { drop(gone) });
    assert!(matches!(verdict, Verdict::Closed));
    let report = gate.report();
    assert_eq!(report.evaluated.len(), 2);
    assert!(
        report
            .evaluated
            .iter()
            .all(|evaluated| evaluated.outcome == GuardOutcome::NotEvaluated)
    );
}

#[tokio::test]
async fn stays_closed_when_the_run_is_cancelled() {
    let cancel = CancellationToken::new();
    let (_gate, [first, second]) = gate(&cancel);
    let (verdict, ()) = tokio::join!(first.wait(Figures::default()), async { cancel.cancel() });
    assert!(matches!(verdict, Verdict::Closed));
    assert!(matches!(second.wait(Figures::default()).await, Verdict::Closed));
}

#[tokio::test]
async fn opens_for_all_at_once() {
    let (_gate, [first, second]) = gate(&CancellationToken::new());
    let mut first = Box::pin(first.wait(Figures::default()));
    assert!(futures::poll!(&mut first).is_pending());
    assert!(matches!(second.wait(Figures::default()).await, Verdict::Open));
    assert!(matches!(first.await, Verdict::Open));
}

#[tokio::test]
async fn counts_rows_that_a_failing_sink_did_not_take() {
    for (then, memory) in [
        (Then::Fail, 0),
        (Then::Fail, MAX_MEMORY_BYTES),
        (Then::Panic, 0),
        (Then::Panic, MAX_MEMORY_BYTES),
    ] {
        let mut fixture = Fixture::new([max_rows(100)]);
        (fixture.then, fixture.memory) = (then, memory);
        let (ended, delivered) = fixture
            .run(async |outputs| {
                for rows in [1, 2, 3, 4] {
                    outputs[0].send(chunk(rows, 1)).await.unwrap();
                }
                send_and_wait(outputs, &[5]).await
            })
            .await;
        match &ended.results[0] {
            Ok(result) => {
                assert!(then == Then::Fail);
                assert_eq!(result.as_ref().unwrap_err().to_string(), "refused");
            }
            Err(_) => assert!(then == Then::Panic),
        }
        assert_eq!((ended.all.accepted, ended.all.not_sent), (1, 29));
        assert!(ended.all.conserved());
        assert_eq!(delivered, [false]);
    }
}
