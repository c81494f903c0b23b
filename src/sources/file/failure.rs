//! The error for a file that cannot be read.

use std::io;

use super::compression::BadArchive;
use crate::error::Error;

/// The error for a read of `name` that failed.
pub(super) fn read_error(name: &str, error: io::Error, line: Option<u64>) -> Error {
    let message = match line {
        Some(line) => format!("cannot read `{name}` on from line {line}"),
        None => format!("cannot read `{name}`"),
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
