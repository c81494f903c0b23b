//! Reads the secrets and makes the authenticator.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;

use super::TextOrSecret;
use super::config::{
    ApiKey, AssertionEncoding, AuthConfig, Basic, BodyKind, ClientCredentials, CredentialsPlace,
    JwtAlgorithm, JwtBearer, Password, RefreshToken, RotationConfig, SamlBearer, TokenAnswer, TokenRequest,
};
use super::value::{read, resolve};
use crate::component::RunInfo;
use crate::error::{Error, Result};
use crate::http::address::{service_url, shown};
use crate::http::auth::jwt::JwtGrant;
use crate::http::auth::provider::{BodyForm, Grant, TokenEndpoint, TokenProvider};
use crate::http::auth::response::{KeyPath, TokenPaths};
use crate::http::auth::rotation::{RefreshTokens, Rotation};
use crate::http::auth::saml::{self, Encoding, SamlGrant};
use crate::http::auth::signing::{Algorithm, SigningKey};
use crate::http::auth::{Authenticator, MIN_SECRET, Scheme, basic, jwt, pem, secret_header};
use crate::secret::{Secret, SecretRef};

impl AuthConfig {
    /// Reads the secrets and makes the authenticator. Sends nothing yet.
    ///
    /// `client` is the one of the data requests, so that its certificate counts for tokens, too; Whoever builds the same settings for the same run and `way` (what makes `client` another one) gets
    /// the same tokens; the client and the policy of the first then ask for them.
    ///
    /// # Errors
    /// A secret cannot be read, or cannot be what it is given as.
    pub(crate) fn build(&self, run: &RunInfo, client: &reqwest::Client, way: &str) -> Result<Authenticator> {
        let builder = Builder {
            run,
            client,
            key: format!("{way}\n{self:?}"),
        };
        match self {
            Self::None {} => Ok(Authenticator::new(Scheme::None, Vec::new())),
            Self::Basic(basic) => builder.basic(basic),
            Self::Bearer(bearer) => {
                let token = read(&bearer.token, run)?;
                let value = format!("Bearer {}", token.expose());
                header("`token`", AUTHORIZATION, &value, vec![token])
            }
            Self::ApiKey(key) => builder.api_key(key),
            Self::ClientCredentials(config) => builder.client_credentials(config),
            Self::RefreshToken(config) => builder.refresh_token(config),
            Self::Password(config) => builder.password(config),
            Self::JwtBearer(config) => builder.jwt(config),
            Self::SamlBearer(config) => builder.saml(config),
        }
    }
}

struct Builder<'a> {
    run: &'a RunInfo,
    client: &'a reqwest::Client,
    /// All that makes two ways to sign in the same. Secrets are in it by the names of their places.
    key: String,
}

/// A request for tokens as it is put together.
struct Draft {
    headers: HeaderMap,
    fields: Vec<(String, Secret)>,
    /// What must not be shown.
    secrets: Vec<Secret>,
}

impl Draft {
    fn new(grant_type: &str) -> Self {
        let mut draft = Self {
            headers: HeaderMap::new(),
            fields: Vec::new(),
            secrets: Vec::new(),
        };
        draft.plain("grant_type", grant_type);
        draft
    }

    fn plain(&mut self, name: &str, value: &str) {
        self.fields.push((name.to_owned(), Secret::new(value)));
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.plain(name, value);
        }
    }

    fn secret(&mut self, name: &str, value: Secret) {
        self.secrets.push(value.clone());
        self.fields.push((name.to_owned(), value));
    }

    /// Text or secret.
    fn either(&mut self, name: &str, value: &TextOrSecret, run: &RunInfo) -> Result<()> {
        let read = value.read(&run.base, &run.secret_files)?;
        match value {
            TextOrSecret::Text(_) => self.fields.push((name.to_owned(), read)),
            TextOrSecret::Secret(_) => self.secret(name, read),
        }
        Ok(())
    }

    /// The application's id and secret.
    fn client(
        &mut self,
        id: &TextOrSecret,
        secret: Option<&SecretRef>,
        place: CredentialsPlace,
        run: &RunInfo,
    ) -> Result<()> {
        let secret = secret.map(|secret| read(secret, run)).transpose()?;
        match place {
            CredentialsPlace::Body => {
                self.either("client_id", id, run)?;
                if let Some(secret) = secret {
                    self.secret("client_secret", secret);
                }
            }
            CredentialsPlace::BasicHeader => {
                let form =
                    |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let id_read = id.read(&run.base, &run.secret_files)?;
                let password = secret.as_ref().map_or("", Secret::expose);
                let encoded = basic(&form(id_read.expose()), &form(password));
                let value = secret_header(&format!("Basic {}", encoded.expose()))
                    .map_err(|()| Error::unexpected("Base64 cannot go into a header"))?;
                self.headers.insert(AUTHORIZATION, value);
                self.secrets.push(encoded);
                self.secrets.extend(secret);
                if id.text().is_none() {
                    self.secrets.push(id_read);
                }
            }
        }
        Ok(())
    }
}

impl Builder<'_> {
    fn basic(&self, config: &Basic) -> Result<Authenticator> {
        let username = config.username.read(&self.run.base, &self.run.secret_files)?;
        if username.expose().contains(':') {
            return Err(Error::config("the user name of HTTP Basic must not hold a colon"));
        }
        let mut secrets = Vec::new();
        let password = match (&config.password, &config.placeholder_password) {
            (Some(reference), None) => {
                let password = read(reference, self.run)?;
                secrets.push(password.clone());
                password
            }
            (None, Some(text)) => Secret::new(text.as_str()),
            _ => return Err(Error::config("give either `password` or `placeholder_password`")),
        };
        let encoded = basic(username.expose(), password.expose());
        if config.username.text().is_none() {
            secrets.push(username);
        }
        let value = format!("Basic {}", encoded.expose());
        secrets.push(encoded);
        header("`username`", AUTHORIZATION, &value, secrets)
    }

    fn api_key(&self, config: &ApiKey) -> Result<Authenticator> {
        let key = read(&config.value, self.run)?;
        match (&config.header, &config.query) {
            (Some(name), None) => {
                let name = header_name(name)?;
                let value = format!("{}{}", config.prefix.as_deref().unwrap_or_default(), key.expose());
                header("`value`", name, &value, vec![key])
            }
            (None, Some(name)) => {
                let scheme = Scheme::Query {
                    name: name.clone(),
                    value: key.clone(),
                };
                Ok(Authenticator::new(scheme, vec![key]))
            }
            _ => Err(Error::config("give either `header` or `query`")),
        }
    }

    fn client_credentials(&self, config: &ClientCredentials) -> Result<Authenticator> {
        let mut draft = Draft::new("client_credentials");
        draft.client(
            &config.client_id,
            Some(&config.client_secret),
            config.credentials,
            self.run,
        )?;
        draft.optional("scope", config.scope.as_deref());
        self.finish(draft, &config.request(), |_| Ok(Grant::Fields))
    }

    fn refresh_token(&self, config: &RefreshToken) -> Result<Authenticator> {
        let mut draft = Draft::new("refresh_token");
        draft.client(
            &config.client_id,
            config.client_secret.as_ref(),
            config.credentials,
            self.run,
        )?;
        draft.optional("scope", config.scope.as_deref());
        let token = read(&config.refresh_token, self.run)?;
        let client_id = config.client_id.read(&self.run.base, &self.run.secret_files)?;
        let rotation = match &config.rotation {
            None => Rotation::InMemory,
            Some(RotationConfig::Ignore) => Rotation::Ignored,
            Some(RotationConfig::File(path)) => {
                Rotation::File(self.run.base.join(path), self.run.secret_files.clone())
            }
        };
        self.finish(draft, &config.request(), |url| {
            let context = format!("{}\0{}", shown(url), client_id.expose());
            Ok(Grant::Refresh(Arc::new(RefreshTokens::new(
                token, context, rotation,
            ))))
        })
    }

    fn password(&self, config: &Password) -> Result<Authenticator> {
        let mut draft = Draft::new("password");
        if let Some(id) = &config.client_id {
            draft.client(id, config.client_secret.as_ref(), config.credentials, self.run)?;
        }
        draft.either("username", &config.username, self.run)?;
        draft.secret("password", read(&config.password, self.run)?);
        draft.optional("scope", config.scope.as_deref());
        self.finish(draft, &config.request(), |_| Ok(Grant::Fields))
    }

    fn jwt(&self, config: &JwtBearer) -> Result<Authenticator> {
        let mut draft = Draft::new(jwt::GRANT_TYPE);
        if let Some(id) = &config.client_id {
            draft.either("client_id", id, self.run)?;
        }
        draft.optional("scope", config.scope.as_deref());
        let algorithm = match config.algorithm {
            JwtAlgorithm::Rs256 => Algorithm::Rs256,
            JwtAlgorithm::Es256 => Algorithm::Es256,
        };
        let key = self.signing_key(&config.private_key, algorithm)?;
        let issuer = config.issuer.read(&self.run.base, &self.run.secret_files)?;
        let subject = config.subject.read(&self.run.base, &self.run.secret_files)?;
        self.finish(draft, &config.request(), |_| {
            Ok(Grant::Jwt(JwtGrant {
                issuer: issuer.expose().to_owned(),
                subject: subject.expose().to_owned(),
                audience: config
                    .audience
                    .clone()
                    .unwrap_or_else(|| config.token_url.clone()),
                lifetime: config.lifetime.0,
                claims: config.claims.clone(),
                key_id: config.key_id.clone(),
                key,
            }))
        })
    }

    fn saml(&self, config: &SamlBearer) -> Result<Authenticator> {
        let mut draft = Draft::new(saml::GRANT_TYPE);
        draft.either("client_id", &config.client_id, self.run)?;
        draft.optional("company_id", config.company_id.as_deref());
        let key = self.signing_key(&config.private_key, Algorithm::Rs256)?;
        let certificate = config
            .certificate
            .as_ref()
            .map(|reference| {
                let text = read(reference, self.run)?;
                let mut chain = pem::certificates(&text).map_err(|error| {
                    Error::config(format!("`certificate` {error}")).with_hint(error.hint())
                })?;
                Ok::<_, Error>(chain.swap_remove(0).to_vec())
            })
            .transpose()?;
        let issuer = match &config.issuer {
            Some(issuer) => issuer.clone(),
            None => config
                .client_id
                .read(&self.run.base, &self.run.secret_files)?
                .expose()
                .to_owned(),
        };
        let subject = config.subject.read(&self.run.base, &self.run.secret_files)?;
        let attributes = config
            .attributes
            .iter()
            .map(|(name, value)| {
                Ok((
                    name.clone(),
                    value
                        .read(&self.run.base, &self.run.secret_files)?
                        .expose()
                        .to_owned(),
                ))
            })
            .collect::<Result<_>>()?;
        self.finish(draft, &config.request(), |_| {
            let or =
                |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.to_owned());
            Ok(Grant::Saml(SamlGrant {
                issuer,
                subject: subject.expose().to_owned(),
                name_id_format: or(&config.name_id_format, saml::UNSPECIFIED),
                audience: config.audience.clone(),
                recipient: or(&config.recipient, &config.token_url),
                authn_context: or(&config.authn_context, saml::AUTHN_UNSPECIFIED),
                attributes,
                lifetime: config.lifetime.0,
                encoding: match config.encoding {
                    AssertionEncoding::Base64 => Encoding::Base64,
                    AssertionEncoding::Base64url => Encoding::Base64Url,
                },
                key,
                certificate,
            }))
        })
    }

    fn signing_key(&self, reference: &SecretRef, algorithm: Algorithm) -> Result<SigningKey> {
        let text = read(reference, self.run)?;
        SigningKey::from_pem(&text, algorithm)
            .map_err(|error| Error::config(format!("`private_key` {error}")).with_hint(error.hint()))
    }

    /// Adds what all kinds have in common.
    fn finish(
        &self,
        mut draft: Draft,
        request: &TokenRequest<'_>,
        grant: impl FnOnce(&url::Url) -> Result<Grant>,
    ) -> Result<Authenticator> {
        let url = service_url(request.token_url)
            .map_err(|problem| Error::config(format!("`token_url`: {problem}")))?;
        for (name, value) in request.form {
            draft.either(name, value, self.run)?;
        }
        for (name, value) in request.headers {
            let text = value.read(&self.run.base, &self.run.secret_files)?;
            let header = match value {
                TextOrSecret::Text(text) => HeaderValue::from_str(text).map_err(|_| ()),
                TextOrSecret::Secret(_) => secret_header(text.expose()),
            }
            .map_err(|()| unfit(&format!("`headers.{name}`")))?;
            draft.headers.insert(header_name(name)?, header);
            if value.text().is_none() {
                draft.secrets.push(text);
            }
        }
        let json = resolve(request.json, self.run, &mut draft.secrets)?;
        draft.secrets.retain(|secret| secret.expose().len() >= MIN_SECRET);
        let grant = grant(&url)?;
        let endpoint = TokenEndpoint {
            client: self.client.clone(),
            url,
            headers: draft.headers,
            fields: draft.fields,
            json,
            form: match request.body {
                BodyKind::Form => BodyForm::Form,
                BodyKind::Json => BodyForm::Json,
            },
            paths: request.response.paths()?,
            secrets: draft.secrets.clone(),
        };
        let provider = TokenProvider::new(endpoint, grant);
        Ok(Authenticator::new(
            Scheme::Token(self.run.services.tokens.get(self.key.clone(), provider)),
            draft.secrets,
        ))
    }
}

impl TokenAnswer {
    pub(super) fn paths(&self) -> Result<TokenPaths> {
        let path = |text: &str| {
            KeyPath::parse(text).map_err(|problem| Error::config(format!("`response`: {problem}")))
        };
        Ok(TokenPaths {
            access_token: path(&self.access_token)?,
            expires_in: path(&self.expires_in)?,
            refresh_token: path(&self.refresh_token)?,
            default_lifetime: self.default_lifetime.0,
        })
    }
}

/// An authenticator that sets one header.
fn header(setting: &str, name: HeaderName, value: &str, secrets: Vec<Secret>) -> Result<Authenticator> {
    let value = secret_header(value).map_err(|()| unfit(setting))?;
    Ok(Authenticator::new(Scheme::Header { name, value }, secrets))
}

fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Error::config(format!("`{name}` cannot be the name of a header")))
}

fn unfit(setting: &str) -> Error {
    Error::config(format!(
        "{setting} holds a character that cannot stand in a header, such as a line break"
    ))
    .with_hint("look for a line break within the secret")
}
