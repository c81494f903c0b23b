//! How requests authenticate.
//!
//! [`AuthConfig::validate`] checks the settings without network and secrets; [`AuthConfig::build`] reads the secrets and
//! builds an `http::auth::Authenticator`, which adds a header, a query parameter or a token to each request.
//!
//! No secret is in an error, a log line or a `Debug` output, nor is the query of a URL, which may hold a key.

mod build;
mod config;
mod failure;

pub(crate) use config::AuthConfig;
pub(crate) use failure::error as token_error;

#[cfg(test)]
mod tests;
