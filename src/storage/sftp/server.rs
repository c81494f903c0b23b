//! A server connection that is restored when it breaks.
//!
//! One connection serves a source. When it breaks, it is opened again with host key verification and login, within the
//! limits of `retry`. A rejected login is never repeated, nor is one that may have been rejected.

use std::sync::Arc;
use std::time::Duration;

use russh::client::Handle;
use russh::{ChannelMsg, Disconnect};
use sftp_client::Session;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connect::{Client, CloseReason, Connector};
use super::error::{Cause, SftpError};
use super::login::Logins;
use crate::error::{Error, ErrorKind};
use crate::http::retry::{GaveUp, Reason, RetrySettings, Spent, Verdict};

/// A server and an account on it.
#[derive(Debug)]
pub(super) struct Server {
    connector: Connector,
    logins: Logins,
    retry: RetrySettings,
    /// Bytes of a file in flight.
    pub(super) read_ahead: u64,
    cancel: CancellationToken,
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Connection>,
    /// The login succeeded before, so that a connection that closes during another one is not due to the credentials.
    logged_in: bool,
    /// Why this run opens no further connection.
    permanent: Option<Error>,
}

/// A session with the reason why its connection ended.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) session: Arc<Session>,
    reason: Arc<CloseReason>,
}

impl Server {
    pub(super) fn new(
        connector: Connector,
        logins: Logins,
        retry: RetrySettings,
        read_ahead: u64,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            retry,
            connector,
            logins,
            read_ahead,
            cancel,
            state: tokio::sync::Mutex::default(),
        }
    }

    /// The server in messages.
    pub(super) fn name(&self) -> &str {
        &self.connector.server
    }

    pub(super) fn user(&self) -> &str {
        &self.logins.user
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
            return Err(SftpError::Permanent(copy(error)));
        }
        let opened = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(SftpError::Permanent(Error::interrupted())),
            opened = self.open(&mut state) => opened,
        };
        match opened {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(SftpError::Permanent(error)) => {
                state.permanent = Some(copy(&error));
                Err(SftpError::Permanent(error))
            }
            Err(transient) => Err(transient),
        }
    }

    async fn open(&self, state: &mut State) -> Result<Connection, SftpError> {
        let (server, user) = (self.name(), self.user());
        let (mut ssh, reason) = self.connector.connect().await?;
        match self.logins.log_in(&mut ssh, server, &reason).await {
            Err(SftpError::LoginUnanswered(cause)) => {
                let message = format!("the server did not answer the login of `{user}` at {server}");
                return Err(if state.logged_in {
                    SftpError::Transient(Error::new(ErrorKind::Transient, message).with_source(Cause(cause)))
                } else {
                    SftpError::Permanent(
                        Error::new(ErrorKind::Refused, message)
                            .with_source(Cause(cause))
                            .with_hint(
                                "some servers reject a login this way, and accounts lock, so it is not retried: check user, \
                                 password or key, and run again if they are right",
                            ),
                    )
                });
            }
            other => other?,
        }
        state.logged_in = true;
        tracing::info!(server, %user, "connected");
        let session = start_session(ssh, &reason, self.logins.timeout).await;
        match session {
            Ok(session) => Ok(Connection { session, reason }),
            Err(sftp_client::Error::Disconnected(cause)) => Err(self.lost(&reason, cause)),
            Err(other) => Err(SftpError::Permanent(
                Error::new(ErrorKind::Refused, format!("{server} offers `{user}` no SFTP"))
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
        self.retry(|| async {
            let connection = self.connection().await?;
            let result = work(connection.session.clone()).await;
            result.map_err(|error| self.convert(error, &connection))
        })
        .await
    }

    /// Retries transient failures. When the run is cancelled, there is one attempt.
    pub(super) async fn retry<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, SftpError>
    where
        F: Future<Output = Result<T, SftpError>>,
    {
        self.retry_or_resume(attempt, || false).await
    }

    /// Retries transient failures; after progress, the attempts count anew.
    pub(super) async fn retry_or_resume<T, F>(
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
        let result = self
            .retry
            .run(&self.cancel, (None, self.name()), attempt, verdict);
        match result.await {
            Ok((value, _)) => Ok(value),
            Err(GaveUp {
                spent:
                    Spent {
                        reason: Reason::Cancelled,
                        ..
                    },
                ..
            }) => Err(SftpError::Permanent(Error::interrupted())),
            Err(GaveUp {
                last: Some(SftpError::Transient(error)),
                spent,
            }) => Err(SftpError::Transient(error.with_hint(format!(
                "attempts: {} (`retry`); run again later",
                spent.tally.attempts
            )))),
            Err(gave_up) => Err(gave_up
                .last
                .unwrap_or_else(|| SftpError::Permanent(Error::interrupted()))),
        }
    }

    /// The error of a request on `connection`.
    pub(super) fn convert(&self, error: sftp_client::Error, connection: &Connection) -> SftpError {
        match error {
            sftp_client::Error::Status(status) => SftpError::Status(status),
            sftp_client::Error::Disconnected(cause) => self.lost(&connection.reason, cause),
            sftp_client::Error::Protocol(cause) => SftpError::Permanent(
                Error::unexpected(format!("{} violates the SFTP protocol", self.name()))
                    .with_source(Cause(cause)),
            ),
        }
    }

    fn lost(&self, reason: &CloseReason, cause: String) -> SftpError {
        let message = format!("lost the connection to {}", self.name());
        let cause = reason.reported().unwrap_or(cause);
        SftpError::Transient(Error::new(ErrorKind::Transient, message).with_source(Cause(cause)))
    }
}

/// A copy, with causes as text.
fn copy(error: &Error) -> Error {
    let mut links = error.links();
    let copy = Error::new(error.kind(), links.next().unwrap_or_default());
    let causes: Vec<String> = links.collect();
    let copy = match causes.is_empty() {
        true => copy,
        false => copy.with_source(Cause(causes.join(": "))),
    };
    error.hints().map(str::to_owned).fold(copy, Error::with_hint)
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
                Protocol(format!("the server opens no session: {reason:?}"))
            }
            other => lost(other),
        })?;
        channel.request_subsystem(true, "sftp").await.map_err(lost)?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(channel.into_stream()),
                Some(ChannelMsg::Failure) => {
                    return Err(Protocol("the server offers no SFTP to this account".to_owned()));
                }
                Some(ChannelMsg::Close | ChannelMsg::Eof) | None => return Err(Disconnected(reason.text())),
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
