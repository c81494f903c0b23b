//! Uploads payloads to a connector job, and finds out without uploading whether it could ([`Client::check`]).
//!
//! An upload is one loop of bounded attempts. Each attempt takes the token from the cache, so that a long series of
//! attempts never goes on with one that has run out; a 401 drops the token and tries once more with a new one. What is
//! tried again: connections that fail, timeouts, and the statuses of [`RETRIED`]. A token that cannot be had for a
//! passing cause is an attempt like any other, so tokens and uploads share one bound.
//!
//! The outcome tells the truth about the rows: [`Unknown`](BatchOutcome::Unknown) as soon as any attempt ended without
//! an answer after the payload may have been taken and no later one was accepted.

mod check;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::cloud::Endpoints;
use super::request;
use super::response::{self, Facts};
use crate::component::BatchOutcome;
use crate::error::{Error, Result};
use crate::http::auth::oauth_error::{
    ClientCredentials, ClientCredentialsProvider, TokenFailure, TokenVersion,
};
use crate::http::auth::token_cache::{Token, TokenCache};
use crate::http::redact::{self, Redactor, is_html};
use crate::http::retry::{AttemptError, GaveUp, Reason, RetryPolicy, Spent, Tally, Verdict};
use crate::http::transport::{Answer, Failure, MAX_BODY, Proxy, TransportConfig, exchange};
use crate::secret::Secret;

/// Statuses after which an upload is tried again.
pub const RETRIED: [u16; 7] = [408, 429, 500, 501, 502, 503, 504];

/// What a [`Client`] needs to know.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where to ask for tokens, what for, and where to upload.
    pub endpoints: Endpoints,
    /// The tenant's id, or one of its domain names.
    pub tenant_id: String,
    /// The application's (client) id.
    pub client_id: String,
    /// The application's client secret.
    pub client_secret: Secret,
    /// The connector job.
    pub job_id: Uuid,
    /// How to reach the service. For endpoints on this machine the system's proxy is not used.
    pub transport: TransportConfig,
    /// How often and how long to try.
    pub retry: RetryPolicy,
    /// Whether to try again after an attempt that the service may have taken although no answer came.
    pub retry_unknown: bool,
    /// Which form of the token request.
    pub(crate) token_version: TokenVersion,
}

/// Talks to one connector job. Shared by reference; uploads may run at the same time and share the token.
pub struct Client {
    http: reqwest::Client,
    tokens: TokenCache<ClientCredentialsProvider>,
    retry: RetryPolicy,
    retry_unknown: bool,
    facts: Facts,
}

/// What became of an upload.
#[derive(Debug)]
pub struct Upload {
    /// What became of the rows.
    pub outcome: BatchOutcome,
    /// Attempts made: uploads, and token requests that failed before one.
    pub attempts: u32,
    /// How many of those before the last ended without an answer after the payload may have been taken: with more than
    /// none, the service may have seen the rows more than once.
    pub unknown_attempts: u32,
    /// Status of the last answer to an upload.
    pub status: Option<u16>,
    /// Request and correlation ids of that answer, as `name: value`.
    pub request_ids: Vec<String>,
    /// From the begin of the first attempt to the end of the last.
    pub elapsed: Duration,
    /// Why, when it was not accepted.
    pub error: Option<Error>,
    /// Whether the service asked for a longer pause than there is time for.
    pub pause: bool,
    /// Body of that answer, cleaned and cut. Microsoft documents none; for the report only.
    pub body: Option<String>,
}

/// The failure of one attempt.
enum AttemptFailure {
    Token(Arc<TokenFailure>),
    Upload { failure: Failure, token: Arc<Token> },
}

impl fmt::Display for AttemptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(failure) => write!(f, "no access token: {failure}"),
            Self::Upload { failure, .. } => failure.fmt(f),
        }
    }
}

impl AttemptError for AttemptFailure {
    fn is_unknown(&self) -> bool {
        matches!(self, Self::Upload { failure, .. } if failure.is_unknown())
    }
}

impl Client {
    /// Makes a client. Sends nothing yet.
    ///
    /// # Errors
    /// The transport's settings cannot be used, or `tenant_id` or `client_id` is empty.
    pub fn new(config: ClientConfig) -> Result<Self> {
        let ClientConfig {
            endpoints,
            tenant_id,
            client_id,
            client_secret,
            job_id,
            mut transport,
            retry,
            retry_unknown,
            token_version,
        } = config;
        for (name, value) in [("tenant_id", &tenant_id), ("client_id", &client_id)] {
            if value.trim().is_empty() {
                return Err(Error::config(format!("`{name}` is empty")));
            }
        }
        if endpoints.is_local() {
            transport.tls = false;
            if transport.proxy == Proxy::System {
                transport.proxy = Proxy::Direct;
            }
        }
        let http = transport.client()?;
        let credentials = ClientCredentials {
            authority: endpoints.authority.clone(),
            tenant_id: tenant_id.clone(),
            client_id: client_id.clone(),
            client_secret,
            resource: endpoints.resource.clone(),
            version: token_version,
        };
        let facts = Facts {
            token_url: credentials.url(),
            upload_url: request::upload_url(&endpoints, job_id),
            endpoints,
            tenant_id,
            client_id,
            job_id,
        };
        let tokens = TokenCache::new(ClientCredentialsProvider::new(http.clone(), credentials));
        Ok(Self {
            http,
            tokens,
            retry,
            retry_unknown,
            facts,
        })
    }

    /// Uploads `payload` under `file_name`, trying again as far as the policy allows (the attempt with a renewed token
    /// included: a policy of one attempt renews nothing).
    ///
    /// `cancel` keeps a further attempt from being begun and ends waiting; an attempt under way is left to finish,
    /// because cutting it off would make its outcome unknown. Whoever drops the future must count the rows as unknown.
    pub async fn upload(&self, payload: Bytes, file_name: &str, cancel: &CancellationToken) -> Upload {
        let mut renewed = false;
        let result = self
            .retry
            .run(
                cancel,
                |_| self.attempt(payload.clone(), file_name),
                |failure| self.judge(failure, &mut renewed),
            )
            .await;
        match result {
            Ok(((answer, token), tally)) => {
                let secrets = self.secrets(&token);
                let hidden = Redactor::secrets(&secrets).with_payload(rows(&payload));
                self.answered(file_name, &answer, hidden, tally)
            }
            Err(gave_up) => self.gave_up(file_name, gave_up, rows(&payload)),
        }
    }

    async fn attempt(&self, payload: Bytes, file_name: &str) -> Result<(Answer, Arc<Token>), AttemptFailure> {
        let token = self.tokens.get().await.map_err(AttemptFailure::Token)?;
        let secrets = self.secrets(&token);
        let sent = payload.clone();
        let hidden = Redactor::secrets(&secrets).with_payload(rows(&sent));
        let request = request::upload(
            &self.http,
            &self.facts.upload_url,
            token.secret(),
            file_name,
            payload,
        );
        let result = match request {
            Ok(request) => exchange(&self.http, request, MAX_BODY, hidden).await,
            Err(error) => Err(Failure::of(error)),
        };
        match result {
            Ok(answer) => Ok((answer, token)),
            Err(failure) => Err(AttemptFailure::Upload { failure, token }),
        }
    }

    fn judge(&self, failure: &AttemptFailure, renewed: &mut bool) -> Verdict {
        let (failure, token) = match failure {
            AttemptFailure::Token(failure) => return failure.verdict(),
            AttemptFailure::Upload { failure, token } => (failure, token),
        };
        if failure.is_unknown() && !self.retry_unknown {
            return Verdict::Stop;
        }
        match failure {
            Failure::NotSent { .. } | Failure::Unknown { .. } => Verdict::Retry { after: None },
            Failure::Certificate(_) | Failure::Invalid(_) => Verdict::Stop,
            Failure::Answer(answer) if answer.status == StatusCode::UNAUTHORIZED && !*renewed => {
                *renewed = true;
                self.tokens.invalidate(token);
                Verdict::RetryAtOnce
            }
            Failure::Answer(answer) if RETRIED.contains(&answer.status.as_u16()) => Verdict::Retry {
                after: answer.retry_after(),
            },
            Failure::Answer(_) => Verdict::Stop,
        }
    }

    /// A 2xx came.
    fn answered(&self, file_name: &str, answer: &Answer, hidden: Redactor<'_>, tally: Tally) -> Upload {
        let mut upload = Upload {
            outcome: BatchOutcome::Accepted,
            attempts: tally.attempts,
            unknown_attempts: tally.unknown,
            status: None,
            request_ids: Vec::new(),
            elapsed: tally.elapsed,
            error: None,
            pause: false,
            body: None,
        };
        upload.note(answer, hidden);
        // Any 2xx is a success, and the body is not documented. A web page is not the service's, though: a proxy's
        // login page that was taken for a success would lose the rows without a word.
        if is_html(&answer.body) {
            upload.outcome = BatchOutcome::Unknown;
            upload.error = Some(response::page_error(
                &self.facts,
                file_name,
                answer,
                tally,
                hidden,
            ));
        }
        upload
    }

    fn gave_up(&self, file_name: &str, gave_up: GaveUp<AttemptFailure>, rows: &[u8]) -> Upload {
        let GaveUp { reason, last, tally } = gave_up;
        let spent = Spent { tally, reason };
        let pause = matches!(reason, Reason::AskedToWait { .. });
        let mut upload = Upload {
            outcome: BatchOutcome::NotSent,
            attempts: tally.attempts,
            unknown_attempts: tally.unknown - u32::from(tally.last_unknown),
            status: None,
            request_ids: Vec::new(),
            elapsed: tally.elapsed,
            error: None,
            pause,
            body: None,
        };
        upload.error = Some(match last {
            None => Error::interrupted(),
            Some(AttemptFailure::Token(failure)) => self.token_error(&failure, spent),
            Some(AttemptFailure::Upload { failure, token }) => {
                let secrets = self.secrets(&token);
                let hidden = Redactor::secrets(&secrets).with_payload(rows);
                if let Some(answer) = failure.answer() {
                    upload.note(answer, hidden);
                    if !failure.is_passing() {
                        upload.outcome = BatchOutcome::Refused;
                    }
                }
                response::upload_error(&self.facts, file_name, &failure, spent, hidden)
            }
        });
        if tally.unknown > 0 {
            upload.outcome = BatchOutcome::Unknown;
        }
        upload
    }

    fn token_error(&self, failure: &TokenFailure, spent: Spent) -> Error {
        let secret = &self.tokens.provider().credentials().client_secret;
        response::token_error(&self.facts, failure, spent, Redactor::secrets(&[secret]))
    }

    /// What must not show, whatever the other side echoes.
    fn secrets<'a>(&'a self, token: &'a Token) -> [&'a Secret; 2] {
        [
            &self.tokens.provider().credentials().client_secret,
            token.secret(),
        ]
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("facts", &self.facts)
            .field("retry", &self.retry)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

impl Upload {
    fn note(&mut self, answer: &Answer, hidden: Redactor<'_>) {
        self.status = Some(answer.status.as_u16());
        self.request_ids = redact::request_ids(answer, hidden);
        self.body = redact::shown_body(answer, hidden);
    }
}

/// The payload without its header line: column names are no values.
fn rows(payload: &[u8]) -> &[u8] {
    let header = payload
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(payload.len(), |at| at + 1);
    &payload[header..]
}

#[cfg(test)]
mod tests;
