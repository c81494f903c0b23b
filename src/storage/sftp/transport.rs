//! The SSH connection: made, its host key verified before anything else, and told why it ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, DisconnectReason, Handle};
use russh::keys::{PublicKeyBase64 as _, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Names, SshId};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::algorithms::{Kind, Offer, SHA1_EXCHANGE};
use super::host_key::{Distrust, HostKey, HostKeys};
use crate::error::{Error, ErrorKind};
use crate::http::redact::clean;

/// The largest packet of a channel that the library takes without complaint; larger ones are fewer.
const PACKET: u32 = 65_535;

/// What is read of the connection at once. The library asks for four bytes of each packet, and then for the rest.
const READ_BUFFER: usize = 256 << 10;

/// Answers that may be missing until the connection counts as broken.
const UNANSWERED: usize = 3;

/// What it takes to make a connection.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) host: String,
    pub(super) port: u16,
    /// As errors name it.
    pub(super) place: Arc<str>,
    pub(super) keys: Arc<HostKeys>,
    pub(super) offer: Arc<Offer>,
    pub(super) connect_timeout: Duration,
    pub(super) keep_alive: Duration,
    /// Bytes that may be on their way to us.
    pub(super) window: u32,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Undialled {
    /// It may be there later.
    Passing(Error),
    /// Somebody must change something.
    Final(Error),
}

/// Why a connection ended, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Ending(Mutex<Ended>);

#[derive(Debug, Default)]
struct Ended {
    /// What the server said as it hung up.
    said: Option<String>,
    /// What happened to the connection.
    happened: Option<String>,
    out_of_methods: bool,
}

impl Ending {
    /// What the server said as it hung up.
    pub(super) fn said(&self) -> Option<String> {
        self.ended().said.clone()
    }

    /// Whether it ended because the server takes no login at all any more.
    pub(super) fn is_out_of_methods(&self) -> bool {
        self.ended().out_of_methods
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        let ended = self.ended();
        match (&ended.said, &ended.happened) {
            (Some(said), _) => format!("the server hung up: {said}"),
            (None, Some(happened)) => happened.clone(),
            (None, None) => "the server closed the connection".to_owned(),
        }
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, Ended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the library asks while a connection is up.
pub(super) struct Client {
    place: Arc<str>,
    keys: Arc<HostKeys>,
    offer: Arc<Offer>,
    ending: Arc<Ending>,
}

/// Why a connection ended from the inside.
#[derive(Debug)]
pub(super) enum Broken {
    Ssh(russh::Error),
    Distrusted(HostKey, Distrust),
}

impl From<russh::Error> for Broken {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl client::Handler for Client {
    type Error = Broken;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Broken> {
        let Some(key) = HostKey::new(shown.public_key().public_key_bytes()) else {
            return Ok(false);
        };
        match self.keys.check(&key) {
            Ok(()) => Ok(true),
            Err(distrust) => Err(Broken::Distrusted(key, distrust)),
        }
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        names: &Names,
        _: &mut client::Session,
    ) -> Result<(), Broken> {
        let used = [
            ("kex", names.kex.as_ref().to_owned()),
            ("host_key", names.key.to_string()),
            ("cipher", names.cipher.as_ref().to_owned()),
            ("mac", names.client_mac.as_ref().to_owned()),
        ];
        for (kind, name) in used {
            if self.offer.is_added(&name) {
                tracing::warn!(
                    server = &*self.place,
                    "the server knows no better {kind} than `{name}`, which is weak and which `algorithms` allows"
                );
            } else {
                tracing::debug!(server = &*self.place, "{kind}: {name}");
            }
        }
        Ok(())
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut client::Session) -> Result<(), Broken> {
        tracing::debug!(server = &*self.place, "the server greets: {}", clean(banner, 200));
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Broken>) -> Result<(), Broken> {
        let mut ended = self.ending.ended();
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                let message = clean(&info.message, 200);
                ended.said = Some(match message.is_empty() {
                    true => format!("{:?}", info.reason_code),
                    false => message,
                });
                Ok(())
            }
            DisconnectReason::Error(error) => {
                match &error {
                    Broken::Ssh(russh::Error::NoAuthMethod) => ended.out_of_methods = true,
                    Broken::Ssh(russh::Error::KeepaliveTimeout) => {
                        ended.happened = Some("the server does not answer any more".to_owned());
                    }
                    // The library's word for an end of the stream.
                    Broken::Ssh(russh::Error::Disconnect | russh::Error::HUP) => {}
                    Broken::Ssh(error) => ended.happened = Some(error.to_string()),
                    Broken::Distrusted(..) => {
                        ended.happened = Some("the server showed another host key".to_owned());
                    }
                }
                Err(error)
            }
        }
    }
}

impl Dial {
    /// Connects, agrees on keys and verifies the host key.
    pub(super) async fn connect(&self) -> Result<(Handle<Client>, Arc<Ending>), Undialled> {
        let mut without: Vec<String> = Vec::new();
        let mut first: Option<(HostKey, Distrust)> = None;
        loop {
            let ending = Arc::new(Ending::default());
            let broken = match timeout(self.connect_timeout, self.connect_once(&without, &ending)).await {
                Ok(Ok(handle)) => return Ok((handle, ending)),
                Ok(Err(broken)) => broken,
                Err(_) => {
                    return Err(Undialled::Passing(
                        self.unreachable(ErrorKind::Transient)
                            .with_source(Text(format!("no answer in {:?}", self.connect_timeout)))
                            .with_hint(FIREWALL),
                    ));
                }
            };
            match broken {
                // The server may have another key, which is the one that is meant.
                Broken::Distrusted(key, distrust @ Distrust::Changed { .. })
                    if self.keys.may_be_another_kind() && !without.contains(&key.kind) =>
                {
                    without.push(key.kind.clone());
                    first.get_or_insert((key, distrust));
                }
                Broken::Distrusted(key, distrust) => {
                    let (key, distrust) = first.unwrap_or((key, distrust));
                    return Err(Undialled::Final(self.distrusted(&key, distrust)));
                }
                Broken::Ssh(error) => {
                    return Err(match first {
                        Some((key, distrust)) if is_out_of_keys(&error) => {
                            Undialled::Final(self.distrusted(&key, distrust))
                        }
                        _ => self.broken(error, &ending),
                    });
                }
            }
        }
    }

    async fn connect_once(&self, without: &[String], ending: &Arc<Ending>) -> Result<Handle<Client>, Broken> {
        let stream = TcpStream::connect((&*self.host, self.port))
            .await
            .map_err(russh::Error::IO)?;
        // Requests are small and must not wait for each other.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("cannot set TCP_NODELAY: {error}");
        }
        let mut config = client::Config {
            client_id: SshId::Standard(concat!("SSH-2.0-hrsink_", env!("CARGO_PKG_VERSION")).into()),
            window_size: self.window,
            maximum_packet_size: PACKET,
            preferred: self.offer.preferred(&self.keys.kinds(), without),
            keepalive_interval: Some(self.keep_alive),
            keepalive_max: UNANSWERED,
            nodelay: true,
            ..client::Config::default()
        };
        if self.offer.is_added(SHA1_EXCHANGE) {
            config.gex = client::GexParams::new(2048, 2048, 8192)?;
        }
        let client = Client {
            place: self.place.clone(),
            keys: self.keys.clone(),
            offer: self.offer.clone(),
            ending: ending.clone(),
        };
        let stream = BufReader::with_capacity(READ_BUFFER, stream);
        client::connect_stream(Arc::new(config), stream, client).await
    }

    fn unreachable(&self, kind: ErrorKind) -> Error {
        Error::new(kind, format!("cannot connect to {}", self.place))
    }

    fn broken(&self, error: russh::Error, ending: &Ending) -> Undialled {
        match error {
            russh::Error::IO(error) => {
                let passing = self.unreachable(ErrorKind::Transient);
                let hint = match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => "nobody listens at that port: check host and port",
                    _ => FIREWALL,
                };
                Undialled::Passing(passing.with_source(error).with_hint(hint))
            }
            russh::Error::NoCommonAlgo { kind, theirs, .. } => {
                let (ours, key) = match kind {
                    AlgorithmKind::Kex => (Kind::Kex, "kex"),
                    AlgorithmKind::Key => (Kind::HostKey, "host_key"),
                    AlgorithmKind::Cipher => (Kind::Cipher, "cipher"),
                    AlgorithmKind::Mac => (Kind::Mac, "mac"),
                    AlgorithmKind::Compression => {
                        return Undialled::Final(
                            self.unreachable(ErrorKind::Config)
                                .with_source(Text("the server insists on compression".to_owned())),
                        );
                    }
                };
                let addable: Vec<&str> = ours
                    .addable()
                    .iter()
                    .copied()
                    .filter(|name| theirs.iter().any(|their| their == name))
                    .collect();
                let error = self.unreachable(ErrorKind::Config).with_source(Text(format!(
                    "there is no {key} algorithm that both sides take; the server's are {}",
                    clean(&theirs.join(", "), 400)
                )));
                Undialled::Final(match addable.first() {
                    Some(name) => error
                        .with_hint("ask whoever runs the server to bring it up to date: what it offers is weak")
                        .with_hint(format!("until then, `algorithms: {{{key}: [{name}]}}` allows it, with a warning")),
                    None => error.with_hint("the server must be brought up to date: none of these can be allowed"),
                })
            }
            russh::Error::Version => Undialled::Final(
                self.unreachable(ErrorKind::Config)
                    .with_source(Text("whoever answers there does not speak SSH".to_owned()))
                    .with_hint("check host and port"),
            ),
            russh::Error::WrongServerSig | russh::Error::UnknownKey => Undialled::Final(
                self.unreachable(ErrorKind::Config).with_source(error).with_hint(
                    "the server could not prove that it holds its host key: somebody may be in between; nothing was sent",
                ),
            ),
            // Servers that have enough connections, or that block an address, hang up before they say who they are.
            russh::Error::Disconnect | russh::Error::HUP => Undialled::Passing(
                self.unreachable(ErrorKind::Transient)
                    .with_source(Text(ending.text()))
                    .with_hint(FIREWALL),
            ),
            other => Undialled::Passing(self.unreachable(ErrorKind::Transient).with_source(other)),
        }
    }

    /// The error for a server that is not known to be the one that is meant.
    fn distrusted(&self, key: &HostKey, distrust: Distrust) -> Error {
        let shown = format!("{} {}", key.kind, key.fingerprint());
        let file = self.keys.file().map(|file| format!("`{}`", file.display()));
        match distrust {
            Distrust::Unknown { authority } => {
                let mut error = Error::config(format!("the host key of {} is not known: it shows {shown}", self.place))
                    .with_hint(
                        "compare this fingerprint with what whoever runs the server gives out by another way (a portal, a \
                         phone call): if it is another, somebody is in between",
                    )
                    .with_hint(format!(
                        "if it is the same, add this line to {}: {}",
                        file.as_deref().unwrap_or("a file that `sftp.known_hosts` names"),
                        self.keys.line(key)
                    ))
                    .with_hint(format!("or name it in the settings: `host_keys: [\"{}\"]`", key.fingerprint()));
                if let Some(line) = authority {
                    error = error.with_hint(format!(
                        "line {line} names an authority that vouches for host keys, which is not supported: only keys are"
                    ));
                }
                error
            }
            Distrust::Changed { known } => {
                let known: Vec<String> = known
                    .into_iter()
                    .map(|(line, fingerprint)| match line {
                        Some(line) => format!(
                            "{fingerprint} (line {line} of {})",
                            file.as_deref().unwrap_or("the known hosts")
                        ),
                        None => format!("{fingerprint} (`host_keys`)"),
                    })
                    .collect();
                Error::config(format!(
                    "THE HOST KEY OF {} HAS CHANGED: it shows {shown}, and what is known is {}",
                    self.place,
                    known.join(", ")
                ))
                .with_hint(
                    "somebody may be in between, or the server has got a new key; nothing was sent, not even the name of \
                     the user",
                )
                .with_hint(format!(
                    "ask whoever runs the server, by another way than this one; if the key is theirs, the line for it is: {}",
                    self.keys.line(key)
                ))
            }
            Distrust::Revoked { line } => Error::config(format!(
                "the host key of {}, {shown}, is revoked (line {line} of {})",
                self.place,
                file.as_deref().unwrap_or("the known hosts")
            ))
            .with_hint("whoever holds it is not to be trusted; ask whoever runs the server for the new key"),
        }
    }
}

const FIREWALL: &str = "check host and port, and that the address this machine goes out by is on the server's list of allowed \
                        ones: many servers answer no others";

fn is_out_of_keys(error: &russh::Error) -> bool {
    matches!(
        error,
        russh::Error::NoCommonAlgo {
            kind: AlgorithmKind::Key,
            ..
        }
    )
}

/// A cause in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Text(pub(super) String);
