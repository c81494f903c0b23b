//! Opens the SSH connection and verifies the host key before anything else is sent.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::client::{self, DisconnectReason, Handle};
use russh::keys::{Algorithm, PublicKey, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Names, Preferred, SshId, compression, kex};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::algorithms::{CIPHER, HOST_KEY, KEX, Kind, MAC, SftpAlgorithms};
use super::host_key::{HostKeyStatus, KnownKeys, fingerprint};
use super::server::{Server, SftpError};
use crate::error::{Error, ErrorKind};
use crate::http::redact::clean;

/// The largest channel packet that the SSH library accepts without a warning.
const MAX_PACKET_BYTES: u32 = 65_535;
/// Read buffer of the TCP stream: the SSH library reads four bytes of a packet and then the rest.
const READ_BUFFER_BYTES: usize = 256 << 10;
/// Receive window beyond the bytes of a file in flight: responses that are not file content.
const EXTRA_WINDOW_BYTES: u64 = 1 << 20;
/// Keep-alive requests without a response before the connection counts as lost.
const MAX_UNANSWERED: usize = 3;

/// Servers that require it have groups of at most 2,048 bits.
const SHA1_GROUP_EXCHANGE: &str = "diffie-hellman-group-exchange-sha1";

const FIREWALL_HINT: &str = "check host and port, and that the server's list of allowed addresses contains the public address \
                             of this machine: many servers do not respond to others";

/// Why a connection ended, as far as is known.
#[derive(Debug, Clone, Default)]
pub(super) struct CloseReason(Arc<Mutex<Closed>>);

#[derive(Debug, Default)]
pub(super) struct Closed {
    pub(super) message: Option<String>,
    /// What the SSH library reported.
    cause: Option<String>,
    /// The server accepts no further authentication method.
    pub(super) no_auth_method: bool,
    /// The presented host key, if it is not trusted.
    untrusted: Option<PublicKey>,
}

impl CloseReason {
    pub(super) fn lock(&self) -> MutexGuard<'_, Closed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reason in words; `default` if the stream just ended.
    pub(super) fn text(&self, default: impl Into<String>) -> String {
        let closed = self.lock();
        match (&closed.message, &closed.cause) {
            (Some(message), _) => format!("the server disconnected: {message}"),
            (None, Some(cause)) => cause.clone(),
            (None, None) => default.into(),
        }
    }
}

pub(super) struct Client {
    server: String,
    keys: Arc<KnownKeys>,
    algorithms: SftpAlgorithms,
    reason: CloseReason,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, presented: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let key = presented.public_key();
        let is_trusted = self.keys.verify(&key) == HostKeyStatus::Trusted;
        if !is_trusted {
            self.reason.lock().untrusted = Some(key);
        }
        Ok(is_trusted)
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        names: &Names,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        let negotiated = [
            ("kex", names.kex.as_ref().to_owned()),
            ("host_key", names.key.to_string()),
            ("cipher", names.cipher.as_ref().to_owned()),
            ("mac", names.client_mac.as_ref().to_owned()),
        ];
        for (kind, name) in negotiated {
            if self.algorithms.enables(&name) {
                tracing::warn!(
                    server = self.server,
                    "the server supports no better {kind} than `{name}`, which is weak and enabled by `algorithms`"
                );
            } else {
                tracing::debug!(server = self.server, "{kind}: {name}");
            }
        }
        Ok(())
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut client::Session) -> Result<(), russh::Error> {
        tracing::debug!(server = self.server, "login banner: {}", clean(banner, 200));
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        let mut closed = self.reason.lock();
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                let message = clean(&info.message, 200);
                closed.message = Some(match message.is_empty() {
                    true => format!("{:?}", info.reason_code),
                    false => message,
                });
                Ok(())
            }
            DisconnectReason::Error(error) => {
                match &error {
                    russh::Error::NoAuthMethod => closed.no_auth_method = true,
                    russh::Error::KeepaliveTimeout => {
                        closed.cause = Some("the server does not respond".to_owned());
                    }
                    // The stream ended.
                    russh::Error::Disconnect | russh::Error::HUP => {}
                    other => closed.cause = Some(other.to_string()),
                }
                Err(error)
            }
        }
    }
}

impl Server {
    pub(super) async fn connect(&self) -> Result<(Handle<Client>, CloseReason), SftpError> {
        let limit = self.settings.connect_timeout.get();
        let mut excluded: Vec<String> = Vec::new();
        let mut first: Option<PublicKey> = None;
        loop {
            let reason = CloseReason::default();
            let error = match timeout(limit, self.connect_once(&excluded, &reason)).await {
                Ok(Ok(handle)) => return Ok((handle, reason)),
                Ok(Err(error)) => error,
                Err(_) => {
                    let cause = format!("no response within {limit:?}");
                    return Err(SftpError::Transient(
                        self.unreachable(cause).with_hint(FIREWALL_HINT),
                    ));
                }
            };
            let presented = reason.lock().untrusted.take();
            let Some(key) = presented else {
                return Err(match first {
                    Some(key) if is_out_of_keys(&error) => SftpError::Permanent(self.untrusted(&key)),
                    _ => self.connect_error(error, &reason),
                });
            };
            let algorithm = key.algorithm().to_string();
            let is_changed = matches!(self.keys.verify(&key), HostKeyStatus::Changed { .. });
            if !is_changed || !self.keys.has_fingerprints() || excluded.contains(&algorithm) {
                return Err(SftpError::Permanent(self.untrusted(&first.unwrap_or(key))));
            }
            // A fingerprint may belong to a key of another algorithm, which the server may have too.
            excluded.push(algorithm);
            first.get_or_insert(key);
        }
    }

    async fn connect_once(
        &self,
        excluded: &[String],
        reason: &CloseReason,
    ) -> Result<Handle<Client>, russh::Error> {
        let settings = &self.settings;
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        // Requests are small and must not be delayed.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("cannot set TCP_NODELAY: {error}");
        }
        let window = settings.read_ahead.get() * 2 + EXTRA_WINDOW_BYTES;
        let mut config = client::Config {
            client_id: SshId::Standard(concat!("SSH-2.0-hrsink_", env!("CARGO_PKG_VERSION")).into()),
            window_size: u32::try_from(window).unwrap_or(u32::MAX),
            maximum_packet_size: MAX_PACKET_BYTES,
            preferred: settings.algorithms.preferred(&self.keys.algorithms(), excluded),
            keepalive_interval: Some(settings.keep_alive.get()),
            keepalive_max: MAX_UNANSWERED,
            nodelay: true,
            ..client::Config::default()
        };
        if settings.algorithms.enables(SHA1_GROUP_EXCHANGE) {
            config.gex = client::GexParams::new(2048, 2048, 8192)?;
        }
        let client = Client {
            server: self.name.clone(),
            keys: self.keys.clone(),
            algorithms: settings.algorithms.clone(),
            reason: reason.clone(),
        };
        let stream = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
        client::connect_stream(Arc::new(config), stream, client).await
    }

    fn cannot_connect(&self, kind: ErrorKind) -> Error {
        Error::new(kind, format!("cannot connect to {}", self.name))
    }

    fn unreachable(&self, cause: String) -> Error {
        self.cannot_connect(ErrorKind::Transient).with_source(cause)
    }

    fn connect_error(&self, error: russh::Error, reason: &CloseReason) -> SftpError {
        let invalid = || self.cannot_connect(ErrorKind::Config);
        SftpError::Permanent(match error {
            russh::Error::NoCommonAlgo { kind, theirs, .. } => self.no_common_algorithm(&kind, &theirs),
            russh::Error::Version => invalid()
                .with_source("the server does not speak SSH")
                .with_hint("check host and port"),
            russh::Error::WrongServerSig | russh::Error::UnknownKey => invalid().with_source(error).with_hint(
                "the server could not prove that it owns its host key: someone may intercept the connection; nothing \
                 was sent",
            ),
            russh::Error::IO(error) => {
                let hint = match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => "no server listens on that port: check host and port",
                    _ => FIREWALL_HINT,
                };
                return SftpError::Transient(self.unreachable(error.to_string()).with_hint(hint));
            }
            // Servers at their connection limit, or that block an address, disconnect before they send a version.
            russh::Error::Disconnect | russh::Error::HUP => {
                let cause = reason.text("the server closed the connection");
                return SftpError::Transient(self.unreachable(cause).with_hint(FIREWALL_HINT));
            }
            other => return SftpError::Transient(self.unreachable(other.to_string())),
        })
    }

    fn no_common_algorithm(&self, kind: &AlgorithmKind, theirs: &[String]) -> Error {
        let error = self.cannot_connect(ErrorKind::Config);
        let kind = match kind {
            AlgorithmKind::Kex => &KEX,
            AlgorithmKind::Key => &HOST_KEY,
            AlgorithmKind::Cipher => &CIPHER,
            AlgorithmKind::Mac => &MAC,
            AlgorithmKind::Compression => return error.with_source("the server requires compression"),
        };
        let (key, offered) = (kind.key, clean(&theirs.join(", "), 400));
        let error = error.with_source(format!("no common {key} algorithm: the server offers {offered}"));
        let is_offered = |name: &&&str| theirs.iter().any(|their| their == *name);
        match kind.weak.iter().find(is_offered) {
            Some(name) => error
                .with_hint("ask the operator of the server to update it: what it offers is weak")
                .with_hint(format!(
                    "until then, `algorithms: {{{key}: [{name}]}}` enables it, with a warning"
                )),
            None => error.with_hint("the server must be updated: none of these can be enabled"),
        }
    }

    fn untrusted(&self, key: &PublicKey) -> Error {
        let (print, server, line) = (fingerprint(key), &self.name, self.keys.line_for(key));
        let presented = format!("{} {print}", key.algorithm());
        let file = self.settings.known_hosts.as_ref();
        let file = file.map(|file| format!("`{}`", file.display()));
        let known_hosts = file.as_deref().unwrap_or("known_hosts");
        match self.keys.verify(key) {
            status @ (HostKeyStatus::Trusted | HostKeyStatus::Unknown { .. }) => {
                let error = Error::config(format!("the host key of {server} is not known: it presented {presented}"))
                    .with_hint(
                        "compare this fingerprint with the one that the operator publishes elsewhere (a portal, a phone \
                         call): if they differ, someone intercepts the connection",
                    )
                    .with_hint(format!(
                        "if they are equal, add this line to {}: {line}",
                        file.as_deref().unwrap_or("a file that `sftp.known_hosts` names"),
                    ))
                    .with_hint(format!("or add it to the settings: `host_keys: [\"{print}\"]`"));
                match status {
                    HostKeyStatus::Unknown {
                        authority_line: Some(line),
                    } => error.with_hint(format!(
                        "line {line} names a certificate authority for host keys, which is not supported: list the key"
                    )),
                    _ => error,
                }
            }
            HostKeyStatus::Changed { known } => {
                let known = known.iter().map(|(line, print)| match line {
                    Some(line) => format!("{print} (line {line} of {known_hosts})"),
                    None => format!("{print} (`host_keys`)"),
                });
                Error::config(format!(
                    "THE HOST KEY OF {server} HAS CHANGED: it presented {presented}, and the known keys are {}",
                    known.collect::<Vec<_>>().join(", ")
                ))
                .with_hint(
                    "someone may intercept the connection, or the server has a new key; nothing was sent, not even the \
                     user name",
                )
                .with_hint(format!(
                    "ask the operator of the server over another channel; if the key is theirs, its line is: {line}"
                ))
            }
            HostKeyStatus::Revoked { line } => Error::config(format!(
                "the host key of {server}, {presented}, is revoked (line {line} of {known_hosts})"
            ))
            .with_hint("do not trust this server; ask its operator for the new key"),
        }
    }
}

fn is_out_of_keys(error: &russh::Error) -> bool {
    matches!(
        error,
        russh::Error::NoCommonAlgo {
            kind: AlgorithmKind::Key,
            ..
        }
    )
}

/// Lets the server announce the signatures that it accepts, and prevents CVE-2023-48795.
const EXTENSIONS: [kex::Name; 2] = [
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

impl SftpAlgorithms {
    pub(super) fn enables(&self, name: &str) -> bool {
        let mut names = self.lists().into_iter().flat_map(|(_, names)| names);
        names.any(|enabled| enabled == name)
    }

    /// The offer for the SSH library. As in OpenSSH, the algorithms of `known` host keys come first, so that a server
    /// with several keys presents a known one. Those in `excluded` are not offered.
    fn preferred(&self, known: &[String], excluded: &[String]) -> Preferred {
        let mut keys: Vec<&str> = names(&HOST_KEY, &self.host_key)
            .filter(|name| !excluded.iter().any(|kind| kind == key_algorithm(name)))
            .collect();
        keys.sort_by_key(|name| !known.iter().any(|kind| kind == key_algorithm(name)));
        let keys = keys.into_iter().filter_map(|name| Algorithm::new(name).ok());
        Preferred {
            kex: of_library(&KEX, &self.kex).chain(EXTENSIONS).collect(),
            key: keys.collect(),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: of_library(&CIPHER, &self.cipher).collect(),
            mac: of_library(&MAC, &self.mac).collect(),
            // Large exports are compressed already, and decompression is slower than most networks.
            compression: Cow::Borrowed(&[compression::NONE]),
        }
    }
}

fn names<'n>(kind: &Kind, enabled: &'n [String]) -> impl Iterator<Item = &'n str> + use<'n> {
    let enabled = enabled.iter().map(String::as_str);
    kind.standard.iter().copied().chain(enabled)
}

fn of_library<'n, N: TryFrom<&'n str>>(
    kind: &Kind,
    enabled: &'n [String],
) -> impl Iterator<Item = N> + use<'n, N> {
    names(kind, enabled).filter_map(|name| N::try_from(name).ok())
}

/// The key algorithm of a signature algorithm.
fn key_algorithm(algorithm: &str) -> &str {
    match algorithm {
        "rsa-sha2-256" | "rsa-sha2-512" => "ssh-rsa",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_knows_all_names_and_weak_ones_need_to_be_enabled() {
        let all = |kind: &Kind| kind.weak.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let weak = SftpAlgorithms {
            kex: all(&KEX),
            host_key: all(&HOST_KEY),
            cipher: all(&CIPHER),
            mac: all(&MAC),
        };
        let counts = |of: &Preferred| (of.kex.len(), of.key.len(), of.cipher.len(), of.mac.len());
        let offer = weak.preferred(&[], &[]);
        assert_eq!(counts(&offer), (15, 7, 9, 6));
        assert!(!offer.key.iter().any(|name| matches!(name, Algorithm::Other(_))));
        assert_eq!(offer.key.last().unwrap().as_str(), "ssh-rsa");
        let default = SftpAlgorithms::default().preferred(&[], &[]);
        assert_eq!(counts(&default), (12, 6, 6, 4));
    }
}
