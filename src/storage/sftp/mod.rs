//! SFTP servers.
//!
//! [`connect`] opens the SSH connection, [`login`] logs in, [`server`] keeps one connection for a source and restores it,
//! [`storage`] and [`read`] send requests through the crate `sftp-client`. No login is sent to a server whose host key is
//! not known, no rejected login is repeated, and a file is read as it was listed or not at all.

mod algorithms;
mod config;
#[cfg(feature = "sftp")]
mod connect;
#[cfg(feature = "sftp")]
mod error;
#[cfg(feature = "sftp")]
mod host_key;
#[cfg(feature = "sftp")]
mod identity;
#[cfg(feature = "sftp")]
mod login;
#[cfg(feature = "sftp")]
mod read;
#[cfg(feature = "sftp")]
mod server;
#[cfg(feature = "sftp")]
mod storage;

#[cfg(feature = "sftp")]
use std::sync::Arc;

use async_trait::async_trait;

pub(super) use config::SftpConfig;

use super::location::RemoteLocation;
use super::registry::{Backend, BackendSettings};
#[cfg(feature = "sftp")]
use super::{Context, Storage};
use crate::component::Problems;
#[cfg(feature = "sftp")]
use crate::error::Result;

#[async_trait]
impl BackendSettings for SftpConfig {
    fn backend(&self) -> &'static Backend {
        &Self::BACKEND
    }

    fn validate(&self, location: &RemoteLocation, problems: &mut Problems<'_>) {
        self.validate_settings(location, &mut problems.at("sftp"));
    }

    #[cfg(feature = "sftp")]
    async fn connect(&self, location: &RemoteLocation, cx: &Context) -> Result<Arc<dyn Storage>> {
        let server = self.server(location, cx).await?;
        let storage = storage::Sftp {
            server: Arc::new(server),
        };
        // The login is checked before any row is read.
        storage.connect().await?;
        Ok(Arc::new(storage))
    }
}

#[cfg(feature = "sftp")]
mod setup {
    use std::path::Path;
    use std::sync::Arc;

    use super::algorithms::OfferedAlgorithms;
    use super::config::{SftpConfig, user_of};
    use super::connect::Connector;
    use super::host_key::{KnownKeys, PinnedKey};
    use super::identity::Credential;
    use super::login::Logins;
    use super::server::Server;
    use crate::error::{Error, Result};
    use crate::storage::Context;
    use crate::storage::location::RemoteLocation;

    /// Receive window beyond the bytes of a file in flight: responses that are not file content.
    const EXTRA_WINDOW_BYTES: u64 = 1 << 20;

    impl SftpConfig {
        /// The server, not connected yet.
        pub(super) async fn server(&self, location: &RemoteLocation, cx: &Context) -> Result<Server> {
            let port = location.port.unwrap_or(22);
            let (settings, context) = (self.clone(), cx.clone());
            let secrets = tokio::task::spawn_blocking(move || {
                let auth = settings.auth.iter();
                // Decrypting a key is slow by design.
                let credentials =
                    auth.map(|entry| Credential::read(entry, &context.base, &context.secret_files));
                Ok::<_, Error>((
                    credentials.collect::<Result<Vec<_>>>()?,
                    read_known_hosts(settings.known_hosts.as_deref(), &context.base)?,
                ))
            });
            let (credentials, known_hosts) = secrets
                .await
                .map_err(|error| Error::task_failed("reading secrets", &error))??;
            let pins = self.host_keys.iter().filter_map(|pin| PinnedKey::parse(pin).ok());
            let keys = KnownKeys::new(
                &location.host,
                port,
                self.known_hosts.clone(),
                &known_hosts,
                pins.collect(),
            );
            let read_ahead = self.read_ahead.get();
            let connector = Connector {
                host: location.host.clone(),
                port,
                server: location.origin().into(),
                keys: Arc::new(keys),
                algorithms: Arc::new(OfferedAlgorithms::new(&self.algorithms)),
                connect_timeout: self.connect_timeout.get(),
                keep_alive: self.keep_alive.get(),
                window: u32::try_from(read_ahead * 2 + EXTRA_WINDOW_BYTES).unwrap_or(u32::MAX),
            };
            let user = self.username.clone().or(user_of(location).ok().flatten());
            let logins = Logins {
                user: user.unwrap_or_default(),
                credentials,
                allow_sha1: self.algorithms.host_key.iter().any(|name| name == "ssh-rsa"),
                timeout: self.timeout.get(),
            };
            Ok(Server::new(
                connector,
                logins,
                self.retry,
                read_ahead,
                cx.cancel.clone(),
            ))
        }
    }

    /// The content of `known_hosts`; it may not exist before the first host is known.
    fn read_known_hosts(path: Option<&Path>, base: &Path) -> Result<String> {
        let Some(path) = path.map(|path| base.join(path)) else {
            return Ok(String::new());
        };
        match std::fs::read(&path) {
            Ok(content) => Ok(String::from_utf8_lossy(&content).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::warn!(file = %path.display(), "the known_hosts file does not exist");
                Ok(String::new())
            }
            Err(error) => Err(
                Error::config(format!("cannot read `{}` (known_hosts)", path.display())).with_source(error),
            ),
        }
    }
}
