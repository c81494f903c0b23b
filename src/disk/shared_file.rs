//! Open files that several readers read, each from a position of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::create_private_folder;

const BUFFER_BYTES: usize = 256 << 10;

/// A regular file that stays open, so that another file under its name changes nothing. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SharedFile(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    file: File,
    length: u64,
}

impl SharedFile {
    /// Creates an unnamed file in `folder`: nobody can find it, and it is gone when the process ends.
    pub(crate) fn unnamed(folder: &Path) -> io::Result<Self> {
        create_private_folder(folder)?;
        Ok(Self::new(tempfile::tempfile_in(folder)?, 0))
    }

    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file: it can be read only once",
            ));
        }
        Ok(Self::new(file, metadata.len()))
    }

    fn new(file: File, length: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner { file, length })))
    }

    /// Length in bytes: when it was opened, plus what was appended here.
    pub(crate) fn len(&self) -> u64 {
        self.inner().length
    }

    /// Writes at the end; returns the offset of the first byte.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let mut inner = self.inner();
        let at = inner.length;
        inner.file.seek(SeekFrom::Start(at))?;
        inner.file.write_all(bytes)?;
        inner.length += bytes.len() as u64;
        Ok(at)
    }

    /// One read at an offset; 0 bytes at the end.
    pub(crate) fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.inner();
        inner.file.seek(SeekFrom::Start(at))?;
        loop {
            match inner.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Up to `length` bytes at an offset; fewer only at the end.
    pub(crate) fn read_vec(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut inner = self.inner();
        let available = usize::try_from(inner.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(available)];
        inner.file.seek(SeekFrom::Start(at))?;
        inner.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn reader(&self) -> SharedReader {
        SharedReader {
            file: self.clone(),
            position: 0,
            buffer: Vec::new(),
            buffer_at: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn truncate(&self, bytes: u64) {
        let inner = self.inner();
        inner.file.set_len(inner.length - bytes).unwrap();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends; for `io::copy` and writers of formats.
impl Write for SharedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map(|_| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a [`SharedFile`]. Seeking within the buffer costs nothing; a clone starts with an empty buffer.
#[derive(Debug)]
pub(crate) struct SharedReader {
    file: SharedFile,
    position: u64,
    buffer: Vec<u8>,
    /// Offset of the buffer's first byte.
    buffer_at: u64,
}

impl SharedReader {
    fn buffered(&self) -> &[u8] {
        self.position
            .checked_sub(self.buffer_at)
            .and_then(|offset| usize::try_from(offset).ok())
            .and_then(|offset| self.buffer.get(offset..))
            .unwrap_or_default()
    }
}

impl Clone for SharedReader {
    fn clone(&self) -> Self {
        Self {
            position: self.position,
            ..self.file.reader()
        }
    }
}

impl Read for SharedReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = if self.buffered().is_empty() && into.len() >= BUFFER_BYTES {
            self.file.read_at(self.position, into)?
        } else {
            if self.buffered().is_empty() {
                self.buffer.resize(BUFFER_BYTES, 0);
                let length = self
                    .file
                    .read_at(self.position, &mut self.buffer)
                    .inspect_err(|_| {
                        // What is in it now is unknown.
                        self.buffer_at = u64::MAX;
                    })?;
                self.buffer.truncate(length);
                self.buffer_at = self.position;
            }
            let buffered = self.buffered();
            let length = buffered.len().min(into.len());
            into[..length].copy_from_slice(&buffered[..length]);
            length
        };
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for SharedReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.file.len().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
