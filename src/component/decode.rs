//! Decodes settings and reports every problem instead of the first.
//!
//! serde stops at the first error. Here the part of the tree that caused it is removed and decoding starts again. The
//! kind of an error is recognized by the fixed beginnings of serde's texts, which a test pins.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::Problems;
use crate::suggest::suggestion;

/// Problems reported for one component.
const MAX_PROBLEMS: usize = 50;

/// Decodes `value`, reporting every problem below the path of `problems`. `None` if there was one.
pub fn decode<T: DeserializeOwned>(mut value: Value, problems: &mut Problems<'_>) -> Option<T> {
    let mut removed: Vec<String> = Vec::new();
    for _ in 0..MAX_PROBLEMS {
        let error = match serde_path_to_error::deserialize::<_, T>(value.clone()) {
            Ok(decoded) => return removed.is_empty().then_some(decoded),
            Err(error) => error,
        };
        let message = error.inner().to_string();
        let mut steps = steps(error.path());
        if let Some(name) = between(&message, "missing field `", "`") {
            steps.push(Step::Key(name.to_owned()));
            let path = join(&steps);
            if !removed.contains(&path) {
                problems.at(path).add(format!("missing required key `{name}`"));
            }
            return None;
        }
        let (text, hint) = if let Some(name) = between(&message, "unknown field `", "`") {
            if !matches!(steps.last(), Some(Step::Key(last)) if last == name) {
                steps.push(Step::Key(name.to_owned()));
            }
            (
                format!("unknown key `{name}`"),
                suggestion(name, expected_names(&message)),
            )
        } else if let Some(name) = between(&message, "unknown variant `", "`") {
            let is_type = matches!(steps.last(), Some(Step::Key(key)) if key == "type");
            let what = if is_type { "type" } else { "value" };
            (
                format!("unknown {what} `{name}`"),
                suggestion(name, expected_names(&message)),
            )
        } else {
            (without_secrets(&message, &steps), None)
        };
        problems.at(join(&steps)).add_with(text, hint);
        // A list is removed completely: without one entry the indices of the others would be wrong.
        if let Some(list) = steps.iter().position(|step| matches!(step, Step::Index(_))) {
            steps.truncate(list);
        }
        if !remove(&mut value, &steps) {
            return None;
        }
        removed.push(join(&steps));
    }
    None
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

fn steps(path: &Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn join(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(key) if path.is_empty() => path.push_str(key),
            Step::Key(key) => path.push_str(&format!(".{key}")),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// Removes the part at `steps`, which are keys only; false if it does not exist.
fn remove(value: &mut Value, steps: &[Step]) -> bool {
    let Some((Step::Key(last), parents)) = steps.split_last() else {
        return false;
    };
    let parent = parents.iter().try_fold(value, |at, step| match step {
        Step::Key(key) => at.get_mut(key.as_str()),
        Step::Index(_) => None,
    });
    parent
        .and_then(Value::as_object_mut)
        .is_some_and(|map| map.shift_remove(last.as_str()).is_some())
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let rest = text.strip_prefix(start)?;
    Some(&rest[..rest.find(end)?])
}

/// The names in serde's "expected `a` or `b`" and "expected one of `a`, `b`".
fn expected_names(message: &str) -> Vec<&str> {
    let Some((_, rest)) = message.split_once("expected ") else {
        return Vec::new();
    };
    rest.split('`').skip(1).step_by(2).collect()
}

/// serde repeats the text it did not expect; below keys of secrets it must not be shown.
fn without_secrets(message: &str, steps: &[Step]) -> String {
    const SECRET_WORDS: [&str; 6] = ["auth", "secret", "password", "token", "key", "passphrase"];
    let secret = steps.iter().any(|step| {
        matches!(step, Step::Key(key) if {
            let key = key.to_ascii_lowercase();
            SECRET_WORDS.iter().any(|word| key.contains(word))
        })
    });
    if secret
        && let Some((kind, rest)) = message.split_once(": ")
        && kind.starts_with("invalid ")
        && let Some(expected) = rest.rfind(", expected")
    {
        return format!("{kind}: [value not shown]{}", &rest[expected..]);
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "decoded, never read")]
    struct Outer {
        auth: u8,
    }

    #[test]
    fn does_not_repeat_values_of_secret_keys() {
        for (value, kind) in [(json!("hunter2-marker"), "type"), (json!(-271_828), "value")] {
            let mut found = Vec::new();
            assert!(decode::<Outer>(json!({"auth": value}), &mut Problems::new(&mut found)).is_none());
            let expected = format!("auth: invalid {kind}: [value not shown], expected u8");
            assert_eq!(found[0].to_string(), expected);
        }
    }
}
