//! The parts of a pipeline file: components and blocks.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{GuardsConfig, Wired, wiring};
use crate::component::{ComponentConfig, Problems, Role, decode, decode_component};
use crate::snapshot::{SnapshotConfig, SourceSnapshot};

/// Decodes the block `key` of `map`; the default if it is missing or has problems.
pub(super) fn block<T: DeserializeOwned + Default>(
    map: &mut Map<String, Value>,
    key: &str,
    problems: &mut Problems<'_>,
    validate: impl FnOnce(&T, &mut Problems<'_>),
) -> T {
    let mut here = problems.at(key);
    let Some(value) = map.shift_remove(key) else {
        return T::default();
    };
    let decoded: Option<T> = decode(value, &mut here);
    if let Some(block) = &decoded {
        validate(block, &mut here);
    }
    decoded.unwrap_or_default()
}

pub(super) struct Section<C: ?Sized> {
    /// Those that could be decoded.
    pub(super) decoded: Vec<Wired<Box<C>>>,
    /// All, for the checks of the graph.
    pub(super) nodes: Vec<wiring::Node>,
    /// The snapshots of sources.
    pub(super) snapshots: Vec<SourceSnapshot>,
}

pub(super) const fn section_of(role: Role) -> &'static str {
    match role {
        Role::Source => "sources",
        Role::Transform => "transforms",
        Role::Sink => "sinks",
    }
}

impl<C: ComponentConfig + ?Sized> Section<C> {
    /// Decodes the section of the role of `C`.
    pub(super) fn decode(root: &mut Map<String, Value>, problems: &mut Problems<'_>) -> Self {
        let mut section = Self {
            decoded: Vec::new(),
            nodes: Vec::new(),
            snapshots: Vec::new(),
        };
        let key = section_of(C::ROLE);
        let mut here = problems.at(key);
        let map = match root.shift_remove(key) {
            Some(Value::Object(map)) => map,
            None | Some(Value::Null) => return section,
            Some(_) => {
                here.add(format!("`{key}` must be a map of names to components"));
                return section;
            }
        };
        for (name, value) in map {
            let mut here = here.at(&name);
            if let Value::Object(settings) = value {
                section.add(name, settings, &mut here);
                continue;
            }
            here.add_with_hint(
                "a component must be a map with a `type`",
                "for example `{type: file, path: export.csv}`",
            );
            section.nodes.push(wiring::Node {
                name,
                inputs: None,
                has_snapshot: false,
            });
        }
        section
    }

    fn add(&mut self, name: String, mut settings: Map<String, Value>, here: &mut Problems<'_>) {
        let inputs = inputs(C::ROLE, &mut settings, here);
        let snapshot = match C::ROLE {
            Role::Source => settings.shift_remove("snapshot"),
            _ => None,
        };
        let guards = match C::ROLE {
            Role::Sink => block(&mut settings, "guards", here, GuardsConfig::validate),
            _ => GuardsConfig::default(),
        };
        self.nodes.push(wiring::Node {
            name: name.clone(),
            inputs: inputs.clone(),
            has_snapshot: snapshot.is_some(),
        });
        let config = decode_component::<C>(settings, here);
        if let Some(snapshot) = snapshot {
            let mut here = here.at("snapshot");
            if let Some(settings) = decode::<SnapshotConfig>(snapshot, &mut here) {
                settings.validate(&mut here);
                self.snapshots.push(SourceSnapshot {
                    source: name.clone(),
                    settings,
                });
            }
        }
        if let (Some(config), Some(inputs)) = (config, inputs) {
            self.decoded.push(Wired {
                name,
                inputs,
                config,
                guards,
            });
        }
    }
}

/// Decodes `inputs`: a name or a list of names.
fn inputs(role: Role, settings: &mut Map<String, Value>, here: &mut Problems<'_>) -> Option<Vec<String>> {
    let inputs = settings.shift_remove("inputs");
    if role == Role::Source {
        if inputs.is_some() {
            here.at("inputs").add("a source has no inputs");
        }
        return Some(Vec::new());
    }
    match inputs {
        Some(Value::String(one)) => Some(vec![one]),
        Some(value) => decode::<Vec<String>>(value, &mut here.at("inputs")),
        None => {
            here.add_with_hint(
                "missing required key `inputs`",
                "name the components whose rows it receives",
            );
            None
        }
    }
}
