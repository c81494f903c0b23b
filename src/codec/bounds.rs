//! Readers between codecs: they count bytes, limit the output and keep the first error.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytesize::ByteSize;

use super::error::refused;

/// Decoded bytes to which no ratio applies: a small regular file compresses to almost nothing.
pub(crate) const RATIO_FREE_BYTES: u64 = 16 << 20;

/// Largest permitted size of the decoded bytes, as a multiple of the encoded ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaxRatio(pub(super) u64);

impl MaxRatio {
    pub(super) fn check(self, kind: &str, encoded: u64, decoded: u64) -> io::Result<()> {
        if decoded <= RATIO_FREE_BYTES || decoded <= encoded.saturating_mul(self.0) {
            return Ok(());
        }
        let (from, to, ratio) = (ByteSize(encoded), ByteSize(decoded), decoded / encoded.max(1));
        Err(refused(
            format!(
                "the {kind} data expands from {from} to more than {to}, {ratio} times its size; \
                 `max_compression_ratio` is {}",
                self.0
            ),
            "check the file: it may be damaged or malicious; if it is correct, raise `max_compression_ratio`",
        ))
    }
}

/// A byte count shared between the reader that updates it and those that read it.
pub(super) type ByteCount = Arc<AtomicU64>;

/// The error of the innermost reader. Decoders of other crates wrap, replace or drop the errors of their input.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstError(Arc<Mutex<Option<io::Error>>>);

impl FirstError {
    /// The stored error, else `or`.
    pub(super) fn or(&self, or: impl FnOnce() -> io::Error) -> io::Error {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(or)
    }

    fn keep(&self, error: io::Error) -> io::Error {
        let placeholder = io::Error::from(error.kind());
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
        placeholder
    }
}

/// The input of a decoder of another crate: counts its bytes and stores its first error.
pub(super) struct DecoderInput<R> {
    pub(super) inner: R,
    pub(super) count: ByteCount,
    pub(super) first_error: FirstError,
}

impl<R: Read> Read for DecoderInput<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(length) => {
                self.count.fetch_add(length as u64, Ordering::Relaxed);
                Ok(length)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.first_error.keep(error)),
        }
    }
}

/// The OpenPGP crate requires it of its inputs.
impl<R> fmt::Debug for DecoderInput<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecoderInput")
    }
}

/// The output of a codec: limited by the ratio, and closed after an error.
pub(super) struct BoundedReader<R> {
    inner: Option<R>,
    kind: &'static str,
    encoded: ByteCount,
    decoded: u64,
    max_ratio: MaxRatio,
}

impl<R> BoundedReader<R> {
    /// `encoded` counts the bytes that the codec has read.
    pub(super) fn new(inner: R, kind: &'static str, encoded: ByteCount, max_ratio: MaxRatio) -> Self {
        Self {
            inner: Some(inner),
            kind,
            encoded,
            decoded: 0,
            max_ratio,
        }
    }
}

impl<R: Read> Read for BoundedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(inner) = &mut self.inner else {
            return Err(io::Error::other("read after an error"));
        };
        let result = inner.read(buffer).and_then(|length| {
            self.decoded += length as u64;
            let encoded = self.encoded.load(Ordering::Relaxed);
            self.max_ratio.check(self.kind, encoded, self.decoded)?;
            Ok(length)
        });
        if matches!(&result, Err(error) if error.kind() != ErrorKind::Interrupted) {
            self.inner = None;
        }
        result
    }
}
