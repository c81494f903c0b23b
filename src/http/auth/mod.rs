//! Proves to a service who is calling: headers, API keys and access tokens.
//!
//! [`Authenticator`] adds credentials to a request. Access tokens come from the one [`TokenProvider`], which caches them
//! and knows the OAuth 2.0 grants, signed assertions, and Microsoft Entra ID as a preset.

mod cache;
pub(crate) mod jwt;
pub(crate) mod pem;
pub(crate) mod provider;
pub(crate) mod response;
pub(crate) mod rotation;
pub(crate) mod saml;
pub(crate) mod signing;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

use self::cache::Token;
use self::provider::{Grant, TokenProvider};
pub(crate) use self::response::TokenError;
use crate::error::Error;
use crate::secret::Secret;

/// Shorter secrets are not hidden in texts: that would hide half of every text.
pub(crate) const MIN_SECRET: usize = 4;

pub(crate) enum Scheme {
    None,
    Header { name: HeaderName, value: HeaderValue },
    Query { name: String, value: Secret },
    Token(Arc<TokenProvider>),
}

/// Adds credentials to requests. Shared by reference or in an [`Arc`].
pub(crate) struct Authenticator {
    scheme: Scheme,
    secrets: Vec<Secret>,
}

/// The credentials that a request carries. Cheap to clone; `Debug` shows nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials(Option<Arc<Token>>);

impl Authenticator {
    /// `secrets` are never to be shown, whatever a service echoes.
    pub(crate) fn new(scheme: Scheme, secrets: Vec<Secret>) -> Self {
        Self { scheme, secrets }
    }

    /// Adds credentials to a request that is about to be sent; requests a token if none is valid. Call it for every
    /// attempt.
    pub(crate) async fn authorize(
        &self,
        request: &mut reqwest::Request,
    ) -> Result<Credentials, Arc<TokenError>> {
        match &self.scheme {
            Scheme::None => {}
            Scheme::Header { name, value } => {
                request.headers_mut().insert(name.clone(), value.clone());
            }
            Scheme::Query { name, value } => {
                // A link that the service returned may hold the key already, and is followed verbatim.
                if !request.url().query_pairs().any(|(known, _)| known == **name) {
                    let url = request.url_mut();
                    url.query_pairs_mut().append_pair(name, value.expose());
                }
            }
            Scheme::Token(provider) => {
                let token = provider.token().await?;
                let value = secret_header(&format!("Bearer {}", token.secret.expose())).map_err(|()| {
                    TokenError::from(Error::unexpected(
                        "the access token contains characters not allowed in a header",
                    ))
                })?;
                request.headers_mut().insert(AUTHORIZATION, value);
                return Ok(Credentials(Some(token)));
            }
        }
        Ok(Credentials::default())
    }

    /// The service rejected these credentials (401): whether one more attempt with a new token is worthwhile. It is not
    /// without a token, nor if a token was renewed for this reason within the last five minutes.
    pub(crate) fn renew(&self, rejected: &Credentials) -> bool {
        match (&self.scheme, &rejected.0) {
            (Scheme::Token(provider), Some(token)) => provider.cache.renew(token),
            _ => false,
        }
    }

    pub(crate) fn provider(&self) -> Option<&TokenProvider> {
        match &self.scheme {
            Scheme::Token(provider) => Some(provider),
            _ => None,
        }
    }

    /// What must never be shown, for [`Redactor`](super::redact::Redactor): with the token that is cached now, and that
    /// of a request.
    pub(crate) fn secrets(&self, request: &Credentials) -> Vec<Secret> {
        let mut secrets = self.secrets.clone();
        secrets.extend(request.0.as_deref().map(|token| token.secret.clone()));
        if let Scheme::Token(provider) = &self.scheme {
            secrets.extend(provider.cache.cached().map(|token| token.secret.clone()));
            if let Grant::Refresh(refresh) = &provider.grant {
                secrets.extend(refresh.secrets());
            }
        }
        secrets.retain(|secret| secret.expose().len() >= MIN_SECRET);
        secrets
    }

    /// Waits until no exchange of a refresh token is running. Call it at the end of a run.
    pub(crate) async fn finish(&self) {
        if let Some(provider) = self.provider() {
            provider.exchanges.close();
            provider.exchanges.wait().await;
            provider.exchanges.reopen();
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator(hidden)")
    }
}

/// A header value that `Debug` does not show.
pub(crate) fn secret_header(text: &str) -> Result<HeaderValue, ()> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The credentials of HTTP Basic, without the word `Basic`: a secret.
pub(crate) fn basic(username: &str, password: &str) -> Secret {
    Secret::new(STANDARD.encode(format!("{username}:{password}")))
}

/// The token providers of a run. Sources that sign in identically share one: a service may allow one token at a time,
/// or replace a refresh token with each use. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct SharedTokens(Arc<Mutex<HashMap<String, Arc<TokenProvider>>>>);

impl SharedTokens {
    /// The provider for `key`, which holds all that makes two sign-ins the same; `provider` if there is none.
    pub(crate) fn get(&self, key: String, provider: TokenProvider) -> Arc<TokenProvider> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key).or_insert_with(|| Arc::new(provider)))
    }
}

impl fmt::Debug for SharedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "SharedTokens({})", all.len())
    }
}
