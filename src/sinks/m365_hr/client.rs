//! Uploads payloads to a connector job, and checks without an upload whether one could work ([`Client::check`]).
//!
//! One retry loop covers tokens and uploads, with the bounds of `retry`. A 401 renews the token once. The outcome is
//! [`Unknown`](BatchOutcome::Unknown) as soon as any attempt ended without a response after the service may have
//! received the payload, unless a later one was accepted.

mod check;

use std::fmt;

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Request, StatusCode};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::answer::{self, Facts};
use super::cloud::Endpoints;
use crate::component::BatchOutcome;
use crate::error::{Error, Result};
use crate::http::auth::provider::{Grant, TokenEndpoint, TokenProvider};
use crate::http::auth::{Authenticator, Credentials, Scheme, TokenCache};
use crate::http::client::{self as http, Decision, Exchange, SendError};
use crate::http::redact::{self, Redactor, is_html};
use crate::http::retry::{AttemptError as _, GaveUp, Reason, RetryPolicy, Spent, Tally};
use crate::http::transport::{Answer, Failure, MAX_BODY, Proxy, TransportConfig, read_answer};
use crate::secret::Secret;

/// Statuses after which an upload is retried.
pub(crate) const RETRIED: [u16; 7] = [408, 429, 500, 501, 502, 503, 504];

/// What a [`Client`] needs.
#[derive(Debug, Clone)]
pub(crate) struct ClientConfig {
    /// Where to request tokens, for what, and where to upload.
    pub(crate) endpoints: Endpoints,
    /// The tenant's id, or one of its domain names.
    pub(crate) tenant_id: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    pub(crate) job_id: Uuid,
    /// How to connect. Endpoints on this machine are called without the system's proxy.
    pub(crate) transport: TransportConfig,
    pub(crate) retry: RetryPolicy,
    /// Whether to retry after an attempt with an unknown outcome.
    pub(crate) retry_unknown: bool,
}

/// A client of one connector job. Shared by reference; concurrent uploads share the token.
pub(crate) struct Client {
    client: http::Client,
    retry_unknown: bool,
    facts: Facts,
}

/// The result of an upload.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) outcome: BatchOutcome,
    /// Attempts: uploads, and token requests that failed before one.
    pub(crate) attempts: u32,
    /// How many before the last had an unknown outcome: the service may have received the rows more than once.
    pub(crate) unknown_attempts: u32,
    /// Status of the last response to an upload.
    pub(crate) status: Option<u16>,
    /// Request and correlation ids of that response, as `name: value`.
    pub(crate) request_ids: Vec<String>,
    pub(crate) error: Option<Error>,
    /// Whether the service asked for a longer wait than there is time for.
    pub(crate) pause: bool,
    /// Body of the response, fit to be shown. Microsoft documents none; for the report only.
    pub(crate) body: Option<String>,
}

impl Client {
    /// A client; sends nothing yet.
    pub(crate) fn new(config: ClientConfig) -> Result<Self> {
        let ClientConfig {
            endpoints,
            tenant_id,
            client_id,
            client_secret,
            job_id,
            mut transport,
            retry,
            retry_unknown,
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
        let (authority, resource) = (&endpoints.authority, &endpoints.resource);
        let endpoint = TokenEndpoint::entra(
            http.clone(),
            authority,
            &tenant_id,
            &client_id,
            client_secret.clone(),
            resource,
        );
        let facts = Facts {
            token_url: endpoint.url.clone(),
            upload_url: upload_url(&endpoints, job_id),
            endpoints,
            tenant_id,
            client_id,
            job_id,
        };
        let cache = TokenCache::new(TokenProvider::new(endpoint, Grant::Fields));
        let auth = Authenticator::new(Scheme::Token(cache.into()), vec![client_secret]);
        let client = http::Client {
            http,
            auth,
            retry,
            rate_limit: None,
            abort_on_cancel: false,
        };
        Ok(Self {
            client,
            retry_unknown,
            facts,
        })
    }

    /// Uploads `payload` under `file_name`, with retries.
    ///
    /// `cancel` prevents further attempts and ends waits; a running attempt ends by itself, because its outcome would
    /// be unknown. Rows are unknown if the future is dropped.
    pub(crate) async fn upload(&self, payload: Bytes, file_name: &str, cancel: &CancellationToken) -> Upload {
        let about = format!("POST {}", crate::http::address::shown(&self.facts.upload_url));
        let rows = rows(&payload);
        let result = self
            .client
            .send(
                cancel,
                (None, &about),
                || {
                    upload_request(
                        &self.client.http,
                        &self.facts.upload_url,
                        file_name,
                        payload.clone(),
                    )
                },
                |exchange| self.read(exchange, rows),
                |failure| self.decide(failure),
            )
            .await;
        match result {
            Ok(((answer, credentials), tally)) => self.with_redactor(&credentials, rows, |redactor| {
                self.accepted(file_name, &answer, redactor, tally)
            }),
            Err(gave_up) => self.gave_up(file_name, gave_up, rows),
        }
    }

    /// Hides the secrets of the client and of a request, and the rows.
    fn with_redactor<T>(
        &self,
        credentials: &Credentials,
        rows: &[u8],
        use_it: impl FnOnce(Redactor<'_>) -> T,
    ) -> T {
        let secrets = self.client.auth.secrets();
        let secrets: Vec<&Secret> = secrets.iter().chain(credentials.secret()).collect();
        use_it(Redactor::secrets(&secrets).with_payload(rows))
    }

    async fn read(&self, exchange: Exchange, rows: &[u8]) -> Result<(Answer, Credentials), Failure> {
        let secrets = self.client.auth.secrets();
        let secrets: Vec<&Secret> = secrets.iter().chain(exchange.credentials.secret()).collect();
        let redactor = Redactor::secrets(&secrets).with_payload(rows);
        let answer = read_answer(exchange.response, MAX_BODY, redactor).await?;
        Ok((answer, exchange.credentials))
    }

    fn decide(&self, failure: &Failure) -> Decision {
        if failure.is_unknown() && !self.retry_unknown {
            return Decision::Stop;
        }
        match failure {
            Failure::NotSent { .. } | Failure::Unknown { .. } => Decision::Retry { after: None },
            Failure::Certificate(_) | Failure::Invalid(_) => Decision::Stop,
            Failure::Answer(answer) => match answer.status {
                StatusCode::UNAUTHORIZED => Decision::RenewToken,
                status if RETRIED.contains(&status.as_u16()) => Decision::Retry {
                    after: answer.retry_after(),
                },
                _ => Decision::Stop,
            },
        }
    }

    /// The response was a 2xx.
    fn accepted(&self, file_name: &str, answer: &Answer, redactor: Redactor<'_>, tally: Tally) -> Upload {
        let mut upload = Upload::new(BatchOutcome::Accepted, tally);
        upload.unknown_attempts = tally.unknown;
        upload.record(answer, redactor);
        // Any 2xx is a success, and the body is not documented. A web page is not the service's, though: with the login
        // page of a proxy taken as success, rows would be lost silently.
        if is_html(&answer.body) {
            upload.outcome = BatchOutcome::Unknown;
            upload.error = Some(answer::page_error(
                &self.facts,
                file_name,
                answer,
                tally,
                redactor,
            ));
        }
        upload
    }

    fn gave_up(&self, file_name: &str, gave_up: GaveUp<SendError<Failure>>, rows: &[u8]) -> Upload {
        let GaveUp { reason, last, tally } = gave_up;
        let spent = Spent { tally, reason };
        let mut upload = Upload::new(BatchOutcome::NotSent, tally);
        upload.pause = matches!(reason, Reason::AskedToWait { .. });
        upload.error = Some(match last {
            None => Error::interrupted(),
            Some(SendError::Token(error)) => answer::token_error(&self.facts, &error, spent),
            Some(SendError::Failed {
                error: failure,
                credentials,
            }) => self.with_redactor(&credentials, rows, |redactor| {
                if let Some(answer) = failure.answer() {
                    upload.record(answer, redactor);
                    if !failure.is_transient() {
                        upload.outcome = BatchOutcome::Refused;
                    }
                }
                answer::upload_error(&self.facts, file_name, &failure, spent, redactor)
            }),
        });
        if tally.unknown > 0 {
            upload.outcome = BatchOutcome::Unknown;
        }
        upload
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("facts", &self.facts)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Upload {
    fn new(outcome: BatchOutcome, tally: Tally) -> Self {
        Self {
            outcome,
            attempts: tally.attempts,
            unknown_attempts: tally.unknown - u32::from(tally.last_unknown),
            status: None,
            request_ids: Vec::new(),
            error: None,
            pause: false,
            body: None,
        }
    }

    fn record(&mut self, answer: &Answer, redactor: Redactor<'_>) {
        self.status = Some(answer.status.as_u16());
        self.request_ids = redact::request_ids(answer, redactor);
        self.body = redact::shown_body(answer, redactor);
    }
}

/// The payload without its header row: column names are not values.
fn rows(payload: &[u8]) -> &[u8] {
    let header = payload
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(payload.len(), |at| at + 1);
    &payload[header..]
}

/// Where a job's uploads go. Holds no secret.
fn upload_url(endpoints: &Endpoints, job_id: Uuid) -> Url {
    let mut url = endpoints.ingestion.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("api").push("signals");
    }
    url.set_query(Some(&format!("jobid={job_id}")));
    url
}

/// The name of a batch in the job's log: scenario, run, number, and the part of a batch that was split (0 for none).
///
/// It takes the last eight characters of the run's id: the first ones are a time, and the same for runs that start
/// within a minute.
pub(crate) fn file_name(scenario: &str, run_id: &str, number: u64, part: u32) -> String {
    let tail = run_id
        .char_indices()
        .rev()
        .nth(7)
        .map_or(run_id, |(at, _)| &run_id[at..]);
    let part = match part {
        0 => String::new(),
        part => format!(".{part}"),
    };
    let name = format!("hrsink-{scenario}-{tail}-{number:05}{part}.csv");
    // Only characters that every server and file system accepts.
    name.replace(
        |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'),
        "_",
    )
}

/// `POST {ingestion}/api/signals?jobid={job}` with one part named `file`. The payload is shared, not copied, and its
/// length is known, so the request has a `Content-Length`.
fn upload_request(
    client: &reqwest::Client,
    url: &Url,
    file_name: &str,
    payload: Bytes,
) -> reqwest::Result<Request> {
    let length = payload.len() as u64;
    let part = Part::stream_with_length(Body::from(payload), length)
        .file_name(file_name.to_owned())
        .mime_str("text/csv")?;
    client
        .post(url.clone())
        .multipart(Form::new().part("file", part))
        .build()
}

#[cfg(test)]
mod tests;
