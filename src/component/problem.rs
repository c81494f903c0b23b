//! Problems of a pipeline file: all at once, each with the path of its key.

use std::borrow::Cow;
use std::fmt;

use crate::error::Error;

/// Something wrong in a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The path of the key, such as `sinks.purview.batch.max_rows`; empty for the whole document.
    pub path: String,
    /// What was expected and what was found: lower case, no full stop, never a secret.
    pub message: String,
    /// What to do, if known: the nearest valid name, or an example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// All problems with their hints as one error that starts with `what`.
pub(crate) fn problems_error(what: &str, problems: Vec<Problem>) -> Error {
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let error = Error::config(format!("{what}{}", texts.join("; ")));
    let hints = problems.into_iter().filter_map(|problem| problem.hint);
    hints.fold(error, Error::with_hint)
}

/// Collects [`Problem`]s below a path. A component receives one that points at its settings.
#[derive(Debug)]
pub struct Problems<'a> {
    found: &'a mut Vec<Problem>,
    path: String,
}

impl<'a> Problems<'a> {
    /// Starts at the root of the document.
    pub fn new(found: &'a mut Vec<Problem>) -> Self {
        Self {
            found,
            path: String::new(),
        }
    }

    /// The collector for a key below this one. An empty key is this one.
    pub fn at(&mut self, key: impl fmt::Display) -> Problems<'_> {
        let key = key.to_string();
        let path = match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key,
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        };
        Problems {
            found: self.found,
            path,
        }
    }

    /// The collector for an entry of a list.
    pub fn at_index(&mut self, index: usize) -> Problems<'_> {
        Problems {
            path: format!("{}[{index}]", self.path),
            found: self.found,
        }
    }

    /// Problems so far, anywhere in the file.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there is no problem so far, anywhere in the file.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Reports a problem here.
    pub fn add(&mut self, message: impl Into<Cow<'static, str>>) {
        self.add_with(message, None::<String>);
    }

    /// Reports a problem here, with a hint.
    pub fn add_with_hint(
        &mut self,
        message: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) {
        self.add_with(message, Some(hint));
    }

    /// Reports a problem here, with a hint if there is one.
    pub fn add_with(
        &mut self,
        message: impl Into<Cow<'static, str>>,
        hint: Option<impl Into<Cow<'static, str>>>,
    ) {
        self.found.push(Problem {
            path: self.path.clone(),
            message: message.into().into_owned(),
            hint: hint.map(|hint| hint.into().into_owned()),
        });
    }
}
