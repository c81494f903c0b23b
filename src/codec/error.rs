//! Why a file cannot be decoded.

use std::borrow::Cow;
use std::{fmt, io};

use bytesize::ByteSize;

use super::gzip_zstd::MAX_WINDOW_LOG;
use crate::error::Error;

/// Travels inside an [`io::Error`] between the codecs. Never holds bytes of the file or of a key.
#[derive(Debug)]
pub(super) enum CodecError {
    /// The bytes are invalid or end too early.
    Damaged {
        kind: &'static str,
        /// The decoder's error, where it cannot contain any content.
        source: Option<io::Error>,
    },
    /// The output is too large for the input: a decompression bomb.
    RatioExceeded {
        kind: &'static str,
        encoded: u64,
        decoded: u64,
        max_ratio: u64,
    },
    /// A zstd frame requires more memory than a decoder gets.
    WindowTooLarge,
    /// The file is intact, but unsupported, or does not match the settings.
    Refused {
        message: String,
        hint: Cow<'static, str>,
    },
}

pub(super) const TRANSFER_AGAIN: &str =
    "transfer the file again: a truncated file was often read while it was still being written";

impl CodecError {
    pub(super) fn damaged(kind: &'static str, source: Option<io::Error>) -> io::Error {
        Self::Damaged { kind, source }.into()
    }

    pub(super) fn refused(message: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> io::Error {
        Self::Refused {
            message: message.into(),
            hint: hint.into(),
        }
        .into()
    }

    /// Whether `error` holds one.
    pub(super) fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }

    fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Damaged { .. } => TRANSFER_AGAIN.into(),
            Self::RatioExceeded { .. } => {
                "check the file: it may be damaged or malicious; if it is correct, raise `max_compression_ratio`".into()
            }
            Self::WindowTooLarge => "compress the file without `--long`, or with at most `--long=27`".into(),
            Self::Refused { hint, .. } => hint.clone(),
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { kind, .. } => write!(f, "the {kind} data is damaged or truncated"),
            Self::RatioExceeded {
                kind,
                encoded,
                decoded,
                max_ratio,
            } => write!(
                f,
                "the {kind} data expands from {} to more than {}, {} times its size; `max_compression_ratio` is \
                 {max_ratio}",
                ByteSize(*encoded),
                ByteSize(*decoded),
                decoded / (*encoded).max(1)
            ),
            Self::WindowTooLarge => write!(
                f,
                "decoding the zstd data takes more than {} of memory",
                ByteSize(1 << MAX_WINDOW_LOG)
            ),
            Self::Refused { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for CodecError {}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> Self {
        io::Error::other(error)
    }
}

/// Turns a [`CodecError`] inside an [`io::Error`] into an [`Error`] with its hint, which is what leaves this module.
pub(super) fn public(error: io::Error) -> io::Error {
    match error.downcast::<CodecError>() {
        Ok(error) => {
            let public = Error::input(error.to_string()).with_hint(error.hint());
            io::Error::other(match error {
                CodecError::Damaged {
                    source: Some(source), ..
                } => public.with_source(source),
                _ => public,
            })
        }
        Err(error) => error,
    }
}

/// A name from an archive for messages: shortened, without control and bidirectional characters.
pub(super) fn printable(name: &str) -> String {
    const MAX_CHARS: usize = 120;
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
    };
    let mut printable: String = name
        .chars()
        .take(MAX_CHARS)
        .map(|c| if hidden(c) { '\u{fffd}' } else { c })
        .collect();
    if name.chars().nth(MAX_CHARS).is_some() {
        printable.push('…');
    }
    printable
}
