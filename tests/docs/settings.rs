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
    file: String,
    title: String,
    about: String,
    /// The values in the examples that the page's settings stand in.
    values: Vec<&'r Value>,
    keys: Vec<Key>,
    expanded: Vec<(String, String)>,
}

/// The pages by file name.
pub(crate) fn pages() -> Vec<(String, String)> {
    let reference = Reference::load();
    let page = |page: Page<'_>| (page.file.clone(), page.render());
    reference.pages().into_iter().map(page).collect()
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
    let mut missing = Vec::new();
    for page in reference.pages() {
        let keys = page.keys.iter().filter(|key| key.example.is_none());
        missing.extend(keys.map(|key| format!("{}: {}", page.file, key.name)));
    }
    missing
}

impl Reference {
    fn load() -> Self {
        Self {
            schema: serde_json::to_value(hrsink::config::schema()).unwrap(),
            pipelines: pipelines(),
        }
    }

    fn pages(&self) -> Vec<Page<'_>> {
        let mut pages = vec![self.top_level()];
        for (role, title) in ROLES {
            let components = &self.schema["properties"][role]["additionalProperties"]["allOf"];
            let components = components.as_array().unwrap().iter();
            pages.extend(components.map(|component| self.component(role, title, component)));
        }
        pages
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
        let mut page = Page {
            reference: self,
            file: "pipeline.md".to_owned(),
            title: "Pipeline file".to_owned(),
            about: INTRODUCTION.to_owned(),
            values: self.pipelines.iter().collect(),
            keys: Vec::new(),
            expanded: Vec::new(),
        };
        for (key, property) in self.schema["properties"].as_object().unwrap() {
            if !ROLES.iter().any(|(role, _)| role == key) {
                page.add(&[Step::Key(key.clone())], property, false);
            }
        }
        page
    }

    fn component(&self, role: &str, title: &str, component: &Value) -> Page<'_> {
        let name = text(&component["if"]["properties"]["type"], "const");
        let steps = [
            Step::Key(role.to_owned()),
            Step::Entry,
            Step::Variant(name.clone()),
        ];
        let pipelines = self.pipelines.iter();
        let mut page = Page {
            reference: self,
            file: format!("{}-{name}.md", title.to_lowercase()),
            title: format!("{title} `{name}`"),
            about: text(&component["then"], "description"),
            values: pipelines.flat_map(|pipeline| find(pipeline, &steps)).collect(),
            keys: Vec::new(),
            expanded: Vec::new(),
        };
        page.add_object(&[], &component["then"]);
        page
    }
}

impl Page<'_> {
    /// The schema that `schema` refers to, and the name of the definition.
    fn resolve(&self, schema: &Value) -> (Value, Option<String>) {
        let one = schema["allOf"].as_array().filter(|all| all.len() == 1);
        let reference = schema["$ref"]
            .as_str()
            .or_else(|| one.and_then(|all| all[0]["$ref"].as_str()));
        if let Some(reference) = reference {
            let name = reference.rsplit('/').next().unwrap().to_owned();
            let definition = &self.reference.schema["definitions"][&name];
            let (resolved, inner) = self.resolve(definition);
            return (described_by(resolved, schema), inner.or(Some(name)));
        }
        let others: Vec<&Value> = forms(schema).filter(|one| one["type"] != "null").collect();
        match others[..] {
            [only] => self.resolve(&described_by(only.clone(), schema)),
            _ => (schema.clone(), None),
        }
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
        for one in forms(schema) {
            found.extend(self.nested(&self.resolve(one).0));
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
        let mut kinds: Vec<String> = Vec::new();
        for one in forms(schema) {
            let kind = self.kind(&self.resolve(one).0);
            if !kinds.contains(&kind) && kind != "null" {
                kinds.push(kind);
            }
        }
        if !kinds.is_empty() {
            return kinds.join(" or ");
        }
        if schema.get("const").is_some() || schema.get("enum").is_some() {
            return "one of".to_owned();
        }
        let types = schema["type"].as_array().cloned();
        let types = types.unwrap_or_else(|| vec![schema["type"].clone()]);
        let types = types
            .iter()
            .filter_map(Value::as_str)
            .filter(|one| *one != "null");
        let types: Vec<&str> = types.collect();
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
        let bound = |key: &str| schema[key].as_number().map(ToString::to_string);
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
        let values = schema["enum"].as_array().into_iter().flatten();
        found.extend(
            values
                .filter(|one| !one.is_null())
                .map(|one| (flow(one), String::new())),
        );
        if let Some(value) = schema.get("const") {
            found.push((flow(value), text(schema, "description")));
        }
        for one in forms(schema) {
            let (one, _) = self.resolve(one);
            if let Some(variant) = self.only_value(&one["properties"]["type"]) {
                found.push((format!("{{type: {variant}}}"), text(&one, "description")));
            } else if ["const", "enum", "oneOf"]
                .iter()
                .any(|key| one.get(key).is_some())
            {
                found.extend(self.choices(&one));
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
        let declared = schema["examples"].get(0).map(flow);
        let choice = || self.choices(schema).first().map(|(value, _)| value.clone());
        let simple = || (schema["type"] == "boolean").then(|| "true".to_owned());
        let default = || schema.get("default").filter(|value| !value.is_null()).map(flow);
        let nested = || (!self.nested(schema).is_empty()).then(String::new);
        let simple = declared.or_else(simple).or_else(choice);
        simple.or_else(default).or_else(nested)
    }

    fn render(&self) -> String {
        let (title, about) = (&self.title, &self.about);
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
            if !key.choices.is_empty() {
                page.push('\n');
            }
            for (value, meaning) in &key.choices {
                page += &choice(value, meaning);
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

/// `schema` with what the schema that refers to it says about the value.
fn described_by(mut schema: Value, reference: &Value) -> Value {
    for key in ["description", "default", "examples"] {
        if let Some(value) = reference.get(key) {
            schema[key] = value.clone();
        }
    }
    schema
}

/// The forms that a value can have, without `${NAME}`.
fn forms(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["anyOf", "oneOf"]
        .into_iter()
        .filter_map(|word| schema[word].as_array());
    lists.flatten().filter(|one| !is_variable(one))
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
