//! Decides what happens to an answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use regex::bytes::Regex;
use reqwest::header::{HeaderMap, HeaderName, LOCATION};
use url::Url;

use super::super::json_path::{ExtractedValues, ValueId, ValuePaths};
use super::config::{Action, RegexSetting, ResponseActionConfig, StatusSet, scalar};
use crate::http::redact::clean;
use crate::http::retry_after::WaitRule;
use crate::http::transport::Failure;

/// Bytes of a body that `text` is searched in.
const MAX_TEXT: usize = 64 * 1024;

/// What is known of an answer.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Facts<'a> {
    pub(in super::super) status: u16,
    pub(in super::super) headers: &'a HeaderMap,
    /// Values of the body; `None` if it is not JSON or was not read.
    pub(in super::super) values: Option<&'a ExtractedValues>,
    /// The start of the body.
    pub(in super::super) text: &'a [u8],
}

/// What happens to an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Decision {
    pub(in super::super) action: Action,
    /// The shortest wait before a retry; `None` leaves it to the backoff.
    pub(in super::super) wait: Option<Duration>,
    /// The index of the rule that decided; `None` if it was the status.
    pub(in super::super) rule: Option<usize>,
    /// For the error message.
    pub(in super::super) hint: Option<String>,
}

/// What the rules need of a 2xx answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct NeedsOfSuccess {
    pub(in super::super) values: bool,
    pub(in super::super) text: bool,
}

/// Compiled rules. Cheap to clone.
#[derive(Debug, Clone)]
pub(in super::super) struct ResponseActions {
    rules: Arc<[Rule]>,
    wait: Arc<WaitRule>,
}

#[derive(Debug)]
struct Rule {
    status: Vec<StatusSet>,
    header: Option<(HeaderName, Test)>,
    body: Option<(ValueId, Test)>,
    text: Option<Regex>,
    action: Action,
    wait: Option<Duration>,
    message: Option<String>,
}

#[derive(Debug)]
enum Test {
    Exists,
    Equals(String),
    Matches(Regex),
}

impl Test {
    fn new(equals: Option<&String>, matches: Option<&RegexSetting>) -> Self {
        match (equals, matches) {
            (Some(equals), _) => Self::Equals(equals.clone()),
            (None, Some(matches)) => Self::Matches(matches.0.clone()),
            (None, None) => Self::Exists,
        }
    }

    /// `text` is the value's, if it has one.
    fn passes(&self, exists: bool, text: Option<&[u8]>) -> bool {
        match self {
            Self::Exists => exists,
            Self::Equals(expected) => text == Some(expected.as_bytes()),
            Self::Matches(regex) => text.is_some_and(|text| regex.is_match(text)),
        }
    }
}

impl Rule {
    fn new(config: &ResponseActionConfig, paths: &mut ValuePaths) -> Self {
        let when = &config.when;
        Self {
            status: when.status.clone(),
            header: when.header.as_ref().map(|test| {
                let passes = Test::new(test.equals.as_ref(), test.matches.as_ref());
                (test.name.0.clone(), passes)
            }),
            body: when.body.as_ref().map(|test| {
                let passes = Test::new(test.equals.as_ref(), test.matches.as_ref());
                (paths.add(&test.path), passes)
            }),
            text: when.text.as_ref().map(|text| text.0.clone()),
            action: config.action,
            wait: config.wait.map(|wait| wait.get()),
            message: config.message.clone(),
        }
    }

    fn matches(&self, facts: &Facts<'_>) -> bool {
        let status = if self.status.is_empty() {
            // Accounts that are refused again and again get locked.
            !(self.action.retries() && matches!(facts.status, 401 | 403))
        } else {
            self.status.iter().any(|set| set.contains(facts.status))
        };
        let header = || {
            self.header.as_ref().is_none_or(|(name, test)| {
                let values: Vec<&[u8]> = facts
                    .headers
                    .get_all(name)
                    .iter()
                    .map(|value| value.as_bytes())
                    .collect();
                let exists = !values.is_empty();
                let text = exists.then(|| values.join(&b", "[..]));
                test.passes(exists, text.as_deref())
            })
        };
        let body = || {
            self.body.as_ref().is_none_or(|(id, test)| {
                let value = facts.values.and_then(|values| values.get(*id));
                let text = value.and_then(scalar);
                let exists = value.is_some_and(|value| !value.is_null());
                test.passes(exists, text.as_deref().map(str::as_bytes))
            })
        };
        let text = || {
            let head = &facts.text[..facts.text.len().min(MAX_TEXT)];
            self.text.as_ref().is_none_or(|regex| regex.is_match(head))
        };
        status && header() && body() && text()
    }

    /// Whether it may match a 2xx answer.
    fn concerns_success(&self) -> bool {
        self.status.is_empty()
            || self.status.iter().any(|set| match set {
                StatusSet::One(status) => (200..300).contains(status),
                StatusSet::Class(class) => *class == 2,
            })
    }
}

impl ResponseActions {
    /// Compiles valid rules. `paths` collects the values to extract from bodies; `wait` reads what an answer asks for.
    pub(in super::super) fn new(
        config: &[ResponseActionConfig],
        paths: &mut ValuePaths,
        wait: WaitRule,
    ) -> Self {
        Self {
            rules: config.iter().map(|config| Rule::new(config, paths)).collect(),
            wait: Arc::new(wait),
        }
    }

    pub(in super::super) fn needs_body_of_success(&self) -> NeedsOfSuccess {
        let concerned = || self.rules.iter().filter(|rule| rule.concerns_success());
        NeedsOfSuccess {
            values: concerned().any(|rule| rule.body.is_some()),
            text: concerned().any(|rule| rule.text.is_some()),
        }
    }

    /// Decides about an answer.
    pub(in super::super) fn decide(&self, facts: &Facts<'_>) -> Decision {
        let found = self
            .rules
            .iter()
            .enumerate()
            .find(|(_, rule)| rule.matches(facts));
        let action = found.map_or_else(|| default_action(facts.status), |(_, rule)| rule.action);
        let asked = action
            .retries()
            .then(|| self.wait.read(facts.headers, SystemTime::now()))
            .flatten();
        Decision {
            action,
            // Never before the service wants it.
            wait: asked.max(found.and_then(|(_, rule)| rule.wait)),
            rule: found.map(|(index, _)| index),
            hint: found
                .and_then(|(_, rule)| rule.message.clone())
                .or_else(|| default_hint(facts.status, facts.headers)),
        }
    }

    /// Decides about a request without an answer. Requests only read, so one with an unknown outcome can be repeated.
    pub(in super::super) fn decide_failure(failure: &Failure) -> Decision {
        let hint = "if the network inspects TLS, set `tls.ca_file` to its certificate authority; otherwise check which \
                    server answers for the host";
        Decision {
            action: if failure.is_transient() {
                Action::Retry
            } else {
                Action::Fail
            },
            wait: None,
            rule: None,
            hint: matches!(failure, Failure::Certificate(_)).then(|| hint.to_owned()),
        }
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
