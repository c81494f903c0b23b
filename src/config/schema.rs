//! The JSON Schema of a pipeline file: for completion and checking in an editor.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{GuardsConfig, RejectsConfig, SnapshotConfig, StateConfig};
use crate::component::{Role, descriptions};

/// The schema of a whole pipeline file with every component this program knows.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let section = |role: Role, about: &str, generator: &mut SchemaGenerator| {
        json!({
            "description": about,
            "type": "object",
            "minProperties": 1,
            "additionalProperties": one_of(role, generator),
        })
    };
    let sources = section(Role::Source, "Where rows come from, by name.", &mut generator);
    let mut transforms = section(
        Role::Transform,
        "What happens to the rows on the way, by name.",
        &mut generator,
    );
    let sinks = section(Role::Sink, "Where rows go, by name.", &mut generator);
    if let Some(transforms) = transforms.as_object_mut() {
        transforms.remove("minProperties");
    }
    let rejects = generator.subschema_for::<RejectsConfig>().to_value();
    let state = generator.subschema_for::<StateConfig>().to_value();
    let guards = generator.subschema_for::<GuardsConfig>().to_value();
    let definitions = generator.take_definitions(true);
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "hrsink pipeline file",
        "type": "object",
        "required": ["sources", "sinks"],
        "additionalProperties": false,
        "properties": {
            "sources": sources,
            "transforms": transforms,
            "sinks": sinks,
            "state": state,
            "guards": guards,
            "rejects": rejects,
        },
    });
    if let Some(root) = schema.as_object_mut() {
        root.insert("definitions".to_owned(), Value::Object(definitions));
    }
    schema
}

/// Any component of a role, told apart by `type`. `if`/`then` instead of `oneOf`: an editor then shows the problems
/// of the type that was meant, not "matches none".
fn one_of(role: Role, generator: &mut SchemaGenerator) -> Value {
    let known: Vec<_> = descriptions()
        .into_iter()
        .filter(|description| description.role == role)
        .collect();
    let names: Vec<&str> = known.iter().map(|description| description.name).collect();
    let summaries: Vec<&str> = known.iter().map(|description| description.summary).collect();
    let cases: Vec<Value> = known
        .iter()
        .map(|description| {
            let schema = (description.schema)(generator).to_value();
            let common = match role {
                Role::Source => vec![("snapshot", generator.subschema_for::<SnapshotConfig>().to_value())],
                Role::Sink => vec![("guards", generator.subschema_for::<GuardsConfig>().to_value())],
                Role::Transform => Vec::new(),
            };
            json!({
                "if": {"properties": {"type": {"const": description.name}}, "required": ["type"]},
                "then": with_common(schema, description.name, role, common),
            })
        })
        .collect();
    json!({
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": names, "enumDescriptions": summaries}},
        "allOf": cases,
    })
}

/// A component's own schema with the keys that every component of its role has.
fn with_common(mut schema: Value, name: &str, role: Role, common: Vec<(&str, Value)>) -> Value {
    let Some(object) = schema.as_object_mut() else {
        return schema;
    };
    object.remove("$schema");
    object.remove("title");
    let properties = object
        .entry("properties")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert("type".to_owned(), json!({"const": name}));
        if role != Role::Source {
            properties.insert(
                "inputs".to_owned(),
                json!({
                    "description": "Names of the components whose rows it takes.",
                    "type": ["array", "string"],
                    "items": {"type": "string"},
                    "minItems": 1,
                }),
            );
        }
        for (key, schema) in common {
            properties.insert(key.to_owned(), schema);
        }
    }
    let required = object.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        required.push(json!("type"));
        if role != Role::Source {
            required.push(json!("inputs"));
        }
    }
    object.insert("additionalProperties".to_owned(), Value::Bool(false));
    schema
}
