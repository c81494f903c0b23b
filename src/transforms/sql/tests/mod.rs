//! Runs the transform with inputs that arrive in the order of a script.

mod messages;
mod queries;
mod runs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tokio_util::sync::CancellationToken;

use super::SqlConfig;
use super::config::MemoryLimit;
use crate::component::contract::{self, chunk};
use crate::component::{
    Chunk, Columns, Counts, Input, InputDescription, Item, Origins, Output, Part, Problem, Problems, RowKind,
    RunInfo, Totals, TransformConfig, TransformContext, channel,
};
use crate::error::Error;

/// Longer than any test takes: a test that hangs fails.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What an input sends next.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly every step is a chunk")]
enum Step {
    Chunk(Chunk),
    Checkpoint(&'static str),
    End,
    /// Cancels the run.
    Cancel,
}

type Script = Vec<(usize, Step)>;

/// Names and rows of the inputs.
type Tables<'a> = [(&'static str, &'a str)];

#[derive(Debug, Default)]
struct Outcome {
    /// `value|value`
    rows: Vec<String>,
    /// `file:row:line`
    origins: Vec<String>,
    /// `name type`
    columns: Vec<String>,
    /// Rows of each chunk.
    chunks: Vec<usize>,
    /// Rows before each checkpoint.
    checkpoints: Vec<(usize, String)>,
    totals: Totals,
    error: Option<Error>,
}

impl Outcome {
    fn sorted(mut self) -> Vec<String> {
        assert!(self.error.is_none(), "{self:?}");
        self.rows.sort();
        self.rows
    }

    /// The error with its hints in parentheses.
    fn error(&self) -> String {
        let Some(error) = &self.error else {
            return "no error".to_owned();
        };
        let hints = error.hints().map(|hint| format!(" ({hint})"));
        format!("{}{}", error.chain(), hints.collect::<String>())
    }
}

fn part<'a>(name: &str, columns: impl IntoIterator<Item = &'a str>) -> Arc<Part> {
    Arc::new(Part {
        name: name.into(),
        columns: columns.into_iter().map(str::to_owned).collect(),
    })
}

/// One input after the other, each a chunk, a checkpoint and its end.
fn tables(given: &Tables<'_>) -> Script {
    let inputs = given.iter().enumerate();
    inputs
        .flat_map(|(input, (name, text))| {
            let chunk = chunk(&format!("{name}.csv"), 1, text);
            [Step::Chunk(chunk), Step::Checkpoint(name), Step::End].map(|step| (input, step))
        })
        .collect()
}

struct Run<'a> {
    inputs: Vec<&'static str>,
    sql: &'a str,
    memory: u64,
}

impl<'a> Run<'a> {
    fn new(inputs: &[&'static str], sql: &'a str) -> Self {
        Self {
            inputs: inputs.to_vec(),
            sql,
            memory: 64 << 20,
        }
    }

    fn config(&self) -> SqlConfig {
        SqlConfig {
            query: self.sql.to_owned(),
            memory_limit: MemoryLimit::new(self.memory),
        }
    }

    fn descriptions(&self) -> Vec<InputDescription> {
        contract::inputs(&self.inputs, RowKind::Records)
    }

    fn context(&self, counts: &Counts, cancel: &CancellationToken) -> TransformContext {
        let mut cx = TransformContext::new("q", RunInfo::new("."), self.descriptions());
        cx.run.cancel = cancel.clone();
        cx.counts = counts.clone();
        cx
    }

    async fn with(&self, script: Script) -> Outcome {
        let counts = Counts::default();
        let cancel = CancellationToken::new();
        let transform = self.config().build(self.context(&counts, &cancel)).await.unwrap();
        let (sender, mut input) = channel(2, counts.clone());
        let mut outs: BTreeMap<usize, Output> = (0..self.inputs.len())
            .map(|number| {
                let targets = vec![(sender.clone(), number)];
                (
                    number,
                    Output::source(targets, counts.clone(), cancel.clone(), None),
                )
            })
            .collect();
        drop(sender);
        let feed = async {
            let mut delivered = Vec::new();
            for (number, step) in script {
                match (step, outs.get(&number)) {
                    (Step::Cancel, _) => cancel.cancel(),
                    (Step::Chunk(chunk), Some(out)) => {
                        // As a source: it ends when its rows are not received anymore.
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
        let receive = collect(&mut sink, &counts);
        let ran = async { tokio::join!(feed, run, receive) };
        let (_, result, mut outcome) = tokio::time::timeout(TIMEOUT, ran).await.expect("the run ends");
        outcome.error = result.err();
        outcome.totals = counts.totals();
        assert!(outcome.totals.conserved(), "{outcome:#?}");
        outcome
    }
}

async fn collect(sink: &mut Input, counts: &Counts) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some((_, item)) = sink.next().await {
        let chunk = match item {
            Item::Chunk(chunk) => chunk,
            Item::Checkpoint(checkpoint) => {
                let position = checkpoint.position().to_owned();
                outcome.checkpoints.push((outcome.rows.len(), position));
                checkpoint.done();
                continue;
            }
        };
        counts.accepted(chunk.num_rows());
        outcome.chunks.push(chunk.num_rows());
        let fields = chunk.batch.schema_ref().fields().iter();
        let fields = fields.map(|field| format!("{} {}", field.name(), field.data_type()));
        outcome.columns = fields.collect();
        let options = FormatOptions::default().with_null("-");
        let columns = chunk.batch.columns().iter();
        let columns: Vec<_> = columns
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..chunk.num_rows() {
            let cells: Vec<_> = columns
                .iter()
                .map(|column| column.value(row).to_string())
                .collect();
            outcome.rows.push(cells.join("|"));
            let at = chunk.origins.at(row);
            let line = at.line.map_or_else(|| "-".to_owned(), |line| line.to_string());
            outcome.origins.push(format!("{}:{}:{line}", at.file, at.row));
        }
    }
    outcome
}

/// Runs a query over tables that arrive one after the other.
async fn run(given: &Tables<'_>, sql: &str) -> Outcome {
    let names: Vec<&'static str> = given.iter().map(|(name, _)| *name).collect();
    Run::new(&names, sql).with(tables(given)).await
}

/// The sorted rows of a query; the same for any order of arrival.
async fn rows(given: &Tables<'_>, sql: &str) -> Vec<String> {
    let rows = run(given, sql).await.sorted();
    let names: Vec<&'static str> = given.iter().map(|(name, _)| *name).collect();
    let mut script = tables(given);
    script.sort_by_key(|(input, _)| std::cmp::Reverse(*input));
    let reversed = Run::new(&names, sql).with(script).await.sorted();
    assert_eq!(reversed, rows, "depends on the order of arrival: {sql}");
    rows
}

/// Checks a table of two lines for each case: a query, in which `⏎` is a line break, and its result.
async fn check(table: &str, result: impl AsyncFn(&str) -> String) {
    let lines = table.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let mut actual = Vec::new();
    for case in lines.chunks(2) {
        actual.push(case[0].to_owned());
        actual.push(result(&case[0].replace('⏎', "\n")).await);
    }
    assert!(actual == lines, "{}", actual.join("\n"));
}
