//! Locks on a pipeline, and on a job's scenario, among all processes that use the ledger.
//!
//! The operating system's locks on files beside the ledger: they end with the process that held them, however it ended.
//! Who holds one is written beside it, for the message to whoever comes second. That file is left behind only by a
//! process that died, and is never a lock itself.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error;
use super::file::{beside, locks_of};
use crate::disk::private_file as files;
use crate::error::{Error, ErrorKind, Result};

/// Tries before a lock counts as held: whoever looks whether it is held has it for a moment.
const TRIES: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(20);

/// Holds a pipeline, or a job's scenario, until dropped.
#[derive(Debug)]
pub struct Lock {
    // Dropped, and with it unlocked, after the holder's file has gone.
    _file: File,
    holder: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Left behind, it would only make the next run say that this one died.
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
    /// What is locked, for a person who looks into the folder.
    locks: String,
}

impl Subject<'_> {
    /// The lock file's name without its ending; the same for the same subject.
    fn name(self) -> String {
        let (kind, hash) = match self {
            Self::Pipeline(pipeline) => ("pipeline", blake3::hash(pipeline.as_bytes())),
            Self::Job { job, scenario } => ("job", blake3::hash(format!("{job}\n{scenario}").as_bytes())),
        };
        format!("{kind}-{}", &hash.to_hex()[..16])
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
            None => "its process could not be found out".to_owned(),
        };
        let message = match self {
            Self::Pipeline(pipeline) => format!("another run of `{pipeline}` is under way: {by}"),
            Self::Job { job, scenario } => {
                format!("another run sends `{scenario}` to the job `{job}`: {by}")
            }
        };
        Error::new(ErrorKind::Transient, message)
            .with_hint("wait until it has ended, or stop it, then run again")
    }
}

/// Locks `subject` for `run`.
///
/// # Errors
/// It is held ([`ErrorKind::Transient`]), or the files cannot be made.
pub(super) fn acquire(ledger: &Path, subject: Subject<'_>, run: &str) -> Result<Lock> {
    let folder = locks_of(ledger);
    files::create_private_folder(&folder)
        .map_err(|error| error::io(&folder, "make the folder of the ledger's locks", error))?;
    let place = folder.join(subject.name());
    let (path, holder) = (beside(&place, ".lock"), beside(&place, ".json"));
    // Not emptied: on Windows that fails while another process holds it, and would hide who does.
    let file = files::append_private(&path).map_err(|error| error::io(&path, "make the lock", error))?;
    if !try_lock(&file, &path)? {
        return Err(subject.held(read(&holder).as_ref()));
    }
    let lock = Lock { _file: file, holder };
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
        .map_err(|error| error::io(&lock.holder, "write who holds the lock:", error))?;
    Ok(lock)
}

/// Who holds `subject` at this moment; `None` if nobody does.
pub(super) fn holder(ledger: &Path, subject: Subject<'_>) -> Option<Holder> {
    let place = locks_of(ledger).join(subject.name());
    // Without this file nobody holds it, and those who come are not disturbed by the look at the lock.
    let holder = read(&beside(&place, ".json"))?;
    is_locked(&beside(&place, ".lock")).then_some(holder)
}

/// Whether a run is under way: `pipeline` is held for it.
pub(super) fn is_running(ledger: &Path, pipeline: &str, run: &str) -> bool {
    holder(ledger, Subject::Pipeline(pipeline)).is_some_and(|holder| holder.run == run)
}

/// Whether anyone holds anything of the ledger at this moment.
pub(super) fn any_held(ledger: &Path) -> Result<bool> {
    let folder = locks_of(ledger);
    let failed = |error| error::io(&folder, "look for the ledger's locks in", error);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        // As for one: a lock that nobody holds is not looked at.
        if path.extension().is_some_and(|extension| extension == "json")
            && is_locked(&path.with_extension("lock"))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn try_lock(file: &File, path: &Path) -> Result<bool> {
    for tried in 1.. {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if tried < TRIES => std::thread::sleep(BETWEEN),
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => {
                return Err(error::io(path, "take the lock", error).with_hint(error::LOCAL_DISK));
            }
        }
    }
    Ok(false)
}

fn read(path: &Path) -> Option<Holder> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Whole or not at all, since others may read it at any time.
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
    let unfinished = beside(path, ".new");
    files::create_private(&unfinished)?.write_all(&text)?;
    std::fs::rename(&unfinished, path)
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
    fn a_second_run_is_told_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("state.db");
        assert_eq!(holder(&ledger, PIPELINE), None);
        let first = acquire(&ledger, PIPELINE, "run-1").unwrap();
        let error = acquire(&ledger, PIPELINE, "run-2").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        let text = error.to_string();
        let pid = format!("pid {}", std::process::id());
        assert!(
            text.starts_with("another run of `/etc/hr.yaml` is under way: ") && text.contains(&pid),
            "{text}"
        );
        assert_eq!(holder(&ledger, PIPELINE).unwrap().run, "run-1");
        let job = acquire(&ledger, JOB, "run-1").unwrap();
        let text = acquire(&ledger, JOB, "run-2").unwrap_err().to_string();
        assert!(
            text.starts_with("another run sends `employee_resignation` to the job `tenant job`: pid"),
            "{text}"
        );
        let other = Subject::Job {
            job: "tenant job",
            scenario: "performance_review",
        };
        acquire(&ledger, other, "run-2").unwrap();
        drop(first);
        assert_eq!(holder(&ledger, PIPELINE), None);
        acquire(&ledger, PIPELINE, "run-2").unwrap();
        drop(job);
    }

    #[test]
    fn a_held_lock_file_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("state.db");
        assert!(!any_held(&ledger).unwrap());
        let first = acquire(&ledger, PIPELINE, "run-1").unwrap();
        let file = beside(&locks_of(&ledger).join(PIPELINE.name()), ".lock");
        std::fs::write(&file, "as it was").unwrap();
        acquire(&ledger, PIPELINE, "run-2").unwrap_err();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "as it was");
        assert!(any_held(&ledger).unwrap());
        drop(first);
        assert!(!any_held(&ledger).unwrap());
        let _job = acquire(&ledger, JOB, "run-1").unwrap();
        assert!(any_held(&ledger).unwrap());
    }

    #[test]
    fn the_lock_of_a_dead_run_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("state.db");
        drop(acquire(&ledger, PIPELINE, "run-1").unwrap());
        let left = beside(&locks_of(&ledger).join(PIPELINE.name()), ".json");
        assert!(!left.exists());
        // A process that is killed leaves its file, and the system ends its lock.
        write(&left, PIPELINE, "killed").unwrap();
        assert_eq!(holder(&ledger, PIPELINE), None);
        let lock = acquire(&ledger, PIPELINE, "run-2").unwrap();
        assert_eq!(read(&left).unwrap().run, "run-2");
        drop(lock);
        assert!(!left.exists());
        // A file cut off by a power cut is no reason to stop.
        std::fs::write(&left, "{\"pid\": 1").unwrap();
        acquire(&ledger, PIPELINE, "run-3").unwrap();
    }
}
