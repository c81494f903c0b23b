//! Judges answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use regex::bytes;
use reqwest::header::{HeaderMap, HeaderName, LOCATION};
use serde_json::Value;
use url::Url;

use super::super::json_path::{ExtractedValues, ValueId, ValuePaths};
use super::config::{ResponseAction, ResponseActionConfig, StatusSet};
use crate::http::redact::clean;
use crate::http::transport::Failure;

/// Most bytes of a body that the expressions of `text` are looked for in.
pub(in crate::sources::rest) const MAX_TEXT: usize = 64 * 1024;

/// Reads from an answer's headers how long it asks to wait.
pub(in crate::sources::rest) type ReadWait = Arc<dyn Fn(&HeaderMap) -> Option<Duration> + Send + Sync>;

/// What an answer is judged by.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::rest) struct Facts<'a> {
    /// The status.
    pub(in crate::sources::rest) status: u16,
    /// The headers.
    pub(in crate::sources::rest) headers: &'a HeaderMap,
    /// Values found in the body; none if it is not JSON or was not looked into.
    pub(in crate::sources::rest) values: Option<&'a ExtractedValues>,
    /// The begin of the body. More than 64 KiB is set aside.
    pub(in crate::sources::rest) text: &'a [u8],
}

/// What to do about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources::rest) enum Action {
    /// Take it.
    Take,
    /// Take it as one without rows; its body is not read.
    Empty,
    /// Leave this request out, and count it.
    Skip,
    /// Ask again after a wait.
    Retry,
    /// Ask again after a wait, which is for all requests to the host.
    RateLimited,
    /// Renew the token and ask again at once; the second time it is a failure.
    RenewToken,
    /// Fail.
    Fail,
}

/// An answer, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sources::rest) struct Decision {
    /// What to do.
    pub(in crate::sources::rest) action: Action,
    /// How long to wait at least before asking again; none leaves it to the back-off.
    pub(in crate::sources::rest) wait: Option<Duration>,
    /// The index of the rule that decided; none if it was HTTP itself.
    pub(in crate::sources::rest) rule: Option<usize>,
    /// What to tell whoever reads the error.
    pub(in crate::sources::rest) hint: Option<String>,
}

/// What of good answers is looked into to judge them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::sources::rest) struct NeedsOfSuccess {
    /// Values in the body.
    pub(in crate::sources::rest) values: bool,
    /// The begin of the text.
    pub(in crate::sources::rest) text: bool,
}

/// Rules, compiled. Cheap to clone.
#[derive(Clone)]
pub(in crate::sources::rest) struct ResponseActions {
    rules: Arc<[Rule]>,
    wait: ReadWait,
}

#[derive(Debug)]
struct Rule {
    status: Vec<StatusSet>,
    header: Option<(HeaderName, Test)>,
    body: Option<(ValueId, Test)>,
    text: Option<bytes::Regex>,
    action: ResponseAction,
    wait: Option<Duration>,
    message: Option<String>,
}

/// A test of one value.
#[derive(Debug)]
struct Test {
    kind: TestKind,
    not: bool,
}

#[derive(Debug)]
enum TestKind {
    Exists(bool),
    Equals(String),
    Matches(bytes::Regex),
}

impl Test {
    /// `None` if an expression is none.
    fn new(equals: Option<String>, matches: Option<&str>, exists: Option<bool>, not: bool) -> Option<Self> {
        let kind = match (equals, matches) {
            (Some(equals), _) => TestKind::Equals(equals),
            (None, Some(matches)) => TestKind::Matches(bytes::Regex::new(matches).ok()?),
            (None, None) => TestKind::Exists(exists.unwrap_or(true)),
        };
        Some(Self { kind, not })
    }

    /// `text` is the value's, where it has one; `there` whether it is there.
    fn passes(&self, text: Option<&[u8]>, there: bool) -> bool {
        let passes = match &self.kind {
            TestKind::Exists(wanted) => there == *wanted,
            TestKind::Equals(wanted) => text == Some(wanted.as_bytes()),
            TestKind::Matches(regex) => text.is_some_and(|text| regex.is_match(text)),
        };
        passes != self.not
    }
}

/// The text of a value that has one: number and flag as JSON writes them.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Rule {
    /// `None` if an expression or a header's name is none: validation says so.
    fn new(config: &ResponseActionConfig, probes: &mut ValuePaths) -> Option<Self> {
        let when = &config.when;
        let header = match &when.header {
            None => None,
            Some(test) => Some((
                HeaderName::from_bytes(test.name.as_bytes()).ok()?,
                Test::new(
                    test.equals.clone(),
                    test.matches.as_deref(),
                    test.exists,
                    test.not,
                )?,
            )),
        };
        let body = match &when.body {
            None => None,
            Some(test) => {
                let equals = test.equals.as_ref().and_then(scalar);
                let passes = Test::new(equals, test.matches.as_deref(), test.exists, test.not)?;
                Some((probes.add(&test.path), passes))
            }
        };
        let text = match &when.text {
            None => None,
            Some(regex) => Some(bytes::Regex::new(regex).ok()?),
        };
        Some(Self {
            status: when.status.clone(),
            header,
            body,
            text,
            action: config.action,
            wait: config.wait.map(|wait| wait.0),
            message: config.message.clone(),
        })
    }

    fn holds(&self, facts: &Facts<'_>) -> bool {
        let status = if self.status.is_empty() {
            // An account that is refused again and again gets locked: that is done to a status by name only, and
            // validation allows that to nobody.
            !(matches!(self.action, ResponseAction::Retry | ResponseAction::RateLimited)
                && matches!(facts.status, 401 | 403))
        } else {
            self.status.iter().any(|set| set.has(facts.status))
        };
        let header = || {
            self.header.as_ref().is_none_or(|(name, test)| {
                let values: Vec<&[u8]> = facts
                    .headers
                    .get_all(name)
                    .iter()
                    .map(|value| value.as_bytes())
                    .collect();
                let there = !values.is_empty();
                let text = there.then(|| values.join(&b", "[..]));
                test.passes(text.as_deref(), there)
            })
        };
        let body = || {
            self.body.as_ref().is_none_or(|(probe, test)| {
                // What is not JSON has no value anywhere, so that even a test turned round says nothing about it.
                facts.values.is_some_and(|values| {
                    let value = values.get(*probe);
                    let text = value.and_then(scalar);
                    let there = value.is_some_and(|value| !value.is_null());
                    test.passes(text.as_deref().map(str::as_bytes), there)
                })
            })
        };
        let text = || {
            self.text
                .as_ref()
                .is_none_or(|regex| regex.is_match(&facts.text[..facts.text.len().min(MAX_TEXT)]))
        };
        status && header() && body() && text()
    }

    /// Whether it may hold for a good answer.
    fn concerns_success(&self) -> bool {
        self.status.is_empty()
            || self.status.iter().any(|set| match set {
                StatusSet::One(status) => (200..300).contains(status),
                StatusSet::Class(class) => *class == 2,
            })
    }
}

impl ResponseActions {
    /// Compiles rules. `probes` are what bodies are searched for; `wait` reads what an answer asks for.
    ///
    /// The rules are valid; one that is not never holds.
    pub(in crate::sources::rest) fn new(
        config: &[ResponseActionConfig],
        probes: &mut ValuePaths,
        wait: ReadWait,
    ) -> Self {
        Self {
            rules: config
                .iter()
                .map(|config| Rule::new(config, probes).unwrap_or_else(Rule::never))
                .collect(),
            wait,
        }
    }

    /// What of good answers has to be looked into.
    pub(in crate::sources::rest) fn needs_body_of_success(&self) -> NeedsOfSuccess {
        let concerned = || self.rules.iter().filter(|rule| rule.concerns_success());
        NeedsOfSuccess {
            values: concerned().any(|rule| rule.body.is_some()),
            text: concerned().any(|rule| rule.text.is_some()),
        }
    }

    /// Judges an answer.
    pub(in crate::sources::rest) fn judge(&self, facts: &Facts<'_>) -> Decision {
        let found = self.rules.iter().enumerate().find(|(_, rule)| rule.holds(facts));
        let Some((index, rule)) = found else {
            let action = usual(facts.status);
            return Decision {
                action,
                wait: self.asked(action, facts.headers),
                rule: None,
                hint: usual_hint(facts.status, facts.headers),
            };
        };
        let action = match rule.action {
            ResponseAction::Retry => Action::Retry,
            ResponseAction::Fail => Action::Fail,
            ResponseAction::Skip => Action::Skip,
            ResponseAction::Empty => Action::Empty,
            ResponseAction::RateLimited => Action::RateLimited,
            ResponseAction::RenewToken => Action::RenewToken,
        };
        Decision {
            action,
            // The longer of the two: never before the service wants it.
            wait: self.asked(action, facts.headers).max(rule.wait),
            rule: Some(index),
            hint: rule
                .message
                .clone()
                .or_else(|| usual_hint(facts.status, facts.headers)),
        }
    }

    /// Judges a request that had no answer. Requests read and change nothing: one whose outcome nobody knows can be
    /// made again.
    pub(in crate::sources::rest) fn judge_failure(failure: &Failure) -> Decision {
        let action = if failure.is_transient() {
            Action::Retry
        } else {
            Action::Fail
        };
        let hint = match failure {
            Failure::Certificate(_) => Some("if the network inspects TLS, name the file of its certificate authority as `tls.ca_file`; if not, look at who answers for the host".to_owned()),
            _ => None,
        };
        Decision {
            action,
            wait: None,
            rule: None,
            hint,
        }
    }

    fn asked(&self, action: Action, headers: &HeaderMap) -> Option<Duration> {
        matches!(action, Action::Retry | Action::RateLimited)
            .then(|| (self.wait)(headers))
            .flatten()
    }
}

impl Rule {
    /// One that holds for no answer.
    fn never() -> Self {
        Self {
            status: vec![StatusSet::Class(0)],
            header: None,
            body: None,
            text: None,
            action: ResponseAction::Fail,
            wait: None,
            message: None,
        }
    }
}

impl fmt::Debug for ResponseActions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseActions")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// What a status means where no rule says otherwise.
fn usual(status: u16) -> Action {
    match status {
        204 => Action::Empty,
        200..=299 => Action::Take,
        401 => Action::RenewToken,
        429 | 503 => Action::RateLimited,
        408 | 425 | 500 | 502 | 504 => Action::Retry,
        _ => Action::Fail,
    }
}

fn usual_hint(status: u16, headers: &HeaderMap) -> Option<String> {
    Some(match status {
        300..=399 => return Some(redirect_hint(headers)),
        400 => "the service does not understand the request: compare `path`, `query` and `body` with its documentation".to_owned(),
        401 => "the service does not take the credentials: check `auth`; it was not tried again and again, because accounts get locked".to_owned(),
        403 => "the credentials are taken and may not read this: check the rights of the account; a firewall that blocks this machine's address answers like this as well".to_owned(),
        404 => "check `base_url` and `path`: tenant, company, version and spelling".to_owned(),
        405 => "check `method`".to_owned(),
        406 => "the service does not give the format asked for: check the header `Accept`".to_owned(),
        407 => "the proxy wants to be signed in to".to_owned(),
        413 | 414 | 431 => "the request is too large: ask for less at a time".to_owned(),
        415 => "the service does not take the body's format: check `body`".to_owned(),
        429 => "the service is asked too often: lower the pace, or run at another time".to_owned(),
        _ => return None,
    })
}

/// Redirects are not followed; only the host is named, since the rest may hold what is not to be shown.
fn redirect_hint(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    match location.map(Url::parse) {
        Some(Ok(url)) if url.has_host() => format!(
            "redirects are not followed; this one leads to {}: if that is the service, give it as `base_url`",
            clean(&url.origin().ascii_serialization(), 200)
        ),
        Some(Err(url::ParseError::RelativeUrlWithoutBase)) => {
            "redirects are not followed; this one leads to another path of the same host: check `base_url` and `path`; a page to sign in at means that `auth` was not taken".to_owned()
        }
        _ => "redirects are not followed: check `base_url` and `path`".to_owned(),
    }
}
