//! Bytes that are read several times: in memory up to a limit, then in an unnamed file.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::SharedFile;
use super::shared_file::SharedReader;
use super::spool::failed;

/// Collects bytes. Its errors are [`Error`](crate::error::Error)s inside of `io::Error`s.
#[derive(Debug)]
pub(crate) struct ByteSpool {
    folder: PathBuf,
    max_memory: usize,
    content: &'static str,
    memory: Vec<u8>,
    file: Option<SharedFile>,
}

/// Collected bytes, or a file. Cheap to clone; every reader has its own position.
#[derive(Debug, Clone)]
pub(crate) enum SpooledBytes {
    Memory(Bytes),
    File(SharedFile),
}

#[derive(Debug, Clone)]
pub(crate) enum SpooledReader {
    Memory(Cursor<Bytes>),
    File(SharedReader),
}

impl ByteSpool {
    /// `max_memory` bytes in memory, then an unnamed file in `folder`. `content` is for messages.
    pub(crate) fn new(folder: &Path, max_memory: usize, content: &'static str) -> Self {
        Self {
            folder: folder.to_owned(),
            max_memory,
            content,
            memory: Vec::new(),
            file: None,
        }
    }

    pub(crate) fn finish(self) -> SpooledBytes {
        match self.file {
            Some(file) => SpooledBytes::File(file),
            None => SpooledBytes::Memory(self.memory.into()),
        }
    }

    fn failed(&self, action: &str, error: io::Error) -> io::Error {
        io::Error::other(failed(action, &self.folder, self.content, error))
    }
}

impl Write for ByteSpool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() && self.memory.len() + bytes.len() <= self.max_memory {
            self.memory.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        if self.file.is_none() {
            let file = SharedFile::unnamed(&self.folder).map_err(|error| self.failed("create", error))?;
            file.append(&std::mem::take(&mut self.memory))
                .map_err(|error| self.failed("write", error))?;
            self.file = Some(file);
        }
        if let Some(file) = &self.file {
            file.append(bytes).map_err(|error| self.failed("write", error))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SpooledBytes {
    /// The regular file at `path`; another file under its name changes nothing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        SharedFile::open(path).map(Self::File)
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(file) => file.len(),
        }
    }

    pub(crate) fn reader(&self) -> SpooledReader {
        match self {
            Self::Memory(bytes) => SpooledReader::Memory(Cursor::new(bytes.clone())),
            Self::File(file) => SpooledReader::File(file.reader()),
        }
    }
}

impl Read for SpooledReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(bytes) => bytes.read(into),
            Self::File(file) => file.read(into),
        }
    }
}

impl Seek for SpooledReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Memory(bytes) => bytes.seek(to),
            Self::File(file) => file.seek(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spills_to_a_file_and_reads_from_either() {
        let folder = tempfile::tempdir().unwrap();
        for (max_memory, in_memory) in [(5, false), (6, true)] {
            let mut spool = ByteSpool::new(folder.path(), max_memory, "tests");
            spool.write_all(b"abc").unwrap();
            spool.write_all(b"def").unwrap();
            let bytes = spool.finish();
            assert_eq!(matches!(bytes, SpooledBytes::Memory(_)), in_memory);
            let mut reader = bytes.reader();
            reader.seek(SeekFrom::End(-2)).unwrap();
            let (mut second, mut read) = (reader.clone(), String::new());
            second.read_to_string(&mut read).unwrap();
            reader.read_to_string(&mut read).unwrap();
            assert_eq!((read.as_str(), bytes.len()), ("efef", 6));
        }
    }
}
