//! Proves to a service who is asking.
//!
//! [`AuthConfig`] is what stands in the pipeline file; `AuthConfig::validate` looks at it without the network and
//! without reading secrets, `AuthConfig::build` reads them and makes an `Authenticator`. That one adds to each
//! request what the service wants to see: a header, a query parameter, a token that it asks for when there is none or
//! when the one there is runs out.
//!
//! A 401 renews a token at most once in a while (`Authenticator::refused`): services that answer 401 for a single
//! record, or that block an address after some of them, must not be asked for tokens over and over. A refusal of the
//! token endpoint itself is final for the run: accounts lock.
//!
//! No secret is in an error, a log line or a `Debug` output; the query of a URL, which may hold a key, is in none either.

mod build;
mod config;
mod failure;
mod validate;
mod value;

pub use crate::http::auth::settings::TextOrSecret;
pub use config::{
    ApiKey, AssertionEncoding, AuthConfig, Basic, Bearer, BodyKind, ClientCredentials, CredentialsPlace,
    JwtAlgorithm, JwtBearer, Password, RefreshToken, RotationConfig, SamlBearer, TokenAnswer,
};
pub(crate) use failure::error as token_error;

#[cfg(test)]
mod tests;
