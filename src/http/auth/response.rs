//! What a token endpoint responds: a token anywhere in a JSON body, an OAuth error, or something else.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::Token;
use crate::error::Error;
use crate::http::redact::{MAX_SHOWN, Redactor, describe, html_title, is_html};
use crate::http::retry::{AttemptError, Verdict};
use crate::http::transport::{Answer, Failure, MAX_BODY};
use crate::secret::Secret;

/// Keys of nested objects, such as `data.token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPath(Vec<String>);

impl KeyPath {
    /// Reads keys separated by dots.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let keys: Vec<String> = text.split('.').map(str::to_owned).collect();
        if keys.iter().any(String::is_empty) {
            return Err(format!(
                "`{text}` is not a path of keys such as `access_token` or `data.token`"
            ));
        }
        Ok(Self(keys))
    }

    fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(value, |value, key| value.get(key))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// Where a token response holds what.
#[derive(Debug, Clone)]
pub(crate) struct TokenPaths {
    pub(crate) access_token: KeyPath,
    /// Its lifetime in seconds.
    pub(crate) expires_in: KeyPath,
    /// The refresh token that replaces the current one.
    pub(crate) refresh_token: KeyPath,
    /// The lifetime if the response has none. Zero: the token is used once.
    pub(crate) default_lifetime: Duration,
}

impl Default for TokenPaths {
    /// As in RFC 6749.
    fn default() -> Self {
        let key = |name: &str| KeyPath(vec![name.to_owned()]);
        Self {
            access_token: key("access_token"),
            expires_in: key("expires_in"),
            refresh_token: key("refresh_token"),
            default_lifetime: Duration::ZERO,
        }
    }
}

/// What a token endpoint returned. Has no `Debug`.
pub(crate) struct TokenResponse {
    pub(crate) access_token: Secret,
    pub(crate) lifetime: Duration,
    /// The refresh token to use from now on.
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) date: Option<SystemTime>,
}

impl TokenResponse {
    pub(crate) fn into_token(self) -> Token {
        Token::new(self.access_token, self.lifetime)
    }
}

/// Token types that are not sent as a bearer token.
const NOT_BEARER: [&str; 5] = ["mac", "pop", "dpop", "hmac", "n_a"];

impl TokenPaths {
    /// Reads a 2xx. The texts of serde's errors repeat values and are not used.
    pub(super) fn read(&self, answer: &Answer, redactor: Redactor<'_>) -> Result<TokenResponse, TokenCause> {
        let response = format!("the response of the token endpoint ({})", answer.status_line());
        let html = is_html(&answer.body);
        let unusable = |what: String| TokenCause::Unusable {
            what,
            truncated: !answer.complete && answer.body.len() < MAX_BODY,
            html,
        };
        let body = serde_json::from_slice::<Value>(&answer.body)
            .ok()
            .filter(Value::is_object);
        let Some(body) = body else {
            return Err(unusable(if html {
                let title = html_title(&answer.body);
                let title =
                    title.map(|title| format!(" with the title `{}`", redactor.show(title.as_bytes(), 120)));
                format!(
                    "{response} is a web page{} instead of a token",
                    title.unwrap_or_default()
                )
            } else if answer.complete {
                format!("{response} is not a JSON object with a token")
            } else {
                format!("{response} is truncated or too large")
            }));
        };
        if let Some(Value::String(kind)) = body.get("token_type")
            && NOT_BEARER.iter().any(|other| kind.eq_ignore_ascii_case(other))
        {
            let kind = redactor.show(kind.as_bytes(), 40);
            return Err(unusable(format!(
                "{response} has a token of type `{kind}`, not `Bearer`"
            )));
        }
        let path = &self.access_token;
        let token = match path.find(&body) {
            None | Some(Value::Null) => "",
            Some(Value::String(token)) => token,
            Some(_) => {
                return Err(unusable(format!(
                    "{response} has an `{path}` that is not a string"
                )));
            }
        };
        if token.is_empty() {
            // Some services report errors with a 2xx.
            if let Some(error) = OAuthError::parse(answer, redactor) {
                return Err(TokenCause::Refused(Box::new(error)));
            }
            let message =
                message(&body).map(|text| format!(": {}", redactor.show(text.as_bytes(), MAX_SHOWN)));
            return Err(unusable(format!(
                "{response} has no `{path}`{}",
                message.unwrap_or_default()
            )));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unusable(format!(
                "{response} has an `{path}` with characters not allowed in a header"
            )));
        }
        let refresh_token = match self.refresh_token.find(&body) {
            Some(Value::String(token)) if !token.is_empty() => Some(Secret::new(token.as_str())),
            _ => None,
        };
        let lifetime = self.expires_in.find(&body).and_then(whole_number);
        Ok(TokenResponse {
            access_token: Secret::new(token),
            lifetime: lifetime.map_or(self.default_lifetime, Duration::from_secs),
            refresh_token,
            date: answer.date(),
        })
    }
}

/// The message of an error in a body. None of these keys holds a token.
fn message(body: &Value) -> Option<&str> {
    let names = ["message", "error_message", "error_description", "detail"];
    [Some(body), body.get("error")]
        .into_iter()
        .flatten()
        .find_map(|value| names.iter().find_map(|name| value.get(name)?.as_str()))
}

/// A whole number, as number or string: Entra ID writes both.
fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) struct TokenError {
    pub(crate) cause: TokenCause,
    /// What the endpoint responded, fit to be shown.
    pub(crate) detail: String,
    pub(crate) date: Option<SystemTime>,
}

/// What kind of failure it is.
#[derive(Debug)]
pub(crate) enum TokenCause {
    /// The endpoint responded with an OAuth error.
    Refused(Box<OAuthError>),
    /// The exchange failed, or the response is not an OAuth error.
    Transport(Failure),
    Unusable {
        /// What is wrong; holds nothing of the token.
        what: String,
        /// Whether the body is truncated, so that another attempt may succeed.
        truncated: bool,
        html: bool,
    },
    /// Something on this machine failed: a file, a signature.
    Local(Error),
}

impl TokenError {
    /// A failed request; `redactor` hides what was sent.
    pub(super) fn new(cause: TokenCause, date: Option<SystemTime>, redactor: Redactor<'_>) -> Self {
        let detail = match &cause {
            TokenCause::Refused(error) => error.to_string() + &error.ids(),
            TokenCause::Transport(Failure::Answer(answer)) => describe(answer, redactor),
            TokenCause::Transport(failure) => failure.to_string(),
            TokenCause::Unusable { what, .. } => what.clone(),
            TokenCause::Local(error) => error.chain(),
        };
        Self { cause, detail, date }
    }

    pub(crate) fn local(error: Error) -> Self {
        Self::new(TokenCause::Local(error), None, Redactor::secrets(&[]))
    }

    /// Whether the cause is transient: transport, 408, 429 and 5xx. Error codes and texts play no part.
    pub(crate) fn is_transient(&self) -> bool {
        match &self.cause {
            TokenCause::Refused(error) => matches!(error.status, 408 | 429 | 500..=599),
            TokenCause::Transport(failure) => failure.is_transient(),
            TokenCause::Unusable { truncated, .. } => *truncated,
            TokenCause::Local(_) => false,
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if !self.is_transient() {
            return Verdict::Stop;
        }
        let after = match &self.cause {
            TokenCause::Refused(error) => error.retry_after,
            TokenCause::Transport(failure) => failure.answer().and_then(Answer::retry_after),
            _ => None,
        };
        Verdict::Retry { after }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no access token: {}", self.detail)
    }
}

impl std::error::Error for TokenError {}

impl AttemptError for TokenError {
    /// Requesting a token twice has no effect twice.
    fn is_unknown(&self) -> bool {
        false
    }
}

/// The body of an OAuth error, with texts fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OAuthError {
    pub(crate) status: u16,
    /// OAuth's code, such as `invalid_client`.
    pub(crate) error: String,
    /// The description; Entra ID starts it with an `AADSTS` code.
    pub(crate) description: Option<String>,
    /// Entra ID's codes. They change over time: good for hints, never to decide anything.
    pub(crate) codes: Vec<u64>,
    pub(crate) trace_id: Option<String>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) retry_after: Option<Duration>,
}

impl OAuthError {
    /// Reads a body; `None` if it is not an OAuth error.
    pub(crate) fn parse(answer: &Answer, redactor: Redactor<'_>) -> Option<Self> {
        let body: Value = serde_json::from_slice(&answer.body).ok()?;
        let text = |name: &str| {
            let text = match body.get(name)? {
                Value::String(text) => redactor.show(text.as_bytes(), MAX_SHOWN),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            (!text.is_empty()).then_some(text)
        };
        let error = text("error")?;
        let description = text("error_description");
        let mut codes: Vec<u64> = match body.get("error_codes") {
            Some(Value::Array(codes)) => codes.iter().filter_map(whole_number).take(10).collect(),
            _ => Vec::new(),
        };
        codes.extend(
            description
                .as_deref()
                .and_then(leading_code)
                .filter(|code| !codes.contains(code)),
        );
        Some(Self {
            status: answer.status.as_u16(),
            error,
            description,
            codes,
            trace_id: text("trace_id"),
            correlation_id: text("correlation_id"),
            retry_after: answer.retry_after(),
        })
    }

    /// `; trace_id: …; correlation_id: …`, without those that the description has.
    fn ids(&self) -> String {
        let described = self.description.as_deref().unwrap_or_default();
        let ids = [
            ("trace_id", &self.trace_id),
            ("correlation_id", &self.correlation_id),
        ];
        let ids = ids.into_iter().filter_map(|(name, id)| {
            let id = id.as_deref().filter(|id| !described.contains(id))?;
            Some(format!("; {name}: {id}"))
        });
        ids.collect()
    }
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token endpoint responded {} {}", self.status, self.error)?;
        match &self.description {
            Some(description) => write!(f, ": {description}"),
            None => Ok(()),
        }
    }
}

/// `AADSTS7000215: …` gives 7000215.
fn leading_code(description: &str) -> Option<u64> {
    let digits = description.trim_start().strip_prefix("AADSTS")?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}
