//! The rules of `response_actions`: settings, matching, and what contradicts itself in them.

use std::borrow::Cow;

use regex::bytes::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

use super::super::header_name::HeaderNameSetting;
use super::super::json_path::SinglePath;
use super::Facts;
use crate::component::Problems;
use crate::settings::BoundedDuration;
use crate::settings::bounded::DAY;

/// Bytes of a body that `text` is searched in.
const MAX_TEXT: usize = 64 * 1024;

/// How to handle matching responses. The first matching rule applies.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseActionConfig {
    /// The conditions. A response must meet all of them.
    pub when: When,
    /// What to do with matching responses.
    pub action: Action,
    /// The minimum wait before the retry of `retry` or `rate_limited`; if the service requests a longer wait, that one
    /// applies. Default: the wait that the service requests, else the backoff of `retry`.
    #[serde(default)]
    pub wait: Option<BoundedDuration<1, DAY>>,
    /// A hint for the error message: what is wrong and how to fix it.
    #[serde(default)]
    pub message: Option<String>,
}

/// Which responses match.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct When {
    /// The statuses: 100 to 599, or classes such as `5xx`. Default: any status; with `retry` and `rate_limited`, any
    /// except 401 and 403.
    pub status: Vec<StatusSet>,
    /// A header is present, equals a text or matches an expression.
    #[schemars(example = serde_json::json!({"name": "X-Error", "matches": "maintenance"}))]
    pub header: Option<HeaderTest>,
    /// A value of the JSON body is present, equals a scalar or matches an expression.
    pub body: Option<BodyTest>,
    /// A regular expression that matches part of the first 64 KiB of the body.
    pub text: Option<RegexSetting>,
}

/// What to do with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// The request is repeated after a wait.
    Retry,
    /// The run fails.
    Fail,
    /// This partition of `for_each` is skipped and counted.
    Skip,
    /// The response counts as a page without rows.
    Empty,
    /// Like `retry`, but all other requests to the host wait as well.
    RateLimited,
    /// The token is renewed and the request repeated at once; if the new response matches too, the run fails.
    RenewToken,
    /// The response is used.
    #[serde(skip)]
    Accept,
}

impl Action {
    pub(crate) fn retries(self) -> bool {
        matches!(self, Self::Retry | Self::RateLimited)
    }
}

/// A status, or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusSet {
    One(u16),
    /// All statuses with this first digit: `4xx`.
    Class(u8),
}

impl StatusSet {
    pub(crate) fn contains(self, status: u16) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(first) => status / 100 == u16::from(first),
        }
    }

    fn contains_all(self, other: Self) -> bool {
        match other {
            Self::One(status) => self.contains(status),
            Self::Class(_) => self == other,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [first @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => Some(Self::Class(first - b'0')),
            _ => match text.parse().ok()? {
                status @ 100..=599 => Some(Self::One(status)),
                _ => None,
            },
        }
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A number, or a text, because a `${NAME}` gives text.
        let value = Value::deserialize(deserializer)?;
        scalar(&value).and_then(|text| Self::parse(&text)).ok_or_else(|| {
            let found = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            D::Error::custom(format!(
                "`{found}` is not a status from 100 to 599 or a class such as `5xx`"
            ))
        })
    }
}

impl JsonSchema for StatusSet {
    fn schema_name() -> Cow<'static, str> {
        "StatusSet".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "minimum": 100,
            "maximum": 599,
            "pattern": "^([1-5][xX]{2}|[1-5][0-9]{2})$",
            "description": "A status, or a class of them.",
            "examples": [429, "5xx"],
        })
    }
}

/// A test of a header. Without `equals` and `matches`, the header must be present.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderTest {
    /// The name of the header, case-insensitive.
    #[schemars(example = &"X-Error")]
    pub name: HeaderNameSetting,
    /// Its exact value.
    #[serde(default, deserialize_with = "scalar_text")]
    #[schemars(schema_with = "scalar_schema", example = &"blocked")]
    pub equals: Option<String>,
    /// A regular expression that matches part of its value.
    #[serde(default)]
    #[schemars(example = &"maintenance")]
    pub matches: Option<RegexSetting>,
}

/// A test of a value in a JSON body. Without `equals` and `matches`, the value must be present and not null.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BodyTest {
    /// Where the value is, such as `$.error.code`.
    pub path: SinglePath,
    /// Its exact value: a text, a number or a boolean. `5` equals `"5"`.
    #[serde(default, deserialize_with = "scalar_text")]
    #[schemars(schema_with = "scalar_schema")]
    pub equals: Option<String>,
    /// A regular expression that matches part of it.
    #[serde(default)]
    #[schemars(example = &"^NO_DATA")]
    pub matches: Option<RegexSetting>,
}

fn scalar_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "number", "boolean"]})
}

/// The text of a scalar; numbers and booleans as JSON writes them.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn scalar_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    scalar(&Value::deserialize(deserializer)?)
        .map(Some)
        .ok_or_else(|| D::Error::custom("expected a text, a number or a boolean"))
}

/// A regular expression that does not match the empty text.
#[derive(Debug, Clone)]
pub(crate) struct RegexSetting(pub(crate) Regex);

impl PartialEq for RegexSetting {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl<'de> Deserialize<'de> for RegexSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let regex = Regex::new(&text).map_err(|error| {
            // The last line of its text is the reason.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            D::Error::custom(format!("`{text}` is not a regular expression: {reason}"))
        })?;
        if regex.is_match(b"") {
            return Err(D::Error::custom(format!(
                "`{text}` matches every text, even an empty one: remove optional parts such as `.*` at its ends"
            )));
        }
        Ok(Self(regex))
    }
}

impl JsonSchema for RegexSetting {
    fn schema_name() -> Cow<'static, str> {
        "Regex".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "regex"})
    }
}

impl ResponseActionConfig {
    /// Reports contradictions within the rules and between them. `skips` says whether partitions may be skipped,
    /// `renews` whether there is a token to renew.
    pub(crate) fn validate_all(rules: &[Self], skips: bool, renews: bool, problems: &mut Problems<'_>) {
        for (index, rule) in rules.iter().enumerate() {
            let mut here = problems.at_index(index);
            rule.validate(&mut here);
            if rule.action == Action::Skip && !skips {
                here.at("action").add_with_hint(
                    "`skip` requires `for_each` with `skip`",
                    "`empty` treats the answer as one without rows, `fail` ends the run",
                );
            }
            if rule.action == Action::RenewToken && !renews {
                here.at("action")
                    .add("`renew_token` requires an `auth` type with a token");
            }
            if let Some(earlier) = rules[..index].iter().position(|earlier| earlier.covers(rule)) {
                here.at("when").add_with_hint(
                    format!("never applies: rule {earlier} (counted from 0) matches every answer that this one matches"),
                    "the first match decides: put the narrower rule first",
                );
            }
        }
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        let when = &self.when;
        if *when == When::default() {
            problems.at("when").add_with_hint(
                "is empty and would match every answer",
                "give `status`, `header`, `body` or `text`",
            );
        }
        let header = when.header.as_ref().map(|test| (&test.equals, &test.matches));
        let body = when.body.as_ref().map(|test| (&test.equals, &test.matches));
        for (key, test) in [("header", header), ("body", body)] {
            if let Some((Some(_), Some(_))) = test {
                let mut here = problems.at("when");
                here.at(key).add("give either `equals` or `matches`");
            }
        }
        self.check_action(&mut problems.at("action"));
        if self.wait.is_some() && !self.action.retries() {
            problems
                .at("wait")
                .add("applies to `retry` and `rate_limited` only");
        }
        let message = self.message.as_deref();
        if message.is_some_and(|message| message.trim().is_empty()) {
            problems.at("message").add("is empty");
        }
    }

    /// Rejects actions that would lock accounts or lose rows.
    fn check_action(&self, problems: &mut Problems<'_>) {
        let named = |status: &&u16| self.when.status.iter().any(|set| set.contains(**status));
        let first = |statuses: &[u16]| statuses.iter().find(named).copied();
        let problem = match self.action {
            Action::Retry | Action::RateLimited => first(&[401, 403]).map(|status| {
                (
                    format!("status {status} must not be retried: repeated attempts lock accounts and block addresses"),
                    match status {
                        401 => "`renew_token` tries once more, with a new token",
                        _ => "`fail` ends the run, `skip` skips this partition",
                    },
                )
            }),
            Action::Empty => first(&[401, 403, 407, 429, 500, 502, 503, 504]).map(|status| {
                (
                    format!("status {status} does not mean that there are no rows"),
                    "`skip` skips this partition and counts it",
                )
            }),
            Action::Skip => first(&[407, 429]).map(|status| {
                (
                    format!("status {status} is transient or the same for every request, so rows would be lost"),
                    "`rate_limited` waits and retries",
                )
            }),
            Action::Fail | Action::RenewToken | Action::Accept => None,
        };
        if let Some((message, hint)) = problem {
            problems.add_with_hint(message, hint);
        }
    }

    /// Whether an answer matches.
    pub(super) fn matches(&self, facts: &Facts<'_>) -> bool {
        let when = &self.when;
        let by_status = match when.status.is_empty() {
            // Accounts that are refused again and again get locked.
            true => !(self.action.retries() && matches!(facts.status, 401 | 403)),
            false => when.status.iter().any(|set| set.contains(facts.status)),
        };
        let by_header = |test: &HeaderTest| {
            let values = facts.headers.get_all(&test.name.0).iter();
            let values: Vec<&[u8]> = values.map(|value| value.as_bytes()).collect();
            let text = (!values.is_empty()).then(|| values.join(&b", "[..]));
            passes(&test.equals, &test.matches, text.is_some(), text.as_deref())
        };
        let by_body = |test: &BodyTest| {
            let value = facts.values.get(&test.path).filter(|value| !value.is_null());
            let text = value.and_then(scalar);
            let text = text.as_deref().map(str::as_bytes);
            passes(&test.equals, &test.matches, value.is_some(), text)
        };
        let head = &facts.text[..facts.text.len().min(MAX_TEXT)];
        by_status
            && when.header.as_ref().is_none_or(by_header)
            && when.body.as_ref().is_none_or(by_body)
            && when.text.as_ref().is_none_or(|regex| regex.0.is_match(head))
    }

    /// Whether it obviously decides wherever `later` matches.
    fn covers(&self, later: &Self) -> bool {
        // Rules that retry exclude these, unless they name a status.
        let excludes = self.action.retries()
            && self.when.status.is_empty()
            && [401, 403].into_iter().any(|status| {
                later.when.status.is_empty() || later.when.status.iter().any(|set| set.contains(status))
            });
        !excludes && self.when.covers(&later.when)
    }
}

/// Whether a value passes a test; `text` is the value's, if it has one.
fn passes(
    equals: &Option<String>,
    matches: &Option<RegexSetting>,
    exists: bool,
    text: Option<&[u8]>,
) -> bool {
    match (equals, matches) {
        (Some(expected), _) => text == Some(expected.as_bytes()),
        (None, Some(regex)) => text.is_some_and(|text| regex.0.is_match(text)),
        (None, None) => exists,
    }
}

impl When {
    /// Whether it reads the body of a 2xx answer.
    pub(super) fn needs_body_of_success(&self) -> bool {
        let is_success = |set: &StatusSet| match set {
            StatusSet::One(status) => (200..300).contains(status),
            StatusSet::Class(class) => *class == 2,
        };
        (self.body.is_some() || self.text.is_some())
            && (self.status.is_empty() || self.status.iter().any(is_success))
    }

    fn covers(&self, other: &Self) -> bool {
        let contains = |set: &StatusSet| self.status.iter().any(|own| own.contains_all(*set));
        let status =
            self.status.is_empty() || (!other.status.is_empty() && other.status.iter().all(contains));
        status
            && (self.header.is_none() || self.header == other.header)
            && (self.body.is_none() || self.body == other.body)
            && (self.text.is_none() || self.text == other.text)
    }
}
