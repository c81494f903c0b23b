//! What every source, transform and sink must do. Each calls [`source`], [`transform`] or [`sink`], and [`validation`],
//! in unit tests of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::concat_batches;
use futures::future::join_all;
use serde_json::{Map, Value};

use super::{
    Chunk, Columns, ComponentConfig, Counts, Delivered, Input, InputDescription, Item, Origins, Output, Part,
    Problems, Reject, RowKind, RunInfo, SinkConfig, SinkContext, SourceConfig, SourceContext, Totals,
    TransformConfig, TransformContext, channel, decode_component,
};
use crate::error::{ErrorKind, Result};

/// A run in `base` that uses these columns, or all.
pub(crate) fn context(base: &Path, columns: Option<&[&str]>) -> SourceContext {
    let mut cx = SourceContext::new("export", RunInfo::new(base));
    cx.columns = columns.map(|columns| Arc::new(columns.iter().map(|&name| name.to_owned()).collect()));
    cx
}

/// Inputs with these names, whose rows are of one kind.
pub(crate) fn inputs(names: &[&str], kind: RowKind) -> Vec<InputDescription> {
    let inputs = names.iter().map(|&name| InputDescription {
        name: name.into(),
        kind,
    });
    inputs.collect()
}

/// Records from text: a line of names, `name:int` for numbers, then rows; `-` is null. The first row is row `first` of
/// `file`, on the line after.
pub(crate) fn chunk(file: &str, first: u64, text: &str) -> Chunk {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let rows: Vec<Vec<Option<&str>>> = lines
        .map(|line| {
            let values = line.split(',');
            values.map(|value| (value != "-").then_some(value)).collect()
        })
        .collect();
    let columns = names.iter().enumerate().map(|(at, &name)| {
        let values = rows.iter().map(|row| row[at]);
        match name.strip_suffix(":int") {
            Some(name) => {
                let numbers = values.map(|value| value.map(|value| value.parse().unwrap()));
                (name, Arc::new(numbers.collect::<Int64Array>()) as ArrayRef, true)
            }
            None => (name, Arc::new(values.collect::<StringArray>()) as ArrayRef, true),
        }
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let part = Part {
        name: file.into(),
        columns: names.iter().map(|name| name.replace(":int", "")).collect(),
    };
    let numbers: Vec<u64> = (first..).take(rows.len()).collect();
    let lines = numbers.iter().map(|number| number + 1).collect();
    Chunk::records(batch, Origins::with_lines(Arc::new(part), numbers, lines))
}

/// A chunk, or the position of a checkpoint.
#[expect(clippy::large_enum_variant, reason = "nearly every item is a chunk")]
#[derive(Debug)]
pub(crate) enum Received {
    Chunk(Chunk),
    Checkpoint(String),
}

/// What a source or a transform sent.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) items: Vec<Received>,
    pub(crate) rejects: Vec<Reject>,
    pub(crate) totals: Totals,
    pub(crate) result: Result<()>,
}

impl Outcome {
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.items.iter().filter_map(|item| match item {
            Received::Chunk(chunk) => Some(chunk),
            Received::Checkpoint(_) => None,
        })
    }

    /// The position of each checkpoint, and the number of rows before it.
    pub(crate) fn checkpoints(&self) -> Vec<(usize, &str)> {
        let mut rows = 0;
        let mut checkpoints = Vec::new();
        for item in &self.items {
            match item {
                Received::Chunk(chunk) => rows += chunk.num_rows(),
                Received::Checkpoint(position) => checkpoints.push((rows, position.as_str())),
            }
        }
        checkpoints
    }

    /// All rows as one batch, if there is a chunk.
    fn batch(&self) -> Option<RecordBatch> {
        let batches: Vec<_> = self.chunks().map(|chunk| &chunk.batch).collect();
        let schema = batches.first()?.schema();
        Some(concat_batches(&schema, batches).expect("chunks of one schema"))
    }
}

async fn within_a_minute<T>(work: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(Duration::from_secs(60), work).await;
    result.expect("the component does not end")
}

/// Receives items to the end, or `stop_after` of them; counts their rows as accepted.
async fn receive(mut input: Input, counts: &Counts, stop_after: Option<usize>) -> Vec<Received> {
    let mut items = Vec::new();
    while stop_after.is_none_or(|limit| items.len() < limit)
        && let Some((_, item)) = input.next().await
    {
        items.push(match item {
            Item::Chunk(chunk) => {
                counts.accepted(chunk.num_rows());
                Received::Chunk(chunk)
            }
            Item::Checkpoint(checkpoint) => {
                let position = checkpoint.position().to_owned();
                checkpoint.done();
                Received::Checkpoint(position)
            }
        });
    }
    input.drain().await;
    items
}

/// Runs a source to its end, or until `stop_after` items were received.
pub(crate) async fn run(config: &dyn SourceConfig, cx: SourceContext, stop_after: Option<usize>) -> Outcome {
    let (sender, input) = channel(1, cx.counts.clone());
    let output = Output::source(vec![(sender, 0)], cx.counts.clone(), cx.run.cancel.clone(), None);
    let source = async { config.build(cx.clone()).await?.run(output).await };
    let receive = receive(input, &cx.counts, stop_after);
    let (result, items) = within_a_minute(async { tokio::join!(source, receive) }).await;
    Outcome {
        items,
        rejects: cx.rejects.kept(),
        totals: cx.counts.totals(),
        result,
    }
}

/// What a source reads.
pub(crate) struct Expected<'a> {
    /// Name and number of valid rows of each part, in order.
    pub(crate) parts: &'a [(&'a str, usize)],
    /// Part and row number of each reject.
    pub(crate) rejects: &'a [(&'a str, u64)],
}

/// Checks a source whose input has at least two parts.
///
/// # Panics
/// It breaks the contract.
pub(crate) async fn source(
    config: &dyn SourceConfig,
    cx: impl Fn() -> SourceContext,
    expected: Expected<'_>,
) {
    let complete = run(config, cx(), None).await;
    assert!(complete.result.is_ok(), "{:?}", complete.result);

    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    let mut is_open = false;
    for item in &complete.items {
        match item {
            Received::Chunk(chunk) => {
                let name = &*chunk.origins.part().name;
                if order.last() != Some(&name) {
                    assert!(!is_open, "no checkpoint between the parts {order:?} and `{name}`");
                    order.push(name);
                }
                *rows.entry(name).or_default() += chunk.num_rows();
                is_open = true;
            }
            Received::Checkpoint(_) => is_open = false,
        }
    }
    assert!(!is_open, "no checkpoint after the last part");
    let parts: Vec<(&str, usize)> = order.iter().map(|&name| (name, rows[name])).collect();
    assert_eq!(
        parts, expected.parts,
        "at least one chunk of each part, also of an empty one"
    );

    let rejects: Vec<(&str, u64)> = complete
        .rejects
        .iter()
        .map(|reject| (&*reject.origin.file, reject.origin.row))
        .collect();
    assert_eq!(rejects, expected.rejects, "rejects with their origin");
    let valid: usize = expected.parts.iter().map(|(_, rows)| rows).sum();
    let totals = complete.totals;
    assert_eq!(totals.read, (valid + expected.rejects.len()) as u64, "{totals:?}");
    assert_eq!(totals.rejected, expected.rejects.len() as u64, "{totals:?}");
    assert!(totals.conserved(), "{totals:?}");

    // Nobody wants more rows: not an error, and no further item blocks the source.
    for items in 0..complete.items.len() {
        let stopped = run(config, cx(), Some(items)).await;
        let holds = stopped.result.is_ok();
        assert!(holds, "after {items} items: {:?}", stopped.result);
        assert_eq!(stopped.items.len(), items);
        assert!(stopped.totals.conserved(), "{:?}", stopped.totals);
    }
}

/// The chunks that a transform or a sink receives, with the number of their input, in this order. Behind each follows a
/// checkpoint whose position is its index.
pub(crate) type Given = [(usize, Chunk)];

/// Sends `given` to a component under test, and returns each checkpoint with the number of rows before it. Before the
/// chunk `cancel_before`, the run is cancelled.
fn feed<'g>(
    given: &'g Given,
    inputs: usize,
    run: &RunInfo,
    counts: &Counts,
    cancel_before: Option<usize>,
) -> (impl Future<Output = Vec<(u64, Delivered)>> + 'g, Input) {
    // When the run is cancelled, all earlier items wait.
    let capacity = cancel_before.map_or(1, |_| 2 * given.len());
    let (sender, input) = channel(capacity, counts.clone());
    let cancel = run.cancel.clone();
    let output = |number| {
        let targets = vec![(sender.clone(), number)];
        Output::source(targets, counts.clone(), cancel.clone(), None)
    };
    let outs: Vec<Output> = (0..inputs).map(output).collect();
    let send = async move {
        let mut rows = 0;
        let mut sent = Vec::new();
        for (at, (number, chunk)) in given.iter().enumerate() {
            if cancel_before == Some(at) {
                cancel.cancel();
            }
            rows += chunk.num_rows() as u64;
            if outs[*number].send(chunk.clone()).await.is_err() {
                break;
            }
            match outs[*number].checkpoint(at.to_string()).await {
                Ok(delivered) => sent.push((rows, delivered)),
                Err(_) => break,
            }
        }
        if cancel_before == Some(given.len()) {
            cancel.cancel();
        }
        sent
    };
    (send, input)
}

/// The origin of each row, as a key.
fn origins(chunk: &Chunk) -> impl Iterator<Item = String> {
    (0..chunk.num_rows()).map(|row| format!("{:?}", chunk.origins.at(row)))
}

/// Runs a transform to its end, or until `stop_after` items were received.
pub(crate) async fn run_transform(
    config: &dyn TransformConfig,
    cx: TransformContext,
    given: &Given,
    stop_after: Option<usize>,
    cancel_before: Option<usize>,
) -> Outcome {
    let counts = cx.counts.clone();
    let transform = config.build(cx.clone()).await.unwrap();
    let (feed, mut input) = feed(given, cx.inputs.len(), &cx.run, &counts, cancel_before);
    let (to_sink, sink) = channel(1, counts.clone());
    let out = Output::transform(vec![(to_sink, 0)], counts.clone());
    let work = async {
        let result = transform.run(&mut input, out).await;
        input.drain().await;
        result
    };
    let receive = receive(sink, &counts, stop_after);
    let (_, result, items) = within_a_minute(async { tokio::join!(feed, work, receive) }).await;
    let totals = counts.totals();
    assert!(totals.conserved(), "every row has one outcome: {totals:?}");
    Outcome {
        items,
        rejects: cx.rejects.kept(),
        totals,
        result,
    }
}

/// Checks a transform with at least two chunks. `cx` makes the context of a new run with the inputs.
///
/// # Panics
/// It breaks the contract.
pub(crate) async fn transform(
    config: &dyn TransformConfig,
    cx: impl Fn() -> TransformContext,
    given: &Given,
) {
    let complete = run_transform(config, cx(), given, None, None).await;
    assert!(complete.result.is_ok(), "{:?}", complete.result);
    assert_eq!(complete.totals.not_sent, 0, "{:?}", complete.totals);
    assert!(complete.chunks().all(|chunk| chunk.kind == config.kind()));
    let actual = checks_checkpoints(&complete, given);
    assert_eq!(actual, given.len(), "every checkpoint is sent on");
    if complete.totals.derived == 0 {
        checks_origins(&complete, given);
    }

    // The columns that it names are all it needs.
    if let Columns::Named(names) = config.columns() {
        let project = |(input, chunk): &(usize, Chunk)| (*input, project(chunk, &names));
        let given: Vec<(usize, Chunk)> = given.iter().map(project).collect();
        let projected = run_transform(config, cx(), &given, None, None).await;
        let actual = projected.batch();
        assert_eq!(actual, complete.batch(), "with the columns {names:?} only");
    }
    for items in 0..complete.items.len() {
        let stopped = run_transform(config, cx(), given, Some(items), None).await;
        let holds = stopped.result.is_ok();
        assert!(holds, "after {items} items: {:?}", stopped.result);
        assert_eq!(stopped.items.len(), items);
    }
    for chunks in 0..=given.len() {
        let cancelled = run_transform(config, cx(), given, None, Some(chunks)).await;
        assert_interrupted(&cancelled.result);
        checks_checkpoints(&cancelled, given);
    }
}

fn project(chunk: &Chunk, names: &BTreeSet<String>) -> Chunk {
    let fields = chunk.batch.schema_ref().fields().iter().enumerate();
    let (kept, columns): (Vec<_>, Vec<_>) = fields
        .filter(|(_, field)| names.contains(field.name()))
        .map(|(at, field)| (field.clone(), chunk.batch.column(at).clone()))
        .unzip();
    let schema = Arc::new(arrow::datatypes::Schema::new(kept));
    let options = RecordBatchOptions::new().with_row_count(Some(chunk.num_rows()));
    Chunk {
        batch: RecordBatch::try_new_with_options(schema, columns, &options).unwrap(),
        origins: chunk.origins.clone(),
        kind: chunk.kind,
    }
}

/// The checkpoints of each input keep their order. Returns their number.
fn checks_checkpoints(outcome: &Outcome, given: &Given) -> usize {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let checkpoints = outcome.checkpoints();
    for (_, position) in &checkpoints {
        let at: usize = position.parse().unwrap();
        let before = last.insert(given[at].0, at);
        assert!(before < Some(at), "checkpoint {at} after {before:?}");
    }
    checkpoints.len()
}

/// Each row keeps its origin, and is sent before the checkpoint behind it.
fn checks_origins(outcome: &Outcome, given: &Given) {
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    for (at, (_, chunk)) in given.iter().enumerate() {
        left.extend(origins(chunk).map(|origin| (origin, at)));
    }
    let mut passed: BTreeSet<usize> = BTreeSet::new();
    for item in &outcome.items {
        match item {
            Received::Chunk(chunk) => {
                for origin in origins(chunk) {
                    let at = left.remove(&origin);
                    let at = at.unwrap_or_else(|| panic!("not a row of the input, or sent twice: {origin}"));
                    assert!(!passed.contains(&at), "sent after its checkpoint: {origin}");
                }
            }
            Received::Checkpoint(position) => {
                passed.insert(position.parse().unwrap());
            }
        }
    }
    for reject in &outcome.rejects {
        assert!(!reject.faults.is_empty(), "a reject without reason: {reject:?}");
        let known = left.remove(&format!("{:?}", reject.origin));
        assert!(known.is_some(), "not a row of the input, or sent: {reject:?}");
    }
    let filtered = outcome.totals.filtered;
    assert_eq!(left.len() as u64, filtered, "neither sent nor rejected: {left:?}");
}

fn assert_interrupted(result: &Result<()>) {
    let failed = matches!(result, Err(error) if error.kind() != ErrorKind::Interrupted);
    assert!(!failed, "a cancelled run: {result:?}");
}

/// The result of a sink and, for each checkpoint, whether it was delivered.
async fn run_sink(
    config: &dyn SinkConfig,
    cx: SinkContext,
    given: &Given,
    cancel_before: Option<usize>,
) -> (Result<()>, Vec<bool>) {
    let counts = cx.counts.clone();
    let sink = config.build(cx.clone()).await.unwrap();
    let (feed, mut input) = feed(given, cx.inputs.len(), &cx.run, &counts, cancel_before);
    let work = async {
        let result = sink.run(&mut input).await;
        input.drain().await;
        result
    };
    let watch = async {
        let sent = feed.await;
        let watched = sent.into_iter().map(async |(rows, delivered)| {
            let delivered = delivered.await;
            let totals = counts.totals();
            let done = totals.finished() - totals.not_sent - totals.unknown;
            assert!(!delivered || done >= rows, "delivered with {done} of {rows} rows");
            delivered
        });
        join_all(watched).await
    };
    let (result, delivered) = within_a_minute(async { tokio::join!(work, watch) }).await;
    let totals = counts.totals();
    assert!(totals.conserved(), "every row has one outcome: {totals:?}");
    (result, delivered)
}

/// Checks a sink that can deliver, with at least two chunks. `cx` makes the context of a new run with the inputs.
///
/// # Panics
/// It breaks the contract.
pub(crate) async fn sink(config: &dyn SinkConfig, cx: impl Fn() -> SinkContext, given: &Given) {
    for chunks in 0..=given.len() {
        let (result, _) = run_sink(config, cx(), given, Some(chunks)).await;
        assert_interrupted(&result);
    }

    let mut dry = cx();
    dry.run.dry_run = true;
    let (result, delivered) = run_sink(config, dry, given, None).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(
        delivered,
        vec![false; given.len()],
        "nothing is delivered in a dry run"
    );

    let complete = cx();
    let counts = complete.counts.clone();
    let (result, delivered) = run_sink(config, complete, given, None).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(delivered, vec![true; given.len()], "every checkpoint is done");
    let totals = counts.totals();
    assert_eq!((totals.not_sent, totals.unknown), (0, 0), "{totals:?}");
}

/// The component with these settings, which include its `type`.
pub(crate) fn component<C: ComponentConfig + ?Sized>(settings: Value) -> Box<C> {
    let Value::Object(settings) = settings else {
        panic!("not an object: {settings}")
    };
    let mut found = Vec::new();
    let config = decode_component(settings, &mut Problems::new(&mut found));
    config.unwrap_or_else(|| panic!("{found:#?}"))
}

/// Checks that `validate` accepts `valid` settings and reports every one of the `invalid` values at once, each under its
/// key or a key below it. `valid` has a `type`; keys are paths such as `batch.max_rows`.
///
/// # Panics
/// It breaks the contract.
pub(crate) fn validation<C: ComponentConfig + ?Sized>(
    valid: &Value,
    invalid: &[(&str, Value)],
    validate: impl Fn(&C, &mut Problems<'_>),
) {
    let problems = |settings: &Map<String, Value>| -> Vec<String> {
        let mut found = Vec::new();
        let mut problems = Problems::new(&mut found);
        if let Some(config) = decode_component::<C>(settings.clone(), &mut problems) {
            validate(&config, &mut problems);
        }
        found.iter().map(ToString::to_string).collect()
    };
    let valid = valid.as_object().unwrap();
    assert_eq!(problems(valid), [""; 0]);
    let mut all = valid.clone();
    for (path, value) in invalid {
        let mut keys = path.split('.');
        let first = keys.next().unwrap();
        let entry = all.entry(first).or_insert_with(|| Map::new().into());
        *keys.fold(entry, |at, key| &mut at[key]) = value.clone();
    }
    let found = problems(&all);
    for (path, _) in invalid {
        let holds = found.iter().any(|problem| problem.starts_with(path));
        assert!(holds, "no problem of `{path}`: {found:#?}");
    }
}
