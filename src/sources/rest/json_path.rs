//! JSONPath (RFC 9535) as far as it can be followed while a document is read.
//!
//! A [`SinglePath`] selects at most one value: names and indexes only. [`ExtractedValues`] are the values found at the
//! paths of a [`ValuePaths`].

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// A step into a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// A member of an object.
    Name(String),
    /// An element of an array, from 0.
    Index(usize),
}

impl Step {
    /// The value that it selects.
    pub(super) fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Name(name) => value.get(name),
            Self::Index(index) => value.get(index),
        }
    }
}

/// A JSONPath to one value, such as `$.meta.page.nextCursor` or `$['@odata.nextLink']`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(
    with = "String",
    example = "$.meta.page.nextCursor",
    example = "$['@odata.nextLink']"
)]
pub(crate) struct SinglePath {
    text: String,
    steps: Vec<Step>,
}

impl SinglePath {
    /// Reads a path.
    ///
    /// # Errors
    /// It is not a JSONPath, or may select several values.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        check(text)?;
        match steps(text) {
            Some(steps) => Ok(Self {
                text: text.to_owned(),
                steps,
            }),
            None => Err(format!(
                "`{text}` may select several values, expected one: names and indexes only, such as `$.meta.next` or `$['@odata.nextLink']`"
            )),
        }
    }

    /// The steps from the root.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The value in a document.
    pub(super) fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(document, |at, step| step.of(at))
    }
}

impl fmt::Display for SinglePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for SinglePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

/// Parses any JSONPath.
pub(super) fn check(text: &str) -> Result<serde_json_path::JsonPath, String> {
    if !text.starts_with('$') {
        return Err(format!(
            "a JSONPath starts with `$`, such as `$.{text}`; found `{text}`"
        ));
    }
    serde_json_path::JsonPath::parse(text).map_err(|error| format!("`{text}` is not a JSONPath: {error}"))
}

/// A segment of a path that can be followed while a document is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// A name or an index.
    One(Step),
    /// `.*`: every member or element.
    Members,
    /// `[*]`: every element or member.
    Elements,
}

/// The segments of a valid path, each with the offset it starts at, and whether these are all: a filter, a slice, a
/// union or `..` ends them.
pub(super) fn segments(text: &str) -> (Vec<(usize, Segment)>, bool) {
    let mut segments = Vec::new();
    let mut rest = text.strip_prefix('$').unwrap_or(text).trim_start();
    while !rest.is_empty() {
        let Some((segment, after)) = segment(rest) else {
            return (segments, false);
        };
        segments.push((text.len() - rest.len(), segment));
        rest = after.trim_start();
    }
    (segments, true)
}

fn segment(text: &str) -> Option<(Segment, &str)> {
    if let Some(after) = text.strip_prefix('.') {
        let end = after.find(['.', '[']).unwrap_or(after.len());
        let segment = match after[..end].trim_end() {
            "" => return None,
            "*" => Segment::Members,
            name => Segment::One(Step::Name(name.to_owned())),
        };
        return Some((segment, &after[end..]));
    }
    let after = text.strip_prefix('[')?.trim_start();
    let (segment, left) = match after.chars().next()? {
        quote @ ('\'' | '"') => {
            let (name, left) = quoted(&after[1..], quote)?;
            (Segment::One(Step::Name(name)), left)
        }
        '*' => (Segment::Elements, &after[1..]),
        _ => {
            let end = after.find(']')?;
            let index = after[..end].trim().parse().ok()?;
            (Segment::One(Step::Index(index)), &after[end..])
        }
    };
    Some((segment, left.trim_start().strip_prefix(']')?))
}

/// The steps of a valid path, if it has only names and indexes.
fn steps(text: &str) -> Option<Vec<Step>> {
    let (segments, true) = segments(text) else {
        return None;
    };
    let step = |(_, segment)| match segment {
        Segment::One(step) => Some(step),
        Segment::Members | Segment::Elements => None,
    };
    segments.into_iter().map(step).collect()
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

/// The paths of values to extract from every response.
#[derive(Debug, Clone, Default)]
pub(super) struct ValuePaths {
    paths: Vec<SinglePath>,
}

/// One of a [`ValuePaths`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ValueId(usize);

impl ValuePaths {
    /// Adds a path. Equal paths share an id.
    pub(super) fn add(&mut self, path: &SinglePath) -> ValueId {
        let known = self.paths.iter().position(|known| known.steps == path.steps);
        ValueId(known.unwrap_or_else(|| {
            self.paths.push(path.clone());
            self.paths.len() - 1
        }))
    }

    /// All paths, in the order of their ids.
    pub(super) fn paths(&self) -> &[SinglePath] {
        &self.paths
    }

    /// The values of a document.
    pub(super) fn find(&self, document: &Value) -> ExtractedValues {
        ExtractedValues {
            values: self
                .paths
                .iter()
                .map(|path| path.find(document).cloned())
                .collect(),
        }
    }

    /// The values of a response without a JSON body: none.
    pub(super) fn none(&self) -> ExtractedValues {
        ExtractedValues {
            values: vec![None; self.paths.len()],
        }
    }
}

/// The value at each path of a [`ValuePaths`].
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ExtractedValues {
    values: Vec<Option<Value>>,
}

impl ExtractedValues {
    /// From values in the order of their ids; `None` where the path does not exist.
    pub(super) fn new(values: Vec<Option<Value>>) -> Self {
        Self { values }
    }

    /// The value; `Some(Value::Null)` for a null, `None` if the path does not exist.
    pub(super) fn get(&self, id: ValueId) -> Option<&Value> {
        self.values.get(id.0)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn single_paths_are_names_and_indexes() {
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
    fn distinguishes_null_from_missing() {
        let mut set = ValuePaths::default();
        let next = set.add(&SinglePath::parse("$.next").unwrap());
        let more = set.add(&SinglePath::parse("$.more").unwrap());
        assert_eq!(set.add(&SinglePath::parse("$['next']").unwrap()), next);
        let found = set.find(&json!({"next": null}));
        assert_eq!(found.get(next), Some(&Value::Null));
        assert_eq!(found.get(more), None);
    }
}
