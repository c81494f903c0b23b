//! Items that wait: in memory up to a limit, then in an unnamed file. The file is not encrypted.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::{SharedFile, blocking};
use crate::error::{Error, ErrorKind, Result};

/// An item that can be written to a file and read back.
pub(crate) trait Spill: Send + Sized + 'static {
    type Stub: Clone + Send + 'static;

    fn encode(self, bytes: &mut Vec<u8>) -> io::Result<Self::Stub>;

    fn decode(stub: Self::Stub, bytes: Vec<u8>) -> io::Result<Self>;
}

impl Spill for Vec<u8> {
    type Stub = ();

    fn encode(self, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.extend_from_slice(&self);
        Ok(())
    }

    fn decode((): (), bytes: Vec<u8>) -> io::Result<Self> {
        Ok(bytes)
    }
}

impl Spill for RecordBatch {
    type Stub = ();

    fn encode(self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let written = StreamWriter::try_new(bytes, self.schema_ref()).and_then(|mut writer| {
            writer.write(&self)?;
            writer.finish()
        });
        written.map_err(io_error)
    }

    fn decode((): (), bytes: Vec<u8>) -> io::Result<Self> {
        let batch = StreamReader::try_new(io::Cursor::new(bytes), None)
            .and_then(|mut stream| stream.next().transpose())
            .map_err(io_error)?;
        batch.ok_or_else(|| io::Error::other("the temporary file is damaged"))
    }
}

/// An Arrow error as one of a file; keeps the kind of the error below it.
pub(crate) fn io_error(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        error => io::Error::other(error),
    }
}

/// A memory budget and the file for what exceeds it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: Arc<Path>,
    max_memory: usize,
    used: AtomicUsize,
    file: Mutex<Option<SharedFile>>,
    content: &'static str,
}

/// An item in a spool. Its memory is released when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) enum Stored<T: Spill> {
    Memory(
        T,
        #[expect(dead_code, reason = "releases the memory when dropped")] Arc<Reservation>,
    ),
    File {
        at: u64,
        length: usize,
        stub: T::Stub,
    },
}

/// Memory of a spool's budget; released when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    spool: Spool,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.spool.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Spool {
    /// `max_memory` bytes in memory, then an unnamed file in `folder`, created when needed. `content` is for messages:
    /// "rows that wait for the guards".
    pub(crate) fn new(folder: impl Into<Arc<Path>>, max_memory: usize, content: &'static str) -> Self {
        Self(Arc::new(Inner {
            folder: folder.into(),
            max_memory,
            used: AtomicUsize::new(0),
            file: Mutex::new(None),
            content,
        }))
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.0
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map_or(0, SharedFile::len)
    }

    #[cfg(test)]
    pub(crate) fn truncate(&self, bytes: u64) {
        self.file().unwrap().truncate(bytes);
    }

    /// Stores an item that takes `bytes` of memory. Blocks.
    pub(crate) fn store_blocking<T: Spill>(&self, item: T, bytes: usize) -> Result<Stored<T>> {
        match self.reserve(bytes) {
            Some(reservation) => Ok(Stored::Memory(item, reservation)),
            None => self.write(item),
        }
    }

    /// Returns an item. Blocks.
    pub(crate) fn load_blocking<T: Spill>(&self, stored: Stored<T>) -> Result<T> {
        match stored {
            Stored::Memory(item, _) => Ok(item),
            Stored::File { at, length, stub } => {
                let bytes = self.file()?.read_vec(at, length);
                let item = bytes.and_then(|bytes| T::decode(stub, bytes));
                item.map_err(|error| self.failed("read", error))
            }
        }
    }

    /// As [`store_blocking`](Self::store_blocking), without blocking the thread.
    pub(crate) async fn store<T: Spill>(&self, item: T, bytes: usize) -> Result<Stored<T>> {
        match self.reserve(bytes) {
            Some(reservation) => Ok(Stored::Memory(item, reservation)),
            None => {
                let spool = self.clone();
                blocking("work on a temporary file", move || spool.write(item)).await
            }
        }
    }

    /// As [`load_blocking`](Self::load_blocking), without blocking the thread.
    pub(crate) async fn load<T: Spill>(&self, stored: Stored<T>) -> Result<T> {
        match stored {
            Stored::Memory(item, _) => Ok(item),
            stored => {
                let spool = self.clone();
                blocking("work on a temporary file", move || spool.load_blocking(stored)).await
            }
        }
    }

    fn reserve(&self, bytes: usize) -> Option<Arc<Reservation>> {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.0.max_memory);
        self.0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .ok()?;
        Some(Arc::new(Reservation {
            spool: self.clone(),
            bytes,
        }))
    }

    fn write<T: Spill>(&self, item: T) -> Result<Stored<T>> {
        let mut bytes = Vec::new();
        let stub = item.encode(&mut bytes);
        let stub = stub.map_err(|error| self.failed("write", error))?;
        let at = self.file()?.append(&bytes);
        let at = at.map_err(|error| self.failed("write", error))?;
        let length = bytes.len();
        Ok(Stored::File { at, length, stub })
    }

    fn file(&self) -> Result<SharedFile> {
        let mut file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*file {
            return Ok(file.clone());
        }
        let created = SharedFile::unnamed(&self.0.folder).map_err(|error| self.failed("create", error))?;
        Ok(file.insert(created).clone())
    }

    fn failed(&self, action: &str, error: io::Error) -> Error {
        failed(action, &self.0.folder, self.0.content, error)
    }
}

/// Why a temporary file in `folder` for `content` failed. A full disk is transient; a folder that cannot be used is an
/// error of the configuration.
pub(crate) fn failed(action: &str, folder: &Path, content: &str, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    let folder = folder.display();
    match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => Error::new(
            ErrorKind::Transient,
            format!("no space left in `{folder}` for {content}"),
        )
        .with_source(error)
        .with_hint("free some space there, or set `state.path` to a folder with more, then run again"),
        _ if action == "create" => Error::config(format!(
            "cannot create a temporary file in `{folder}` for {content}"
        ))
        .with_source(error)
        .with_hint("set `state.path` to a folder that hrsink may write to"),
        _ => Error::unexpected(format!(
            "cannot {action} the temporary file in `{folder}` for {content}"
        ))
        .with_source(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn uses_memory_up_to_the_limit_and_then_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().join("deep"), 10, "tests");
        let is_in_memory = |stored: &Stored<Vec<u8>>| matches!(stored, Stored::Memory(..));
        let first = spool.store(b"12345678".to_vec(), 8).await.unwrap();
        let second = spool.store(b"abc".to_vec(), 3).await.unwrap();
        assert!(is_in_memory(&first) && !is_in_memory(&second));
        assert_eq!(spool.file_bytes(), 3);
        assert_eq!(spool.load(second.clone()).await.unwrap(), b"abc");
        assert_eq!(spool.load_blocking(second).unwrap(), b"abc");
        // The memory is released with the last clone.
        let kept = first.clone();
        drop(first);
        assert!(!is_in_memory(&spool.store_blocking(vec![1], 3).unwrap()));
        drop(kept);
        assert!(is_in_memory(&spool.store_blocking(vec![1], 3).unwrap()));
    }

    #[test]
    fn reports_a_folder_that_cannot_be_used() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Spool::new(file.path(), 0, "tests")
            .store_blocking(vec![1], 1)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let full = failed(
            "write",
            Path::new("/x"),
            "tests",
            io::ErrorKind::StorageFull.into(),
        );
        assert_eq!(full.kind(), ErrorKind::Transient);
    }
}
