//! Builds the components of a run, joins them with channels, and runs them as tasks.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::guards::{Evaluator, Guarded};
use super::ledger::LedgerRecord;
use super::run::Run;
use super::snapshots::{Named, Recording, Taps};
use super::staging::{Gate, MAX_MEMORY_BYTES, StagedSink, upstream};
use super::{GuardsReport, RejectsFile};
use crate::component::{
    BatchReport, Columns, Counts, Input, Item, Output, Position, Role, RunInfo, Sink, SinkContext, Source,
    SourceContext, Transform, TransformContext, channel,
};
use crate::config::{PipelineConfig, wiring};
use crate::error::{Error, Result};
use crate::snapshot::Recorder;

/// Items that may wait in front of a component. Two keep both ends busy; more would only use memory.
const CHANNEL_CAPACITY: usize = 2;

/// The failures of a run, each with its component.
pub(super) type Failures = Vec<(Option<String>, Error)>;

type Sender = mpsc::Sender<(usize, Item)>;

/// The receiving ends of all components, in the order of the pipeline file, so that a run is the same each time.
#[derive(Default)]
struct Channels<'c>(Vec<(&'c [String], Sender)>);

impl<'c> Channels<'c> {
    /// Adds a channel into a component, fed by all its inputs.
    fn add(&mut self, inputs: &'c [String], counts: &Counts) -> Input {
        let (sender, input) = channel(CHANNEL_CAPACITY, counts.clone());
        self.0.push((inputs, sender));
        input
    }

    /// The senders to the receivers of the component `name`, each with the number of its input.
    fn targets(&self, name: &str) -> Vec<(Sender, usize)> {
        let target = |(inputs, sender): &(&[String], Sender)| {
            let input = inputs.iter().position(|input| input == name)?;
            Some((sender.clone(), input))
        };
        self.0.iter().filter_map(target).collect()
    }
}

#[derive(Default)]
pub(super) struct Graph {
    sources: Vec<(String, Box<dyn Source>, Output)>,
    transforms: Vec<(String, Box<dyn Transform>, Input, Output)>,
    sinks: Vec<(String, Box<dyn Sink>, Input)>,
    recordings: Vec<Recording>,
    gate: Option<Gate>,
}

impl Graph {
    /// Builds everything; nothing moves before.
    pub(super) async fn build(
        run: &Run<'_>,
        record: &LedgerRecord,
        batches: UnboundedSender<BatchReport>,
    ) -> Result<Self, Failures> {
        let config = run.config;
        let mut failures = Failures::new();
        let mut channels = Channels::default();
        let mut add = |role, name: &str, inputs| channels.add(inputs, &run.counters.of(role, name));
        let transforms = config.transforms.iter();
        let transform_inputs: Vec<Input> = transforms
            .map(|component| add(Role::Transform, &component.name, &component.inputs))
            .collect();
        let sinks = config.sinks.iter();
        let sink_inputs: Vec<Input> = sinks
            .map(|component| add(Role::Sink, &component.name, &component.inputs))
            .collect();
        let mut taps = Taps::default();
        let mut graph = Self::default();
        graph.build_sinks(run, sink_inputs, batches, &mut failures).await;
        graph
            .build_transforms(run, transform_inputs, &channels, &mut failures)
            .await;
        graph
            .build_sources(run, record, &channels, &mut taps, &mut failures)
            .await;
        if failures.is_empty()
            && let Some(Err(error)) = run.rejects_file.as_ref().map(RejectsFile::create)
        {
            failures.push((None, error));
        }
        if !failures.is_empty() {
            return Err(failures);
        }
        let ledger = run.info.base.join(&config.state.path);
        graph.recordings = taps
            .open(&run.info, &ledger, run.started)
            .map_err(|failure| vec![failure])?;
        graph.stage(run, record);
        // `channels` is dropped here: only the outputs hold senders, and a channel ends with them.
        Ok(graph)
    }

    async fn build_sinks(
        &mut self,
        run: &Run<'_>,
        inputs: Vec<Input>,
        batches: UnboundedSender<BatchReport>,
        failures: &mut Failures,
    ) {
        let kinds = wiring::kinds(run.config);
        for (component, input) in run.config.sinks.iter().zip(inputs) {
            let name = &component.name;
            let inputs = wiring::describe(&component.inputs, &kinds);
            let cx = SinkContext {
                counts: run.counters.of(Role::Sink, name),
                rejects: run.rejects.clone(),
                batches: batches.clone(),
                in_flight: run.observer.in_flight.clone(),
                outputs: run.outputs.clone(),
                ..SinkContext::new(name.as_str(), run.info.clone(), inputs)
            };
            match component.config.build(cx).await {
                Ok(sink) => self.sinks.push((name.clone(), sink, input)),
                Err(error) => failures.push((Some(name.clone()), error)),
            }
        }
    }

    async fn build_transforms(
        &mut self,
        run: &Run<'_>,
        inputs: Vec<Input>,
        channels: &Channels<'_>,
        failures: &mut Failures,
    ) {
        let kinds = wiring::kinds(run.config);
        for (component, input) in run.config.transforms.iter().zip(inputs) {
            let name = &component.name;
            let inputs = wiring::describe(&component.inputs, &kinds);
            let counts = run.counters.of(Role::Transform, name);
            let cx = TransformContext {
                counts: counts.clone(),
                rejects: run.rejects.clone(),
                ..TransformContext::new(name.as_str(), run.info.clone(), inputs)
            };
            let out = Output::transform(channels.targets(name), counts);
            match component.config.build(cx).await {
                Ok(transform) => self.transforms.push((name.clone(), transform, input, out)),
                Err(error) => failures.push((Some(name.clone()), error)),
            }
        }
    }

    async fn build_sources<'r>(
        &mut self,
        run: &Run<'r>,
        record: &LedgerRecord,
        channels: &Channels<'_>,
        taps: &mut Taps<'r>,
        failures: &mut Failures,
    ) {
        for component in &run.config.sources {
            let name = &component.name;
            let counts = run.counters.of(Role::Source, name);
            let cx = SourceContext {
                columns: used_columns(run.config, name).map(Arc::new),
                counts: counts.clone(),
                rejects: run.rejects.clone(),
                position: Position::new(record.position_of(&run.info, name), run.rejects.clone()),
                pages: run.observer.pages.clone(),
                ..SourceContext::new(name.as_str(), run.info.clone())
            };
            let cancel = run.info.cancel.clone();
            let out = Output::source(channels.targets(name), counts, cancel, run.options.limit)
                .tapped(taps.add(run.config, name));
            if let Some(rows) = run.options.enough {
                out.hint_enough(rows);
            }
            match component.config.build(cx).await {
                Ok(source) => self.sources.push((name.clone(), source, out)),
                Err(error) => failures.push((Some(name.clone()), error)),
            }
        }
    }

    /// Stages all sinks if any has guards: no sink sends a row before the rows of all are evaluated.
    fn stage(&mut self, run: &Run<'_>, record: &LedgerRecord) {
        let sinks = run.config.sinks.iter();
        let guarded: Vec<Guarded> = sinks
            .map(|sink| Guarded {
                sink: sink.name.as_str().into(),
                guards: sink.guards.over(&run.config.guards),
                last: record.last.get(&sink.name).cloned(),
            })
            .collect();
        if guarded.iter().all(|sink| sink.guards.is_empty()) {
            return;
        }
        let evaluator = Evaluator {
            sinks: guarded,
            allowed: run.options.allow.clone(),
            partial: run.info.partial,
            sources: run.counters.sources(),
            all: run.counters.all(),
        };
        let (gate, participants) = Gate::new(evaluator, run.info.cancel.clone());
        let sinks = std::mem::take(&mut self.sinks).into_iter().zip(participants);
        let staged = sinks.map(|((name, sink, input), participant)| {
            let counts = run.counters.of(Role::Sink, &name);
            let folder = run.info.state.clone();
            let sink: Box<dyn Sink> = Box::new(StagedSink::new(
                sink,
                participant,
                counts,
                folder,
                MAX_MEMORY_BYTES,
            ));
            (name, sink, input)
        });
        self.sinks = staged.collect();
        self.gate = Some(gate);
    }

    pub(super) async fn run(self, run: &RunInfo) -> (Failures, GuardsReport, Vec<Named<Recorder>>) {
        let mut tasks: JoinSet<(String, Result<Option<Recorder>>)> = JoinSet::new();
        for (name, sink, mut input) in self.sinks {
            let cancel = run.cancel.clone();
            tasks.spawn(async move {
                let result = cancel_on_failure(caught(sink.run(&mut input)).await, &cancel);
                input.drain().await;
                (name, result.map(|()| None))
            });
        }
        for (name, transform, mut input, out) in self.transforms {
            let cancel = run.cancel.clone();
            tasks.spawn(async move {
                let run = |out| caught(transform.run(&mut input, out));
                let result = upstream(out, &cancel, run).await;
                let result = cancel_on_failure(result, &cancel);
                input.drain().await;
                (name, result.map(|()| None))
            });
        }
        for recording in self.recordings {
            let (name, cancel) = (recording.source.clone(), run.cancel.clone());
            tasks.spawn(async move { (name, recording.run(cancel).await.map(Some)) });
        }
        for (name, source, out) in self.sources {
            let cancel = run.cancel.clone();
            tasks.spawn(async move {
                let run = |out| caught(source.run(out));
                (name, upstream(out, &cancel, run).await.map(|()| None))
            });
        }
        let mut failures = Failures::new();
        let mut recorded = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            let failure = match ended {
                Ok((name, Ok(recorder))) => {
                    recorded.extend(recorder.map(|recorder| (name, recorder)));
                    continue;
                }
                Ok((name, Err(error))) => (Some(name), error),
                Err(_) => (None, panicked()),
            };
            // The other components stop reading, finish uploads in flight and count the rest.
            run.cancel.cancel();
            failures.push(failure);
        }
        let guards = self.gate.map(|gate| gate.report()).unwrap_or_default();
        (failures, guards, recorded)
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
