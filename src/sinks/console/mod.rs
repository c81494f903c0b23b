//! The sink `console`: prints rows to standard output, as a table or as NDJSON, with personal data (`hrsink preview`
//! masks it).

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::consume;
use crate::component::{
    Checkpoint, Chunk, Description, Input, InputDescription, Problems, Sink, SinkConfig, SinkContext,
};
use crate::error::{Error, Result};
use crate::settings::BoundedInt;
use crate::settings::bounded::UNBOUNDED;
use crate::table::{self, Table};

/// Prints rows to standard output.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConsoleConfig {
    /// `table` prints the first rows when the run ends; `ndjson` prints every row as one JSON object per line.
    pub format: ConsoleFormat,
    /// The maximum number of rows of each input in the table. Default 20.
    #[schemars(example = &50)]
    pub max_rows: Option<BoundedInt<1, UNBOUNDED>>,
}

/// The output format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConsoleFormat {
    /// The first rows, as a table.
    #[default]
    Table,
    /// Every row, as one JSON object per line.
    Ndjson,
}

#[async_trait]
impl SinkConfig for ConsoleConfig {
    fn validate(&self, _: &[InputDescription], problems: &mut Problems<'_>) {
        if self.format == ConsoleFormat::Ndjson && self.max_rows.is_some() {
            problems
                .at("max_rows")
                .add("`max_rows` is for tables; `ndjson` prints every row");
        }
    }

    fn uses_stdout(&self) -> bool {
        true
    }

    async fn build(&self, cx: SinkContext) -> Result<Box<dyn Sink>> {
        let shown = cx.inputs.iter().map(|_| Shown::default()).collect();
        Ok(Box::new(ConsoleSink {
            cx,
            format: self.format,
            max_rows: self.max_rows.map_or(20, BoundedInt::as_usize),
            shown,
        }))
    }
}

struct ConsoleSink {
    cx: SinkContext,
    format: ConsoleFormat,
    max_rows: usize,
    shown: Vec<Shown>,
}

#[derive(Default)]
struct Shown {
    batches: Vec<RecordBatch>,
    kept: usize,
    rows: usize,
}

#[async_trait]
impl Sink for ConsoleSink {
    async fn run(mut self: Box<Self>, input: &mut Input) -> Result<()> {
        let cx = self.cx.clone();
        let (result, checkpoints) = consume(&cx, input, |from, chunk| {
            self.print(from, chunk)?;
            cx.counts.accepted(chunk.num_rows());
            Ok(())
        })
        .await;
        result?;
        if self.format == ConsoleFormat::Table {
            self.print_tables().map_err(cannot_print)?;
        }
        // In a dry run nothing is delivered.
        if !self.cx.run.dry_run {
            checkpoints.into_iter().for_each(Checkpoint::done);
        }
        Ok(())
    }
}

impl ConsoleSink {
    fn print(&mut self, from: usize, chunk: &Chunk) -> Result<()> {
        match self.format {
            ConsoleFormat::Ndjson => {
                let mut lines = Vec::new();
                let mut writer = LineDelimitedWriter::new(&mut lines);
                writer
                    .write(&chunk.batch)
                    .and_then(|()| writer.finish())
                    .map_err(|error| Error::unexpected("cannot print rows as JSON").with_source(error))?;
                std::io::stdout().write_all(&lines).map_err(cannot_print)
            }
            ConsoleFormat::Table => {
                let shown = &mut self.shown[from];
                shown.rows += chunk.num_rows();
                let more = (self.max_rows - shown.kept).min(chunk.num_rows());
                if more > 0 {
                    shown.kept += more;
                    shown.batches.push(chunk.batch.slice(0, more));
                }
                Ok(())
            }
        }
    }

    fn print_tables(&self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for (input, shown) in self.cx.inputs.iter().zip(&self.shown) {
            let rows = if shown.rows == 1 { "row" } else { "rows" };
            writeln!(out, "{} ({} {rows})", input.name, shown.rows)?;
            if !shown.batches.is_empty() {
                let table = Table::of(&shown.batches).map_err(std::io::Error::other)?;
                out.write_all(table.render(table::width()).as_bytes())?;
            }
            if shown.rows > shown.kept {
                writeln!(out, "… and {} more", shown.rows - shown.kept)?;
            }
        }
        out.flush()
    }
}

fn cannot_print(error: std::io::Error) -> Error {
    Error::unexpected("cannot write to standard output").with_source(error)
}

inventory::submit! {
    Description::sink::<ConsoleConfig>("console", "prints rows to standard output, as a table or as NDJSON")
}
