//! Locks on pipelines and on scenarios of jobs, shared by all processes that use the ledger.
//!
//! Lock files beside the ledger. The holder is written beside each, for the message to the run that has to wait; that
//! file is left behind only by a process that died, and is never a lock itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error;
use super::file::locks_of;
use crate::disk::{self, LockFile, atomic_write, with_suffix};
use crate::error::{Error, ErrorKind, Result};

/// Checking whether a lock is held holds it for a moment.
const TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Lock {
    // Dropped, and so unlocked, after the holder's file was removed.
    _lock: LockFile,
    holder: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Left behind, it would only make the next run report that this one died.
        let _ = std::fs::remove_file(&self.holder);
    }
}

#[derive(Debug, Clone)]
pub(super) struct Subject {
    file: String,
    name: String,
    /// What another run does that holds the lock.
    in_use: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) pid: u32,
    pub(super) host: String,
    pub(super) started: String,
    pub(super) run: String,
    /// What is locked, for people who look into the folder.
    locks: String,
}

impl Subject {
    pub(super) fn pipeline(pipeline: &str) -> Self {
        Self {
            file: format!("pipeline-{}", &blake3::hash(pipeline.as_bytes()).to_hex()[..16]),
            name: format!("the pipeline `{pipeline}`"),
            in_use: format!("another run of `{pipeline}` is in progress"),
        }
    }

    pub(super) fn job(job: &str, scenario: &str) -> Self {
        let hash = blake3::hash(format!("{job}\n{scenario}").as_bytes());
        Self {
            file: format!("job-{}", &hash.to_hex()[..16]),
            name: format!("`{scenario}` to the job `{job}`"),
            in_use: format!("another run is sending `{scenario}` to the job `{job}`"),
        }
    }

    fn paths(&self, ledger: &Path) -> (PathBuf, PathBuf) {
        let path = locks_of(ledger).join(&self.file);
        (with_suffix(&path, ".lock"), with_suffix(&path, ".json"))
    }

    fn held(&self, holder: Option<&Holder>) -> Error {
        let by = match holder {
            Some(by) => format!("pid {} on host `{}`, started {}", by.pid, by.host, by.started),
            None => "unknown process".to_owned(),
        };
        Error::new(ErrorKind::Transient, format!("{}: {by}", self.in_use))
            .with_hint("wait until it has ended, or stop it, then run again")
    }
}

pub(super) fn acquire(ledger: &Path, subject: &Subject, run: &str) -> Result<Lock> {
    let folder = locks_of(ledger);
    disk::create_private_folder(&folder)
        .map_err(|error| error::io(&folder, "create the folder of the ledger's locks", error))?;
    let (path, holder) = subject.paths(ledger);
    let lock = LockFile::acquire(&path, TIMEOUT)
        .map_err(|error| error::io(&path, "lock", error).with_hint(error::LOCAL_DISK))?;
    let Some(lock) = lock else {
        return Err(subject.held(read(&holder).as_ref()));
    };
    let lock = Lock { _lock: lock, holder };
    if let Some(dead) = read(&lock.holder) {
        tracing::warn!(
            run = dead.run,
            pid = dead.pid,
            host = dead.host,
            started = dead.started,
            "an earlier run ended without unlocking {}; taking over",
            subject.name
        );
    }
    write(&lock.holder, subject, run)
        .map_err(|error| error::io(&lock.holder, "write the holder of the lock to", error))?;
    Ok(lock)
}

pub(super) fn holder(ledger: &Path, subject: &Subject) -> Option<Holder> {
    let (path, holder) = subject.paths(ledger);
    // Without this file nobody holds it: no need to touch the lock.
    let holder = read(&holder)?;
    LockFile::is_held(&path).then_some(holder)
}

/// Whether the run is in progress: it holds the lock on its pipeline.
pub(super) fn is_running(ledger: &Path, pipeline: &str, run: &str) -> bool {
    holder(ledger, &Subject::pipeline(pipeline)).is_some_and(|holder| holder.run == run)
}

pub(super) fn any_held(ledger: &Path) -> Result<bool> {
    let folder = locks_of(ledger);
    let failed = |error| error::io(&folder, "list the ledger's locks in", error);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "json")
            && LockFile::is_held(&path.with_extension("lock"))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read(path: &Path) -> Option<Holder> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write(path: &Path, subject: &Subject, run: &str) -> std::io::Result<()> {
    let holder = Holder {
        pid: std::process::id(),
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        started: Timestamp::now()
            .round(jiff::Unit::Second)
            .unwrap_or_default()
            .to_string(),
        run: run.to_owned(),
        locks: subject.name.clone(),
    };
    let mut text = serde_json::to_vec_pretty(&holder)?;
    text.push(b'\n');
    atomic_write::write(path, &text)
}
