//! `${NAME}` and `${NAME:-default}` inside string values.
//!
//! Replaced after parsing, so a value can change neither the document's structure nor its own type. Keys are left
//! alone. `$${` stands for a literal `${`.

use serde_json::Value;

use super::Problems;

/// Replaces every reference in the strings of `value`; `lookup` gives a variable's value. References that cannot be
/// replaced are noted and left as they are.
pub fn interpolate(value: &mut Value, lookup: &dyn Fn(&str) -> Option<String>, problems: &mut Problems<'_>) {
    match value {
        Value::String(text) if text.contains("${") => match replace(text, lookup) {
            Ok(replaced) => *text = replaced,
            Err(Wrong { message, hint }) => match hint {
                Some(hint) => problems.add_with_hint(message, hint),
                None => problems.add(message),
            },
        },
        Value::Array(values) => {
            for (index, value) in values.iter_mut().enumerate() {
                interpolate(value, lookup, &mut problems.at_index(index));
            }
        }
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                interpolate(value, lookup, &mut problems.at(key));
            }
        }
        _ => {}
    }
}

struct Wrong {
    message: String,
    hint: Option<String>,
}

fn replace(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, Wrong> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            out.push_str(&rest[..start - 1]);
            out.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('}').map(|end| start + end) else {
            return Err(Wrong {
                message: "a `${` without its `}`".to_owned(),
                hint: Some("write `$${` for a literal `${`".to_owned()),
            });
        };
        let inside = &rest[start + 2..end];
        if inside.contains("${") {
            return Err(Wrong {
                message: "a reference inside the default of another".to_owned(),
                hint: Some("give a plain text as the default".to_owned()),
            });
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !valid {
            return Err(Wrong {
                message: format!("`${{{inside}}}` does not name an environment variable"),
                hint: Some(
                    "the forms are `${NAME}` and `${NAME:-default}`; write `$${` for a literal `${`"
                        .to_owned(),
                ),
            });
        }
        match (
            lookup(name).filter(|value| !value.is_empty() || default.is_none()),
            default,
        ) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                return Err(Wrong {
                    message: format!("the environment variable `{name}` is not set"),
                    hint: Some(format!("set it, or give a default: `${{{name}:-value}}`")),
                });
            }
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(mut value: Value) -> (Value, Vec<String>) {
        let mut found = Vec::new();
        let lookup = |name: &str| match name {
            "HOST" => Some("h: {x}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        interpolate(&mut value, &lookup, &mut Problems::new(&mut found));
        (value, found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn values_are_replaced_and_never_parsed_again() {
        let (value, problems) =
            run(json!({"a": "x-${HOST}-y", "b": ["${NONE:-d:-e}", "${EMPTY:-full}", "$${HOST}"]}));
        assert_eq!(
            value,
            json!({"a": "x-h: {x}-y", "b": ["d:-e", "full", "${HOST}"]})
        );
        assert!(problems.is_empty());
    }

    #[test]
    fn every_bad_reference_is_named_with_its_place() {
        let (_, problems) = run(json!({"a": "${NONE}", "b": ["ok", "${1x}", "${HOST", "${NONE:-${HOST}}"]}));
        assert_eq!(
            problems,
            [
                "a: the environment variable `NONE` is not set",
                "b[1]: `${1x}` does not name an environment variable",
                "b[2]: a `${` without its `}`",
                "b[3]: a reference inside the default of another",
            ]
        );
    }
}
