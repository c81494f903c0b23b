//! The one HTTP client: for every attempt a rate-limit permit, credentials, and the exchange; between attempts the
//! renewal of a rejected token (once) and the back-off.
//!
//! What a response means is the caller's: it reads the response and decides, error by error, whether to try again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Request, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::address;
use super::auth::{Authenticator, Credentials, TokenError};
use super::rate_limit::{Permit, RateLimit, RateLimiters};
use super::retry::{AttemptError, GaveUp, Reason, RetrySettings, Spent, Verdict};
use super::transport::Failure;

/// The longest pause of a host's rate limiter that a service can ask for.
const MAX_HOLD: Duration = Duration::from_secs(3600);

/// Sends requests. Shared by reference; requests that run at the same time share the token and the rate limit.
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) auth: Authenticator,
    pub(crate) retry: RetrySettings,
    /// The limiters of the run, and what this client adds to that of the host it calls.
    pub(crate) rate_limit: Option<(RateLimiters, RateLimit)>,
    /// Whether cancelling aborts a running attempt. Not for requests that change something: their outcome would be
    /// unknown.
    pub(crate) abort_on_cancel: bool,
}

/// A response whose body is not read yet.
pub(crate) struct Exchange {
    pub(crate) response: Response,
    /// What the request carried: must not be shown.
    pub(crate) credentials: Credentials,
    /// Counts the request as running until dropped.
    #[allow(dead_code, reason = "held, not read")]
    pub(crate) permit: Option<Permit>,
}

#[derive(Debug)]
pub(crate) enum SendError<E> {
    Token(Arc<TokenError>),
    /// The exchange failed, or the caller rejects the response.
    Failed {
        error: E,
        credentials: Credentials,
    },
}

impl<E: fmt::Display> fmt::Display for SendError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => error.fmt(f),
            Self::Failed { error, .. } => error.fmt(f),
        }
    }
}

impl<E: AttemptError> AttemptError for SendError<E> {
    fn is_unknown(&self) -> bool {
        matches!(self, Self::Failed { error, .. } if error.is_unknown())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Stop,
    /// Try again after the back-off, and not before `after`.
    Retry {
        after: Option<Duration>,
    },
    /// As [`Retry`](Self::Retry); until then the host gets no other request either.
    RateLimited {
        after: Option<Duration>,
    },
    /// Try again at once with a new token: once for each request, and only if the token may be the cause.
    RenewToken,
}

impl Client {
    /// Sends `request` until `read` accepts a response, `decide` or a bound of the retry policy ends it, or `cancel` is
    /// cancelled. The log names the component and the request (without a query) as `about` says.
    pub(crate) async fn send<T, E, F>(
        &self,
        cancel: &CancellationToken,
        about: (Option<&str>, &str),
        request: impl Fn() -> reqwest::Result<Request>,
        read: impl Fn(Exchange) -> F,
        decide: impl Fn(&E) -> Decision,
    ) -> Result<(T, Spent), GaveUp<SendError<E>>>
    where
        E: AttemptError + From<Failure>,
        F: Future<Output = Result<T, E>>,
    {
        let mut renewed = false;
        let host = Mutex::new(String::new());
        let sending = self.retry.run(
            cancel,
            about,
            || self.attempt(&request, &read, &host),
            |error| {
                let (error, credentials) = match error {
                    SendError::Token(error) => return error.verdict(),
                    SendError::Failed { error, credentials } => (error, credentials),
                };
                match decide(error) {
                    Decision::Stop => Verdict::Stop,
                    Decision::Retry { after } => Verdict::Retry { after },
                    Decision::RateLimited { after } => {
                        if let (Some(after), Some((limiters, limit))) = (after, &self.rate_limit) {
                            let host = host.lock().unwrap_or_else(PoisonError::into_inner);
                            let limiter = limiters.of(&host, limit);
                            limiter.hold_until(Instant::now() + after.min(MAX_HOLD));
                        }
                        Verdict::Retry { after }
                    }
                    Decision::RenewToken if !renewed && self.auth.renew(credentials) => {
                        renewed = true;
                        Verdict::RetryAtOnce
                    }
                    Decision::RenewToken => Verdict::Stop,
                }
            },
            rand::random,
        );
        if !self.abort_on_cancel {
            return sending.await;
        }
        let sent = cancel.run_until_cancelled(sending).await;
        sent.unwrap_or_else(|| Err(GaveUp::new(Reason::Cancelled, None, Spent::default())))
    }

    async fn attempt<T, E, F>(
        &self,
        request: &impl Fn() -> reqwest::Result<Request>,
        read: &impl Fn(Exchange) -> F,
        host: &Mutex<String>,
    ) -> Result<T, SendError<E>>
    where
        E: From<Failure>,
        F: Future<Output = Result<T, E>>,
    {
        let failed = |error: reqwest::Error, credentials| SendError::Failed {
            error: Failure::of(error).into(),
            credentials,
        };
        let mut request = request().map_err(|error| failed(error, Credentials::default()))?;
        let permit = match &self.rate_limit {
            None => None,
            Some((limiters, limit)) => {
                let name = address::host(request.url());
                let limiter = limiters.of(&name, limit);
                *host.lock().unwrap_or_else(PoisonError::into_inner) = name;
                Some(limiter.acquire().await)
            }
        };
        let authorized = self.auth.authorize(&mut request).await;
        let credentials = authorized.map_err(SendError::Token)?;
        let response = match self.http.execute(request).await {
            Ok(response) => response,
            Err(error) => return Err(failed(error, credentials)),
        };
        let exchange = Exchange {
            response,
            credentials: credentials.clone(),
            permit,
        };
        read(exchange)
            .await
            .map_err(|error| SendError::Failed { error, credentials })
    }
}
