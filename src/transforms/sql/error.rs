//! Errors of a query and their positions in its text.
//!
//! DataFusion's messages of a run contain values ("Cannot cast string '…'"). They are replaced; only a type that Arrow
//! appends is kept.

use std::fmt;
use std::io;
use std::path::Path;

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use super::config::MemoryLimit;
use super::query::Query;
use crate::disk::spool;
use crate::error::Error;

const MAX_POSITIONS: usize = 5;

/// A position in the text of a query; lines and columns count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    line: u64,
    column: u64,
}

impl Position {
    pub(super) fn new(line: u64, column: u64) -> Self {
        Self { line, column }
    }

    /// The start of a span; `None` if the parser did not keep it.
    pub(super) fn of(span: Span) -> Option<Self> {
        let Location { line, column } = span.start;
        (line > 0).then_some(Self { line, column })
    }

    /// Splits the position off that the parser appends to its messages.
    pub(super) fn split_off(message: &str) -> (&str, Option<Self>) {
        let split = || {
            let (text, position) = message.rsplit_once(" at Line: ")?;
            let (line, column) = position.split_once(", Column: ")?;
            let column = column.trim_end_matches('.').parse().ok()?;
            Some((text, Some(Self::new(line.parse().ok()?, column))))
        };
        split().unwrap_or((message, None))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// The first of some positions; `None` without any.
pub(super) fn list(positions: &[Position]) -> Option<String> {
    let shown = positions.iter().take(MAX_POSITIONS).map(Position::to_string);
    let mut shown: Vec<String> = shown.collect();
    if positions.len() > MAX_POSITIONS {
        shown.push("…".to_owned());
    }
    (!shown.is_empty()).then(|| shown.join("; "))
}

/// What is wrong with a query, found before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueryError {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl QueryError {
    pub(super) fn new(position: Option<Position>, message: impl fmt::Display) -> Self {
        let message = match position {
            Some(position) => format!("{position}: {message}"),
            None => message.to_string(),
        };
        Self { message, hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl From<QueryError> for Error {
    fn from(error: QueryError) -> Self {
        let config = Self::config(error.message);
        match error.hint {
            Some(hint) => config.with_hint(hint),
            None => config,
        }
    }
}

pub(super) fn engine(error: &DataFusionError) -> Error {
    Error::unexpected("cannot set up the SQL engine").with_source(io::Error::other(error.strip_backtrace()))
}

pub(super) fn is_out_of_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// Why the query of the transform `name` failed while it ran.
pub(super) fn failed(
    name: &str,
    query: &Query,
    limit: MemoryLimit,
    folder: &Path,
    error: &DataFusionError,
) -> Error {
    let failed = |why: &str| Error::input(format!("the query of the transform `{name}` failed: {why}"));
    let at = |error: Error, what: &str, positions: &[Position]| match list(positions) {
        Some(positions) => error.with_hint(format!("the query {what} at {positions}")),
        None => error,
    };
    let value = |why: &str, what: &str, positions: &[Position]| {
        at(failed(why), what, positions).with_hint(
            "SQL cannot reject a single row: use `try_cast`, which returns NULL, add a condition, or leave the value to \
             `hr_schema`, which rejects the row",
        )
    };
    let conversion = |why: &str| value(why, "converts values", &query.names.casts);
    let file = |error: &io::Error| {
        // Without its text, which may contain anything.
        let error = io::Error::new(error.kind(), "input or output failed");
        spool::failed("use", folder, "the rows of a query", error)
    };
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Error::config(format!(
            "the query of the transform `{name}` needs more memory than its `memory_limit` of {limit} allows"
        ))
        .with_hint(
            "raise `memory_limit`, or name the larger table first: a table that is joined to it is held in memory and \
             spills to disk only if the join condition contains `=`",
        ),
        DataFusionError::ArrowError(error, _) => match &**error {
            ArrowError::CastError(text) | ArrowError::ParseError(text) => {
                let to = target_type(text).unwrap_or("the type it is cast to");
                conversion(&format!("a value cannot be converted to {to}"))
            }
            ArrowError::DivideByZero => value("division by zero", "divides", &query.names.divisions),
            ArrowError::ArithmeticOverflow(_) => value("a number is too large for its type", "", &[]),
            ArrowError::IoError(_, error) => file(error),
            _ => conversion("invalid value"),
        },
        DataFusionError::Execution(_) => conversion("invalid value"),
        DataFusionError::IoError(error) => file(error),
        DataFusionError::External(error) if error.is::<regex::Error>() => {
            let why = match error.downcast_ref() {
                // Its first lines repeat the expression, which may be a value; the last gives the reason.
                Some(regex::Error::Syntax(text)) => {
                    let reason = text.lines().last().unwrap_or_default().trim();
                    reason.strip_prefix("error: ").map(|reason| format!(": {reason}"))
                }
                Some(regex::Error::CompiledTooBig(max)) => Some(format!(": it needs more than {max} bytes")),
                _ => None,
            };
            let error = failed(&format!("invalid regular expression{}", why.unwrap_or_default()));
            at(error, "has regular expressions", &query.regular_expressions())
        }
        _ => Error::unexpected(format!(
            "the query of the transform `{name}` failed for an unexpected reason"
        ))
        .with_hint("please report this with the query"),
    }
}

/// The type at the end of Arrow's "… to value of Int32 type".
fn target_type(text: &str) -> Option<&str> {
    const TYPES: &str = "Int UInt Float Date Time Timestamp Decimal Boolean Duration Interval";
    let (_, end) = text.rsplit_once(" to value of ")?;
    let name = end.strip_suffix(" type").unwrap_or(end);
    let plain = |c: char| c.is_ascii_alphanumeric() || "(), ".contains(c);
    let is_type =
        name.len() <= 40 && TYPES.split(' ').any(|known| name.starts_with(known)) && name.chars().all(plain);
    is_type.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_only_the_type_of_a_cast_error() {
        for (text, expected) in [
            (
                "Cannot cast string 'x to value of Secret type' to value of Int32 type",
                Some("Int32"),
            ),
            ("Cannot cast 'x to value of Secret'", None),
            ("Error parsing 'x'", None),
        ] {
            assert_eq!(target_type(text), expected);
        }
    }
}
