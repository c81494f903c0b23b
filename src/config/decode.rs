//! A tree into a type, with every problem on the way instead of the first.
//!
//! serde stops at the first error. Here the part of the tree that caused it is taken out and decoding starts again,
//! until it succeeds or what is missing cannot be made up for. The path comes from `serde_path_to_error`; what kind
//! of error it is, from the fixed beginnings of serde's own texts.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::{Problems, suggestion};

/// More problems than this in one component help nobody.
const MOST: usize = 50;

/// Decodes `value`, noting every problem below the path of `problems`. `None` if there was one.
pub fn decode<T: DeserializeOwned>(mut value: Value, problems: &mut Problems<'_>) -> Option<T> {
    let mut taken_out: Vec<String> = Vec::new();
    for _ in 0..MOST {
        let error = match serde_path_to_error::deserialize::<_, T>(value.clone()) {
            Ok(decoded) => return taken_out.is_empty().then_some(decoded),
            Err(error) => error,
        };
        let message = error.inner().to_string();
        let mut steps = steps(error.path());
        if let Some(name) = between(&message, "missing field `", "`") {
            steps.push(Step::Key(name.to_owned()));
            let path = join(&steps);
            if !taken_out.contains(&path) {
                note(
                    problems,
                    &steps,
                    format!("`{name}` is required and not there"),
                    None,
                );
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
            let what = if matches!(steps.last(), Some(Step::Key(key)) if key == "type") || steps.is_empty() {
                "unknown type"
            } else {
                "unknown value"
            };
            (
                format!("{what} `{name}`"),
                suggestion(name, expected_names(&message)),
            )
        } else {
            (without_values(&message, &steps), None)
        };
        note(problems, &steps, text, hint);
        // A list goes as a whole: without one entry the places of the others would be wrong.
        if let Some(list) = steps.iter().position(|step| matches!(step, Step::Index(_))) {
            steps.truncate(list);
        }
        if !take_out(&mut value, &steps) {
            return None;
        }
        taken_out.push(join(&steps));
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
            Step::Key(key) => {
                path.push('.');
                path.push_str(key);
            }
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

fn note(problems: &mut Problems<'_>, steps: &[Step], text: String, hint: Option<String>) {
    let mut here = problems.at(join(steps));
    match hint {
        Some(hint) => here.add_with_hint(text, hint),
        None => here.add(text),
    }
}

/// Takes the part at `steps`, which are keys only, out of the tree; false if it is not there.
fn take_out(value: &mut Value, steps: &[Step]) -> bool {
    let Some((Step::Key(last), parents)) = steps.split_last() else {
        return false;
    };
    let mut at = value;
    for step in parents {
        let Step::Key(key) = step else { return false };
        let Some(next) = at.get_mut(key.as_str()) else {
            return false;
        };
        at = next;
    }
    at.as_object_mut()
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

/// serde repeats the text it did not expect. Below keys that hold secrets nobody should see it.
fn without_values(message: &str, steps: &[Step]) -> String {
    let secret = steps.iter().any(|step| {
        matches!(step, Step::Key(key) if {
            let key = key.to_ascii_lowercase();
            ["auth", "secret", "password", "token", "key", "passphrase"].iter().any(|word| key.contains(word))
        })
    });
    if secret
        && let Some((kind, rest)) = message.split_once(": ")
        && kind.starts_with("invalid ")
        && let Some(expected) = rest.rfind(", expected")
    {
        return format!("{kind}: a value that is not repeated here{}", &rest[expected..]);
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "decoded, never read")]
    struct Outer {
        name: String,
        batch: Option<Batch>,
        formats: Option<Vec<u8>>,
        auth: Option<u8>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "decoded, never read")]
    struct Batch {
        max_rows: Option<u32>,
        max_bytes: Option<u32>,
    }

    fn problems(value: Value) -> Vec<String> {
        let mut found = Vec::new();
        let decoded = decode::<Outer>(value, &mut Problems::new(&mut found).at("x"));
        assert_eq!(decoded.is_none(), !found.is_empty());
        found
            .iter()
            .map(|p| format!("{p} ({})", p.hint.as_deref().unwrap_or("-")))
            .collect()
    }

    #[test]
    fn every_problem_is_found_with_its_path_and_neighbours() {
        let found = problems(json!({
            "nmae": "x",
            "batch": {"max_row": 1, "max_bytes": "many"},
            "formats": [1, "two", 3],
        }));
        assert_eq!(
            found,
            [
                "x.nmae: unknown key `nmae` (did you mean `name`?)",
                "x.batch.max_row: unknown key `max_row` (did you mean `max_rows`?)",
                "x.batch.max_bytes: invalid type: string \"many\", expected u32 (-)",
                "x.formats[1]: invalid type: string \"two\", expected u8 (-)",
                "x.name: `name` is required and not there (-)",
            ]
        );
    }

    #[test]
    fn what_was_taken_out_is_not_reported_as_missing() {
        assert_eq!(problems(json!({"name": 7})).len(), 1);
    }

    #[test]
    fn a_text_where_a_secret_lives_is_not_repeated() {
        let found = problems(json!({"name": "n", "auth": "hunter2-marker"}));
        assert_eq!(
            found,
            ["x.auth: invalid type: a value that is not repeated here, expected u8 (-)"]
        );
        let found = problems(json!({"name": "n", "auth": -271_828}));
        assert_eq!(
            found,
            ["x.auth: invalid value: a value that is not repeated here, expected u8 (-)"]
        );
    }
}
