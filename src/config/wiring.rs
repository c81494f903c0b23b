//! Checks the graph of components, and the settings of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{PipelineConfig, Problems};
use crate::component::{InputDescription, RowKind};
use crate::snapshot::{snapshot_input, source_of_input};
use crate::suggest::suggestion;

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
    let with_snapshot = graph.sources.iter().filter(|source| source.has_snapshot);
    let snapshots: Vec<(&str, String)> = with_snapshot
        .map(|source| (&*source.name, snapshot_input(&source.name)))
        .collect();
    check_names(graph, &snapshots, problems);
    let nodes = graph.sources.iter().chain(&graph.transforms);
    let previous = snapshots.iter().map(|(_, previous)| &**previous);
    let senders: Vec<&str> = nodes.map(|node| &*node.name).chain(previous).collect();
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
                if inputs[..index].contains(input) {
                    let message = format!("duplicate input `{input}`: its rows would be received twice");
                    here.at_index(index).add(message);
                } else if senders.contains(&&**input) {
                    used.insert(&**input);
                } else {
                    let (message, hint) = unknown_input(graph, &node.name, input, &senders);
                    here.at_index(index).add_with(message, hint);
                }
            }
        }
    }
    for (section, nodes) in [("sources", &graph.sources), ("transforms", &graph.transforms)] {
        for node in nodes.iter().filter(|node| !used.contains(&*node.name)) {
            problems.at(section).at(&node.name).add_with_hint(
                "no component receives its rows",
                format!("add it to the `inputs` of a component, or remove `{}`", node.name),
            );
        }
    }
    let unused = snapshots.iter().filter(|(_, name)| !used.contains(&**name));
    for (source, previous) in unused {
        problems.at("sources").at(source).at("snapshot").add_with_hint(
            format!("the snapshot is not used: no component has `{previous}` in its `inputs`"),
            format!("add `{previous}` to the `inputs` of a component, or remove `snapshot`"),
        );
    }
    order(&graph.transforms, problems)
}

/// `snapshots`: the sources that have one, and its name as an input.
fn check_names(graph: &Graph, snapshots: &[(&str, String)], problems: &mut Problems<'_>) {
    let mut sections: BTreeMap<&str, &str> = BTreeMap::new();
    for (section, nodes) in [
        ("sources", &graph.sources),
        ("transforms", &graph.transforms),
        ("sinks", &graph.sinks),
    ] {
        for Node { name, .. } in nodes {
            if let Some(other) = sections.insert(name, section) {
                let message = format!("duplicate name `{name}`: another component in `{other}` has it");
                problems.at(section).at(name).add(message);
            }
        }
    }
    for (source, previous) in snapshots {
        if let Some(section) = sections.get(&**previous) {
            problems.at(section).at(previous).add_with_hint(
                format!("`{previous}` is reserved for the snapshot of the source `{source}`"),
                "give this component another name",
            );
        }
    }
}

/// Why the component `name` cannot receive rows of `input`, and what to do.
fn unknown_input(graph: &Graph, name: &str, input: &str, senders: &[&str]) -> (String, Option<String>) {
    if graph.sinks.iter().any(|sink| sink.name == input) {
        return (format!("`{input}` is a sink, and a sink sends no rows"), None);
    }
    let is = |nodes: &[Node], of| nodes.iter().any(|node| node.name == of);
    match source_of_input(input) {
        Some(of) if is(&graph.sources, of) => (
            format!("the source `{of}` keeps no snapshot"),
            Some(format!(
                "add a `snapshot` block to `{of}`: `snapshot: {{key: […], columns: […], encryption_key: {{env: …}}}}`"
            )),
        ),
        Some(of) if is(&graph.transforms, of) => (
            format!("`{of}` is a transform, and only sources have snapshots"),
            Some("add `snapshot` to the source its rows come from".to_owned()),
        ),
        _ => {
            let others = senders.iter().copied().filter(|sender| *sender != name);
            (format!("unknown component `{input}`"), suggestion(input, others))
        }
    }
}

/// The transforms, each after its inputs; a cycle is reported once, with its members.
fn order(transforms: &[Node], problems: &mut Problems<'_>) -> Vec<String> {
    let mut done = Vec::new();
    for node in transforms {
        if let Err(cycle) = visit(node, transforms, &mut Vec::new(), &mut done) {
            let ring = cycle.iter().chain([&cycle[0]]).map(|name| format!("`{name}`"));
            let ring = ring.collect::<Vec<_>>().join(" ← ");
            let message = format!("the inputs form a cycle: {ring}");
            problems.at("transforms").at(cycle[0]).at("inputs").add(message);
            break;
        }
    }
    done
}

/// Adds to `done` what `node` needs, then itself. `path` leads to it; the error is a cycle.
fn visit<'n>(
    node: &'n Node,
    transforms: &'n [Node],
    path: &mut Vec<&'n str>,
    done: &mut Vec<String>,
) -> Result<(), Vec<&'n str>> {
    if done.contains(&node.name) {
        return Ok(());
    }
    if let Some(start) = path.iter().position(|name| *name == node.name) {
        return Err(path.split_off(start));
    }
    path.push(&node.name);
    for input in node.inputs.iter().flatten() {
        if let Some(input) = transforms.iter().find(|other| other.name == *input) {
            visit(input, transforms, path, done)?;
        }
    }
    path.pop();
    done.push(node.name.clone());
    Ok(())
}

/// Validates the settings of every component, given its inputs.
pub(super) fn validate(config: &PipelineConfig, problems: &mut Problems<'_>) {
    let kinds = kinds(config);
    let sources = config.sources.iter();
    let mut readers = sources.clone().filter(|source| source.config.traits().uses_stdin);
    if let Some(first) = readers.next() {
        for other in readers {
            problems.at("sources").at(&other.name).add(format!(
                "`{}` reads standard input already, and only one source can",
                first.name
            ));
        }
    }
    for source in sources.clone() {
        let mut here = problems.at("sources");
        let mut here = here.at(&source.name);
        source.config.validate(&mut here);
    }
    for snapshot in &config.snapshots {
        let source = sources.clone().find(|source| source.name == snapshot.source);
        if source.is_some_and(|source| source.config.traits().keeps_position) {
            problems.at("sources").at(&snapshot.source).at("snapshot").add_with_hint(
                "an incremental source returns only new rows, so the rows of a failed run would be missing from the snapshot",
                "make the source return all rows in every run, or remove `snapshot`",
            );
        }
    }
    for transform in &config.transforms {
        let inputs = describe(&transform.inputs, &kinds);
        let mut here = problems.at("transforms");
        transform.config.validate(&inputs, &mut here.at(&transform.name));
    }
    let mut targets: HashMap<String, &str> = HashMap::new();
    for sink in &config.sinks {
        let inputs = describe(&sink.inputs, &kinds);
        let mut here = problems.at("sinks");
        let mut here = here.at(&sink.name);
        for target in sink.config.targets(&inputs) {
            if let Some(other) = targets.insert(target.clone(), &sink.name) {
                here.add_with_hint(
                    format!("`{other}` delivers to {target} already"),
                    "use one sink with the inputs of both",
                );
            }
        }
        sink.config.validate(&inputs, &mut here);
        let guards = &sink.guards;
        guards.validate_in_sink(&config.guards, &inputs, &mut here.at("guards"));
    }
}

/// The kind of rows of each source and transform.
pub(crate) fn kinds(config: &PipelineConfig) -> HashMap<&str, RowKind> {
    let sources = config.sources.iter();
    let sources = sources.map(|source| (&*source.name, source.config.traits().kind));
    let transforms = config.transforms.iter();
    let transforms = transforms.map(|transform| (&*transform.name, transform.config.kind()));
    sources.chain(transforms).collect()
}

/// The inputs of a component, without invalid ones.
pub(crate) fn describe(inputs: &[String], kinds: &HashMap<&str, RowKind>) -> Vec<InputDescription> {
    let describe = |name: &String| {
        Some(InputDescription {
            name: Arc::from(&**name),
            kind: *kinds.get(&**name)?,
        })
    };
    inputs.iter().filter_map(describe).collect()
}
