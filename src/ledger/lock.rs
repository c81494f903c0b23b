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

/// Held until dropped.
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

/// What is locked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    Pipeline(&'a str),
    Job { job: &'a str, scenario: &'a str },
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) pid: u32,
    pub(super) host: String,
    /// RFC 3339.
    pub(super) started: String,
    pub(super) run: String,
    /// What is locked, for people who look into the folder.
    locks: String,
}

impl Subject<'_> {
    /// The lock file and the holder's file.
    fn paths(self, ledger: &Path) -> (PathBuf, PathBuf) {
        let (kind, hash) = match self {
            Self::Pipeline(pipeline) => ("pipeline", blake3::hash(pipeline.as_bytes())),
            Self::Job { job, scenario } => ("job", blake3::hash(format!("{job}\n{scenario}").as_bytes())),
        };
        let path = locks_of(ledger).join(format!("{kind}-{}", &hash.to_hex()[..16]));
        (with_suffix(&path, ".lock"), with_suffix(&path, ".json"))
    }

    fn describe(self) -> String {
        match self {
            Self::Pipeline(pipeline) => format!("the pipeline `{pipeline}`"),
            Self::Job { job, scenario } => format!("`{scenario}` to the job `{job}`"),
        }
    }

    fn held(self, holder: Option<&Holder>) -> Error {
        let by = match holder {
            Some(holder) => format!(
                "pid {} on host `{}`, started {}",
                holder.pid, holder.host, holder.started
            ),
            None => "unknown process".to_owned(),
        };
        let message = match self {
            Self::Pipeline(pipeline) => format!("another run of `{pipeline}` is in progress: {by}"),
            Self::Job { job, scenario } => {
                format!("another run is sending `{scenario}` to the job `{job}`: {by}")
            }
        };
        Error::new(ErrorKind::Transient, message)
            .with_hint("wait until it has ended, or stop it, then run again")
    }
}

/// Locks `subject` for `run`.
pub(super) fn acquire(ledger: &Path, subject: Subject<'_>, run: &str) -> Result<Lock> {
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
            subject.describe()
        );
    }
    write(&lock.holder, subject, run)
        .map_err(|error| error::io(&lock.holder, "write the holder of the lock to", error))?;
    Ok(lock)
}

/// Who holds `subject` now.
pub(super) fn holder(ledger: &Path, subject: Subject<'_>) -> Option<Holder> {
    let (path, holder) = subject.paths(ledger);
    // Without this file nobody holds it: no need to touch the lock.
    let holder = read(&holder)?;
    LockFile::is_held(&path).then_some(holder)
}

/// Whether the run is in progress: it holds the lock on its pipeline.
pub(super) fn is_running(ledger: &Path, pipeline: &str, run: &str) -> bool {
    holder(ledger, Subject::Pipeline(pipeline)).is_some_and(|holder| holder.run == run)
}

/// Whether any lock of the ledger is held now.
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

fn write(path: &Path, subject: Subject<'_>, run: &str) -> std::io::Result<()> {
    let holder = Holder {
        pid: std::process::id(),
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        started: Timestamp::now()
            .round(jiff::Unit::Second)
            .unwrap_or_default()
            .to_string(),
        run: run.to_owned(),
        locks: subject.describe(),
    };
    let mut text = serde_json::to_vec_pretty(&holder)?;
    text.push(b'\n');
    atomic_write::write(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPELINE: Subject<'_> = Subject::Pipeline("/etc/hr.yaml");
    const JOB: Subject<'_> = Subject::Job {
        job: "tenant job",
        scenario: "employee_resignation",
    };

    #[test]
    fn names_the_holder_to_a_second_run() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("state.db");
        assert!(!any_held(&ledger).unwrap());
        assert_eq!(holder(&ledger, PIPELINE), None);
        let refused = |subject: Subject<'_>| {
            let error = acquire(&ledger, subject, "run-2").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Transient);
            error.to_string()
        };
        let first = acquire(&ledger, PIPELINE, "run-1").unwrap();
        let (text, pid) = (refused(PIPELINE), format!("pid {}", std::process::id()));
        assert!(
            text.starts_with("another run of `/etc/hr.yaml` is in progress: "),
            "{text}"
        );
        assert!(text.contains(&pid), "{text}");
        assert_eq!(holder(&ledger, PIPELINE).unwrap().run, "run-1");
        let job = acquire(&ledger, JOB, "run-1").unwrap();
        let text = refused(JOB);
        let start = "another run is sending `employee_resignation` to the job `tenant job`: pid";
        assert!(text.starts_with(start), "{text}");
        let other = Subject::Job {
            job: "tenant job",
            scenario: "performance_review",
        };
        acquire(&ledger, other, "run-2").unwrap();
        drop(first);
        assert_eq!(holder(&ledger, PIPELINE), None);
        assert!(any_held(&ledger).unwrap(), "the job");
        drop(job);
        assert!(!any_held(&ledger).unwrap());
        acquire(&ledger, PIPELINE, "run-2").unwrap();
    }

    #[test]
    fn takes_over_the_lock_of_a_dead_run() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("state.db");
        drop(acquire(&ledger, PIPELINE, "run-1").unwrap());
        let (_, left) = PIPELINE.paths(&ledger);
        assert!(!left.exists());
        // A killed process leaves its file; the system ends its lock.
        write(&left, PIPELINE, "killed").unwrap();
        assert_eq!(holder(&ledger, PIPELINE), None);
        let lock = acquire(&ledger, PIPELINE, "run-2").unwrap();
        assert_eq!(read(&left).unwrap().run, "run-2");
        drop(lock);
        assert!(!left.exists());
        std::fs::write(&left, "{\"pid\": 1").unwrap();
        acquire(&ledger, PIPELINE, "run-3").unwrap();
    }
}
