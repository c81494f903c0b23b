//! Readers between the layers: they count, bound what comes out, and keep the first thing that went wrong.

use std::fmt;
use std::io::{self, Read};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::failure::BadArchive;

/// Unpacked bytes from which on the ratio counts: the most regular of small files say nothing.
pub(in crate::sources::file) const JUDGED_FROM: u64 = 16 << 20;

/// How many bytes may come out for those that went in.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::file) struct Ratio(u64);

impl From<NonZeroU32> for Ratio {
    fn from(most: NonZeroU32) -> Self {
        Self(u64::from(most.get()))
    }
}

impl Ratio {
    /// An error if `unpacked` is too much for `packed`.
    pub(super) fn check(self, kind: &'static str, packed: u64, unpacked: u64) -> io::Result<()> {
        if unpacked <= JUDGED_FROM || unpacked <= packed.saturating_mul(self.0) {
            return Ok(());
        }
        Err(BadArchive::RatioExceeded {
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
pub(super) struct Count(Arc<AtomicU64>);

impl Count {
    pub(super) fn of(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why the reader below failed. What stands above it wraps errors, replaces them or forgets them.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<io::Error>>>);

impl Fault {
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
pub(super) struct Counted<R> {
    inner: R,
    read: Count,
}

impl<R> Counted<R> {
    pub(super) fn new(inner: R, read: &Count) -> Self {
        Self {
            inner,
            read: read.clone(),
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.read.0.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// What a decoder of another crate reads from: keeps the error that it gave.
pub(super) struct Input<R> {
    inner: R,
    fault: Fault,
}

impl<R: Read> Input<Counted<R>> {
    pub(super) fn new(inner: R, read: &Count, fault: &Fault) -> Self {
        Self::uncounted(Counted::new(inner, read), fault)
    }
}

impl<R: Read> Input<R> {
    pub(super) fn uncounted(inner: R, fault: &Fault) -> Self {
        Self {
            inner,
            fault: fault.clone(),
        }
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => self.fault.keep(error),
        })
    }
}

impl<R> fmt::Debug for Input<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

/// What comes out of a layer: not too much of it, and nothing more after an error.
pub(super) struct Bounded<R> {
    inner: Option<R>,
    kind: &'static str,
    packed: Count,
    unpacked: u64,
    ratio: Ratio,
}

impl<R> Bounded<R> {
    /// `packed` counts what was read of the layer.
    pub(super) fn new(inner: R, kind: &'static str, packed: &Count, ratio: Ratio) -> Self {
        Self {
            inner: Some(inner),
            kind,
            packed: packed.clone(),
            unpacked: 0,
            ratio,
        }
    }
}

impl<R: Read> Read for Bounded<R> {
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

impl<R> fmt::Debug for Bounded<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded")
            .field("kind", &self.kind)
            .field("unpacked", &self.unpacked)
            .finish()
    }
}
