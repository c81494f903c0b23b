//! What can go wrong with the file, and what to do about it.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::{Error, ErrorKind};

/// What work on the ledger ended with; [`Fault::on`] makes a failure of it.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite failed.
    Sqlite(Said),
    /// Anything else.
    Other(Error),
}

/// What SQLite said. It goes to everyone whose work was in the same transaction.
#[derive(Debug, Clone)]
pub(super) struct Said {
    code: Option<ErrorCode>,
    nothing: bool,
    /// A value that was never written.
    foreign: bool,
    text: String,
}

impl From<rusqlite::Error> for Said {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            code: match error.sqlite_extended_error_code() {
                // The index of the log could not grow.
                Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => Some(ErrorCode::DiskFull),
                _ => error.sqlite_error_code(),
            },
            nothing: matches!(error, rusqlite::Error::QueryReturnedNoRows),
            foreign: matches!(
                error,
                rusqlite::Error::IntegralValueOutOfRange(..)
                    | rusqlite::Error::InvalidColumnType(..)
                    | rusqlite::Error::FromSqlConversionFailure(..)
                    | rusqlite::Error::Utf8Error(..)
            ),
            text: error.to_string(),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.into())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Fault {
    /// The failure of doing something (`write to`) with the ledger at `path`.
    pub(super) fn on(self, path: &Path, doing: &str) -> Error {
        match self {
            Self::Sqlite(said) => said.on(path, doing),
            Self::Other(error) => error,
        }
    }
}

impl Said {
    /// Whether a query that gives a row gave none.
    pub(super) fn found_nothing(&self) -> bool {
        self.nothing
    }

    /// As [`Fault::on`].
    pub(super) fn on(self, path: &Path, doing: &str) -> Error {
        if self.foreign {
            return damaged(path, "it holds a value that cannot be there").with_source(self.text);
        }
        let message = format!("cannot {doing} the ledger `{}`", path.display());
        let error = match self.code {
            Some(ErrorCode::DiskFull) => Error::new(ErrorKind::Passing, message)
                .with_hint("free some space on its disk, then run again"),
            Some(
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed,
            ) => Error::new(ErrorKind::Passing, message)
                .with_hint("another program keeps it locked: close what has it open, then run again"),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Error::config(message).with_hint(MAY_NOT_WRITE)
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                return damaged(path, "it is not a whole SQLite database").with_source(self.text);
            }
            _ => Error::unexpected(message),
        };
        error.with_source(self.text)
    }
}

const MAY_NOT_WRITE: &str = "this user must own the file and its folder, and be allowed to write to both: SQLite makes further files beside it";

/// The ledger cannot be used as it is, and running again will not help.
pub(super) fn damaged(path: &Path, how: impl std::fmt::Display) -> Error {
    let path = path.display();
    Error::config(format!("the ledger `{path}` is damaged: {how}"))
        .into_damage()
        .with_hint(format!(
            "restore `{path}` and `{path}.key` together from a backup"
        ))
        .with_hint(format!(
            "or move `{path}`, `{path}-wal`, `{path}-shm` and `{path}.key` away and begin a new ledger: then every row \
             counts as never sent, and the next run sends all of them again"
        ))
}

/// A file that belongs to the ledger cannot be read, made or written. `what`: `make the folder of the ledger`.
pub(super) fn io(path: &Path, what: &str, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    let message = format!("cannot {what} `{}`", path.display());
    match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => {
            Error::new(ErrorKind::Passing, message).with_hint("free some space on its disk, then run again")
        }
        Io::PermissionDenied | Io::ReadOnlyFilesystem => Error::config(message).with_hint(MAY_NOT_WRITE),
        Io::NotFound | Io::NotADirectory | Io::IsADirectory | Io::AlreadyExists => Error::config(message)
            .with_hint("look at `state.path`: it names a file, in a folder that exists or can be made"),
        _ => Error::unexpected(message),
    }
    .with_source(error)
}
