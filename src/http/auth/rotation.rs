//! Stores a refresh token that the service replaces with each use.
//!
//! Such a token is worth a password and can be used once: if the new one is lost, a person must sign in again. So the
//! new token is on disk before the access token that came with it is used; disk space for it is reserved before the old
//! one is sent; one exchange runs at a time among all processes, under a lock; and an exchange runs to its end even if
//! its caller gives up (see [`provider`](super::provider)).
//!
//! The file says from which configured token its own descends, as a salted hash, so a newly configured token wins.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use super::TokenError;
use super::provider::TokenEndpoint;
use super::response::TokenResponse;
use crate::disk::{AtomicFile, LockFile, blocking, create_private_folder};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, SecretFiles, SecretRef};

const LOCK_TIMEOUT: Duration = Duration::from_secs(2 * 60);

const RESERVED_BYTES: usize = 16 * 1024;

/// What happens to the tokens that a service returns to replace the one used.
#[derive(Debug, Clone)]
pub(crate) enum Rotation {
    /// Ignored: the old one stays valid.
    Ignored,
    /// Used until this process ends, with a warning, since nothing is configured.
    InMemory,
    /// Stored in this file, which is read under the rules for secret files.
    File(PathBuf, SecretFiles),
}

pub(crate) struct RefreshTokens {
    configured: Secret,
    /// Token endpoint and client: the file of another client is not this one's.
    context: String,
    rotation: Rotation,
    /// The newest, if it is in no file.
    newest: Mutex<Option<Secret>>,
}

/// The content of the file. Has no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    about: String,
    version: u32,
    salt: String,
    /// Hash of the configured token, the context and the salt; hexadecimal.
    descends_from: String,
    refresh_token: String,
    renewed: String,
}

const ABOUT: &str = "The refresh token that hrsink uses next. A secret: each use replaces it.";
const VERSION: u32 = 1;

impl RefreshTokens {
    pub(crate) fn new(configured: Secret, context: String, rotation: Rotation) -> Self {
        Self {
            configured,
            context,
            rotation,
            newest: Mutex::new(None),
        }
    }

    pub(crate) fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    pub(crate) fn secrets(&self) -> Vec<Secret> {
        std::iter::once(self.configured.clone())
            .chain(self.newest())
            .collect()
    }

    /// Requests an access token with the newest refresh token, and stores the next one. Must run to its end.
    pub(crate) async fn exchange(&self, endpoint: &TokenEndpoint) -> Result<TokenResponse, TokenError> {
        let Rotation::File(path, files) = &self.rotation else {
            let used = self.newest().unwrap_or_else(|| self.configured.clone());
            let response = endpoint.request(&[("refresh_token", &used)]).await?;
            let new = response.refresh_token.as_ref();
            if let (Some(new), Rotation::InMemory) =
                (new.filter(|new| new.expose() != used.expose()), &self.rotation)
            {
                if self.newest().is_none() {
                    tracing::warn!(
                        "the service replaced the refresh token, and the new one is not stored: if the old one is no longer valid, \
                         the next run cannot sign in; set `rotation` to a file, or to `ignore` if old ones stay valid"
                    );
                }
                self.set_newest(Some(new.clone()));
            }
            return Ok(response);
        };
        let _lock = lock(path).await?;
        let (used, stored, file) = self.prepare(path, files).await?;
        let response = endpoint.request(&[("refresh_token", &used)]).await?;
        let next = response.refresh_token.as_ref().unwrap_or(&used);
        if !stored || next.expose() != used.expose() {
            // Until it is in the file, only this process knows it.
            self.set_newest(Some(next.clone()));
            let (content, target) = (self.content(next)?, path.clone());
            blocking("storing the refresh token", move || {
                store(file, &content, &target)
            })
            .await?;
            self.set_newest(None);
            tracing::debug!(file = %path.display(), "stored the new refresh token");
        }
        Ok(response)
    }

    fn newest(&self) -> Option<Secret> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_newest(&self, token: Option<Secret>) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// The token to use, whether it is stored or configured, and a file for the next.
    async fn prepare(&self, path: &Path, files: &SecretFiles) -> Result<(Secret, bool, AtomicFile)> {
        let (from, files) = (path.to_owned(), files.clone());
        let prepare = move || {
            let stored = read(&from, &files)?;
            let file = AtomicFile::create(&from).and_then(|mut file| {
                file.reserve(RESERVED_BYTES)?;
                Ok(file)
            });
            Ok((stored, file.map_err(|error| cannot("store", &from, error))?))
        };
        let (stored, file) = blocking("storing the refresh token", prepare).await?;
        let (used, is_stored) = match (self.newest(), stored) {
            // It could not be written before, and is newer than the file.
            (Some(newest), _) => (newest, false),
            (None, Some(stored)) if self.is_ancestor(&stored) => (Secret::new(stored.refresh_token), true),
            (None, stored) => {
                if stored.is_some() {
                    tracing::info!(
                        file = %path.display(),
                        "using the configured refresh token: the stored one descends from another"
                    );
                }
                (self.configured.clone(), true)
            }
        };
        Ok((used, is_stored, file))
    }

    fn content(&self, token: &Secret) -> Result<Secret> {
        let mut salt = [0; 32];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| Error::unexpected("the system returns no random numbers"))?;
        let now = Timestamp::now().round(jiff::Unit::Second);
        let stored = Stored {
            about: ABOUT.to_owned(),
            version: VERSION,
            descends_from: self.fingerprint(&salt),
            salt: STANDARD.encode(salt),
            refresh_token: token.expose().to_owned(),
            renewed: now.unwrap_or_default().to_string(),
        };
        let text = serde_json::to_string_pretty(&stored);
        text.map(|text| Secret::new(text + "\n"))
            .map_err(|_| Error::unexpected("cannot write a refresh token as JSON"))
    }

    fn is_ancestor(&self, stored: &Stored) -> bool {
        let salt = STANDARD.decode(&stored.salt).ok();
        let salt = salt.and_then(|salt| <[u8; 32]>::try_from(salt).ok());
        salt.is_some_and(|salt| self.fingerprint(&salt) == stored.descends_from)
    }

    fn fingerprint(&self, salt: &[u8; 32]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(salt);
        hasher.update(self.context.as_bytes());
        hasher.update(b"\0");
        hasher.update(self.configured.expose().as_bytes());
        hasher.finalize().to_hex().to_string()
    }
}

fn cannot(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::unexpected(format!("cannot {what} the refresh token in `{}`", path.display()))
        .with_source(error)
        .with_hint("the file of `rotation` must be in a folder that hrsink may write to, on a local disk")
}

/// Locks the file against other processes and tasks, until dropped.
async fn lock(path: &Path) -> Result<LockFile> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        create_private_folder(folder).map_err(|error| cannot("store", path, error))?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = LockFile::acquire_async(Path::new(&name), LOCK_TIMEOUT).await;
    lock.map_err(|error| cannot("lock", path, error))?.ok_or_else(|| {
        Error::new(
            ErrorKind::Transient,
            format!(
                "another run has locked the refresh token in `{}` for {} s",
                path.display(),
                LOCK_TIMEOUT.as_secs()
            ),
        )
        .with_hint("wait until it has ended, or stop it, then run again")
    })
}

fn read(path: &Path, files: &SecretFiles) -> Result<Option<Stored>> {
    if !path.try_exists().map_err(|error| cannot("read", path, error))? {
        return Ok(None);
    }
    let text = SecretRef::File(path.to_owned()).read(Path::new(""), files)?;
    // The texts of serde's errors repeat values.
    match serde_json::from_str::<Stored>(text.expose()) {
        Ok(stored) if stored.version == VERSION && !stored.refresh_token.is_empty() => Ok(Some(stored)),
        _ => Err(Error::config(format!(
            "`{}` does not contain a stored refresh token",
            path.display()
        ))
        .with_hint("move it away, get a new refresh token from the service, and configure that")),
    }
}

fn store(mut file: AtomicFile, content: &Secret, target: &Path) -> Result<()> {
    let stored = file
        .write_all(content.expose().as_bytes())
        .and_then(|()| file.commit());
    stored.map_err(|error| {
        cannot("store", target, error).with_hint(
            "the service has replaced the token: if it no longer accepts the old one, get a new one and configure that",
        )
    })
}
