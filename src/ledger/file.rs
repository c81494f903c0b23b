//! Makes and opens the SQLite file and its key, and refuses what is not whole.
//!
//! A new ledger is built under another name and then renamed, the key before it. So at its path there is either nothing
//! or a whole ledger: an empty or foreign file there is always damage, and damage is never taken for a new start, since
//! a new ledger sends every row again.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::error::{self, LedgerError, damaged};
use super::key::{self, Key};
use super::schema;
use crate::disk::private_file as files;
use crate::error::{Error, ErrorKind, Result};

/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(30);

/// A connection to a whole ledger, and its key.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) key: Key,
}

/// `path` with `suffix` at its end.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Where the files are whose locks are the ledger's.
pub(super) fn locks_of(ledger: &Path) -> PathBuf {
    beside(ledger, ".locks")
}

/// Opens the ledger at `path`; makes it if there is none.
pub(super) fn open(path: &Path) -> Result<Opened> {
    if !is_there(path)? {
        create(path)?;
    }
    open_existing(path)
}

/// Opens it for looking only.
pub(super) fn open_read_only(path: &Path) -> Result<Option<Opened>> {
    if !is_there(path)? {
        return Ok(None);
    }
    let key = before_opening(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = (|| {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.execute_batch(
            "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF",
        )?;
        Ok(connection)
    })()
    .map_err(|fault: LedgerError| fault.on(path, "open"))?;
    check(&connection, &key, path)?;
    if version(&connection, path)? < schema::newest(schema::STEPS) {
        return Err(Error::config(format!(
            "the ledger `{}` was written by an older hrsink",
            path.display()
        ))
        .with_hint("the next `hrsink run` brings it up to date"));
    }
    Ok(Some(Opened { connection, key }))
}

/// Where the ledger really is: its key and its locks are beside the file itself, however it is reached.
pub(super) fn resolve(path: &Path) -> Result<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    if std::fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink()) {
        return Err(Error::config(format!(
            "the ledger `{}` is a link that leads nowhere",
            path.display()
        ))
        .with_hint("is what it leads to not mounted? a new ledger in its place would send every row again"));
    }
    // It is made: beside it, whatever its folder is reached through.
    let real = path.parent().and_then(|folder| folder.canonicalize().ok());
    Ok(match (real, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    })
}

fn open_existing(path: &Path) -> Result<Opened> {
    let key = before_opening(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .and_then(|connection| {
            connection.busy_timeout(BUSY)?;
            Ok(connection)
        })
        .map_err(|error| LedgerError::from(error).on(path, "open"))?;
    // Nothing is written before it is known to be ours and whole.
    check(&connection, &key, path)?;
    settings(&connection, path)
        .and_then(|()| schema::migrate(&connection, schema::STEPS))
        .map_err(|fault| fault.on(path, "open"))?;
    Ok(Opened { connection, key })
}

/// Everything that can be known before SQLite opens it, and its key.
fn before_opening(path: &Path) -> Result<Key> {
    let about = std::fs::metadata(path).map_err(|error| error::io(path, "open the ledger", error))?;
    if !about.is_file() {
        return Err(
            Error::config(format!("the ledger `{}` is not a file", path.display()))
                .with_hint("look at `state.path`: it names a file, such as `.hrsink/state.db`"),
        );
    }
    check_private(path, "the ledger")?;
    if about.len() == 0 {
        return Err(damaged(path, "it is empty"));
    }
    Key::read(path)
}

/// Refuses what others may read.
pub(super) fn check_private(path: &Path, what: &str) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path)
            .map_err(|error| error::io(path, &format!("open {what}"), error))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(Error::config(format!(
                "{what} `{}` is open to other users of this machine (mode {:03o})",
                path.display(),
                mode & 0o777
            ))
            .with_hint(format!("run `{}`", files::chmod("600", path))));
        }
    }
    #[cfg(not(unix))]
    let _ = (path, what);
    Ok(())
}

/// Whether the file is a whole ledger of a version known here, with this key.
fn check(connection: &Connection, key: &Key, path: &Path) -> Result<()> {
    let known = schema::newest(schema::STEPS);
    let found = version(connection, path)?;
    if found > known {
        return Err(Error::config(format!(
            "the ledger `{}` is of version {found}; this hrsink ({}) knows versions up to {known}",
            path.display(),
            env!("CARGO_PKG_VERSION")
        ))
        .with_hint("update hrsink: a newer one has written this ledger"));
    }
    let read = || -> Result<_, LedgerError> {
        for table in schema::tables(found) {
            if !connection.table_exists(None, table)? {
                return Ok(Err(format!("the table `{table}` is missing")));
            }
        }
        // Not the quick one: only this compares the indices with the tables, and so finds a job or an outcome that has
        // changed and whose rows would be sent again.
        let found: String = connection.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))?;
        if found != "ok" {
            return Ok(Err(found));
        }
        let check: Vec<u8> =
            connection.query_row("SELECT value FROM meta WHERE name = 'key_check'", (), |row| {
                row.get(0)
            })?;
        Ok(Ok(check))
    };
    match read() {
        Ok(Ok(check)) if check == key.check() => Ok(()),
        Ok(Ok(_)) => Err(Error::config(format!(
            "`{}` is not the key of the ledger `{}`",
            key::path_of(path).display(),
            path.display()
        ))
        .into_damage()
        .with_hint("a ledger and its key belong together: restore both from the same backup")),
        Ok(Err(how)) => Err(damaged(path, how)),
        Err(LedgerError::Sqlite(said)) if said.is_no_rows() => Err(damaged(path, "it does not know its key")),
        Err(fault) => Err(fault.on(path, "open")),
    }
}

/// The version of a ledger; an error if the file is something else.
fn version(connection: &Connection, path: &Path) -> Result<u32> {
    let read = || -> rusqlite::Result<(i32, u32, i64)> {
        let id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
        Ok((id, schema::version(connection)?, tables))
    };
    match read().map_err(|error| LedgerError::from(error).on(path, "open"))? {
        (schema::APPLICATION_ID, version @ 1.., _) => Ok(version),
        (schema::APPLICATION_ID, 0, _) | (0, 0, 0) => Err(damaged(path, "it has no tables")),
        _ => Err(Error::config(format!(
            "`{}` is a SQLite database, but not a ledger of hrsink",
            path.display()
        ))
        .with_hint("look at `state.path`: another program's file must not stand there")),
    }
}

fn settings(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::config(format!(
            "the ledger `{}` is in a folder that does not allow a write-ahead log",
            path.display()
        ))
        .with_hint(error::LOCAL_DISK)
        .into());
    }
    // FULL: what was committed outlives a power cut. Deleted hashes are overwritten, so that forgotten is forgotten.
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;",
    )?;
    Ok(())
}

/// Whether there is a ledger at `path`. An error if there was one and only parts of it are left.
fn is_there(path: &Path) -> Result<bool> {
    let exists = |path: &Path| {
        path.try_exists()
            .or_else(|error| match error.kind() {
                // A parent that is a file: making the folder will tell.
                std::io::ErrorKind::NotADirectory => Ok(false),
                _ => Err(error),
            })
            .map_err(|error| error::io(path, "look for the ledger", error))
    };
    if exists(path)? {
        return Ok(true);
    }
    if exists(&unfinished_of(path))? {
        // Whoever was about to make it did not come to the end, or is at it; nobody has used it.
        return Ok(false);
    }
    for left in [key::path_of(path), beside(path, "-wal"), beside(path, "-journal")] {
        // An empty log is what looking leaves behind. In this order, a ledger that is being made is never taken for one
        // that was lost.
        let is_left = exists(&left)? && std::fs::metadata(&left).is_ok_and(|about| about.len() > 0);
        if is_left && !exists(&unfinished_of(path))? && !exists(path)? {
            return Err(Error::config(format!(
                "the ledger `{}` is missing, but `{}` is still there",
                path.display(),
                left.display()
            ))
            .with_hint("restore the ledger from a backup: without it every row counts as never sent")
            .with_hint(format!(
                "or move `{}` away too, to begin a new ledger and send all rows again",
                left.display()
            )));
        }
    }
    Ok(false)
}

/// The name under which a new ledger is built.
fn unfinished_of(path: &Path) -> PathBuf {
    beside(path, ".new")
}

fn create(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    files::create_private_folder(folder)
        .map_err(|error| error::io(folder, "make the ledger's folder", error))?;
    let _alone = alone(path)?;
    // Another process may have been faster, or have been killed on the way.
    if is_there(path)? {
        return Ok(());
    }
    let unfinished = unfinished_of(path);
    for suffix in ["-journal", "-wal", "-shm"] {
        let left = beside(&unfinished, suffix);
        if let Err(error) = std::fs::remove_file(&left)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error::io(
                &left,
                "remove what is left of an unfinished ledger:",
                error,
            ));
        }
    }
    files::create_private(&unfinished).map_err(|error| error::io(&unfinished, "make the ledger", error))?;
    let key = Key::generate()?;
    build(&unfinished, &key).map_err(|fault| fault.on(path, "make"))?;
    let placed = || {
        File::options().write(true).open(&unfinished)?.sync_all()?;
        sync_folder(folder)
    };
    placed().map_err(|error| error::io(&unfinished, "make the ledger", error))?;
    key.write(&key::path_of(path))?;
    sync_folder(folder)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .and_then(|()| sync_folder(folder))
        .map_err(|error| error::io(path, "make the ledger", error))
}

/// A whole, empty ledger in an empty file, with nothing left beside it.
fn build(path: &Path, key: &Key) -> Result<(), LedgerError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    schema::migrate(&connection, schema::STEPS)?;
    connection.execute("INSERT INTO meta VALUES ('key_check', ?1)", [key.check()])?;
    settings(&connection, path)?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Keeps other processes from making the same ledger.
fn alone(path: &Path) -> Result<File> {
    let folder = locks_of(path);
    files::create_private_folder(&folder)
        .map_err(|error| error::io(&folder, "make the folder of the ledger's locks", error))?;
    let name = folder.join("new.lock");
    // Not emptied, which may fail while another process holds it.
    let file = files::append_private(&name).map_err(|error| error::io(&name, "make", error))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if begun.elapsed() < BUSY => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::Transient,
                    format!(
                        "another process has been making the ledger `{}` for too long",
                        path.display()
                    ),
                )
                .with_hint("look for another hrsink on this machine and end it, then run again"));
            }
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(error::io(&name, "lock", error).with_hint(error::LOCAL_DISK));
            }
        }
    }
}

/// Makes a rename in `folder` safe from a power cut.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
