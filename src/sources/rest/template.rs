//! The values of placeholders in requests, and where each may be used.
//!
//! The text that a value goes into encodes it by its own rules.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use crate::component::Problems;
use crate::error::{Error, Result};
use crate::settings::template::has_unset_variable;
pub(super) use crate::settings::template::{Part, Template};

/// The origin of a placeholder's values; decides where it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The pipeline file.
    Fixed,
    /// A row of the parent.
    Key,
    /// Several rows of the parent.
    Group,
    /// The start or end of the incremental window.
    Window,
}

impl Kind {
    /// Whether its values come from rows: then they are personal data.
    pub(super) fn is_from_rows(self) -> bool {
        matches!(self, Self::Key | Self::Group)
    }
}

/// The placeholders that a request may use; clones share which of them are used.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Names {
    known: Vec<(Arc<str>, Kind)>,
    used: Rc<RefCell<Uses>>,
}

impl Names {
    /// Adds a name, unless it exists.
    pub(super) fn add(&mut self, name: &str, kind: Kind) {
        if self.kind(name).is_none() {
            self.known.push((name.into(), kind));
        }
    }

    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        let mut names = self.known.iter();
        names.find_map(|(known, kind)| (&**known == name).then_some(*kind))
    }

    /// The placeholders that [`check`] has found in templates.
    pub(super) fn uses(&self) -> Uses {
        self.used.borrow().clone()
    }
}

/// Names of placeholders that requests use.
pub(super) type Uses = BTreeSet<Arc<str>>;

/// What a placeholder is replaced with.
#[derive(Clone, PartialEq)]
pub(super) enum Filling {
    /// A string, an integer or a boolean.
    One(Value),
    /// Several of them, joined by a separator in texts.
    Many { values: Vec<Value>, separator: Arc<str> },
}

impl Filling {
    fn values(&self) -> &[Value] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many { values, .. } => values,
        }
    }
}

/// Shows no value: it may come from a row.
impl fmt::Debug for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values", self.values().len())
    }
}

/// Placeholders and their values, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Values(Vec<(Arc<str>, Filling)>);

impl Values {
    /// Sets a value in place of another of this name.
    pub(super) fn set(&mut self, name: Arc<str>, filling: Filling) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = filling,
            None => self.0.push((name, filling)),
        }
    }

    /// These, overridden by `more`.
    #[must_use]
    pub(super) fn with(&self, more: &Self) -> Self {
        let mut all = self.clone();
        for (name, filling) in &more.0 {
            all.set(name.clone(), filling.clone());
        }
        all
    }

    pub(super) fn get(&self, name: &str) -> Option<&Filling> {
        let mut values = self.0.iter();
        values.find_map(|(known, filling)| (&**known == name).then_some(filling))
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Filling)> {
        self.0.iter().map(|(name, filling)| (name, filling))
    }

    /// The texts of all values but the incremental window's: they may be personal data.
    pub(super) fn of_rows(&self) -> Vec<Cow<'_, str>> {
        self.0
            .iter()
            .filter(|(name, _)| !matches!(&**name, "start" | "end"))
            .flat_map(|(_, filling)| filling.values())
            .filter_map(scalar_text)
            .collect()
    }

    fn require(&self, name: &str) -> Result<&Filling> {
        self.get(name)
            .ok_or_else(|| Error::unexpected(format!("there is no value for `{{{name}}}`")))
    }
}

/// The text of a string, an integer or a boolean.
pub(super) fn scalar_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(is) => Some(Cow::Borrowed(if *is { "true" } else { "false" })),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// Whether a variable in `text` is not set, which was reported.
pub(super) fn is_unset(text: &str, problems: &Problems<'_>) -> bool {
    // Without a problem so far, all variables were set, and this is a literal `${`.
    !problems.is_empty() && has_unset_variable(text)
}

/// Parses a template and reports what is wrong with it, unknown placeholders too.
pub(super) fn check(text: &str, names: &Names, problems: &mut Problems<'_>) -> Option<Template> {
    if is_unset(text, problems) {
        return None;
    }
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => {
            problems.add_with_hint(error.message, error.hint);
            return None;
        }
    };
    let before = problems.len();
    for placeholder in template.placeholders() {
        if let Some(error) = placeholder.unknown(names.known.iter().map(|(name, _)| &**name)) {
            let hint = match &*placeholder.name {
                "start" | "end" => "`{start}` and `{end}` require an `incremental` block".to_owned(),
                _ if error.hint.starts_with("did you mean") => error.hint,
                _ => format!(
                    "placeholders come from `for_each` and `incremental`; {}",
                    error.hint
                ),
            };
            problems.add_with_hint(error.message, hint);
        } else if placeholder.format.is_some() {
            problems.add(format!(
                "`{placeholder}` has a format, and values in requests have none"
            ));
        }
    }
    names.used.borrow_mut().extend(self::names(&template).cloned());
    (problems.len() == before).then_some(template)
}

/// Names of the placeholders in a template, in order.
pub(super) fn names(template: &Template) -> impl Iterator<Item = &Arc<str>> {
    template.placeholders().map(|placeholder| &placeholder.name)
}

/// The text with all placeholders replaced, not encoded.
///
/// # Errors
/// As those of [`fill_with`].
pub(super) fn fill(template: &Template, values: &Values) -> Result<String> {
    fill_with(template, values, |_, value, out| {
        out.push_str(value);
        Ok(())
    })
}

/// The text with all placeholders replaced; `write` encodes a value, given the placeholder's name.
///
/// # Errors
/// A value that would change the meaning of the text around it. Names the placeholder, not the value.
pub(super) fn fill_with(
    template: &Template,
    values: &Values,
    mut write: impl FnMut(&Arc<str>, &str, &mut String) -> Result<()>,
) -> Result<String> {
    let mut out = String::new();
    let parts = template.parts();
    for (at, part) in parts.iter().enumerate() {
        let placeholder = match part {
            Part::Text(text) => {
                out.push_str(text);
                continue;
            }
            Part::Placeholder(placeholder) => placeholder,
        };
        let name = &placeholder.name;
        let text = text_of(name, values.require(name)?)?;
        let before = at.checked_sub(1).and_then(|at| parts.get(at));
        let is_quoted = matches!(before, Some(Part::Text(text)) if text.ends_with('\''))
            && matches!(parts.get(at + 1), Some(Part::Text(text)) if text.starts_with('\''));
        if is_quoted && text.contains('\'') {
            return Err(Error::input(format!(
                "a value of `{{{name}}}` contains an apostrophe and is placed between apostrophes, which would change \
                 the expression"
            )));
        }
        write(name, &text, &mut out)?;
    }
    Ok(out)
}

/// The value of the only placeholder, in its own JSON type, several as an array; else the text.
///
/// # Errors
/// As those of [`fill_with`].
pub(super) fn fill_json(template: &Template, values: &Values) -> Result<Value> {
    match template.only_placeholder() {
        Some(placeholder) => Ok(match values.require(&placeholder.name)? {
            Filling::One(value) => value.clone(),
            Filling::Many { values, .. } => Value::Array(values.clone()),
        }),
        None => fill(template, values).map(Value::String),
    }
}

fn text_of<'v>(name: &str, filling: &'v Filling) -> Result<Cow<'v, str>> {
    let text = |value: &'v Value| {
        scalar_text(value).ok_or_else(|| {
            Error::unexpected(format!(
                "the value of `{{{name}}}` is not a string, an integer or a boolean"
            ))
        })
    };
    let (values, separator) = match filling {
        Filling::One(value) => return text(value),
        Filling::Many { values, separator } => (values, separator),
    };
    let texts = values.iter().map(text).collect::<Result<Vec<_>>>()?;
    if !separator.is_empty() && texts.iter().any(|text| text.contains(&**separator)) {
        return Err(Error::input(format!(
            "a value of `{{{name}}}` contains the separator `{separator}`, which would change the list"
        ))
        .with_hint("read one by one, without `group`"));
    }
    Ok(texts.join(separator).into())
}
