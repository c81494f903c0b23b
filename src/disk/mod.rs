//! Files that only hrsink uses: private files and folders, lock files, atomic writes, and spools.
//!
//! Knows the operating system and [`crate::error`], nothing of pipelines.

pub(crate) mod atomic_write;
mod byte_spool;
pub(crate) mod lock_file;
pub(crate) mod private_file;
pub(crate) mod shared_file;
pub(crate) mod spool;

pub(crate) use atomic_write::AtomicFile;
pub(crate) use byte_spool::{ByteSpool, SpooledBytes, SpooledReader};
pub(crate) use lock_file::LockFile;
pub(crate) use private_file::{create_private, create_private_folder};
pub(crate) use shared_file::SharedFile;
pub(crate) use spool::{Spill, Spool, Stored};

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Runs `work` on a thread that may block. `task` names it if it panics or is cancelled.
pub(crate) async fn blocking<T: Send + 'static>(
    task: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let result = tokio::task::spawn_blocking(work).await;
    result.map_err(|error| Error::task_failed(task, &error))?
}

/// `path` with `suffix` appended to its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The folder that `path` is in; `.` for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
