//! Makes the settings reference out of the JSON Schema of pipeline files.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::examples::{Step, find, flow, pipelines};

/// Longest example that is shown; a shorter one is preferred to the first.
const MAX_EXAMPLE: usize = 90;

/// One setting.
struct Key {
    path: Vec<Step>,
    /// Such as `auth.client_id`.
    name: String,
    kind: String,
    /// The values that can be chosen, with what they mean.
    choices: Vec<(String, String)>,
    required: bool,
    default: Option<String>,
    description: String,
    example: Option<String>,
}

struct Reference {
    schema: Value,
    pipelines: Vec<Value>,
}

/// The settings of one component, and the definitions that were described on the way.
struct Page<'r> {
    reference: &'r Reference,
    /// The values in the examples that the page's settings stand in.
    values: Vec<&'r Value>,
    keys: Vec<Key>,
    expanded: Vec<(String, String)>,
}

/// The pages by file name.
pub(crate) fn pages() -> Vec<(String, String)> {
    let reference = Reference::load();
    let mut pages = vec![(
        "pipeline.md".to_owned(),
        reference.top_level().render("Pipeline file", INTRODUCTION),
    )];
    for (role, title) in ROLES {
        for component in reference.components(role) {
            let page = reference.component(role, &component);
            let about = text(&component["then"], "description");
            let name = component_name(&component);
            let heading = format!("{title} `{name}`");
            pages.push((
                format!("{}-{name}.md", title.to_lowercase()),
                page.render(&heading, &about),
            ));
        }
    }
    pages
}

const ROLES: [(&str, &str); 3] = [
    ("sources", "Source"),
    ("transforms", "Transform"),
    ("sinks", "Sink"),
];
const INTRODUCTION: &str =
    "The keys beside `sources`, `transforms` and `sinks`. Each component has a page of its own.";

/// The settings that neither an example nor the schema shows a value of.
pub(crate) fn keys_without_example() -> Vec<String> {
    let reference = Reference::load();
    let mut pages = vec![("pipeline".to_owned(), reference.top_level())];
    for (role, _) in ROLES {
        for component in reference.components(role) {
            pages.push((component_name(&component), reference.component(role, &component)));
        }
    }
    let mut missing = Vec::new();
    for (name, page) in &pages {
        let keys = page.keys.iter().filter(|key| key.example.is_none());
        missing.extend(keys.map(|key| format!("{name}: {}", key.name)));
    }
    missing
}

fn component_name(component: &Value) -> String {
    component["if"]["properties"]["type"]["const"]
        .as_str()
        .unwrap()
        .to_owned()
}

impl Reference {
    fn load() -> Self {
        Self {
            schema: serde_json::to_value(hrsink::config::schema::schema()).unwrap(),
            pipelines: pipelines(),
        }
    }

    fn components(&self, role: &str) -> Vec<Value> {
        let list = &self.schema["properties"][role]["additionalProperties"]["allOf"];
        list.as_array().unwrap().clone()
    }

    /// The forms of a secret, once for all the secrets of a page.
    fn secrets(&self) -> String {
        let mut out =
            "\nA value of the kind *secret* is a reference, never the secret itself:\n\n".to_owned();
        let forms = self.schema["definitions"]["SecretRef"]["oneOf"].as_array();
        for form in forms.into_iter().flatten() {
            let keys = form["properties"].as_object().into_iter().flatten();
            for (key, _) in keys {
                out += &choice(&format!("{{{key}: …}}"), &text(form, "description"));
            }
        }
        out
    }

    fn top_level(&self) -> Page<'_> {
        let mut page = Page::new(self, self.pipelines.iter().collect());
        for (key, property) in self.schema["properties"].as_object().unwrap() {
            if !ROLES.iter().any(|(role, _)| role == key) {
                page.add(&[Step::Key(key.clone())], property, false);
            }
        }
        page
    }

    fn component(&self, role: &str, component: &Value) -> Page<'_> {
        let steps = [
            Step::Key(role.to_owned()),
            Step::Entry,
            Step::Variant(component_name(component)),
        ];
        let values = self
            .pipelines
            .iter()
            .flat_map(|pipeline| find(pipeline, &steps))
            .collect();
        let mut page = Page::new(self, values);
        page.add_object(&[], &component["then"]);
        page
    }
}

impl<'r> Page<'r> {
    fn new(reference: &'r Reference, values: Vec<&'r Value>) -> Self {
        Self {
            reference,
            values,
            keys: Vec::new(),
            expanded: Vec::new(),
        }
    }

    /// The schema that `schema` refers to, and the name of the definition.
    fn resolve(&self, schema: &Value) -> (Value, Option<String>) {
        let one = schema["allOf"].as_array().filter(|all| all.len() == 1);
        let reference = schema["$ref"]
            .as_str()
            .or_else(|| one.and_then(|all| all[0]["$ref"].as_str()));
        if let Some(reference) = reference {
            let name = reference.rsplit('/').next().unwrap().to_owned();
            let definition = &self.reference.schema["definitions"][&name];
            let (mut resolved, inner) = self.resolve(definition);
            for key in ["description", "default", "examples"] {
                if let Some(value) = schema.get(key) {
                    resolved[key] = value.clone();
                }
            }
            return (resolved, inner.or(Some(name)));
        }
        for word in ["anyOf", "oneOf"] {
            let Some(list) = schema[word].as_array() else {
                continue;
            };
            let others: Vec<&Value> = list
                .iter()
                .filter(|one| one["type"] != "null" && !is_variable(one))
                .collect();
            if let [only] = others[..] {
                let mut only = only.clone();
                for key in ["description", "default", "examples"] {
                    if let Some(value) = schema.get(key) {
                        only[key] = value.clone();
                    }
                }
                return self.resolve(&only);
            }
        }
        (schema.clone(), None)
    }

    fn add(&mut self, path: &[Step], property: &Value, required: bool) {
        let (schema, definition) = self.resolve(property);
        let mut description = text(&schema, "description");
        let known = definition.as_ref().and_then(|name| {
            let found = self.expanded.iter().find(|(known, _)| known == name);
            found.map(|(_, at)| at.clone())
        });
        let nested = self.nested(&schema);
        if let Some(at) = known.as_ref().filter(|_| !nested.is_empty()) {
            write!(description, "\n\nThe same keys as [`{at}`](#{}).", anchor(at)).unwrap();
        }
        let name = shown(path);
        self.keys.push(Key {
            name: name.clone(),
            kind: self.kind(&schema),
            choices: self.choices(&schema),
            required,
            default: schema.get("default").filter(|value| !value.is_null()).map(flow),
            description,
            example: self.example(path, &schema),
            path: path.to_vec(),
        });
        if known.is_some() || nested.is_empty() {
            return;
        }
        if let Some(definition) = definition {
            self.expanded.push((definition, name));
        }
        for (steps, object) in nested {
            let path: Vec<Step> = path.iter().chain(&steps).cloned().collect();
            self.add_object(&path, &object);
        }
    }

    fn add_object(&mut self, path: &[Step], object: &Value) {
        let required: BTreeSet<&str> = object["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let properties = object["properties"].as_object().cloned().unwrap_or_default();
        for (key, property) in &properties {
            if key == "type" && self.only_value(property).is_some() {
                continue;
            }
            let path: Vec<Step> = path.iter().cloned().chain([Step::Key(key.clone())]).collect();
            self.add(&path, property, required.contains(key.as_str()));
        }
    }

    /// The objects with keys of their own that a value of this schema holds.
    fn nested(&self, schema: &Value) -> Vec<(Vec<Step>, Value)> {
        let mut found = Vec::new();
        if is_secret(schema) {
            return found;
        }
        if schema.get("properties").is_some() {
            let variant = self.only_value(&schema["properties"]["type"]);
            let steps = variant.map(Step::Variant).into_iter().collect();
            found.push((steps, schema.clone()));
        } else if let Some(entries) = schema
            .get("additionalProperties")
            .filter(|entries| entries.is_object())
        {
            found.extend(self.below(&Step::Entry, entries));
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            found.extend(self.below(&Step::Element, items));
        }
        for word in ["anyOf", "oneOf"] {
            for one in schema[word].as_array().into_iter().flatten() {
                found.extend(self.nested(&self.resolve(one).0));
            }
        }
        found
    }

    /// The only text that is valid: a constant, or an enumeration of one.
    fn only_value(&self, schema: &Value) -> Option<String> {
        let (schema, _) = self.resolve(schema);
        let one = schema["enum"].as_array().filter(|list| list.len() == 1);
        let value = schema["const"]
            .as_str()
            .or_else(|| one.and_then(|list| list[0].as_str()));
        value.map(str::to_owned)
    }

    fn below(&self, step: &Step, schema: &Value) -> Vec<(Vec<Step>, Value)> {
        let nested = self.nested(&self.resolve(schema).0).into_iter();
        nested
            .map(|(steps, object)| ([vec![step.clone()], steps].concat(), object))
            .collect()
    }

    /// What kind of value it is, and its range.
    fn kind(&self, schema: &Value) -> String {
        if is_secret(schema) {
            return "secret".to_owned();
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(list) = schema[word].as_array() {
                let mut kinds: Vec<String> = Vec::new();
                for one in list.iter().filter(|one| !is_variable(one)) {
                    let kind = self.kind(&self.resolve(one).0);
                    if !kinds.contains(&kind) && kind != "null" {
                        kinds.push(kind);
                    }
                }
                return kinds.join(" or ");
            }
        }
        if schema.get("const").is_some() || schema.get("enum").is_some() {
            return "one of".to_owned();
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several
                .iter()
                .filter_map(Value::as_str)
                .filter(|one| *one != "null")
                .collect(),
            _ => Vec::new(),
        };
        let title = schema["title"].as_str().map(str::to_lowercase);
        let mut kind = title.unwrap_or_else(|| match types[..] {
            ["array"] => format!("list of {}", self.kind(&self.resolve(&schema["items"]).0)),
            ["object"] => match schema
                .get("additionalProperties")
                .filter(|entries| entries.is_object())
            {
                Some(entries) => format!("map of names to {}", self.kind(&self.resolve(entries).0)),
                None => "object".to_owned(),
            },
            _ => types.join(" or "),
        });
        let bound = |key: &str| {
            schema
                .get(key)
                .filter(|value| !value.is_null())
                .map(ToString::to_string)
        };
        match (schema["x-range"].as_str(), bound("minimum"), bound("maximum")) {
            (Some(range), ..) => write!(kind, ", {range}").unwrap(),
            (None, Some(least), Some(most)) => write!(kind, ", {least} to {most}").unwrap(),
            (None, Some(least), None) if least != "0" => write!(kind, ", {least} or more").unwrap(),
            (None, None, Some(most)) => write!(kind, ", at most {most}").unwrap(),
            _ => {}
        }
        kind
    }

    fn choices(&self, schema: &Value) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for one in schema["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| !one.is_null())
        {
            found.push((flow(one), String::new()));
        }
        if let Some(value) = schema.get("const") {
            found.push((flow(value), text(schema, "description")));
        }
        for word in ["anyOf", "oneOf"] {
            for one in schema[word]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|one| !is_variable(one))
            {
                let (one, _) = self.resolve(one);
                if let Some(variant) = self.only_value(&one["properties"]["type"]) {
                    found.push((format!("{{type: {variant}}}"), text(&one, "description")));
                } else if one.get("const").is_some()
                    || one.get("enum").is_some()
                    || one.get("oneOf").is_some()
                {
                    found.extend(self.choices(&one));
                }
            }
        }
        found
    }

    fn example(&self, path: &[Step], schema: &Value) -> Option<String> {
        let used = self.values.iter().flat_map(|value| find(value, path)).map(flow);
        let used: Vec<String> = used.collect();
        let short = used.iter().find(|example| example.len() <= MAX_EXAMPLE);
        if let Some(example) = short.or_else(|| used.iter().min_by_key(|example| example.len())) {
            return Some(example.clone());
        }
        let declared = schema["examples"]
            .as_array()
            .and_then(|list| list.first())
            .map(flow);
        let choice = || self.choices(schema).first().map(|(value, _)| value.clone());
        let simple = || (schema["type"] == "boolean").then(|| "true".to_owned());
        let default = || schema.get("default").filter(|value| !value.is_null()).map(flow);
        let nested = || (!self.nested(schema).is_empty()).then(String::new);
        declared
            .or_else(simple)
            .or_else(choice)
            .or_else(default)
            .or_else(nested)
    }

    fn render(&self, title: &str, about: &str) -> String {
        let mut page = format!(
            "# {title}\n\n<!-- Generated from the JSON Schema: run `make reference`. -->\n\n{about}\n"
        );
        if self.keys.iter().any(|key| key.kind.contains("secret")) {
            page += &self.reference.secrets();
        }
        for key in &self.keys {
            write!(page, "\n## `{}`\n\n", key.name).unwrap();
            let necessity = match (&key.default, key.required) {
                (Some(default), _) => format!(" · default `{default}`"),
                (None, true) => " · required".to_owned(),
                (None, false) => " · optional".to_owned(),
            };
            writeln!(page, "*{}{necessity}*\n\n{}", key.kind, key.description).unwrap();
            let choices: Vec<_> = key
                .choices
                .iter()
                .map(|(value, meaning)| choice(value, meaning))
                .collect();
            if !choices.is_empty() {
                write!(page, "\n{}", choices.concat()).unwrap();
            }
            if let Some(example) = key.example.as_ref().filter(|example| !example.is_empty()) {
                let last = key.path.iter().rev().find_map(|step| match step {
                    Step::Key(key) => Some(key.as_str()),
                    _ => None,
                });
                write!(page, "\n```yaml\n{}: {example}\n```\n", last.unwrap_or_default()).unwrap();
            }
        }
        page
    }
}

fn choice(value: &str, meaning: &str) -> String {
    let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ");
    if meaning.is_empty() {
        format!("- `{value}`\n")
    } else {
        format!("- `{value}`: {meaning}\n")
    }
}

/// A reference to a secret, `{env: …}` or `{file: …}`: one value, not an object whose keys need a description each.
fn is_secret(schema: &Value) -> bool {
    let is_form = |form: &Value| {
        let keys = form["properties"].as_object();
        keys.is_some_and(|keys| keys.len() == 1 && keys.keys().all(|key| key == "env" || key == "file"))
    };
    schema["oneOf"]
        .as_array()
        .is_some_and(|forms| forms.iter().all(is_form))
}

/// The form `${NAME}`, which every value has.
fn is_variable(schema: &Value) -> bool {
    schema["pattern"]
        .as_str()
        .is_some_and(|pattern| pattern.contains("\\$\\{"))
        || schema["$ref"]
            .as_str()
            .is_some_and(|name| name.ends_with("/Variable"))
}

fn text(schema: &Value, key: &str) -> String {
    schema[key].as_str().unwrap_or_default().to_owned()
}

/// A path as users write it: `auth.client_id`, `keys[].passphrase`, `fields.NAME.expr`.
fn shown(path: &[Step]) -> String {
    let mut name = String::new();
    for step in path {
        match step {
            Step::Key(key) if name.is_empty() => name.push_str(key),
            Step::Key(key) => write!(name, ".{key}").unwrap(),
            Step::Element => name.push_str("[]"),
            Step::Entry => name.push_str(".NAME"),
            Step::Variant(variant) => write!(name, "({variant})").unwrap(),
        }
    }
    name
}

fn anchor(name: &str) -> String {
    let lower = name.to_lowercase();
    lower
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_' || *c == '-')
        .collect()
}
