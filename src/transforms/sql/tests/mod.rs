//! Runs the transform with inputs that arrive in a given order.

mod messages;
mod queries;
mod runs;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::config::{MemoryLimit, SqlConfig};
use crate::component::contract::{self, chunk};
use crate::component::{
    Chunk, Columns, InputDescription, Origins, Part, Problem, Problems, RowKind, RunInfo, Totals,
    TransformConfig, TransformContext,
};
use crate::error::Error;

/// Chunks with the number of their input, in the order of their arrival.
type Given = Vec<(usize, Chunk)>;

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
    /// Rows before each checkpoint, one behind each chunk.
    checkpoints: Vec<usize>,
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

/// One input after the other, each a chunk.
fn tables(given: &Tables<'_>) -> Given {
    let inputs = given.iter().enumerate();
    let chunks = inputs.map(|(input, (name, text))| (input, chunk(&format!("{name}.csv"), 1, text)));
    chunks.collect()
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

    async fn with(&self, given: Given) -> Outcome {
        self.cancelled_before(None, given).await
    }

    /// Cancels the run before this chunk.
    async fn cancelled_before(&self, chunk: Option<usize>, given: Given) -> Outcome {
        let cx = TransformContext::new("q", RunInfo::new("."), self.descriptions());
        contract::run_transform(&self.config(), cx, &given, None, chunk)
            .await
            .into()
    }
}

impl From<contract::Outcome> for Outcome {
    fn from(outcome: contract::Outcome) -> Self {
        let checkpoints = outcome.checkpoints().into_iter().map(|(rows, _)| rows);
        let mut shown = Self {
            checkpoints: checkpoints.collect(),
            ..Self::default()
        };
        for chunk in outcome.chunks() {
            shown.chunks.push(chunk.num_rows());
            let fields = chunk.batch.schema_ref().fields().iter();
            let fields = fields.map(|field| format!("{} {}", field.name(), field.data_type()));
            shown.columns = fields.collect();
            let options = FormatOptions::default().with_null("-");
            let columns = chunk.batch.columns().iter();
            let columns = columns.map(|column| ArrayFormatter::try_new(column, &options).unwrap());
            let columns: Vec<_> = columns.collect();
            for row in 0..chunk.num_rows() {
                let cells = columns.iter().map(|column| column.value(row).to_string());
                shown.rows.push(cells.collect::<Vec<_>>().join("|"));
                let at = chunk.origins.at(row);
                let line = at.line.map_or_else(|| "-".to_owned(), |line| line.to_string());
                shown.origins.push(format!("{}:{}:{line}", at.file, at.row));
            }
        }
        shown.totals = outcome.totals;
        shown.error = outcome.result.err();
        shown
    }
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
    let given = tables(given).into_iter().rev().collect();
    let reversed = Run::new(&names, sql).with(given).await.sorted();
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
