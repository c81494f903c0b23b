//! The token endpoint: OAuth 2.0 client credentials with a secret, in the v1 and the v2 form.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::config::{EmulatorConfig, is_guid, is_tenant};
use super::faults::TokenExpiry;

/// A resource every tenant has: tokens for it are issued, and refused by the ingestion endpoint.
const OTHER_RESOURCE: &str = "https://graph.microsoft.com";

/// The two forms of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A refusal in the style of Entra.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenError {
    pub(super) code: u32,
    status: StatusCode,
    error: &'static str,
    text: String,
}

impl TokenError {
    fn bad(code: u32, error: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            status: StatusCode::BAD_REQUEST,
            error,
            text: text.into(),
        }
    }

    fn client(code: u32, text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            ..Self::bad(code, "invalid_client", text)
        }
    }

    fn missing(parameter: &str) -> Self {
        let text = format!("The request body has no parameter '{parameter}'.");
        Self::bad(900_144, "invalid_request", text)
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
        let time = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let body = json!({
            "error": self.error,
            "error_description": format!(
                "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}",
                self.code, self.text
            ),
            "error_codes": [self.code],
            "timestamp": time,
            "trace_id": trace,
            "correlation_id": correlation,
        });
        (self.status, Json(body)).into_response()
    }
}

/// Whom a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// `None`: an ID that is no GUID, taken in the open mode.
    pub(super) client_id: Option<Uuid>,
    resource: String,
}

/// Decides on a token request. `form` is its decoded body.
pub(super) fn grant(
    config: &EmulatorConfig,
    version: Version,
    tenant: &str,
    form: &HashMap<String, String>,
) -> Result<Grant, TokenError> {
    if !is_tenant(tenant) {
        return Err(TokenError::bad(
            900_023,
            "invalid_request",
            "The tenant in the address is neither a tenant ID nor a domain name.",
        ));
    }
    let get = |name: &str| {
        form.get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    let required = |name: &'static str| get(name).ok_or_else(|| TokenError::missing(name));
    let grant_type = required("grant_type")?;
    let client_id = required("client_id")?;
    let resource = match version {
        Version::V1 => required("resource")?,
        Version::V2 => {
            let scope = required("scope")?;
            scope.strip_suffix("/.default").ok_or_else(|| {
                TokenError::bad(
                    1_002_012,
                    "invalid_scope",
                    "With client credentials the scope is a resource followed by '/.default'.",
                )
            })?
        }
    };
    if grant_type != "client_credentials" {
        return Err(TokenError::bad(
            70_003,
            "unsupported_grant_type",
            "The emulator knows the grant type 'client_credentials' only.",
        ));
    }
    if form.contains_key("client_assertion") || form.contains_key("client_assertion_type") {
        return Err(TokenError::client(
            700_027,
            "The emulator knows no certificates and no federated credentials and cannot check a client assertion; \
             use a client secret with it.",
        ));
    }
    let secret = get("client_secret")
        .ok_or_else(|| TokenError::client(7_000_218, "The request body has no parameter 'client_secret'."))?;
    check_app(config, tenant, client_id, secret)?;
    let known = config
        .resources
        .iter()
        .map(String::as_str)
        .chain([OTHER_RESOURCE])
        .any(|known| known == resource);
    if !known {
        return Err(TokenError::bad(
            500_011,
            "invalid_resource",
            "The tenant has no principal for the resource asked for: the consent step was skipped, or the request \
             went to another cloud than the resource's.",
        ));
    }
    Ok(Grant {
        client_id: Uuid::try_parse(client_id).ok(),
        resource: resource.to_owned(),
    })
}

fn check_app(config: &EmulatorConfig, tenant: &str, client_id: &str, secret: &str) -> Result<(), TokenError> {
    if config.apps.is_empty() {
        return Ok(());
    }
    let mut of_tenant = config
        .apps
        .iter()
        .filter(|app| app.tenant_id.eq_ignore_ascii_case(tenant))
        .peekable();
    if of_tenant.peek().is_none() {
        return Err(TokenError::bad(
            90_002,
            "invalid_request",
            "There is no such tenant.",
        ));
    }
    let id = is_guid(client_id)
        .then(|| Uuid::try_parse(client_id).ok())
        .flatten();
    let Some(app) = of_tenant.find(|app| Some(app.client_id) == id) else {
        return Err(TokenError::bad(
            700_016,
            "unauthorized_client",
            "The tenant has no application with this identifier.",
        ));
    };
    if app.client_secret.expose() != secret {
        return Err(TokenError::client(
            7_000_215,
            "The client secret is not the app's; the secret's value is wanted, not its ID.",
        ));
    }
    if app.secret_expired {
        return Err(TokenError::client(
            7_000_222,
            "The app's client secret has expired.",
        ));
    }
    Ok(())
}

/// The tokens issued and still of use.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    issued: u64,
    live: HashMap<String, Token>,
}

#[derive(Debug)]
struct Token {
    grant: Grant,
    until: Instant,
    uses: u64,
    most_uses: Option<u64>,
}

impl Tokens {
    /// Issues a token and writes the answer.
    pub(super) fn issue(
        &mut self,
        version: Version,
        grant: Grant,
        lifetime: Duration,
        expiry: Option<TokenExpiry>,
    ) -> Response {
        let now = Instant::now();
        self.live.retain(|_, token| token.until > now);
        let valid_for = match expiry {
            Some(TokenExpiry::After(after)) => after.min(lifetime),
            _ => lifetime,
        };
        let text = format!("emulator-{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let seconds = lifetime.as_secs();
        let body = match version {
            // The v1 endpoint writes every number as a string.
            Version::V1 => {
                let not_before = jiff::Timestamp::now().as_second();
                let expires_on = i128::from(not_before) + i128::from(seconds);
                json!({
                    "token_type": "Bearer",
                    "expires_in": seconds.to_string(),
                    "ext_expires_in": seconds.to_string(),
                    "expires_on": expires_on.to_string(),
                    "not_before": not_before.to_string(),
                    "resource": grant.resource,
                    "access_token": text,
                })
            }
            Version::V2 => json!({
                "token_type": "Bearer",
                "expires_in": seconds,
                "ext_expires_in": seconds,
                "access_token": text,
            }),
        };
        // A lifetime beyond what the clock can hold is as good as a hundred years.
        let far = now + Duration::from_secs(100 * 365 * 24 * 3600);
        self.issued += 1;
        self.live.insert(
            text,
            Token {
                grant,
                until: now.checked_add(valid_for).map_or(far, |until| until.min(far)),
                uses: 0,
                most_uses: match expiry {
                    Some(TokenExpiry::Uses(uses)) => Some(uses),
                    _ => None,
                },
            },
        );
        let headers = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
        (headers, Json(body)).into_response()
    }

    /// Whom a bearer token is for; or why it is not taken.
    pub(super) fn take(&mut self, text: &str, resources: &[String]) -> Result<Option<Uuid>, &'static str> {
        let token = self
            .live
            .get_mut(text)
            .ok_or("the token was not issued here, or has expired")?;
        if token.until <= Instant::now() {
            return Err("the token has expired");
        }
        if token.most_uses.is_some_and(|most| token.uses >= most) {
            return Err("the token was made to expire after its uses");
        }
        if !resources.contains(&token.grant.resource) {
            return Err("the token is for another resource");
        }
        token.uses += 1;
        Ok(token.grant.client_id)
    }

    /// How many tokens were issued.
    pub(super) fn issued(&self) -> u64 {
        self.issued
    }
}
