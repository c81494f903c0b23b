//! SFTP servers.
//!
//! No login is sent to a server whose host key is not known, no rejected login is repeated, and a file is read as it was
//! listed or not at all. [`server`] keeps one connection for a source and restores it; [`connect`] and [`login`] open it.

mod algorithms;
#[cfg(feature = "sftp")]
mod connect;
#[cfg(feature = "sftp")]
mod host_key;
#[cfg(feature = "sftp")]
mod identity;
#[cfg(feature = "sftp")]
mod login;
#[cfg(feature = "sftp")]
mod server;
#[cfg(feature = "sftp")]
mod storage;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use self::algorithms::SftpAlgorithms;
use super::location::RemoteLocation;
use super::registry::{Backend, BackendSettings};
use crate::component::Problems;
use crate::http::settings::RetrySettings;
use crate::secret::SecretRef;
use crate::settings::bounded::{HOUR, KIB, MIB, SECOND, Timeout};
use crate::settings::{BoundedDuration, BoundedSize};

/// An SFTP server: its host key and the login.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SftpConfig {
    /// The user. May be part of the URL instead: `sftp://user@host/…`.
    username: Option<String>,
    /// The login methods, tried in this order, each once; a server that requires two factors gets them in this order. A
    /// rejected login is not repeated in the same run, because accounts lock.
    auth: Vec<SftpAuth>,
    /// A file in the format of OpenSSH's `known_hosts` that contains the host key. Relative to the pipeline file.
    known_hosts: Option<PathBuf>,
    /// The accepted host keys: fingerprints (`SHA256:…`) or public keys (`ssh-ed25519 AAAA…`). Without this and
    /// `known_hosts`, nothing is read, and the error shows the key of the server.
    #[schemars(example = ["SHA256:uNiVztksCsDhcc0u9e8BrWiFbs5t65qwSPtAu0Ug4zg"])]
    host_keys: Vec<String>,
    /// Weak algorithms to enable, for old servers.
    #[schemars(example = serde_json::json!({"kex": ["diffie-hellman-group14-sha1"]}))]
    algorithms: SftpAlgorithms,
    /// The timeout of connecting and negotiating keys.
    #[schemars(example = &"10s")]
    connect_timeout: Timeout,
    /// The timeout of a request.
    #[schemars(example = &"2m")]
    timeout: Timeout,
    /// How long the connection may be silent before a keep-alive request is sent. After three requests without a response,
    /// the connection counts as lost.
    #[schemars(example = &"30s")]
    keep_alive: BoundedDuration<SECOND, HOUR>,
    /// Retries of connections; received bytes reset the number of attempts.
    #[schemars(example = serde_json::json!({"max_attempts": 4}))]
    retry: RetrySettings,
    /// Bytes of a file in flight. They limit the throughput: `4MiB` allows 80 MiB/s at a round-trip time of 50 ms.
    #[schemars(example = &"16MiB")]
    read_ahead: BoundedSize<{ 32 * KIB }, { 64 * MIB }>,
}

/// A login method: exactly one of `password`, `private_key` and `keyboard_interactive`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct SftpAuth {
    /// The password.
    password: Option<SecretRef>,
    /// The private key: OpenSSH, PEM (PKCS #1, PKCS #8) or `.ppk`; Ed25519, ECDSA or RSA.
    private_key: Option<SecretRef>,
    /// The passphrase of the private key.
    #[schemars(example = serde_json::json!({"env": "SFTP_PASSPHRASE"}))]
    passphrase: Option<SecretRef>,
    /// The password for an interactive prompt. Other prompts, such as for a one-time code, end the login.
    #[schemars(example = serde_json::json!({"env": "SFTP_PASSWORD"}))]
    keyboard_interactive: Option<SecretRef>,
}

impl Default for SftpConfig {
    fn default() -> Self {
        Self {
            username: None,
            auth: Vec::new(),
            known_hosts: None,
            host_keys: Vec::new(),
            algorithms: SftpAlgorithms::default(),
            connect_timeout: Timeout::new(30 * SECOND),
            timeout: Timeout::new(60 * SECOND),
            keep_alive: BoundedDuration::new(15 * SECOND),
            retry: RetrySettings::default(),
            read_ahead: BoundedSize::new(4 * MIB),
        }
    }
}

impl SftpConfig {
    fn validate_username(&self, location: &RemoteLocation, problems: &mut Problems<'_>) {
        match (self.username.as_deref(), user_of(location)) {
            (None, Ok(None)) => problems.add_with_hint(
                "is required",
                "set `username`, or put the user into the URL: `sftp://user@host/…`",
            ),
            (Some(""), _) => problems.add("is empty"),
            (Some(set), Ok(Some(user))) if set != user => {
                problems.add(format!(
                    "is `{set}`, and the URL names `{user}`: remove one of them"
                ));
            }
            (_, Err(message)) => problems.add(message),
            _ => {}
        }
    }

    fn validate_auth(&self, problems: &mut Problems<'_>) {
        if self.auth.is_empty() {
            problems.add_with_hint(
                "requires a login method",
                "list one or more of `{private_key: {file: …}}`, `{password: {env: …}}` and \
                 `{keyboard_interactive: {env: …}}`",
            );
        }
        for (index, entry) in self.auth.iter().enumerate() {
            let mut problems = problems.at_index(index);
            let methods = [&entry.password, &entry.private_key, &entry.keyboard_interactive];
            if methods.into_iter().flatten().count() != 1 {
                problems.add_with_hint(
                    "expected exactly one of `password`, `private_key` and `keyboard_interactive`",
                    "list each method as an entry of its own; they are tried in order",
                );
            } else if entry.passphrase.is_some() && entry.private_key.is_none() {
                problems
                    .at("passphrase")
                    .add("requires `private_key` in the same entry");
            }
            if self.auth[..index].contains(entry) {
                problems.add("is listed twice, and each method is tried once");
            }
        }
    }
}

/// The user in the URL, percent-decoded.
fn user_of(location: &RemoteLocation) -> Result<Option<String>, &'static str> {
    let user = &location.user;
    // The decoder passes incomplete codes on.
    let is_code = |code: &str| code.len() >= 2 && code.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    match percent_encoding::percent_decode_str(user).decode_utf8() {
        Ok(decoded) if user.split('%').skip(1).all(is_code) => {
            Ok(Some(decoded.into_owned()).filter(|user| !user.is_empty()))
        }
        _ => Err("in the URL contains an invalid percent code"),
    }
}

inventory::submit! {
    Backend {
        key: "sftp",
        schemes: &["sftp"],
        urls: &["sftp://host:port/folder/*.csv"],
        summary: "SFTP servers",
        is_built_in: cfg!(feature = "sftp"),
        // Vendors write files over connections that stall.
        quiet_period: Duration::from_secs(30),
        connect_logs_in: true,
        requires_settings: Some("it sets the login and the host key of the server"),
        ..Backend::new::<SftpConfig>()
    }
}

#[async_trait]
impl BackendSettings for SftpConfig {
    fn validate(&self, location: &RemoteLocation, problems: &mut Problems<'_>) {
        let mut problems = problems.at("sftp");
        self.validate_username(location, &mut problems.at("username"));
        self.validate_auth(&mut problems.at("auth"));
        if let Some(path) = &self.known_hosts {
            if path.as_os_str().is_empty() {
                problems.at("known_hosts").add("is empty");
            } else if path.starts_with("~") {
                problems.at("known_hosts").add_with_hint(
                    "starts with `~`, which is not expanded in pipeline files",
                    "use `${HOME}/.ssh/known_hosts`",
                );
            }
        }
        #[cfg(feature = "sftp")]
        for (index, text) in self.host_keys.iter().enumerate() {
            if let Err((message, hint)) = host_key::PinnedKey::parse(text) {
                let mut problems = problems.at("host_keys");
                problems.at_index(index).add_with_hint(message, hint);
            }
        }
        self.algorithms.validate(&mut problems.at("algorithms"));
        self.retry.validate(&mut problems.at("retry"));
    }

    #[cfg(feature = "sftp")]
    async fn connect(
        &self,
        location: &RemoteLocation,
        cx: &super::Context,
    ) -> crate::error::Result<std::sync::Arc<dyn super::Storage>> {
        let server = server::Server::new(self.clone(), location, cx).await?;
        Ok(std::sync::Arc::new(storage::Sftp::connect(server).await?))
    }
}
