//! A server that is asked as if its connection never broke.
//!
//! One connection serves all of a source. When it breaks it is made again, with host key and login, at most as many times
//! as the settings say; a login that was refused is never tried again, nor is one that may have been.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::login::{Failed, Logins};
use super::protocol::Status;
use super::session::{Failure, Session};
use super::transport::{Dial, Text, Undialled};
use crate::error::{Error, ErrorKind};
use crate::http::retry::Backoff;

/// An SFTP server and the account there.
#[derive(Debug)]
pub(super) struct Server {
    dial: Dial,
    logins: Logins,
    pub(super) attempts: u32,
    backoff: Backoff,
    /// Longest wait for an answer.
    patience: Duration,
    /// Bytes of a file that are asked for ahead.
    pub(super) read_ahead: u64,
    cancel: CancellationToken,
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Arc<Session>>,
    /// These logins were taken once, so that a connection that ends in the middle of another is not their fault.
    logged_in: bool,
    /// Why there will be no connection in this run.
    refused: Option<Refused>,
}

/// An error that can be told again.
#[derive(Debug, Clone)]
struct Refused {
    kind: ErrorKind,
    message: String,
    cause: Option<String>,
    hints: Vec<String>,
}

impl Refused {
    fn of(error: &Error) -> Self {
        let mut links = error.links();
        Self {
            kind: error.kind(),
            message: links.next().unwrap_or_default(),
            cause: Some(links.collect::<Vec<_>>().join(": ")).filter(|cause| !cause.is_empty()),
            hints: error.hints().map(str::to_owned).collect(),
        }
    }

    fn error(&self) -> Error {
        let mut error = Error::new(self.kind, self.message.clone());
        if let Some(cause) = &self.cause {
            error = error.with_source(Text(cause.clone()));
        }
        self.hints.iter().cloned().fold(error, Error::with_hint)
    }
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Undone {
    /// The server says no.
    Status(Status),
    /// It was not asked, or has not answered; told as it stands.
    Error(Error),
}

impl Server {
    pub(super) fn new(
        dial: Dial,
        logins: Logins,
        attempts: u32,
        backoff: Backoff,
        read_ahead: u64,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            patience: logins.patience,
            dial,
            logins,
            attempts,
            backoff,
            read_ahead,
            cancel,
            state: tokio::sync::Mutex::default(),
        }
    }

    /// As errors name it.
    pub(super) fn place(&self) -> &str {
        &self.dial.place
    }

    pub(super) fn user(&self) -> &str {
        &self.logins.user
    }

    /// The session, made if there is none. One attempt.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Undialled> {
        let mut state = self.state.lock().await;
        if let Some(session) = &state.session
            && session.is_alive()
        {
            return Ok(session.clone());
        }
        state.session = None;
        if let Some(refused) = &state.refused {
            return Err(Undialled::Final(refused.error()));
        }
        let begun = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Undialled::Final(Error::interrupted())),
            begun = self.begin(&mut state) => begun,
        };
        match begun {
            Ok(session) => {
                state.session = Some(session.clone());
                Ok(session)
            }
            Err(Undialled::Final(error)) => {
                state.refused = Some(Refused::of(&error));
                Err(Undialled::Final(error))
            }
            Err(passing) => Err(passing),
        }
    }

    async fn begin(&self, state: &mut State) -> Result<Arc<Session>, Undialled> {
        let place = self.place();
        let (mut ssh, ending) = self.dial.connect().await?;
        match self.logins.log_in(&mut ssh, place, &ending).await {
            Ok(()) => {}
            Err(Failed::Refused(error)) => return Err(Undialled::Final(error)),
            Err(Failed::Unanswered(how)) => {
                let message = format!("the login of `{}` at {place} was not answered", self.logins.user);
                return Err(if state.logged_in {
                    Undialled::Passing(Error::new(ErrorKind::Transient, message).with_source(Text(how)))
                } else {
                    Undialled::Final(
                        Error::new(ErrorKind::Refused, message)
                            .with_source(Text(how))
                            .with_hint(
                                "some servers refuse a login this way, so it is not tried again: accounts lock; check user, \
                                 password or key, and run again if they are right",
                            ),
                    )
                });
            }
        }
        state.logged_in = true;
        tracing::info!(server = place, user = %self.logins.user, "connected");
        Session::begin(ssh, ending, self.patience)
            .await
            .map_err(|failure| match failure {
                Failure::Lost(how) => Undialled::Passing(
                    Error::new(ErrorKind::Transient, format!("the connection to {place} broke")).with_source(Text(how)),
                ),
                other => Undialled::Final(
                    Error::new(ErrorKind::Refused, format!("{place} gives `{}` no SFTP", self.logins.user))
                        .with_source(other)
                        .with_hint(
                            "the account may be for another protocol, or its login scripts print text, which breaks SFTP",
                        ),
                ),
            })
    }

    /// Asks something, until the run is cancelled.
    pub(super) async fn ask<T, F>(&self, work: impl Fn(Arc<Session>) -> F) -> Result<T, Undone>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        tokio::select! {
            () = self.cancel.cancelled() => Err(Undone::Error(Error::interrupted())),
            done = self.run(work) => done,
        }
    }

    /// Does something with a session, on another one if the connection breaks. What has been begun is done to its end when
    /// the run is cancelled.
    pub(super) async fn run<T, F>(&self, work: impl Fn(Arc<Session>) -> F) -> Result<T, Undone>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut tries = Tries::new(self);
        loop {
            let lost = match self.session().await {
                Ok(session) => match work(session).await {
                    Ok(done) => return Ok(done),
                    Err(Failure::Status(status)) => return Err(Undone::Status(status)),
                    Err(failure) => self.broken(failure),
                },
                Err(undialled) => undialled,
            };
            tries.again(lost).await.map_err(Undone::Error)?;
        }
    }

    /// The error for a connection that broke while something was asked.
    pub(super) fn broken(&self, failure: Failure) -> Undialled {
        match failure {
            Failure::NoSftp(how) => Undialled::Final(
                Error::unexpected(format!("{} does not keep to the protocol", self.place()))
                    .with_source(Text(how)),
            ),
            other => {
                let message = format!("the connection to {} broke", self.place());
                Undialled::Passing(Error::new(ErrorKind::Transient, message).with_source(other))
            }
        }
    }
}

/// Counts attempts and waits between them.
pub(super) struct Tries<'s> {
    server: &'s Server,
    failed: u32,
}

impl<'s> Tries<'s> {
    pub(super) fn new(server: &'s Server) -> Self {
        Self { server, failed: 0 }
    }

    /// Begins the count anew: what was asked came on.
    pub(super) fn reset(&mut self) {
        self.failed = 0;
    }

    /// Waits for the next attempt.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn again(&mut self, why: Undialled) -> Result<(), Error> {
        let error = match why {
            Undialled::Final(error) => return Err(error),
            Undialled::Passing(error) => error,
        };
        self.failed += 1;
        if self.failed >= self.server.attempts {
            let tries = match self.failed {
                1 => "it was tried once".to_owned(),
                times => format!("it was tried {times} times"),
            };
            return Err(error.with_hint(format!("{tries} (`retry`); run again later")));
        }
        let wait = self.server.backoff.delay(self.failed - 1, rand::random());
        tracing::warn!(wait = ?wait, "{}; trying again", error.chain());
        tokio::select! {
            () = self.server.cancel.cancelled() => Err(Error::interrupted()),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}
