//! The decoded pipeline file.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::document::{self, Notation};
use super::sections::{Section, block};
use super::{GuardsConfig, interpolate, wiring};
use crate::component::{Problem, Problems, SinkConfig, SourceConfig, TransformConfig};
use crate::error::{Error, Result};
use crate::settings::bounded::{DAY, SECOND, UNBOUNDED};
use crate::settings::{BoundedDuration, BoundedInt, Ratio};
use crate::snapshot::{SnapshotSource, SourceSnapshot, snapshot_input};
use crate::suggest::suggestion;

/// A pipeline file, decoded and checked: what [`pipeline::run`](crate::pipeline::run) runs.
#[derive(Debug)]
pub struct PipelineConfig {
    /// Path of the file, for messages.
    pub path: PathBuf,
    /// The folder of the file; relative paths are relative to it.
    pub base: PathBuf,
    /// The sources, in the file's order; after them the snapshots, as `NAME.previous`.
    pub sources: Vec<Wired<Box<dyn SourceConfig>>>,
    /// The transforms, each after its inputs.
    pub transforms: Vec<Wired<Box<dyn TransformConfig>>>,
    /// The sinks, in the file's order.
    pub sinks: Vec<Wired<Box<dyn SinkConfig>>>,
    /// The `rejects` block.
    pub rejects: RejectsConfig,
    /// The `state` block.
    pub state: StateConfig,
    /// The guards of all sinks; a sink's own override them.
    pub guards: GuardsConfig,
    /// The snapshots of sources, in the file's order.
    pub snapshots: Vec<SourceSnapshot>,
}

/// The `state` block: where the ledger is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateConfig {
    /// The ledger, a SQLite file, with its key, locks and temporary files beside it. Several pipelines may share one. Use
    /// a local disk: many network file systems have no reliable locks. Relative to the pipeline file.
    pub path: PathBuf,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from(".hrsink/state.db"),
        }
    }
}

impl StateConfig {
    fn validate(&self, problems: &mut Problems<'_>) {
        if self.path.file_name().is_none() {
            problems
                .at("path")
                .add_with_hint("the path has no file name", "for example `.hrsink/state.db`");
        }
    }
}

/// A component with its name and the names of its inputs.
#[derive(Debug)]
pub struct Wired<C> {
    /// Its name in the pipeline file.
    pub name: String,
    /// Names of the components whose rows it receives; empty for a source.
    pub inputs: Vec<String>,
    /// Its settings.
    pub config: C,
    /// The guards of a sink.
    pub guards: GuardsConfig,
}

/// The `rejects` block: what happens to rejected rows.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RejectsConfig {
    /// The folder of the rejects files, one NDJSON file for each run with rejects, readable by its owner only. Relative
    /// to the pipeline file.
    pub path: PathBuf,
    /// Whether a reject includes the rejected value. Values are personal data.
    pub include_values: bool,
    /// The ratio of rows that may be rejected; above it, the run ends with exit code 3. Rows that a `where` excluded do
    /// not count.
    pub max_ratio: Ratio,
    /// How many rejects files of earlier runs to keep; the oldest are removed when a run starts. Only files that a run
    /// named (`<run id>.ndjson`) are counted and removed, also those of other pipelines in the same folder.
    pub max_files: BoundedInt<1, 1_000_000>,
    /// How long to keep rejects files; older ones are removed when a run starts. They say whose rows were not uploaded,
    /// and with `include_values` hold personal data.
    pub max_age: BoundedDuration<SECOND, UNBOUNDED>,
}

impl Default for RejectsConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from(".hrsink/rejects"),
            include_values: false,
            max_ratio: Ratio::new(0.1),
            max_files: BoundedInt::new(100),
            max_age: BoundedDuration::new(90 * DAY),
        }
    }
}

const SECTIONS: [&str; 6] = ["sources", "transforms", "sinks", "state", "guards", "rejects"];

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl PipelineConfig {
    /// Reads and checks the file at `path`. Environment variables are those of this process.
    ///
    /// # Errors
    /// The file cannot be read or parsed ([`LoadError::Unreadable`]), or has problems ([`LoadError::Problems`]: all that
    /// can be found without network, secrets and input).
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::from_tree(read(path)?, path, &environment)
    }

    /// As [`load`](Self::load), from a text. `path` need not exist; `lookup` returns environment variables.
    ///
    /// # Errors
    /// As for `load`.
    pub fn parse(
        text: &str,
        notation: Notation,
        path: &Path,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, LoadError> {
        Self::from_tree(document::parse(text, notation, path)?, path, lookup)
    }

    fn from_tree(
        tree: Value,
        path: &Path,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, LoadError> {
        let mut found = Vec::new();
        let config = Self::decode(tree, path, lookup, &mut Problems::new(&mut found));
        finish(config, path, found)
    }

    /// Reads only the source `name` of the file at `path`: the result has no transform and no sink. The rest of the file
    /// may be incomplete.
    ///
    /// # Errors
    /// The file cannot be read or parsed, or has no such source ([`LoadError::Unreadable`]), or the source has problems
    /// ([`LoadError::Problems`]).
    pub fn load_source(path: &Path, name: &str) -> Result<Self, LoadError> {
        let mut tree = read(path)?;
        let Some(source) = tree
            .pointer_mut("/sources")
            .and_then(|sources| sources.get_mut(name))
        else {
            return Err(LoadError::Unreadable(no_source(&tree, path, name)));
        };
        let mut tree = serde_json::json!({"sources": {name: source.take()}});
        let mut found = Vec::new();
        let mut problems = Problems::new(&mut found);
        interpolate::interpolate(&mut tree, &environment, &mut problems);
        let mut root = tree.as_object_mut().map(std::mem::take).unwrap_or_default();
        let mut config = Self::empty(path);
        config.sources = Section::decode(&mut root, &mut problems).decoded;
        wiring::validate(&config, &mut problems);
        finish(Some(config), path, found)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            base: path.parent().map(Path::to_owned).unwrap_or_default(),
            sources: Vec::new(),
            transforms: Vec::new(),
            sinks: Vec::new(),
            rejects: RejectsConfig::default(),
            state: StateConfig::default(),
            guards: GuardsConfig::default(),
            snapshots: Vec::new(),
        }
    }

    fn decode(
        mut tree: Value,
        path: &Path,
        lookup: &dyn Fn(&str) -> Option<String>,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        interpolate::interpolate(&mut tree, lookup, problems);
        let Value::Object(mut root) = tree else {
            problems.add("a pipeline file must be a map with `sources`, `transforms` and `sinks`");
            return None;
        };
        let mut config = Self::empty(path);
        config.rejects = block(&mut root, "rejects", problems, |_, _| {});
        config.state = block(&mut root, "state", problems, StateConfig::validate);
        config.guards = block(&mut root, "guards", problems, GuardsConfig::validate);
        let sources = Section::decode(&mut root, problems);
        let transforms = Section::decode(&mut root, problems);
        let sinks = Section::decode(&mut root, problems);
        for key in root.keys() {
            problems
                .at(key)
                .add_with(format!("unknown key `{key}`"), suggestion(key, SECTIONS));
        }
        config.sources = sources.decoded;
        config.transforms = transforms.decoded;
        config.sinks = sinks.decoded;
        config.snapshots = sources.snapshots;
        for snapshot in &config.snapshots {
            let previous = SnapshotSource {
                snapshot: snapshot.clone(),
                ledger: config.state.path.clone(),
            };
            config.sources.push(Wired {
                name: snapshot_input(&snapshot.source),
                inputs: Vec::new(),
                config: Box::new(previous),
                guards: GuardsConfig::default(),
            });
        }
        let graph = wiring::Graph {
            sources: sources.nodes,
            transforms: transforms.nodes,
            sinks: sinks.nodes,
        };
        let order = wiring::check(&graph, problems);
        let place = |name: &str| order.iter().position(|other| other == name);
        config.transforms.sort_by_key(|transform| place(&transform.name));
        wiring::validate(&config, problems);
        Some(config)
    }
}

fn no_source(tree: &Value, path: &Path, name: &str) -> Error {
    let names = |section: &str| {
        let components = tree.get(section).and_then(Value::as_object);
        let names = components.into_iter().flat_map(Map::keys);
        names.map(String::as_str).collect::<Vec<_>>()
    };
    let other = ["transforms", "sinks"]
        .into_iter()
        .find(|section| names(section).contains(&name));
    let hint = match other {
        Some(other) => format!("`{name}` is in `{other}`"),
        None => suggestion(name, names("sources")).unwrap_or_else(|| {
            "add a source: `sources: {hr_export: {type: file, path: export.csv}}`".to_owned()
        }),
    };
    Error::config(format!("`{}` has no source `{name}`", path.display())).with_hint(hint)
}

fn read(path: &Path) -> Result<Value> {
    let notation = Notation::of(path)?;
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::config(format!("cannot read the pipeline file `{}`", path.display())).with_source(error)
    })?;
    document::parse(&text, notation, path)
}

fn finish(
    config: Option<PipelineConfig>,
    path: &Path,
    problems: Vec<Problem>,
) -> Result<PipelineConfig, LoadError> {
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(LoadError::Problems {
            path: path.to_owned(),
            problems,
        }),
    }
}

/// Why a pipeline file cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read, or is invalid in its notation.
    #[error(transparent)]
    Unreadable(#[from] Error),
    /// Its content has problems.
    #[error("the pipeline file `{}` has {}", path.display(), match problems.len() {
        1 => "a problem".to_owned(),
        count => format!("{count} problems"),
    })]
    Problems {
        /// The file.
        path: PathBuf,
        /// At least one; in the file's order as far as possible.
        problems: Vec<Problem>,
    },
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unreadable(error) => error,
            LoadError::Problems { ref problems, .. } => {
                let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Error::config(error.to_string()).with_source(list.join("; "))
            }
        }
    }
}
