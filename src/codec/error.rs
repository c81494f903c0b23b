//! Why a packed file is not read on.

use std::borrow::Cow;
use std::{fmt, io};

use bytesize::ByteSize;

use super::gzip_zstd::MAX_WINDOW_LOG;
use crate::error::Error;

/// What is wrong with a packed file. Travels inside an [`io::Error`]; never holds bytes of the file or of a key.
#[derive(Debug)]
pub(crate) enum CodecError {
    /// Its bytes make no sense, or it ends too early.
    Damaged {
        kind: &'static str,
        /// What the decoder says, where that cannot hold anything of the content.
        source: Option<io::Error>,
    },
    /// It unpacks to more than was allowed for its size.
    RatioExceeded {
        kind: &'static str,
        /// Bytes read of it, which may be somewhat more than those that were unpacked.
        packed: u64,
        unpacked: u64,
        max_ratio: u64,
    },
    /// It asks for more memory than a decoder is given.
    WindowTooLarge,
    /// It is whole, but not what was asked for, or cannot be read with what was given.
    Refused {
        message: String,
        hint: Cow<'static, str>,
    },
}

impl CodecError {
    #[cfg(feature = "pgp")]
    pub(super) fn damaged(kind: &'static str) -> io::Error {
        Self::Damaged { kind, source: None }.into()
    }

    pub(super) fn refused(message: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> io::Error {
        Self::Refused {
            message: message.into(),
            hint: hint.into(),
        }
        .into()
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Damaged { .. } => {
                "transfer the file again: an archive that ends early was often read while it was still being written"
                    .into()
            }
            Self::RatioExceeded { .. } => {
                "look at the file: it may be damaged, or made to do harm; if it is right, give the source a higher \
                 `max_compression_ratio`"
                    .into()
            }
            Self::WindowTooLarge => "pack the file without `--long`, or with at most `--long=27`".into(),
            Self::Refused { hint, .. } => hint.clone(),
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { kind, .. } => write!(f, "the {kind} archive is damaged or cut off"),
            Self::RatioExceeded {
                kind,
                packed,
                unpacked,
                max_ratio,
            } => write!(
                f,
                "{} of the {kind} archive unpacked to {}, {} times as much, where `max_compression_ratio` is {max_ratio}",
                ByteSize(*packed),
                ByteSize(*unpacked),
                unpacked / (*packed).max(1)
            ),
            Self::WindowTooLarge => write!(
                f,
                "the zstd archive needs more than {} of memory to be unpacked",
                ByteSize(1 << MAX_WINDOW_LOG)
            ),
            Self::Refused { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Damaged {
                source: Some(source), ..
            } => Some(source),
            _ => None,
        }
    }
}

impl From<CodecError> for io::Error {
    fn from(bad: CodecError) -> Self {
        io::Error::other(bad)
    }
}

/// Turns a [`CodecError`] inside an [`io::Error`] into an [`Error`] with its hint, which is what leaves this module.
pub(super) fn public(error: io::Error) -> io::Error {
    match error.downcast::<CodecError>() {
        Ok(CodecError::Damaged {
            kind,
            source: Some(source),
        }) => {
            let error = CodecError::Damaged { kind, source: None };
            io::Error::other(
                Error::input(error.to_string())
                    .with_hint(error.hint())
                    .with_source(source),
            )
        }
        Ok(error) => io::Error::other(Error::input(error.to_string()).with_hint(error.hint())),
        Err(error) => error,
    }
}

/// A name out of an archive, for messages: no control characters, not without end.
pub(super) fn shown(name: &str) -> String {
    const MOST: usize = 120;
    let mut shown: String = name
        .chars()
        .take(MOST)
        .map(|c| {
            // Those that turn the direction of writing make a name look like another.
            let hidden = c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}');
            if hidden { '\u{fffd}' } else { c }
        })
        .collect();
    if name.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}
