//! The rejects file of a run, and the removal of old ones: they may hold personal data, so they must not pile up.
//!
//! A file is an old one only if its whole name is a time-ordered UUID as hrsink writes it, with `.ndjson`. Its age is the
//! time in the UUID, which copying does not change. Files that a run still writes to stay.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::component::{Reject, RejectWriter, Rejects};
use crate::disk::lock_file::{create_in_use, remove_unless_in_use};
use crate::disk::{create_private_folder, folder_of};
use crate::error::{Error, Result};

const EXTENSION: &str = ".ndjson";

/// An NDJSON file, readable by its owner only. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RejectsFile {
    path: Arc<Path>,
    retention: Option<Retention>,
    file: Arc<Mutex<Option<BufWriter<File>>>>,
}

/// Which files of earlier runs to keep.
#[derive(Debug, Clone, Copy)]
struct Retention {
    max_files: usize,
    /// Since the start of their runs.
    max_age: Duration,
}

impl RejectsFile {
    /// A file at `path`; an existing one is truncated.
    pub(super) fn at(path: PathBuf) -> Self {
        Self {
            path: path.into(),
            retention: None,
            file: Arc::default(),
        }
    }

    /// A new file for a run in `folder`. [`create`](Self::create) then removes files of earlier runs there: those older
    /// than `max_age`, and all but the newest `max_files`.
    pub(crate) fn in_folder(folder: &Path, run_id: &str, max_files: usize, max_age: Duration) -> Self {
        Self {
            retention: Some(Retention { max_files, max_age }),
            ..Self::at(folder.join(format!("{run_id}{EXTENSION}")))
        }
    }

    /// The collector that writes to this file.
    pub(super) fn rejects(&self, include_values: bool) -> Rejects {
        Rejects::to_writer(Box::new(self.clone()), include_values)
    }

    /// Creates the file, so that a folder without write access is noticed before a row is sent, and removes old files.
    pub(super) fn create(&self) -> Result<()> {
        let create = || {
            create_private_folder(folder_of(&self.path))?;
            create_in_use(&self.path)
        };
        let file = create().map_err(|error| {
            Error::config(format!("cannot create the rejects file `{}`", self.path.display()))
                .with_source(error)
                .with_hint("rejected rows would be lost without it: set `rejects.path`, or `--rejects`, to a folder with write access")
        })?;
        *self.open() = Some(BufWriter::new(file));
        if let Some(retention) = &self.retention {
            retention.remove_old(&self.path);
        }
        Ok(())
    }

    /// Closes the file; returns its path. An empty one is removed.
    pub(super) fn finish(&self, is_empty: bool) -> Result<Option<PathBuf>> {
        let Some(mut file) = self.open().take() else {
            return Ok(None);
        };
        if !is_empty {
            file.flush().map_err(|error| self.failed(error))?;
            return Ok(Some(self.path.to_path_buf()));
        }
        // Devices and pipes stay.
        let is_file = file.get_ref().metadata().is_ok_and(|metadata| metadata.is_file());
        drop(file);
        if is_file {
            std::fs::remove_file(&self.path).map_err(|error| self.failed(error))?;
        }
        Ok(None)
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Option<BufWriter<File>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::unexpected(format!("cannot write the rejects file `{}`", self.path.display()))
            .with_source(error)
    }
}

impl RejectWriter for RejectsFile {
    fn write(&mut self, reject: &Reject) -> Result<()> {
        if self.open().is_none() {
            self.create()?;
        }
        let mut open = self.open();
        let Some(file) = open.as_mut() else { return Ok(()) };
        let written = serde_json::to_writer(&mut *file, reject).map_err(io::Error::from);
        written
            .and_then(|()| file.write_all(b"\n"))
            .map_err(|error| self.failed(error))
    }

    fn flush(&mut self) -> Result<()> {
        let mut open = self.open();
        let Some(file) = open.as_mut() else { return Ok(()) };
        let flushed = file
            .flush()
            .and_then(|()| match file.get_ref().metadata()?.is_file() {
                true => file.get_ref().sync_data(),
                false => Ok(()),
            });
        flushed.map_err(|error| self.failed(error))
    }
}

impl Retention {
    /// Removes old files from the folder of the run's own file. A failure is only logged: the rows of this run matter
    /// more.
    fn remove_old(&self, own: &Path) {
        let folder = folder_of(own);
        let old = match self.old(folder, own, SystemTime::now()) {
            Ok(old) => old,
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "cannot look for old rejects files");
                return;
            }
        };
        let mut removed = 0_u64;
        let mut failed: Vec<(PathBuf, io::Error)> = Vec::new();
        for path in old {
            match remove_unless_in_use(&path) {
                Ok(true) => removed += 1,
                Ok(false) => {}
                Err(error) => failed.push((path, error)),
            }
        }
        if removed > 0 {
            tracing::info!(folder = %folder.display(), files = removed, "removed old rejects files");
        }
        if let Some((first, error)) = failed.first() {
            let (files, first) = (failed.len(), first.display());
            tracing::warn!(files, %first, %error, "cannot remove old rejects files, which may hold personal data");
        }
    }

    fn old(&self, folder: &Path, own: &Path, now: SystemTime) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(id) = name.to_str().and_then(run_id)
                && Some(&*name) != own.file_name()
                && entry.file_type()?.is_file()
            {
                files.push((id, entry.path()));
            }
        }
        // These UUIDs sort by time: the newest first.
        files.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        let is_old = |index: usize, id: Uuid| index >= self.max_files || age(id, now) > self.max_age;
        let old = files.into_iter();
        let old = old.enumerate().filter(|(index, (id, _))| is_old(*index, *id));
        Ok(old.map(|(_, (_, path))| path).collect())
    }
}

fn run_id(name: &str) -> Option<Uuid> {
    let text = name.strip_suffix(EXTENSION)?;
    let id = Uuid::try_parse(text).ok()?;
    // A UUID has other notations too.
    let ours = id.get_version() == Some(uuid::Version::SortRand) && id.hyphenated().to_string() == text;
    ours.then_some(id)
}

/// The time since the start of the run; zero if the clock was set back since.
fn age(id: Uuid, now: SystemTime) -> Duration {
    let (seconds, nanoseconds) = id.get_timestamp().map_or((0, 0), |time| time.to_unix());
    let started = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    now.duration_since(started).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(folder: &Path) -> RejectsFile {
        let max_age = Duration::from_secs(86_400);
        let file = RejectsFile::in_folder(folder, &Uuid::now_v7().to_string(), 1, max_age);
        file.create().unwrap();
        file
    }

    #[test]
    fn keeps_files_that_other_runs_write_to() {
        let folder = tempfile::tempdir().unwrap();
        let runs: Vec<RejectsFile> = (0..4).map(|_| start(folder.path())).collect();
        for run in &runs {
            assert!(run.finish(false).unwrap().unwrap().exists());
        }
        start(folder.path()).finish(true).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn keeps_devices() {
        let device = RejectsFile::at("/dev/null".into());
        if cfg!(unix) {
            device.create().unwrap();
            assert_eq!(device.finish(true).unwrap(), None);
            assert!(Path::new("/dev/null").exists());
        }
    }
}
