//! Builds the components of a run, joins them with channels, and runs them as tasks.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::counters::{Counters, nothing_new};
use super::guards::{Evaluator, Guarded};
use super::ledger::LedgerRecord;
use super::snapshots::{Recorded, Recording, Taps};
use super::staging::{Gate, StagedSink, upstream};
use super::{GuardsReport, Observer, RejectsFile, RunOptions};
use crate::component::{
    BatchReport, Columns, Counts, Ends, Input, Item, Output, Outputs, Position, Rejects, RunInfo, Sink,
    SinkContext, Source, SourceContext, Transform, TransformContext, channel,
};
use crate::config::{PipelineConfig, wiring};
use crate::error::{Error, Result};

/// Items that may wait in front of a component. Two keep both ends busy; more would only use memory.
const CHANNEL_CAPACITY: usize = 2;

/// The failures of a run, each with its component.
pub(super) type Failures = Vec<(Option<String>, Error)>;

/// What all components of a run share.
pub(super) struct Shared<'r> {
    pub(super) config: &'r PipelineConfig,
    pub(super) options: &'r RunOptions,
    pub(super) observer: &'r Observer,
    pub(super) run: &'r RunInfo,
    pub(super) started: Timestamp,
    pub(super) counters: &'r Counters,
    pub(super) record: &'r LedgerRecord,
    pub(super) rejects: &'r Rejects,
    pub(super) rejects_file: Option<&'r RejectsFile>,
    pub(super) outputs: &'r Outputs,
}

type Sender = mpsc::Sender<(usize, Item)>;

/// The receiving ends of all components, in the order of the pipeline file, so that a run is the same each time.
#[derive(Default)]
struct Channels<'c>(Vec<Receiver<'c>>);

struct Receiver<'c> {
    inputs: &'c [String],
    sender: Sender,
    ends: Ends,
}

impl<'c> Channels<'c> {
    /// Adds a channel into a component, fed by all its inputs.
    fn add(&mut self, inputs: &'c [String], counts: &Counts) -> Input {
        let (sender, input) = channel(CHANNEL_CAPACITY, counts.clone());
        let ends = input.ends();
        self.0.push(Receiver { inputs, sender, ends });
        input
    }

    /// The receivers of the component `name`, each with the number of its input.
    fn receivers(&self, name: &str) -> impl Iterator<Item = (&Receiver<'c>, usize)> {
        self.0.iter().filter_map(move |receiver| {
            Some((receiver, receiver.inputs.iter().position(|input| input == name)?))
        })
    }

    fn targets(&self, name: &str) -> Vec<(Sender, usize)> {
        let receivers = self.receivers(name);
        receivers
            .map(|(receiver, input)| (receiver.sender.clone(), input))
            .collect()
    }

    fn ends(&self, name: &str) -> Vec<(Ends, usize)> {
        let receivers = self.receivers(name);
        receivers
            .map(|(receiver, input)| (receiver.ends.clone(), input))
            .collect()
    }
}

/// A sink, built, with its name and its input.
type BuiltSink = (String, Box<dyn Sink>, Input);

/// The components of a run, ready to run.
pub(super) struct Graph {
    sources: Vec<(String, Box<dyn Source>, Output)>,
    transforms: Vec<(String, Box<dyn Transform>, Input, Output)>,
    sinks: Vec<BuiltSink>,
    recordings: Vec<Recording>,
    gate: Option<Gate>,
}

impl Graph {
    /// Builds everything; nothing moves before.
    ///
    /// # Errors
    /// Components that cannot be built.
    pub(super) async fn build(
        shared: &Shared<'_>,
        batches: UnboundedSender<BatchReport>,
    ) -> Result<Self, Failures> {
        let (config, counters) = (shared.config, shared.counters);
        let mut failures = Failures::new();
        let mut channels = Channels::default();
        let transforms = config.transforms.iter().zip(&counters.transforms);
        let transform_inputs: Vec<Input> = transforms
            .map(|(component, counts)| channels.add(&component.inputs, counts))
            .collect();
        let sinks = config.sinks.iter().zip(&counters.sinks);
        let sink_inputs: Vec<Input> = sinks
            .map(|(component, counts)| channels.add(&component.inputs, counts))
            .collect();

        let sinks = shared.build_sinks(sink_inputs, batches, &mut failures).await;
        let transforms = shared
            .build_transforms(transform_inputs, &channels, &mut failures)
            .await;
        let mut taps = Taps::new(config);
        let sources = shared.build_sources(&channels, &mut taps, &mut failures).await;
        if failures.is_empty()
            && let Some(Err(error)) = shared.rejects_file.map(RejectsFile::create)
        {
            failures.push((None, error));
        }
        if !failures.is_empty() {
            return Err(failures);
        }
        let ledger = shared.run.base.join(&config.state.path);
        let recordings = taps
            .open(shared.run, &ledger, &shared.run.pipeline, shared.started)
            .map_err(|failure| vec![failure])?;
        // `channels` is dropped here: only the outputs hold senders, and a channel ends with them.
        let (gate, sinks) = shared.stage(sinks);
        Ok(Self {
            sources,
            transforms,
            sinks,
            recordings,
            gate,
        })
    }

    /// Runs all components to their end.
    pub(super) async fn run(self, run: &RunInfo, recorded: &Recorded) -> (Failures, GuardsReport) {
        let mut tasks: JoinSet<(String, Result<()>)> = JoinSet::new();
        for (name, sink, mut input) in self.sinks {
            let cancel = run.cancel.clone();
            tasks.spawn(async move {
                let result = cancel_on_failure(caught(sink.run(&mut input)).await, &cancel);
                input.drain().await;
                (name, result)
            });
        }
        for (name, transform, mut input, out) in self.transforms {
            let cancel = run.cancel.clone();
            tasks.spawn(async move {
                let run = |out| caught(transform.run(&mut input, out));
                let result = upstream(out, &cancel, run).await;
                let result = cancel_on_failure(result, &cancel);
                input.drain().await;
                (name, result)
            });
        }
        for recording in self.recordings {
            let (name, recorded) = (recording.source.clone(), recorded.clone());
            let cancel = run.cancel.clone();
            tasks.spawn(async move { (name, recording.run(recorded, cancel).await) });
        }
        for (name, source, out) in self.sources {
            let cancel = run.cancel.clone();
            tasks.spawn(async move {
                let run = |out| caught(source.run(out));
                (name, upstream(out, &cancel, run).await)
            });
        }
        let mut failures = Failures::new();
        while let Some(ended) = tasks.join_next().await {
            let failure = match ended {
                Ok((_, Ok(()))) => continue,
                Ok((name, Err(error))) => (Some(name), error),
                Err(_) => (None, panicked()),
            };
            // The other components stop reading, finish uploads in flight and count the rest.
            run.cancel.cancel();
            failures.push(failure);
        }
        (failures, self.gate.map(|gate| gate.report()).unwrap_or_default())
    }
}

impl Shared<'_> {
    async fn build_sinks(
        &self,
        inputs: Vec<Input>,
        batches: UnboundedSender<BatchReport>,
        failures: &mut Failures,
    ) -> Vec<BuiltSink> {
        let kinds = wiring::kinds(self.config);
        let mut sinks = Vec::new();
        let components = self.config.sinks.iter().zip(&self.counters.sinks);
        for ((component, counts), input) in components.zip(inputs) {
            let inputs = wiring::describe(&component.inputs, &kinds);
            let mut cx = SinkContext::new(component.name.as_str(), self.run.clone(), inputs);
            cx.counts = counts.clone();
            cx.rejects = self.rejects.clone();
            cx.batches = batches.clone();
            cx.in_flight = self.observer.in_flight.clone();
            cx.outputs = self.outputs.clone();
            match component.config.build(cx).await {
                Ok(sink) => sinks.push((component.name.clone(), sink, input)),
                Err(error) => failures.push((Some(component.name.clone()), error)),
            }
        }
        sinks
    }

    async fn build_transforms(
        &self,
        inputs: Vec<Input>,
        channels: &Channels<'_>,
        failures: &mut Failures,
    ) -> Vec<(String, Box<dyn Transform>, Input, Output)> {
        let kinds = wiring::kinds(self.config);
        let mut transforms = Vec::new();
        let components = self.config.transforms.iter().zip(&self.counters.transforms);
        for ((component, counts), input) in components.zip(inputs) {
            let name = &component.name;
            let inputs = wiring::describe(&component.inputs, &kinds);
            let mut cx = TransformContext::new(name.as_str(), self.run.clone(), inputs);
            cx.counts = counts.clone();
            cx.rejects = self.rejects.clone();
            let out =
                Output::transform(channels.targets(name), counts.clone()).notifying(channels.ends(name));
            match component.config.build(cx).await {
                Ok(transform) => transforms.push((name.clone(), transform, input, out)),
                Err(error) => failures.push((Some(name.clone()), error)),
            }
        }
        transforms
    }

    async fn build_sources(
        &self,
        channels: &Channels<'_>,
        taps: &mut Taps<'_>,
        failures: &mut Failures,
    ) -> Vec<(String, Box<dyn Source>, Output)> {
        let mut sources = Vec::new();
        for (component, counts) in self.config.sources.iter().zip(&self.counters.sources) {
            let name = &component.name;
            let mut cx = SourceContext::new(name.as_str(), self.run.clone());
            cx.columns = used_columns(self.config, name).map(Arc::new);
            cx.counts = counts.clone();
            cx.rejects = self.rejects.clone();
            cx.position = Position::new(self.record.position_of(self.run, name), self.rejects.clone());
            cx.pages = self.observer.pages.clone();
            let out = Output::tapped_source(
                channels.targets(name),
                counts.clone(),
                self.run.cancel.clone(),
                self.options.limit,
                taps.of(name),
            )
            .notifying(channels.ends(name));
            match component.config.build(cx).await {
                Ok(source) => sources.push((name.clone(), source, out)),
                Err(error) => failures.push((Some(name.clone()), error)),
            }
        }
        sources
    }

    /// Stages all sinks if any has guards: no sink sends a row before the rows of all are evaluated.
    fn stage(&self, sinks: Vec<BuiltSink>) -> (Option<Gate>, Vec<BuiltSink>) {
        let guarded: Vec<Guarded> = self
            .config
            .sinks
            .iter()
            .map(|sink| Guarded {
                sink: sink.name.as_str().into(),
                guards: sink.guards.over(&self.config.guards),
                last: self.record.last.get(&sink.name).cloned(),
            })
            .collect();
        if guarded.iter().all(|sink| sink.guards.is_empty()) {
            return (None, sinks);
        }
        let (all, sources) = (self.counters.all(), self.counters.sources.clone());
        let evaluator = Evaluator {
            sinks: guarded,
            allowed: self.options.allow.clone(),
            partial: self.run.partial,
            nothing_new: Box::new(move || nothing_new(&sources)),
            totals: Box::new(move || Counts::sum(&all)),
        };
        let (gate, participants) = Gate::new(evaluator, self.run.cancel.clone());
        let staged = sinks.into_iter().zip(participants).zip(&self.counters.sinks);
        let staged = staged.map(|(((name, sink, input), participant), counts)| {
            let folder = self.run.state.clone();
            let sink: Box<dyn Sink> = Box::new(StagedSink::new(sink, participant, counts.clone(), folder));
            (name, sink, input)
        });
        (Some(gate), staged.collect())
    }
}

/// The columns of `source` that other components use; `None`: all.
fn used_columns(config: &PipelineConfig, source: &str) -> Option<BTreeSet<String>> {
    let takes = |inputs: &[String]| inputs.iter().any(|input| input == source);
    if config.sinks.iter().any(|sink| takes(&sink.inputs)) {
        return None;
    }
    let snapshots = config
        .snapshots
        .iter()
        .filter(|snapshot| snapshot.source == source);
    let mut used: BTreeSet<String> = snapshots
        .flat_map(|snapshot| snapshot.settings.columns.iter().cloned())
        .collect();
    for transform in config
        .transforms
        .iter()
        .filter(|transform| takes(&transform.inputs))
    {
        match transform.config.columns() {
            Columns::All => return None,
            Columns::Named(names) => used.extend(names),
        }
    }
    Some(used)
}

/// Before the input is drained: rows left in a channel can be counted only after their senders have stopped.
fn cancel_on_failure(result: Result<()>, cancel: &CancellationToken) -> Result<()> {
    if result.is_err() {
        cancel.cancel();
    }
    result
}

/// A component's result, or an error in its name if it panics.
async fn caught(work: impl Future<Output = Result<()>>) -> Result<()> {
    // The component is gone afterwards; what it shares with others survives a panic.
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(panicked()))
}

/// Without the text of the panic, which may hold values of rows.
fn panicked() -> Error {
    Error::unexpected("the component panicked").with_hint("please report this: it should not happen")
}
