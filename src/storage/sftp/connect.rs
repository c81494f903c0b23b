//! Opens the SSH connection and verifies the host key before anything else is sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, DisconnectReason, Handle};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Names, SshId};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::algorithms::{Kind, OfferedAlgorithms, SHA1_GROUP_EXCHANGE};
use super::error::{Cause, SftpError};
use super::host_key::{HostKeyStatus, KnownKeys, fingerprint};
use crate::error::{Error, ErrorKind};
use crate::http::redact::clean;

/// The largest channel packet that the SSH library accepts without a warning.
const MAX_PACKET_BYTES: u32 = 65_535;

/// Read buffer of the TCP stream: the SSH library reads four bytes of a packet and then the rest.
const READ_BUFFER_BYTES: usize = 256 << 10;

/// Keep-alive requests without a response before the connection counts as lost.
const MAX_UNANSWERED: usize = 3;

/// How to connect to a server.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) host: String,
    pub(super) port: u16,
    /// The server in messages.
    pub(super) server: Arc<str>,
    pub(super) keys: Arc<KnownKeys>,
    pub(super) algorithms: Arc<OfferedAlgorithms>,
    pub(super) connect_timeout: Duration,
    pub(super) keep_alive: Duration,
    /// Receive window in bytes.
    pub(super) window: u32,
}

/// Why a connection ended, as far as is known.
#[derive(Debug, Default)]
pub(super) struct CloseReason(Mutex<Closed>);

#[derive(Debug, Default)]
struct Closed {
    /// The server's message.
    message: Option<String>,
    /// What the SSH library reported.
    cause: Option<String>,
    no_auth_method: bool,
}

impl CloseReason {
    fn lock(&self) -> std::sync::MutexGuard<'_, Closed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The message that the server sent.
    pub(super) fn message(&self) -> Option<String> {
        self.lock().message.clone()
    }

    /// Whether the server accepts no further authentication method.
    pub(super) fn is_no_auth_method(&self) -> bool {
        self.lock().no_auth_method
    }

    /// The reason; `None` if the stream just ended.
    pub(super) fn reported(&self) -> Option<String> {
        let closed = self.lock();
        match (&closed.message, &closed.cause) {
            (Some(message), _) => Some(format!("the server disconnected: {message}")),
            (None, cause) => cause.clone(),
        }
    }

    /// The reason in words.
    pub(super) fn text(&self) -> String {
        self.reported()
            .unwrap_or_else(|| "the server closed the connection".to_owned())
    }
}

/// Callbacks of the SSH library.
pub(super) struct Client {
    server: Arc<str>,
    keys: Arc<KnownKeys>,
    algorithms: Arc<OfferedAlgorithms>,
    reason: Arc<CloseReason>,
}

impl client::Handler for Client {
    type Error = SftpError;

    async fn check_server_key(&mut self, presented: &PublicKeyOrCertificate) -> Result<bool, SftpError> {
        let key = presented.public_key();
        match self.keys.verify(&key) {
            HostKeyStatus::Trusted => Ok(true),
            status => Err(SftpError::HostKey(Box::new(key), status)),
        }
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        names: &Names,
        _: &mut client::Session,
    ) -> Result<(), SftpError> {
        let negotiated = [
            ("kex", names.kex.as_ref().to_owned()),
            ("host_key", names.key.to_string()),
            ("cipher", names.cipher.as_ref().to_owned()),
            ("mac", names.client_mac.as_ref().to_owned()),
        ];
        for (kind, name) in negotiated {
            if self.algorithms.is_extra(&name) {
                tracing::warn!(
                    server = &*self.server,
                    "the server supports no better {kind} than `{name}`, which is weak and enabled by `algorithms`"
                );
            } else {
                tracing::debug!(server = &*self.server, "{kind}: {name}");
            }
        }
        Ok(())
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut client::Session) -> Result<(), SftpError> {
        tracing::debug!(server = &*self.server, "login banner: {}", clean(banner, 200));
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<SftpError>) -> Result<(), SftpError> {
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
                    SftpError::Ssh(russh::Error::NoAuthMethod) => closed.no_auth_method = true,
                    SftpError::Ssh(russh::Error::KeepaliveTimeout) => {
                        closed.cause = Some("the server does not respond".to_owned());
                    }
                    // The stream ended.
                    SftpError::Ssh(russh::Error::Disconnect | russh::Error::HUP) => {}
                    other => closed.cause = Some(other.to_string()),
                }
                Err(error)
            }
        }
    }
}

impl Connector {
    /// Connects and verifies the host key.
    pub(super) async fn connect(&self) -> Result<(Handle<Client>, Arc<CloseReason>), SftpError> {
        let mut excluded: Vec<String> = Vec::new();
        let mut first: Option<(Box<PublicKey>, HostKeyStatus)> = None;
        loop {
            let reason = Arc::new(CloseReason::default());
            let error = match timeout(self.connect_timeout, self.connect_once(&excluded, &reason)).await {
                Ok(Ok(handle)) => return Ok((handle, reason)),
                Ok(Err(error)) => error,
                Err(_) => {
                    return Err(SftpError::Transient(
                        self.error(ErrorKind::Transient)
                            .with_source(Cause(format!("no response within {:?}", self.connect_timeout)))
                            .with_hint(FIREWALL_HINT),
                    ));
                }
            };
            let algorithm = |key: &PublicKey| key.algorithm().to_string();
            match error {
                // A fingerprint may belong to a key of another algorithm, which the server may have too.
                SftpError::HostKey(key, status @ HostKeyStatus::Changed { .. })
                    if self.keys.has_fingerprints() && !excluded.contains(&algorithm(&key)) =>
                {
                    excluded.push(algorithm(&key));
                    first.get_or_insert((key, status));
                }
                SftpError::HostKey(key, status) => {
                    let (key, status) = first.unwrap_or((key, status));
                    return Err(SftpError::Permanent(self.untrusted(&key, &status)));
                }
                SftpError::Ssh(error) => {
                    return Err(match first {
                        Some((key, status)) if is_out_of_keys(&error) => {
                            SftpError::Permanent(self.untrusted(&key, &status))
                        }
                        _ => self.connect_error(error, &reason),
                    });
                }
                other => return Err(other),
            }
        }
    }

    async fn connect_once(
        &self,
        excluded: &[String],
        reason: &Arc<CloseReason>,
    ) -> Result<Handle<Client>, SftpError> {
        let stream = TcpStream::connect((&*self.host, self.port))
            .await
            .map_err(russh::Error::IO)?;
        // Requests are small and must not be delayed.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("cannot set TCP_NODELAY: {error}");
        }
        let mut config = client::Config {
            client_id: SshId::Standard(concat!("SSH-2.0-hrsink_", env!("CARGO_PKG_VERSION")).into()),
            window_size: self.window,
            maximum_packet_size: MAX_PACKET_BYTES,
            preferred: self.algorithms.preferred(&self.keys.algorithms(), excluded),
            keepalive_interval: Some(self.keep_alive),
            keepalive_max: MAX_UNANSWERED,
            nodelay: true,
            ..client::Config::default()
        };
        if self.algorithms.is_extra(SHA1_GROUP_EXCHANGE) {
            config.gex = client::GexParams::new(2048, 2048, 8192)?;
        }
        let client = Client {
            server: self.server.clone(),
            keys: self.keys.clone(),
            algorithms: self.algorithms.clone(),
            reason: reason.clone(),
        };
        let stream = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
        client::connect_stream(Arc::new(config), stream, client).await
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, format!("cannot connect to {}", self.server))
    }

    fn connect_error(&self, error: russh::Error, reason: &CloseReason) -> SftpError {
        let transient = || self.error(ErrorKind::Transient);
        let config = || self.error(ErrorKind::Config);
        match error {
            russh::Error::IO(error) => {
                let hint = match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => "no server listens on that port: check host and port",
                    _ => FIREWALL_HINT,
                };
                SftpError::Transient(transient().with_source(error).with_hint(hint))
            }
            russh::Error::NoCommonAlgo { kind, theirs, .. } => {
                SftpError::Permanent(self.no_common_algorithm(&kind, &theirs))
            }
            russh::Error::Version => SftpError::Permanent(
                config()
                    .with_source(Cause("the server does not speak SSH".to_owned()))
                    .with_hint("check host and port"),
            ),
            russh::Error::WrongServerSig | russh::Error::UnknownKey => SftpError::Permanent(
                config()
                    .with_source(error)
                    .with_hint("the server could not prove that it owns its host key: someone may intercept the connection; nothing was sent"),
            ),
            // Servers at their connection limit, or that block an address, disconnect before they send a version.
            russh::Error::Disconnect | russh::Error::HUP => SftpError::Transient(
                transient().with_source(Cause(reason.text())).with_hint(FIREWALL_HINT),
            ),
            other => SftpError::Transient(transient().with_source(other)),
        }
    }

    fn no_common_algorithm(&self, kind: &AlgorithmKind, theirs: &[String]) -> Error {
        let error = self.error(ErrorKind::Config);
        let (kind, key) = match kind {
            AlgorithmKind::Kex => (Kind::Kex, "kex"),
            AlgorithmKind::Key => (Kind::HostKey, "host_key"),
            AlgorithmKind::Cipher => (Kind::Cipher, "cipher"),
            AlgorithmKind::Mac => (Kind::Mac, "mac"),
            AlgorithmKind::Compression => {
                return error.with_source(Cause("the server requires compression".to_owned()));
            }
        };
        let error = error.with_source(Cause(format!(
            "no common {key} algorithm: the server offers {}",
            clean(&theirs.join(", "), 400)
        )));
        let extra = kind
            .extra()
            .iter()
            .find(|name| theirs.iter().any(|their| their == *name));
        match extra {
            Some(name) => error
                .with_hint("ask the operator of the server to update it: what it offers is weak")
                .with_hint(format!(
                    "until then, `algorithms: {{{key}: [{name}]}}` enables it, with a warning"
                )),
            None => error.with_hint("the server must be updated: none of these can be enabled"),
        }
    }

    /// The error for a host key that is not trusted.
    fn untrusted(&self, key: &PublicKey, status: &HostKeyStatus) -> Error {
        let (print, server) = (fingerprint(key), &self.server);
        let presented = format!("{} {print}", key.algorithm());
        let file = self.keys.file().map(|file| format!("`{}`", file.display()));
        let known_hosts = file.as_deref().unwrap_or("known_hosts");
        match status {
            HostKeyStatus::Trusted | HostKeyStatus::Unknown { .. } => {
                let error = Error::config(format!("the host key of {server} is not known: it presented {presented}"))
                    .with_hint(
                        "compare this fingerprint with the one that the operator publishes elsewhere (a portal, a phone \
                         call): if they differ, someone intercepts the connection",
                    )
                    .with_hint(format!(
                        "if they are equal, add this line to {}: {}",
                        file.as_deref().unwrap_or("a file that `sftp.known_hosts` names"),
                        self.keys.line_for(key)
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
                    "ask the operator of the server over another channel; if the key is theirs, its line is: {}",
                    self.keys.line_for(key)
                ))
            }
            HostKeyStatus::Revoked { line } => Error::config(format!(
                "the host key of {server}, {presented}, is revoked (line {line} of {known_hosts})"
            ))
            .with_hint("do not trust this server; ask its operator for the new key"),
        }
    }
}

const FIREWALL_HINT: &str = "check host and port, and that the server's list of allowed addresses contains the public address \
                             of this machine: many servers do not respond to others";

fn is_out_of_keys(error: &russh::Error) -> bool {
    matches!(
        error,
        russh::Error::NoCommonAlgo {
            kind: AlgorithmKind::Key,
            ..
        }
    )
}
