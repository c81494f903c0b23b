//! Keeps a refresh token that the service replaces with each use.
//!
//! Such a token is worth as much as the password it stands for, and can be used once: if the new one is lost, a person
//! must sign in again. So
//!
//! - the new one is on the disk, in a file for its owner only that is written whole or not at all, before the access
//!   token that came with it is used;
//! - before a token is given away, the space for the next is on the disk: a full one is noticed while the old token
//!   still counts;
//! - one exchange is made at a time among all processes that share the file: each reads the token under a lock;
//! - an exchange is not cut off by whoever gives up waiting for it ([`grant`](super) sees to that).
//!
//! The file says which configured token its own descends from, as a salted hash. A token that is configured anew is
//! thus noticed, and counts.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::disk::private_file as files;
use crate::error::{Error, ErrorKind, Result};
use crate::http::auth::provider::{Given, GrantFailure, TokenEndpoint};
use crate::secret::{Secret, SecretFiles, SecretRef};

/// How long to wait for another process that exchanges the same token.
const OTHERS_TURN: Duration = Duration::from_secs(2 * 60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What becomes of the tokens that a service gives in place of the one used.
#[derive(Debug, Clone)]
pub(crate) enum Rotation {
    /// They are not used: the old one goes on to count, as the configuration says.
    Ignored,
    /// They count until this process ends, with a warning: nobody said what to do.
    Forgotten,
    /// They are kept in this file, read under the rules for secret files.
    Kept(PathBuf, SecretFiles),
}

/// A refresh token and those that took its place.
pub(crate) struct RefreshTokens {
    configured: Secret,
    /// Whose token it is: the file of another client is not this one's.
    context: String,
    rotation: Rotation,
    /// The newest, where it is in no file.
    newest: Mutex<Option<Secret>>,
}

/// What is in the file. Has no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// For a person who opens it.
    about: String,
    version: u32,
    /// Random; Base64.
    salt: String,
    /// Hash of the configured token, of whose it is, and of the salt; hexadecimal.
    descends_from: String,
    refresh_token: String,
    /// RFC 3339.
    renewed: String,
}

const ABOUT: &str = "The refresh token that hrsink uses next. A secret: each use replaces it.";
const VERSION: u32 = 1;

impl RefreshTokens {
    /// `context` says whose token it is: token endpoint and client.
    pub(crate) fn new(configured: Secret, context: String, rotation: Rotation) -> Self {
        Self {
            configured,
            context,
            rotation,
            newest: Mutex::new(None),
        }
    }

    /// What becomes of new tokens.
    pub(crate) fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// The configured token, and the newest where this process knows it.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(self.configured.clone())
            .chain(newest.clone())
            .collect()
    }

    /// Asks for an access token with the newest refresh token, and keeps the next one. To be driven to its end.
    ///
    /// # Errors
    /// What the endpoint says; or the file cannot be read or written.
    pub(crate) async fn exchange(&self, endpoint: &TokenEndpoint) -> Result<Given, GrantFailure> {
        let Rotation::Kept(path, readable) = &self.rotation else {
            let used = self.newest().unwrap_or_else(|| self.configured.clone());
            let given = endpoint.ask(&[("refresh_token", &used)]).await?;
            self.replaced(&used, &given);
            return Ok(given);
        };
        let lock = lock(path).await.map_err(GrantFailure::local)?;
        let at = (path.clone(), readable.clone());
        let (used, in_file, place) = self.prepared(at).await.map_err(GrantFailure::local)?;
        let given = endpoint.ask(&[("refresh_token", &used)]).await?;
        let next = given.refresh_token.as_ref().unwrap_or(&used);
        if !in_file || next.expose() != used.expose() {
            // Until it is in the file, this process is the only one that knows it.
            self.remember(Some(next.clone()));
            let kept = self.kept(next).map_err(GrantFailure::local)?;
            in_background(move || place.fill(&kept))
                .await
                .map_err(GrantFailure::local)?;
            self.remember(None);
            tracing::debug!(file = %path.display(), "kept the new refresh token");
        }
        drop(lock);
        Ok(given)
    }

    fn remember(&self, token: Option<Secret>) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    fn newest(&self) -> Option<Secret> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Without a file: the new token counts until the process ends, or not at all.
    fn replaced(&self, used: &Secret, given: &Given) {
        let Some(new) = given
            .refresh_token
            .as_ref()
            .filter(|new| new.expose() != used.expose())
        else {
            return;
        };
        if matches!(self.rotation, Rotation::Ignored) {
            return;
        }
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_none() {
            tracing::warn!(
                "the service replaced the refresh token, and the new one is kept nowhere: if the old one no longer \
                 counts, the next run cannot sign in; set `rotation` to a file, or to `ignore` if old ones go on to count"
            );
        }
        *newest = Some(new.clone());
    }

    /// The token to use, whether the file or the configuration holds it, and a place for the next.
    async fn prepared(&self, (path, readable): (PathBuf, SecretFiles)) -> Result<(Secret, bool, Place)> {
        let (read_from, place_of) = (path.clone(), path);
        let kept = in_background(move || read(&read_from, &readable)).await?;
        let (used, in_file) = match (self.newest(), kept) {
            // It could not be written before: newer than what the file says.
            (Some(newest), _) => (newest, false),
            (None, Some(kept)) if self.is_ancestor(&kept) => (Secret::new(kept.refresh_token), true),
            (None, Some(_)) => {
                tracing::info!(
                    file = %place_of.display(),
                    "another refresh token is configured than the one that the file's descends from; it counts"
                );
                (self.configured.clone(), true)
            }
            (None, None) => (self.configured.clone(), true),
        };
        let place = in_background(move || Place::make(place_of)).await?;
        Ok((used, in_file, place))
    }

    fn kept(&self, token: &Secret) -> Result<Kept> {
        let mut salt = [0; 32];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| Error::unexpected("the system gives no random numbers"))?;
        Ok(Kept {
            about: ABOUT.to_owned(),
            version: VERSION,
            descends_from: self.fingerprint(&salt),
            salt: STANDARD.encode(salt),
            refresh_token: token.expose().to_owned(),
            renewed: Timestamp::now()
                .round(jiff::Unit::Second)
                .unwrap_or_default()
                .to_string(),
        })
    }

    fn is_ancestor(&self, kept: &Kept) -> bool {
        let salt = STANDARD
            .decode(&kept.salt)
            .ok()
            .and_then(|salt| <[u8; 32]>::try_from(salt).ok());
        salt.is_some_and(|salt| self.fingerprint(&salt) == kept.descends_from)
    }

    fn fingerprint(&self, salt: &[u8; 32]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(salt);
        hasher.update(self.context.as_bytes());
        hasher.update(b"\0");
        hasher.update(self.configured.expose().as_bytes());
        hasher.finalize().to_hex().to_string()
    }
}

impl fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokens")
            .field("rotation", &self.rotation)
            .finish_non_exhaustive()
    }
}

/// Disks are slow, and the threads of the runtime are few.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::task_failed("keeping the refresh token", &error))?
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn cannot(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::unexpected(format!(
        "cannot {what} the refresh token in `{}`",
        path.display()
    ))
    .with_source(error)
    .with_hint("the file of `rotation` must be in a folder that this program may write to, on a disk of this machine")
}

/// Locks the file for this process and task, until dropped.
async fn lock(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        files::create_private_folder(folder).map_err(|error| cannot("keep", path, error))?;
    }
    let beside = beside(path, ".lock");
    let file = files::append_private(&beside).map_err(|error| cannot("lock", path, error))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < OTHERS_TURN => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::Transient,
                    format!(
                        "another run has held the refresh token in `{}` for {} s",
                        path.display(),
                        OTHERS_TURN.as_secs()
                    ),
                )
                .with_hint("wait until it has ended, or stop it, then run again"));
            }
            Err(TryLockError::Error(error)) => return Err(cannot("lock", path, error)),
        }
    }
}

fn read(path: &Path, readable: &SecretFiles) -> Result<Option<Kept>> {
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) => return Err(cannot("read", path, error)),
    }
    let text = SecretRef::File(path.to_owned()).read(Path::new(""), readable)?;
    // serde's own texts repeat what they found.
    match serde_json::from_str::<Kept>(text.expose()) {
        Ok(kept) if kept.version == VERSION && !kept.refresh_token.is_empty() => Ok(Some(kept)),
        _ => Err(Error::config(format!(
            "`{}` is not a file in which a refresh token was kept",
            path.display()
        ))
        .with_hint("move it away, get a new refresh token from the service, and configure that")),
    }
}

/// An unfinished file beside the one that it will take the place of.
struct Place {
    path: PathBuf,
    unfinished: PathBuf,
    file: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not there any more when it has taken its place.
        let _ = std::fs::remove_file(&self.unfinished);
    }
}

impl Place {
    /// Room enough for any token.
    const ROOM: [u8; 16 * 1024] = [b' '; 16 * 1024];

    fn make(path: PathBuf) -> Result<Self> {
        let unfinished = beside(&path, ".new");
        let made = files::create_private(&unfinished).and_then(|mut file| {
            file.write_all(&Self::ROOM)?;
            file.sync_all()?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Self {
                path,
                unfinished,
                file,
            }),
            Err(error) => Err(cannot("keep", &path, error)),
        }
    }

    fn fill(mut self, kept: &Kept) -> Result<()> {
        let text = serde_json::to_string_pretty(kept)
            .map_err(|_| Error::unexpected("cannot write a refresh token as JSON"))?;
        let text = Secret::new(text);
        let written = (|| {
            use std::io::Seek as _;
            self.file.rewind()?;
            self.file.write_all(text.expose().as_bytes())?;
            self.file.write_all(b"\n")?;
            self.file.set_len(text.expose().len() as u64 + 1)?;
            self.file.sync_all()?;
            std::fs::rename(&self.unfinished, &self.path)?;
            sync_folder(&self.path)
        })();
        written.map_err(|error| {
            cannot("keep", &self.path, error).with_hint(
                "the service has replaced the token: if it no longer takes the old one, get a new one from it and \
                 configure that",
            )
        })
    }
}

/// A rename is safe from a power cut once its folder is.
#[cfg(unix)]
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}
