//! An SFTP server as a storage.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use sftp_client::{Attributes, DirEntry, FileType, Session, Status};
use tokio_util::sync::CancellationToken;

use super::error::{Cause, SftpError};
use super::read;
use super::server::Server;
use crate::error::{Error, ErrorKind, Result};
use crate::http::redact::clean;
use crate::storage::blocks::changed;
use crate::storage::walk::{self, Entry, Folders, Kind};
use crate::storage::{FileInfo, FilePattern, RenameOutcome, Storage};

/// The files of an account on a server.
#[derive(Debug, Clone)]
pub(super) struct Sftp {
    pub(super) server: Arc<Server>,
}

/// The path for the server: `/~/` and paths without a slash start in the home folder.
fn server_path(path: &str) -> &str {
    let in_home = path.strip_prefix("/~").or_else(|| path.strip_prefix('~'));
    match in_home {
        Some("" | "/") => ".",
        Some(in_home) => in_home.strip_prefix('/').unwrap_or(path),
        None if path.is_empty() => ".",
        None => path,
    }
}

pub(super) fn modified(attributes: Attributes) -> Option<Timestamp> {
    Timestamp::from_second(attributes.modified?.into()).ok()
}

fn entry(name: &[u8], attributes: Attributes) -> Entry {
    Entry {
        name: String::from_utf8_lossy(name).into_owned(),
        is_unicode: std::str::from_utf8(name).is_ok(),
        kind: match attributes.file_type() {
            FileType::File => Kind::File,
            FileType::Dir => Kind::Folder,
            FileType::Link => Kind::Link,
            FileType::Special => Kind::Special,
            FileType::Unknown => Kind::Unknown,
        },
        size: attributes.size,
        modified: modified(attributes),
    }
}

/// The server's words, and the code.
fn status_text(status: &Status) -> String {
    let message = clean(&status.message, 200);
    let status = Status {
        message,
        ..status.clone()
    };
    status.to_string()
}

impl Sftp {
    /// The error for a failed `action` on `path`.
    fn error(&self, action: &str, path: &str, error: SftpError) -> Error {
        let status = match error {
            SftpError::Status(status) => status,
            SftpError::Transient(error) | SftpError::Permanent(error) => return error,
            SftpError::Changed => return changed(),
            // Converted when the connection was opened.
            other => return Error::unexpected(other.to_string()),
        };
        let (kind, hint) = match status.code {
            Status::PERMISSION_DENIED => (
                ErrorKind::Refused,
                Some("the account lacks the permission: ask the operator of the server"),
            ),
            _ if status.is_missing() => (ErrorKind::Input, None),
            Status::UNSUPPORTED => (
                ErrorKind::Refused,
                Some("the server does not support this request"),
            ),
            // Too many open files, a lock, a disk behind the server that does not respond.
            _ if action == "read" || action == "list" => (ErrorKind::Transient, None),
            _ => (ErrorKind::Unexpected, None),
        };
        let (server, user) = (self.server.name(), self.server.user());
        let error = Error::new(kind, format!("cannot {action} `{path}` at {server} as `{user}`"))
            .with_source(Cause(status_text(&status)));
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// Connects and logs in.
    pub(super) async fn connect(&self) -> Result<()> {
        let connected = self.server.retry(|| self.server.connection()).await;
        connected
            .map(drop)
            .map_err(|error| self.error("connect to", "", error))
    }

    async fn read_dir(&self, folder: &str) -> Result<Vec<DirEntry>, SftpError> {
        self.server
            .query(|session| async move { session.read_dir(server_path(folder)).await })
            .await
    }
}

#[async_trait]
impl Folders for Sftp {
    async fn entries(&self, folder: &str) -> Result<Option<Vec<Entry>>> {
        let entries = match self.read_dir(folder).await {
            Ok(entries) => entries,
            Err(SftpError::Status(status)) if status.is_missing() => return Ok(None),
            Err(error) => return Err(self.error("list", folder, error)),
        };
        let is_name = |entry: &DirEntry| {
            let is_name = !entry.name.is_empty() && !entry.name.contains(&b'/') && !entry.name.contains(&0);
            if !is_name {
                tracing::warn!(folder, "the server lists an invalid file name, which is skipped");
            }
            is_name
        };
        Ok(Some(
            entries
                .into_iter()
                .filter(is_name)
                .map(|found| entry(&found.name, found.attributes))
                .collect(),
        ))
    }

    async fn target(&self, path: &str) -> Result<Option<Entry>> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let attributes = self
            .server
            .query(|session| async move { session.stat(server_path(path)).await })
            .await
            .map_err(|error| self.error("stat", path, error))?;
        Ok(attributes.map(|attributes| entry(name.as_bytes(), attributes)))
    }

    async fn real_path(&self, path: &str) -> Result<String> {
        self.server
            .query(|session| async move { session.real_path(server_path(path)).await })
            .await
            .map_err(|error| self.error("resolve", path, error))
    }

    fn storage_path(&self, path: &str) -> String {
        server_path(path).to_owned()
    }
}

#[async_trait]
impl Storage for Sftp {
    async fn list(&self, pattern: &FilePattern) -> Result<Vec<FileInfo>> {
        walk::list(pattern, self).await
    }

    async fn sibling_names(&self, pattern: &FilePattern) -> Result<Vec<String>> {
        let folder = pattern.folder();
        let entries = self.read_dir(folder).await;
        Ok(entries
            .map_err(|error| self.error("list", folder, error))?
            .into_iter()
            .filter(|entry| entry.attributes.file_type() != FileType::Dir)
            .map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
            .collect())
    }

    async fn stat(&self, path: &str) -> Result<Option<FileInfo>> {
        // Also for the post-processing of files while the run is being cancelled.
        let attributes = self
            .server
            .execute(|session| async move { session.stat(server_path(path)).await })
            .await
            .map_err(|error| self.error("stat", path, error))?;
        Ok(attributes
            .filter(|attributes| attributes.file_type() != FileType::Dir)
            .map(|attributes| FileInfo {
                name: path.into(),
                path: server_path(path).to_owned(),
                size: attributes.size,
                modified: modified(attributes),
                version: None,
            }))
    }

    fn open(&self, file: &FileInfo, cancel: &CancellationToken) -> Result<Box<dyn Read + Send>> {
        let (storage, name) = (self.clone(), file.name.clone());
        let to_error = move |error| storage.error("read", &name, error);
        Ok(read::open(self.server.clone(), file, cancel, to_error))
    }

    async fn read_ranges(&self, file: &FileInfo, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let read = read::ranges(&self.server, file, ranges).await;
        read.map_err(|error| self.error("read", &file.name, error))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<RenameOutcome> {
        let (from, to) = (server_path(from), server_path(to));
        let sent = &AtomicBool::new(false);
        let renamed = self
            .server
            .execute(|session| rename(session, from, to, sent))
            .await;
        renamed.map_err(|error| self.error(&format!("move to `{to}` the file"), from, error))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let deleted = self
            .server
            .execute(|session| async move { session.remove(server_path(path)).await });
        match deleted.await {
            Err(SftpError::Status(status)) if status.is_missing() => Ok(()),
            other => other.map_err(|error| self.error("delete", path, error)),
        }
    }
}

/// Renames without overwriting. `sent` is set once the request was sent, over several attempts.
async fn rename(
    session: Arc<Session>,
    from: &str,
    to: &str,
    sent: &AtomicBool,
) -> sftp_client::Result<RenameOutcome> {
    if session.link_stat(to).await?.is_some() {
        // The response to an earlier attempt may be lost.
        let is_done = sent.load(Ordering::Relaxed) && session.link_stat(from).await?.is_none();
        return Ok(if is_done {
            RenameOutcome::Renamed
        } else {
            RenameOutcome::Exists
        });
    }
    // Innermost first: many servers do not allow access to the upper folders.
    let mut missing = Vec::new();
    for folder in parents(to) {
        if session.stat(folder).await?.is_some() {
            break;
        }
        missing.push(folder);
    }
    for folder in missing.into_iter().rev() {
        match session.create_dir(folder).await {
            // Another process may have created it just now.
            Err(sftp_client::Error::Status(_)) if session.stat(folder).await?.is_some() => {}
            other => other?,
        }
    }
    sent.store(true, Ordering::Relaxed);
    match session.rename(from, to).await {
        Ok(()) => Ok(RenameOutcome::Renamed),
        // There is no status for an existing target.
        Err(sftp_client::Error::Status(status))
            if status.code != Status::PERMISSION_DENIED && session.link_stat(to).await?.is_some() =>
        {
            Ok(RenameOutcome::Exists)
        }
        Err(error) => Err(error),
    }
}

/// The folders of a path, innermost first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/')
        .map(|(at, _)| &path[..at])
        .filter(|folder| !folder.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_at_the_root_or_in_the_home_folder() {
        for (path, expected) in [
            ("/out/a.csv", "/out/a.csv"),
            ("/~/out/a.csv", "out/a.csv"),
            ("~/a.csv", "a.csv"),
            ("/~", "."),
            ("/~/", "."),
            ("a.csv", "a.csv"),
            ("/~x/a.csv", "/~x/a.csv"),
            ("", "."),
        ] {
            assert_eq!(server_path(path), expected, "{path}");
        }
        assert_eq!(
            parents("/out/old/a.csv").collect::<Vec<_>>(),
            ["/out/old", "/out"]
        );
        assert_eq!(parents("a.csv").next(), None);
    }
}
