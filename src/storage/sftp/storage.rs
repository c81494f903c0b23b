//! An SFTP server as a storage.
//!
//! Files are read with many requests in flight, and reading resumes after a lost connection. The file must be the one that
//! was listed: when it is opened, when it is opened again, and at its end.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use sftp_client::{Attributes, DirEntry, Session, Status};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::server::{Server, SftpError};
use crate::error::{Error, ErrorKind, Result};
use crate::http::redact::clean;
use crate::storage::blocks::{self, Block, changed};
use crate::storage::walk::{self, Entry, Folders, Kind};
use crate::storage::{FileInfo, FilePattern, RenameOutcome, Storage};

/// Blocks of at most 256 KiB that wait for the decoder.
const MAX_WAITING_BLOCKS: usize = 8;

#[derive(Debug, Clone)]
pub(super) struct Sftp(Arc<Server>);

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

fn modified(attributes: Attributes) -> Option<Timestamp> {
    Timestamp::from_second(attributes.modified?.into()).ok()
}

fn kind(attributes: Attributes) -> Kind {
    match attributes.mode.map(|mode| mode & 0o170_000) {
        None | Some(0) => Kind::Unknown,
        Some(0o100_000) => Kind::File,
        Some(0o040_000) => Kind::Folder,
        Some(0o120_000) => Kind::Link,
        Some(_) => Kind::Special,
    }
}

fn entry(name: &[u8], attributes: Attributes) -> Entry {
    Entry {
        name: String::from_utf8_lossy(name).into_owned(),
        is_unicode: std::str::from_utf8(name).is_ok(),
        kind: kind(attributes),
        size: attributes.size,
        modified: modified(attributes),
    }
}

impl Sftp {
    /// Connects and logs in, so that the login is checked before any row is read.
    pub(super) async fn connect(server: Server) -> Result<Self> {
        let sftp = Self(Arc::new(server));
        let connected = sftp.0.retry(|| sftp.0.connection(), || false).await;
        connected.map_err(|error| sftp.error("connect to", "", error))?;
        Ok(sftp)
    }

    fn error(&self, action: &str, path: &str, error: SftpError) -> Error {
        let status = match error {
            SftpError::Status(status) => status,
            SftpError::Transient(error) | SftpError::Permanent(error) => return error,
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
        let status = Status {
            message: clean(&status.message, 200),
            ..status
        };
        let (server, user) = (&self.0.name, &self.0.user);
        let error = Error::new(kind, format!("cannot {action} `{path}` at {server} as `{user}`"))
            .with_source(status.to_string());
        hint.into_iter().fold(error, Error::with_hint)
    }

    /// Reads from the current offset to the end, over one connection; `false` if nobody reads on.
    async fn continue_reading(&self, file: &FileInfo, download: &Download) -> Result<bool, SftpError> {
        let connection = self.0.connection().await?;
        let failed = |error| self.0.convert(error, &connection);
        let offset = download.offset.load(Ordering::Relaxed);
        if offset > 0 {
            tracing::info!(file = %file.name, offset, "resuming");
        }
        let open = connection.session.open(&file.path).await.map_err(failed)?;
        let attributes = open.stat();
        let range = offset..file.size.unwrap_or(u64::MAX);
        let window = self.0.settings.read_ahead.get();
        let mut reader = open.read_ranges([range], window).map_err(failed)?;
        require_unchanged(file, attributes.await.map_err(failed)?)?;
        while let Some(bytes) = reader.next().await.map_err(failed)? {
            download.offset.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if download.blocks.send(Block::Bytes(bytes)).await.is_err() {
                return Ok(false);
            }
        }
        let read = download.offset.load(Ordering::Relaxed);
        if file.size.is_some_and(|size| size != read) {
            return Err(SftpError::Permanent(changed()));
        }
        require_unchanged(file, open.stat().await.map_err(failed)?)?;
        Ok(true)
    }
}

/// The state of a sequential read, over all its connections.
struct Download {
    offset: AtomicU64,
    blocks: mpsc::Sender<Block>,
}

fn require_unchanged(file: &FileInfo, now: Attributes) -> Result<(), SftpError> {
    match file.size == now.size && file.modified == modified(now) {
        true => Ok(()),
        false => Err(SftpError::Permanent(changed())),
    }
}

#[async_trait]
impl Folders for Sftp {
    async fn entries(&self, folder: &str) -> Result<Option<Vec<Entry>>> {
        let list = |session: Arc<Session>| async move { session.read_dir(server_path(folder)).await };
        let entries = match self.0.query(list).await {
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
        let entries = entries.into_iter().filter(is_name);
        let entries = entries.map(|found| entry(&found.name, found.attributes));
        Ok(Some(entries.collect()))
    }

    async fn target(&self, path: &str) -> Result<Option<Entry>> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let stat = |session: Arc<Session>| async move { session.stat(server_path(path)).await };
        let attributes = self.0.query(stat).await;
        let attributes = attributes.map_err(|error| self.error("stat", path, error))?;
        Ok(attributes.map(|attributes| entry(name.as_bytes(), attributes)))
    }

    async fn real_path(&self, path: &str) -> Result<String> {
        self.0
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
        walk::sibling_names(pattern, self).await
    }

    async fn stat(&self, path: &str) -> Result<Option<FileInfo>> {
        // Also for the post-processing of files while the run is being cancelled.
        let stat = |session: Arc<Session>| async move { session.stat(server_path(path)).await };
        let attributes = self.0.execute(stat).await;
        let attributes = attributes.map_err(|error| self.error("stat", path, error))?;
        let file = attributes.filter(|attributes| kind(*attributes) != Kind::Folder);
        Ok(file
            .map(|attributes| walk::file_info(path, server_path(path).to_owned(), &entry(b"", attributes))))
    }

    fn open(&self, file: &FileInfo, cancel: &CancellationToken) -> Result<Box<dyn Read + Send>> {
        let (sftp, file) = (self.clone(), file.clone());
        Ok(blocks::reader(MAX_WAITING_BLOCKS, cancel, |blocks| async move {
            let offset = AtomicU64::new(0);
            let download = Download { offset, blocks };
            let resumed_at = AtomicU64::new(0);
            let has_progressed = || {
                let offset = download.offset.load(Ordering::Relaxed);
                resumed_at.swap(offset, Ordering::Relaxed) < offset
            };
            let attempt = || sftp.continue_reading(&file, &download);
            let end = match sftp.0.retry(attempt, has_progressed).await {
                Ok(true) => Block::End,
                Ok(false) => return,
                Err(error) => Block::Failed(io::Error::other(sftp.error("read", &file.name, error))),
            };
            // Fails if nobody reads on.
            let _ = download.blocks.send(end).await;
        }))
    }

    async fn read_ranges(&self, file: &FileInfo, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let read = self.0.query(|session| async move {
            let open = session.open(&file.path).await?;
            let attributes = open.stat();
            let mut reader = open.read_ranges(ranges.iter().cloned(), self.0.settings.read_ahead.get())?;
            let attributes = attributes.await?;
            let mut found = Vec::with_capacity(ranges.len());
            for range in ranges {
                let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                let mut bytes = BytesMut::new();
                while bytes.len() < length {
                    match reader.next().await? {
                        Some(next) if bytes.is_empty() && next.len() == length => bytes = next.into(),
                        Some(next) => bytes.extend_from_slice(&next),
                        None => return Ok((attributes, None)),
                    }
                }
                found.push(bytes.freeze());
            }
            Ok((attributes, Some(found)))
        });
        let checked = read.await.and_then(|(attributes, found)| {
            require_unchanged(file, attributes)?;
            found.ok_or_else(|| SftpError::Permanent(changed()))
        });
        checked.map_err(|error| self.error("read", &file.name, error))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<RenameOutcome> {
        let (from, to) = (server_path(from), server_path(to));
        let sent = &AtomicBool::new(false);
        let renamed = self.0.execute(|session| rename(session, from, to, sent)).await;
        renamed.map_err(|error| self.error(&format!("move to `{to}` the file"), from, error))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let deleted = self
            .0
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
