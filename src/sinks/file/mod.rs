//! The sink `file`: writes CSV exactly as it would be uploaded.
//!
//! For inspecting a pipeline without a cloud, and for uploads with another tool. The file appears under its name once all
//! rows are written; until then it is `NAME.part`, which is locked, and which an aborted run removes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::consume;
use super::payload::{Naming, require_hr_rows, scenario};
use crate::component::{
    Checkpoint, Chunk, Description, Input, InputDescription, Problems, Sink, SinkConfig, SinkContext,
};
use crate::delivery::{EncoderFactory, Partition};
use crate::disk::AtomicFile;
use crate::error::{Error, ErrorKind, Result};
use crate::format::encode::CsvEncoder;
use crate::hr::Scenario;

/// Writes CSV exactly as it would be uploaded.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileConfig {
    /// The file, relative to the pipeline file; replaced if it exists. `{scenario}` is replaced by the scenario of the
    /// rows and is required with several inputs.
    pub path: String,
    /// Column names by HR field, for fields whose column has another name.
    #[serde(default)]
    #[schemars(example = &serde_json::json!({"EmailAddress": "UPN"}))]
    pub columns: BTreeMap<String, String>,
    /// The column that contains the scenario of a row. Default: no such column.
    #[serde(default)]
    #[schemars(example = &"HRScenario")]
    pub scenario_column: Option<String>,
    /// Values of `scenario_column` by scenario, for those that differ from the documented ones.
    #[serde(default)]
    #[schemars(example = &serde_json::json!({"employee_resignation": "Resignation"}))]
    pub scenario_values: BTreeMap<Scenario, String>,
}

const PLACEHOLDER: &str = "{scenario}";

/// Of the file while it is written.
const SUFFIX: &str = ".part";

impl FileConfig {
    fn naming(&self) -> Naming {
        Naming {
            columns: self.columns.clone(),
            scenario_column: self.scenario_column.clone(),
            scenario_values: self.scenario_values.clone(),
        }
    }
}

#[async_trait]
impl SinkConfig for FileConfig {
    fn validate(&self, inputs: &[InputDescription], problems: &mut Problems<'_>) {
        require_hr_rows(inputs, problems);
        self.naming().validate(inputs, false, problems);
        if self.path.trim().is_empty() {
            problems.at("path").add("expected the name of a file");
        }
        if inputs.len() > 1 && !self.path.contains(PLACEHOLDER) {
            problems.at("path").add_with_hint(
                "several inputs would write to one file",
                format!("add `{PLACEHOLDER}` to the path, for example `out/{PLACEHOLDER}.csv`"),
            );
        }
        for (index, input) in inputs.iter().enumerate() {
            let earlier = &inputs[..index];
            if earlier.iter().any(|other| scenario(other) == scenario(input)) {
                let mut here = problems.at("inputs");
                here.at_index(index)
                    .add("two inputs of one scenario would write to one file");
            }
        }
    }

    fn targets(&self, inputs: &[InputDescription]) -> BTreeSet<String> {
        let scenarios = inputs.iter().filter_map(scenario);
        scenarios
            .map(|scenario| format!("the file `{}`", self.path.replace(PLACEHOLDER, scenario.id())))
            .collect()
    }

    async fn build(&self, cx: SinkContext) -> Result<Box<dyn Sink>> {
        let naming = self.naming();
        let files = cx.inputs.iter().map(|input| {
            let Partition { label, encoder } = naming.partition(input);
            let path = cx.run.base.join(self.path.replace(PLACEHOLDER, label));
            Target {
                path,
                encoder,
                open: None,
            }
        });
        let files = files.collect();
        Ok(Box::new(FileSink { cx, files }))
    }
}

struct FileSink {
    cx: SinkContext,
    files: Vec<Target>,
}

struct Target {
    path: PathBuf,
    encoder: EncoderFactory,
    open: Option<Open>,
}

struct Open {
    schema: SchemaRef,
    encoder: CsvEncoder,
    file: BufWriter<AtomicFile>,
    rows: usize,
}

#[async_trait]
impl Sink for FileSink {
    async fn run(self: Box<Self>, input: &mut Input) -> Result<()> {
        let Self { cx, mut files } = *self;
        let (mut result, checkpoints) = consume(&cx, input, |from, chunk| files[from].write(chunk)).await;
        if cx.run.cancel.is_cancelled() {
            result = result.and(Err(Error::interrupted()));
        }
        let dry_run = cx.run.dry_run;
        for Target { path, open, .. } in files {
            let Some(Open { file, rows, .. }) = open else {
                continue;
            };
            if result.is_err() || dry_run {
                cx.counts.not_sent(rows);
                continue;
            }
            let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
            match file.and_then(AtomicFile::commit) {
                Ok(()) => {
                    cx.counts.accepted(rows);
                    cx.outputs.add(&cx.name, "CSV as it would be uploaded", path);
                }
                Err(error) => {
                    cx.counts.not_sent(rows);
                    result = Err(failed(&path, error));
                }
            }
        }
        if result.is_ok() && !dry_run {
            checkpoints.into_iter().for_each(Checkpoint::done);
        }
        result
    }
}

impl Target {
    fn write(&mut self, chunk: &Chunk) -> Result<()> {
        let schema = chunk.batch.schema_ref();
        if self.open.as_ref().is_some_and(|open| open.schema != *schema) {
            let path = self.path.display();
            return Err(Error::input(format!(
                "rows with different columns cannot be written to one file `{path}`"
            )));
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let open = self.create(schema)?;
                self.open.insert(open)
            }
        };
        let encoded = open.encoder.encode(&chunk.batch)?;
        open.file
            .write_all(&encoded.bytes)
            .map_err(|error| failed(&self.path, error))?;
        open.rows += encoded.ends.len();
        Ok(())
    }

    /// Creates the file, locked, with its header row.
    fn create(&self, schema: &SchemaRef) -> Result<Open> {
        let path = self.path.display();
        let file = AtomicFile::create_locked(&self.path, SUFFIX).map_err(|error| {
            Error::config(format!("cannot create the file `{path}{SUFFIX}`"))
                .with_source(error)
                .with_hint("set `path` to a file in a folder that hrsink may write to")
        })?;
        let file = file.ok_or_else(|| {
            Error::new(ErrorKind::Transient, format!("another run is writing `{path}`"))
                .with_hint(format!("wait for it, or stop it: it has locked `{path}{SUFFIX}`"))
        })?;
        let mut file = BufWriter::new(file);
        let encoder = (self.encoder)(schema);
        file.write_all(&encoder.header())
            .map_err(|error| failed(&self.path, error))?;
        Ok(Open {
            schema: schema.clone(),
            encoder,
            file,
            rows: 0,
        })
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::unexpected(format!("cannot write `{}`", path.display())).with_source(error)
}

inventory::submit! {
    Description::sink::<FileConfig>("file", "writes CSV exactly as it would be uploaded")
}
