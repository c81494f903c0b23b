//! The settings of SFTP servers.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::algorithms::Kind;
use crate::component::Problems;
use crate::http::settings::RetrySettings;
use crate::secret::SecretRef;
use crate::settings::bounded::{HOUR, KIB, MIB, MINUTE, SECOND};
use crate::settings::{BoundedDuration, BoundedSize, suggestion};
use crate::storage::location::RemoteLocation;
use crate::storage::registry::Backend;

/// An SFTP server: its host key and the login.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::storage) struct SftpConfig {
    /// The user. May be part of the URL instead: `sftp://user@host/…`.
    pub(super) username: Option<String>,
    /// The login methods, tried in this order, each once; a server that requires two factors gets them in this order. A
    /// rejected login is not repeated in the same run, because accounts lock.
    pub(super) auth: Vec<SftpAuth>,
    /// A file in the format of OpenSSH's `known_hosts` that contains the host key. Relative to the pipeline file.
    pub(super) known_hosts: Option<PathBuf>,
    /// The accepted host keys: fingerprints (`SHA256:…`) or public keys (`ssh-ed25519 AAAA…`). Without this and
    /// `known_hosts`, nothing is read, and the error shows the key of the server.
    #[schemars(example = ["SHA256:uNiVztksCsDhcc0u9e8BrWiFbs5t65qwSPtAu0Ug4zg"])]
    pub(super) host_keys: Vec<String>,
    /// Weak algorithms to enable, for old servers.
    #[schemars(example = serde_json::json!({"kex": ["diffie-hellman-group14-sha1"]}))]
    pub(super) algorithms: SftpAlgorithms,
    /// The timeout of connecting and negotiating keys.
    #[schemars(example = &"10s")]
    pub(super) connect_timeout: BoundedDuration<SECOND, { 10 * MINUTE }>,
    /// The timeout of a request.
    #[schemars(example = &"2m")]
    pub(super) timeout: BoundedDuration<SECOND, HOUR>,
    /// How long the connection may be silent before a keep-alive request is sent. After three requests without a response,
    /// the connection counts as lost.
    #[schemars(example = &"30s")]
    pub(super) keep_alive: BoundedDuration<SECOND, HOUR>,
    /// Retries of connections; received bytes reset the number of attempts.
    #[schemars(example = serde_json::json!({"max_attempts": 4}))]
    pub(super) retry: RetrySettings,
    /// Bytes of a file in flight. They limit the throughput: `4MiB` allows 80 MiB/s at a round-trip time of 50 ms.
    #[schemars(example = &"16MiB")]
    pub(super) read_ahead: BoundedSize<{ 32 * KIB }, { 64 * MIB }>,
}

/// A login method: exactly one of `password`, `private_key` and `keyboard_interactive`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SftpAuth {
    /// The password.
    pub(super) password: Option<SecretRef>,
    /// The private key: OpenSSH, PEM (PKCS #1, PKCS #8) or `.ppk`; Ed25519, ECDSA or RSA.
    pub(super) private_key: Option<SecretRef>,
    /// The passphrase of the private key.
    #[schemars(example = serde_json::json!({"env": "SFTP_PASSPHRASE"}))]
    pub(super) passphrase: Option<SecretRef>,
    /// The password for an interactive prompt. Other prompts, such as for a one-time code, end the login.
    #[schemars(example = serde_json::json!({"env": "SFTP_PASSWORD"}))]
    pub(super) keyboard_interactive: Option<SecretRef>,
}

/// Names of weak algorithms to enable. They are offered last, and their use is logged as a warning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SftpAlgorithms {
    /// Key exchange.
    #[schemars(example = ["diffie-hellman-group14-sha1"])]
    pub(super) kex: Vec<String>,
    /// Host keys and signatures; `ssh-rsa` also lets RSA login keys sign with SHA-1.
    #[schemars(example = ["ssh-rsa"])]
    pub(super) host_key: Vec<String>,
    /// Encryption.
    #[schemars(example = ["aes256-cbc"])]
    pub(super) cipher: Vec<String>,
    /// Message authentication.
    #[schemars(example = ["hmac-sha1"])]
    pub(super) mac: Vec<String>,
}

impl Default for SftpConfig {
    fn default() -> Self {
        Self {
            username: None,
            auth: Vec::new(),
            known_hosts: None,
            host_keys: Vec::new(),
            algorithms: SftpAlgorithms::default(),
            connect_timeout: BoundedDuration::new(30 * SECOND),
            timeout: BoundedDuration::new(60 * SECOND),
            keep_alive: BoundedDuration::new(15 * SECOND),
            retry: RetrySettings::default(),
            read_ahead: BoundedSize::new(4 * MIB),
        }
    }
}

impl SftpConfig {
    pub(in crate::storage) const BACKEND: Backend = Backend {
        key: "sftp",
        schemes: &["sftp"],
        summary: "SFTP servers",
        feature: "sftp",
        is_built_in: cfg!(feature = "sftp"),
        // Vendors write files over connections that stall.
        quiet_period: Duration::from_secs(30),
        connect_logs_in: true,
        requires_settings: Some("it sets the login and the host key of the server"),
        ..Backend::DEFAULT
    };

    /// Reports what is wrong; `problems` is at these settings.
    pub(super) fn validate_settings(&self, location: &RemoteLocation, problems: &mut Problems<'_>) {
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
            if let Err((message, hint)) = super::host_key::PinnedKey::parse(text) {
                problems
                    .at("host_keys")
                    .at_index(index)
                    .add_with_hint(message, hint);
            }
        }
        for (kind, key, names) in self.algorithms.lists() {
            for (index, name) in names.iter().enumerate() {
                validate_algorithm(kind, name, &mut problems.at("algorithms").at(key).at_index(index));
            }
        }
        self.retry.validate(&mut problems.at("retry"));
    }

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

fn validate_algorithm(kind: Kind, name: &str, problems: &mut Problems<'_>) {
    if kind.extra().contains(&name) {
        return;
    }
    if kind.standard().contains(&name) {
        problems.add_with_hint(
            format!("`{name}` is always enabled"),
            "remove it: `algorithms` lists weak ones only",
        );
        return;
    }
    let message = format!("`{name}` is not a known {}", kind.description());
    match suggestion(name, kind.extra().iter().copied()) {
        Some(hint) => problems.add_with_hint(message, hint),
        None => problems.add(message),
    }
}

impl SftpAlgorithms {
    /// Each list with its key.
    pub(super) fn lists(&self) -> [(Kind, &'static str, &[String]); 4] {
        [
            (Kind::Kex, "kex", &self.kex),
            (Kind::HostKey, "host_key", &self.host_key),
            (Kind::Cipher, "cipher", &self.cipher),
            (Kind::Mac, "mac", &self.mac),
        ]
    }
}

/// The user in the URL, percent-decoded.
///
/// # Errors
/// The problem.
pub(super) fn user_of(location: &RemoteLocation) -> Result<Option<String>, &'static str> {
    const INVALID: &str = "in the URL contains an invalid percent code";
    if location.user.is_empty() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(location.user.len());
    let mut rest = location.user.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        bytes.push(match byte {
            b'%' => digit()
                .zip(digit())
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
                .ok_or(INVALID)?,
            other => other,
        });
    }
    String::from_utf8(bytes).map(Some).map_err(|_| INVALID)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::storage::Location;

    fn paths(url: &str, config: Value) -> Vec<String> {
        let config: SftpConfig = serde_json::from_value(config).unwrap();
        let Ok(Location::Remote(location)) = Location::parse(url) else {
            panic!("{url}");
        };
        let mut found = Vec::new();
        config.validate_settings(&location, &mut Problems::new(&mut found));
        found.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn requires_a_user_and_a_login_method() {
        let auth = json!([{"password": {"env": "P"}}]);
        for (url, config, expected) in [
            ("sftp://hr@h/a", json!({"auth": auth}), &[][..]),
            ("sftp://h/a", json!({"username": "hr", "auth": auth}), &[]),
            ("sftp://hr@h/a", json!({"username": "hr", "auth": auth}), &[]),
            ("sftp://h/a", json!({}), &["username", "auth"]),
            (
                "sftp://x@h/a",
                json!({"username": "hr", "auth": auth}),
                &["username"],
            ),
            // A user with an at sign.
            (
                "sftp://hr%40contoso@h/a",
                json!({"username": "hr@contoso", "auth": auth}),
                &[],
            ),
        ] {
            assert_eq!(paths(url, config.clone()), expected, "{url} {config}");
        }
    }

    #[test]
    fn reports_all_problems_at_once() {
        let found = paths(
            "sftp://hr@h/a",
            json!({
                "auth": [
                    {"password": {"env": "P"}, "private_key": {"env": "K"}},
                    {"password": {"env": "P"}, "passphrase": {"env": "K"}},
                    {},
                    {"password": {"env": "Q"}},
                    {"password": {"env": "Q"}},
                ],
                "known_hosts": "~/.ssh/known_hosts",
                "algorithms": {
                    "kex": ["diffie-hellman-group14-sha1", "diffie-hellman-group14-sha"], "host_key": ["ssh-rsa", "ssh-dss"],
                    "cipher": ["aes256-ctr"], "mac": ["hmac-md5"],
                },
            }),
        );
        let expected = [
            "auth[0]",
            "auth[1].passphrase",
            "auth[2]",
            "auth[4]",
            "known_hosts",
            "algorithms.kex[1]",
            "algorithms.host_key[1]",
            "algorithms.cipher[0]",
            "algorithms.mac[0]",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn rejects_secrets_as_text_without_showing_them() {
        let config = json!({"auth": [{"password": "hunter2"}]});
        let error = serde_json::from_value::<SftpConfig>(config).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
