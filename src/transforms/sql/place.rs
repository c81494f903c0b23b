//! Where in a query something stands.

use std::fmt;

use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// A place in the text of a query, counting lines and columns from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    line: u64,
    column: u64,
}

impl Place {
    pub(super) fn new(line: u64, column: u64) -> Self {
        Self { line, column }
    }

    /// The beginning of a span; `None` if the parser did not keep it.
    pub(super) fn of(span: Span) -> Option<Self> {
        let Location { line, column } = span.start;
        (line > 0).then_some(Self { line, column })
    }

    /// The place that the parser puts at the end of its messages, and the message without it.
    pub(super) fn split_off(message: &str) -> (&str, Option<Self>) {
        let split = || {
            let (text, at) = message.rsplit_once(" at Line: ")?;
            let (line, column) = at.split_once(", Column: ")?;
            let place = Self {
                line: line.parse().ok()?,
                column: column.trim_end_matches('.').parse().ok()?,
            };
            Some((text, Some(place)))
        };
        split().unwrap_or((message, None))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// `message` with its place before it, where it is known.
pub(super) fn at(place: Option<Place>, message: impl fmt::Display) -> String {
    match place {
        Some(place) => format!("{place}: {message}"),
        None => message.to_string(),
    }
}
