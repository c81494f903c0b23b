//! The settings of each kind of authentication.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::TextOrSecret;
use crate::config::HumanDuration;
use crate::secret::SecretRef;

/// How to prove who is asking.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AuthConfig {
    /// Nothing is proven, or the client certificate is proof enough.
    None {},
    /// A user name and a password with each request (HTTP Basic).
    Basic(Basic),
    /// A token that does not change, with each request.
    Bearer(Bearer),
    /// A key in a header or in the query.
    ApiKey(ApiKey),
    /// A token for the application, asked for with its id and secret.
    #[serde(rename = "oauth2_client_credentials")]
    ClientCredentials(ClientCredentials),
    /// A token asked for with a refresh token that a person got by signing in once.
    #[serde(rename = "oauth2_refresh_token")]
    RefreshToken(RefreshToken),
    /// A token asked for with a user's name and password.
    #[serde(rename = "oauth2_password")]
    Password(Password),
    /// A token asked for with a JWT signed by a private key (RFC 7523).
    JwtBearer(JwtBearer),
    /// A token asked for with a SAML assertion signed by a private key (RFC 7522).
    #[serde(rename = "saml2_bearer")]
    SamlBearer(SamlBearer),
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self::None {}
    }
}

/// HTTP Basic.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user name, as a text or, where it is a secret key, by reference. Without a colon.
    pub username: TextOrSecret,
    /// Where the password is kept. Give this or `placeholder_password`.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// What to send as the password where the service takes any text, because the user name is the key. May be empty.
    #[serde(default)]
    pub placeholder_password: Option<String>,
}

/// `Authorization: Bearer …`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    /// Where the token is kept.
    pub token: SecretRef,
}

/// A key in a header or in the query.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Name of the header. Give this or `query`.
    #[serde(default)]
    pub header: Option<String>,
    /// Name of the query parameter. Servers and proxies write URLs into their logs: give `header` where there is the
    /// choice.
    #[serde(default)]
    pub query: Option<String>,
    /// Where the key is kept.
    pub value: SecretRef,
    /// Text right before the key, such as `Token ` with the space at its end. With `header` only. Default: none.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// Where the client's id and secret go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CredentialsPlace {
    /// In the body, as `client_id` and `client_secret`.
    #[default]
    Body,
    /// In the header `Authorization: Basic …`, each written as in a form first, as RFC 6749 asks.
    BasicHeader,
}

/// How a token request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyKind {
    /// As a form, which is OAuth 2.0's way.
    #[default]
    Form,
    /// As a JSON object.
    Json,
}

/// Where the token is in the answer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenAnswer {
    /// The token: keys with dots between them, such as `data.token`. Default `access_token`.
    pub access_token: String,
    /// The number of seconds that it holds. Default `expires_in`.
    pub expires_in: String,
    /// The next refresh token. Default `refresh_token`.
    pub refresh_token: String,
    /// How long it holds where the answer does not say. Default 10m. A token that the service takes no longer is
    /// renewed whatever this says.
    pub default_lifetime: HumanDuration,
}

impl Default for TokenAnswer {
    fn default() -> Self {
        Self {
            access_token: "access_token".to_owned(),
            expires_in: "expires_in".to_owned(),
            refresh_token: "refresh_token".to_owned(),
            default_lifetime: HumanDuration(Duration::from_secs(600)),
        }
    }
}

/// What every kind that asks for a token has.
///
/// Not flattened into the others: unknown keys could not be refused then.
pub(super) struct TokenRequest<'a> {
    pub(super) token_url: &'a str,
    pub(super) form: &'a BTreeMap<String, TextOrSecret>,
    pub(super) headers: &'a BTreeMap<String, TextOrSecret>,
    pub(super) body: BodyKind,
    pub(super) json: &'a Map<String, Value>,
    pub(super) response: &'a TokenAnswer,
}

macro_rules! token_request {
    ($($of:ty),*) => {$(
        impl $of {
            /// What it has in common with the others.
            pub(super) fn request(&self) -> TokenRequest<'_> {
                TokenRequest {
                    token_url: &self.token_url,
                    form: &self.form,
                    headers: &self.headers,
                    body: self.body,
                    json: &self.json,
                    response: &self.response,
                }
            }
        }
    )*};
}

token_request!(ClientCredentials, RefreshToken, Password, JwtBearer, SamlBearer);

/// OAuth 2.0 client credentials.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCredentials {
    /// Where to ask for tokens.
    pub token_url: String,
    /// The application's id.
    pub client_id: TextOrSecret,
    /// Where the application's secret is kept.
    pub client_secret: SecretRef,
    /// What the token is for, such as `https://graph.microsoft.com/.default`. Default: not sent.
    #[serde(default)]
    pub scope: Option<String>,
    /// Where id and secret go: `body` or `basic_header`. Default `body`.
    #[serde(default)]
    pub credentials: CredentialsPlace,
    /// Further fields of the request, each a text or a secret by reference; they replace those of the same name.
    #[serde(default)]
    pub form: BTreeMap<String, TextOrSecret>,
    /// Further headers of the request, each a text or a secret by reference.
    #[serde(default)]
    pub headers: BTreeMap<String, TextOrSecret>,
    /// How the request is written: `form` or `json`. Default `form`.
    #[serde(default)]
    pub body: BodyKind,
    /// Further members of the request's JSON object, of any form, with `body: json` only; they replace fields of the
    /// same name. An object `{env: NAME}` or `{file: PATH}` in it stands for the secret kept there.
    #[serde(default)]
    pub json: Map<String, Value>,
    /// Where the token is in the answer.
    #[serde(default)]
    pub response: TokenAnswer,
}

/// What becomes of the refresh tokens that the service gives in place of the one used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RotationConfig {
    /// They are not used: the configured one goes on to count.
    Ignore,
    /// The newest is kept in this file, for its owner only, and used as long as it descends from the configured one.
    /// Relative to the pipeline file.
    File(PathBuf),
}

/// OAuth 2.0 refresh token.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshToken {
    /// Where to ask for tokens.
    pub token_url: String,
    /// The application's id.
    pub client_id: TextOrSecret,
    /// Where the application's secret is kept. Default: it has none.
    #[serde(default)]
    pub client_secret: Option<SecretRef>,
    /// Where the refresh token is kept that a person got.
    pub refresh_token: SecretRef,
    /// `{file: PATH}` keeps the tokens that the service gives in its place; `ignore` goes on with the configured one.
    /// Default: they are used until the run ends, with a warning.
    #[serde(default)]
    pub rotation: Option<RotationConfig>,
    /// What the token is for. Default: not sent.
    #[serde(default)]
    pub scope: Option<String>,
    /// Where id and secret go: `body` or `basic_header`. Default `body`.
    #[serde(default)]
    pub credentials: CredentialsPlace,
    /// Further fields of the request, each a text or a secret by reference; they replace those of the same name.
    #[serde(default)]
    pub form: BTreeMap<String, TextOrSecret>,
    /// Further headers of the request, each a text or a secret by reference.
    #[serde(default)]
    pub headers: BTreeMap<String, TextOrSecret>,
    /// How the request is written: `form` or `json`. Default `form`.
    #[serde(default)]
    pub body: BodyKind,
    /// Further members of the request's JSON object, with `body: json` only.
    #[serde(default)]
    pub json: Map<String, Value>,
    /// Where the tokens are in the answer.
    #[serde(default)]
    pub response: TokenAnswer,
}

/// OAuth 2.0 resource owner password.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Password {
    /// Where to ask for tokens.
    pub token_url: String,
    /// The user's name.
    pub username: TextOrSecret,
    /// Where the password is kept.
    pub password: SecretRef,
    /// The application's id. Default: not sent.
    #[serde(default)]
    pub client_id: Option<TextOrSecret>,
    /// Where the application's secret is kept. Default: it has none.
    #[serde(default)]
    pub client_secret: Option<SecretRef>,
    /// What the token is for. Default: not sent.
    #[serde(default)]
    pub scope: Option<String>,
    /// Where the application's id and secret go: `body` or `basic_header`. Default `body`.
    #[serde(default)]
    pub credentials: CredentialsPlace,
    /// Further fields of the request, such as `companyId`, each a text or a secret by reference; they replace those of
    /// the same name.
    #[serde(default)]
    pub form: BTreeMap<String, TextOrSecret>,
    /// Further headers of the request, each a text or a secret by reference.
    #[serde(default)]
    pub headers: BTreeMap<String, TextOrSecret>,
    /// How the request is written: `form` or `json`. Default `form`.
    #[serde(default)]
    pub body: BodyKind,
    /// Further members of the request's JSON object, with `body: json` only.
    #[serde(default)]
    pub json: Map<String, Value>,
    /// Where the token is in the answer.
    #[serde(default)]
    pub response: TokenAnswer,
}

/// How a JWT is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum JwtAlgorithm {
    /// RSA with SHA-256.
    #[default]
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
}

/// JWT bearer grant.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtBearer {
    /// Where to ask for tokens.
    pub token_url: String,
    /// Who signs: `iss`, mostly the application's id.
    pub issuer: TextOrSecret,
    /// Who is signed in: `sub`.
    pub subject: TextOrSecret,
    /// Who takes the JWT: `aud`, as the service says. Default: `token_url`.
    #[serde(default)]
    pub audience: Option<String>,
    /// Where the private key is kept, in PEM form (PKCS #8, or PKCS #1 for RSA). Line breaks may be written as `\n`.
    pub private_key: SecretRef,
    /// How it is signed: `RS256` or `ES256`. Default `RS256`.
    #[serde(default)]
    pub algorithm: JwtAlgorithm,
    /// Which key it is for the service: `kid`. Default: not sent.
    #[serde(default)]
    pub key_id: Option<String>,
    /// How long the JWT holds: at most 1h. Default 5m.
    #[serde(default = "five_minutes")]
    pub lifetime: HumanDuration,
    /// Further claims; they replace those of the same name.
    #[serde(default)]
    pub claims: Map<String, Value>,
    /// The application's id as a field of the request. Default: not sent.
    #[serde(default)]
    pub client_id: Option<TextOrSecret>,
    /// What the token is for. Default: not sent.
    #[serde(default)]
    pub scope: Option<String>,
    /// Further fields of the request, each a text or a secret by reference; they replace those of the same name.
    #[serde(default)]
    pub form: BTreeMap<String, TextOrSecret>,
    /// Further headers of the request, each a text or a secret by reference.
    #[serde(default)]
    pub headers: BTreeMap<String, TextOrSecret>,
    /// How the request is written: `form` or `json`. Default `form`.
    #[serde(default)]
    pub body: BodyKind,
    /// Further members of the request's JSON object, with `body: json` only.
    #[serde(default)]
    pub json: Map<String, Value>,
    /// Where the token is in the answer.
    #[serde(default)]
    pub response: TokenAnswer,
}

/// How an assertion is written into the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssertionEncoding {
    /// Base64 as in e-mails.
    #[default]
    Base64,
    /// Base64 for URLs, as RFC 7522 asks.
    Base64url,
}

/// SAML 2.0 bearer grant.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamlBearer {
    /// Where to ask for tokens.
    pub token_url: String,
    /// The application's id (SAP calls it the API key).
    pub client_id: TextOrSecret,
    /// The company, sent as `company_id`. Default: not sent.
    #[serde(default)]
    pub company_id: Option<String>,
    /// Who signs the assertion. Default: `client_id`, which must be a text then.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The user who is signed in.
    pub subject: TextOrSecret,
    /// The form of the user's name. Default `urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified`.
    #[serde(default)]
    pub name_id_format: Option<String>,
    /// Who takes the assertion, such as `www.successfactors.com`.
    pub audience: String,
    /// Where it is given. Default: `token_url`.
    #[serde(default)]
    pub recipient: Option<String>,
    /// How the user signed in. Default `urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified`.
    #[serde(default)]
    pub authn_context: Option<String>,
    /// Texts about the user, by name. Default: none.
    #[serde(default)]
    pub attributes: BTreeMap<String, TextOrSecret>,
    /// Where the private key is kept: RSA in PEM form. Line breaks may be written as `\n`.
    pub private_key: SecretRef,
    /// Where its certificate is kept, in PEM form; put into the signature. Default: left out.
    #[serde(default)]
    pub certificate: Option<SecretRef>,
    /// How long the assertion holds: at most 1h. Default 5m.
    #[serde(default = "five_minutes")]
    pub lifetime: HumanDuration,
    /// How it is written: `base64` or `base64url`. Default `base64`.
    #[serde(default)]
    pub encoding: AssertionEncoding,
    /// Further fields of the request, each a text or a secret by reference; they replace those of the same name.
    #[serde(default)]
    pub form: BTreeMap<String, TextOrSecret>,
    /// Further headers of the request, each a text or a secret by reference.
    #[serde(default)]
    pub headers: BTreeMap<String, TextOrSecret>,
    /// How the request is written: `form` or `json`. Default `form`.
    #[serde(default)]
    pub body: BodyKind,
    /// Further members of the request's JSON object, with `body: json` only.
    #[serde(default)]
    pub json: Map<String, Value>,
    /// Where the token is in the answer.
    #[serde(default)]
    pub response: TokenAnswer,
}

fn five_minutes() -> HumanDuration {
    HumanDuration(Duration::from_secs(300))
}
