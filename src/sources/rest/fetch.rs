//! Fetches one page: sends the request, extracts the rows while the response arrives, and applies the response actions.
//!
//! The rows wait in a spool until the page is complete. Until then the page can be requested again, so that no row is
//! lost or duplicated.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::auth::token_error;
use super::extract::{BodyError, Extracted, Head, RowOutput};
use super::incremental::{self, Seen};
use super::page::{PageRequest, PageRows};
use super::plan::Sequence;
use super::request::Built;
use super::response_actions::{Action, Decision, Facts, service_message};
use super::template::Values;
use crate::component::{self, Pages, Recorder};
use crate::error::{Error, ErrorKind, Result};
use crate::http::auth::Credentials;
use crate::http::client::{self, Client, Exchange, SendError};
use crate::http::link::{AllowedHosts, follow};
use crate::http::redact::Redactor;
use crate::http::retry::{AttemptError, GaveUp, Reason};
use crate::http::transport::{Failure, MAX_BODY, read_limited};
use crate::secret::Secret;
use crate::settings::HumanDuration;

/// Bytes of a body that are recorded.
const RECORDED_BYTES: usize = 1 << 20;

/// Bytes of a body in which an error message is searched.
const MESSAGE_BYTES: usize = 4 << 10;

/// Pieces of a body that may wait for the extraction.
const PREFETCH: usize = 4;

/// What all pages of a source share.
pub(super) struct Fetcher {
    pub(super) client: Client,
    pub(super) allowed: AllowedHosts,
    pub(super) cancel: CancellationToken,
    pub(super) pages: Pages,
    pub(super) source: Arc<str>,
    pub(super) recorder: Option<Recorder>,
    pub(super) scratch: Arc<Path>,
}

/// A page to fetch.
pub(super) struct PageContext<'a> {
    pub(super) sequence: &'a Sequence,
    pub(super) values: &'a Values,
    /// Columns of all rows.
    pub(super) extra: &'a [(Arc<str>, Value)],
    pub(super) request: &'a PageRequest,
    /// The URL of the page before, which a link to this page is relative to.
    pub(super) before: Option<&'a Url>,
    /// Distinguishes the page, behind method and URL.
    pub(super) suffix: String,
    /// Reads the cursor of each row.
    pub(super) run: Option<&'a Arc<incremental::Plan>>,
    /// Statuses that skip the whole sequence.
    pub(super) may_skip: &'a (dyn Fn(u16) -> bool + Sync),
    /// Whether a response action may skip the sequence: nothing of it was read, and it is one of several.
    pub(super) actions_skip: bool,
}

/// The outcome of a page.
pub(super) enum Fetched {
    Page(Box<Page>),
    /// The service has nothing for this sequence, and that is allowed.
    Skipped(u16),
    /// The run is ending.
    Stopped,
}

/// A complete page.
pub(super) struct Page {
    pub(super) url: Url,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) extracted: Extracted,
    pub(super) rows: PageRows,
    pub(super) seen: Seen,
}

/// Why an attempt failed.
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
    /// A retry does not help.
    Final(Error),
    /// The sequence is skipped.
    Skip(u16),
}

/// A response that is not a page.
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

impl AttemptError for PageError {
    /// Reading a page twice changes nothing.
    fn is_unknown(&self) -> bool {
        false
    }
}

impl std::fmt::Display for PageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transport(failure) => failure.fmt(f),
            Self::Response(response) => write!(f, "the response was {}", response.status),
            Self::Body { error, .. } => error.fmt(f),
            Self::Aborted(cause) => write!(f, "the connection was closed during the response: {cause}"),
            Self::Final(error) => error.fmt(f),
            Self::Skip(_) => f.write_str("the partition is skipped"),
        }
    }
}

/// Collects the rows of a page and reads their cursors.
struct Collector {
    rows: PageRows,
    run: Option<Arc<incremental::Plan>>,
    seen: Seen,
}

impl RowOutput for Collector {
    fn row(&mut self, text: &str) -> Result<()> {
        self.rows.push(text)
    }

    fn cursor(&mut self, value: Option<&Value>) -> Result<()> {
        match &self.run {
            Some(run) => run.observe(&mut self.seen, value),
            None => Ok(()),
        }
    }
}

impl Fetcher {
    /// Fetches a page.
    ///
    /// # Errors
    /// The service did not return a page; with its own message.
    pub(super) async fn page(&self, cx: &PageContext<'_>) -> Result<Fetched> {
        let mut request = Cow::Borrowed(cx.request);
        if let (Some(link), Some(before)) = (&cx.request.url, cx.before) {
            let next = follow(before, link, &self.allowed)
                .map_err(|error| refused_link(&error, &cx.sequence.request.shown(before)))?;
            request.to_mut().url = Some(next.into());
        }
        let built = cx.sequence.request.build(cx.values, &request)?;
        let shown = cx.sequence.request.shown(&built.url);
        let sent = self
            .client
            .send(
                &self.cancel,
                (Some(&self.source), &shown),
                || Ok(built.clone().into()),
                |exchange| self.read(cx, &built, &shown, exchange),
                decide,
            )
            .await;
        match sent {
            Ok((page, _)) => {
                self.pages.add_one();
                Ok(Fetched::Page(Box::new(page)))
            }
            Err(gave_up) => match gave_up.last {
                Some(SendError::Failed {
                    error: PageError::Skip(status),
                    ..
                }) => Ok(Fetched::Skipped(status)),
                _ if matches!(gave_up.spent.reason, Reason::Cancelled) => Ok(Fetched::Stopped),
                // A new token did not help, or there is none: it is about this one partition.
                Some(SendError::Failed {
                    error: PageError::Response(ref bad),
                    ..
                }) if bad.decision.action == Action::RenewToken
                    && bad.decision.rule.is_none()
                    && (cx.may_skip)(bad.status.as_u16()) =>
                {
                    Ok(Fetched::Skipped(bad.status.as_u16()))
                }
                _ => Err(self.error(gave_up, built.url.host_str().unwrap_or_default(), &shown)),
            },
        }
    }

    /// Waits for the end of a token exchange that must not be aborted. For the end of a run.
    pub(super) async fn settle(&self) {
        self.client.auth.finish().await;
    }

    /// Reads a response and decides what it is.
    async fn read(
        &self,
        cx: &PageContext<'_>,
        built: &Built,
        shown: &str,
        exchange: Exchange,
    ) -> Result<Page, PageError> {
        // The permit counts the request as running until the body is read.
        let Exchange {
            response,
            credentials,
            permit: _permit,
        } = exchange;
        let (status, headers) = (response.status(), response.headers().clone());
        let name = format!("{shown}{}", cx.suffix).into();
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

        let actions = &cx.sequence.actions;
        let paths = &cx.sequence.paths;
        let found = match &extracted {
            Some(Ok((extracted, _))) => extracted.values.clone(),
            _ => serde_json::from_slice::<Value>(&head.bytes)
                .map_or_else(|_| paths.none(), |body| paths.find(&body)),
        };
        let decision = actions.decide(&Facts {
            status: status.as_u16(),
            headers: &headers,
            values: &found,
            text: &head.bytes,
        });
        let page = |extracted, rows, seen| Page {
            url: built.url.clone(),
            status: status.as_u16(),
            headers: headers.clone(),
            extracted,
            rows,
            seen,
        };
        let message = || self.message(cx, built, &credentials, &headers, &head.bytes);
        let by_default = decision.rule.is_none();
        let skips = match decision.action {
            Action::Skip => cx.actions_skip,
            Action::Fail => by_default && extracted.is_none() && (cx.may_skip)(status.as_u16()),
            _ => false,
        };
        match extracted {
            Some(Ok((extracted, collected))) if decision.action == Action::Accept => {
                Ok(page(extracted, collected.rows, collected.seen))
            }
            Some(Err(error)) if by_default => {
                let message = matches!(error, BodyError::Missing { .. }).then(message).flatten();
                Err(PageError::Body { error, message })
            }
            _ if decision.action == Action::Empty => {
                let rows = PageRows::new(shown.into(), &self.scratch);
                Ok(page(Extracted::without_records(found), rows, Seen::default()))
            }
            _ if skips => Err(PageError::Skip(status.as_u16())),
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
    ) -> Result<(Result<(Extracted, Collector), BodyError>, Head), PageError> {
        let (pieces, mut body) = mpsc::channel::<Bytes>(PREFETCH);
        let extractor = cx.sequence.extractor.clone();
        let max_head = match &self.recorder {
            Some(_) => RECORDED_BYTES,
            None if cx.sequence.actions.needs_body_of_success() => MAX_BODY,
            None => MESSAGE_BYTES,
        };
        let extra = cx.extra.to_vec();
        let mut collector = Collector {
            rows: PageRows::new(name, &self.scratch),
            run: cx.run.cloned(),
            seen: Seen::default(),
        };
        let extraction = tokio::task::spawn_blocking(move || {
            let body = std::iter::from_fn(|| body.blocking_recv());
            let (extracted, head) = extractor.run(body, max_head, &extra, &mut collector);
            let flushed = collector.rows.flush();
            let extracted = extracted.and_then(|extracted| {
                flushed?;
                Ok((extracted, collector))
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
            (Err(BodyError::Other(error)), _) => Err(PageError::Final(error)),
            (_, Some(cause)) => Err(PageError::Aborted(cause)),
            (extracted, None) => Ok((extracted, head)),
        }
    }

    /// Stores a response, if responses are to be recorded.
    fn record(&self, built: &Built, status: StatusCode, headers: &HeaderMap, head: &Head) -> Result<()> {
        let Some(recorder) = &self.recorder else {
            return Ok(());
        };
        let exchange = component::Exchange {
            source: &self.source,
            method: built.method.as_str(),
            url: &built.url,
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
        built: &Built,
        credentials: &Credentials,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<String> {
        let mut secrets = self.client.auth.secrets(credentials);
        let in_headers = built.headers.values().filter(|value| value.is_sensitive());
        secrets.extend(in_headers.filter_map(|value| Some(Secret::new(value.to_str().ok()?))));
        let keys = cx.values.of_rows().join(" ");
        let redactor = Redactor::new(&secrets, keys.as_bytes());
        service_message(headers, body, redactor)
    }

    /// The error of a page that could not be fetched.
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
                bad.decision
                    .error(shown, bad.status, message, spent.tally.attempts)
            }
            PageError::Transport(failure) => {
                let kind = match failure.is_transient() {
                    true => ErrorKind::Transient,
                    false => ErrorKind::Config,
                };
                let times = match spent.tally.attempts {
                    0 | 1 => String::new(),
                    attempts => format!(", {attempts} times"),
                };
                let hints = failure.hints(host, "");
                let error = Error::new(kind, format!("{shown} failed{times}")).with_source(failure);
                hints.into_iter().fold(error, Error::with_hint)
            }
            PageError::Body { error, message } => body_error(shown, error, message),
            PageError::Aborted(cause) => Error::new(
                ErrorKind::Transient,
                format!("the connection was closed during the response to {shown}"),
            )
            .with_source(cause),
            PageError::Skip(_) => Error::interrupted(),
        };
        hint_if(error, limit)
    }

    /// The setting that prevented another attempt, where it is about time.
    fn limit_reached(&self, reason: Reason) -> Option<String> {
        let max = HumanDuration(self.client.retry.max_elapsed.get());
        match reason {
            Reason::AskedToWait { asked, left } => {
                let seconds = |wait: Duration| HumanDuration(Duration::from_secs(wait.as_secs()));
                Some(format!(
                    "the service requested a wait of {}, and {} of `retry.max_elapsed` ({max}) are left: increase it, or \
                     run again later",
                    seconds(asked),
                    seconds(left)
                ))
            }
            Reason::TimeSpent => Some(format!("`retry.max_elapsed` ({max}) has elapsed")),
            _ => None,
        }
    }
}

/// Whether another attempt may help.
fn decide(error: &PageError) -> client::Decision {
    let retry = client::Decision::Retry { after: None };
    match error {
        PageError::Transport(failure) if failure.is_transient() => retry,
        PageError::Body { error, .. } if error.is_truncated() => retry,
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

fn hint_if(error: Error, hint: Option<String>) -> Error {
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn body_error(shown: &str, error: BodyError, message: Option<String>) -> Error {
    let kind = match error.is_truncated() {
        true => ErrorKind::Transient,
        false => ErrorKind::Input,
    };
    let hint = error.hint();
    let shown = Error::new(kind, format!("cannot read the response to {shown}")).with_source(error);
    let message = message.map(|message| format!("the response says: {message}"));
    hint_if(hint_if(shown, message), hint)
}

fn refused_link(error: &Error, shown: &str) -> Error {
    let message = format!("cannot follow the link to the page after {shown}: {error}");
    let hints = error.hints().map(str::to_owned);
    hints.fold(Error::input(message), Error::with_hint)
}
