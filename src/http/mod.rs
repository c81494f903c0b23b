//! HTTP to services that can fail.
//!
//! [`client`] sends requests: credentials, rate limit, one renewal of a refused token, retries. Below it, `transport`
//! makes the connection and classifies how an exchange ended, `retry` is the one retry loop, and `auth` proves who is
//! calling. `redact` cleans every text of a service before anyone sees it; `link` follows the links to the next page;
//! `settings` are the shapes that all components share.
//!
//! Nothing here knows what is sent. No secret and no payload is part of an error, a log line or a `Debug` output.

pub(crate) mod address;
pub(crate) mod auth;
pub(crate) mod client;
pub(crate) mod link;
pub(crate) mod rate_limit;
pub(crate) mod redact;
pub(crate) mod retry;
pub(crate) mod retry_after;
pub(crate) mod settings;
pub(crate) mod tls;
pub(crate) mod transport;
