//! Adds to requests what proves who is asking.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::failure;
use crate::error::{Error, Result};
use crate::http::auth::provider::Grant;
use crate::http::auth::shared::{Renewals, Tokens};
use crate::http::auth::token_cache::Token;
use crate::secret::Secret;

/// After a token was renewed because it was refused, another refusal renews none for so long.
pub(super) const RENEWALS_APART: Duration = Duration::from_secs(5 * 60);

/// Secrets below this length are none, and hiding them would hide half of every text.
pub(super) const SHORTEST_SECRET: usize = 4;

/// Adds to requests what proves who is asking. Shared by reference or in an [`Arc`].
pub(crate) struct Authenticator {
    scheme: Scheme,
    secrets: Vec<Secret>,
}

pub(super) enum Scheme {
    Nothing,
    Header { name: HeaderName, value: HeaderValue },
    Query { name: String, value: Secret },
    Token(Arc<Tokens>),
}

/// What was added to a request.
#[derive(Debug)]
pub(crate) struct Granted {
    token: Option<Arc<Token>>,
    /// How many renewals there had been.
    renewals: u64,
}

impl Granted {
    /// The token, where there is one: must not be shown.
    pub(crate) fn secret(&self) -> Option<&Secret> {
        self.token.as_ref().map(|token| token.secret())
    }
}

impl Authenticator {
    pub(super) fn new(scheme: Scheme, secrets: Vec<Secret>) -> Self {
        Self { scheme, secrets }
    }

    /// Adds what proves who we are to a request about to be sent; asks for a token when there is none that holds.
    ///
    /// To be called for each attempt. Asking for a token is tried again by itself when the cause passes; requests that
    /// wait for one share it.
    ///
    /// # Errors
    /// There is no token: what was asked where, what came back, and what to do about it.
    pub(crate) async fn authorize(&self, request: &mut reqwest::Request) -> Result<Granted> {
        let mut granted = Granted {
            token: None,
            renewals: 0,
        };
        match &self.scheme {
            Scheme::Nothing => {}
            Scheme::Header { name, value } => {
                request.headers_mut().insert(name.clone(), value.clone());
            }
            Scheme::Query { name, value } => {
                // A link that the service gave may hold the key already, and is followed as it stands.
                if !request.url().query_pairs().any(|(known, _)| known == **name) {
                    request
                        .url_mut()
                        .query_pairs_mut()
                        .append_pair(name, value.expose());
                }
            }
            Scheme::Token(tokens) => {
                granted.renewals = tokens.renewals().count;
                let token = tokens
                    .cache
                    .get()
                    .await
                    .map_err(|failure| failure::error(tokens.cache.provider(), &failure))?;
                let value = secret_header(&format!("Bearer {}", token.secret().expose()))
                    .map_err(|()| Error::unexpected("the access token cannot go into a header"))?;
                request.headers_mut().insert(AUTHORIZATION, value);
                granted.token = Some(token);
            }
        }
        Ok(granted)
    }

    /// The service refused what `granted` added (401): whether it is worth one more attempt with a renewed token.
    ///
    /// It is not when a token was renewed for that reason less than five minutes ago and is refused, too: then it is
    /// not the token. Without a token it never is.
    pub(crate) fn refused(&self, granted: &Granted) -> bool {
        let (Scheme::Token(tokens), Some(token)) = (&self.scheme, &granted.token) else {
            return false;
        };
        let mut renewals = tokens.renewals();
        if granted.renewals < renewals.count {
            // Another request was refused before and has had it renewed.
            return true;
        }
        let now = Instant::now();
        if renewals.last.is_some_and(|last| now - last < RENEWALS_APART) {
            return false;
        }
        *renewals = Renewals {
            count: renewals.count + 1,
            last: Some(now),
        };
        tokens.cache.invalidate(token);
        tracing::info!("the service refused the access token; asking for a new one");
        true
    }

    /// What must never be shown, whatever the other side echoes: for
    /// [`Redactor`](crate::http::redact::Redactor). Holds the token held at this moment; that of a request is in its
    /// [`Granted`].
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.secrets.clone();
        if let Scheme::Token(tokens) = &self.scheme {
            secrets.extend(tokens.cache.held().map(|token| token.secret().clone()));
            if let Grant::Refresh(refresh) = tokens.cache.provider().grant() {
                secrets.extend(refresh.secrets());
            }
        }
        secrets.retain(|secret| secret.expose().len() >= SHORTEST_SECRET);
        secrets
    }

    /// Waits until what was begun and must not be cut off has ended: the exchange of a refresh token. For the end of a
    /// run.
    pub(crate) async fn settle(&self) {
        if let Scheme::Token(tokens) = &self.scheme {
            tokens.cache.provider().settle().await;
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme {
            Scheme::Nothing => "Authenticator(nothing)",
            Scheme::Header { .. } => "Authenticator(header, hidden)",
            Scheme::Query { .. } => "Authenticator(query, hidden)",
            Scheme::Token(_) => "Authenticator(token, hidden)",
        })
    }
}

/// A value that `Debug` does not show and that is not kept in HTTP/2's tables.
pub(super) fn secret_header(text: &str) -> std::result::Result<HeaderValue, ()> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}
