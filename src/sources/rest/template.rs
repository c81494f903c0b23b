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

/// Joins the keys of a batch.
const SEPARATOR: &str = ",";

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

/// The placeholders that a request may use; clones share which of them are used.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Names {
    known: Vec<(Arc<str>, Kind)>,
    used: Rc<RefCell<Uses>>,
}

impl Names {
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

pub(super) type Uses = BTreeSet<Arc<str>>;

/// Placeholders and their values, in order.
///
/// A value is a string, an integer or a boolean; or an array of them, which is joined by commas in texts.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Values(pub(super) Vec<(Arc<str>, Value)>);

/// Shows no value: it may come from a row.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Values {
    pub(super) fn set(&mut self, name: Arc<str>, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name, value)),
        }
    }

    #[must_use]
    pub(super) fn with(&self, more: &Self) -> Self {
        let mut all = self.clone();
        for (name, value) in &more.0 {
            all.set(name.clone(), value.clone());
        }
        all
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let mut values = self.0.iter();
        values.find_map(|(known, value)| (&**known == name).then_some(value))
    }

    /// The texts of all values but the incremental window's: they may be personal data.
    pub(super) fn of_rows(&self) -> Vec<Cow<'_, str>> {
        self.0
            .iter()
            .filter(|(name, _)| !matches!(&**name, "start" | "end"))
            .flat_map(|(_, value)| {
                value
                    .as_array()
                    .map_or(std::slice::from_ref(value), Vec::as_slice)
            })
            .filter_map(scalar_text)
            .collect()
    }

    fn require(&self, name: &str) -> Result<&Value> {
        self.get(name)
            .ok_or_else(|| Error::unexpected(format!("there is no value for `{{{name}}}`")))
    }
}

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

pub(super) fn names(template: &Template) -> impl Iterator<Item = &Arc<str>> {
    template.placeholders().map(|placeholder| &placeholder.name)
}

/// The text with all placeholders replaced, not encoded.
pub(super) fn fill(template: &Template, values: &Values) -> Result<String> {
    fill_with(template, values, |_, value, out| {
        out.push_str(value);
        Ok(())
    })
}

/// The text with all placeholders replaced; `write` encodes a value, given the placeholder's name.
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

/// The value of the only placeholder, in its own JSON type; else the text.
pub(super) fn fill_json(template: &Template, values: &Values) -> Result<Value> {
    match template.only_placeholder() {
        Some(placeholder) => values.require(&placeholder.name).cloned(),
        None => fill(template, values).map(Value::String),
    }
}

fn text_of<'v>(name: &str, value: &'v Value) -> Result<Cow<'v, str>> {
    let text = |value: &'v Value| {
        scalar_text(value).ok_or_else(|| {
            Error::unexpected(format!(
                "the value of `{{{name}}}` is not a string, an integer or a boolean"
            ))
        })
    };
    let Value::Array(values) = value else {
        return text(value);
    };
    let texts = values.iter().map(text).collect::<Result<Vec<_>>>()?;
    if texts.iter().any(|text| text.contains(SEPARATOR)) {
        return Err(Error::input(format!(
            "a value of `{{{name}}}` contains the separator `{SEPARATOR}`, which would change the list"
        ))
        .with_hint("read one by one, without `batch_size`"));
    }
    Ok(texts.join(SEPARATOR).into())
}
