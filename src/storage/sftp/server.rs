//! A server connection that is restored when it breaks.
//!
//! One connection serves a source. When it breaks, it is opened again with host key verification and login, within the
//! limits of `retry`. A rejected login is never repeated, nor is one that may have been rejected.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use russh::client::Handle;
use russh::{ChannelMsg, Disconnect};
use sftp_client::{Session, Status};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connect::{Client, CloseReason};
use super::host_key::{KnownKeys, PinnedKey};
use super::identity::Credential;
use super::{SftpConfig, user_of};
use crate::error::{Error, ErrorKind, Result};
use crate::http::retry::{AttemptError, GaveUp, Reason, Verdict};
use crate::storage::Context;
use crate::storage::location::RemoteLocation;

#[derive(Debug)]
pub(super) enum SftpError {
    Status(Status),
    /// A new connection may succeed.
    Transient(Error),
    /// Retrying does not help.
    Permanent(Error),
}

impl fmt::Display for SftpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Transient(error) | Self::Permanent(error) => f.write_str(&error.chain()),
        }
    }
}

impl AttemptError for SftpError {}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) settings: SftpConfig,
    pub(super) host: String,
    pub(super) port: u16,
    /// The server in messages.
    pub(super) name: String,
    pub(super) user: String,
    /// In the order in which they are tried.
    pub(super) credentials: Vec<Credential>,
    pub(super) keys: Arc<KnownKeys>,
    /// The login succeeded before, so that a connection that closes during another one is not due to the credentials.
    pub(super) logged_in: AtomicBool,
    cancel: CancellationToken,
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Connection>,
    /// Why this run opens no further connection.
    permanent: Option<Error>,
}

/// A session with the reason why its connection ended.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) session: Arc<Session>,
    reason: CloseReason,
}

impl Server {
    pub(super) async fn new(settings: SftpConfig, location: &RemoteLocation, cx: &Context) -> Result<Self> {
        let (reading, context) = (settings.clone(), cx.clone());
        let secrets = tokio::task::spawn_blocking(move || {
            let auth = reading.auth.iter();
            // Decrypting a key is slow by design.
            let credentials = auth.map(|entry| Credential::read(entry, &context));
            Ok::<_, Error>((
                credentials.collect::<Result<Vec<_>>>()?,
                read_known_hosts(reading.known_hosts.as_deref(), &context.base)?,
            ))
        });
        let (credentials, known_hosts) = secrets
            .await
            .map_err(|error| Error::task_failed("reading secrets", &error))??;
        let pins = settings.host_keys.iter();
        let pins = pins.filter_map(|pin| PinnedKey::parse(pin).ok()).collect();
        let (name, port) = (location.origin(), location.port.unwrap_or(22));
        let user = settings.username.clone().or(user_of(location).ok().flatten());
        Ok(Self {
            user: user.unwrap_or_default(),
            credentials,
            keys: Arc::new(KnownKeys::new(&location.host, port, &known_hosts, pins)),
            logged_in: AtomicBool::new(false),
            cancel: cx.cancel.clone(),
            state: tokio::sync::Mutex::default(),
            host: location.host.clone(),
            port,
            name,
            settings,
        })
    }

    /// The connection, opened if there is none. One attempt.
    pub(super) async fn connection(&self) -> Result<Connection, SftpError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection
            && connection.session.is_alive()
        {
            return Ok(connection.clone());
        }
        state.connection = None;
        if let Some(error) = &state.permanent {
            return Err(SftpError::Permanent(error.copy()));
        }
        let opened = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(SftpError::Permanent(Error::interrupted())),
            opened = self.open() => opened,
        };
        match &opened {
            Ok(connection) => state.connection = Some(connection.clone()),
            Err(SftpError::Permanent(error)) => state.permanent = Some(error.copy()),
            Err(_) => {}
        }
        opened
    }

    async fn open(&self) -> Result<Connection, SftpError> {
        let (server, user) = (&self.name, &self.user);
        let (mut ssh, reason) = self.connect().await?;
        self.log_in(&mut ssh, &reason).await?;
        self.logged_in.store(true, Ordering::Relaxed);
        tracing::info!(server, user, "connected");
        match start_session(ssh, &reason, self.settings.timeout.get()).await {
            Ok(session) => Ok(Connection { session, reason }),
            Err(sftp_client::Error::Disconnected(cause)) => Err(self.lost(&reason, cause)),
            Err(other) => Err(SftpError::Permanent(
                Error::new(ErrorKind::Refused, format!("{server} does not offer SFTP to `{user}`"))
                    .with_source(other)
                    .with_hint(
                        "the account may be for another protocol, or its login scripts print text, which breaks SFTP",
                    ),
            )),
        }
    }

    /// Runs a request until the run is cancelled.
    pub(super) async fn query<T, F>(&self, work: impl Fn(Arc<Session>) -> F) -> Result<T, SftpError>
    where
        F: Future<Output = sftp_client::Result<T>>,
    {
        tokio::select! {
            () = self.cancel.cancelled() => Err(SftpError::Permanent(Error::interrupted())),
            result = self.execute(work) => result,
        }
    }

    /// Runs a request, again on another connection if one breaks. When the run is cancelled, a started request is
    /// completed.
    pub(super) async fn execute<T, F>(&self, work: impl Fn(Arc<Session>) -> F) -> Result<T, SftpError>
    where
        F: Future<Output = sftp_client::Result<T>>,
    {
        let attempt = || async {
            let connection = self.connection().await?;
            let result = work(connection.session.clone()).await;
            result.map_err(|error| self.convert(error, &connection))
        };
        self.retry(attempt, || false).await
    }

    /// Retries transient failures; after progress, the attempts count anew. When the run is cancelled, there is one
    /// attempt.
    pub(super) async fn retry<T, F>(
        &self,
        attempt: impl Fn() -> F,
        has_progressed: impl Fn() -> bool,
    ) -> Result<T, SftpError>
    where
        F: Future<Output = Result<T, SftpError>>,
    {
        if self.cancel.is_cancelled() {
            return attempt().await;
        }
        let verdict = |error: &SftpError| match error {
            SftpError::Transient(_) if has_progressed() => Verdict::Resume,
            SftpError::Transient(_) => Verdict::Retry { after: None },
            _ => Verdict::Stop,
        };
        let about = (None, &*self.name);
        let retry = self.settings.retry;
        let result = retry.run(&self.cancel, about, attempt, verdict, rand::random);
        let GaveUp { last, spent } = match result.await {
            Ok((value, _)) => return Ok(value),
            Err(gave_up) => gave_up,
        };
        Err(match last.filter(|_| spent.reason != Reason::Cancelled) {
            Some(SftpError::Transient(error)) => {
                let hint = format!("attempts: {} (`retry`); run again later", spent.attempts);
                SftpError::Transient(error.with_hint(hint))
            }
            Some(other) => other,
            None => SftpError::Permanent(Error::interrupted()),
        })
    }

    pub(super) fn convert(&self, error: sftp_client::Error, connection: &Connection) -> SftpError {
        match error {
            sftp_client::Error::Status(status) => SftpError::Status(status),
            sftp_client::Error::Disconnected(cause) => self.lost(&connection.reason, cause),
            sftp_client::Error::Protocol(cause) => SftpError::Permanent(
                Error::unexpected(format!("{} violates the SFTP protocol", self.name)).with_source(cause),
            ),
        }
    }

    fn lost(&self, reason: &CloseReason, cause: String) -> SftpError {
        let message = format!("lost the connection to {}", self.name);
        let error = Error::new(ErrorKind::Transient, message);
        SftpError::Transient(error.with_source(reason.text(cause)))
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
        Err(error) => {
            Err(Error::config(format!("cannot read `{}` (known_hosts)", path.display())).with_source(error))
        }
    }
}

/// Starts SFTP on a connection that is logged in; disconnects when the session is dropped.
async fn start_session(
    ssh: Handle<Client>,
    reason: &CloseReason,
    request_timeout: Duration,
) -> sftp_client::Result<Arc<Session>> {
    use sftp_client::Error::{Disconnected, Protocol};

    let lost = |error: russh::Error| Disconnected(error.to_string());
    let opened = timeout(request_timeout, async {
        let mut channel = ssh.channel_open_session().await.map_err(|error| match error {
            russh::Error::ChannelOpenFailure(reason) => {
                Protocol(format!("the server refused to open a session: {reason:?}"))
            }
            other => lost(other),
        })?;
        channel.request_subsystem(true, "sftp").await.map_err(lost)?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(channel.into_stream()),
                Some(ChannelMsg::Failure) => {
                    return Err(Protocol(
                        "the server does not offer SFTP to this account".to_owned(),
                    ));
                }
                Some(ChannelMsg::Close | ChannelMsg::Eof) | None => {
                    return Err(Disconnected(reason.text("the server closed the connection")));
                }
                Some(_) => {}
            }
        }
    });
    let no_response = |_| Err(Disconnected(format!("no response within {request_timeout:?}")));
    let stream = opened.await.unwrap_or_else(no_response)?;
    let disconnect = async move {
        let _ = ssh.disconnect(Disconnect::ByApplication, "", "").await;
    };
    Session::start(stream, request_timeout, disconnect).await
}
