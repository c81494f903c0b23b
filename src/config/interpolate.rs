//! `${NAME}` and `${NAME:-default}` inside string values.
//!
//! Replaced after parsing, so a value can change neither the structure of the document nor its own type. `$${` is a
//! literal `${`.

use serde_json::Value;

use crate::component::Problems;
use crate::settings::template::{TemplateError, is_name};

/// Replaces every reference in the strings of `value`; `lookup` returns the value of a variable. Invalid references are
/// reported and stay.
pub(super) fn interpolate(
    value: &mut Value,
    lookup: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems<'_>,
) {
    match value {
        Value::String(text) if text.contains("${") => match replace(text, lookup) {
            Ok(replaced) => *text = replaced,
            Err(error) => problems.add_with_hint(error.message, error.hint),
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

fn replace(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, TemplateError> {
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
            return wrong("`${` without `}`", "write `$${` for a literal `${`");
        };
        let inside = &rest[start + 2..end];
        if inside.contains("${") {
            return wrong(
                "a reference in the default of another",
                "use plain text as the default",
            );
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return wrong(
                &format!("`${{{inside}}}` does not name an environment variable"),
                "write `${NAME}` or `${NAME:-default}`, and `$${` for a literal `${`",
            );
        }
        let value = lookup(name).filter(|value| !value.is_empty() || default.is_none());
        let Some(value) = value.or_else(|| default.map(str::to_owned)) else {
            return wrong(
                &format!("the environment variable `{name}` is not set"),
                &format!("set it, or add a default: `${{{name}:-value}}`"),
            );
        };
        out.push_str(&value);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn wrong(message: &str, hint: &str) -> Result<String, TemplateError> {
    Err(TemplateError {
        message: message.to_owned(),
        hint: hint.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn replaces_values_without_parsing_them_again_and_reports_invalid_references() {
        let mut value = json!({
            "a": "x-${HOST}-y",
            "b": ["${NONE:-d:-e}", "${EMPTY:-full}", "$${HOST}"],
            "c": ["${NONE}", "${1x}", "${HOST", "${NONE:-${HOST}}"],
        });
        let lookup = |name: &str| match name {
            "HOST" => Some("h: {x}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut problems = Vec::new();
        interpolate(&mut value, &lookup, &mut Problems::new(&mut problems));
        assert_eq!(value["a"], "x-h: {x}-y");
        assert_eq!(value["b"], json!(["d:-e", "full", "${HOST}"]));
        let expected = [
            "c[0]: the environment variable `NONE` is not set",
            "c[1]: `${1x}` does not name an environment variable",
            "c[2]: `${` without `}`",
            "c[3]: a reference in the default of another",
        ];
        let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
}
