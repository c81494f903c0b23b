//! Fetches a token with OAuth 2.0 client credentials, as Microsoft Entra ID gives them.
//!
//! Two forms of the same request: version 1 names a `resource`, version 2 a `scope`. Version 1 writes numbers as
//! texts, version 2 as numbers; both are read either way. One request a call; trying again is the business of whoever
//! asks ([`TokenFailure::verdict`] says whether it is worth it).
//!
//! See <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use crate::http::auth::provider::{Given, Shape, whole_number};
use crate::http::auth::token_cache::{Token, TokenProvider};
use crate::http::redact::{MAX_SHOWN, Redactor};
use crate::http::retry::{AttemptError, Verdict};
use crate::http::transport::{Answer, Failure, MAX_BODY, exchange};
use crate::secret::Secret;

/// Longest time for one token request: much shorter than an upload needs.
pub(crate) const TOKEN_TIMEOUT: Duration = Duration::from_secs(60);

/// Which form of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TokenVersion {
    /// `POST {authority}/{tenant}/oauth2/token?api-version=1.0` with `resource`. What Microsoft's own scripts use.
    #[default]
    V1,
    /// `POST {authority}/{tenant}/oauth2/v2.0/token` with `scope={resource}/.default`.
    V2,
}

/// An application's credentials, and where they count.
#[derive(Debug, Clone)]
pub(crate) struct ClientCredentials {
    /// The authority, such as `https://login.microsoftonline.com`.
    pub(crate) authority: Url,
    /// The tenant's id, or one of its domain names.
    pub(crate) tenant_id: String,
    /// The application's id.
    pub(crate) client_id: String,
    /// The application's secret.
    pub(crate) client_secret: Secret,
    /// What the token is for.
    pub(crate) resource: String,
    /// Which form of the request.
    pub(crate) version: TokenVersion,
}

impl ClientCredentials {
    /// The token endpoint. Holds no secret.
    pub(crate) fn url(&self) -> Url {
        let mut url = self.authority.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(&self.tenant_id).push("oauth2");
            match self.version {
                TokenVersion::V1 => path.push("token"),
                TokenVersion::V2 => path.push("v2.0").push("token"),
            };
        }
        if self.version == TokenVersion::V1 {
            url.set_query(Some("api-version=1.0"));
        }
        url
    }

    fn form(&self) -> Vec<(&'static str, String)> {
        let mut form = vec![
            ("client_id", self.client_id.clone()),
            ("client_secret", self.client_secret.expose().to_owned()),
            ("grant_type", "client_credentials".to_owned()),
        ];
        match self.version {
            TokenVersion::V1 => {
                form.push(("resource", self.resource.clone()));
                form.push(("tenant_id", self.tenant_id.clone()));
            }
            TokenVersion::V2 => form.push(("scope", format!("{}/.default", self.resource))),
        }
        form
    }
}

/// Fetches tokens for [`ClientCredentials`].
#[derive(Debug, Clone)]
pub(crate) struct ClientCredentialsProvider {
    client: reqwest::Client,
    credentials: ClientCredentials,
}

impl ClientCredentialsProvider {
    /// Asks with `client`.
    pub(crate) fn new(client: reqwest::Client, credentials: ClientCredentials) -> Self {
        Self { client, credentials }
    }

    /// The credentials.
    pub(crate) fn credentials(&self) -> &ClientCredentials {
        &self.credentials
    }

    /// One request. The second value is what the answer's `Date` header said, whatever the answer was.
    pub(crate) async fn request(&self) -> (Result<Token, TokenFailure>, Option<SystemTime>) {
        let request = self
            .client
            .post(self.credentials.url())
            .timeout(TOKEN_TIMEOUT)
            .header(reqwest::header::ACCEPT, "application/json")
            .form(&self.credentials.form())
            .build();
        let secrets = [&self.credentials.client_secret];
        let hidden = Redactor::secrets(&secrets);
        let result = match request {
            Ok(request) => exchange(&self.client, request, MAX_BODY, hidden).await,
            Err(error) => Err(Failure::of(error)),
        };
        match result {
            Ok(answer) => (
                Shape::default().read(&answer, hidden).map(Given::into_token),
                answer.date(),
            ),
            Err(Failure::Answer(answer)) => {
                let date = answer.date();
                let failure = match OAuthError::parse(&answer, hidden) {
                    Some(error) => TokenFailure::Refused(Box::new(error)),
                    None => TokenFailure::Transport(Failure::Answer(answer)),
                };
                (Err(failure), date)
            }
            Err(failure) => (Err(TokenFailure::Transport(failure)), None),
        }
    }
}

#[async_trait]
impl TokenProvider for ClientCredentialsProvider {
    type Failure = TokenFailure;

    async fn fetch(&self) -> Result<Token, TokenFailure> {
        self.request().await.0
    }

    fn is_final(&self, failure: &TokenFailure) -> bool {
        failure.verdict() == Verdict::Stop
    }
}

/// Why there is no token.
#[derive(Debug, Clone)]
pub(crate) enum TokenFailure {
    /// The token endpoint said so in OAuth's own words.
    Refused(Box<OAuthError>),
    /// The exchange failed, or the answer is not one of OAuth's.
    Transport(Failure),
    /// A 2xx that holds no token that can be used.
    Unusable {
        /// What is wrong with it. Holds nothing of the token.
        what: String,
        /// Whether the answer broke off, so that another attempt may bring it.
        broken_off: bool,
        /// Whether it was a web page.
        html: bool,
    },
}

impl TokenFailure {
    /// Whether the cause is one that passes: transport, 408, 429 and 5xx. Codes and texts of the error play no part.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Refused(error) => matches!(error.status, 408 | 429 | 500..=599),
            Self::Transport(failure) => failure.is_passing(),
            Self::Unusable { broken_off, .. } => *broken_off,
        }
    }

    /// Whether to try again.
    pub(crate) fn verdict(&self) -> Verdict {
        if !self.is_passing() {
            return Verdict::Stop;
        }
        let after = match self {
            Self::Refused(error) => error.retry_after,
            Self::Transport(failure) => failure.answer().and_then(Answer::retry_after),
            Self::Unusable { .. } => None,
        };
        Verdict::Retry { after }
    }
}

impl fmt::Display for TokenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Transport(failure) => failure.fmt(f),
            Self::Unusable { what, .. } => f.write_str(what),
        }
    }
}

impl std::error::Error for TokenFailure {}

impl AttemptError for TokenFailure {
    /// Never: asking for a token twice does nothing twice.
    fn is_unknown(&self) -> bool {
        false
    }
}

/// The body of an OAuth error. Every text is cleaned and cut, and holds no secret that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OAuthError {
    /// The status of the answer.
    pub(crate) status: u16,
    /// OAuth's code, such as `invalid_client`.
    pub(crate) error: String,
    /// The description in words; from Entra ID it starts with an `AADSTS` code.
    pub(crate) description: Option<String>,
    /// Entra ID's codes: those of `error_codes` and the one that the description starts with, each once. They change
    /// over time: good for advice, never to decide anything.
    pub(crate) codes: Vec<u64>,
    /// For a support case.
    pub(crate) trace_id: Option<String>,
    /// For a support case.
    pub(crate) correlation_id: Option<String>,
    /// When, by the other side's clock.
    pub(crate) timestamp: Option<String>,
    /// What `Retry-After` asked for.
    pub(crate) retry_after: Option<Duration>,
}

impl OAuthError {
    /// Reads an answer's body; `None` if it is not an OAuth error.
    pub(crate) fn parse(answer: &Answer, hidden: Redactor<'_>) -> Option<Self> {
        let body: Value = serde_json::from_slice(&answer.body).ok()?;
        let text = |name: &str| {
            let text = match body.get(name)? {
                Value::String(text) => hidden.show(text.as_bytes(), MAX_SHOWN),
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
        if let Some(code) = description
            .as_deref()
            .and_then(leading_code)
            .filter(|code| !codes.contains(code))
        {
            codes.push(code);
        }
        Some(Self {
            status: answer.status.as_u16(),
            error,
            description,
            codes,
            trace_id: text("trace_id"),
            correlation_id: text("correlation_id"),
            timestamp: text("timestamp"),
            retry_after: answer.retry_after(),
        })
    }

    /// Ids for a support case, as `name: value`. Those that the description holds already are left out.
    pub(crate) fn ids(&self) -> Vec<String> {
        let described = self.description.as_deref().unwrap_or_default();
        [
            ("trace_id", &self.trace_id),
            ("correlation_id", &self.correlation_id),
        ]
        .into_iter()
        .filter_map(|(name, id)| {
            let id = id.as_deref().filter(|id| !described.contains(id))?;
            Some(format!("{name}: {id}"))
        })
        .collect()
    }
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token endpoint answered {} {}", self.status, self.error)?;
        match &self.description {
            Some(description) => write!(f, ": {description}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for OAuthError {}

/// `AADSTS7000215: …` gives 7000215.
fn leading_code(description: &str) -> Option<u64> {
    let digits = description.trim_start().strip_prefix("AADSTS")?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests;
