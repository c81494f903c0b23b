//! Problems of a pipeline file: collected, all at once, each with the path of its key.

use std::borrow::Cow;
use std::fmt;

/// One thing that is wrong in a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The key's path, such as `sinks.purview.batch.max_rows`; empty for the document as a whole.
    pub path: String,
    /// What is wrong: what was expected and what was found. Lower case, no full stop, never a secret.
    pub message: String,
    /// What to do, where there is something to say: the nearest valid name, an example.
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

/// Collects [`Problem`]s. A component is handed one whose path already points at it.
#[derive(Debug)]
pub struct Problems<'a> {
    found: &'a mut Vec<Problem>,
    path: String,
}

impl<'a> Problems<'a> {
    /// Starts at the document's root.
    pub fn new(found: &'a mut Vec<Problem>) -> Self {
        Self {
            found,
            path: String::new(),
        }
    }

    /// The collector for a key below this one.
    pub fn at(&mut self, key: impl fmt::Display) -> Problems<'_> {
        let path = if self.path.is_empty() {
            key.to_string()
        } else {
            format!("{}.{key}", self.path)
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

    /// How many problems were noted so far, anywhere in the file.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether none was noted so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Notes a problem here.
    pub fn add(&mut self, message: impl Into<Cow<'static, str>>) {
        self.push(message.into().into_owned(), None);
    }

    /// Notes a problem here, with advice.
    pub fn add_with_hint(
        &mut self,
        message: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) {
        self.push(message.into().into_owned(), Some(hint.into().into_owned()));
    }

    fn push(&mut self, message: String, hint: Option<String>) {
        self.found.push(Problem {
            path: self.path.clone(),
            message,
            hint,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_nest() {
        let mut found = Vec::new();
        let mut root = Problems::new(&mut found);
        root.at("sinks").at("purview").at("retry").add("no");
        root.at("formats").at_index(2).add_with_hint("bad", "use `%Y`");
        assert_eq!(found[0].to_string(), "sinks.purview.retry: no");
        assert_eq!(found[1].path, "formats[2]");
    }
}
