//! Locks between processes: the operating system's locks on files, which end with the process that held them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::private_file::{append_private, open_private};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A locked file; unlocked when dropped. The file itself stays, unchanged.
#[derive(Debug)]
pub(crate) struct LockFile {
    _file: File,
}

impl LockFile {
    /// Locks `path`, and creates it if it does not exist. `None` if it is locked already.
    pub(crate) fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        // Not truncated: on Windows that fails while another process holds the lock.
        let file = append_private(path)?;
        Ok(try_lock(&file)?.then_some(Self { _file: file }))
    }

    /// As [`try_acquire`](Self::try_acquire), waiting up to `timeout`. Blocks.
    pub(crate) fn acquire(path: &Path, timeout: Duration) -> io::Result<Option<Self>> {
        let started = Instant::now();
        loop {
            match Self::try_acquire(path)? {
                None if started.elapsed() < timeout => std::thread::sleep(POLL_INTERVAL),
                result => return Ok(result),
            }
        }
    }

    /// As [`acquire`](Self::acquire), without blocking the thread.
    pub(crate) async fn acquire_async(path: &Path, timeout: Duration) -> io::Result<Option<Self>> {
        let started = tokio::time::Instant::now();
        loop {
            match Self::try_acquire(path)? {
                None if started.elapsed() < timeout => tokio::time::sleep(POLL_INTERVAL).await,
                result => return Ok(result),
            }
        }
    }

    /// Whether a process holds the lock now. `false` if there is no such file.
    pub(crate) fn is_held(path: &Path) -> bool {
        File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Creates or empties a private file, locked until it is closed. `None` if it is locked already.
pub(crate) fn create_locked(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = append_private(path)?;
        if !try_lock(&file)? {
            return Ok(None);
        }
        // Its last owner may have renamed or removed it in between.
        if is_at(&file, path)? {
            file.set_len(0)?;
            return Ok(Some(file));
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        #[cfg(unix)]
        Ok(there) => {
            use std::os::unix::fs::MetadataExt;
            let open = file.metadata()?;
            Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
        }
        #[cfg(not(unix))]
        Ok(_) => {
            let _ = file;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates or empties a private file that [`remove_unless_in_use`] leaves alone while it is open here. People can read
/// it meanwhile.
pub(crate) fn create_in_use(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    // A lock would keep people from reading it on Windows; there, not sharing it for writing has the same effect.
    #[cfg(windows)]
    {
        const FILE_SHARE_READ: u32 = 1;
        std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, FILE_SHARE_READ);
    }
    let file = open_private(path, &mut options)?;
    if cfg!(unix) {
        // Best effort: some file systems have no locks.
        let _ = file.try_lock();
    }
    Ok(file)
}

/// Removes a file unless a process has it open through [`create_in_use`]. `false` if it does, or if it does not exist.
pub(crate) fn remove_unless_in_use(path: &Path) -> io::Result<bool> {
    const ERROR_SHARING_VIOLATION: i32 = 32;
    let is_unshared =
        |error: &io::Error| cfg!(windows) && error.raw_os_error() == Some(ERROR_SHARING_VIOLATION);
    let file = match OpenOptions::new().write(true).open(path) {
        Err(error) if is_unshared(&error) => return Ok(false),
        file => file?,
    };
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Ok(false);
    }
    drop(file);
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound || is_unshared(&error) => Ok(false),
        result => result.map(|()| true),
    }
}
