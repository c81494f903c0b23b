//! Reads the secrets and builds the authenticator.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::config::{AuthConfig, AuthType, CredentialsIn, RotationConfig, secret_reference};
use crate::component::RunInfo;
use crate::error::{Error, Result};
use crate::http::address::{service_url, shown};
use crate::http::auth::jwt::JwtGrant;
use crate::http::auth::provider::{BodyForm, Grant, TokenEndpoint, TokenProvider};
use crate::http::auth::response::KeyPath;
use crate::http::auth::rotation::{RefreshTokens, Rotation};
use crate::http::auth::saml::{self, SamlGrant};
use crate::http::auth::signing::SigningKey;
use crate::http::auth::{Authenticator, MIN_SECRET, Scheme, SharedTokens, basic, jwt, pem, secret_header};
use crate::http::settings::TextOrSecret;
use crate::secret::{Secret, SecretFiles, SecretRef};
use crate::settings::BoundedDuration;
use crate::settings::bounded::MINUTE;

/// How long a token is used if the answer does not say.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);
/// Sent if the user name is the key, and the service accepts any password.
const ANY_PASSWORD: &str = "x";

impl AuthConfig {
    /// Reads the secrets and builds the authenticator. Sends nothing yet.
    ///
    /// `client` is the one of the data requests, so that its certificate applies to tokens too. Equal settings in the
    /// same run share their tokens, if `way` is equal, which stands for everything that distinguishes `client`.
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
                let (endpoint, grant) = TokenRequest::build(self, run, client)?;
                let secrets = endpoint.secrets.clone();
                let tokens = run.services.get_or_default::<SharedTokens>();
                let key = format!("{way}\n{self:?}");
                let provider = tokens.get(key, TokenProvider::new(endpoint, grant));
                Ok(Authenticator::new(Scheme::Token(provider), secrets))
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
        let password = self.password.as_ref().map(|password| read(password, run));
        let password = password.transpose()?;
        let sent = password.as_ref().map_or(ANY_PASSWORD, Secret::expose);
        let encoded = basic(username.expose(), sent);
        let value = format!("Basic {}", encoded.expose());
        let mut secrets: Vec<Secret> = password.into_iter().chain([encoded]).collect();
        if reference.text().is_none() {
            secrets.push(username);
        }
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
}

struct TokenRequest<'r> {
    config: &'r AuthConfig,
    run: &'r RunInfo,
    endpoint: TokenEndpoint,
}

impl<'r> TokenRequest<'r> {
    fn build(
        config: &'r AuthConfig,
        run: &'r RunInfo,
        client: &reqwest::Client,
    ) -> Result<(TokenEndpoint, Grant)> {
        let url = service_url(need(&config.token_url, "token_url")?)
            .map_err(|problem| Error::config(format!("`token_url`: {problem}")))?;
        let token_path = config.token_path.as_deref().map(KeyPath::parse).transpose();
        let token_path = token_path.map_err(|problem| Error::config(format!("`token_path`: {problem}")))?;
        let mut request = Self {
            config,
            run,
            endpoint: TokenEndpoint {
                client: client.clone(),
                url,
                headers: HeaderMap::new(),
                fields: Vec::new(),
                json: Map::new(),
                body: config.body.unwrap_or_default(),
                token_path: token_path.unwrap_or_default(),
                default_lifetime: DEFAULT_LIFETIME,
                secrets: Vec::new(),
            },
        };
        let grant = request.grant()?;
        if let Some(scope) = &config.scope {
            request.field("scope", Secret::new(scope.as_str()));
        }
        request.headers()?;
        for (name, value) in config.parameters.iter().flatten() {
            match (request.endpoint.body, request.resolve(value)?) {
                (BodyForm::Json, value) => {
                    request.endpoint.json.insert(name.clone(), value);
                }
                (BodyForm::Form, Value::String(text)) => request.field(name, Secret::new(text)),
                (BodyForm::Form, _) => {
                    return Err(Error::config(format!("`parameters.{name}` is not a text")));
                }
            }
        }
        let secrets = &mut request.endpoint.secrets;
        secrets.retain(|secret| secret.expose().len() >= MIN_SECRET);
        Ok((request.endpoint, grant))
    }

    /// Also puts its fields into the request.
    fn grant(&mut self) -> Result<Grant> {
        let config = self.config;
        let name = match config.kind {
            AuthType::RefreshToken => "refresh_token",
            AuthType::Password => "password",
            AuthType::JwtBearer => jwt::GRANT_TYPE,
            AuthType::SamlBearer => saml::GRANT_TYPE,
            _ => "client_credentials",
        };
        self.field("grant_type", Secret::new(name));
        self.client_credentials()?;
        match config.kind {
            AuthType::RefreshToken => self.refresh_tokens(),
            AuthType::Password => {
                let username = self.text_or_secret(need(&config.username, "username")?)?;
                self.field("username", username);
                let password = self.secret(need(&config.password, "password")?)?;
                self.field("password", password);
                Ok(Grant::Fields)
            }
            AuthType::JwtBearer => self.jwt(),
            AuthType::SamlBearer => {
                if let Some(company) = &config.company_id {
                    self.field("company_id", Secret::new(company.as_str()));
                }
                self.saml()
            }
            _ => Ok(Grant::Fields),
        }
    }

    fn client_credentials(&mut self) -> Result<()> {
        let config = self.config;
        let Some(id) = &config.client_id else {
            return Ok(());
        };
        let id = self.text_or_secret(id)?;
        let secret = config.client_secret.as_ref().map(|secret| self.secret(secret));
        let secret = secret.transpose()?;
        match config.credentials.unwrap_or_default() {
            CredentialsIn::Body => {
                self.field("client_id", id);
                if let Some(secret) = secret {
                    self.field("client_secret", secret);
                }
            }
            CredentialsIn::BasicHeader => {
                let form =
                    |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let password = secret.as_ref().map_or("", Secret::expose);
                let encoded = basic(&form(id.expose()), &form(password));
                let value = secret_header(&format!("Basic {}", encoded.expose()))
                    .map_err(|()| Error::unexpected("Base64 is invalid in a header"))?;
                self.endpoint.headers.insert(AUTHORIZATION, value);
                self.endpoint.secrets.push(encoded);
            }
        }
        Ok(())
    }

    fn refresh_tokens(&self) -> Result<Grant> {
        let (config, run) = (self.config, self.run);
        let token = read(need(&config.refresh_token, "refresh_token")?, run)?;
        let client_id = text(need(&config.client_id, "client_id")?, run)?;
        let rotation = match &config.rotation {
            None => Rotation::InMemory,
            Some(RotationConfig::Ignore) => Rotation::Ignored,
            Some(RotationConfig::File(path)) => Rotation::File(run.base.join(path), SecretFiles::of(run)),
        };
        let context = format!("{}\0{client_id}", shown(&self.endpoint.url));
        let tokens = RefreshTokens::new(token, context, rotation);
        Ok(Grant::Refresh(Arc::new(tokens)))
    }

    fn jwt(&self) -> Result<Grant> {
        let (config, run) = (self.config, self.run);
        let audience = config.audience.as_ref().or(config.token_url.as_ref());
        Ok(Grant::Jwt(JwtGrant {
            issuer: text(need(&config.issuer, "issuer")?, run)?,
            subject: text(need(&config.subject, "subject")?, run)?,
            audience: audience.cloned().unwrap_or_default(),
            lifetime: self.lifetime(),
            claims: config.claims.clone().unwrap_or_default(),
            key_id: config.key_id.clone(),
            key: self.signing_key()?,
        }))
    }

    fn saml(&self) -> Result<Grant> {
        let (config, run) = (self.config, self.run);
        let certificate = config.certificate.as_ref().map(|reference| {
            let (_, mut chain) = pem::certificates(&read(reference, run)?, "`certificate`")?;
            Ok::<_, Error>(chain.swap_remove(0).to_vec())
        });
        let issuer = config.issuer.as_ref().or(config.client_id.as_ref());
        let recipient = config.recipient.as_ref().or(config.token_url.as_ref());
        let attributes = config.attributes.iter().flatten();
        Ok(Grant::Saml(SamlGrant {
            issuer: issuer
                .map(|issuer| text(issuer, run))
                .transpose()?
                .unwrap_or_default(),
            subject: text(need(&config.subject, "subject")?, run)?,
            audience: need(&config.audience, "audience")?.clone(),
            recipient: recipient.cloned().unwrap_or_default(),
            attributes: attributes
                .map(|(name, value)| Ok((name.clone(), text(value, run)?)))
                .collect::<Result<_>>()?,
            lifetime: self.lifetime(),
            key: self.signing_key()?,
            certificate: certificate.transpose()?,
        }))
    }

    fn lifetime(&self) -> Duration {
        let lifetime = self.config.lifetime;
        lifetime.unwrap_or(BoundedDuration::new(5 * MINUTE)).get()
    }

    fn signing_key(&self) -> Result<SigningKey> {
        let pem = read(need(&self.config.private_key, "private_key")?, self.run)?;
        SigningKey::from_pem(&pem, "`private_key`")
    }

    fn headers(&mut self) -> Result<()> {
        for (name, value) in self.config.headers.iter().flatten() {
            let read = self.text_or_secret(value)?;
            let header = match value {
                TextOrSecret::Text(text) => HeaderValue::from_str(text).map_err(|_| ()),
                TextOrSecret::Secret(_) => secret_header(read.expose()),
            };
            let header = header.map_err(|()| invalid(&format!("`headers.{name}`")))?;
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Error::config(format!("`{name}` is not a valid header name")))?;
            self.endpoint.headers.insert(name, header);
        }
        Ok(())
    }

    fn field(&mut self, name: &str, value: Secret) {
        self.endpoint.fields.push((name.to_owned(), value));
    }

    /// Reads a secret that must not be shown.
    fn secret(&mut self, reference: &SecretRef) -> Result<Secret> {
        let secret = read(reference, self.run)?;
        self.endpoint.secrets.push(secret.clone());
        Ok(secret)
    }

    fn text_or_secret(&mut self, value: &TextOrSecret) -> Result<Secret> {
        match value {
            TextOrSecret::Text(text) => Ok(Secret::new(text.as_str())),
            TextOrSecret::Secret(reference) => self.secret(reference),
        }
    }

    /// The value with each `{env: NAME}` and `{file: PATH}` replaced by the secret.
    fn resolve(&mut self, value: &Value) -> Result<Value> {
        if let Some(reference) = secret_reference(value) {
            return Ok(Value::from(self.secret(&reference)?.expose()));
        }
        Ok(match value {
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), self.resolve(value)?)))
                    .collect::<Result<_>>()?,
            ),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.resolve(item));
                Value::Array(items.collect::<Result<_>>()?)
            }
            other => other.clone(),
        })
    }
}

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
