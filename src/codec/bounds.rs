//! Readers between the layers: they count, bound what comes out, and keep the first thing that went wrong.

use std::fmt;
use std::io::{self, Read};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::CodecError;

/// Decoded bytes from which on the ratio counts: the most regular of small files say nothing.
pub(crate) const RATIO_FREE_BYTES: u64 = 16 << 20;

/// How many bytes may come out for those that went in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxRatio(u64);

impl From<NonZeroU32> for MaxRatio {
    fn from(most: NonZeroU32) -> Self {
        Self(u64::from(most.get()))
    }
}

impl MaxRatio {
    /// An error if `unpacked` is too much for `packed`.
    pub(super) fn check(self, kind: &'static str, packed: u64, unpacked: u64) -> io::Result<()> {
        if unpacked <= RATIO_FREE_BYTES || unpacked <= packed.saturating_mul(self.0) {
            return Ok(());
        }
        Err(CodecError::RatioExceeded {
            kind,
            packed,
            unpacked,
            max_ratio: self.0,
        }
        .into())
    }
}

/// A number of bytes that a reader counts up and others look at.
#[derive(Debug, Clone, Default)]
pub(super) struct ByteCount(Arc<AtomicU64>);

impl ByteCount {
    pub(super) fn of(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why the reader below failed. What stands above it wraps errors, replaces them or forgets them.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstError(Arc<Mutex<Option<io::Error>>>);

impl FirstError {
    /// The reason, which was there before `or`; else that.
    pub(super) fn reason(&self, or: impl FnOnce() -> io::Error) -> io::Error {
        self.take().unwrap_or_else(or)
    }

    fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, error: io::Error) -> io::Error {
        let stands_for_it = io::Error::from(error.kind());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        stands_for_it
    }
}

/// Counts what is read.
pub(super) struct CountingReader<R> {
    inner: R,
    read: ByteCount,
}

impl<R> CountingReader<R> {
    pub(super) fn new(inner: R, read: &ByteCount) -> Self {
        Self {
            inner,
            read: read.clone(),
        }
    }
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.read.0.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// What a decoder of another crate reads from: keeps the error that it gave.
pub(super) struct CapturingReader<R> {
    inner: R,
    fault: FirstError,
}

impl<R: Read> CapturingReader<CountingReader<R>> {
    pub(super) fn new(inner: R, read: &ByteCount, fault: &FirstError) -> Self {
        Self::uncounted(CountingReader::new(inner, read), fault)
    }
}

impl<R: Read> CapturingReader<R> {
    pub(super) fn uncounted(inner: R, fault: &FirstError) -> Self {
        Self {
            inner,
            fault: fault.clone(),
        }
    }
}

impl<R: Read> Read for CapturingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => self.fault.keep(error),
        })
    }
}

impl<R> fmt::Debug for CapturingReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapturingReader").finish_non_exhaustive()
    }
}

/// What comes out of a layer: not too much of it, and nothing more after an error.
pub(super) struct BoundedReader<R> {
    inner: Option<R>,
    kind: &'static str,
    packed: ByteCount,
    unpacked: u64,
    ratio: MaxRatio,
}

impl<R> BoundedReader<R> {
    /// `packed` counts what was read of the layer.
    pub(super) fn new(inner: R, kind: &'static str, packed: &ByteCount, ratio: MaxRatio) -> Self {
        Self {
            inner: Some(inner),
            kind,
            packed: packed.clone(),
            unpacked: 0,
            ratio,
        }
    }
}

impl<R: Read> Read for BoundedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(inner) = &mut self.inner else {
            return Err(io::Error::other("read on after an error"));
        };
        let result = inner.read(buffer).and_then(|length| {
            self.unpacked += length as u64;
            self.ratio.check(self.kind, self.packed.get(), self.unpacked)?;
            Ok(length)
        });
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.inner = None;
        }
        result
    }
}

impl<R> fmt::Debug for BoundedReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedReader")
            .field("kind", &self.kind)
            .field("unpacked", &self.unpacked)
            .finish()
    }
}
