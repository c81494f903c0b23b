//! The settings of `auth`, and what contradicts itself in them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::header_name::HeaderNameSetting;
use super::super::typed_keys::{self, TypedKeys, given, typed};
use crate::component::Problems;
use crate::http::address::service_url;
use crate::http::auth::provider::BodyForm;
use crate::http::auth::response::KeyPath;
use crate::http::settings::TextOrSecret;
use crate::secret::SecretRef;
use crate::settings::BoundedDuration;
use crate::settings::bounded::{HOUR, SECOND};
use crate::settings::template::has_unset_variable;

/// How requests authenticate.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = describe)]
pub(crate) struct AuthConfig {
    /// The kind of authentication.
    #[serde(rename = "type")]
    pub kind: AuthType,
    /// The user name (`basic`, without a colon; `oauth2_password`): a text or a secret.
    #[serde(default)]
    pub username: Option<TextOrSecret>,
    /// The password (`basic`, `oauth2_password`). Default for `basic` with a secret user name: `x`, for services that use
    /// the API key as the user name.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// The token (`bearer`).
    #[serde(default)]
    #[schemars(example = serde_json::json!({"env": "API_TOKEN"}))]
    pub token: Option<SecretRef>,
    /// The header that contains the key (`api_key`). Set either this or `query`.
    #[serde(default)]
    #[schemars(example = &"X-Api-Key")]
    pub header: Option<HeaderNameSetting>,
    /// The query parameter that contains the key (`api_key`). Servers and proxies log URLs: prefer `header`.
    #[serde(default)]
    #[schemars(example = &"api_key")]
    pub query: Option<String>,
    /// The key (`api_key`).
    #[serde(default)]
    #[schemars(example = serde_json::json!({"env": "API_KEY"}))]
    pub value: Option<SecretRef>,
    /// Text before the key in the header, such as `Token ` with its space (`api_key`). Default: empty.
    #[serde(default)]
    #[schemars(example = &"Token ")]
    pub prefix: Option<String>,
    /// The token endpoint.
    #[serde(default)]
    pub token_url: Option<String>,
    /// The application's ID.
    #[serde(default)]
    pub client_id: Option<TextOrSecret>,
    /// The application's secret.
    #[serde(default)]
    pub client_secret: Option<SecretRef>,
    /// Where the client ID and secret are sent. Default `body`.
    #[serde(default)]
    pub credentials: Option<CredentialsIn>,
    /// The scope, such as `https://graph.microsoft.com/.default`. Default: not sent.
    #[serde(default)]
    pub scope: Option<String>,
    /// How the token request is encoded. Default `form`.
    #[serde(default)]
    pub body: Option<BodyForm>,
    /// Additional parameters of the token request, texts or secrets; they replace others with the same name. With
    /// `body: json`, any JSON, in which `{env: NAME}` and `{file: PATH}` are replaced by the secrets.
    #[serde(default)]
    pub parameters: Option<Map<String, Value>>,
    /// Additional headers of the token request: texts or secrets.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"X-Partner-ID": "CONTOSO"}))]
    pub headers: Option<BTreeMap<String, TextOrSecret>>,
    /// The path of the token in the response: keys joined by dots, such as `data.token`. `expires_in` and `refresh_token`
    /// are read beside it; without `expires_in` a token is used for 10 minutes. Default `access_token`.
    #[serde(default)]
    pub token_path: Option<String>,
    /// The refresh token that a user obtained.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"env": "REFRESH_TOKEN"}))]
    pub refresh_token: Option<SecretRef>,
    /// Where to store new refresh tokens that the service issues. Default: they are used until the run ends, with a
    /// warning.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"file": "refresh-token"}))]
    pub rotation: Option<RotationConfig>,
    /// The issuer (`iss`), usually the application's ID. Default with `saml2_bearer`: `client_id`, which must be a text.
    #[serde(default)]
    #[schemars(example = &"hrsink")]
    pub issuer: Option<TextOrSecret>,
    /// The user who signs in (`sub`, or the SAML subject).
    #[serde(default)]
    pub subject: Option<TextOrSecret>,
    /// The audience (`aud`). Required with `saml2_bearer`; default with `jwt_bearer`: `token_url`.
    #[serde(default)]
    pub audience: Option<String>,
    /// The private key for RS256, PEM (PKCS #8 or PKCS #1). Line breaks may be written as `\n`.
    #[serde(default)]
    pub private_key: Option<SecretRef>,
    /// How long an assertion is valid. Default 5m.
    #[serde(default)]
    #[schemars(example = &"5m")]
    pub lifetime: Option<BoundedDuration<SECOND, HOUR>>,
    /// The key ID of the JWT (`kid`). Default: not sent.
    #[serde(default)]
    #[schemars(example = &"2026-01")]
    pub key_id: Option<String>,
    /// Additional claims of the JWT; they replace others with the same name.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"tenant": "contoso"}))]
    pub claims: Option<Map<String, Value>>,
    /// The company, sent as `company_id` (`saml2_bearer`). Default: not sent.
    #[serde(default)]
    pub company_id: Option<String>,
    /// The recipient of the SAML assertion. Default: `token_url`.
    #[serde(default)]
    #[schemars(example = &"https://api4.successfactors.com/oauth/token")]
    pub recipient: Option<String>,
    /// Attributes of the SAML assertion, by name.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"api_key": {"env": "SF_API_KEY"}}))]
    pub attributes: Option<BTreeMap<String, TextOrSecret>>,
    /// The certificate of the private key (PEM), to include in the signature of the SAML assertion. Default: not included.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"file": "saml.crt"}))]
    pub certificate: Option<SecretRef>,
}

/// The kind of authentication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuthType {
    /// No authentication, or only the client certificate of `tls`.
    #[default]
    None,
    /// HTTP Basic.
    Basic,
    /// A constant bearer token.
    Bearer,
    /// A key in a header or in the query.
    ApiKey,
    /// OAuth 2.0 client credentials: the application signs in.
    #[serde(rename = "oauth2_client_credentials")]
    ClientCredentials,
    /// OAuth 2.0 refresh token that a user obtained once.
    #[serde(rename = "oauth2_refresh_token")]
    RefreshToken,
    /// OAuth 2.0 password: a user signs in with name and password.
    #[serde(rename = "oauth2_password")]
    Password,
    /// OAuth 2.0 with a JWT signed by a private key (RFC 7523).
    JwtBearer,
    /// OAuth 2.0 with a SAML assertion signed by a private key (RFC 7522).
    #[serde(rename = "saml2_bearer")]
    SamlBearer,
}

/// The keys of every token request.
macro_rules! token_keys {
    ($($own:literal),*) => {
        &["scope", "body", "parameters", "headers", "token_path", $($own),*]
    };
}

const TYPES: [TypedKeys; 9] = [
    typed("none", &[], &[]),
    typed("basic", &["username"], &["password"]),
    typed("bearer", &["token"], &[]),
    typed("api_key", &["value"], &["header", "query", "prefix"]),
    typed(
        "oauth2_client_credentials",
        &["token_url", "client_id", "client_secret"],
        token_keys!("credentials"),
    ),
    typed(
        "oauth2_refresh_token",
        &["token_url", "client_id", "refresh_token"],
        token_keys!("credentials", "client_secret", "rotation"),
    ),
    typed(
        "oauth2_password",
        &["token_url", "username", "password"],
        token_keys!("credentials", "client_id", "client_secret"),
    ),
    typed(
        "jwt_bearer",
        &["token_url", "issuer", "subject", "private_key"],
        token_keys!("client_id", "audience", "lifetime", "key_id", "claims"),
    ),
    typed(
        "saml2_bearer",
        &["token_url", "client_id", "subject", "audience", "private_key"],
        token_keys!(
            "issuer",
            "lifetime",
            "company_id",
            "recipient",
            "attributes",
            "certificate"
        ),
    ),
];

fn describe(schema: &mut Schema) {
    typed_keys::describe(&TYPES, schema);
}

/// Where the application's ID and secret go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CredentialsIn {
    /// In the body, as `client_id` and `client_secret`.
    #[default]
    Body,
    /// In the header `Authorization: Basic …`, form-encoded as RFC 6749 requires.
    BasicHeader,
}

/// Where to store new refresh tokens that the service issues.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RotationConfig {
    /// Ignores them: the configured token stays valid.
    Ignore,
    /// Stores the newest in this file, with mode 0600, and uses it as long as it descends from the configured one. Relative
    /// to the pipeline file.
    File(#[schemars(example = &"refresh-token")] PathBuf),
}

/// The secret that a JSON value refers to: an object with the one member `env` or `file`.
pub(super) fn secret_reference(value: &Value) -> Option<SecretRef> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    match object.iter().next()? {
        (name, Value::String(text)) if name == "env" => Some(SecretRef::Env(text.clone())),
        (name, Value::String(text)) if name == "file" => Some(SecretRef::File(text.into())),
        _ => None,
    }
}

impl AuthConfig {
    /// Whether there is a token that can be renewed.
    pub(crate) fn has_token(&self) -> bool {
        !matches!(
            self.kind,
            AuthType::None | AuthType::Basic | AuthType::Bearer | AuthType::ApiKey
        )
    }

    /// Reports all problems that show without the network and without reading secrets.
    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        let given = given!(self; username, password, token, header, query, value, prefix, token_url, client_id,
            client_secret, credentials, scope, body, parameters, headers, token_path, refresh_token, rotation, issuer,
            subject, audience, private_key, lifetime, key_id, claims, company_id, recipient, attributes,
            certificate);
        typed_keys::check(&TYPES, TYPES[self.kind as usize].name, &given, problems);
        for (key, value) in [
            ("username", &self.username),
            ("client_id", &self.client_id),
            ("issuer", &self.issuer),
            ("subject", &self.subject),
        ] {
            if let Some(TextOrSecret::Text(text)) = value
                && text.trim().is_empty()
            {
                problems.at(key).add(format!("`{key}` is empty"));
            }
        }
        match self.kind {
            AuthType::Basic => self.validate_basic(problems),
            AuthType::ApiKey => self.validate_api_key(problems),
            AuthType::SamlBearer
                if self.issuer.is_none() && matches!(self.client_id, Some(TextOrSecret::Secret(_))) =>
            {
                problems.at("issuer").add_with_hint(
                    "`issuer` is required if `client_id` is a secret",
                    "the issuer is readable in the assertion: give it as a text",
                );
            }
            AuthType::Password if self.client_id.is_none() => {
                for (key, given) in given!(self; client_secret, credentials) {
                    if given {
                        problems.at(key).add("requires `client_id`");
                    }
                }
            }
            _ => {}
        }
        if self.has_token() {
            self.validate_token_request(problems);
        }
    }

    fn validate_basic(&self, problems: &mut Problems<'_>) {
        let Some(TextOrSecret::Text(name)) = &self.username else {
            return;
        };
        if name.contains(':') {
            let mut here = problems.at("username");
            here.add("the user name of HTTP Basic must not contain a colon");
        } else if self.password.is_none() {
            problems.at("password").add_with_hint(
                "`password` is required",
                "if the user name is the key, give it as a secret: `username: {env: NAME}`; the password is then `x`",
            );
        }
    }

    fn validate_api_key(&self, problems: &mut Problems<'_>) {
        match (&self.header, &self.query) {
            (None, None) => problems.add_with_hint(
                "give `header` or `query`",
                "for example `header: X-Api-Key`, as the service's documentation says",
            ),
            (Some(_), Some(_)) => problems.at("query").add("give either `header` or `query`"),
            (None, Some(name)) if name.is_empty() => problems.at("query").add("`query` is empty"),
            (None, Some(_)) if self.prefix.is_some() => problems.at("prefix").add("requires `header`"),
            _ => {}
        }
        if let Some(prefix) = &self.prefix {
            check_header_value(prefix, &mut problems.at("prefix"));
        }
    }

    fn validate_token_request(&self, problems: &mut Problems<'_>) {
        if let Some(url) = &self.token_url
            && !has_unset_variable(url)
            && let Err(problem) = service_url(url)
        {
            problems.at("token_url").add(problem);
        }
        for (name, value) in self.headers.iter().flatten() {
            let mut here = problems.at("headers");
            let mut here = here.at(name);
            match HeaderName::from_bytes(name.as_bytes()) {
                Err(_) => here.add(format!("`{name}` is not a valid header name")),
                Ok(name) if name == AUTHORIZATION && self.credentials == Some(CredentialsIn::BasicHeader) => {
                    here.add("`credentials: basic_header` sets this header");
                }
                Ok(_) => {}
            }
            if let TextOrSecret::Text(text) = value {
                check_header_value(text, &mut here);
            }
        }
        if self.body != Some(BodyForm::Json) {
            for (name, value) in self.parameters.iter().flatten() {
                if !value.is_string() && secret_reference(value).is_none() {
                    problems.at("parameters").at(name).add_with_hint(
                        "expected a text or a secret by reference",
                        "any other JSON requires `body: json`",
                    );
                }
            }
        }
        if let Some(path) = &self.token_path
            && let Err(problem) = KeyPath::parse(path)
        {
            problems.at("token_path").add(problem);
        }
    }
}

fn check_header_value(text: &str, problems: &mut Problems<'_>) {
    if HeaderValue::from_str(text).is_err() {
        problems.add("contains a character that is invalid in a header");
    }
}
