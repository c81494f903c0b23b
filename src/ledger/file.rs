//! Creates and opens the SQLite file, and refuses damaged ones.
//!
//! A new ledger is built under another name and renamed after its key was written. So its path has a complete ledger or
//! nothing: an empty or foreign file is always damage, and damage never leads to a new ledger, which would send every
//! row again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::error::{self, LedgerError, damaged};
use super::key::{self, Key};
use super::schema;
use crate::disk::{self, LockFile, atomic_write::sync_folder, with_suffix};
use crate::error::{Error, ErrorKind, Result};

/// How long to wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) key: Key,
}

pub(super) fn locks_of(ledger: &Path) -> PathBuf {
    with_suffix(ledger, ".locks")
}

pub(super) fn open(path: &Path) -> Result<Opened> {
    if !exists(path)? {
        create(path)?;
    }
    let opened = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, "")?;
    settings(&opened.connection, path)
        .and_then(|()| schema::migrate(&opened.connection, schema::STEPS))
        .map_err(|fault| fault.on(path, "open"))?;
    Ok(opened)
}

pub(super) fn open_read_only(path: &Path) -> Result<Option<Opened>> {
    if !exists(path)? {
        return Ok(None);
    }
    let settings = "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF";
    let Opened { connection, key } = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, settings)?;
    if version(&connection, path)? < schema::newest(schema::STEPS) {
        let path = path.display();
        let message = format!("the ledger `{path}` was written by an older version of hrsink");
        return Err(Error::config(message).with_hint("the next `hrsink run` migrates it"));
    }
    Ok(Some(Opened { connection, key }))
}

/// Resolves symbolic links: the key and the locks are beside the file itself.
pub(super) fn resolve(path: &Path) -> Result<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    if std::fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink()) {
        let message = format!("the ledger `{}` is a broken symbolic link", path.display());
        return Err(Error::config(message)
            .with_hint("check whether its target is mounted: a new ledger would send every row again"));
    }
    // It does not exist yet.
    let real = path.parent().and_then(|folder| folder.canonicalize().ok());
    Ok(match (real, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    })
}

/// Opens the file and verifies it, before the first write.
fn connect(path: &Path, flags: OpenFlags, settings: &str) -> Result<Opened> {
    let key = check_files(path)?;
    let connect = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch(settings)?;
        Ok(connection)
    };
    let connection = connect().map_err(|error| LedgerError::from(error).on(path, "open"))?;
    check(&connection, &key, path)?;
    Ok(Opened { connection, key })
}

/// Checks the files without SQLite, and reads the key.
fn check_files(path: &Path) -> Result<Key> {
    let about = std::fs::metadata(path).map_err(|error| error::io(path, "open the ledger", error))?;
    if !about.is_file() {
        return Err(
            Error::config(format!("the ledger `{}` is not a file", path.display()))
                .with_hint("check `state.path`: it must name a file, such as `.hrsink/state.db`"),
        );
    }
    check_private(path, "the ledger")?;
    if about.len() == 0 {
        return Err(damaged(path, "it is empty"));
    }
    Key::read(path)
}

pub(super) fn check_private(path: &Path, what: &str) -> Result<()> {
    #[cfg(unix)]
    {
        use crate::disk::private_file::{OTHERS, chmod, mode};
        let metadata =
            std::fs::metadata(path).map_err(|error| error::io(path, &format!("open {what}"), error))?;
        let mode = mode(&metadata);
        if mode & OTHERS != 0 {
            return Err(Error::config(format!(
                "{what} `{}` is readable by other users (mode {mode:04o})",
                path.display()
            ))
            .with_hint(format!("run `{}`", chmod("600", path))));
        }
    }
    #[cfg(not(unix))]
    let _ = (path, what);
    Ok(())
}

fn check(connection: &Connection, key: &Key, path: &Path) -> Result<()> {
    let known = schema::newest(schema::STEPS);
    let found = version(connection, path)?;
    if found > known {
        return Err(Error::config(format!(
            "the ledger `{}` has version {found}; hrsink {} supports versions up to {known}",
            path.display(),
            env!("CARGO_PKG_VERSION")
        ))
        .with_hint("update hrsink: a newer version wrote this ledger"));
    }
    let read = || -> Result<_, LedgerError> {
        for table in schema::TABLES {
            if !connection.table_exists(None, table)? {
                return Ok(Err(format!("the table `{table}` is missing")));
            }
        }
        // Not `quick_check`: only this compares the indexes with the tables, and so finds a changed job or outcome, whose
        // rows would be sent again.
        let found: String = connection.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))?;
        if found != "ok" {
            return Ok(Err(found));
        }
        let sql = "SELECT value FROM meta WHERE name = 'key_check'";
        let check: Option<Vec<u8>> = connection.query_row(sql, (), |row| row.get(0)).optional()?;
        Ok(check.ok_or_else(|| "it has no record of its key".to_owned()))
    };
    match read().map_err(|fault| fault.on(path, "open"))? {
        Ok(check) if check == key.check() => Ok(()),
        Ok(_) => Err(Error::config(format!(
            "`{}` is not the key of the ledger `{}`",
            key::path_of(path).display(),
            path.display()
        ))
        .into_damage()
        .with_hint("a ledger and its key belong together: restore both from the same backup")),
        Err(how) => Err(damaged(path, how)),
    }
}

/// The version of a ledger; an error for other databases.
fn version(connection: &Connection, path: &Path) -> Result<u32> {
    let read = || -> rusqlite::Result<(i32, u32, i64)> {
        let id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
        Ok((id, schema::version(connection)?, tables))
    };
    match read().map_err(|error| LedgerError::from(error).on(path, "open"))? {
        (schema::APPLICATION_ID, version @ 1.., _) => Ok(version),
        (schema::APPLICATION_ID, 0, _) | (0, 0, 0) => Err(damaged(path, "it has no tables")),
        _ => {
            let message = format!(
                "`{}` is a SQLite database, but not a ledger of hrsink",
                path.display()
            );
            Err(Error::config(message).with_hint("check `state.path`: the file belongs to another program"))
        }
    }
}

fn settings(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
    if mode != "wal" {
        let path = path.display();
        let message = format!("the folder of the ledger `{path}` does not support a write-ahead log");
        return Err(Error::config(message).with_hint(error::LOCAL_DISK).into());
    }
    // FULL: a commit survives a power cut. secure_delete overwrites forgotten hashes.
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

fn exists(path: &Path) -> Result<bool> {
    let exists = |path: &Path| match path.try_exists() {
        // A parent is a file: creating the folder reports it.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(false),
        exists => exists.map_err(|error| error::io(path, "look for the ledger", error)),
    };
    // An unfinished ledger is being created, or was by a process that died; it was never used.
    if exists(path)? || exists(&unfinished(path))? {
        return exists(path);
    }
    for left in [
        key::path_of(path),
        with_suffix(path, "-wal"),
        with_suffix(path, "-journal"),
    ] {
        // A read-only look leaves an empty log. Checked in this order, a ledger being created never seems lost.
        let is_left = exists(&left)? && std::fs::metadata(&left).is_ok_and(|left| left.len() > 0);
        if is_left && !exists(&unfinished(path))? && !exists(path)? {
            let (path, left) = (path.display(), left.display());
            return Err(Error::config(format!(
                "the ledger `{path}` is missing, but `{left}` still exists"
            ))
            .with_hint("restore the ledger from a backup: without it every row counts as never sent")
            .with_hint(format!(
                "or move `{left}` away too, to start a new ledger and send all rows again"
            )));
        }
    }
    Ok(false)
}

fn unfinished(path: &Path) -> PathBuf {
    with_suffix(path, ".new")
}

fn create(path: &Path) -> Result<()> {
    let failed = |error| error::io(path, "create the ledger", error);
    let folder = disk::folder_of(path);
    disk::create_private_folder(folder)
        .map_err(|error| error::io(folder, "create the ledger's folder", error))?;
    let _lock = lock_creation(path)?;
    // Another process may have been faster, or may have been killed while creating it.
    if exists(path)? {
        return Ok(());
    }
    let new = unfinished(path);
    for suffix in ["-journal", "-wal", "-shm"] {
        let left = with_suffix(&new, suffix);
        match std::fs::remove_file(&left) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error::io(&left, "remove the rest of an unfinished ledger", error));
            }
            _ => {}
        }
    }
    disk::create_private(&new).map_err(failed)?;
    let key = Key::generate()?;
    build(&new, &key).map_err(|error| error.on(path, "create"))?;
    File::options()
        .write(true)
        .open(&new)
        .and_then(|file| file.sync_all())
        .and_then(|()| sync_folder(folder))
        .map_err(failed)?;
    key.write(&key::path_of(path))?;
    std::fs::rename(&new, path)
        .and_then(|()| sync_folder(folder))
        .map_err(failed)
}

/// Fills an empty file with an empty ledger, and leaves nothing beside it.
fn build(path: &Path, key: &Key) -> Result<(), LedgerError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    schema::migrate(&connection, schema::STEPS)?;
    connection.execute("INSERT INTO meta VALUES ('key_check', ?1)", [key.check()])?;
    settings(&connection, path)?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn lock_creation(path: &Path) -> Result<LockFile> {
    let folder = locks_of(path);
    disk::create_private_folder(&folder)
        .map_err(|error| error::io(&folder, "create the folder of the ledger's locks", error))?;
    let name = folder.join("new.lock");
    LockFile::acquire(&name, BUSY_TIMEOUT)
        .map_err(|error| error::io(&name, "lock", error).with_hint(error::LOCAL_DISK))?
        .ok_or_else(|| {
            let path = path.display();
            let message = format!("timed out while another process creates the ledger `{path}`");
            Error::new(ErrorKind::Transient, message)
                .with_hint("end other hrsink processes on this machine, then run again")
        })
}
