//! The bytes of a packed file, which are read more than once.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::CodecError;

const BUFFER: usize = 256 << 10;

/// A local file that stays open: what was checked is what is read, whatever takes its name in between. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct InputFile {
    file: Arc<Mutex<File>>,
    length: u64,
}

impl InputFile {
    /// The regular file at `path`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn from_path(path: &Path) -> io::Result<Self> {
        Self::from_file(File::open(path)?)
    }

    /// An open file, which may have no name. Its position does not matter.
    ///
    /// # Errors
    /// It is no regular file, or its length cannot be told.
    pub(crate) fn from_file(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file and can be read only once",
            ));
        }
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
            length: metadata.len(),
        })
    }

    /// Length in bytes, as it was when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// A reader from the beginning, with a position of its own.
    pub(super) fn open(&self) -> InputReader {
        InputReader {
            packed: self.clone(),
            position: 0,
            buffer: Vec::new(),
            buffer_at: 0,
            left: u64::MAX,
        }
    }
}

/// Reads a [`InputFile`], buffered; seeking within the buffer costs nothing.
#[derive(Debug)]
pub(super) struct InputReader {
    packed: InputFile,
    position: u64,
    buffer: Vec<u8>,
    /// Where the buffer's first byte lies.
    buffer_at: u64,
    /// Bytes that may be read yet.
    left: u64,
}

impl InputReader {
    /// Gives at most so many more bytes, and an error after them.
    pub(super) fn set_limit(&mut self, bytes: u64) {
        self.left = bytes;
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        let length = self.read_at(&mut buffer)?;
        buffer.truncate(length);
        self.buffer_at = self.position;
        self.buffer = buffer;
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = self.packed.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.position))?;
        loop {
            match file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn buffered(&self) -> &[u8] {
        self.position
            .checked_sub(self.buffer_at)
            .and_then(|offset| usize::try_from(offset).ok())
            .and_then(|offset| self.buffer.get(offset..))
            .unwrap_or_default()
    }
}

/// A copy has a buffer of its own, and no limit.
impl Clone for InputReader {
    fn clone(&self) -> Self {
        Self {
            packed: self.packed.clone(),
            position: self.position,
            buffer: Vec::new(),
            buffer_at: 0,
            left: u64::MAX,
        }
    }
}

impl Read for InputReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(CodecError::refused(
                "the list of members of the zip archive is too long",
                "pack fewer files together; such a list may be made to fill memory",
            ));
        }
        let length = if self.buffered().is_empty() && into.len() >= BUFFER {
            self.read_at(into)?
        } else {
            if self.buffered().is_empty() {
                self.fill()?;
            }
            let buffered = self.buffered();
            let length = buffered.len().min(into.len());
            into[..length].copy_from_slice(&buffered[..length]);
            length
        };
        self.position += length as u64;
        self.left = self.left.saturating_sub(length as u64);
        Ok(length)
    }
}

impl Seek for InputReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.packed.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
