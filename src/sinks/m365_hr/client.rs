//! Uploads payloads to a connector job.
//!
//! One retry loop covers tokens and uploads, with the bounds of `retry`. A 401 renews the token once. The outcome is
//! [`Unknown`](Verdict::Unknown) as soon as any attempt ended without a response after the service may have received
//! the payload, unless a later one was accepted.

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Request};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::explain::{self, Job};
use crate::delivery::{Answer, Verdict};
use crate::error::{Error, Result};
use crate::http::address::shown;
use crate::http::auth::provider::{Grant, TokenEndpoint, TokenProvider};
use crate::http::auth::{Authenticator, Credentials, Scheme};
use crate::http::client::{self as http, Decision, Exchange, SendError};
use crate::http::redact::{self, Redactor, is_html};
use crate::http::retry::{AttemptError as _, GaveUp, Reason, RetrySettings, Spent};
use crate::http::settings::Proxy;
use crate::http::transport::{self, Failure, MAX_BODY, TransportConfig, read_answer};
use crate::secret::Secret;

/// A client of one connector job. Shared by reference; concurrent uploads share the token.
pub(super) struct Client {
    pub(super) http: http::Client,
    pub(super) job: Job,
    retry_unknown: bool,
}

impl Client {
    /// A client; sends nothing yet. Endpoints on this machine are called without the system's proxy. `retry_unknown`:
    /// whether to retry after an attempt with an unknown outcome.
    pub(super) fn new(
        job: Job,
        secret: Secret,
        mut transport: TransportConfig,
        retry: RetrySettings,
        retry_unknown: bool,
    ) -> Result<Self> {
        if job.endpoints.is_local() {
            transport.tls = false;
            if transport.proxy == Proxy::System {
                transport.proxy = Proxy::Direct;
            }
        }
        let http = transport.client()?;
        let endpoint = TokenEndpoint::entra(
            http.clone(),
            job.token_url(),
            &job.tenant_id,
            &job.client_id,
            secret.clone(),
            &job.endpoints.resource,
        );
        let provider = TokenProvider::new(endpoint, Grant::Fields);
        let http = http::Client {
            http,
            auth: Authenticator::new(Scheme::Token(provider.into()), vec![secret]),
            retry,
            rate_limit: None,
            abort_on_cancel: false,
        };
        Ok(Self {
            http,
            job,
            retry_unknown,
        })
    }

    /// Uploads `payload` under `file_name`, with retries.
    ///
    /// `cancel` prevents further attempts and ends waits; a running attempt ends by itself, because its outcome would
    /// be unknown. Rows are unknown if the future is dropped.
    pub(super) async fn upload(&self, payload: Bytes, file_name: &str, cancel: &CancellationToken) -> Answer {
        let url = self.job.upload_url();
        let about = format!("POST {}", shown(&url));
        // Without the header row: column names are not values.
        let rows = &payload[memchr::memchr(b'\n', &payload).map_or(payload.len(), |at| at + 1)..];
        let request = || upload_request(&self.http.http, &url, file_name, payload.clone());
        let read = |exchange| self.read(exchange, rows);
        let decide = |failure: &_| self.decide(failure);
        let sending = self.http.send(cancel, (None, &about), request, read, decide);
        match sending.await {
            Ok(((response, credentials), spent)) => {
                let secrets = self.http.auth.secrets(&credentials);
                self.accepted(file_name, &response, Redactor::new(&secrets, rows), spent)
            }
            Err(gave_up) => self.gave_up(file_name, gave_up, rows),
        }
    }

    async fn read(
        &self,
        exchange: Exchange,
        rows: &[u8],
    ) -> Result<(transport::Answer, Credentials), Failure> {
        let secrets = self.http.auth.secrets(&exchange.credentials);
        let response = read_answer(exchange.response, MAX_BODY, Redactor::new(&secrets, rows)).await?;
        Ok((response, exchange.credentials))
    }

    fn decide(&self, failure: &Failure) -> Decision {
        if failure.is_unknown() && !self.retry_unknown {
            return Decision::Stop;
        }
        match failure {
            Failure::NotSent { .. } | Failure::Unknown { .. } => Decision::Retry { after: None },
            Failure::Certificate { .. } | Failure::Invalid(_) => Decision::Stop,
            Failure::Answer(answer) => match answer.status.as_u16() {
                401 => Decision::RenewToken,
                408 | 429 | 500..=504 => Decision::Retry {
                    after: answer.retry_after(),
                },
                _ => Decision::Stop,
            },
        }
    }

    fn accepted(
        &self,
        file_name: &str,
        response: &transport::Answer,
        redactor: Redactor<'_>,
        spent: Spent,
    ) -> Answer {
        let mut answer = Answer {
            attempts: spent.attempts,
            unknown_attempts: spent.unknown,
            ..Answer::without_request(Verdict::Accepted, None)
        };
        record(&mut answer, response, redactor);
        // Any 2xx is a success, and the body is not documented. A web page is not the service's, though: with the login
        // page of a proxy taken as success, rows would be lost silently.
        if is_html(&response.body) {
            answer.verdict = Verdict::Unknown;
            answer.error = Some(explain::page(&self.job, file_name, response, spent, redactor));
        }
        answer
    }

    fn gave_up(&self, file_name: &str, gave_up: GaveUp<SendError<Failure>>, rows: &[u8]) -> Answer {
        let GaveUp { last, spent } = gave_up;
        let mut answer = Answer {
            attempts: spent.attempts,
            unknown_attempts: spent.unknown - u32::from(spent.last_unknown),
            stop: matches!(spent.reason, Reason::RequestedDelay { .. }),
            ..Answer::without_request(Verdict::Transient, None)
        };
        answer.error = Some(match last {
            None => Error::interrupted(),
            Some(SendError::Token(error)) => {
                if !error.is_transient() {
                    answer.verdict = Verdict::PermanentlyRefused;
                }
                explain::token(&self.job, &error, spent)
            }
            Some(SendError::Failed { error, credentials }) => {
                if !error.is_transient() {
                    // Microsoft documents no statuses: these are what its gateways and API return for a payload.
                    answer.verdict = match error.answer().map(|answer| answer.status.as_u16()) {
                        Some(413) => Verdict::TooLarge,
                        Some(400 | 422) => Verdict::ContentRejected,
                        _ => Verdict::PermanentlyRefused,
                    };
                }
                let secrets = self.http.auth.secrets(&credentials);
                let redactor = Redactor::new(&secrets, rows);
                if let Some(response) = error.answer() {
                    record(&mut answer, response, redactor);
                }
                explain::upload(&self.job, file_name, &error, spent, redactor)
            }
        });
        if spent.unknown > 0 {
            answer.verdict = Verdict::Unknown;
        }
        answer
    }
}

fn record(answer: &mut Answer, response: &transport::Answer, redactor: Redactor<'_>) {
    answer.status = Some(response.status.as_u16());
    answer.request_ids = redact::request_ids(response, redactor);
    answer.body = redact::shown_body(response, redactor);
}

/// The name of a batch in the job's log: scenario, run, number, and the part of a batch that was split (0 for none).
///
/// It takes the last eight characters of the run's id: the first ones are a time, and the same for runs that start
/// within a minute.
pub(super) fn file_name(scenario: &str, run_id: &str, number: u64, part: u32) -> String {
    let tail = run_id.char_indices().rev().nth(7);
    let tail = tail.map_or(run_id, |(at, _)| &run_id[at..]);
    let part = match part {
        0 => String::new(),
        part => format!(".{part}"),
    };
    let name = format!("hrsink-{scenario}-{tail}-{number:05}{part}.csv");
    // Only characters that every server and file system accepts.
    let other = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.');
    name.replace(other, "_")
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
    let form = Form::new().part("file", part);
    client.post(url.clone()).multipart(form).build()
}

#[cfg(test)]
pub(super) mod tests;
