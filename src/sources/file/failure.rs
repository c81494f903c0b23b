//! The error for a file that cannot be read.

use std::io;

use super::packing::BadArchive;
use crate::error::Error;

/// The error for a read of `name` that failed.
pub(super) fn read_error(name: &str, error: io::Error, line: Option<u64>) -> Error {
    let message = match line {
        Some(line) => format!("cannot read `{name}` on from line {line}"),
        None => format!("cannot read `{name}`"),
    };
    // A place's own errors know their kind and what to do.
    let error = match downcast(error) {
        Ok(inner) => {
            let hints: Vec<String> = inner.hints().map(str::to_owned).collect();
            let error = Error::new(inner.kind(), message).with_source(inner);
            return hints.into_iter().fold(error, Error::with_hint);
        }
        Err(error) => error,
    };
    let bad = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<BadArchive>());
    let hint = bad.map(BadArchive::hint);
    let error = Error::input(message).with_source(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The [`Error`] that an [`io::Error`] holds, or itself.
fn downcast(error: io::Error) -> Result<Error, io::Error> {
    if error.get_ref().is_none_or(|inner| !inner.is::<Error>()) {
        return Err(error);
    }
    let kind = error.kind();
    match error.into_inner() {
        Some(inner) => inner
            .downcast::<Error>()
            .map(|inner| *inner)
            .map_err(|inner| io::Error::new(kind, inner)),
        None => Err(kind.into()),
    }
}
