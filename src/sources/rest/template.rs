//! Texts with placeholders: `employees/{id}/tables/jobInfo`.
//!
//! `{name}` is a placeholder, `{{` and `}}` are the braces themselves. A template is read and its names are checked
//! when the pipeline file is; what is left for the run is filling in [`Values`]. A value is never read as a template
//! again, and each place a text goes to encodes it by its own rules.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::config::{Problems, suggestion};
use crate::error::{Error, Result};

/// What a placeholder stands for; decides where it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A value written in the pipeline file.
    Fixed,
    /// A value out of a parent's row.
    Key,
    /// Values out of several parents' rows.
    Group,
    /// The start or the end of what is asked for.
    Window,
}

impl Kind {
    /// Whether its values come from rows: then they are personal data.
    pub(super) fn is_from_rows(self) -> bool {
        matches!(self, Self::Key | Self::Group)
    }
}

/// The placeholders that a request may use.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Names(Vec<(Arc<str>, Kind)>);

impl Names {
    /// Adds a name; `false` if it is there already.
    pub(super) fn add(&mut self, name: &str, kind: Kind) -> bool {
        let new = self.kind(name).is_none();
        if new {
            self.0.push((name.into(), kind));
        }
        new
    }

    /// What `name` stands for.
    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        self.0
            .iter()
            .find_map(|(known, kind)| (&**known == name).then_some(*kind))
    }

    /// All, in the order they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Kind)> + Clone {
        self.0.iter().map(|(name, kind)| (name, *kind))
    }
}

/// Names of placeholders that requests use.
pub(super) type Uses = BTreeSet<Arc<str>>;

/// What a placeholder is filled with.
#[derive(Clone, PartialEq)]
pub(super) enum Filling {
    /// A text, a whole number or a boolean.
    One(Value),
    /// Several of them, and what stands between them in a text.
    Many {
        /// The values, in order.
        values: Vec<Value>,
        /// What joins them.
        separator: Arc<str>,
    },
}

impl Filling {
    /// The values, in order.
    fn values(&self) -> &[Value] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many { values, .. } => values,
        }
    }
}

/// Shows no value: they come out of rows.
impl fmt::Debug for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(_) => f.write_str("one"),
            Self::Many { values, .. } => write!(f, "{}", values.len()),
        }
    }
}

/// Placeholders and what fills them, in order. Cheap to clone for few values.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Values(Vec<(Arc<str>, Filling)>);

impl Values {
    /// Sets one value in place of any other of this name.
    pub(super) fn set(&mut self, name: Arc<str>, filling: Filling) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(place) => place.1 = filling,
            None => self.0.push((name, filling)),
        }
    }

    /// These, and those of `more` over them.
    #[must_use]
    pub(super) fn with(&self, more: &Self) -> Self {
        let mut all = self.clone();
        for (name, filling) in &more.0 {
            all.set(name.clone(), filling.clone());
        }
        all
    }

    /// What fills `name`.
    pub(super) fn get(&self, name: &str) -> Option<&Filling> {
        self.0
            .iter()
            .find_map(|(known, filling)| (&**known == name).then_some(filling))
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Filling)> {
        self.0.iter().map(|(name, filling)| (name, filling))
    }

    /// The texts of all values that come out of a parent's rows or are written under `for_each`.
    pub(super) fn of_rows(&self) -> Vec<Cow<'_, str>> {
        self.iter()
            .filter(|(name, _)| !matches!(&***name, "start" | "end"))
            .flat_map(|(_, filling)| filling.values())
            .filter_map(scalar_text)
            .collect()
    }

    fn need(&self, name: &str) -> Result<&Filling> {
        self.get(name)
            .ok_or_else(|| Error::unexpected(format!("there is no value for `{{{name}}}`")))
    }
}

/// A scalar as it stands in a text; `None` for anything else, and for numbers that are not whole.
pub(super) fn scalar_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(is) => Some(Cow::Borrowed(if *is { "true" } else { "false" })),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// Whether `name` can stand between braces.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a variable of the environment is named in `text`, which has been told of: there is nothing more to say.
pub(super) fn is_unset(text: &str, problems: &Problems<'_>) -> bool {
    let named = |rest: &str| {
        let name = rest.split_once('}').map_or("", |(inside, _)| inside);
        is_name(name.split_once(":-").map_or(name, |(name, _)| name))
    };
    // With no problem so far, all variables were there, and this is a literal `${`.
    !problems.is_empty() && text.split("${").skip(1).any(named)
}

/// One piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Text as it is.
    Text(String),
    /// A placeholder.
    Name(Arc<str>),
}

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A brace that is neither a placeholder's nor doubled; in words for the person who wrote it.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let from = &rest[at..];
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if from.starts_with('}') {
                return Err("a `}` without its `{`; a brace itself is written twice: `}}`".to_owned());
            } else {
                let Some(end) = from.find('}') else {
                    return Err("a `{` without its `}`; a brace itself is written twice: `{{`".to_owned());
                };
                let name = &from[1..end];
                if !is_name(name) {
                    return Err(format!(
                        "`{}` is no placeholder, which is a name of letters, digits and `_` between braces; a brace \
                         itself is written twice: `{{{{` and `}}}}`",
                        &from[..=end]
                    ));
                }
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Name(name.into()));
                rest = &from[end + 1..];
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// Reads a template and notes what is wrong with it, unknown names too.
    pub(super) fn check(text: &str, names: &Names, problems: &mut Problems<'_>) -> Option<Self> {
        if is_unset(text, problems) {
            return None;
        }
        let template = match Self::parse(text) {
            Ok(template) => template,
            Err(message) => {
                problems.add(message);
                return None;
            }
        };
        let mut known = true;
        for name in template.names() {
            if names.kind(name).is_none() {
                known = false;
                unknown(name, names, problems);
            }
        }
        known.then_some(template)
    }

    /// One of these parts.
    pub(super) fn of(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    /// Its pieces, in order.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The names in it, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name),
            Part::Text(_) => None,
        })
    }

    /// The one placeholder that it is, with nothing beside it.
    pub(super) fn alone(&self) -> Option<&Arc<str>> {
        match self.parts.as_slice() {
            [Part::Name(name)] => Some(name),
            _ => None,
        }
    }

    /// Its text, if it has no placeholders.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with all placeholders filled, not encoded.
    ///
    /// # Errors
    /// A value that would not be read as one where it stands; named by its placeholder.
    pub(super) fn fill(&self, values: &Values) -> Result<String> {
        self.fill_with(values, |_, value, out| {
            out.push_str(value);
            Ok(())
        })
    }

    /// The text with all placeholders filled; `write` puts one value into it, given the placeholder's name.
    pub(super) fn fill_with(
        &self,
        values: &Values,
        mut write: impl FnMut(&Arc<str>, &str, &mut String) -> Result<()>,
    ) -> Result<String> {
        let mut out = String::new();
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Name(name) => {
                    let text = text_of(name, values.need(name)?)?;
                    if text.contains('\'') && self.is_between_apostrophes(at) {
                        return Err(Error::input(format!(
                            "a value of `{{{name}}}` has an apostrophe, and stands between apostrophes: the expression \
                             would be another"
                        )));
                    }
                    write(name, &text, &mut out)?;
                }
            }
        }
        Ok(out)
    }

    /// The value of the placeholder that stands alone, in its own JSON type; a group as a list.
    pub(super) fn fill_json(&self, values: &Values) -> Result<Value> {
        match self.alone() {
            Some(name) => Ok(match values.need(name)? {
                Filling::One(value) => value.clone(),
                Filling::Many { values, .. } => Value::Array(values.clone()),
            }),
            None => self.fill(values).map(Value::String),
        }
    }

    fn is_between_apostrophes(&self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|at| self.parts.get(at));
        let after = self.parts.get(at + 1);
        matches!(before, Some(Part::Text(text)) if text.ends_with('\''))
            && matches!(after, Some(Part::Text(text)) if text.starts_with('\''))
    }
}

/// As it is written in a pipeline file.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Name(name) => write!(f, "{{{name}}}")?,
            }
        }
        Ok(())
    }
}

/// The text of what fills `name`.
fn text_of<'v>(name: &str, filling: &'v Filling) -> Result<Cow<'v, str>> {
    let text = |value: &'v Value| {
        scalar_text(value).ok_or_else(|| {
            Error::unexpected(format!(
                "the value of `{{{name}}}` is no text, whole number or boolean"
            ))
        })
    };
    match filling {
        Filling::One(value) => text(value),
        Filling::Many { values, separator } => {
            let mut joined = String::new();
            for (at, value) in values.iter().enumerate() {
                let item = text(value)?;
                if !separator.is_empty() && item.contains(&**separator) {
                    return Err(Error::input(format!(
                        "a value of `{{{name}}}` has the separator `{separator}` in it: the list would be another"
                    ))
                    .with_hint("ask one by one (without `group`), or give another `separator`"));
                }
                if at > 0 {
                    joined.push_str(separator);
                }
                joined.push_str(&item);
            }
            Ok(Cow::Owned(joined))
        }
    }
}

fn unknown(name: &str, names: &Names, problems: &mut Problems<'_>) {
    let message = format!("`{{{name}}}` is not a placeholder that is known here");
    let hint = match suggestion(name, names.iter().map(|(name, _)| &**name)) {
        _ if name == "start" || name == "end" => {
            "`{start}` and `{end}` are there with an `incremental:` block".to_owned()
        }
        Some(hint) => hint,
        None => {
            "placeholders come from `for_each:` and `incremental:`; a brace itself is written twice: `{{`"
                .to_owned()
        }
    };
    problems.add_with_hint(message, hint);
}
