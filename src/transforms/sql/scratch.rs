//! Temporary files without a name: gone when the process ends, however it ends, and found by nobody in between.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::spill_file::{SpillFile, SpillWriter, TempFileFactory};
use futures::Stream;

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// Makes the files in one folder. They are not encrypted.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    folder: Arc<Path>,
}

/// A file that grows at its end and is read anywhere. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ScratchFile(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    file: File,
    len: u64,
}

impl Scratch {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The folder, for messages.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn file(&self) -> io::Result<ScratchFile> {
        let file = tempfile::tempfile_in(&self.folder)?;
        Ok(ScratchFile(Arc::new(Mutex::new(Inner { file, len: 0 }))))
    }
}

impl ScratchFile {
    /// Writes at the end; gives where it begins.
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let mut inner = self.inner();
        let at = inner.len;
        inner.file.seek(SeekFrom::Start(at))?;
        inner.file.write_all(bytes)?;
        inner.len += bytes.len() as u64;
        Ok(at)
    }

    /// Up to `len` bytes from `at` on; fewer only at the end.
    pub(super) fn read(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut inner = self.inner();
        let left = usize::try_from(inner.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(left)];
        inner.file.seek(SeekFrom::Start(at))?;
        inner.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TempFileFactory for Scratch {
    fn create_temp_file(&self, _description: &str) -> Result<Arc<dyn SpillFile>> {
        let file = self.file().map_err(DataFusionError::IoError)?;
        Ok(Arc::new(file))
    }
}

impl SpillFile for ScratchFile {
    fn size(&self) -> Option<u64> {
        Some(self.inner().len)
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        let file = self.clone();
        Ok(Box::pin(futures::stream::try_unfold(0, move |at| {
            let file = file.clone();
            async move {
                let read = tokio::task::spawn_blocking(move || file.read(at, BUFFER)).await;
                let bytes = read.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))??;
                let next = at + bytes.len() as u64;
                Ok((!bytes.is_empty()).then(|| (Bytes::from(bytes), next)))
            }
        })))
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(Writer {
            file: self.clone(),
            waiting: Vec::with_capacity(BUFFER),
        }))
    }
}

struct Writer {
    file: ScratchFile,
    waiting: Vec<u8>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= BUFFER {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.append(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

impl SpillWriter for Writer {
    fn finish(&mut self) -> Result<()> {
        Ok(self.flush()?)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // `finish` has told of what cannot be written.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_no_file_is_to_be_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = Scratch::new(folder.path()).create_temp_file("sort").unwrap();
        let mut writer = file.open_writer().unwrap();
        let bytes: Vec<u8> = (0..BUFFER * 3 + 7).map(|n| (n % 251) as u8).collect();
        for piece in bytes.chunks(10_000) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(file.size(), Some(bytes.len() as u64));
        let read: Vec<Bytes> = file.read_stream().unwrap().try_collect().await.unwrap();
        assert_eq!(read.concat(), bytes);
        assert!(file.path().is_none());
        #[cfg(unix)]
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
