//! Asks for one page: signs in, keeps the pace, sends, takes the records out of the answer while it comes, judges it,
//! and tries again where that helps.
//!
//! A page's records are held back until the page is whole, up to 8 MiB: so a page that breaks off is asked for
//! again, and nothing of it comes twice. A larger page goes on as it comes; if that breaks off, the run ends.

mod response_reader;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::response_reader::ResponseReader;
use super::auth::token_error;
use super::extract::BodyError;
use super::json_path::ExtractedValues;
use super::page::PageRequest;
use super::plan::Sequence;
use super::response_actions::{Action, Decision, ErrorMessageFinder, Facts, RequestFailure, ResponseActions};
use super::rows::Message;
use super::template::Values;
use crate::component::{Exchange, Pages, Recorder};
use crate::config::HumanDuration;
use crate::error::{Error, ErrorKind, Result};
use crate::http::address;
use crate::http::auth::{Authenticator, Credentials, TokenError};
use crate::http::link::{AllowedHosts, follow};
use crate::http::rate_limit::{RateLimit, RateLimiters};
use crate::http::redact::Redactor;
use crate::http::retry::Spent;
use crate::http::retry::{AttemptError, GaveUp, Reason, RetryPolicy, Verdict};
use crate::http::transport::{Failure, MAX_BODY};
use crate::secret::Secret;

/// Bytes of a body that are kept for a recording.
const RECORDED: usize = 1 << 20;

/// Bytes of a body in which a message about an error is looked for.
const MESSAGE: usize = 4 << 10;

/// What every page of a source shares.
pub(super) struct Fetcher {
    pub(super) client: reqwest::Client,
    pub(super) auth: Authenticator,
    pub(super) limiters: RateLimiters,
    pub(super) pace: RateLimit,
    pub(super) retry: RetryPolicy,
    pub(super) messages: ErrorMessageFinder,
    pub(super) allowed: AllowedHosts,
    pub(super) cancel: CancellationToken,
    pub(super) pages: Pages,
    pub(super) source: Arc<str>,
    pub(super) recorder: Option<Recorder>,
}

/// What to ask for.
pub(super) struct PageContext<'a> {
    pub(super) sequence: &'a Sequence,
    pub(super) values: &'a Values,
    /// Columns that every row gets.
    pub(super) extra: &'a [(Arc<str>, Value)],
    pub(super) ask: &'a PageRequest,
    /// The URL that a link to the next page is held against: that of the page before.
    pub(super) before: Option<&'a Url>,
    /// What the user knows the page as, behind method and URL.
    pub(super) suffix: String,
    /// Statuses that leave the whole sequence out.
    pub(super) may_skip: &'a (dyn Fn(u16) -> bool + Sync),
    /// Whether a rule may leave the sequence out: nothing of it is read yet, and it is one of several.
    pub(super) rules_skip: bool,
}

/// What came of it.
pub(super) enum FetchOutcome {
    /// A page; `rest` are its records that were not given on yet.
    Page(Box<Page>),
    /// The service has nothing for this sequence, and that is all right.
    Skipped(u16),
    /// Nobody wants more rows.
    Stopped,
}

/// An answer that was taken.
pub(super) struct Page {
    pub(super) url: Url,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) values: ExtractedValues,
    pub(super) records: u64,
    pub(super) rows: u64,
    pub(super) without_list: u64,
    pub(super) digest: u64,
    /// Bits of the columns to pick for which there was anything in a row.
    pub(super) picked: u64,
    pub(super) last: Option<Value>,
    pub(super) rest: Vec<Message>,
}

impl Page {
    /// One without rows.
    fn empty(
        built: &super::request::Built,
        status: u16,
        headers: HeaderMap,
        values: ExtractedValues,
    ) -> Self {
        Self {
            url: built.url.clone(),
            status,
            headers,
            records: 0,
            rows: 0,
            without_list: 0,
            digest: 0,
            picked: 0,
            last: None,
            values,
            rest: Vec::new(),
        }
    }
}

/// Why an attempt failed.
enum Attempt {
    /// There is no access token.
    Token(Arc<TokenError>),
    /// The exchange failed.
    Exchange(Failure),
    /// The answer is not what it must be.
    Answer(Box<BadAnswer>),
    /// The body is not what it must be.
    Body { error: BodyError, given_on: bool },
    /// The body has no records where they are looked for, and may say why.
    NoRecords {
        error: BodyError,
        message: Option<String>,
    },
    /// The connection ended before the body did.
    BrokenOff { cause: String, given_on: bool },
    /// Trying again does not help.
    Final(Error),
    /// Nobody wants more rows.
    Stopped,
    /// The sequence is to be left out.
    Skip(u16),
}

/// An answer that is not what it must be.
struct BadAnswer {
    status: u16,
    line: String,
    message: Option<String>,
    decision: Decision,
    credentials: Credentials,
}

impl From<BodyError> for Attempt {
    fn from(error: BodyError) -> Self {
        Self::Body {
            error,
            given_on: false,
        }
    }
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(error) => error.fmt(f),
            Self::Exchange(failure) => failure.fmt(f),
            Self::Answer(answer) => write!(f, "the response was {}", answer.line),
            Self::Body { error, .. } | Self::NoRecords { error, .. } => error.fmt(f),
            Self::BrokenOff { cause, .. } => write!(f, "the answer broke off: {cause}"),
            Self::Final(error) => error.fmt(f),
            Self::Stopped | Self::Skip(_) => f.write_str("nothing is wanted"),
        }
    }
}

impl AttemptError for Attempt {
    /// Never: asking for a page twice does nothing twice.
    fn is_unknown(&self) -> bool {
        false
    }
}

impl Fetcher {
    /// Asks for a page. Blocks of a large one go to `out` as they come; the rest come back with the page, for the
    /// caller to give on.
    ///
    /// # Errors
    /// No good answer came, with the service's own message, or what came is no page.
    pub(super) async fn page(
        &self,
        question: &PageContext<'_>,
        out: &mpsc::Sender<Message>,
    ) -> Result<FetchOutcome> {
        let mut ask = std::borrow::Cow::Borrowed(question.ask);
        if let (Some(link), Some(before)) = (&question.ask.url, question.before) {
            // A relative link counts from the page that has it.
            let next = follow(before, link, &self.allowed)
                .map_err(|error| refused_link(&error, &self.shown(question, before)))?;
            ask.to_mut().url = Some(next.into());
        }
        let built = question.sequence.request.build(question.values, &ask)?;
        let shown = self.shown(question, &built.url);
        let mut renewed = false;
        let outcome = self
            .retry
            .about(Some(&self.source), &shown)
            .run(
                &self.cancel,
                |_| self.attempt(question, &built, &shown, out),
                |failure| self.judge(failure, &built.url, &mut renewed),
            )
            .await;
        match outcome {
            Ok((page, _)) => {
                self.pages.add_one();
                Ok(FetchOutcome::Page(Box::new(page)))
            }
            Err(GaveUp {
                last: Some(Attempt::Skip(status)),
                ..
            }) => Ok(FetchOutcome::Skipped(status)),
            // No new token helped, or there is none to be had: it is about this one value.
            Err(GaveUp {
                last: Some(Attempt::Answer(ref answer)),
                ..
            }) if answer.decision.action == Action::RenewToken
                && answer.decision.rule.is_none()
                && (question.may_skip)(answer.status) =>
            {
                Ok(FetchOutcome::Skipped(answer.status))
            }
            Err(GaveUp {
                last: Some(Attempt::Stopped),
                ..
            }) => Ok(FetchOutcome::Stopped),
            Err(GaveUp {
                reason: Reason::Cancelled,
                ..
            }) => Ok(FetchOutcome::Stopped),
            Err(gave_up) => Err(self.failure(gave_up, &built.method, &shown)),
        }
    }

    /// Method and URL of a page, for messages.
    fn shown(&self, question: &PageContext<'_>, url: &Url) -> String {
        question.sequence.request.shown(url)
    }

    async fn attempt(
        &self,
        question: &PageContext<'_>,
        built: &super::request::Built,
        shown: &str,
        out: &mpsc::Sender<Message>,
    ) -> Result<Page, Attempt> {
        let limiter = self.limiters.of(&address::host(&built.url), &self.pace);
        let stopped = || Attempt::Stopped;
        let permit = self
            .cancel
            .run_until_cancelled(limiter.acquire())
            .await
            .ok_or_else(stopped)?;
        let mut request = reqwest::Request::from(built.clone());
        let credentials = self
            .cancel
            .run_until_cancelled(self.auth.authorize(&mut request))
            .await
            .ok_or_else(stopped)?
            .map_err(Attempt::Token)?;
        let response = self
            .cancel
            .run_until_cancelled(self.client.execute(request))
            .await
            .ok_or_else(stopped)?
            .map_err(|error| Attempt::Exchange(Failure::of(error)))?;
        let status = response.status();
        let headers = response.headers().clone();
        if !status.is_success() || status.as_u16() == 204 {
            return self
                .without_rows(question, built, response, headers, credentials)
                .await;
        }
        let page = format!("{shown}{}", question.suffix).into();
        let needs = question.sequence.rules.needs_body_of_success();
        let taking = ResponseReader {
            page,
            extraction: Some(question.sequence.extractor.start(question.extra)),
            text: Vec::new(),
            ends: Vec::new(),
            blocks: Vec::new(),
            held: 0,
            head: Vec::new(),
            most_head: match &self.recorder {
                Some(_) => RECORDED,
                None if needs.text || needs.values => MAX_BODY,
                None => MESSAGE,
            },
            length: 0,
            given_on: false,
            permit: Some(permit),
            out,
        };
        let (finished, taking) = self
            .cancel
            .run_until_cancelled(taking.read(response))
            .await
            .ok_or_else(stopped)?;
        let complete = finished.is_ok() && taking.length == taking.head.len();
        self.record(built, status.as_u16(), &headers, &taking.head, complete)?;
        let finished = match finished {
            Ok(finished) => finished,
            Err(failed) => {
                return self.unreadable(question, built, failed, status, headers, &taking, credentials);
            }
        };
        let facts = Facts {
            status: status.as_u16(),
            headers: &headers,
            values: Some(&finished.values),
            text: &taking.head,
        };
        let decision = question.sequence.rules.decide(&facts);
        let mut blocks = taking.blocks;
        match decision.action {
            Action::Accept => {}
            Action::Empty if !taking.given_on => blocks.clear(),
            Action::Skip if question.rules_skip && !taking.given_on => {
                return Err(Attempt::Skip(status.as_u16()));
            }
            _ => {
                if taking.given_on {
                    return Err(Attempt::Final(Error::input(format!(
                        "{shown} was answered with {status} and rows, and a rule of `response_actions` finds an error behind them"
                    ))));
                }
                return Err(Attempt::Answer(Box::new(BadAnswer {
                    status: status.as_u16(),
                    line: format!("{status}"),
                    message: self.message(question, built, &credentials, &headers, &taking.head),
                    decision,
                    credentials,
                })));
            }
        }
        Ok(Page {
            url: built.url.clone(),
            status: status.as_u16(),
            headers,
            records: if decision.action == Action::Empty {
                0
            } else {
                finished.records
            },
            rows: finished.rows,
            without_list: if decision.action == Action::Empty {
                0
            } else {
                finished.without_list
            },
            digest: finished.digest,
            picked: finished.picked,
            last: if question.sequence.needs_last {
                finished.last_record()?
            } else {
                None
            },
            values: finished.values,
            rest: blocks,
        })
    }

    /// A good status with a body that gives no records: services say so what is wrong, and rules may know it.
    #[expect(clippy::too_many_arguments, reason = "all that is known of an answer")]
    #[expect(clippy::result_large_err, reason = "once for a page")]
    fn unreadable(
        &self,
        question: &PageContext<'_>,
        built: &super::request::Built,
        failed: Attempt,
        status: reqwest::StatusCode,
        headers: HeaderMap,
        taking: &ResponseReader<'_>,
        credentials: Credentials,
    ) -> Result<Page, Attempt> {
        let Attempt::Body {
            error,
            given_on: false,
        } = failed
        else {
            return Err(failed);
        };
        let values = serde_json::from_slice::<Value>(&taking.head).map_or_else(
            |_| question.sequence.paths.none(),
            |body| question.sequence.paths.find(&body),
        );
        let decision = question.sequence.rules.decide(&Facts {
            status: status.as_u16(),
            headers: &headers,
            values: Some(&values),
            text: &taking.head,
        });
        let message = || self.message(question, built, &credentials, &headers, &taking.head);
        match decision.action {
            _ if decision.rule.is_none() => {
                let message = match &error {
                    BodyError::Missing { .. } => message(),
                    _ => None,
                };
                Err(Attempt::NoRecords { error, message })
            }
            Action::Accept => Err(error.into()),
            Action::Empty => Ok(Page::empty(built, status.as_u16(), headers, values)),
            Action::Skip if question.rules_skip => Err(Attempt::Skip(status.as_u16())),
            _ => Err(Attempt::Answer(Box::new(BadAnswer {
                status: status.as_u16(),
                line: status.to_string(),
                message: message(),
                decision,
                credentials,
            }))),
        }
    }

    /// An answer without a page in it: the empty end, or a failure.
    async fn without_rows(
        &self,
        question: &PageContext<'_>,
        built: &super::request::Built,
        response: reqwest::Response,
        headers: HeaderMap,
        credentials: Credentials,
    ) -> Result<Page, Attempt> {
        let status = response.status();
        let (body, complete) = crate::http::transport::read_limited(response, MAX_BODY).await;
        self.record(built, status.as_u16(), &headers, &body, complete)?;
        let values = serde_json::from_slice::<Value>(&body).map_or_else(
            |_| question.sequence.paths.none(),
            |body| question.sequence.paths.find(&body),
        );
        let facts = Facts {
            status: status.as_u16(),
            headers: &headers,
            values: Some(&values),
            text: &body,
        };
        let decision = question.sequence.rules.decide(&facts);
        match decision.action {
            Action::Accept | Action::Empty => {}
            Action::Skip if question.rules_skip => return Err(Attempt::Skip(status.as_u16())),
            Action::Fail if decision.rule.is_none() && (question.may_skip)(status.as_u16()) => {
                return Err(Attempt::Skip(status.as_u16()));
            }
            _ => {
                return Err(Attempt::Answer(Box::new(BadAnswer {
                    status: status.as_u16(),
                    line: status.to_string(),
                    message: self.message(question, built, &credentials, &headers, &body),
                    decision,
                    credentials,
                })));
            }
        }
        Ok(Page::empty(built, status.as_u16(), headers, values))
    }

    /// Stores an answer, if answers are to be stored.
    #[expect(clippy::result_large_err, reason = "once for a page")]
    fn record(
        &self,
        built: &super::request::Built,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
        complete: bool,
    ) -> Result<(), Attempt> {
        let Some(recorder) = &self.recorder else {
            return Ok(());
        };
        let exchange = Exchange {
            source: &self.source,
            method: built.method.as_str(),
            url: &built.url,
            status,
            headers,
            body,
            complete,
        };
        recorder.page(&exchange).map_err(Attempt::Final)
    }

    /// What the service says about an error, without what it was sent and must not be shown: secrets, and the keys of
    /// a parent's rows.
    fn message(
        &self,
        question: &PageContext<'_>,
        built: &super::request::Built,
        credentials: &Credentials,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<String> {
        let mut secrets = self.auth.secrets();
        secrets.extend(credentials.secret().cloned());
        let in_headers = built.headers.values().filter(|value| value.is_sensitive());
        secrets.extend(in_headers.filter_map(|value| Some(Secret::new(value.to_str().ok()?))));
        let secrets: Vec<_> = secrets.iter().collect();
        let keys = question.values.of_rows().join(" ");
        let hidden = Redactor::secrets(&secrets).with_payload(keys.as_bytes());
        self.messages.find(headers, body, hidden)
    }

    /// Whether another attempt is worth it, and when.
    fn judge(&self, failure: &Attempt, url: &Url, renewed: &mut bool) -> Verdict {
        match failure {
            Attempt::Token(error) => error.verdict(),
            Attempt::Exchange(failure)
                if ResponseActions::decide_failure(failure).action == Action::Retry =>
            {
                Verdict::Retry { after: None }
            }
            Attempt::Body { error, given_on } if error.is_truncated() && !given_on => {
                Verdict::Retry { after: None }
            }
            Attempt::NoRecords { error, .. } if error.is_truncated() => Verdict::Retry { after: None },
            Attempt::BrokenOff { given_on: false, .. } => Verdict::Retry { after: None },
            Attempt::Answer(answer) => match answer.decision.action {
                Action::Retry => Verdict::Retry {
                    after: answer.decision.wait,
                },
                Action::RateLimited => {
                    // The service counts the requests of all.
                    if let Some(wait) = answer.decision.wait {
                        let limiter = self.limiters.of(&address::host(url), &self.pace);
                        limiter.hold_until(Instant::now() + wait.min(Duration::from_secs(3600)));
                    }
                    Verdict::Retry {
                        after: answer.decision.wait,
                    }
                }
                Action::RenewToken if !*renewed && self.auth.renew(&answer.credentials) => {
                    *renewed = true;
                    Verdict::RetryAtOnce
                }
                _ => Verdict::Stop,
            },
            _ => Verdict::Stop,
        }
    }

    /// The error of a page that did not come.
    fn failure(&self, gave_up: GaveUp<Attempt>, method: &reqwest::Method, shown: &str) -> Error {
        let bound = self.spent(gave_up.reason);
        let error = self.failed(gave_up, method, shown);
        match bound {
            Some(bound) => error.with_hint(bound),
            None => error,
        }
    }

    /// Which setting kept a request from being made again, where it is about time.
    fn spent(&self, reason: Reason) -> Option<String> {
        let whole = HumanDuration(self.retry.max_elapsed());
        match reason {
            Reason::AskedToWait { asked, left } => {
                let seconds = |wait: Duration| HumanDuration(Duration::from_secs(wait.as_secs()));
                Some(format!(
                    "the service asked to wait {}, and {} are left of `retry.max_elapsed` ({whole}): raise it, or run \
                     again later",
                    seconds(asked),
                    seconds(left)
                ))
            }
            Reason::TimeSpent => Some(format!("no time is left of `retry.max_elapsed` ({whole})")),
            _ => None,
        }
    }

    fn failed(&self, gave_up: GaveUp<Attempt>, method: &reqwest::Method, shown: &str) -> Error {
        let attempts = gave_up.tally.attempts;
        let url = shown.strip_prefix(method.as_str()).unwrap_or(shown).trim_start();
        let spent = Spent {
            tally: gave_up.tally,
            reason: gave_up.reason,
        };
        match gave_up.last {
            Some(Attempt::Final(error)) => error,
            Some(Attempt::Token(error)) => match self.auth.provider() {
                Some(provider) => token_error(provider, &error, Some(spent)),
                None => Error::unexpected(error.to_string()),
            },
            Some(Attempt::Answer(answer)) => RequestFailure {
                method: method.as_str(),
                url,
                status_line: &answer.line,
                message: answer.message.as_deref(),
                attempts,
            }
            .error(answer.status, &answer.decision),
            Some(Attempt::Exchange(failure)) => {
                let kind = if failure.is_transient() {
                    ErrorKind::Transient
                } else {
                    ErrorKind::Config
                };
                let times = if attempts > 1 {
                    format!(", {attempts} times")
                } else {
                    String::new()
                };
                let hint = ResponseActions::decide_failure(&failure).hint;
                let error = Error::new(kind, format!("{shown} failed{times}")).with_source(failure);
                match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                }
            }
            Some(Attempt::Body { error, given_on }) => body_error(shown, error, given_on, None),
            Some(Attempt::NoRecords { error, message }) => body_error(shown, error, false, message),
            Some(Attempt::BrokenOff { cause, given_on }) => {
                let error = Error::new(
                    ErrorKind::Transient,
                    format!("the answer to {shown} broke off: {cause}"),
                );
                if given_on {
                    error.with_hint("its rows had gone on already, so it was not asked for again; run again")
                } else {
                    error
                }
            }
            _ => Error::interrupted(),
        }
    }
}

fn body_error(shown: &str, error: BodyError, given_on: bool, message: Option<String>) -> Error {
    let kind = if error.is_truncated() {
        ErrorKind::Transient
    } else {
        ErrorKind::Input
    };
    let hint = error.hint();
    let mut shown = Error::new(kind, format!("the answer to {shown} cannot be read")).with_source(error);
    if let Some(message) = message {
        shown = shown.with_hint(format!("the answer says: {message}"));
    }
    if let Some(hint) = hint {
        shown = shown.with_hint(hint);
    }
    if given_on && kind == ErrorKind::Transient {
        shown = shown.with_hint("its rows had gone on already, so it was not asked for again; run again");
    }
    shown
}

fn refused_link(error: &crate::http::link::LinkError, shown: &str) -> Error {
    let refused = Error::input(format!(
        "the link to the page after {shown} is not followed: {error}"
    ));
    match error.hint() {
        Some(hint) => refused.with_hint(hint),
        None => refused,
    }
}
