//! What a token endpoint responds: a token anywhere in a JSON body, an OAuth error, or something else.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::error::Error;
use crate::http::redact::{MAX_SHOWN, Redactor, describe, html_title, is_html};
use crate::http::retry::Verdict;
use crate::http::transport::{Answer, Failure, MAX_BODY};
use crate::secret::Secret;

/// Keys of nested objects, such as `data.token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPath(Vec<String>);

impl KeyPath {
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

    /// The value of another key in the object that holds the last one.
    fn find_beside<'v>(&self, value: &'v Value, key: &str) -> Option<&'v Value> {
        let (_, parents) = self.0.split_last()?;
        let parent = parents.iter().try_fold(value, |value, key| value.get(key));
        parent?.get(key)
    }
}

impl Default for KeyPath {
    fn default() -> Self {
        Self(vec!["access_token".to_owned()])
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// What a token endpoint returned. Has no `Debug`.
pub(crate) struct TokenResponse {
    pub(crate) access_token: Secret,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) date: Option<SystemTime>,
}

const NOT_BEARER: [&str; 5] = ["mac", "pop", "dpop", "hmac", "n_a"];

impl TokenResponse {
    /// Reads a 2xx. The texts of serde's errors repeat values and are not used.
    pub(super) fn read(answer: &Answer, path: &KeyPath, redactor: Redactor<'_>) -> Result<Self, TokenError> {
        let html = is_html(&answer.body);
        let unusable = |what: String| TokenError {
            detail: format!(
                "the response of the token endpoint ({}) {what}",
                answer.status_line()
            ),
            cause: TokenCause::Unusable {
                truncated: !answer.complete && answer.body.len() < MAX_BODY,
                html,
            },
            date: answer.date(),
        };
        let body = serde_json::from_slice::<Value>(&answer.body).ok();
        let Some(body) = body.filter(Value::is_object) else {
            return Err(unusable(if html {
                let title = html_title(&answer.body).map_or_else(String::new, |title| {
                    format!(" with the title `{}`", redactor.show(title.as_bytes(), 120))
                });
                format!("is a web page{title} instead of a token")
            } else if answer.complete {
                "is not a JSON object with a token".to_owned()
            } else {
                "is truncated or too large".to_owned()
            }));
        };
        if let Some(Value::String(kind)) = body.get("token_type")
            && NOT_BEARER.iter().any(|other| kind.eq_ignore_ascii_case(other))
        {
            let kind = redactor.show(kind.as_bytes(), 40);
            return Err(unusable(format!("has a token of type `{kind}`, not `Bearer`")));
        }
        let token = match path.find(&body) {
            None | Some(Value::Null) => "",
            Some(Value::String(token)) => token,
            Some(_) => return Err(unusable(format!("has an `{path}` that is not a string"))),
        };
        if token.is_empty() {
            // Some services report errors with a 2xx.
            if let Some(error) = TokenError::refused(answer, redactor) {
                return Err(error);
            }
            let message = message(&body).map_or_else(String::new, |text| {
                format!(": {}", redactor.show(text.as_bytes(), MAX_SHOWN))
            });
            return Err(unusable(format!("has no `{path}`{message}")));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unusable(format!(
                "has an `{path}` with characters not allowed in a header"
            )));
        }
        let refresh_token = path.find_beside(&body, "refresh_token").and_then(Value::as_str);
        let lifetime = path.find_beside(&body, "expires_in").and_then(whole_number);
        Ok(Self {
            access_token: Secret::new(token),
            lifetime: lifetime.map(Duration::from_secs),
            refresh_token: refresh_token.filter(|token| !token.is_empty()).map(Secret::new),
            date: answer.date(),
        })
    }
}

/// The message of an error in a body. None of these keys holds a token.
fn message(body: &Value) -> Option<&str> {
    let names = ["message", "error_message", "error_description", "detail"];
    let mut places = [Some(body), body.get("error")].into_iter().flatten();
    places.find_map(|value| names.iter().find_map(|name| value.get(name)?.as_str()))
}

/// A whole number, as number or string: Entra ID writes both.
fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[derive(Debug)]
pub(crate) struct TokenError {
    pub(crate) cause: TokenCause,
    /// What the endpoint responded, fit to be shown.
    pub(crate) detail: String,
    pub(crate) date: Option<SystemTime>,
}

#[derive(Debug)]
pub(crate) enum TokenCause {
    Refused(OAuthError),
    /// The exchange failed, or the response is not an OAuth error.
    Transport(Failure),
    /// A 2xx without a token.
    Unusable {
        /// Whether the body is truncated, so that another attempt may succeed.
        truncated: bool,
        html: bool,
    },
    /// Something on this machine failed: a file, a signature.
    Local(Error),
}

#[derive(Debug)]
pub(crate) struct OAuthError {
    pub(crate) status: u16,
    /// OAuth's code, such as `invalid_client`, fit to be shown.
    pub(crate) error: String,
    /// Entra ID's codes. They change over time: good for hints, never to decide anything.
    pub(crate) codes: Vec<u64>,
    pub(crate) retry_after: Option<Duration>,
}

impl TokenError {
    pub(super) fn new(failure: Failure, redactor: Redactor<'_>) -> Self {
        let answer = failure.answer();
        if let Some(error) = answer.and_then(|answer| Self::refused(answer, redactor)) {
            return error;
        }
        Self {
            detail: answer.map_or_else(|| failure.to_string(), |answer| describe(answer, redactor)),
            date: answer.and_then(Answer::date),
            cause: TokenCause::Transport(failure),
        }
    }

    fn refused(answer: &Answer, redactor: Redactor<'_>) -> Option<Self> {
        let body: Value = serde_json::from_slice(&answer.body).ok()?;
        let text = |name: &str| {
            let text = match body.get(name)? {
                Value::String(text) => redactor.show(text.as_bytes(), MAX_SHOWN),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            (!text.is_empty()).then_some(text)
        };
        let (status, error) = (answer.status.as_u16(), text("error")?);
        let description = text("error_description").unwrap_or_default();
        let mut detail = format!("the token endpoint responded {status} {error}");
        if !description.is_empty() {
            detail.push_str(&format!(": {description}"));
        }
        for name in ["trace_id", "correlation_id"] {
            if let Some(id) = text(name).filter(|id| !description.contains(id.as_str())) {
                detail.push_str(&format!("; {name}: {id}"));
            }
        }
        let listed = body.get("error_codes").and_then(Value::as_array);
        let listed = listed.into_iter().flatten();
        let mut codes: Vec<u64> = listed.filter_map(whole_number).take(10).collect();
        codes.extend(leading_code(&description).filter(|code| !codes.contains(code)));
        let error = OAuthError {
            status,
            error,
            codes,
            retry_after: answer.retry_after(),
        };
        Some(Self {
            cause: TokenCause::Refused(error),
            detail,
            date: answer.date(),
        })
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

impl From<Error> for TokenError {
    fn from(error: Error) -> Self {
        Self {
            detail: error.chain(),
            cause: TokenCause::Local(error),
            date: None,
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no access token: {}", self.detail)
    }
}

/// `AADSTS7000215: …` gives 7000215: Entra ID starts a description with its code.
fn leading_code(description: &str) -> Option<u64> {
    let digits = description.trim_start().strip_prefix("AADSTS")?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}
