//! What went wrong while a query ran, without a value of any row.
//!
//! The engine's texts repeat values ("Cannot cast string '…'"), so none of them is passed on: only what kind of failure
//! it was, and a type that Arrow itself puts at the end of a text.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;

use super::place::Place;
use super::query::Query;
use crate::error::{Error, ErrorKind};
use crate::settings::ByteSize;

/// Places named in a hint.
const MOST_PLACES: usize = 5;

/// Whether the memory was not enough.
pub(super) fn is_out_of_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// A failure of the query of the transform `name`.
pub(super) fn of(
    name: &str,
    query: &Query,
    limit: ByteSize,
    folder: &Path,
    error: &DataFusionError,
) -> Error {
    let failed = |why: &str| Error::input(format!("the query of the transform `{name}` failed: {why}"));
    let value = |why: &str, places: &[Place], what: &str| {
        let error = failed(why);
        match shown(places) {
            Some(places) => error.with_hint(format!("the query {what} at {places}")),
            None => error,
        }
        .with_hint(
            "SQL cannot put a single row aside: use `try_cast`, which gives NULL, or a condition, or leave the value to \
             `hr_schema`, which rejects the row",
        )
    };
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Error::config(format!(
            "the query of the transform `{name}` needs more memory than its `memory_limit` of {limit} allows"
        ))
        .with_hint(
            "raise `memory_limit`, or put the larger table first: what is joined to it is held in memory, and cannot go \
             to disk where there is no `=` in the condition",
        ),
        DataFusionError::ArrowError(error, _) => match &**error {
            ArrowError::CastError(text) | ArrowError::ParseError(text) => {
                let why = match target(text) {
                    Some(target) => format!("a value cannot be read as {target}"),
                    None => "a value cannot be read as what it is cast to".to_owned(),
                };
                value(&why, &query.casts, "turns values into another type")
            }
            ArrowError::DivideByZero => value("a division by zero", &query.divisions, "divides"),
            ArrowError::ArithmeticOverflow(_) => value("a number is too large for its type", &[], ""),
            ArrowError::IoError(_, error) => {
                of_file("work on", folder, io::Error::new(error.kind(), "input or output failed"))
            }
            _ => value("a value does not fit", &query.casts, "turns values into another type"),
        },
        DataFusionError::Execution(_) => {
            value("a value does not fit", &query.casts, "turns values into another type")
        }
        DataFusionError::IoError(error) => {
            of_file("work on", folder, io::Error::new(error.kind(), "input or output failed"))
        }
        DataFusionError::External(error) if error.is::<regex::Error>() => {
            let why = match error.downcast_ref() {
                // Its first lines repeat the expression, which may be a value; the last says what is wrong with it.
                Some(regex::Error::Syntax(text)) => {
                    let text = text.lines().last().unwrap_or_default().trim();
                    text.strip_prefix("error: ").map(str::to_owned)
                }
                Some(regex::Error::CompiledTooBig(most)) => Some(format!("it needs more than {most} bytes")),
                _ => None,
            };
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            let error = failed(&format!("a regular expression is not valid{why}"));
            match shown(&query.regular_expressions()) {
                Some(places) => error.with_hint(format!("the query has regular expressions at {places}")),
                None => error,
            }
        }
        // Its text may hold anything.
        _ => Error::unexpected(format!(
            "the query of the transform `{name}` failed in a way that should not happen"
        ))
        .with_hint("please report this with the query"),
    }
}

/// Work on a temporary file failed.
pub(super) fn of_file(what: &str, folder: &Path, error: io::Error) -> Error {
    let folder = folder.display();
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    if full {
        return Error::new(
            ErrorKind::Transient,
            format!("no room in `{folder}` for the rows of a query that do not fit into memory"),
        )
        .with_source(error)
        .with_hint(format!(
            "free some space in `{folder}`, name a roomier place in the environment variable TMPDIR (TEMP on Windows), or \
             raise `memory_limit`"
        ));
    }
    Error::unexpected(format!("cannot {what} a temporary file in `{folder}`")).with_source(error)
}

/// The type at the end of Arrow's "… to value of Int32 type".
fn target(text: &str) -> Option<&str> {
    let (_, end) = text.rsplit_once(" to value of ")?;
    let name = end.strip_suffix(" type").unwrap_or(end);
    let known = [
        "Int",
        "UInt",
        "Float",
        "Date",
        "Time",
        "Timestamp",
        "Decimal",
        "Boolean",
        "Duration",
        "Interval",
    ];
    let plain = |c: char| c.is_ascii_alphanumeric() || "(), ".contains(c);
    (name.len() <= 40 && known.iter().any(|known| name.starts_with(known)) && name.chars().all(plain))
        .then_some(name)
}

/// The first of some places, in words; none if there is none.
pub(super) fn shown(places: &[Place]) -> Option<String> {
    let mut text = places.first()?.to_string();
    for place in places.iter().take(MOST_PLACES).skip(1) {
        let _ = write!(text, "; {place}");
    }
    if places.len() > MOST_PLACES {
        text.push_str("; …");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_type_is_taken_out_of_a_text() {
        let text = "Cannot cast string 'x to value of Secret type' to value of Int32 type";
        assert_eq!(target(text), Some("Int32"));
        assert_eq!(target("Cannot cast 'x to value of Secret'"), None);
        assert_eq!(target("Error parsing 'x'"), None);
    }
}
