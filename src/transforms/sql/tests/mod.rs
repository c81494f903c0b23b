//! The transform as the engine runs it, its inputs coming in the order of a script.

mod counts;
mod limits;
mod messages;
mod origins;
mod queries;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tokio_util::sync::CancellationToken;

use super::SqlConfig;
use crate::component::{
    Chunk, Columns, Counts, Input, InputDescription, Item, Origins, Output, Part, RowKind, RunInfo, Totals,
    TransformConfig, TransformContext, channel,
};
use crate::config::{ByteSize, Problem, Problems};
use crate::error::Result;

/// Far longer than any test takes: one that would hang fails instead.
const HANGS: Duration = Duration::from_secs(120);

/// What one input sends next.
#[expect(clippy::large_enum_variant, reason = "nearly every step is a chunk")]
enum Step {
    Chunk(Chunk),
    Checkpoint(&'static str),
    End,
    /// The run is cancelled.
    Cancel,
}

/// What came out.
#[derive(Debug)]
struct Outcome {
    /// `value|value`
    rows: Vec<String>,
    /// `file:row:line`
    origins: Vec<String>,
    columns: Vec<String>,
    chunks: Vec<usize>,
    /// Rows before each checkpoint.
    checkpoints: Vec<(usize, String)>,
    totals: Totals,
    result: Result<()>,
}

impl Outcome {
    fn sorted(mut self) -> Vec<String> {
        self.result.unwrap();
        self.rows.sort();
        self.rows
    }

    fn error(self) -> String {
        let error = self.result.unwrap_err();
        format!(
            "{}\n{}",
            error.chain(),
            error.hints().collect::<Vec<_>>().join("\n")
        )
    }
}

/// A chunk out of text: a line of names, `name:int` for numbers, then rows; `-` is null. The first row of the chunk is the
/// row `first` of `file`.
fn chunk(file: &str, first: u64, text: &str) -> Chunk {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let rows: Vec<Vec<Option<&str>>> = lines
        .map(|line| {
            line.split(',')
                .map(|value| (value != "-").then_some(value))
                .collect()
        })
        .collect();
    let column = |at: usize| rows.iter().map(move |row| row[at]);
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = names
        .iter()
        .enumerate()
        .map(|(at, name)| match name.strip_suffix(":int") {
            Some(name) => (
                Field::new(name, DataType::Int64, true),
                Arc::new(
                    column(at)
                        .map(|value| value.map(|value| value.parse().unwrap()))
                        .collect::<Int64Array>(),
                ) as ArrayRef,
            ),
            None => (
                Field::new(*name, DataType::Utf8, true),
                Arc::new(column(at).collect::<StringArray>()) as ArrayRef,
            ),
        })
        .unzip();
    let part = Arc::new(Part {
        name: file.into(),
        columns: fields.iter().map(|field| field.name().clone()).collect(),
    });
    let numbers: Vec<u64> = (first..first + rows.len() as u64).collect();
    let lines = numbers.iter().map(|number| number + 1).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap();
    Chunk::records(batch, Origins::with_lines(part, numbers, lines))
}

/// All inputs at once, each one chunk and a checkpoint, one input after the other.
fn tables(given: &[(&'static str, &str)]) -> Vec<(usize, Step)> {
    let mut script = Vec::new();
    for (input, (name, text)) in given.iter().enumerate() {
        script.push((input, Step::Chunk(chunk(&format!("{name}.csv"), 1, text))));
        script.push((input, Step::Checkpoint(name)));
        script.push((input, Step::End));
    }
    script
}

struct Run<'a> {
    inputs: &'a [&'static str],
    sql: &'a str,
    memory: u64,
    /// How many chunks the receiver takes before it goes away.
    takes: usize,
    /// Whether ends are told of one by one.
    tells: bool,
}

impl<'a> Run<'a> {
    fn new(inputs: &'a [&'static str], sql: &'a str) -> Self {
        Self {
            inputs,
            sql,
            memory: 64 << 20,
            takes: usize::MAX,
            tells: true,
        }
    }

    fn config(&self) -> SqlConfig {
        SqlConfig {
            query: self.sql.to_owned(),
            memory_limit: ByteSize(self.memory),
        }
    }

    fn descriptions(&self) -> Vec<InputDescription> {
        self.inputs
            .iter()
            .map(|name| InputDescription {
                name: (*name).into(),
                kind: RowKind::Records,
            })
            .collect()
    }

    async fn with(&self, script: impl IntoIterator<Item = (usize, Step)>) -> Outcome {
        let counts = Counts::default();
        let cancel = CancellationToken::new();
        let mut cx = TransformContext::new("q", RunInfo::new("."), self.descriptions());
        cx.run.cancel = cancel.clone();
        cx.counts = counts.clone();
        let transform = self.config().build(cx).await.unwrap();
        let (sender, mut input) = channel(2, counts.clone());
        let mut outs: BTreeMap<usize, Output> = (0..self.inputs.len())
            .map(|number| {
                let targets = vec![(sender.clone(), number)];
                let out = Output::source(targets, counts.clone(), cancel.clone(), None);
                let ends = if self.tells {
                    vec![(input.ends(), number)]
                } else {
                    vec![]
                };
                (number, out.notifying(ends))
            })
            .collect();
        drop(sender);
        let script: Vec<_> = script.into_iter().collect();
        let feed = async {
            let mut delivered = Vec::new();
            for (number, step) in script {
                match (step, outs.get(&number)) {
                    (Step::Cancel, _) => cancel.cancel(),
                    (Step::Chunk(chunk), Some(out)) => {
                        // As a source does: it ends when nobody wants more.
                        if out.send(chunk).await.is_err() {
                            outs.remove(&number);
                        }
                    }
                    (Step::Checkpoint(position), Some(out)) => {
                        delivered.extend(out.checkpoint(position).await);
                    }
                    (Step::End, _) => drop(outs.remove(&number)),
                    (Step::Chunk(_) | Step::Checkpoint(_), None) => {}
                }
            }
            outs.clear();
            delivered
        };
        let (to_sink, mut sink) = channel(2, counts.clone());
        let out = Output::transform(vec![(to_sink, 0)], counts.clone());
        let run = async {
            let result = transform.run(&mut input, out).await;
            input.drain().await;
            result
        };
        let take = collect(&mut sink, &counts, self.takes);
        let ran = async { tokio::join!(feed, run, take) };
        let (_, result, mut outcome) = tokio::time::timeout(HANGS, ran)
            .await
            .expect("it comes to its end");
        outcome.result = result;
        outcome.totals = counts.totals();
        assert!(outcome.totals.conserved(), "{outcome:#?}");
        outcome
    }
}

async fn collect(sink: &mut Input, counts: &Counts, takes: usize) -> Outcome {
    let mut outcome = Outcome {
        rows: Vec::new(),
        origins: Vec::new(),
        columns: Vec::new(),
        chunks: Vec::new(),
        checkpoints: Vec::new(),
        totals: Totals::default(),
        result: Ok(()),
    };
    while outcome.chunks.len() < takes
        && let Some((_, item)) = sink.next().await
    {
        match item {
            Item::Checkpoint(checkpoint) => {
                outcome
                    .checkpoints
                    .push((outcome.rows.len(), checkpoint.position().to_owned()));
                checkpoint.done();
            }
            Item::Chunk(chunk) => {
                counts.accepted(chunk.num_rows());
                outcome.chunks.push(chunk.num_rows());
                let names = chunk.batch.schema_ref().fields().iter();
                outcome.columns = names
                    .map(|field| format!("{} {}", field.name(), field.data_type()))
                    .collect();
                let options = FormatOptions::default().with_null("-");
                let columns: Vec<ArrayFormatter<'_>> = chunk
                    .batch
                    .columns()
                    .iter()
                    .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                    .collect();
                for row in 0..chunk.num_rows() {
                    let cells: Vec<String> = columns
                        .iter()
                        .map(|column| column.value(row).to_string())
                        .collect();
                    outcome.rows.push(cells.join("|"));
                    let at = chunk.origins.at(row);
                    let line = at.line.map_or_else(|| "-".to_owned(), |line| line.to_string());
                    outcome.origins.push(format!("{}:{}:{line}", at.file, at.row));
                }
            }
        }
    }
    sink.drain().await;
    outcome
}

/// Runs a query over tables that come one after the other, and over the same the other way round: the same must come out.
async fn rows(given: &[(&'static str, &str)], sql: &str) -> Vec<String> {
    let names: Vec<&'static str> = given.iter().map(|(name, _)| *name).collect();
    let run = Run::new(&names, sql);
    let mut script = tables(given);
    let rows = run.with(script.drain(..)).await.sorted();
    let mut inputs: Vec<Vec<(usize, Step)>> = Vec::new();
    for (number, step) in tables(given) {
        inputs.resize_with(inputs.len().max(number + 1), Vec::new);
        inputs[number].push((number, step));
    }
    let backwards = inputs.into_iter().rev().flatten();
    assert_eq!(
        run.with(backwards).await.sorted(),
        rows,
        "the order of arrival matters"
    );
    rows
}

/// What `validate` says.
fn problems(inputs: &[&'static str], sql: &str) -> String {
    let run = Run::new(inputs, sql);
    let mut found: Vec<Problem> = Vec::new();
    run.config()
        .validate(&run.descriptions(), &mut Problems::new(&mut found));
    found
        .iter()
        .map(|problem| match &problem.hint {
            Some(hint) => format!("{problem} ({hint})"),
            None => problem.to_string(),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn columns(sql: &str) -> Columns {
    Run::new(&[], sql).config().columns()
}
