//! The settings of SFTP servers, and what can be wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::algorithms::Kind;
use super::host_key::Pin;
use crate::config::{ByteSize, HumanDuration, Problems, suggestion};
use crate::http::retry::Backoff;
use crate::secret::SecretRef;
use crate::storage::location::RemoteLocation;

/// How an SFTP server is reached, told from others and logged in to.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SftpConfig {
    /// The name to log in with. May stand in the address instead: `sftp://user@host/…`.
    pub user: Option<String>,
    /// The ways to log in, tried in this order, each once; a server that asks for two factors gets them in this order.
    /// A login that the server refuses is never tried again by the same run.
    pub auth: Vec<SftpAuth>,
    /// A file in the form of OpenSSH's `known_hosts` that holds the server's host key. Relative paths are relative to
    /// the pipeline file.
    pub known_hosts: Option<PathBuf>,
    /// Host keys that the server may have, each a fingerprint (`SHA256:…`) or a whole public key (`ssh-ed25519 AAAA…`).
    /// Without this and `known_hosts` nothing is read: the error prints the key that the server showed.
    pub host_keys: Vec<String>,
    /// Algorithms that are allowed besides the safe ones, for servers that know no others.
    pub algorithms: SftpAlgorithms,
    /// Longest time to connect and agree on keys; at most 10 minutes. Default `30s`.
    pub connect_timeout: HumanDuration,
    /// Longest time to wait for the answer to a request; at most 1 hour. Default `60s`.
    pub timeout: HumanDuration,
    /// After how long a silence the server is asked whether it is still there; after four questions without an answer
    /// the connection counts as broken. At most 1 hour. Default `15s`.
    pub keep_alive: HumanDuration,
    /// How often and when a connection that failed or broke is made again.
    pub retry: SftpRetry,
    /// How many bytes of a file are asked for ahead of those that have come. Speed is at most this amount for each round
    /// trip: the default of `4MiB` gives 80 MiB/s over 50 ms. From `32KiB` to `64MiB`; memory grows by as much.
    pub read_ahead: ByteSize,
}

/// One way to log in: exactly one of `password`, `private_key` and `keyboard_interactive`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SftpAuth {
    /// Where the password is kept.
    pub password: Option<SecretRef>,
    /// Where the private key is kept: a text in OpenSSH's form, PEM (PKCS #1, PKCS #8) or `.ppk`, of an Ed25519,
    /// ECDSA or RSA key.
    pub private_key: Option<SecretRef>,
    /// Where the passphrase of the private key is kept, if it has one.
    pub passphrase: Option<SecretRef>,
    /// Where the password is kept that answers the server's question for one. Questions for anything else, such as a
    /// one-time code, end the login.
    pub keyboard_interactive: Option<SecretRef>,
}

/// Names of algorithms that are allowed besides the safe ones. They are offered last, and their use is warned of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SftpAlgorithms {
    /// Key exchange, such as `diffie-hellman-group14-sha1`.
    pub kex: Vec<String>,
    /// Host keys and signatures: `ssh-rsa`, which also allows RSA login keys to sign with SHA-1.
    pub host_key: Vec<String>,
    /// Encryption, such as `aes256-cbc`.
    pub cipher: Vec<String>,
    /// Integrity, such as `hmac-sha1`.
    pub mac: Vec<String>,
}

/// How often and when a connection that failed or broke is made again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SftpRetry {
    /// Attempts in all, from 1 to 20; bytes that come begin the count anew. Default 4.
    pub max_attempts: u32,
    /// Longest wait before the second attempt; doubles each time. The wait itself is random. Default `1s`.
    pub initial_backoff: HumanDuration,
    /// Longest wait; at most 1 hour. Default `30s`.
    pub max_backoff: HumanDuration,
}

const DEFAULT_READ_AHEAD: u64 = 4 << 20;
const READ_AHEAD: std::ops::RangeInclusive<u64> = (32 << 10)..=(64 << 20);
const MAX_ATTEMPTS: u32 = 20;

impl Default for SftpConfig {
    fn default() -> Self {
        let seconds = |seconds| HumanDuration(Duration::from_secs(seconds));
        Self {
            user: None,
            auth: Vec::new(),
            known_hosts: None,
            host_keys: Vec::new(),
            algorithms: SftpAlgorithms::default(),
            connect_timeout: seconds(30),
            timeout: seconds(60),
            keep_alive: seconds(15),
            retry: SftpRetry::default(),
            read_ahead: ByteSize(DEFAULT_READ_AHEAD),
        }
    }
}

impl Default for SftpRetry {
    fn default() -> Self {
        Self {
            max_attempts: 4,
            initial_backoff: HumanDuration(Duration::from_secs(1)),
            max_backoff: HumanDuration(Duration::from_secs(30)),
        }
    }
}

impl SftpConfig {
    /// Notes what is wrong, given the address. Paths of `problems` are below the block `sftp`.
    pub(crate) fn validate(&self, remote: &RemoteLocation, problems: &mut Problems<'_>) {
        match (self.user.as_deref(), user_of(remote)) {
            (None, Ok(None)) => problems.at("user").add_with_hint(
                "is missing: a server is logged in to by name",
                "set `user`, or write it into the address: `sftp://user@host/…`",
            ),
            (Some(""), _) => problems.at("user").add("is empty"),
            (Some(set), Ok(Some(written))) if set != written => problems.at("user").add(format!(
                "is `{set}`, and the address names the user `{written}`; give one of them"
            )),
            (_, Err(message)) => problems.at("user").add(message),
            _ => {}
        }
        self.validate_auth(&mut problems.at("auth"));
        if let Some(path) = &self.known_hosts {
            if path.as_os_str().is_empty() {
                problems.at("known_hosts").add("is empty");
            } else if path.starts_with("~") {
                problems.at("known_hosts").add_with_hint(
                    "begins with `~`, which is not replaced in pipeline files",
                    "write `${HOME}/.ssh/known_hosts`",
                );
            }
        }
        for (index, text) in self.host_keys.iter().enumerate() {
            if let Err((message, hint)) = Pin::parse(text) {
                problems
                    .at("host_keys")
                    .at_index(index)
                    .add_with_hint(message, hint);
            }
        }
        for (kind, key, names) in self.algorithms.lists() {
            for (index, name) in names.iter().enumerate() {
                if !kind.addable().contains(&&**name) {
                    validate_algorithm(kind, name, &mut problems.at("algorithms").at(key).at_index(index));
                }
            }
        }
        for (key, value, most) in [
            ("connect_timeout", self.connect_timeout, 600),
            ("timeout", self.timeout, 3600),
            ("keep_alive", self.keep_alive, 3600),
        ] {
            if value.0 < Duration::from_secs(1) || value.0 > Duration::from_secs(most) {
                problems
                    .at(key)
                    .add(format!("must be from 1s to {most}s, found {value}"));
            }
        }
        let mut retry = problems.at("retry");
        if !(1..=MAX_ATTEMPTS).contains(&self.retry.max_attempts) {
            retry.at("max_attempts").add(format!(
                "must be from 1 to {MAX_ATTEMPTS}, found {}",
                self.retry.max_attempts
            ));
        }
        if self.retry.initial_backoff.0.is_zero() {
            retry.at("initial_backoff").add("must be more than zero");
        }
        if !READ_AHEAD.contains(&self.read_ahead.0) {
            problems.at("read_ahead").add(format!(
                "must be from {} to {}, found {}",
                ByteSize(*READ_AHEAD.start()),
                ByteSize(*READ_AHEAD.end()),
                self.read_ahead
            ));
        }
    }

    fn validate_auth(&self, problems: &mut Problems<'_>) {
        if self.auth.is_empty() {
            problems.add_with_hint(
                "names no way to log in",
                "give a list of one or more of `{private_key: {file: …}}`, `{password: {env: …}}` and \
                 `{keyboard_interactive: {env: …}}`",
            );
        }
        for (index, entry) in self.auth.iter().enumerate() {
            let mut problems = problems.at_index(index);
            let ways = [&entry.password, &entry.private_key, &entry.keyboard_interactive];
            if ways.into_iter().flatten().count() != 1 {
                problems.add_with_hint(
                    "must hold exactly one of `password`, `private_key` and `keyboard_interactive`",
                    "several ways are several entries of the list, tried in its order",
                );
            } else if entry.passphrase.is_some() && entry.private_key.is_none() {
                problems
                    .at("passphrase")
                    .add("belongs to a `private_key`, which this entry has not");
            }
            if self.auth[..index].contains(entry) {
                problems.add("is in the list twice; a login is tried once");
            }
        }
    }
}

fn validate_algorithm(kind: Kind, name: &str, problems: &mut Problems<'_>) {
    if kind.usual().contains(&name) {
        problems.add_with_hint(
            format!("`{name}` is allowed anyway"),
            "take it out: `algorithms` is for those that are allowed besides",
        );
        return;
    }
    let message = format!("`{name}` is not known as {}", kind.words());
    match suggestion(name, kind.addable().iter().copied()) {
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

impl SftpRetry {
    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.initial_backoff.0, self.max_backoff.0)
    }
}

/// The user in the address.
///
/// # Errors
/// It cannot be read.
pub(super) fn user_of(remote: &RemoteLocation) -> Result<Option<String>, String> {
    if remote.user.is_empty() {
        return Ok(None);
    }
    // The parser of addresses has percent-encoded what cannot stand in one.
    let mut bytes = Vec::with_capacity(remote.user.len());
    let mut rest = remote.user.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                digit()
                    .zip(digit())
                    .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
            }
            other => Some(other),
        };
        bytes.push(decoded.ok_or_else(|| "in the address holds a `%` that begins no code".to_owned())?);
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| "in the address is not valid Unicode".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Problem;
    use crate::storage::location::Location;

    fn problems(address: &str, config: serde_json::Value) -> Vec<Problem> {
        let config: SftpConfig = serde_json::from_value(config).unwrap();
        let Location::Remote(remote) = Location::parse(address).unwrap() else {
            panic!("{address}");
        };
        let mut found = Vec::new();
        config.validate(&remote, &mut Problems::new(&mut found));
        found
    }

    fn paths(address: &str, config: serde_json::Value) -> Vec<String> {
        problems(address, config)
            .into_iter()
            .map(|problem| problem.path)
            .collect()
    }

    const FINGERPRINT: &str = "SHA256:uNiVztksCsDhcc0u9e8BrWiFbs5t65qwSPtAu0Ug4zg";

    #[test]
    fn what_is_needed_is_a_user_and_a_way_to_log_in() {
        let auth = json!([{"password": {"env": "P"}}]);
        assert_eq!(paths("sftp://hr@h/a", json!({"auth": auth})), [""; 0]);
        assert_eq!(paths("sftp://h/a", json!({"user": "hr", "auth": auth})), [""; 0]);
        assert_eq!(
            paths("sftp://hr@h/a", json!({"user": "hr", "auth": auth})),
            [""; 0]
        );
        assert_eq!(paths("sftp://h/a", json!({})), ["user", "auth"]);
        assert_eq!(
            paths("sftp://x@h/a", json!({"user": "hr", "auth": auth})),
            ["user"]
        );
        // As it is in the address of a user with an at-sign.
        assert_eq!(
            paths(
                "sftp://hr%40contoso@h/a",
                json!({"user": "hr@contoso", "auth": auth})
            ),
            [""; 0]
        );
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let found = problems(
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
                "host_keys": [FINGERPRINT, "MD5:aa:bb", "SHA256:short"],
                "algorithms": {
                    "kex": ["diffie-hellman-group14-sha1", "diffie-hellman-group14-sha"], "host_key": ["ssh-rsa", "ssh-dss"],
                    "cipher": ["aes256-ctr"], "mac": ["hmac-md5"],
                },
                "connect_timeout": "0s", "timeout": "2h", "keep_alive": "10ms",
                "retry": {"max_attempts": 0, "initial_backoff": "0s"},
                "read_ahead": "1KiB",
            }),
        );
        let paths: Vec<&str> = found.iter().map(|problem| &*problem.path).collect();
        assert_eq!(
            paths,
            [
                "auth[0]",
                "auth[1].passphrase",
                "auth[2]",
                "auth[4]",
                "known_hosts",
                "host_keys[1]",
                "host_keys[2]",
                "algorithms.kex[1]",
                "algorithms.host_key[1]",
                "algorithms.cipher[0]",
                "algorithms.mac[0]",
                "connect_timeout",
                "timeout",
                "keep_alive",
                "retry.max_attempts",
                "retry.initial_backoff",
                "read_ahead",
            ]
        );
        let hint = found[7].hint.as_deref().unwrap();
        assert!(hint.contains("diffie-hellman-group14-sha1"), "{hint}");
    }

    #[test]
    fn a_secret_is_never_text() {
        let error =
            serde_json::from_value::<SftpConfig>(json!({"auth": [{"password": "hunter2"}]})).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
