//! Reads the secrets and builds the authenticator.

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use super::config::{
    AuthConfig, AuthType, CredentialsIn, JwtAlgorithm, RotationConfig, TokenBody, secret_reference,
};
use crate::component::RunInfo;
use crate::error::{Error, Result};
use crate::http::address::{service_url, shown};
use crate::http::auth::jwt::JwtGrant;
use crate::http::auth::provider::{BodyForm, Grant, TokenEndpoint, TokenProvider};
use crate::http::auth::response::{KeyPath, TokenPaths};
use crate::http::auth::rotation::{RefreshTokens, Rotation};
use crate::http::auth::saml::{self, SamlGrant};
use crate::http::auth::settings::TextOrSecret;
use crate::http::auth::signing::{Algorithm, SigningKey};
use crate::http::auth::{Authenticator, MIN_SECRET, Scheme, SharedTokens, basic, jwt, pem, secret_header};
use crate::secret::{Secret, SecretFiles, SecretRef};

/// How long a token is used if the answer does not say.
const DEFAULT_LIFETIME: std::time::Duration = std::time::Duration::from_secs(600);
/// Sent if the user name is the key, and the service accepts any password.
const ANY_PASSWORD: &str = "x";

impl AuthConfig {
    /// Reads the secrets and builds the authenticator. Sends nothing yet.
    ///
    /// `client` is the one of the data requests, so that its certificate applies to tokens too. Equal settings in the
    /// same run share their tokens, if `way` is equal, which stands for everything that distinguishes `client`.
    ///
    /// # Errors
    /// A secret cannot be read, or is invalid where it is used.
    pub(crate) fn build(&self, run: &RunInfo, client: &reqwest::Client, way: &str) -> Result<Authenticator> {
        match self.kind {
            AuthType::None => Ok(Authenticator::new(Scheme::None, Vec::new())),
            AuthType::Basic => self.basic(run),
            AuthType::Bearer => {
                let token = read(need(&self.token, "token")?, run)?;
                let value = format!("Bearer {}", token.expose());
                header("`token`", AUTHORIZATION, &value, vec![token])
            }
            AuthType::ApiKey => self.api_key(run),
            _ => {
                let mut request = TokenRequest::new(run);
                let url = service_url(need(&self.token_url, "token_url")?)
                    .map_err(|problem| Error::config(format!("`token_url`: {problem}")))?;
                let grant = self.grant(&url, &mut request)?;
                let endpoint = self.endpoint(url, client, request)?;
                let secrets = endpoint.secrets.clone();
                let key = format!("{way}\n{self:?}");
                let tokens = run
                    .services
                    .get_or_default::<SharedTokens>()
                    .get(key, TokenProvider::new(endpoint, grant));
                Ok(Authenticator::new(Scheme::Token(tokens), secrets))
            }
        }
    }

    fn basic(&self, run: &RunInfo) -> Result<Authenticator> {
        let reference = need(&self.username, "username")?;
        let username = reference.read(&run.base, &SecretFiles::of(run))?;
        if username.expose().contains(':') {
            return Err(Error::config(
                "the user name of HTTP Basic must not contain a colon",
            ));
        }
        let mut secrets = Vec::new();
        let password = self
            .password
            .as_ref()
            .map(|password| read(password, run))
            .transpose()?;
        let encoded = basic(
            username.expose(),
            password.as_ref().map_or(ANY_PASSWORD, Secret::expose),
        );
        secrets.extend(password);
        if reference.text().is_none() {
            secrets.push(username);
        }
        let value = format!("Basic {}", encoded.expose());
        secrets.push(encoded);
        header("`username`", AUTHORIZATION, &value, secrets)
    }

    fn api_key(&self, run: &RunInfo) -> Result<Authenticator> {
        let key = read(need(&self.value, "value")?, run)?;
        if let Some(name) = &self.header {
            let value = format!("{}{}", self.prefix.as_deref().unwrap_or_default(), key.expose());
            return header("`value`", name.0.clone(), &value, vec![key]);
        }
        let scheme = Scheme::Query {
            name: need(&self.query, "query")?.clone(),
            value: key.clone(),
        };
        Ok(Authenticator::new(scheme, vec![key]))
    }

    /// The grant; puts its fields into the request.
    fn grant(&self, url: &Url, request: &mut TokenRequest<'_>) -> Result<Grant> {
        let run = request.run;
        let grant = match self.kind {
            AuthType::RefreshToken => {
                request.plain("grant_type", "refresh_token");
                self.client_credentials(request)?;
                self.refresh_tokens(url, run)?
            }
            AuthType::Password => {
                request.plain("grant_type", "password");
                self.client_credentials(request)?;
                request.either("username", need(&self.username, "username")?)?;
                request.secret("password", read(need(&self.password, "password")?, run)?);
                Grant::Fields
            }
            AuthType::JwtBearer => {
                request.plain("grant_type", jwt::GRANT_TYPE);
                if let Some(id) = &self.client_id {
                    request.either("client_id", id)?;
                }
                self.jwt(run)?
            }
            AuthType::SamlBearer => {
                request.plain("grant_type", saml::GRANT_TYPE);
                request.either("client_id", need(&self.client_id, "client_id")?)?;
                if let Some(company) = &self.company_id {
                    request.plain("company_id", company);
                }
                self.saml(run)?
            }
            _ => {
                request.plain("grant_type", "client_credentials");
                self.client_credentials(request)?;
                Grant::Fields
            }
        };
        if let Some(scope) = &self.scope {
            request.plain("scope", scope);
        }
        Ok(grant)
    }

    /// The application's ID and secret, in the body or in a header.
    fn client_credentials(&self, request: &mut TokenRequest<'_>) -> Result<()> {
        let Some(id) = &self.client_id else { return Ok(()) };
        let run = request.run;
        let secret = self
            .client_secret
            .as_ref()
            .map(|secret| read(secret, run))
            .transpose()?;
        match self.credentials.unwrap_or_default() {
            CredentialsIn::Body => {
                request.either("client_id", id)?;
                if let Some(secret) = secret {
                    request.secret("client_secret", secret);
                }
            }
            CredentialsIn::BasicHeader => {
                let form =
                    |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let id_text = id.read(&run.base, &SecretFiles::of(run))?;
                let password = secret.as_ref().map_or("", Secret::expose);
                let encoded = basic(&form(id_text.expose()), &form(password));
                let value = secret_header(&format!("Basic {}", encoded.expose()))
                    .map_err(|()| Error::unexpected("Base64 is invalid in a header"))?;
                request.headers.insert(AUTHORIZATION, value);
                request.secrets.push(encoded);
                request.secrets.extend(secret);
                if id.text().is_none() {
                    request.secrets.push(id_text);
                }
            }
        }
        Ok(())
    }

    fn refresh_tokens(&self, url: &Url, run: &RunInfo) -> Result<Grant> {
        let token = read(need(&self.refresh_token, "refresh_token")?, run)?;
        let client_id = need(&self.client_id, "client_id")?.read(&run.base, &SecretFiles::of(run))?;
        let rotation = match &self.rotation {
            None => Rotation::InMemory,
            Some(RotationConfig::Ignore) => Rotation::Ignored,
            Some(RotationConfig::File(path)) => Rotation::File(run.base.join(path), SecretFiles::of(run)),
        };
        let context = format!("{}\0{}", shown(url), client_id.expose());
        Ok(Grant::Refresh(Arc::new(RefreshTokens::new(
            token, context, rotation,
        ))))
    }

    fn jwt(&self, run: &RunInfo) -> Result<Grant> {
        let algorithm = match self.algorithm.unwrap_or_default() {
            JwtAlgorithm::Rs256 => Algorithm::Rs256,
            JwtAlgorithm::Es256 => Algorithm::Es256,
        };
        let audience = self.audience.as_ref().or(self.token_url.as_ref());
        Ok(Grant::Jwt(JwtGrant {
            issuer: text(need(&self.issuer, "issuer")?, run)?,
            subject: text(need(&self.subject, "subject")?, run)?,
            audience: audience.cloned().unwrap_or_default(),
            lifetime: self.assertion_lifetime(),
            claims: self.claims.clone().unwrap_or_default(),
            key_id: self.key_id.clone(),
            key: self.signing_key(algorithm, run)?,
        }))
    }

    fn saml(&self, run: &RunInfo) -> Result<Grant> {
        let certificate = self.certificate.as_ref().map(|reference| {
            let mut chain = pem::certificates(&read(reference, run)?)
                .map_err(|error| Error::config(format!("`certificate` {error}")).with_hint(error.hint()))?;
            Ok::<_, Error>(chain.swap_remove(0).to_vec())
        });
        let issuer = self.issuer.as_ref().or(self.client_id.as_ref());
        let recipient = self.recipient.as_ref().or(self.token_url.as_ref());
        let attributes = self.attributes.iter().flatten();
        Ok(Grant::Saml(SamlGrant {
            issuer: issuer
                .map(|issuer| text(issuer, run))
                .transpose()?
                .unwrap_or_default(),
            subject: text(need(&self.subject, "subject")?, run)?,
            name_id_format: saml::UNSPECIFIED.to_owned(),
            audience: need(&self.audience, "audience")?.clone(),
            recipient: recipient.cloned().unwrap_or_default(),
            authn_context: saml::AUTHN_UNSPECIFIED.to_owned(),
            attributes: attributes
                .map(|(name, value)| Ok((name.clone(), text(value, run)?)))
                .collect::<Result<_>>()?,
            lifetime: self.assertion_lifetime(),
            key: self.signing_key(Algorithm::Rs256, run)?,
            certificate: certificate.transpose()?,
        }))
    }

    fn signing_key(&self, algorithm: Algorithm, run: &RunInfo) -> Result<SigningKey> {
        let pem = read(need(&self.private_key, "private_key")?, run)?;
        SigningKey::from_pem(&pem, algorithm)
            .map_err(|error| Error::config(format!("`private_key` {error}")).with_hint(error.hint()))
    }

    /// Adds what every token request has.
    fn endpoint(
        &self,
        url: Url,
        client: &reqwest::Client,
        mut request: TokenRequest<'_>,
    ) -> Result<TokenEndpoint> {
        let run = request.run;
        for (name, value) in self.headers.iter().flatten() {
            let secret = value.read(&run.base, &SecretFiles::of(run))?;
            let header = match value {
                TextOrSecret::Text(text) => HeaderValue::from_str(text).map_err(|_| ()),
                TextOrSecret::Secret(_) => secret_header(secret.expose()),
            };
            let header = header.map_err(|()| invalid(&format!("`headers.{name}`")))?;
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Error::config(format!("`{name}` is not a valid header name")))?;
            request.headers.insert(name, header);
            if value.text().is_none() {
                request.secrets.push(secret);
            }
        }
        let mut json = Map::new();
        let form = match self.body.unwrap_or_default() {
            TokenBody::Form => {
                for (name, value) in self.parameters.iter().flatten() {
                    match (secret_reference(value), value) {
                        (Some(reference), _) => request.secret(name, read(&reference, run)?),
                        (None, Value::String(text)) => request.plain(name, text),
                        (None, _) => return Err(Error::config(format!("`parameters.{name}` is not a text"))),
                    }
                }
                BodyForm::Form
            }
            TokenBody::Json => {
                for (name, value) in self.parameters.iter().flatten() {
                    json.insert(name.clone(), resolve(value, run, &mut request.secrets)?);
                }
                BodyForm::Json
            }
        };
        request
            .secrets
            .retain(|secret| secret.expose().len() >= MIN_SECRET);
        Ok(TokenEndpoint {
            client: client.clone(),
            url,
            headers: request.headers,
            fields: request.fields,
            json,
            form,
            paths: self.paths()?,
            secrets: request.secrets,
        })
    }

    /// Where the answer holds the token; lifetime and refresh token are beside it.
    fn paths(&self) -> Result<TokenPaths> {
        let token = self.token_path.as_deref().unwrap_or("access_token");
        let path = |text: &str| {
            KeyPath::parse(text).map_err(|problem| Error::config(format!("`token_path`: {problem}")))
        };
        let beside = |name: &str| match token.rsplit_once('.') {
            Some((parent, _)) => path(&format!("{parent}.{name}")),
            None => path(name),
        };
        Ok(TokenPaths {
            access_token: path(token)?,
            expires_in: beside("expires_in")?,
            refresh_token: beside("refresh_token")?,
            default_lifetime: DEFAULT_LIFETIME,
        })
    }
}

/// A token request while it is built.
struct TokenRequest<'r> {
    run: &'r RunInfo,
    headers: HeaderMap,
    fields: Vec<(String, Secret)>,
    /// What must not be shown.
    secrets: Vec<Secret>,
}

impl<'r> TokenRequest<'r> {
    fn new(run: &'r RunInfo) -> Self {
        Self {
            run,
            headers: HeaderMap::new(),
            fields: Vec::new(),
            secrets: Vec::new(),
        }
    }

    fn plain(&mut self, name: &str, value: &str) {
        self.fields.push((name.to_owned(), Secret::new(value)));
    }

    fn secret(&mut self, name: &str, value: Secret) {
        self.secrets.push(value.clone());
        self.fields.push((name.to_owned(), value));
    }

    fn either(&mut self, name: &str, value: &TextOrSecret) -> Result<()> {
        let read = value.read(&self.run.base, &SecretFiles::of(self.run))?;
        match value {
            TextOrSecret::Text(_) => self.fields.push((name.to_owned(), read)),
            TextOrSecret::Secret(_) => self.secret(name, read),
        }
        Ok(())
    }
}

/// A key that validation requires.
fn need<'v, T>(value: &'v Option<T>, key: &str) -> Result<&'v T> {
    value
        .as_ref()
        .ok_or_else(|| Error::config(format!("`auth.{key}` is required")))
}

fn read(reference: &SecretRef, run: &RunInfo) -> Result<Secret> {
    reference.read(&run.base, &SecretFiles::of(run))
}

fn text(value: &TextOrSecret, run: &RunInfo) -> Result<String> {
    Ok(value.read(&run.base, &SecretFiles::of(run))?.expose().to_owned())
}

/// The value with each `{env: NAME}` and `{file: PATH}` replaced by the secret, which is added to `secrets`.
fn resolve(value: &Value, run: &RunInfo, secrets: &mut Vec<Secret>) -> Result<Value> {
    if let Some(reference) = secret_reference(value) {
        let secret = read(&reference, run)?;
        let text = Value::from(secret.expose());
        secrets.push(secret);
        return Ok(text);
    }
    Ok(match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, value)| Ok((name.clone(), resolve(value, run, secrets)?)))
                .collect::<Result<_>>()?,
        ),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| resolve(item, run, secrets))
                .collect::<Result<_>>()?,
        ),
        other => other.clone(),
    })
}

/// An authenticator that sets one header.
fn header(setting: &str, name: HeaderName, value: &str, secrets: Vec<Secret>) -> Result<Authenticator> {
    let value = secret_header(value).map_err(|()| invalid(setting))?;
    Ok(Authenticator::new(Scheme::Header { name, value }, secrets))
}

fn invalid(setting: &str) -> Error {
    Error::config(format!(
        "{setting} contains a character that is invalid in a header, such as a line break"
    ))
    .with_hint("check for a line break within the secret")
}
