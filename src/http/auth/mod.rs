//! Credentials for requests: access tokens from token endpoints, signed assertions, refresh-token rotation.

pub(crate) mod jwt;
pub(crate) mod oauth_error;
pub(crate) mod pem;
pub(crate) mod provider;
pub(crate) mod rotation;
pub(crate) mod saml;
pub(crate) mod shared;
pub(crate) mod signing;
pub(crate) mod token_cache;
