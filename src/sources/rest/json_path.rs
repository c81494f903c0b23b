//! JSONPath (RFC 9535) as far as it can be followed while a document is read.
//!
//! A [`SinglePath`] selects at most one value: names and indexes only. [`ExtractedValues`] are the values found at the
//! paths of a [`ValuePaths`].

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// The type of a value for messages, without its content.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A step into a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Name(String),
    /// An element of an array, from 0.
    Index(usize),
    /// `.*`: every member or element. Not in a [`SinglePath`].
    Members,
    /// `[*]`: every element or member. Not in a [`SinglePath`].
    Elements,
}

impl Step {
    pub(super) fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Name(name) => value.get(name),
            Self::Index(index) => value.get(index),
            Self::Members | Self::Elements => None,
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
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        check(text)?;
        let (steps, complete) = steps(text);
        let steps: Vec<Step> = steps.into_iter().map(|(_, step)| step).collect();
        if !complete || steps.contains(&Step::Members) || steps.contains(&Step::Elements) {
            return Err(format!(
                "`{text}` may select several values, expected one: names and indexes only, such as `$.meta.next` or \
                 `$['@odata.nextLink']`"
            ));
        }
        let text = text.to_owned();
        Ok(Self { text, steps })
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

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

pub(super) fn check(text: &str) -> Result<serde_json_path::JsonPath, String> {
    if !text.starts_with('$') {
        return Err(format!(
            "a JSONPath starts with `$`, such as `$.{text}`; found `{text}`"
        ));
    }
    serde_json_path::JsonPath::parse(text).map_err(|error| format!("`{text}` is not a JSONPath: {error}"))
}

/// The steps of a valid path, each with the offset it starts at, and whether these are all: a filter, a slice, a union
/// or `..` ends them.
pub(super) fn steps(text: &str) -> (Vec<(usize, Step)>, bool) {
    let mut steps = Vec::new();
    let mut rest = text.strip_prefix('$').unwrap_or(text).trim_start();
    while !rest.is_empty() {
        let Some((step, after)) = step(rest) else {
            return (steps, false);
        };
        steps.push((text.len() - rest.len(), step));
        rest = after.trim_start();
    }
    (steps, true)
}

fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(after) = text.strip_prefix('.') {
        let end = after.find(['.', '[']).unwrap_or(after.len());
        let step = match after[..end].trim_end() {
            "" => return None,
            "*" => Step::Members,
            name => Step::Name(name.to_owned()),
        };
        return Some((step, &after[end..]));
    }
    let after = text.strip_prefix('[')?.trim_start();
    let (step, left) = match after.chars().next()? {
        quote @ ('\'' | '"') => {
            let (name, left) = quoted(&after[1..], quote)?;
            (Step::Name(name), left)
        }
        '*' => (Step::Elements, &after[1..]),
        _ => {
            let end = after.find(']')?;
            (Step::Index(after[..end].trim().parse().ok()?), &after[end..])
        }
    };
    Some((step, left.trim_start().strip_prefix(']')?))
}

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
pub(super) struct ValuePaths(Vec<SinglePath>);

impl ValuePaths {
    pub(super) fn add(&mut self, path: &SinglePath) {
        if !self.0.iter().any(|known| known.steps == path.steps) {
            self.0.push(path.clone());
        }
    }

    pub(super) fn paths(&self) -> &[SinglePath] {
        &self.0
    }

    pub(super) fn find(&self, document: &Value) -> ExtractedValues {
        ExtractedValues::new(self, self.0.iter().map(|path| path.find(document).cloned()))
    }
}

/// The values at the paths of a [`ValuePaths`] that exist.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ExtractedValues(Vec<(SinglePath, Value)>);

impl ExtractedValues {
    pub(super) fn new(paths: &ValuePaths, values: impl IntoIterator<Item = Option<Value>>) -> Self {
        let values = paths.0.iter().cloned().zip(values);
        Self(values.filter_map(|(path, value)| Some((path, value?))).collect())
    }

    /// The value; `Some(Value::Null)` for a null, `None` if the path does not exist.
    pub(super) fn get(&self, path: &SinglePath) -> Option<&Value> {
        let mut values = self.0.iter();
        values.find_map(|(known, value)| (known.steps == path.steps).then_some(value))
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
        for wrong in "$.a[*] $..a $.a.* $.a[0:2] $.a[-1] $.a[?@.b] $.a['b','c']".split(' ') {
            let error = SinglePath::parse(wrong).unwrap_err();
            assert!(error.contains("several"), "{error}");
        }
        assert!(SinglePath::parse("a.b").unwrap_err().contains("`$.a.b`"));
        assert!(SinglePath::parse("$.a[").unwrap_err().contains("not a JSONPath"));
    }
}
