//! The one OAuth token provider: a request in any of the forms that services expect. Fields as a form or as JSON,
//! credentials in the body or in a header, signed assertions, refresh tokens. Microsoft Entra ID is a preset.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use reqwest::header::{ACCEPT, HeaderMap};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::task::TaskTracker;
use url::Url;

use super::Token;
use super::cache::FetchToken;
use super::jwt::JwtGrant;
use super::response::{OAuthError, TokenCause, TokenError, TokenPaths, TokenResponse};
use super::rotation::RefreshTokens;
use super::saml::SamlGrant;
use crate::error::Error;
use crate::http::redact::Redactor;
use crate::http::retry::Verdict;
use crate::http::transport::{Answer, Failure, MAX_BODY, exchange};
use crate::secret::Secret;

/// The time-out of a token request: much shorter than an upload needs.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(60);

/// How a token request is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BodyForm {
    /// As a form, the OAuth 2.0 standard.
    #[default]
    Form,
    /// As a JSON object.
    Json,
}

/// Where tokens are requested, and what every request holds. Has no `Debug`: fields hold secrets.
#[derive(Clone)]
pub(crate) struct TokenEndpoint {
    /// The client; its certificate applies here, too.
    pub(crate) client: reqwest::Client,
    pub(crate) url: Url,
    /// Headers besides `Accept` and `Content-Type`.
    pub(crate) headers: HeaderMap,
    /// Fields of every request. Of two with one name the later wins.
    pub(crate) fields: Vec<(String, Secret)>,
    /// With [`BodyForm::Json`]: members of the body, which replace fields.
    pub(crate) json: Map<String, Value>,
    pub(crate) form: BodyForm,
    pub(crate) paths: TokenPaths,
    /// What must not be shown, besides the fields of a request.
    pub(crate) secrets: Vec<Secret>,
}

impl TokenEndpoint {
    /// Microsoft Entra ID with client credentials, as Microsoft's scripts for the HR connector request tokens:
    /// `POST {authority}/{tenant}/oauth2/token?api-version=1.0` with a `resource`.
    ///
    /// See <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.
    pub(crate) fn entra(
        client: reqwest::Client,
        authority: &Url,
        tenant_id: &str,
        client_id: &str,
        client_secret: Secret,
        resource: &str,
    ) -> Self {
        let mut url = authority.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(tenant_id).push("oauth2").push("token");
        }
        url.set_query(Some("api-version=1.0"));
        let fields = [
            ("client_id", client_id),
            ("client_secret", client_secret.expose()),
            ("grant_type", "client_credentials"),
            ("resource", resource),
            ("tenant_id", tenant_id),
        ];
        Self {
            client,
            url,
            headers: HeaderMap::new(),
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
                .collect(),
            json: Map::new(),
            form: BodyForm::Form,
            paths: TokenPaths::default(),
            secrets: vec![client_secret],
        }
    }

    /// One request with `fields` besides those of every request, which replace them.
    pub(crate) async fn request(&self, fields: &[(&str, &Secret)]) -> Result<TokenResponse, TokenError> {
        let sent = fields.iter().map(|(_, secret)| *secret);
        let secrets: Vec<&Secret> = self.secrets.iter().chain(sent).collect();
        let redactor = Redactor::secrets(&secrets);
        let request = self.client.post(self.url.clone()).timeout(TOKEN_TIMEOUT);
        let request = request
            .header(ACCEPT, "application/json")
            .headers(self.headers.clone());
        let all = self.all(fields);
        let request = match self.form {
            BodyForm::Form => request.form(&all),
            BodyForm::Json => {
                let fields = all
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), Value::from(value)));
                let body: Map<String, Value> = fields.chain(self.json.clone()).collect();
                request.json(&body)
            }
        };
        let result = match request.build() {
            Ok(request) => exchange(&self.client, request, MAX_BODY, redactor).await,
            Err(error) => Err(Failure::of(error)),
        };
        let (cause, date) = match result {
            Ok(answer) => match self.paths.read(&answer, redactor) {
                Ok(response) => return Ok(response),
                Err(cause) => (cause, answer.date()),
            },
            Err(failure) => {
                let date = failure.answer().and_then(Answer::date);
                let refused = failure
                    .answer()
                    .and_then(|answer| OAuthError::parse(answer, redactor));
                let cause = match refused {
                    Some(error) => TokenCause::Refused(Box::new(error)),
                    None => TokenCause::Transport(failure),
                };
                (cause, date)
            }
        };
        Err(TokenError::new(cause, date, redactor))
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

/// What a request holds beyond the endpoint's fields.
pub(crate) enum Grant {
    /// Nothing: all of it is in the endpoint's fields.
    Fields,
    Jwt(JwtGrant),
    /// A SAML assertion, signed for each request.
    Saml(SamlGrant),
    /// A refresh token, which the service may replace.
    Refresh(Arc<RefreshTokens>),
}

/// Requests tokens from an endpoint. Retries are the caller's.
pub(crate) struct TokenProvider {
    endpoint: Arc<TokenEndpoint>,
    grant: Grant,
    /// Exchanges of refresh tokens: they run to their end even if the caller gives up.
    exchanges: TaskTracker,
}

impl TokenProvider {
    pub(crate) fn new(endpoint: TokenEndpoint, grant: Grant) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            grant,
            exchanges: TaskTracker::new(),
        }
    }

    pub(crate) fn endpoint(&self) -> &TokenEndpoint {
        &self.endpoint
    }

    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Waits until no exchange of a refresh token is running.
    pub(crate) async fn finish(&self) {
        self.exchanges.close();
        self.exchanges.wait().await;
        self.exchanges.reopen();
    }

    /// One request, whose result also has the time by the service's clock.
    pub(crate) async fn request(&self) -> Result<TokenResponse, TokenError> {
        match &self.grant {
            Grant::Fields => self.endpoint.request(&[]).await,
            Grant::Jwt(grant) => self.with_assertion(grant.assertion()).await,
            Grant::Saml(grant) => self.with_assertion(grant.assertion()).await,
            Grant::Refresh(tokens) => {
                let (tokens, endpoint) = (Arc::clone(tokens), Arc::clone(&self.endpoint));
                let exchange = self
                    .exchanges
                    .spawn(async move { tokens.exchange(&endpoint).await });
                exchange.await.unwrap_or_else(|error| {
                    Err(TokenError::local(Error::task_failed(
                        "exchanging the refresh token",
                        &error,
                    )))
                })
            }
        }
    }

    async fn with_assertion(&self, assertion: Result<Secret, Error>) -> Result<TokenResponse, TokenError> {
        let assertion = assertion.map_err(TokenError::local)?;
        self.endpoint.request(&[("assertion", &assertion)]).await
    }

    /// The time by the service's clock, of a result of [`request`](Self::request).
    pub(crate) fn date(result: &Result<TokenResponse, TokenError>) -> Option<SystemTime> {
        match result {
            Ok(response) => response.date,
            Err(error) => error.date,
        }
    }
}

#[async_trait]
impl FetchToken for TokenProvider {
    type Error = TokenError;

    async fn fetch(&self) -> Result<Token, TokenError> {
        self.request().await.map(TokenResponse::into_token)
    }

    fn is_final(&self, error: &TokenError) -> bool {
        error.verdict() == Verdict::Stop
    }
}

impl fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenProvider(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_server::{Reply, Request, Server, Step};

    use super::*;
    use crate::http::transport::{Proxy, TransportConfig};

    const SECRET: &str = "s3cret-marker+/=";

    fn provider(server: &Server, tenant_id: &str) -> TokenProvider {
        let transport = TransportConfig {
            tls: false,
            proxy: Proxy::Direct,
            ..TransportConfig::default()
        };
        let (client, url) = (transport.client().unwrap(), server.url().parse().unwrap());
        let secret = Secret::new(SECRET);
        let endpoint = TokenEndpoint::entra(
            client,
            &url,
            tenant_id,
            "app",
            secret,
            "https://contoso.com/service",
        );
        TokenProvider::new(endpoint, Grant::Fields)
    }

    async fn play(step: impl Into<Step>) -> (Result<TokenResponse, TokenError>, Request) {
        let server = Server::script([step]);
        let result = provider(&server, "contoso.com").request().await;
        (result, server.finish().remove(0))
    }

    async fn error(step: impl Into<Step>) -> TokenError {
        let error = play(step).await.0.err().unwrap();
        assert!(!format!("{error} {error:?}").contains("marker"), "{error:?}");
        error
    }

    #[tokio::test]
    async fn requests_a_token_as_entra_id_expects_it() {
        for (lifetime, expected) in [(json!("3599"), 3599), (json!(60), 60), (json!("soon"), 0)] {
            let reply =
                Reply::ok(json!({"token_type": "bearer", "expires_in": lifetime, "access_token": "tok3n"}));
            let (response, request) = play(reply).await;
            let response = response.ok().unwrap();
            assert_eq!(
                (response.access_token.expose(), response.lifetime.as_secs()),
                ("tok3n", expected)
            );
            assert_eq!(
                (&*request.method, &*request.path),
                ("POST", "/contoso.com/oauth2/token?api-version=1.0")
            );
            assert_eq!(
                request.header("content-type"),
                Some("application/x-www-form-urlencoded")
            );
            let expected = [
                ("client_id", "app"),
                ("client_secret", SECRET),
                ("grant_type", "client_credentials"),
                ("resource", "https://contoso.com/service"),
                ("tenant_id", "contoso.com"),
            ];
            assert_eq!(
                request.form(),
                expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
            );
        }
        let provider = provider(&Server::script([Step::Stall]), "../evil?x=1#");
        assert_eq!(provider.endpoint().url.path(), "/..%2Fevil%3Fx=1%23/oauth2/token");
        assert!(!format!("{provider:?}").contains("marker"));
    }

    #[tokio::test]
    async fn reads_oauth_errors() {
        let description = "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: t-1\r\n";
        for codes in [json!([7_000_215]), json!(["7000215"]), json!(null)] {
            let error = error(Reply::new(401).json(&json!({
                "error": "invalid_client", "error_description": description, "error_codes": codes,
                "trace_id": "t-1", "correlation_id": "c-2",
            })));
            let error = error.await;
            let TokenCause::Refused(refused) = &error.cause else {
                panic!("{error:?}")
            };
            assert_eq!(
                (refused.status, &*refused.error, &refused.codes[..]),
                (401, "invalid_client", &[7_000_215][..])
            );
            assert_eq!(
                error.detail,
                "the token endpoint responded 401 invalid_client: AADSTS7000215: Invalid client secret provided. Trace ID: \
                 t-1; correlation_id: c-2",
                "ids of the description are not repeated"
            );
        }
        let long = format!("\u{1b}[2J{SECRET} {}", "é".repeat(600));
        let error = error(
            Reply::new(400).json(&json!({"error": format!("bad {SECRET}"), "error_description": long})),
        )
        .await;
        let detail = "the token endpoint responded 400 bad [hidden]: [2J[hidden] é";
        assert!(
            error.detail.starts_with(detail) && error.detail.ends_with('…'),
            "{error}"
        );
    }

    #[tokio::test]
    async fn retries_transient_causes_only() {
        let oauth = json!({"error": "temporarily_unavailable", "error_description": "AADSTS7000215: codes decide nothing"});
        for (status, transient) in [
            (400, false),
            (401, false),
            (404, false),
            (302, false),
            (408, true),
            (429, true),
            (503, true),
        ] {
            for reply in [
                Reply::new(status).json(&oauth),
                Reply::new(status).body("not JSON"),
            ] {
                let date = "Sun, 06 Nov 1994 08:49:37 GMT";
                let error = error(reply.header("retry-after", "7").header("date", date)).await;
                let after = Some(Duration::from_secs(7));
                let expected = if transient {
                    Verdict::Retry { after }
                } else {
                    Verdict::Stop
                };
                assert_eq!(error.verdict(), expected, "{status} {error:?}");
                assert_eq!(error.date, Some(httpdate::parse_http_date(date).unwrap()));
            }
        }
        for step in [
            Step::CloseAfterBody,
            Reply::ok(json!({"access_token": "tok3n"})).truncate(9),
        ] {
            assert_eq!(error(step).await.verdict(), Verdict::Retry { after: None });
        }
    }

    #[tokio::test]
    async fn reports_why_a_2xx_has_no_usable_token() {
        for (reply, expected) in [
            (Reply::new(200), "is not a JSON object"),
            (Reply::text("[]"), "is not a JSON object"),
            (Reply::ok(json!({})), "has no `access_token`"),
            (Reply::ok(json!({"access_token": ""})), "has no `access_token`"),
            (
                Reply::ok(json!({"access_token": 5, "x": "tok3n-marker"})),
                "has an `access_token` that is not a string",
            ),
            (
                Reply::ok(json!({"access_token": "tok3n-marker\r\nx"})),
                "not allowed in a header",
            ),
            (
                Reply::ok(json!({"access_token": "tok3n-marker", "token_type": "mac"})),
                "a token of type `mac`",
            ),
            (
                Reply::new(200).body("<html><title>Sign in</title>"),
                "is a web page with the title `Sign in`",
            ),
        ] {
            let error = error(reply).await;
            assert!(error.to_string().contains(expected), "{error} / {expected}");
            assert_eq!(error.verdict(), Verdict::Stop);
        }
    }
}
