//! The decoded pipeline file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::document::{self, Notation};
use super::{GuardsConfig, HumanDuration, Problem, Problems, decode, interpolate, suggestion, wiring};
use crate::component::{SinkConfig, SourceConfig, TransformConfig};
use crate::error::{Error, Result};
use crate::snapshot::{SnapshotConfig, SnapshotSource, SourceSnapshot, snapshot_input};

/// A pipeline file, decoded and checked: what [`pipeline`](crate::pipeline) runs.
#[derive(Debug)]
pub struct PipelineConfig {
    /// Path of the file, for messages.
    pub path: PathBuf,
    /// The folder that relative paths in the file are relative to: the file's own.
    pub base: PathBuf,
    /// The sources, in the file's order; after them the snapshots, as `NAME.previous`.
    pub sources: Vec<Wired<Box<dyn SourceConfig>>>,
    /// The transforms, in an order in which each comes after its inputs.
    pub transforms: Vec<Wired<Box<dyn TransformConfig>>>,
    /// The sinks, in the file's order.
    pub sinks: Vec<Wired<Box<dyn SinkConfig>>>,
    /// What happens to rows that are put aside.
    pub rejects: RejectsConfig,
    /// Where the ledger is.
    pub state: StateConfig,
    /// What must hold of every sink's rows before any is sent; a sink's own guards win.
    pub guards: GuardsConfig,
    /// What is kept of which sources for later runs, in the file's order.
    pub snapshots: Vec<SourceSnapshot>,
}

/// The `state:` block: where the ledger is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateConfig {
    /// The ledger, a SQLite file, with its key, locks and temporary files beside it; all for their owner only. Several
    /// pipelines may share one. Keep it on a local disk: SQLite's locks do not hold on every network file system.
    /// Relative to the pipeline file. Default `.hrsink/state.db`.
    pub path: PathBuf,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from(".hrsink/state.db"),
        }
    }
}

/// A component with its name and the names of its inputs.
#[derive(Debug)]
pub struct Wired<C> {
    /// The name the user gave it.
    pub name: String,
    /// Names of the components whose rows it takes; none for a source.
    pub inputs: Vec<String>,
    /// Its settings.
    pub config: C,
    /// What must hold of its rows before any is sent; for sinks only.
    pub guards: GuardsConfig,
}

/// The `rejects:` block: what happens to rows that are put aside.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RejectsConfig {
    /// Folder for the rejects files, one NDJSON file for each run that has rejects, readable by its owner only. Relative to the pipeline file. Default `.hrsink/rejects`.
    pub path: PathBuf,
    /// Whether a reject carries the offending value. Default `false`: values are personal data.
    pub include_values: bool,
    /// The share of rows, between 0 and 1, that may be put aside before the run ends with exit code 3. Rows that a
    /// `where` left out do not count. Default 0.1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_ratio: f64,
    /// How many rejects files of earlier runs stay in the folder, at least 1; when a run begins, the oldest beyond
    /// that are removed. Only files that a run named (`<run id>.ndjson`) count and are removed, those of other
    /// pipelines with the same folder among them. Default 100.
    #[schemars(range(min = 1))]
    pub max_files: u32,
    /// How long rejects files stay: when a run begins, those of runs that began longer ago are removed. Default
    /// `90d`: they tell who was to be in the upload, and with `include_values` hold personal data, which is not to be
    /// kept for longer than somebody may still look into it.
    pub max_age: HumanDuration,
}

impl RejectsConfig {
    fn validate(&self, problems: &mut Problems<'_>) {
        if !(0.0..=1.0).contains(&self.max_ratio) {
            problems.at("max_ratio").add(format!(
                "a share of rows is between 0 and 1, not {}",
                self.max_ratio
            ));
        }
        if self.max_files == 0 {
            problems
                .at("max_files")
                .add("at least 1 file of earlier runs is kept, not 0");
        }
        if self.max_age.0.is_zero() {
            problems.at("max_age").add("must be more than zero");
        }
    }
}

impl Default for RejectsConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from(".hrsink/rejects"),
            include_values: false,
            max_ratio: 0.1,
            max_files: 100,
            max_age: HumanDuration(Duration::from_secs(90 * 86_400)),
        }
    }
}

const SECTIONS: [&str; 6] = ["sources", "transforms", "sinks", "state", "guards", "rejects"];

impl PipelineConfig {
    /// Reads and checks the file at `path`; environment variables come from this process.
    ///
    /// # Errors
    /// The file cannot be read or parsed ([`LoadError::Unreadable`]), or has problems ([`LoadError::Problems`]: all
    /// that can be found without network, secrets and input).
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let notation = Notation::of(path)?;
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::config(format!("cannot read the pipeline file `{}`", path.display())).with_source(error)
        })?;
        Self::parse(&text, notation, path, &|name| std::env::var(name).ok())
    }

    /// Like [`load`](Self::load), from a text. `path` need not exist; `lookup` gives environment variables.
    ///
    /// # Errors
    /// As for `load`.
    pub fn parse(
        text: &str,
        notation: Notation,
        path: &Path,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, LoadError> {
        let tree = document::parse(text, notation, path)?;
        let mut found = Vec::new();
        let config = Self::decode(tree, path, lookup, &mut Problems::new(&mut found));
        match config {
            Some(config) if found.is_empty() => Ok(config),
            _ => Err(LoadError::Problems {
                path: path.to_owned(),
                problems: found,
            }),
        }
    }

    /// Reads the file at `path` for its source `name` alone: the result has no transform and no sink. Nothing else in
    /// the file need be right, or there: whoever begins a file begins with a source.
    ///
    /// # Errors
    /// The file cannot be read or parsed, has no such source ([`LoadError::Unreadable`]), or the source has problems
    /// ([`LoadError::Problems`]).
    pub fn load_source(path: &Path, name: &str) -> Result<Self, LoadError> {
        let notation = Notation::of(path)?;
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::config(format!("cannot read the pipeline file `{}`", path.display())).with_source(error)
        })?;
        let mut tree = document::parse(&text, notation, path)?;
        let named = |section: &str| tree.get(section).and_then(Value::as_object);
        if !named("sources").is_some_and(|sources| sources.contains_key(name)) {
            let error = Error::config(format!("`{}` has no source `{name}`", path.display()));
            let other = ["transforms", "sinks"]
                .into_iter()
                .find(|section| named(section).is_some_and(|components| components.contains_key(name)));
            let sources = named("sources").into_iter().flat_map(Map::keys);
            let hint = match other {
                Some(section) => Some(format!("`{name}` stands in `{section}`")),
                None => suggestion(name, sources.map(String::as_str).collect::<Vec<_>>()),
            };
            return Err(LoadError::Unreadable(match hint {
                Some(hint) => error.with_hint(hint),
                None => {
                    error.with_hint("name a source: `sources: {hr_export: {type: file, path: export.csv}}`")
                }
            }));
        }
        let source = tree["sources"][name].take();
        let tree = serde_json::json!({"sources": {name: source}});
        Self::of_sources(tree, path)
    }

    fn of_sources(mut tree: Value, path: &Path) -> Result<Self, LoadError> {
        let mut found = Vec::new();
        let mut problems = Problems::new(&mut found);
        interpolate::interpolate(&mut tree, &|name| std::env::var(name).ok(), &mut problems);
        let mut root = tree.as_object_mut().map(std::mem::take).unwrap_or_default();
        let config = Self {
            path: path.to_owned(),
            base: path.parent().map(Path::to_owned).unwrap_or_default(),
            sources: components(&mut root, "sources", &mut problems).decoded,
            transforms: Vec::new(),
            sinks: Vec::new(),
            rejects: RejectsConfig::default(),
            state: StateConfig::default(),
            guards: GuardsConfig::default(),
            snapshots: Vec::new(),
        };
        wiring::validate(&config, &mut problems);
        if found.is_empty() {
            Ok(config)
        } else {
            Err(LoadError::Problems {
                path: path.to_owned(),
                problems: found,
            })
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
            problems.add("a pipeline file is a map with `sources`, `transforms` and `sinks`");
            return None;
        };
        let rejects = match root.shift_remove("rejects") {
            Some(value) => {
                let rejects: Option<RejectsConfig> = decode::decode(value, &mut problems.at("rejects"));
                if let Some(rejects) = &rejects {
                    rejects.validate(&mut problems.at("rejects"));
                }
                rejects
            }
            None => Some(RejectsConfig::default()),
        };
        let state = match root.shift_remove("state") {
            Some(value) => {
                let state: Option<StateConfig> = decode::decode(value, &mut problems.at("state"));
                if state
                    .as_ref()
                    .is_some_and(|state| state.path.file_name().is_none())
                {
                    problems
                        .at("state.path")
                        .add_with_hint("this names no file", "for example `.hrsink/state.db`");
                }
                state
            }
            None => Some(StateConfig::default()),
        };
        let guards = guards(&mut root, problems);
        let sources = components(&mut root, "sources", problems);
        let transforms = components(&mut root, "transforms", problems);
        let sinks = components(&mut root, "sinks", problems);
        for key in root.keys() {
            let mut here = problems.at(key);
            let message = format!("unknown key `{key}`");
            match suggestion(key, SECTIONS) {
                Some(hint) => here.add_with_hint(message, hint),
                None => here.add(message),
            }
        }
        let mut config = Self {
            path: path.to_owned(),
            base: path.parent().map(Path::to_owned).unwrap_or_default(),
            sources: sources.decoded,
            transforms: transforms.decoded,
            sinks: sinks.decoded,
            rejects: rejects.unwrap_or_default(),
            state: state.unwrap_or_default(),
            guards,
            snapshots: sources.snapshots,
        };
        for snapshot in &config.snapshots {
            let previous = SnapshotSource::new(snapshot.clone(), config.state.path.clone());
            config.sources.push(Wired {
                name: snapshot_input(&snapshot.source),
                inputs: Vec::new(),
                config: Box::new(previous),
                guards: GuardsConfig::default(),
            });
        }
        let graph = wiring::Graph {
            sources: sources.wires,
            transforms: transforms.wires,
            sinks: sinks.wires,
        };
        let order = wiring::check(&graph, problems);
        config
            .transforms
            .sort_by_key(|transform| order.iter().position(|name| *name == transform.name));
        wiring::validate(&config, problems);
        Some(config)
    }
}

/// The `guards` block of `map`, if it has one.
fn guards(map: &mut Map<String, Value>, problems: &mut Problems<'_>) -> GuardsConfig {
    let mut here = problems.at("guards");
    let guards: GuardsConfig = map
        .shift_remove("guards")
        .and_then(|value| decode::decode(value, &mut here))
        .unwrap_or_default();
    guards.validate(&mut here);
    guards
}

/// A section's components: those that could be decoded, and the wires of all.
struct Section<C> {
    decoded: Vec<Wired<C>>,
    wires: Vec<wiring::Node>,
    /// In the section of the sources: the snapshots they keep.
    snapshots: Vec<SourceSnapshot>,
}

fn components<C: serde::de::DeserializeOwned>(
    root: &mut Map<String, Value>,
    section: &'static str,
    problems: &mut Problems<'_>,
) -> Section<C> {
    let has_inputs = section != "sources";
    let mut out = Section {
        decoded: Vec::new(),
        wires: Vec::new(),
        snapshots: Vec::new(),
    };
    let mut here = problems.at(section);
    let map = match root.shift_remove(section) {
        Some(Value::Object(map)) => map,
        None | Some(Value::Null) => return out,
        Some(_) => {
            here.add(format!("`{section}` is a map of names to components"));
            return out;
        }
    };
    for (name, value) in map {
        let mut here = here.at(&name);
        let Value::Object(mut settings) = value else {
            here.add_with_hint(
                "a component is a map with a `type`",
                "for example `{type: file, path: export.csv}`",
            );
            out.wires.push(wiring::Node {
                name,
                inputs: None,
                has_snapshot: false,
            });
            continue;
        };
        let mut inputs = Some(Vec::new());
        if has_inputs {
            inputs = match settings.shift_remove("inputs") {
                Some(Value::String(one)) => Some(vec![one]),
                Some(value) => decode::decode::<Vec<String>>(value, &mut here.at("inputs")),
                None => {
                    here.add_with_hint(
                        "`inputs` is required and not there",
                        "give the names of the components whose rows it takes",
                    );
                    None
                }
            };
        } else if settings.contains_key("inputs") {
            settings.shift_remove("inputs");
            here.at("inputs").add("a source has no inputs");
        }
        let snapshot = if section == "sources" {
            settings.shift_remove("snapshot")
        } else {
            None
        };
        let own_guards = if section == "sinks" {
            guards(&mut settings, &mut here)
        } else {
            GuardsConfig::default()
        };
        // `type` first lets typetag hand the rest on as it is, with the paths of errors kept.
        let mut ordered = Map::with_capacity(settings.len());
        match settings.shift_remove("type") {
            Some(kind) => ordered.insert("type".to_owned(), kind),
            None => {
                let hint = wiring::known_types(section);
                here.add_with_hint("`type` is required and not there", format!("known here: {hint}"));
                out.wires.push(wiring::Node {
                    name,
                    inputs,
                    has_snapshot: snapshot.is_some(),
                });
                continue;
            }
        };
        ordered.append(&mut settings);
        let config = decode::decode(Value::Object(ordered), &mut here);
        out.wires.push(wiring::Node {
            name: name.clone(),
            inputs: inputs.clone(),
            has_snapshot: snapshot.is_some(),
        });
        if let Some(snapshot) = snapshot {
            let mut here = here.at("snapshot");
            if let Some(settings) = decode::decode::<SnapshotConfig>(snapshot, &mut here) {
                settings.validate(&mut here);
                out.snapshots.push(SourceSnapshot {
                    source: name.clone(),
                    settings,
                });
            }
        }
        if let (Some(config), Some(inputs)) = (config, inputs) {
            out.decoded.push(Wired {
                name,
                inputs,
                config,
                guards: own_guards,
            });
        }
    }
    out
}

/// Why a pipeline file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read, or is not valid in its notation.
    #[error(transparent)]
    Unreadable(#[from] Error),
    /// It can be read and is wrong.
    #[error("the pipeline file `{}` has {}", path.display(), count(problems.len()))]
    Problems {
        /// The file.
        path: PathBuf,
        /// What is wrong, in the file's order as far as there is one; at least one.
        problems: Vec<Problem>,
    },
}

fn count(problems: usize) -> String {
    if problems == 1 {
        "a problem".to_owned()
    } else {
        format!("{problems} problems")
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unreadable(error) => error,
            LoadError::Problems { ref problems, .. } => {
                let list = problems
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; ");
                Error::config(error.to_string()).with_source(std::io::Error::other(list))
            }
        }
    }
}
