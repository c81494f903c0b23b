//! Blocks whose `type` decides which keys they take.
//!
//! Such a block is one struct of optional keys, so that each key is declared once and errors point at it. The table of
//! its types serves validation and JSON Schema alike.

use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::component::Problems;

/// The keys of one `type`, besides those that every type takes.
#[derive(Debug)]
pub(super) struct TypedKeys {
    pub(super) name: &'static str,
    pub(super) required: &'static [&'static str],
    pub(super) optional: &'static [&'static str],
}

pub(super) const fn typed(
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> TypedKeys {
    TypedKeys {
        name,
        required,
        optional,
    }
}

/// Which of the listed optional fields of `$block` are set.
macro_rules! given {
    ($block:expr; $($key:ident),* $(,)?) => {
        [$((stringify!($key), $block.$key.is_some())),*]
    };
}
pub(super) use given;

/// Reports each key that `name` does not take and each required key that is missing.
pub(super) fn check(
    types: &[TypedKeys],
    name: &str,
    given: &[(&'static str, bool)],
    problems: &mut Problems<'_>,
) {
    let Some(keys) = types.iter().find(|keys| keys.name == name) else {
        return;
    };
    for (key, given) in given {
        let required = keys.required.contains(key);
        if *given && !required && !keys.optional.contains(key) {
            let takes: Vec<String> = types
                .iter()
                .filter(|keys| keys.required.contains(key) || keys.optional.contains(key))
                .map(|keys| format!("`{}`", keys.name))
                .collect();
            problems.at(key).add_with_hint(
                format!("`{key}` does not apply to `type: {name}`"),
                format!("it applies to {}", takes.join(", ")),
            );
        } else if required && !*given {
            let message = format!("`{key}` is required with `type: {name}`");
            problems.at(key).add(message);
        }
    }
}

/// Adds the rules of the table to the JSON Schema of the block.
pub(super) fn describe(types: &[TypedKeys], schema: &mut Schema) {
    let typed = |keys: &TypedKeys| {
        let others: Map<String, Value> = types
            .iter()
            .flat_map(|other| other.required.iter().chain(other.optional))
            .filter(|key| !keys.required.contains(key) && !keys.optional.contains(key))
            .map(|key| ((*key).to_owned(), Value::Bool(false)))
            .collect();
        json!({
            "if": {"properties": {"type": {"const": keys.name}}, "required": ["type"]},
            "then": {"required": keys.required, "properties": others},
        })
    };
    let rules: Vec<Value> = types.iter().map(typed).collect();
    schema.insert("allOf".to_owned(), rules.into());
}
