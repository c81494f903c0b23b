//! Files that appear under their name complete or not at all, also after a power cut.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{create_private, create_private_folder, folder_of, lock_file, with_suffix};

/// A private file under a temporary name beside its target. Dropped without [`commit`](Self::commit), it is removed.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    target: PathBuf,
    temporary: PathBuf,
    /// Taken by `commit`.
    file: Option<File>,
}

impl AtomicFile {
    /// Creates `TARGET.new`, and the folder if it does not exist. Replaces what a crashed run left there.
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        create_private_folder(folder_of(target))?;
        let temporary = with_suffix(target, ".new");
        let file = Some(create_private(&temporary)?);
        Ok(Self {
            target: target.to_owned(),
            temporary,
            file,
        })
    }

    /// As [`create`](Self::create) with another suffix, and locked until committed or dropped. `None` if another
    /// process writes it.
    pub(crate) fn create_locked(target: &Path, suffix: &str) -> io::Result<Option<Self>> {
        create_private_folder(folder_of(target))?;
        let temporary = with_suffix(target, suffix);
        let file = lock_file::create_locked(&temporary)?;
        Ok(file.map(|file| Self {
            target: target.to_owned(),
            temporary,
            file: Some(file),
        }))
    }

    /// Allocates `bytes` on disk now, so that a full disk is noticed before the content exists.
    pub(crate) fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        self.write_all(&vec![b' '; bytes])?;
        self.file()?.sync_all()?;
        self.rewind()
    }

    /// Makes the content durable before [`commit`](Self::commit), so that a full disk is noticed.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().ok_or_else(closed)?.sync_all()
    }

    /// Ends the file at the current position, makes it durable, and gives it its name.
    pub(crate) fn commit(mut self) -> io::Result<()> {
        // Closed only after the rename: until then a lock keeps others away.
        let mut file = self.file.take().ok_or_else(closed)?;
        let committed = (|| {
            let length = file.stream_position()?;
            file.set_len(length)?;
            file.sync_all()?;
            std::fs::rename(&self.temporary, &self.target)?;
            sync_folder(folder_of(&self.target))
        })();
        if committed.is_err() {
            self.file = Some(file);
        }
        committed
    }

    fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(closed)
    }
}

fn closed() -> io::Error {
    io::Error::other("the file was committed")
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file()?.seek(to)
    }
}

pub(crate) fn write(target: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(target)?;
    file.write_all(content)?;
    file.commit()
}

/// Makes renames in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
