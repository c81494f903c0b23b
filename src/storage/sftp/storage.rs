//! An SFTP server as a place of files.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::algorithms::Offer;
use super::config::{SftpConfig, user_of};
use super::host_key::{HostKeys, Pin};
use super::identity::Login;
use super::login::Logins;
use super::protocol::{self, Attributes, Status};
use super::read;
use super::server::{Server, Tries, Undone};
use super::session::Failure;
use super::transport::Dial;
use crate::component::SourceContext;
use crate::config::Problems;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretFiles;
use crate::storage::location::{Location, RemoteLocation};
use crate::storage::walk::{self, Entry, Folders, Kind, Match};
use crate::storage::{FileInfo, FilePattern, RenameOutcome, Storage};

/// Room in the channel for what was asked for ahead, and for answers that are not content.
const WINDOW_ROOM: u64 = 1 << 20;

/// Types of files, in the mode that Unix gives them.
const TYPE: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Files of an account on a server.
#[derive(Debug)]
struct Sftp {
    server: Arc<Server>,
}

/// Connects and logs in.
///
/// # Errors
/// A secret cannot be read; the server cannot be reached, is not the one that is known by that name, or refuses the login.
pub(crate) async fn connect(
    remote: &RemoteLocation,
    settings: Option<&SftpConfig>,
    cx: &SourceContext,
) -> Result<Arc<dyn Storage>> {
    let settings = settings.cloned().unwrap_or_default();
    let mut problems = Vec::new();
    settings.validate(remote, &mut Problems::new(&mut problems).at("sftp"));
    // What `validate` says comes out as an error here, for those who build without it.
    if let Some(problem) = problems.first() {
        let error = Error::config(problem.to_string());
        return Err(match &problem.hint {
            Some(hint) => error.with_hint(hint.clone()),
            None => error,
        });
    }
    let user = settings
        .user
        .clone()
        .or(user_of(remote).ok().flatten())
        .unwrap_or_default();
    let port = remote.port.unwrap_or(22);
    let (base, files, auth) = (
        cx.run.base.clone(),
        SecretFiles::of(&cx.run),
        settings.auth.clone(),
    );
    let known_hosts = settings.known_hosts.clone();
    let (ways, known_hosts) = tokio::task::spawn_blocking(move || {
        let ways = auth.iter().map(|entry| Login::read(entry, &base, &files));
        // To unlock a key takes as long as its owner wanted it to.
        Ok::<_, Error>((
            ways.collect::<Result<Vec<_>>>()?,
            read_known_hosts(known_hosts.as_deref(), &base)?,
        ))
    })
    .await
    .map_err(|error| Error::task_failed("reading secrets", &error))??;
    let pins = settings
        .host_keys
        .iter()
        .filter_map(|pin| Pin::parse(pin).ok())
        .collect();
    let keys = HostKeys::new(
        &remote.host,
        port,
        settings.known_hosts.clone(),
        &known_hosts,
        pins,
    );
    let backoff = settings.retry.backoff();
    let dial = Dial {
        host: remote.host.clone(),
        port,
        place: remote.origin().into(),
        keys: Arc::new(keys),
        offer: Arc::new(Offer::new(&settings.algorithms)),
        connect_timeout: settings.connect_timeout.0,
        keep_alive: settings.keep_alive.0,
        window: u32::try_from(settings.read_ahead.0 * 2 + WINDOW_ROOM).unwrap_or(u32::MAX),
    };
    let logins = Logins {
        user,
        ways,
        sha1: settings.algorithms.host_key.iter().any(|name| name == "ssh-rsa"),
        patience: settings.timeout.0,
    };
    let server = Arc::new(Server::new(
        dial,
        logins,
        settings.retry.max_attempts,
        backoff,
        settings.read_ahead.0,
        cx.run.cancel.clone(),
    ));
    // Before any row moves.
    let mut tries = Tries::new(&server);
    while let Err(undialled) = server.session().await {
        tries.again(undialled).await?;
    }
    Ok(Arc::new(Sftp { server }))
}

/// Reads a file to its end and gives the number of its bytes. For measuring.
///
/// # Errors
/// As reading it has them.
#[doc(hidden)]
pub async fn throw_away(address: &str, settings: &SftpConfig, cx: &SourceContext) -> Result<u64> {
    let Ok(Location::Remote(remote)) = Location::parse(address) else {
        return Err(Error::config("no address"));
    };
    let place = connect(&remote, Some(settings), cx).await?;
    let found = place
        .stat(&remote.path)
        .await?
        .ok_or_else(|| Error::input("no file"))?;
    let mut reader = place.open(&found, &cx.run.cancel)?;
    tokio::task::spawn_blocking(move || {
        let (mut buffer, mut read) = (vec![0; 256 << 10], 0);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(read),
                Ok(length) => read += length as u64,
                Err(error) => return Err(Error::input("cannot read").with_source(error)),
            }
        }
    })
    .await
    .map_err(|error| Error::task_failed("reading", &error))?
}

/// The content of the file of known hosts; none is there before the first host is known.
fn read_known_hosts(path: Option<&Path>, base: &Path) -> Result<String> {
    let Some(path) = path.map(|path| base.join(path)) else {
        return Ok(String::new());
    };
    match std::fs::read(&path) {
        Ok(content) => Ok(String::from_utf8_lossy(&content).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), "the file of known hosts is not there");
            Ok(String::new())
        }
        Err(error) => {
            Err(Error::config(format!("cannot read the known hosts `{}`", path.display())).with_source(error))
        }
    }
}

/// The path as the server takes it: `/~/` leads to the folder of the login, and so do paths without a slash.
fn at_server(path: &str) -> &str {
    let inside = path.strip_prefix("/~").or_else(|| path.strip_prefix('~'));
    match inside {
        Some("" | "/") => ".",
        Some(inside) => inside.strip_prefix('/').unwrap_or(path),
        None if path.is_empty() => ".",
        None => path,
    }
}

pub(super) fn modified(attributes: Attributes) -> Option<Timestamp> {
    attributes
        .modified
        .and_then(|seconds| Timestamp::from_second(seconds.into()).ok())
}

fn kind(attributes: Attributes) -> Kind {
    match attributes.mode.map(|mode| mode & TYPE) {
        None | Some(0) => Kind::Unknown,
        Some(FILE) => Kind::File,
        Some(FOLDER) => Kind::Folder,
        Some(LINK) => Kind::Link,
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

/// The error for what a server does not do.
pub(super) fn refusal(server: &Server, doing: &str, path: &str, status: Status) -> Error {
    let (error_kind, hint) = match status.code {
        Status::PERMISSION_DENIED => (
            ErrorKind::Refused,
            Some("the account has no right to do this: ask whoever runs the server"),
        ),
        _ if status.is_missing() => (ErrorKind::Input, None),
        Status::UNSUPPORTED => (ErrorKind::Refused, Some("the server does not offer this at all")),
        // Out of handles, locked by somebody, a disk behind it that does not answer: not the file's fault.
        _ if doing == "read" || doing == "list" => (ErrorKind::Transient, None),
        _ => (ErrorKind::Unexpected, None),
    };
    let error = Error::new(
        error_kind,
        format!(
            "cannot {doing} `{path}` at {} as `{}`",
            server.place(),
            server.user()
        ),
    )
    .with_source(Failure::Status(status));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

impl Sftp {
    fn undone(&self, doing: &str, path: &str, undone: Undone) -> Error {
        match undone {
            Undone::Status(status) => refusal(&self.server, doing, path, status),
            Undone::Error(error) => error,
        }
    }

    async fn stat(&self, path: &str) -> Result<Option<Attributes>> {
        self.server
            .ask(|session| async move { session.stat(at_server(path)).await })
            .await
            .map_err(|undone| self.undone("look at", path, undone))
    }

    async fn raw_entries(&self, folder: &str) -> Result<Vec<protocol::Entry>, Undone> {
        self.server
            .ask(|session| async move { session.entries(at_server(folder)).await })
            .await
    }

    async fn real_path(&self, path: &str) -> Result<String> {
        self.server
            .ask(|session| async move { session.real_path(at_server(path)).await })
            .await
            .map_err(|undone| self.undone("follow", path, undone))
    }

    /// The files that are matched by several names, once each; a link stands for what it leads to, wherever it leads by
    /// the time of reading.
    async fn each_once(&self, matches: Vec<Match>, pattern: &str) -> Result<Vec<FileInfo>> {
        let any_link = matches.iter().any(|found| found.is_link);
        let mut folders: BTreeMap<String, String> = BTreeMap::new();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let mut files = Vec::with_capacity(matches.len());
        // A file is known by its own name, whatever other names sort before that.
        let (links, plain): (Vec<Match>, Vec<Match>) = matches.into_iter().partition(|found| found.is_link);
        for found in plain.into_iter().chain(links) {
            let mut path = at_server(&found.path).to_owned();
            if any_link {
                let real = if found.is_link {
                    path = self.real_path(&found.path).await?;
                    path.clone()
                } else {
                    let (folder, name) = found.path.rsplit_once('/').unwrap_or(("", &found.path));
                    let real = match folders.get(folder) {
                        Some(real) => real.clone(),
                        None => {
                            let shown = if folder.is_empty() && found.path.starts_with('/') {
                                "/"
                            } else {
                                folder
                            };
                            let real = self.real_path(shown).await?;
                            folders.insert(folder.to_owned(), real.clone());
                            real
                        }
                    };
                    format!("{}/{name}", real.trim_end_matches('/'))
                };
                if let Some(first) = names.get(&real) {
                    tracing::warn!(
                        file = found.path,
                        same = first,
                        pattern,
                        "a file matches the pattern by two names and is read once"
                    );
                    continue;
                }
                names.insert(real, found.path.clone());
            }
            files.push(FileInfo {
                name: found.path.into(),
                path,
                size: found.size,
                modified: found.modified,
                version: None,
            });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }
}

#[async_trait]
impl Folders for Sftp {
    async fn entries(&self, folder: &str) -> Result<Option<Vec<Entry>>> {
        let raw = match self.raw_entries(folder).await {
            Ok(raw) => raw,
            Err(Undone::Status(status)) if status.is_missing() => return Ok(None),
            Err(undone) => return Err(self.undone("list", folder, undone)),
        };
        Ok(Some(
            raw.into_iter()
                .filter(|entry| {
                    let is_name =
                        !entry.name.is_empty() && !entry.name.contains(&b'/') && !entry.name.contains(&0);
                    if !is_name {
                        tracing::warn!(
                            folder,
                            "the server lists what cannot be the name of a file; it is left out"
                        );
                    }
                    is_name
                })
                .map(|raw| entry(&raw.name, raw.attributes))
                .collect(),
        ))
    }

    async fn target(&self, path: &str) -> Result<Option<Entry>> {
        let name = path.rsplit('/').next().unwrap_or(path);
        Ok(self
            .stat(path)
            .await?
            .map(|attributes| entry(name.as_bytes(), attributes)))
    }
}

#[async_trait]
impl Storage for Sftp {
    async fn list(&self, wanted: &FilePattern) -> Result<Vec<FileInfo>> {
        let text = wanted.glob();
        // A file that is called just so, brackets and all, is meant. Some servers refuse names with a `*`.
        if (!wanted.is_pattern() || text.contains('['))
            && let Some(attributes) = self.stat(text).await?
        {
            match kind(attributes) {
                Kind::Folder if wanted.is_pattern() => {}
                Kind::Folder => {
                    return Err(
                        Error::input(format!("`{text}` is a folder, not a file")).with_hint(format!(
                            "name the files in it: `{}/*.csv`",
                            wanted.as_written().trim_end_matches('/')
                        )),
                    );
                }
                Kind::Special => {
                    return Err(Error::input(format!(
                        "`{text}` is no file but a pipe, a socket or a device"
                    )));
                }
                Kind::File | Kind::Link | Kind::Unknown => {
                    return Ok(vec![FileInfo {
                        name: text.into(),
                        path: at_server(text).to_owned(),
                        size: attributes.size,
                        modified: modified(attributes),
                        version: None,
                    }]);
                }
            }
        }
        if !wanted.is_pattern() {
            return Ok(Vec::new());
        }
        let matches = walk::find(wanted, self).await?;
        self.each_once(matches, text).await
    }

    async fn sibling_names(&self, wanted: &FilePattern) -> Result<Vec<String>> {
        let folder = wanted.folder();
        let entries = self
            .raw_entries(folder)
            .await
            .map_err(|undone| self.undone("list", folder, undone))?;
        Ok(entries
            .into_iter()
            .filter(|entry| kind(entry.attributes) != Kind::Folder)
            .map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
            .collect())
    }

    async fn stat(&self, path: &str) -> Result<Option<FileInfo>> {
        // Also asked about files that are finished while the run is being cancelled.
        let attributes = self
            .server
            .run(|session| async move { session.stat(at_server(path)).await })
            .await
            .map_err(|undone| self.undone("look at", path, undone))?;
        Ok(attributes
            .filter(|attributes| kind(*attributes) != Kind::Folder)
            .map(|attributes| FileInfo {
                name: path.into(),
                path: at_server(path).to_owned(),
                size: attributes.size,
                modified: modified(attributes),
                version: None,
            }))
    }

    fn open(&self, file: &FileInfo, cancel: &CancellationToken) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(read::open(self.server.clone(), file, cancel)))
    }

    async fn read_ranges(&self, file: &FileInfo, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        read::ranges(&self.server, file, ranges).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<RenameOutcome> {
        let (from, to) = (at_server(from), at_server(to));
        let sent = AtomicBool::new(false);
        let sent = &sent;
        let renamed = self.server.run(|session| async move {
            if session.link_stat(to).await?.is_some() {
                // The answer to an attempt before may have got lost on its way.
                let is_done = sent.load(Ordering::Relaxed) && session.link_stat(from).await?.is_none();
                return Ok(if is_done {
                    RenameOutcome::Renamed
                } else {
                    RenameOutcome::Exists
                });
            }
            // From the innermost on: servers often do not let their upper folders be looked at.
            let mut missing = Vec::new();
            for folder in folders_of(to).collect::<Vec<_>>().into_iter().rev() {
                if session.stat(folder).await?.is_some() {
                    break;
                }
                missing.push(folder);
            }
            for folder in missing.into_iter().rev() {
                match session.make_folder(folder).await {
                    Ok(()) => {}
                    // Somebody else may have made it just now.
                    Err(Failure::Status(_)) if session.stat(folder).await?.is_some() => {}
                    Err(failure) => return Err(failure),
                }
            }
            sent.store(true, Ordering::Relaxed);
            match session.rename(from, to).await {
                Ok(()) => Ok(RenameOutcome::Renamed),
                Err(Failure::Status(status)) => {
                    // It has no status of its own for this.
                    let is_taken =
                        status.code != Status::PERMISSION_DENIED && session.link_stat(to).await?.is_some();
                    match is_taken {
                        true => Ok(RenameOutcome::Exists),
                        false => Err(Failure::Status(status)),
                    }
                }
                Err(failure) => Err(failure),
            }
        });
        renamed
            .await
            .map_err(|undone| self.undone(&format!("move to `{to}` the file"), from, undone))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let removed = self
            .server
            .run(|session| async move { session.remove(at_server(path)).await });
        match removed.await {
            Err(Undone::Status(status)) if status.is_missing() => Ok(()),
            other => other.map_err(|undone| self.undone("delete", path, undone)),
        }
    }
}

/// The folders that a path lies in, the outermost first.
fn folders_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/')
        .map(|(at, _)| &path[..at])
        .filter(|folder| !folder.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_root_or_at_the_folder_of_the_login() {
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
            assert_eq!(at_server(path), expected, "{path}");
        }
    }

    #[test]
    fn the_folders_of_a_path_come_from_outside_in() {
        let folders = |path: &'static str| folders_of(path).collect::<Vec<_>>();
        assert_eq!(folders("/out/old/a.csv"), ["/out", "/out/old"]);
        assert_eq!(folders("old/a.csv"), ["old"]);
        assert_eq!(folders("a.csv"), [""; 0]);
    }
}
