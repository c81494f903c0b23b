//! The one OAuth token provider: a request in any of the forms that services expect. Fields as a form or as JSON,
//! credentials in the body or in a header, signed assertions, refresh tokens. Microsoft Entra ID is a preset.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::task::TaskTracker;
use url::Url;

use super::Token;
use super::cache::TokenCache;
use super::jwt::JwtGrant;
use super::response::{KeyPath, TokenError, TokenResponse};
use super::rotation::RefreshTokens;
use super::saml::SamlGrant;
use crate::error::Error;
use crate::http::redact::Redactor;
use crate::http::transport::{Failure, MAX_BODY, exchange};
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
    pub(crate) body: BodyForm,
    /// Where the response holds the token; its lifetime and the next refresh token are beside it.
    pub(crate) token_path: KeyPath,
    /// The lifetime if the response has none. Zero: the token is used once.
    pub(crate) default_lifetime: Duration,
    /// What must not be shown, besides the fields of a request.
    pub(crate) secrets: Vec<Secret>,
}

impl TokenEndpoint {
    /// Microsoft Entra ID with client credentials, as Microsoft's scripts for the HR connector request tokens: a `POST`
    /// to [`entra_token_url`] with a `resource`.
    ///
    /// See <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.
    pub(crate) fn entra(
        client: reqwest::Client,
        url: Url,
        tenant_id: &str,
        client_id: &str,
        client_secret: Secret,
        resource: &str,
    ) -> Self {
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
                .map(|(name, value)| (name.to_owned(), Secret::new(value)))
                .into(),
            json: Map::new(),
            body: BodyForm::Form,
            token_path: KeyPath::default(),
            default_lifetime: Duration::ZERO,
            secrets: vec![client_secret],
        }
    }

    /// One request with `fields` besides those of every request, which replace them.
    pub(crate) async fn request(&self, fields: &[(&str, &Secret)]) -> Result<TokenResponse, TokenError> {
        let sent = fields.iter().map(|(_, secret)| *secret);
        let secrets: Vec<Secret> = self.secrets.iter().chain(sent).cloned().collect();
        let redactor = Redactor::new(&secrets, &[]);
        let request = self.client.post(self.url.clone()).timeout(TOKEN_TIMEOUT);
        let request = request
            .header(ACCEPT, "application/json")
            .headers(self.headers.clone());
        let all = self.all(fields);
        let request = match self.body {
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
        match result {
            Ok(answer) => TokenResponse::read(&answer, &self.token_path, redactor),
            Err(failure) => Err(TokenError::new(failure, redactor)),
        }
    }

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

pub(crate) fn entra_token_url(authority: &Url, tenant_id: &str) -> Url {
    let mut url = authority.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(tenant_id).push("oauth2").push("token");
    }
    url.set_query(Some("api-version=1.0"));
    url
}

/// What a request holds beyond the endpoint's fields.
pub(crate) enum Grant {
    Fields,
    Jwt(JwtGrant),
    Saml(SamlGrant),
    Refresh(Arc<RefreshTokens>),
}

/// Requests tokens from an endpoint, and caches the newest. Retries are the caller's.
pub(crate) struct TokenProvider {
    pub(crate) endpoint: Arc<TokenEndpoint>,
    pub(crate) grant: Grant,
    pub(super) cache: TokenCache,
    /// Exchanges of refresh tokens: they run to their end even if the caller gives up.
    pub(super) exchanges: TaskTracker,
}

impl TokenProvider {
    pub(crate) fn new(endpoint: TokenEndpoint, grant: Grant) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            grant,
            cache: TokenCache::default(),
            exchanges: TaskTracker::new(),
        }
    }

    pub(crate) async fn token(&self) -> Result<Arc<Token>, Arc<TokenError>> {
        let fetch = async {
            let response = self.request().await?;
            let lifetime = response.lifetime.unwrap_or(self.endpoint.default_lifetime);
            Ok(Token::new(response.access_token, lifetime))
        };
        self.cache.get(fetch).await
    }

    pub(crate) async fn request(&self) -> Result<TokenResponse, TokenError> {
        match &self.grant {
            Grant::Fields => self.endpoint.request(&[]).await,
            Grant::Jwt(grant) => self.endpoint.request(&[("assertion", &grant.assertion()?)]).await,
            Grant::Saml(grant) => self.endpoint.request(&[("assertion", &grant.assertion()?)]).await,
            Grant::Refresh(tokens) => {
                let (tokens, endpoint) = (Arc::clone(tokens), Arc::clone(&self.endpoint));
                let exchange = async move { tokens.exchange(&endpoint).await };
                let exchanged = self.exchanges.spawn(exchange).await;
                exchanged.map_err(|error| Error::task_failed("exchanging the refresh token", &error))?
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_server::{Reply, Request, Server};

    use super::*;
    use crate::http::auth::response::TokenCause;
    use crate::http::retry::Verdict;
    use crate::http::settings::Proxy;
    use crate::http::transport::TransportConfig;

    const SECRET: &str = "s3cret-marker+/=";

    async fn play(reply: Reply) -> (Result<TokenResponse, TokenError>, Request) {
        let server = Server::script([reply]);
        let transport = TransportConfig {
            tls: false,
            proxy: Proxy::Direct,
            ..TransportConfig::default()
        };
        let (client, authority) = (transport.client().unwrap(), server.url().parse().unwrap());
        let (url, secret) = (entra_token_url(&authority, "../evil?x=1#"), Secret::new(SECRET));
        let endpoint = TokenEndpoint::entra(
            client,
            url,
            "../evil?x=1#",
            "app",
            secret,
            "https://contoso.com/s",
        );
        let result = TokenProvider::new(endpoint, Grant::Fields).request().await;
        (result, server.finish().remove(0))
    }

    async fn error(reply: Reply) -> TokenError {
        let error = play(reply).await.0.err().unwrap();
        assert!(!format!("{error} {error:?}").contains("marker"), "{error:?}");
        error
    }

    #[tokio::test]
    async fn requests_a_token_as_entra_id_expects_it() {
        let reply = Reply::ok(json!({"token_type": "bearer", "expires_in": "soon", "access_token": "tok3n"}));
        let (response, request) = play(reply).await;
        let response = response.ok().unwrap();
        let actual = (response.access_token.expose(), response.lifetime);
        assert_eq!(actual, ("tok3n", None));
        let body = "client_id=app&client_secret=s3cret-marker%2B%2F%3D&grant_type=client_credentials\
                    &resource=https%3A%2F%2Fcontoso.com%2Fs&tenant_id=..%2Fevil%3Fx%3D1%23";
        let line = format!("POST /..%2Fevil%3Fx=1%23/oauth2/token?api-version=1.0 {body}");
        assert_eq!(request.line(), line);
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
            let actual = (refused.status, &*refused.error, &refused.codes[..]);
            assert_eq!(actual, (401, "invalid_client", &[7_000_215][..]));
            assert_eq!(
                error.detail,
                "the token endpoint responded 401 invalid_client: AADSTS7000215: Invalid client secret provided. Trace ID: \
                 t-1; correlation_id: c-2",
                "ids of the description are not repeated"
            );
        }
    }

    #[tokio::test]
    async fn reports_why_a_2xx_has_no_usable_token() {
        for (body, expected) in [
            ("[]", "is not a JSON object"),
            ("{}", "has no `access_token`"),
            (
                r#"{"access_token": "tok3n-marker", "token_type": "mac"}"#,
                "a token of type `mac`",
            ),
        ] {
            let error = error(Reply::new(200).body(body)).await;
            assert!(error.to_string().contains(expected), "{error} / {expected}");
            assert_eq!(error.verdict(), Verdict::Stop);
        }
    }
}
