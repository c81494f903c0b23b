//! The JSON Schema of a pipeline file, for completion and checks in an editor, and for the settings reference.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::sections::section_of;
use super::{GuardsConfig, RejectsConfig, SnapshotConfig, StateConfig};
use crate::component::{Role, descriptions_of};

/// The schema of a pipeline file with every component of this program.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let mut properties = Map::new();
    for (role, about, min) in [
        (Role::Source, "Where rows come from, by name.", 1),
        (Role::Transform, "How rows are mapped, by name.", 0),
        (Role::Sink, "Where rows are delivered, by name.", 1),
    ] {
        let section = json!({
            "description": about,
            "type": "object",
            "minProperties": min,
            "additionalProperties": one_of(role, &mut generator),
        });
        properties.insert(section_of(role).to_owned(), section);
    }
    let blocks = [
        ("state", generator.subschema_for::<StateConfig>()),
        ("guards", generator.subschema_for::<GuardsConfig>()),
        ("rejects", generator.subschema_for::<RejectsConfig>()),
    ];
    properties.extend(blocks.map(|(key, schema)| (key.to_owned(), schema.to_value())));
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "hrsink pipeline file",
        "type": "object",
        "required": ["sources", "sinks"],
        "additionalProperties": false,
        "properties": properties,
        "definitions": generator.take_definitions(true),
    });
    accept_variables(&mut schema);
    schema
}

/// Lets every string with a restricted form be a text with `${NAME}` too, as the program does: it replaces variables
/// before it decodes. Numbers and booleans stay: a variable's value is always a string.
fn accept_variables(schema: &mut Value) {
    match schema {
        Value::Array(values) => values.iter_mut().for_each(accept_variables),
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match key.as_str() {
                    // `if` selects a component by its type.
                    "if" | "default" | "examples" | "enum" | "const" => {}
                    // Maps of names to schemas.
                    "properties" | "patternProperties" | "definitions" => {
                        value
                            .as_object_mut()
                            .into_iter()
                            .flatten()
                            .for_each(|(_, value)| accept_variables(value));
                    }
                    _ => accept_variables(value),
                }
            }
            let mut texts = map.get("enum").and_then(Value::as_array).into_iter().flatten();
            let restricted = map.contains_key("pattern")
                || map.contains_key("format")
                || map.get("const").is_some_and(Value::is_string)
                || texts.any(Value::is_string);
            // The schema of numbers has a `format` too.
            let may_be_string = map.get("type").is_none_or(|kind| match kind {
                Value::Array(kinds) => kinds.iter().any(|kind| kind == "string"),
                kind => kind == "string",
            });
            if restricted && may_be_string {
                let described = ["description", "default", "examples", "title"];
                let described = described.into_iter();
                let described = described.filter_map(|key| map.shift_remove_entry(key));
                let mut out: Map<String, Value> = described.collect();
                let own = Value::Object(std::mem::take(map));
                let variable =
                    json!({"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"});
                out.insert("anyOf".to_owned(), json!([own, variable]));
                *map = out;
            }
        }
        _ => {}
    }
}

/// Any component of a role, by its `type`. With `if` and `then`, not `oneOf`: an editor then shows the problems of the
/// type that was written.
fn one_of(role: Role, generator: &mut SchemaGenerator) -> Value {
    let known = descriptions_of(role);
    let names: Vec<&str> = known.iter().map(|description| description.name).collect();
    let summaries: Vec<&str> = known.iter().map(|description| description.summary).collect();
    let cases = known.iter().map(|description| {
        let schema = (description.schema)(generator).to_value();
        let common = match role {
            Role::Source => Some(("snapshot", generator.subschema_for::<SnapshotConfig>())),
            Role::Sink => Some(("guards", generator.subschema_for::<GuardsConfig>())),
            Role::Transform => None,
        };
        let common = common.map(|(key, schema)| (key, schema.to_value()));
        json!({
            "if": {"properties": {"type": {"const": description.name}}, "required": ["type"]},
            "then": with_common(schema, description.name, role, common),
        })
    });
    let cases: Vec<Value> = cases.collect();
    json!({
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": names, "enumDescriptions": summaries}},
        "allOf": cases,
    })
}

/// A component's own schema with the keys that every component of its role has.
fn with_common(mut schema: Value, name: &str, role: Role, common: Option<(&str, Value)>) -> Value {
    let Some(object) = schema.as_object_mut() else {
        return schema;
    };
    object.remove("$schema");
    object.remove("title");
    object.insert("additionalProperties".to_owned(), Value::Bool(false));
    let mut required = vec!["type"];
    let mut properties = json!({"type": {"const": name}});
    if role != Role::Source {
        required.push("inputs");
        properties["inputs"] = json!({
            "description": "Names of the components whose rows it receives.",
            "type": ["array", "string"],
            "items": {"type": "string"},
            "minItems": 1,
        });
    }
    if let Some((key, schema)) = common {
        properties[key] = schema;
    }
    let own = object.entry("properties").or_insert_with(|| json!({}));
    if let (Some(own), Value::Object(properties)) = (own.as_object_mut(), properties) {
        own.extend(properties);
    }
    let own = object.entry("required").or_insert_with(|| json!([]));
    if let Some(own) = own.as_array_mut() {
        own.extend(required.into_iter().map(Value::from));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_variables_only_where_the_program_does() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for (cloud, max_rows, valid) in [
            (json!("worldwide"), json!(10), true),
            (json!("${CLOUD:-worldwide}"), json!(10), true),
            (json!("$CLOUD"), json!(10), false),
            (json!("worldwide"), json!("${ROWS}"), false),
        ] {
            let file = json!({
                "sources": {"a": {"type": "file", "path": "${EXPORT}"}},
                "sinks": {"b": {
                    "type": "m365_hr", "inputs": ["a"], "cloud": cloud, "batch": {"max_rows": max_rows},
                    "tenant_id": "${TENANT:-d5723623-11cf-4e2e-b5a5-01d1506273f9}",
                    "job_id": "${JOB}",
                }},
            });
            assert_eq!(validator.is_valid(&file), valid, "{cloud} {max_rows}");
        }
    }
}
