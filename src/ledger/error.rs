//! What can go wrong with the ledger's files, and what the user can do about it.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::{Error, ErrorKind};

#[derive(Debug)]
pub(super) enum LedgerError {
    Sqlite(SqliteError),
    Other(Error),
}

/// An error of SQLite that can be cloned: it goes to everyone whose work was in the same transaction.
#[derive(Debug, Clone)]
pub(super) struct SqliteError {
    code: Option<ErrorCode>,
    /// A value that this program never writes.
    invalid_value: bool,
    text: String,
}

impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        Self {
            code: match error.sqlite_extended_error_code() {
                // The index of the write-ahead log could not grow.
                Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => Some(ErrorCode::DiskFull),
                _ => error.sqlite_error_code(),
            },
            invalid_value: matches!(
                error,
                E::IntegralValueOutOfRange(..)
                    | E::InvalidColumnType(..)
                    | E::FromSqlConversionFailure(..)
                    | E::Utf8Error(..)
            ),
            text: error.to_string(),
        }
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.into())
    }
}

impl From<Error> for LedgerError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl LedgerError {
    /// The error of doing something (`write to`) with the ledger at `path`.
    pub(super) fn on(self, path: &Path, doing: &str) -> Error {
        match self {
            Self::Sqlite(error) => error.on(path, doing),
            Self::Other(error) => error,
        }
    }
}

impl SqliteError {
    pub(super) fn on(self, path: &Path, doing: &str) -> Error {
        if self.invalid_value {
            return damaged(path, "it contains an invalid value").with_source(self.text);
        }
        let message = format!("cannot {doing} the ledger `{}`", path.display());
        let error = match self.code {
            Some(ErrorCode::DiskFull) => Error::new(ErrorKind::Transient, message).with_hint(FREE_SPACE),
            Some(
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed,
            ) => Error::new(ErrorKind::Transient, message)
                .with_hint("another program has locked it: close that program, then run again"),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Error::config(message).with_hint(PERMISSIONS)
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                return damaged(path, "it is not a valid SQLite database").with_source(self.text);
            }
            _ => Error::unexpected(message),
        };
        error.with_source(self.text)
    }
}

const FREE_SPACE: &str = "free some disk space, then run again";
const PERMISSIONS: &str = "this user must own the file and its folder and have write permission for both: SQLite creates further files beside it";
pub(super) const LOCAL_DISK: &str = "keep the ledger on a local disk, not on a network share";

/// The ledger cannot be used as it is, and running again does not help.
pub(super) fn damaged(path: &Path, how: impl std::fmt::Display) -> Error {
    let path = path.display();
    Error::config(format!("the ledger `{path}` is damaged: {how}"))
        .into_damage()
        .with_hint(format!("restore `{path}` and `{path}.key` together from a backup"))
        .with_hint(format!(
            "or move `{path}`, `{path}-wal`, `{path}-shm` and `{path}.key` away to start a new ledger: every row then counts \
             as never sent, and the next run sends all of them again"
        ))
}

/// A file of the ledger cannot be read, created or written. `what`: `create the folder of the ledger`.
pub(super) fn io(path: &Path, what: &str, error: io::Error) -> Error {
    file_error(format!("cannot {what} `{}`", path.display()), error)
}

/// The error of a file in the folder of the ledger, with hints.
pub(crate) fn file_error(message: String, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => {
            Error::new(ErrorKind::Transient, message).with_hint(FREE_SPACE)
        }
        Io::PermissionDenied | Io::ReadOnlyFilesystem => Error::config(message).with_hint(PERMISSIONS),
        Io::NotFound | Io::NotADirectory | Io::IsADirectory | Io::AlreadyExists => Error::config(message)
            .with_hint("check `state.path`: it must name a file, in a folder that exists or can be created"),
        _ => Error::unexpected(message),
    }
    .with_source(error)
}
