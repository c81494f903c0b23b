//! Texts with placeholders: `employees/{id}`, `archive/{name}-{date:%Y%m%d}`.
//!
//! `{name}` or `{name:format}` is a placeholder; `{{` and `}}` are literal braces. Parsed and checked with the pipeline
//! file; a value filled in later is never parsed again.

use std::fmt;
use std::sync::Arc;

use crate::suggest::suggestion;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Literal text, with escapes resolved.
    Text(String),
    Placeholder(Placeholder),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placeholder {
    pub(crate) name: Arc<str>,
    /// The text after the colon.
    pub(crate) format: Option<Arc<str>>,
}

/// Why a text is not a valid template, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateError {
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl TemplateError {
    fn new(message: String) -> Self {
        Self {
            message,
            hint: "write a literal brace twice: `{{` or `}}`".to_owned(),
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.hint)
    }
}

impl std::error::Error for TemplateError {}

/// Whether `name` is a valid name of a placeholder or variable: letters, digits and `_`, not starting with a digit.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether `text` still contains a `${NAME}`: the variable is not set, which is reported elsewhere.
pub(crate) fn has_unset_variable(text: &str) -> bool {
    text.split("${").skip(1).any(|rest| {
        let inside = rest.split_once('}').map_or("", |(inside, _)| inside);
        is_name(inside.split_once(":-").map_or(inside, |(name, _)| name))
    })
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let from = &rest[at..];
            if from.starts_with("{{") || from.starts_with("}}") {
                literal.push_str(&from[..1]);
                rest = &from[2..];
                continue;
            }
            let (inside, after) = from
                .strip_prefix('{')
                .ok_or_else(|| TemplateError::new(format!("`}}` without `{{` in `{text}`")))?
                .split_once('}')
                .ok_or_else(|| TemplateError::new(format!("`{{` without `}}` in `{text}`")))?;
            let (name, format) = match inside.split_once(':') {
                Some((name, format)) => (name, Some(format.into())),
                None => (inside, None),
            };
            if !is_name(name) {
                return Err(TemplateError::new(format!(
                    "invalid placeholder `{{{inside}}}` in `{text}`"
                )));
            }
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Placeholder(Placeholder {
                name: name.into(),
                format,
            }));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }

    /// Parses a text whose placeholders must be among `known`.
    pub(crate) fn parse_known<'k>(
        text: &str,
        known: &(impl IntoIterator<Item = &'k str> + Clone),
    ) -> Result<Self, TemplateError> {
        let template = Self::parse(text)?;
        let unknown = template
            .placeholders()
            .find_map(|placeholder| placeholder.unknown(known.clone()));
        unknown.map_or(Ok(template), Err)
    }

    pub(crate) fn of(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// All placeholders, in order, repeated ones too.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            Part::Placeholder(placeholder) => Some(placeholder),
            Part::Text(_) => None,
        })
    }

    pub(crate) fn uses(&self, name: &str) -> bool {
        self.placeholders().any(|placeholder| &*placeholder.name == name)
    }

    /// The placeholder, if the template is nothing else.
    pub(crate) fn only_placeholder(&self) -> Option<&Placeholder> {
        match self.parts.as_slice() {
            [Part::Placeholder(placeholder)] => Some(placeholder),
            _ => None,
        }
    }

    /// The text, if there are no placeholders.
    pub(crate) fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with each placeholder replaced by what `fill` appends.
    pub(crate) fn render<E>(
        &self,
        mut fill: impl FnMut(&Placeholder, &mut String) -> Result<(), E>,
    ) -> Result<String, E> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Placeholder(placeholder) => fill(placeholder, &mut out)?,
            }
        }
        Ok(out)
    }
}

impl Placeholder {
    /// The error if its name is not among `known`.
    pub(crate) fn unknown<'k>(
        &self,
        known: impl IntoIterator<Item = &'k str> + Clone,
    ) -> Option<TemplateError> {
        if known.clone().into_iter().any(|known| known == &*self.name) {
            return None;
        }
        let error = TemplateError::new(format!("unknown placeholder `{self}`"));
        Some(match suggestion(&self.name, known) {
            Some(hint) => TemplateError { hint, ..error },
            None => error,
        })
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.format {
            Some(format) => write!(f, "{{{}:{format}}}", self.name),
            None => write!(f, "{{{}}}", self.name),
        }
    }
}

/// As it is written in a pipeline file.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Part::Placeholder(placeholder) => placeholder.fmt(f),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_renders_and_writes_back() {
        let text = "a/{{x}}/{id}-{date:%Y-%m}";
        let template = Template::parse(text).unwrap();
        assert_eq!(template.to_string(), text);
        let names: Vec<String> = template.placeholders().map(ToString::to_string).collect();
        assert_eq!(names, ["{id}", "{date:%Y-%m}"]);
        let filled = template.render(|placeholder, out| {
            out.push_str(if &*placeholder.name == "id" {
                "{7}"
            } else {
                "2026-01"
            });
            Ok::<_, TemplateError>(())
        });
        assert_eq!(filled.unwrap(), "a/{x}/{7}-2026-01");
        assert!(template.uses("id") && !template.uses("x") && template.literal().is_none());
        assert_eq!(Template::parse("{{}}").unwrap().literal(), Some("{}"));
        let template = Template::parse("{a}").unwrap();
        assert_eq!(&*template.only_placeholder().unwrap().name, "a");
    }

    #[test]
    fn names_what_is_wrong_and_the_nearest_placeholder() {
        for (text, message) in [
            ("a}", "`}` without `{` in `a}`"),
            ("a{b", "`{` without `}` in `a{b`"),
            ("{}", "invalid placeholder `{}` in `{}`"),
            ("{1a}", "invalid placeholder `{1a}` in `{1a}`"),
        ] {
            assert_eq!(Template::parse(text).unwrap_err().message, message);
        }
        let error = Template::parse_known("{nmae}", &["name", "run"]).unwrap_err();
        let actual = error.to_string();
        assert_eq!(actual, "unknown placeholder `{nmae}`; did you mean `name`?");
        assert!(has_unset_variable("x-${HOST:-a}") && !has_unset_variable("{HOST} $ {}"));
    }
}
