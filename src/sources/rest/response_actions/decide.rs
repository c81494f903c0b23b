//! Decides what happens to an answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};
use url::Url;

use super::super::json_path::{ExtractedValues, ValuePaths};
use super::config::{Action, ResponseActionConfig};
use crate::error::{Error, ErrorKind};
use crate::http::redact::clean;
use crate::http::retry_after::WaitRule;

#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Facts<'a> {
    pub(in super::super) status: u16,
    pub(in super::super) headers: &'a HeaderMap,
    pub(in super::super) values: &'a ExtractedValues,
    pub(in super::super) text: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Decision {
    pub(in super::super) action: Action,
    /// The shortest wait before a retry; `None` leaves it to the backoff.
    pub(in super::super) wait: Option<Duration>,
    /// The index of the rule that decided; `None` if it was the status.
    pub(in super::super) rule: Option<usize>,
    pub(in super::super) hint: Option<String>,
}

/// The rules. Cheap to clone.
#[derive(Debug, Clone)]
pub(in super::super) struct ResponseActions {
    rules: Arc<[ResponseActionConfig]>,
    wait: Arc<WaitRule>,
}

impl ResponseActions {
    /// `paths` collects the values to extract from bodies; `wait` reads what an answer asks for.
    pub(in super::super) fn new(
        rules: &[ResponseActionConfig],
        paths: &mut ValuePaths,
        wait: WaitRule,
    ) -> Self {
        for body in rules.iter().filter_map(|rule| rule.when.body.as_ref()) {
            paths.add(&body.path);
        }
        Self {
            rules: rules.into(),
            wait: Arc::new(wait),
        }
    }

    /// Whether a rule reads the body of a 2xx answer.
    pub(in super::super) fn needs_body_of_success(&self) -> bool {
        self.rules.iter().any(|rule| rule.when.needs_body_of_success())
    }

    pub(in super::super) fn decide(&self, facts: &Facts<'_>) -> Decision {
        let mut rules = self.rules.iter().enumerate();
        let found = rules.find(|(_, rule)| rule.matches(facts));
        let rule = found.map(|(_, rule)| rule);
        let action = rule.map_or_else(|| default_action(facts.status), |rule| rule.action);
        let requested = action
            .retries()
            .then(|| self.wait.read(facts.headers, SystemTime::now()))
            .flatten();
        Decision {
            action,
            // Never before the service wants it.
            wait: requested.max(rule.and_then(|rule| rule.wait).map(|wait| wait.get())),
            rule: found.map(|(index, _)| index),
            hint: rule
                .and_then(|rule| rule.message.clone())
                .or_else(|| default_hint(facts.status, facts.headers)),
        }
    }
}

impl Decision {
    /// The error of a request that failed for good. What would have been retried is transient; what the service
    /// rejected is refused. `request` has no query, which may hold tokens and personal data; `message` is the
    /// service's, redacted.
    pub(in super::super) fn error(
        &self,
        request: &str,
        status: StatusCode,
        message: Option<&str>,
        attempts: u32,
    ) -> Error {
        let kind = match (self.action, status.as_u16()) {
            (Action::Retry | Action::RateLimited, _) => ErrorKind::Transient,
            // A failing server may work in the next run, whatever a rule says.
            (_, 500..=599) => ErrorKind::Transient,
            (_, 300..=399) => ErrorKind::Config,
            _ => ErrorKind::Refused,
        };
        let mut text = format!("{request} returned {status}");
        if attempts > 1 {
            text.push_str(&format!(", {attempts} times"));
        }
        if let Some(message) = message {
            text.push_str(": ");
            text.push_str(message);
        }
        let rule = self
            .rule
            .map(|rule| format!("decided by `response_actions[{rule}]`"));
        let hints = self.hint.clone().into_iter().chain(rule);
        hints.fold(Error::new(kind, text), Error::with_hint)
    }
}

fn default_action(status: u16) -> Action {
    match status {
        204 => Action::Empty,
        200..=299 => Action::Accept,
        401 => Action::RenewToken,
        429 | 503 => Action::RateLimited,
        408 | 425 | 500 | 502 | 504 => Action::Retry,
        _ => Action::Fail,
    }
}

fn default_hint(status: u16, headers: &HeaderMap) -> Option<String> {
    let hint = match status {
        300..=399 => return Some(redirect_hint(headers)),
        400 => "the service rejected the request: compare `path`, `query` and `body` with its documentation",
        401 => {
            "the service rejected the credentials: check `auth`; hrsink did not retry, because accounts get locked"
        }
        403 => {
            "the account may not read this: check its permissions; a firewall that blocks this machine's address \
             answers the same"
        }
        404 => "check `base_url` and `path`: tenant, company, version and spelling",
        405 => "check `method`",
        406 => "the service does not offer the requested format: check the header `Accept`",
        407 => "the proxy requires a login",
        413 | 414 | 431 => "the request is too large: request less at a time",
        415 => "the service does not accept the format of the body: check `body`",
        429 => "too many requests: lower `rate_limit`, or run at another time",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Redirects are not followed. Only the host is shown: the rest may hold secrets.
fn redirect_hint(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    match location.map(Url::parse) {
        Some(Ok(url)) if url.has_host() => format!(
            "redirects are not followed; this one leads to {}: if that is the service, set it as `base_url`",
            clean(&url.origin().ascii_serialization(), 200)
        ),
        Some(Err(url::ParseError::RelativeUrlWithoutBase)) => {
            "redirects are not followed; this one leads to another path of the same host: check `base_url` and `path`; \
             a login page means that the service did not accept `auth`"
                .to_owned()
        }
        _ => "redirects are not followed: check `base_url` and `path`".to_owned(),
    }
}
