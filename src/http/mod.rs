//! Talking HTTP to a service that can fail: parts that are each usable and testable alone.
//!
//! - [`transport`] makes the client and says how an exchange ended: the request never left, nobody knows, or there is
//!   an answer.
//! - [`backoff`] is the arithmetic of waiting.
//! - [`retry`] is the one loop that tries again, bounded by attempts and by time.
//! - [`token`] remembers a bearer token, renews it early and only once at a time.
//! - [`oauth2`] fetches one with OAuth 2.0 client credentials from Microsoft Entra ID, `grant` in any other way that
//!   services know, with assertions of `jwt` and `saml` signed by `signing`, and refresh tokens kept by
//!   `rotation`.
//! - `identity` is a client certificate.
//! - `pace` keeps to a service's limits, `wait` reads how long it asks to wait.
//! - `link` and `next_url` find the next page, and keep to the hosts that may be asked.
//!
//! Nothing here knows what is sent. What the other side wrote goes through [`text`] before anybody sees it. No secret
//! and no payload is ever part of an error, a log line or a `Debug` output.

pub(crate) mod address;
pub mod backoff;
pub(crate) mod diagnosis;
pub(crate) mod grant;
pub mod identity;
pub(crate) mod jwt;
pub(crate) mod link;
pub(crate) mod next_url;
pub mod oauth2;
pub(crate) mod pace;
pub(crate) mod pem;
pub mod retry;
pub(crate) mod rotation;
pub(crate) mod saml;
#[doc(hidden)]
pub mod scripted;
pub(crate) mod shared;
pub(crate) mod signing;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod token;
pub mod transport;
pub(crate) mod wait;

/// A setting that a constructor refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct InvalidSetting {
    /// The setting's name, such as `max_attempts`.
    pub field: &'static str,
    /// What is wrong with it: the range allowed and the value found.
    pub message: String,
}

impl InvalidSetting {
    pub(crate) fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
        }
    }
}

impl From<InvalidSetting> for crate::error::Error {
    fn from(invalid: InvalidSetting) -> Self {
        Self::config(invalid.to_string())
    }
}
