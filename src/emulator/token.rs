//! The token endpoint: OAuth 2.0 client credentials with a secret, in the v1 and the v2 form.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::config::{App, EmulatorConfig, guid, is_tenant};
use super::faults::TokenExpiry;

/// A resource of every tenant. The ingestion endpoint refuses its tokens.
const OTHER_RESOURCE: &str = "https://graph.microsoft.com";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenError {
    pub(super) code: u32,
    error: &'static str,
    text: String,
}

impl TokenError {
    fn new(code: u32, error: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code, error, text }
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
        let status = match self.error {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, Json(body)).into_response()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// `None`: an ID other than a GUID, which open mode accepts.
    client_id: Option<Uuid>,
    resource: String,
}

/// Validates a token request. `form` is its decoded body.
pub(super) fn validate(
    config: &EmulatorConfig,
    version: Version,
    tenant: &str,
    form: &HashMap<String, String>,
) -> Result<Subject, TokenError> {
    let fail = |code, error, text| Err(TokenError::new(code, error, text));
    if !is_tenant(tenant) {
        return fail(
            900_023,
            "invalid_request",
            "The tenant in the address is neither a tenant ID nor a domain name.",
        );
    }
    let required = |name: &str, code, error| match form.get(name) {
        Some(value) if !value.is_empty() => Ok(value.as_str()),
        _ => {
            let text = format!("The request body has no parameter '{name}'.");
            Err(TokenError::new(code, error, text))
        }
    };
    let parameter = |name| required(name, 900_144, "invalid_request");
    let grant_type = parameter("grant_type")?;
    let client_id = parameter("client_id")?;
    let resource = match version {
        Version::V1 => Some(parameter("resource")?),
        Version::V2 => parameter("scope")?.strip_suffix("/.default"),
    };
    let Some(resource) = resource else {
        return fail(
            1_002_012,
            "invalid_scope",
            "With client credentials the scope is a resource followed by '/.default'.",
        );
    };
    if grant_type != "client_credentials" {
        return fail(
            70_003,
            "unsupported_grant_type",
            "The emulator supports the grant type 'client_credentials' only.",
        );
    }
    if form.contains_key("client_assertion") || form.contains_key("client_assertion_type") {
        return fail(
            700_027,
            "invalid_client",
            "The emulator does not support certificates and federated credentials and cannot check a client \
             assertion; use a client secret with it.",
        );
    }
    let secret = required("client_secret", 7_000_218, "invalid_client")?;
    check_app(config, tenant, client_id, secret)?;
    if resource != OTHER_RESOURCE && !config.resources.iter().any(|known| known == resource) {
        return fail(
            500_011,
            "invalid_resource",
            "The tenant has no principal for the requested resource: the consent step was skipped, or the request \
             went to another cloud than the resource's.",
        );
    }
    Ok(Subject {
        client_id: Uuid::try_parse(client_id).ok(),
        resource: resource.to_owned(),
    })
}

fn check_app(config: &EmulatorConfig, tenant: &str, client_id: &str, secret: &str) -> Result<(), TokenError> {
    if config.apps.is_empty() {
        return Ok(());
    }
    let in_tenant = |app: &&App| app.tenant_id.eq_ignore_ascii_case(tenant);
    let id = guid(client_id);
    let mut apps = config.apps.iter().filter(in_tenant).peekable();
    let (code, error, text) = if apps.peek().is_none() {
        (90_002, "invalid_request", "The tenant does not exist.")
    } else {
        match apps.find(|app| Some(app.client_id) == id) {
            None => (
                700_016,
                "unauthorized_client",
                "The tenant has no application with this identifier.",
            ),
            Some(app) if app.client_secret.expose() != secret => (
                7_000_215,
                "invalid_client",
                "The client secret is wrong; specify the secret's value, not its ID.",
            ),
            Some(app) if app.secret_expired => (
                7_000_222,
                "invalid_client",
                "The app's client secret has expired.",
            ),
            Some(_) => return Ok(()),
        }
    };
    Err(TokenError::new(code, error, text))
}

/// The issued tokens that have not expired.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    pub(super) issued: u64,
    live: HashMap<String, Token>,
}

#[derive(Debug)]
struct Token {
    subject: Subject,
    expires_at: Instant,
    uses: u64,
    max_uses: Option<u64>,
}

impl Tokens {
    /// Issues a token and writes the response.
    pub(super) fn issue(
        &mut self,
        version: Version,
        subject: Subject,
        lifetime: Duration,
        expiry: Option<TokenExpiry>,
    ) -> Response {
        let now = Instant::now();
        self.live.retain(|_, token| token.expires_at > now);
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
                    "resource": subject.resource,
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
        // The clock cannot represent every lifetime: at most a hundred years.
        let far = now + Duration::from_secs(100 * 365 * 24 * 3600);
        self.issued += 1;
        self.live.insert(
            text,
            Token {
                subject,
                expires_at: now.checked_add(valid_for).map_or(far, |at| at.min(far)),
                uses: 0,
                max_uses: match expiry {
                    Some(TokenExpiry::Uses(uses)) => Some(uses),
                    _ => None,
                },
            },
        );
        let headers = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
        (headers, Json(body)).into_response()
    }

    /// The app of a bearer token, or the reason for refusing the token.
    pub(super) fn authorize(
        &mut self,
        text: &str,
        resources: &[String],
    ) -> Result<Option<Uuid>, &'static str> {
        let token = self
            .live
            .get_mut(text)
            .ok_or("the emulator did not issue the token, or it has expired")?;
        if token.expires_at <= Instant::now() {
            return Err("the token has expired");
        }
        if token.max_uses.is_some_and(|max| token.uses >= max) {
            return Err("the token expired after its uses");
        }
        if !resources.contains(&token.subject.resource) {
            return Err("the token is for another resource");
        }
        token.uses += 1;
        Ok(token.subject.client_id)
    }
}
