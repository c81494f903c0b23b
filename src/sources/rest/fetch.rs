//! Fetches one page: sends the request, extracts the rows while the response arrives, and applies the response actions.
//!
//! The rows wait in a spool until the page is complete. Until then the page can be requested again, so that no row is
//! lost or duplicated.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Request, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use url::Url;

use super::auth::token_error;
use super::extract::{BodyError, Extracted, Head};
use super::incremental::{self, Seen};
use super::json_path::ExtractedValues;
use super::page::{PageRequest, PageResponse, PageRows};
use super::partitions::{Partition, Partitioning};
use super::plan::Sequence;
use super::response_actions::{Action, Decision, Facts, service_message};
use crate::component::{self, SourceContext};
use crate::error::{Error, ErrorKind, Result};
use crate::http::auth::Credentials;
use crate::http::client::{self, Client, Exchange, SendError};
use crate::http::link::{AllowedHosts, follow};
use crate::http::redact::Redactor;
use crate::http::retry::{AttemptError, GaveUp, Reason};
use crate::http::transport::{Failure, MAX_BODY, read_limited};
use crate::secret::Secret;
use crate::settings::HumanDuration;

const RECORDED_BYTES: usize = 1 << 20;

const MESSAGE_BYTES: usize = 4 << 10;

const PREFETCH: usize = 4;

pub(super) struct Fetcher {
    pub(super) client: Client,
    pub(super) allowed: AllowedHosts,
    pub(super) cx: SourceContext,
}

pub(super) struct PageContext<'a> {
    pub(super) sequence: &'a Sequence,
    pub(super) partition: &'a Partition,
    /// What the partition belongs to, and its number.
    pub(super) partitioning: Option<(&'a Partitioning, u64)>,
    pub(super) number: u64,
    pub(super) request: &'a PageRequest,
    /// The URL of the page before, which a link to this page is relative to.
    pub(super) before: Option<&'a Url>,
    /// Reads the cursor of each row.
    pub(super) run: Option<&'a Arc<incremental::Plan>>,
}

impl PageContext<'_> {
    /// What may be skipped: once a page of a partition was read, the rest of it may not.
    fn skippable(&self) -> Option<&Partitioning> {
        let (partitioning, _) = self.partitioning.filter(|_| self.number == 1)?;
        Some(partitioning)
    }

    fn may_skip(&self, status: StatusCode) -> bool {
        self.skippable()
            .is_some_and(|partitioning| partitioning.may_skip(status.as_u16()))
    }

    fn name(&self, shown: &str) -> Arc<str> {
        let number = self.number;
        match self.partitioning {
            Some((_, partition)) => format!("{shown} (partition {partition}, page {number})").into(),
            None => format!("{shown} (page {number})").into(),
        }
    }
}

pub(super) enum Fetched {
    Page(Box<Page>),
    /// The service has nothing for this sequence, and that is allowed.
    Skipped(u16),
    Stopped,
}

pub(super) struct Page {
    pub(super) response: PageResponse,
    pub(super) rows: PageRows,
    pub(super) seen: Seen,
}

enum PageError {
    Transport(Failure),
    Response(Box<BadResponse>),
    /// The body has no records where they are expected, and may say why.
    Body {
        error: BodyError,
        message: Option<String>,
    },
    /// The connection was closed before the end of the body.
    Aborted(Failure),
    Final(Error),
}

struct BadResponse {
    status: StatusCode,
    message: Option<String>,
    decision: Decision,
}

impl From<Failure> for PageError {
    fn from(failure: Failure) -> Self {
        Self::Transport(failure)
    }
}

impl AttemptError for PageError {}

impl std::fmt::Display for PageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transport(failure) => failure.fmt(f),
            Self::Response(response) => write!(f, "the response was {}", response.status),
            Self::Body { error, .. } => error.fmt(f),
            Self::Aborted(cause) => write!(f, "the connection was closed during the response: {cause}"),
            Self::Final(error) => error.fmt(f),
        }
    }
}

impl Fetcher {
    pub(super) async fn page(&self, cx: &PageContext<'_>) -> Result<Fetched> {
        let link = match (&cx.request.url, cx.before) {
            (Some(link), Some(before)) => {
                let followed = follow(before, link, &self.allowed);
                let refused = |error| refused_link(&error, &cx.sequence.request.shown(before));
                Some(followed.map_err(refused)?)
            }
            _ => None,
        };
        let request = &cx.sequence.request;
        let built = request.build(&cx.partition.values, &cx.request.set, link)?;
        let shown = request.shown(built.url());
        let sent = self
            .client
            .send(
                &self.cx.run.cancel,
                (Some(&self.cx.name), &shown),
                || Ok(copy(&built)),
                |exchange| self.read(cx, &built, &shown, exchange),
                decide,
            )
            .await;
        match sent {
            Ok((fetched, _)) => {
                let page = u64::from(matches!(fetched, Fetched::Page(_)));
                self.cx.pages.fetch_add(page, Ordering::Relaxed);
                Ok(fetched)
            }
            Err(gave_up) => match gave_up.last {
                _ if matches!(gave_up.spent.reason, Reason::Cancelled) => Ok(Fetched::Stopped),
                // A new token did not help, or there is none: it is about this one partition.
                Some(SendError::Failed {
                    error: PageError::Response(ref bad),
                    ..
                }) if bad.decision.action == Action::RenewToken
                    && bad.decision.rule.is_none()
                    && cx.may_skip(bad.status) =>
                {
                    Ok(Fetched::Skipped(bad.status.as_u16()))
                }
                _ => Err(self.error(gave_up, built.url().host_str().unwrap_or_default(), &shown)),
            },
        }
    }

    async fn read(
        &self,
        cx: &PageContext<'_>,
        built: &Request,
        shown: &str,
        exchange: Exchange,
    ) -> Result<Fetched, PageError> {
        // The permit counts the request as running until the body is read.
        let Exchange {
            response,
            credentials,
            permit: _permit,
        } = exchange;
        let (status, headers) = (response.status(), response.headers().clone());
        let name = cx.name(shown);
        let (extracted, head) = if status.is_success() && status != StatusCode::NO_CONTENT {
            let (extracted, head) = self.extract(cx, name, response).await?;
            (Some(extracted), head)
        } else {
            let (bytes, complete) = read_limited(response, MAX_BODY).await;
            let received = bytes.len() + usize::from(!complete);
            let bytes = bytes.to_vec();
            (None, Head { bytes, received })
        };
        self.record(built, status, &headers, &head)
            .map_err(PageError::Final)?;

        let Sequence { actions, paths, .. } = cx.sequence;
        let found = match &extracted {
            Some(Ok((extracted, ..))) => extracted.values.clone(),
            _ => serde_json::from_slice(&head.bytes)
                .map_or_else(|_| ExtractedValues::default(), |body| paths.find(&body)),
        };
        let decision = actions.decide(&Facts {
            status: status.as_u16(),
            headers: &headers,
            values: &found,
            text: &head.bytes,
        });
        let page = |extracted, rows, seen| {
            let response = PageResponse {
                url: built.url().clone(),
                status: status.as_u16(),
                headers: headers.clone(),
                extracted,
            };
            Ok(Fetched::Page(Box::new(Page { response, rows, seen })))
        };
        let message = || self.message(cx, built, &credentials, &headers, &head.bytes);
        let by_default = decision.rule.is_none();
        let skips = match decision.action {
            Action::Skip => cx.skippable().is_some(),
            Action::Fail => by_default && extracted.is_none() && cx.may_skip(status),
            _ => false,
        };
        match extracted {
            Some(Ok((extracted, rows, seen))) if decision.action == Action::Accept => {
                page(extracted, rows, seen)
            }
            Some(Err(error)) if by_default => {
                let message = matches!(error, BodyError::Missing(_)).then(message).flatten();
                Err(PageError::Body { error, message })
            }
            _ if decision.action == Action::Empty => {
                let rows = PageRows::new(shown.into(), &self.cx.run.scratch_folder());
                let extracted = Extracted {
                    values: found,
                    ..Extracted::default()
                };
                page(extracted, rows, Seen::default())
            }
            _ if skips => Ok(Fetched::Skipped(status.as_u16())),
            _ => Err(PageError::Response(Box::new(BadResponse {
                status,
                message: message(),
                decision,
            }))),
        }
    }

    /// Extracts the rows of a body on a blocking thread, while it arrives.
    async fn extract(
        &self,
        cx: &PageContext<'_>,
        name: Arc<str>,
        mut response: reqwest::Response,
    ) -> Result<(Result<(Extracted, PageRows, Seen), BodyError>, Head), PageError> {
        let (pieces, mut body) = mpsc::channel::<Bytes>(PREFETCH);
        let extractor = cx.sequence.extractor.clone();
        let max_head = match &self.cx.run.record {
            Some(_) => RECORDED_BYTES,
            None if cx.sequence.actions.needs_body_of_success() => MAX_BODY,
            None => MESSAGE_BYTES,
        };
        let extra = cx.partition.columns.0.clone();
        let mut rows = PageRows::new(name, &self.cx.run.scratch_folder());
        let run = cx.run.cloned();
        let extraction = tokio::task::spawn_blocking(move || {
            let mut seen = Seen::default();
            let body = std::iter::from_fn(|| body.blocking_recv());
            let mut take = |row: &str, cursor: Option<&Value>| {
                rows.push(row)?;
                run.as_ref().map_or(Ok(()), |run| run.observe(&mut seen, cursor))
            };
            let (extracted, head) = extractor.run(body, max_head, &extra, &mut take);
            let flushed = rows.flush();
            let extracted = extracted.and_then(|extracted| {
                flushed?;
                Ok((extracted, rows, seen))
            });
            (extracted, head)
        });
        let aborted = loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    // The receiver is gone when the body has an error.
                    if pieces.send(piece).await.is_err() {
                        break None;
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(Failure::of(error)),
            }
        };
        drop(pieces);
        let (extracted, head) = extraction
            .await
            .map_err(|error| PageError::Final(Error::task_failed("extracting records", &error)))?;
        match (extracted, aborted) {
            (Err(BodyError::Output(error)), _) => Err(PageError::Final(error)),
            (_, Some(cause)) => Err(PageError::Aborted(cause)),
            (extracted, None) => Ok((extracted, head)),
        }
    }

    fn record(&self, built: &Request, status: StatusCode, headers: &HeaderMap, head: &Head) -> Result<()> {
        let Some(recorder) = &self.cx.run.record else {
            return Ok(());
        };
        let exchange = component::Exchange {
            source: &self.cx.name,
            method: built.method().as_str(),
            url: built.url(),
            status: status.as_u16(),
            headers,
            body: &head.bytes,
            complete: head.bytes.len() == head.received,
        };
        recorder.page(&exchange)
    }

    /// The service's error message, without secrets and the keys of a parent's rows.
    fn message(
        &self,
        cx: &PageContext<'_>,
        built: &Request,
        credentials: &Credentials,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<String> {
        let mut secrets = self.client.auth.secrets(credentials);
        let in_headers = built.headers().values().filter(|value| value.is_sensitive());
        secrets.extend(in_headers.filter_map(|value| Some(Secret::new(value.to_str().ok()?))));
        let keys = cx.partition.values.of_rows().join(" ");
        let redactor = Redactor::new(&secrets, keys.as_bytes());
        service_message(headers, body, redactor)
    }

    fn error(&self, gave_up: GaveUp<SendError<PageError>>, host: &str, shown: &str) -> Error {
        let spent = gave_up.spent;
        let limit = self.limit_reached(spent.reason);
        let error = match gave_up.last {
            None => return Error::interrupted(),
            Some(SendError::Failed { error, .. }) => error,
            Some(SendError::Token(error)) => {
                return match self.client.auth.provider() {
                    Some(provider) => token_error(provider, &error, Some(spent)),
                    None => Error::unexpected(error.to_string()),
                };
            }
        };
        let error = match error {
            PageError::Final(error) => error,
            PageError::Response(bad) => {
                let message = bad.message.as_deref();
                bad.decision.error(shown, bad.status, message, spent.attempts)
            }
            PageError::Transport(failure) => {
                let kind = match failure.is_transient() {
                    true => ErrorKind::Transient,
                    false => ErrorKind::Config,
                };
                let times = match spent.attempts {
                    0 | 1 => String::new(),
                    attempts => format!(", {attempts} times"),
                };
                let hints = failure.hints(host, "");
                let error = Error::new(kind, format!("{shown} failed{times}")).with_source(failure);
                hints.into_iter().fold(error, Error::with_hint)
            }
            PageError::Body { error, message } => {
                let error = error.into_error();
                let message = message.map(|message| format!("the response says: {message}"));
                let hints: Vec<String> = error.hints().map(str::to_owned).collect();
                let failed = Error::new(error.kind(), format!("cannot read the response to {shown}"));
                let hints = message.into_iter().chain(hints);
                hints.fold(failed.with_source(error), Error::with_hint)
            }
            PageError::Aborted(cause) => Error::new(
                ErrorKind::Transient,
                format!("the connection was closed during the response to {shown}"),
            )
            .with_source(cause),
        };
        limit.into_iter().fold(error, Error::with_hint)
    }

    /// The setting that prevented another attempt, where it is about time.
    fn limit_reached(&self, reason: Reason) -> Option<String> {
        let max = HumanDuration(self.client.retry.max_elapsed.get());
        match reason {
            Reason::RequestedDelay { requested, left } => {
                let seconds = |wait: Duration| HumanDuration(Duration::from_secs(wait.as_secs()));
                Some(format!(
                    "the service requested a wait of {}, and {} of `retry.max_elapsed` ({max}) are left: increase it, or \
                     run again later",
                    seconds(requested),
                    seconds(left)
                ))
            }
            Reason::TimeSpent => Some(format!("`retry.max_elapsed` ({max}) has elapsed")),
            _ => None,
        }
    }
}

fn copy(request: &Request) -> Request {
    let mut copy = Request::new(request.method().clone(), request.url().clone());
    *copy.headers_mut() = request.headers().clone();
    let body = request.body().and_then(reqwest::Body::as_bytes);
    *copy.body_mut() = body.map(|bytes| bytes.to_vec().into());
    copy
}

fn decide(error: &PageError) -> client::Decision {
    let retry = client::Decision::Retry { after: None };
    match error {
        PageError::Transport(failure) if failure.is_transient() => retry,
        PageError::Body {
            error: BodyError::Truncated(_),
            ..
        } => retry,
        PageError::Aborted(_) => retry,
        PageError::Response(bad) => {
            let after = bad.decision.wait;
            match bad.decision.action {
                Action::Retry => client::Decision::Retry { after },
                Action::RateLimited => client::Decision::RateLimited { after },
                Action::RenewToken => client::Decision::RenewToken,
                _ => client::Decision::Stop,
            }
        }
        _ => client::Decision::Stop,
    }
}

fn refused_link(error: &Error, shown: &str) -> Error {
    let message = format!("cannot follow the link to the page after {shown}: {error}");
    let hints = error.hints().map(str::to_owned);
    hints.fold(Error::input(message), Error::with_hint)
}
