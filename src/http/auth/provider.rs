//! Asks for a token in any of the ways services have: fields as a form or as JSON, the client's credentials in the body
//! or in a header, the token anywhere in a JSON answer.
//!
//! A [`GrantProvider`] is what a [`TokenCache`](crate::http::auth::token_cache::TokenCache) asks. Other than the providers that leave
//! trying again to their caller, it tries again itself when the cause is a passing one: the requests that wait for
//! the token then share the attempts, instead of each making its own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, HeaderMap};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::error::Error;
use crate::http::address::shown;
use crate::http::auth::jwt::JwtGrant;
use crate::http::auth::oauth_error::{OAuthError, TOKEN_TIMEOUT, TokenFailure};
use crate::http::auth::rotation::RefreshTokens;
use crate::http::auth::saml::SamlGrant;
use crate::http::auth::token_cache::{Token, TokenProvider};
use crate::http::redact::{Redactor, describe, html_title, is_html};
use crate::http::retry::{AttemptError, Reason, RetryPolicy, Spent, Verdict};
use crate::http::transport::{Answer, Failure, MAX_BODY, exchange};
use crate::secret::Secret;

/// Keys from the outside in, such as `data.token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPath(Vec<String>);

impl KeyPath {
    /// Reads keys with dots between them.
    ///
    /// # Errors
    /// A key is empty.
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

/// Where in an answer things are.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// The token.
    pub(crate) access_token: KeyPath,
    /// Its lifetime in seconds.
    pub(crate) expires_in: KeyPath,
    /// The refresh token, where a new one is given.
    pub(crate) refresh_token: KeyPath,
    /// The lifetime where the answer says none. Zero: the token is used once.
    pub(crate) default_lifetime: Duration,
}

impl Default for Shape {
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

/// What a token endpoint gave. Has no `Debug`.
pub(crate) struct Given {
    /// The access token.
    pub(crate) access_token: Secret,
    /// How long it holds.
    pub(crate) lifetime: Duration,
    /// The refresh token to use from now on.
    pub(crate) refresh_token: Option<Secret>,
}

impl Given {
    /// The token, given now.
    pub(crate) fn into_token(self) -> Token {
        Token::new(self.access_token, self.lifetime)
    }
}

/// Kinds of tokens that are proven in other ways than by being sent.
const NOT_BEARER: [&str; 5] = ["mac", "pop", "dpop", "hmac", "n_a"];

impl Shape {
    /// Reads a 2xx. serde's own error texts repeat what they found, so they are not used.
    pub(crate) fn read(&self, answer: &Answer, hidden: Redactor<'_>) -> Result<Given, TokenFailure> {
        let said = format!("the answer of the token endpoint ({})", answer.status_line());
        let html = is_html(&answer.body);
        let unusable = |what: String| TokenFailure::Unusable {
            what,
            broken_off: !answer.complete && answer.body.len() < MAX_BODY,
            html,
        };
        let Some(body) = serde_json::from_slice::<Value>(&answer.body)
            .ok()
            .filter(Value::is_object)
        else {
            return Err(unusable(if html {
                let title = html_title(&answer.body)
                    .map(|title| format!(" with the title `{}`", hidden.show(title.as_bytes(), 120)));
                format!(
                    "{said} is a web page{} in place of a token",
                    title.unwrap_or_default()
                )
            } else if answer.complete {
                format!("{said} is no JSON object with a token")
            } else {
                format!("{said} broke off or is too large")
            }));
        };
        if let Some(Value::String(kind)) = body.get("token_type")
            && NOT_BEARER.iter().any(|other| kind.eq_ignore_ascii_case(other))
        {
            let kind = hidden.show(kind.as_bytes(), 40);
            return Err(unusable(format!(
                "{said} is a token of the type `{kind}`, not `Bearer`"
            )));
        }
        let path = &self.access_token;
        let token = match path.find(&body) {
            None | Some(Value::Null) => "",
            Some(Value::String(token)) => token,
            Some(_) => return Err(unusable(format!("{said} holds an `{path}` that is no text"))),
        };
        if token.is_empty() {
            // Some say what is wrong in a success.
            if let Some(error) = OAuthError::parse(answer, hidden) {
                return Err(TokenFailure::Refused(Box::new(error)));
            }
            let message = message(&body).map(|text| format!(": {}", hidden.show(text.as_bytes(), 200)));
            return Err(unusable(format!(
                "{said} holds no `{path}`{}",
                message.unwrap_or_default()
            )));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unusable(format!(
                "{said} holds an `{path}` that cannot go into a header"
            )));
        }
        let refresh_token = match self.refresh_token.find(&body) {
            Some(Value::String(token)) if !token.is_empty() => Some(Secret::new(token.as_str())),
            _ => None,
        };
        let lifetime = self.expires_in.find(&body).and_then(whole_number);
        Ok(Given {
            access_token: Secret::new(token),
            lifetime: lifetime.map_or(self.default_lifetime, Duration::from_secs),
            refresh_token,
        })
    }
}

/// What services call their message when something is wrong. Names only that do not hold a token.
fn message(body: &Value) -> Option<&str> {
    let names = ["message", "error_message", "error_description", "detail"];
    [Some(body), body.get("error")]
        .into_iter()
        .flatten()
        .find_map(|value| names.iter().find_map(|name| value.get(name)?.as_str()))
}

/// A whole number, written as a number or as a text.
pub(super) fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// How the fields of a token request are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyForm {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// A JSON object.
    Json,
}

/// Where tokens are asked for, and what every request says. Has no `Debug`: fields hold secrets.
#[derive(Clone)]
pub(crate) struct TokenEndpoint {
    /// The client; its certificate counts here, too.
    pub(crate) client: reqwest::Client,
    /// The endpoint.
    pub(crate) url: Url,
    /// Headers besides `Accept` and `Content-Type`, that of the client's credentials among them.
    pub(crate) headers: HeaderMap,
    /// Fields of every request. Of two with one name the later counts.
    pub(crate) fields: Vec<(String, Secret)>,
    /// Members of the body beyond [`fields`](Self::fields), for [`BodyForm::Json`]; take the place of fields.
    pub(crate) json: Map<String, Value>,
    /// How the fields are written.
    pub(crate) form: BodyForm,
    /// Where the token is.
    pub(crate) shape: Shape,
    /// What must not be shown, besides the fields of a request.
    pub(crate) secrets: Vec<Secret>,
}

impl TokenEndpoint {
    /// One request with `fields` besides those of every request, which they may replace.
    ///
    /// # Errors
    /// The failure, with all its texts fit to be shown.
    pub(crate) async fn ask(&self, fields: &[(&str, &Secret)]) -> Result<Given, GrantFailure> {
        let secrets: Vec<&Secret> = self
            .secrets
            .iter()
            .chain(fields.iter().map(|(_, secret)| *secret))
            .collect();
        let hidden = Redactor::secrets(&secrets);
        let request = self
            .client
            .post(self.url.clone())
            .timeout(TOKEN_TIMEOUT)
            .header(ACCEPT, "application/json")
            .headers(self.headers.clone());
        let all = self.all(fields);
        let request = match self.form {
            BodyForm::Form => request.form(&all),
            BodyForm::Json => {
                let mut body: Map<String, Value> = all
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), Value::from(value)))
                    .collect();
                for (name, value) in &self.json {
                    body.insert(name.clone(), value.clone());
                }
                request.json(&body)
            }
        };
        let result = match request.build() {
            Ok(request) => exchange(&self.client, request, MAX_BODY, hidden).await,
            Err(error) => Err(Failure::of(error)),
        };
        let failure = match result {
            Ok(answer) => match self.shape.read(&answer, hidden) {
                Ok(given) => return Ok(given),
                Err(failure) => failure,
            },
            Err(Failure::Answer(answer)) => match OAuthError::parse(&answer, hidden) {
                Some(error) => TokenFailure::Refused(Box::new(error)),
                None => TokenFailure::Transport(Failure::Answer(answer)),
            },
            Err(failure) => TokenFailure::Transport(failure),
        };
        Err(GrantFailure::token(failure, hidden))
    }

    /// The fields in order, each name once.
    fn all<'f>(&'f self, fields: &'f [(&str, &Secret)]) -> Vec<(&'f str, &'f str)> {
        let mut all: Vec<(&str, &str)> = Vec::new();
        let own = self.fields.iter().map(|(name, value)| (&**name, value));
        for (name, value) in fields.iter().copied().chain(own) {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value.expose(),
                None => all.push((name, value.expose())),
            }
        }
        all
    }
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) struct GrantFailure {
    /// What kind of failure.
    pub(crate) cause: GrantCause,
    /// What came back, fit to be shown.
    pub(crate) came_back: String,
    /// What trying took; none for a single attempt.
    pub(crate) spent: Option<Spent>,
}

/// What kind of failure.
#[derive(Debug)]
pub(crate) enum GrantCause {
    /// The request failed.
    Token(TokenFailure),
    /// Something on this machine failed: a file, a signature.
    Local(Error),
    /// The run was cancelled.
    Cancelled,
}

impl GrantFailure {
    fn token(failure: TokenFailure, hidden: Redactor<'_>) -> Self {
        let came_back = match &failure {
            TokenFailure::Refused(error) => {
                let ids: String = error.ids().into_iter().map(|id| format!("; {id}")).collect();
                format!("{error}{ids}")
            }
            TokenFailure::Transport(Failure::Answer(answer)) => describe(answer, hidden),
            failure => failure.to_string(),
        };
        Self {
            cause: GrantCause::Token(failure),
            came_back,
            spent: None,
        }
    }

    /// Something on this machine failed.
    pub(crate) fn local(error: Error) -> Self {
        Self {
            came_back: error.chain(),
            cause: GrantCause::Local(error),
            spent: None,
        }
    }

    /// Whether to try again.
    pub(crate) fn verdict(&self) -> Verdict {
        match &self.cause {
            GrantCause::Token(failure) => failure.verdict(),
            GrantCause::Local(_) | GrantCause::Cancelled => Verdict::Stop,
        }
    }
}

impl fmt::Display for GrantFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no access token: {}", self.came_back)
    }
}

impl AttemptError for GrantFailure {
    /// Never: asking for a token twice does nothing twice.
    fn is_unknown(&self) -> bool {
        false
    }
}

/// What a request says beyond the endpoint's fields.
pub(crate) enum Grant {
    /// Nothing: all of it is in the endpoint's fields.
    Fields,
    /// A JWT made for each request.
    Jwt(JwtGrant),
    /// A SAML assertion made for each request.
    Saml(SamlGrant),
    /// A refresh token, which the service may replace.
    Refresh(Arc<RefreshTokens>),
}

/// Asks for tokens, and tries again after passing causes.
pub(crate) struct GrantProvider {
    endpoint: Arc<TokenEndpoint>,
    grant: Grant,
    retry: RetryPolicy,
    cancel: CancellationToken,
    /// Exchanges of refresh tokens: once begun they are brought to their end, whoever gives up waiting.
    exchanges: TaskTracker,
}

impl GrantProvider {
    /// Asks `endpoint`. Cancelling ends the waiting between attempts.
    pub(crate) fn new(
        endpoint: TokenEndpoint,
        grant: Grant,
        retry: RetryPolicy,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            grant,
            retry,
            cancel,
            exchanges: TaskTracker::new(),
        }
    }

    /// The endpoint.
    pub(crate) fn endpoint(&self) -> &TokenEndpoint {
        &self.endpoint
    }

    /// How the client proves who it is.
    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Waits until no exchange of a refresh token is under way.
    pub(crate) async fn settle(&self) {
        self.exchanges.close();
        self.exchanges.wait().await;
        self.exchanges.reopen();
    }

    async fn attempt(&self) -> Result<Token, GrantFailure> {
        let given = match &self.grant {
            Grant::Fields => self.endpoint.ask(&[]).await?,
            Grant::Jwt(grant) => {
                let assertion = grant.assertion().map_err(GrantFailure::local)?;
                self.endpoint.ask(&[("assertion", &assertion)]).await?
            }
            Grant::Saml(grant) => {
                let assertion = grant.assertion().map_err(GrantFailure::local)?;
                self.endpoint.ask(&[("assertion", &assertion)]).await?
            }
            Grant::Refresh(tokens) => {
                let (tokens, endpoint) = (Arc::clone(tokens), Arc::clone(&self.endpoint));
                self.exchanges
                    .spawn(async move { tokens.exchange(&endpoint).await })
                    .await
                    .map_err(|error| {
                        GrantFailure::local(Error::task_failed("exchanging the refresh token", &error))
                    })??
            }
        };
        Ok(given.into_token())
    }
}

#[async_trait]
impl TokenProvider for GrantProvider {
    type Failure = GrantFailure;

    async fn fetch(&self) -> Result<Token, GrantFailure> {
        let request = format!("POST {}", shown(&self.endpoint.url));
        let result = self
            .retry
            .about(None, &request)
            .run(&self.cancel, |_| self.attempt(), GrantFailure::verdict)
            .await;
        match result {
            Ok((token, _)) => Ok(token),
            Err(gave_up) => {
                let spent = Spent {
                    tally: gave_up.tally,
                    reason: gave_up.reason,
                };
                let mut failure = match (gave_up.reason, gave_up.last) {
                    (Reason::Cancelled, _) | (_, None) => GrantFailure {
                        cause: GrantCause::Cancelled,
                        came_back: "the run was cancelled".to_owned(),
                        spent: None,
                    },
                    (_, Some(failure)) => failure,
                };
                failure.spent = Some(spent);
                Err(failure)
            }
        }
    }

    fn is_final(&self, failure: &GrantFailure) -> bool {
        failure.verdict() == Verdict::Stop
    }
}

impl fmt::Debug for GrantProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantProvider(hidden)")
    }
}
