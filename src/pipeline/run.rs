//! Building and running. See the [module](super).

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::columns::needed_columns;
use super::guards::{Evaluator, Guarded};
use super::members::Members;
use super::record::Record;
use super::report::ReasonCount;
use super::snapshots::{self, Recorded, Taps};
use super::staging::{self, Gate, StagedSink};
use super::{ErrorReport, ExitCode, GuardsReport, RejectsReport, RunReport};
use crate::component::{
    BatchReport, Counts, Ends, Input, Item, Output, Outputs, Pages, Position, Recorder, Rejects, RunInfo,
    Sink, SinkContext, SourceContext, Totals, TransformContext, channel,
};
use crate::config::{Guard, PipelineConfig, wiring};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{LastRun, Ledger, RunEnd, pipeline_name};
use crate::secret::SecretFiles;

/// Chunks that may wait in front of a component. Two keep both sides busy; more would only be memory.
const CHANNEL_CAPACITY: usize = 2;

/// How to run a pipeline.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Do everything but send.
    pub dry_run: bool,
    /// Read at most so many rows of each source.
    pub limit: Option<u64>,
    /// Whether only a part of what there is will be looked at, so that sources need not read on.
    pub partial: bool,
    /// A folder in which what services answered is stored for a support case, with values masked, in a folder of the
    /// run's own; see [`Recorder`]. Default: nothing is stored.
    pub record: Option<PathBuf>,
    /// Where rejects go; `None`: a new file in the folder of the pipeline file's `rejects.path`.
    pub rejects: Option<Rejects>,
    /// Which secret files are taken. Default: those only that nobody but their owner has rights to.
    pub secret_files: SecretFiles,
    /// Guards that may be broken in this run. Written into the ledger.
    pub allow: BTreeSet<Guard>,
    /// How long uploads in flight may take after a cancel. Default 30 s.
    pub grace: Duration,
    /// Cancel to stop the run: sources stop reading, uploads in flight are finished within the grace period. The run
    /// itself never cancels it: one token may stop several runs.
    pub cancel: CancellationToken,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            limit: None,
            partial: false,
            record: None,
            rejects: None,
            secret_files: SecretFiles::default(),
            allow: BTreeSet::new(),
            grace: Duration::from_secs(30),
            cancel: CancellationToken::new(),
        }
    }
}

/// Watches a run from outside, for a progress display. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    counts: Arc<OnceLock<Vec<Counts>>>,
    in_flight: Arc<AtomicUsize>,
    sent_bytes: Arc<std::sync::atomic::AtomicU64>,
    pages: Pages,
}

impl Observer {
    /// Sums over all components so far.
    pub fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for counts in self.counts.get().into_iter().flatten() {
            sum += counts.totals();
        }
        sum
    }

    /// Pages that sources have read, as far as they have pages.
    pub fn pages(&self) -> u64 {
        self.pages.read()
    }

    /// Uploads under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Bytes of the payloads of ended uploads.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}

/// Runs `config` to its end. The report comes whatever happens; [`RunReport::exit_code`] says how it ended.
pub async fn run(config: &PipelineConfig, options: RunOptions, observer: &Observer) -> RunReport {
    let started = Timestamp::now();
    let clock = Instant::now();
    let run = run_info(config, &options);
    let rejects = options.rejects.clone().unwrap_or_else(|| {
        let settings = &config.rejects;
        Rejects::to_folder(
            &config.base.join(&settings.path),
            &run.id,
            settings.include_values,
            usize::try_from(settings.max_files).unwrap_or(usize::MAX),
            settings.max_age.0,
        )
    });
    let counts = Members::new(config);
    let _ = observer.counts.set(counts.all().cloned().collect());
    let (so_far, max_ratio) = (
        counts.all().cloned().collect::<Vec<_>>(),
        config.rejects.max_ratio,
    );
    rejects.measure_by(move || reject_ratio(&sum(&so_far)) > max_ratio);
    let (batches_in, mut batches_out) = mpsc::unbounded_channel::<BatchReport>();
    let collect = async {
        let mut batches = Vec::new();
        while let Some(batch) = batches_out.recv().await {
            observer.sent_bytes.fetch_add(batch.bytes, Ordering::Relaxed);
            batches.push(batch);
        }
        batches
    };
    tracing::info!(run = %run.id, pipeline = %config.path.display(), "run started");
    for advice in crate::config::advice::advice(config) {
        tracing::warn!("{advice}");
    }
    let outputs = Outputs::default();
    let recorded = Recorded::default();
    let pipeline: Arc<str> = pipeline_name(&config.path).into();
    let (outcome, guards, batches, record) =
        match Record::begin(config, &options, &run, &pipeline, started).await {
            Ok(record) => {
                let shared = Shared {
                    run: run.clone(),
                    rejects: rejects.clone(),
                    outputs: outputs.clone(),
                    limit: options.limit,
                    allow: options.allow.clone(),
                    ledger: record.ledger.clone(),
                    last: record.last.clone(),
                    pipeline,
                    started,
                    recorded: recorded.clone(),
                };
                let work = work(config, &shared, &counts, batches_in, observer);
                let ((outcome, guards), batches) = tokio::join!(work, collect);
                (outcome, guards, batches, record)
            }
            // Nothing is read, and nothing sent, by a run that the ledger cannot record.
            Err(error) => {
                let outcome = Err(vec![(None, error)]);
                (outcome, GuardsReport::default(), Vec::new(), Record::default())
            }
        };

    if let Some(recorder) = &run.record {
        recorder.report(&outputs);
    }
    let mut failures: Failures = outcome.err().unwrap_or_default();
    let rejects_path = rejects.finish().unwrap_or_else(|error| {
        failures.push((None, error));
        None
    });
    let rows = sum(counts.all());
    let ratio = reject_ratio(&rows);
    // No component need have failed: a source that stops reading when it is told to has done its work.
    if failures.is_empty() && options.cancel.is_cancelled() {
        failures.push((None, Error::interrupted()));
    }
    // The failure that says most: what ended the run, not what stopping it brought about.
    failures.sort_by_key(|(_, error)| error.kind() == ErrorKind::Interrupted);
    let exit = |failures: &Failures| match failures.first() {
        Some((_, error)) => error.kind().into(),
        None if ratio > config.rejects.max_ratio => ExitCode::TooManyRejects,
        None => ExitCode::Delivered,
    };
    let well = exit(&failures) == ExitCode::Delivered;
    let sinks = counts.sinks(config, well);
    // What cannot be put in its place leaves nothing behind, while the run still holds its lock.
    let written = recorded.take();
    let finished = if well && rows.not_sent == 0 {
        snapshots::finish(written).await.unwrap_or_else(|failure| {
            failures.push(failure);
            Vec::new()
        })
    } else {
        drop(written);
        Vec::new()
    };
    if exit(&failures) == ExitCode::TooManyRejects {
        match record.rewind(config).await {
            Ok(moved) if moved.is_empty() => {}
            Ok(moved) => tracing::warn!(
                sources = moved.join(", "),
                "more rows were rejected than allowed: the next run reads these sources from where they were before"
            ),
            Err(error) => failures.push((None, error)),
        }
    }
    let end = RunEnd {
        ended: Timestamp::now(),
        exit_code: exit(&failures) as u8,
        rows,
        sinks,
        error: failures.first().map(|(_, error)| error.to_string()),
    };
    if let Err(error) = record.end(&run.id, end).await {
        failures.push((None, error));
    }
    // A crash before this leaves the snapshots as they were; the rows are known to be delivered all the same.
    if failures.is_empty()
        && let Err(failure) = snapshots::replace(finished, &outputs).await
    {
        failures.push(failure);
    }
    let exit = exit(&failures);
    let failure = failures.first();
    for (component, error) in &failures {
        tracing::error!(run = %run.id, component = component.as_deref(), kind = ?error.kind(), "{}", error.chain());
    }
    let conserved = rows.conserved();
    if !conserved {
        tracing::error!(run = %run.id, ?rows, "rows do not add up; please report this");
    }
    tracing::info!(run = %run.id, read = rows.read, accepted = rows.accepted, rejected = rows.rejected, "run ended");
    RunReport {
        report_version: 1,
        hrsink_version: env!("CARGO_PKG_VERSION").to_owned(),
        run_id: run.id.to_string(),
        pipeline: config.path.clone(),
        dry_run: options.dry_run,
        started: started.to_string(),
        finished: Timestamp::now().to_string(),
        duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        exit_code: exit as u8,
        rows,
        conserved,
        components: counts.report(config),
        batches,
        rejects: RejectsReport {
            path: rejects_path,
            ratio,
            max_ratio: config.rejects.max_ratio,
            by_reason: rejects
                .summary()
                .into_iter()
                .map(|(field, code, rows)| ReasonCount { field, code, rows })
                .collect(),
        },
        outputs: outputs.all(),
        earlier_unknown: outputs.unknown(),
        guards,
        error: failure.map(|(component, error)| ErrorReport::new(component.as_deref(), error)),
        // That others were stopped by the first failure is no news.
        further_errors: failures
            .iter()
            .skip(1)
            .filter(|(_, error)| error.kind() != ErrorKind::Interrupted)
            .map(|(component, error)| ErrorReport::new(component.as_deref(), error))
            .collect(),
    }
}

fn sum<'c>(counts: impl IntoIterator<Item = &'c Counts>) -> Totals {
    let mut rows = Totals::default();
    for counts in counts {
        rows += counts.totals();
    }
    rows
}

/// The share of the rows that were to be sent that were put aside.
#[expect(clippy::cast_precision_loss, reason = "a ratio of row counts")]
fn reject_ratio(rows: &Totals) -> f64 {
    match rows.finished().saturating_sub(rows.filtered) {
        0 => 0.0,
        to_send => rows.rejected as f64 / to_send as f64,
    }
}

fn run_info(config: &PipelineConfig, options: &RunOptions) -> RunInfo {
    let base = &config.base;
    let id = uuid::Uuid::now_v7().to_string();
    RunInfo {
        record: options
            .record
            .as_ref()
            .map(|folder| Recorder::new(folder.join(&id))),
        id: id.into(),
        base: Arc::new(if base.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            base.to_owned()
        }),
        dry_run: options.dry_run,
        secret_files: options.secret_files.clone(),
        partial: options.partial || options.limit.is_some(),
        grace: options.grace,
        cancel: options.cancel.child_token(),
        services: Default::default(),
        state: base
            .join(&config.state.path)
            .parent()
            .unwrap_or(Path::new("."))
            .into(),
    }
}

/// The context a sink gets when it is asked to check itself outside a run.
pub(crate) fn sink_context(
    config: &PipelineConfig,
    name: &str,
    inputs: &[String],
    options: &RunOptions,
) -> SinkContext {
    let (batches, _) = mpsc::unbounded_channel();
    SinkContext {
        name: name.into(),
        run: run_info(config, options),
        inputs: wiring::describe(inputs, &wiring::kinds(config)),
        counts: Counts::default(),
        rejects: Rejects::in_memory(0, false),
        batches,
        in_flight: Arc::default(),
        outputs: Outputs::default(),
        ledger: None,
    }
}

/// The context a source gets when it is asked to check itself outside a run.
pub(crate) fn source_context(config: &PipelineConfig, name: &str, options: &RunOptions) -> SourceContext {
    SourceContext {
        name: name.into(),
        run: run_info(config, options),
        columns: None,
        counts: Counts::default(),
        rejects: Rejects::in_memory(0, false),
        position: Position::nowhere(),
        pages: Pages::default(),
    }
}

/// The failures of a run, each with the component it came from.
type Failures = Vec<(Option<String>, Error)>;

type Sender = mpsc::Sender<(usize, Item)>;

/// What every component of a run gets.
struct Shared {
    run: RunInfo,
    rejects: Rejects,
    outputs: Outputs,
    limit: Option<u64>,
    allow: BTreeSet<Guard>,
    ledger: Option<Ledger>,
    last: HashMap<String, LastRun>,
    pipeline: Arc<str>,
    started: Timestamp,
    recorded: Recorded,
}

/// Builds everything, then runs it. Nothing moves before everything is built.
async fn work(
    config: &PipelineConfig,
    shared: &Shared,
    counts: &Members,
    batches: mpsc::UnboundedSender<BatchReport>,
    observer: &Observer,
) -> (Result<(), Failures>, GuardsReport) {
    let kinds = wiring::kinds(config);
    let mut failures = Failures::new();

    // The receiving ends: one channel a component, fed by all its inputs.
    let mut senders: HashMap<&str, (Sender, Ends, &[String])> = HashMap::new();
    let mut transform_inputs = Vec::new();
    for (component, counts) in config.transforms.iter().zip(&counts.transforms) {
        let (sender, input) = channel(CHANNEL_CAPACITY, counts.clone());
        senders.insert(&component.name, (sender, input.ends(), &component.inputs));
        transform_inputs.push(input);
    }
    let mut sink_inputs = Vec::new();
    for (component, counts) in config.sinks.iter().zip(&counts.sinks) {
        let (sender, input) = channel(CHANNEL_CAPACITY, counts.clone());
        senders.insert(&component.name, (sender, input.ends(), &component.inputs));
        sink_inputs.push(input);
    }
    // In the file's order, so that a run is the same each time.
    let order: Vec<&str> = config
        .transforms
        .iter()
        .map(|c| c.name.as_str())
        .chain(config.sinks.iter().map(|c| c.name.as_str()))
        .collect();
    let targets = |name: &str| -> Vec<(Sender, usize)> {
        order
            .iter()
            .filter_map(|taker| {
                let (sender, _, inputs) = senders.get(taker)?;
                Some((sender.clone(), inputs.iter().position(|input| input == name)?))
            })
            .collect()
    };
    let ends = |name: &str| -> Vec<(Ends, usize)> {
        senders
            .values()
            .filter_map(|(_, ends, inputs)| {
                Some((ends.clone(), inputs.iter().position(|input| input == name)?))
            })
            .collect()
    };

    let mut sinks = Vec::new();
    for ((component, counts), input) in config.sinks.iter().zip(&counts.sinks).zip(sink_inputs) {
        let cx = SinkContext {
            name: component.name.as_str().into(),
            run: shared.run.clone(),
            inputs: wiring::describe(&component.inputs, &kinds),
            counts: counts.clone(),
            rejects: shared.rejects.clone(),
            batches: batches.clone(),
            in_flight: observer.in_flight.clone(),
            outputs: shared.outputs.clone(),
            ledger: shared.ledger.clone().filter(|_| component.config.uses_ledger()),
        };
        match component.config.build(cx).await {
            Ok(sink) => sinks.push((component.name.clone(), sink, input)),
            Err(error) => failures.push((Some(component.name.clone()), error)),
        }
    }
    drop(batches);
    let mut transforms = Vec::new();
    for ((component, counts), input) in config
        .transforms
        .iter()
        .zip(&counts.transforms)
        .zip(transform_inputs)
    {
        let cx = TransformContext {
            name: component.name.as_str().into(),
            run: shared.run.clone(),
            inputs: wiring::describe(&component.inputs, &kinds),
            counts: counts.clone(),
            rejects: shared.rejects.clone(),
        };
        let out = Output::transform(targets(&component.name), counts.clone()).telling(ends(&component.name));
        match component.config.build(cx).await {
            Ok(transform) => transforms.push((component.name.clone(), transform, input, out)),
            Err(error) => failures.push((Some(component.name.clone()), error)),
        }
    }
    let mut taps = Taps::new(config);
    let mut sources = Vec::new();
    for (component, counts) in config.sources.iter().zip(&counts.sources) {
        let cx = SourceContext {
            name: component.name.as_str().into(),
            run: shared.run.clone(),
            columns: needed_columns(config, &component.name).map(Arc::new),
            counts: counts.clone(),
            rejects: shared.rejects.clone(),
            position: Position {
                ledger: shared.ledger.clone(),
                pipeline: shared.pipeline.clone(),
                source: component.name.as_str().into(),
                rejects: Some(shared.rejects.clone()),
            },
            pages: observer.pages.clone(),
        };
        let out = Output::tapped_source(
            targets(&component.name),
            counts.clone(),
            shared.run.cancel.clone(),
            shared.limit,
            taps.of(&component.name),
        )
        .telling(ends(&component.name));
        match component.config.build(cx).await {
            Ok(source) => sources.push((component.name.clone(), source, out)),
            Err(error) => failures.push((Some(component.name.clone()), error)),
        }
    }
    if failures.is_empty()
        && let Err(error) = shared.rejects.prepare()
    {
        failures.push((None, error));
    }
    let mut recordings = Vec::new();
    if failures.is_empty() {
        let state = shared.run.base.join(&config.state.path);
        match taps.open(&shared.run, &state, &shared.pipeline, shared.started) {
            Ok(opened) => recordings = opened,
            Err(failure) => failures.push(failure),
        }
    }
    // From here on only the outputs hold senders: a channel ends when those who send into it have ended.
    drop(senders);
    if !failures.is_empty() {
        return (Err(failures), GuardsReport::default());
    }

    let (gate, sinks) = stage_sinks(config, shared, counts, sinks);
    let mut tasks: JoinSet<(String, Result<()>)> = JoinSet::new();
    // What is left in a channel can be counted only when those who send have let go of it, so they are told first.
    let cancel = shared.run.cancel.clone();
    let ended = |cancel: CancellationToken, result: Result<()>| {
        if result.is_err() {
            cancel.cancel();
        }
        result
    };
    for (name, sink, mut input) in sinks {
        let cancel = cancel.clone();
        tasks.spawn(async move {
            let result = ended(cancel, to_its_end(sink.run(&mut input)).await);
            input.drain().await;
            (name, result)
        });
    }
    for (name, transform, mut input, out) in transforms {
        let cancel = cancel.clone();
        tasks.spawn(async move {
            let run = |out| to_its_end(transform.run(&mut input, out));
            let result = staging::upstream(out, &cancel, run).await;
            let result = ended(cancel, result);
            input.drain().await;
            (name, result)
        });
    }
    for recording in recordings {
        let (name, recorded, cancel) = (recording.source.clone(), shared.recorded.clone(), cancel.clone());
        tasks.spawn(async move { (name, recording.run(recorded, cancel).await) });
    }
    for (name, source, out) in sources {
        let cancel = cancel.clone();
        tasks.spawn(async move {
            let run = |out| to_its_end(source.run(out));
            (name, staging::upstream(out, &cancel, run).await)
        });
    }
    while let Some(ended) = tasks.join_next().await {
        let failure = match ended {
            Ok((_, Ok(()))) => continue,
            Ok((name, Err(error))) => (Some(name), error),
            Err(_) => (None, panicked()),
        };
        // The others stop reading, finish what is in flight and count the rest.
        shared.run.cancel.cancel();
        failures.push(failure);
    }
    let guards = gate.map(|gate| gate.report()).unwrap_or_default();
    if failures.is_empty() {
        (Ok(()), guards)
    } else {
        (Err(failures), guards)
    }
}

/// Whether all of a run's sources say that there was nothing new to read.
pub(super) fn nothing_new(sources: &[Counts]) -> bool {
    !sources.is_empty() && sources.iter().all(Counts::is_nothing_new)
}

/// A sink, built, with its name and its input.
type Ready = (String, Box<dyn Sink>, Input);

/// If any sink has guards, puts a stage before each: no sink sends a row before the rows of all are judged.
fn stage_sinks(
    config: &PipelineConfig,
    shared: &Shared,
    counts: &Members,
    sinks: Vec<Ready>,
) -> (Option<Gate>, Vec<Ready>) {
    let guarded: Vec<Guarded> = config
        .sinks
        .iter()
        .map(|sink| Guarded {
            sink: sink.name.as_str().into(),
            guards: sink.guards.over(&config.guards),
            last: shared.last.get(&sink.name).cloned(),
        })
        .collect();
    if guarded.iter().all(|sink| sink.guards.is_empty()) {
        return (None, sinks);
    }
    let all: Vec<Counts> = counts.all().cloned().collect();
    let sources = counts.sources.clone();
    let evaluator = Evaluator {
        sinks: guarded,
        allowed: shared.allow.clone(),
        partial: shared.run.partial,
        nothing_new: Box::new(move || nothing_new(&sources)),
        totals: Box::new(move || {
            let mut sum = Totals::default();
            for counts in &all {
                sum += counts.totals();
            }
            sum
        }),
    };
    let (gate, participants) = Gate::new(evaluator, shared.run.cancel.clone());
    let state = shared.run.base.join(&config.state.path);
    let folder: Arc<Path> = state.parent().unwrap_or(Path::new(".")).into();
    let staged = sinks
        .into_iter()
        .zip(participants)
        .zip(&counts.sinks)
        .map(|(((name, sink, input), participant), counts)| {
            let sink = StagedSink::new(sink, participant, counts.clone(), folder.clone());
            (name, Box::new(sink) as Box<dyn Sink>, input)
        })
        .collect();
    (Some(gate), staged)
}

/// A component's own result, or a failure in its name if it panics, so that what it left in its channel is counted
/// however it ended.
async fn to_its_end(work: impl Future<Output = Result<()>>) -> Result<()> {
    // The component is gone afterwards; what it shares with others are counters and the rejects file, whose lock
    // survives a panic.
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(panicked()))
}

/// Without the panic's text, which may hold anything, values of rows included.
fn panicked() -> Error {
    Error::unexpected("the component panicked").with_hint("please report this: it should not happen")
}
