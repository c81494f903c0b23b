//! Why a file cannot be decoded: an [`Error`] inside an [`io::Error`], never with bytes of the file or of a key.

use std::borrow::Cow;
use std::io;

use crate::error::Error;

pub(super) const TRANSFER_AGAIN: &str =
    "transfer the file again: a truncated file was often read while it was still being written";

/// The bytes are invalid or end too early. `source`: the decoder's error, where it cannot contain any content.
pub(super) fn damaged(kind: &str, source: Option<io::Error>) -> io::Error {
    let error = Error::input(format!("the {kind} data is damaged or truncated")).with_hint(TRANSFER_AGAIN);
    io::Error::other(match source {
        Some(source) => error.with_source(source),
        None => error,
    })
}

/// The file is intact, but unsupported, or does not match the settings.
pub(super) fn refused(
    message: impl Into<Cow<'static, str>>,
    hint: impl Into<Cow<'static, str>>,
) -> io::Error {
    io::Error::other(Error::input(message).with_hint(hint))
}

/// Whether `error` was made by this program.
pub(super) fn is_ours(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Error>())
}

/// A name from an archive for messages: shortened, without control and bidirectional characters.
pub(super) fn printable(name: &str) -> String {
    const MAX_CHARS: usize = 120;
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
    };
    let shown = name.chars().take(MAX_CHARS);
    let mut printable: String = shown.map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect();
    if name.chars().nth(MAX_CHARS).is_some() {
        printable.push('…');
    }
    printable
}

/// The first names, and the number of the others.
pub(super) fn listed(names: &[String]) -> String {
    const MAX_SHOWN: usize = 10;
    let shown = names[..names.len().min(MAX_SHOWN)].join(", ");
    match names.len().saturating_sub(MAX_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
