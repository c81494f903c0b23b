//! JSONPath, as far as a value is looked for in one place.
//!
//! The syntax is RFC 9535's. A [`SinglePath`] names at most one value of a document (names and indexes only), so that
//! it can be found while the document streams by; [`ExtractedValues`] are what was found at several of them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};
use serde_json::Value;

/// A step into a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// A member of an object.
    Name(String),
    /// An element of an array, from 0.
    Index(usize),
}

/// A JSONPath to one value, such as `$.meta.page.nextCursor` or `$['@odata.nextLink']`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SinglePath {
    text: String,
    steps: Vec<Step>,
}

impl SinglePath {
    /// Reads a path.
    ///
    /// # Errors
    /// It is no JSONPath, or may name several values; in words for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        check(text)?;
        match steps(text) {
            Some(steps) => Ok(Self {
                text: text.to_owned(),
                steps,
            }),
            None => Err(format!(
                "`{text}` may name several values, and one is wanted: names and indexes only, such as `$.meta.next` or `$['@odata.nextLink']`"
            )),
        }
    }

    /// The steps from the root.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The value in a whole document.
    pub(super) fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(document, |at, step| match step {
            Step::Name(name) => at.get(name),
            Step::Index(index) => at.get(index),
        })
    }
}

impl fmt::Display for SinglePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for SinglePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for SinglePath {
    fn schema_name() -> Cow<'static, str> {
        "SinglePath".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A JSONPath (RFC 9535) of names and indexes, which names one value.",
            "examples": ["$.meta.page.nextCursor", "$['@odata.nextLink']"],
        })
    }
}

/// Whether `text` is a JSONPath at all; in words if not.
pub(super) fn check(text: &str) -> Result<serde_json_path::JsonPath, String> {
    if !text.starts_with('$') {
        return Err(format!(
            "a JSONPath begins with `$`, such as `$.{text}`; found `{text}`"
        ));
    }
    serde_json_path::JsonPath::parse(text).map_err(|error| format!("`{text}` is not a JSONPath: {error}"))
}

/// The steps of a valid path, if it has only names and indexes from the front.
pub(super) fn steps(text: &str) -> Option<Vec<Step>> {
    let mut rest = text.strip_prefix('$')?.trim_start();
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name = after[..end].trim_end();
            if name.is_empty() || name == "*" {
                return None;
            }
            steps.push(Step::Name(name.to_owned()));
            rest = &after[end..];
        } else {
            let after = rest.strip_prefix('[')?.trim_start();
            let (step, left) = match after.chars().next()? {
                quote @ ('\'' | '"') => {
                    let (name, left) = quoted(&after[1..], quote)?;
                    (Step::Name(name), left)
                }
                _ => {
                    let end = after.find(']')?;
                    (Step::Index(after[..end].trim().parse().ok()?), &after[end..])
                }
            };
            steps.push(step);
            rest = left.trim_start().strip_prefix(']')?.trim_start();
        }
    }
    Some(steps)
}

/// A quoted name and what follows its closing quote.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let end = {
        let mut escaped = false;
        text.char_indices().find_map(|(at, c)| {
            let closes = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            closes.then_some(at)
        })?
    };
    let inside = &text[..end];
    // The escapes are JSON's, but for the quotes.
    let json = match quote {
        '\'' => format!("\"{}\"", inside.replace("\\'", "'").replace('"', "\\\"")),
        _ => format!("\"{inside}\""),
    };
    Some((serde_json::from_str(&json).ok()?, &text[end + 1..]))
}

/// Paths at which values are looked for in every answer.
#[derive(Debug, Clone, Default)]
pub(super) struct ValuePaths {
    paths: Vec<SinglePath>,
}

/// One of a [`ValuePaths`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ValueId(usize);

impl ValuePaths {
    /// Adds a path; the same one twice is one.
    pub(super) fn add(&mut self, path: &SinglePath) -> ValueId {
        let known = self.paths.iter().position(|known| known.steps == path.steps);
        ValueId(known.unwrap_or_else(|| {
            self.paths.push(path.clone());
            self.paths.len() - 1
        }))
    }

    /// All paths, in the order of their probes.
    pub(super) fn paths(&self) -> &[SinglePath] {
        &self.paths
    }

    /// Looks into a whole document.
    pub(super) fn find(&self, document: &Value) -> ExtractedValues {
        ExtractedValues {
            values: self
                .paths
                .iter()
                .map(|path| path.find(document).cloned())
                .collect(),
        }
    }

    /// Nothing was found: the answer had no body.
    pub(super) fn none(&self) -> ExtractedValues {
        ExtractedValues {
            values: vec![None; self.paths.len()],
        }
    }
}

/// What was found, for each of a [`ValuePaths`].
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ExtractedValues {
    values: Vec<Option<Value>>,
}

impl ExtractedValues {
    /// Values in the order of the set's probes; `None` where there is nothing.
    pub(super) fn new(values: Vec<Option<Value>>) -> Self {
        Self { values }
    }

    /// What is there; `Some(Value::Null)` for a null, `None` if the path leads nowhere.
    pub(super) fn get(&self, probe: ValueId) -> Option<&Value> {
        self.values.get(probe.0)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_single_path_is_names_and_indexes() {
        let document = json!({"a": {"b.c": [1, {"d'\"e": 2}]}, "@odata.nextLink": "x"});
        let find = |path: &str| SinglePath::parse(path).unwrap().find(&document).cloned();
        assert_eq!(find("$.a['b.c'][0]"), Some(json!(1)));
        assert_eq!(find(r#"$["a"]["b.c"][1]['d\'"e']"#), Some(json!(2)));
        assert_eq!(find("$['@odata.nextLink']"), Some(json!("x")));
        assert_eq!(find("$.a.x"), None);
        assert_eq!(find("$"), Some(document.clone()));
        for wrong in [
            "$.a[*]",
            "$..a",
            "$.a.*",
            "$.a[0:2]",
            "$.a[-1]",
            "$.a[?@.b]",
            "$.a['b','c']",
        ] {
            assert!(
                SinglePath::parse(wrong).unwrap_err().contains("several"),
                "{wrong}"
            );
        }
        assert!(SinglePath::parse("a.b").unwrap_err().contains("`$.a.b`"));
        assert!(SinglePath::parse("$.a[").unwrap_err().contains("not a JSONPath"));
    }

    #[test]
    fn probes_tell_null_from_nothing() {
        let mut set = ValuePaths::default();
        let next = set.add(&SinglePath::parse("$.next").unwrap());
        let more = set.add(&SinglePath::parse("$.more").unwrap());
        assert_eq!(set.add(&SinglePath::parse("$['next']").unwrap()), next);
        let found = set.find(&json!({"next": null}));
        assert_eq!(found.get(next), Some(&Value::Null));
        assert_eq!(found.get(more), None);
    }
}
