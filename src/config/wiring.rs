//! Checks the graph of components, and the settings of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{PipelineConfig, Problems};
use crate::component::{InputDescription, RowKind};
use crate::settings::suggestion;
use crate::snapshot::{snapshot_input, source_of_input};

/// A component in the graph. `inputs` is `None` if they are invalid, which is reported elsewhere.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) inputs: Option<Vec<String>>,
    /// Whether a snapshot of its rows is kept for later runs.
    pub(super) has_snapshot: bool,
}

/// All components of the file, also invalid ones, so that references to them are not reported as unknown.
pub(super) struct Graph {
    pub(super) sources: Vec<Node>,
    pub(super) transforms: Vec<Node>,
    pub(super) sinks: Vec<Node>,
}

/// Reports what is wrong with the graph; returns the names of the transforms, each after its inputs.
pub(super) fn check(graph: &Graph, problems: &mut Problems<'_>) -> Vec<String> {
    if graph.sources.is_empty() {
        problems.at("sources").add("a pipeline needs at least one source");
    }
    if graph.sinks.is_empty() {
        problems.at("sinks").add_with_hint(
            "a pipeline needs at least one sink",
            "to print rows instead of sending them, add `{type: console, inputs: […]}`",
        );
    }
    let mut sections: BTreeMap<&str, &str> = BTreeMap::new();
    for (section, nodes) in [
        ("sources", &graph.sources),
        ("transforms", &graph.transforms),
        ("sinks", &graph.sinks),
    ] {
        for node in nodes {
            if let Some(other) = sections.insert(&node.name, section) {
                problems.at(section).at(&node.name).add(format!(
                    "duplicate name `{}`: another component in `{other}` has it",
                    node.name
                ));
            }
        }
    }
    let snapshots: Vec<(&str, String)> = graph
        .sources
        .iter()
        .filter(|source| source.has_snapshot)
        .map(|source| (source.name.as_str(), snapshot_input(&source.name)))
        .collect();
    for (source, previous) in &snapshots {
        if let Some(section) = sections.get(previous.as_str()) {
            problems.at(section).at(previous).add_with_hint(
                format!("`{previous}` is reserved for the snapshot of the source `{source}`"),
                "give this component another name",
            );
        }
    }
    let senders: Vec<&str> = graph
        .sources
        .iter()
        .chain(&graph.transforms)
        .map(|node| node.name.as_str())
        .chain(snapshots.iter().map(|(_, previous)| previous.as_str()))
        .collect();
    let mut used = BTreeSet::new();
    for (section, nodes) in [("transforms", &graph.transforms), ("sinks", &graph.sinks)] {
        for node in nodes {
            let Some(inputs) = &node.inputs else { continue };
            let mut here = problems.at(section);
            let mut here = here.at(&node.name);
            let mut here = here.at("inputs");
            if inputs.is_empty() {
                here.add("at least one input is required");
            }
            for (index, input) in inputs.iter().enumerate() {
                let mut here = here.at_index(index);
                if inputs[..index].contains(input) {
                    here.add(format!(
                        "duplicate input `{input}`: its rows would be received twice"
                    ));
                } else if graph.sinks.iter().any(|sink| sink.name == *input) {
                    here.add(format!("`{input}` is a sink, and a sink sends no rows"));
                } else if senders.contains(&input.as_str()) {
                    used.insert(input.as_str());
                } else if let Some((message, hint)) = missing_snapshot(graph, input) {
                    here.add_with_hint(message, hint);
                } else {
                    let others = senders.iter().copied().filter(|name| *name != node.name);
                    let message = format!("unknown component `{input}`");
                    match suggestion(input, others) {
                        Some(hint) => here.add_with_hint(message, hint),
                        None => here.add(message),
                    }
                }
            }
        }
    }
    for (section, nodes) in [("sources", &graph.sources), ("transforms", &graph.transforms)] {
        for node in nodes {
            if !used.contains(node.name.as_str()) {
                problems.at(section).at(&node.name).add_with_hint(
                    "no component receives its rows",
                    format!("add it to the `inputs` of a component, or remove `{}`", node.name),
                );
            }
        }
    }
    for (source, previous) in &snapshots {
        if !used.contains(previous.as_str()) {
            problems.at("sources").at(source).at("snapshot").add_with_hint(
                format!("the snapshot is not used: no component has `{previous}` in its `inputs`"),
                format!("add `{previous}` to the `inputs` of a component, or remove `snapshot`"),
            );
        }
    }
    order(graph, problems)
}

/// Why there is no snapshot `input`, if its name looks like one.
fn missing_snapshot(graph: &Graph, input: &str) -> Option<(String, String)> {
    let of = source_of_input(input)?;
    let is = |nodes: &[Node]| nodes.iter().any(|node| node.name == of);
    if is(&graph.sources) {
        Some((
            format!("the source `{of}` keeps no snapshot"),
            format!(
                "add a `snapshot` block to `{of}`: `snapshot: {{key: […], columns: […], encryption_key: {{env: …}}}}`"
            ),
        ))
    } else if is(&graph.transforms) {
        Some((
            format!("`{of}` is a transform, and only sources have snapshots"),
            "add `snapshot` to the source its rows come from".to_owned(),
        ))
    } else {
        None
    }
}

/// The transforms, each after its inputs; a cycle is reported once, with its members.
fn order(graph: &Graph, problems: &mut Problems<'_>) -> Vec<String> {
    let mut left: Vec<&Node> = graph.transforms.iter().collect();
    let mut done: Vec<String> = Vec::new();
    loop {
        let waits = |node: &Node| {
            node.inputs
                .iter()
                .flatten()
                .any(|input| left.iter().any(|other| other.name == *input))
        };
        let (later, now): (Vec<&Node>, Vec<&Node>) = left.iter().copied().partition(|node| waits(node));
        if now.is_empty() {
            if let Some(cycle) = cycle(&later) {
                let first = cycle[0].to_owned();
                let ring = cycle
                    .iter()
                    .chain([&cycle[0]])
                    .map(|name| format!("`{name}`"))
                    .collect::<Vec<_>>();
                problems
                    .at("transforms")
                    .at(first)
                    .at("inputs")
                    .add(format!("the inputs form a cycle: {}", ring.join(" ← ")));
            }
            return done;
        }
        done.extend(now.iter().map(|node| node.name.clone()));
        left = later;
        if left.is_empty() {
            return done;
        }
    }
}

/// Follows inputs among `nodes`, each of which has one there, until a name repeats.
fn cycle<'n>(nodes: &[&'n Node]) -> Option<Vec<&'n str>> {
    let by_name: HashMap<&str, &'n Node> = nodes.iter().map(|node| (node.name.as_str(), *node)).collect();
    let mut seen: Vec<&str> = Vec::new();
    let mut at = *nodes.first()?;
    loop {
        if let Some(start) = seen.iter().position(|name| *name == at.name) {
            return Some(seen[start..].to_vec());
        }
        seen.push(&at.name);
        at = at
            .inputs
            .iter()
            .flatten()
            .find_map(|input| by_name.get(input.as_str()).copied())?;
    }
}

/// Validates the settings of every component, given its inputs.
pub(super) fn validate(config: &PipelineConfig, problems: &mut Problems<'_>) {
    let kinds = kinds(config);
    let mut readers = config
        .sources
        .iter()
        .filter(|source| source.config.traits().uses_stdin);
    if let Some(first) = readers.next() {
        for other in readers {
            problems.at("sources").at(&other.name).add(format!(
                "`{}` reads standard input already, and only one source can",
                first.name
            ));
        }
    }
    for source in &config.sources {
        source
            .config
            .validate(&mut problems.at("sources").at(&source.name));
    }
    for snapshot in &config.snapshots {
        let source = config
            .sources
            .iter()
            .find(|source| source.name == snapshot.source);
        let Some(source) = source else { continue };
        let mut here = problems.at("sources");
        let mut here = here.at(&source.name);
        let mut here = here.at("snapshot");
        if source.config.traits().keeps_position {
            here.add_with_hint(
                "an incremental source returns only new rows, so the rows of a failed run would be missing from the snapshot",
                "make the source return all rows in every run, or remove `snapshot`",
            );
        }
    }
    for transform in &config.transforms {
        let inputs = describe(&transform.inputs, &kinds);
        transform
            .config
            .validate(&inputs, &mut problems.at("transforms").at(&transform.name));
    }
    let mut targets: HashMap<String, &str> = HashMap::new();
    for sink in &config.sinks {
        let inputs = describe(&sink.inputs, &kinds);
        for target in sink.config.targets(&inputs) {
            if let Some(other) = targets.insert(target.clone(), &sink.name) {
                problems.at("sinks").at(&sink.name).add_with_hint(
                    format!("`{other}` delivers to {target} already"),
                    "use one sink with the inputs of both",
                );
            }
        }
        let mut problems = problems.at("sinks");
        let mut here = problems.at(&sink.name);
        sink.config.validate(&inputs, &mut here);
        sink.guards
            .validate_in_sink(&config.guards, &inputs, &mut here.at("guards"));
    }
}

/// The kind of rows of each source and transform.
pub(crate) fn kinds(config: &PipelineConfig) -> HashMap<&str, RowKind> {
    let sources = config
        .sources
        .iter()
        .map(|source| (source.name.as_str(), source.config.traits().kind));
    let transforms = config
        .transforms
        .iter()
        .map(|transform| (transform.name.as_str(), transform.config.kind()));
    sources.chain(transforms).collect()
}

/// The inputs of a component, without invalid ones.
pub(crate) fn describe(inputs: &[String], kinds: &HashMap<&str, RowKind>) -> Vec<InputDescription> {
    inputs
        .iter()
        .filter_map(|name| {
            let kind = *kinds.get(name.as_str())?;
            Some(InputDescription {
                name: Arc::from(name.as_str()),
                kind,
            })
        })
        .collect()
}
