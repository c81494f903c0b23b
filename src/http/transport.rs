//! Makes the HTTP client, and says how an exchange ended.
//!
//! The client trusts the platform's certificate store (and one more file if asked), speaks TLS 1.2 or newer over
//! HTTP/1.1, follows no redirect (a redirect is an answer like any other, so a token never goes to another host) and
//! tries nothing again by itself: the only retry layer is [`retry`](super::retry). No body is read without a bound.
//!
//! rustls wants one cryptography provider for the process. [`TransportConfig::client`] sets ring as the process's
//! default if none is set; a program that prefers another sets it before.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};

use super::retry::{AttemptError, parse_retry_after};
use super::text::{Hidden, SHOWN, clean};
use crate::error::{Error, Result};

/// Most bytes of an answer's body that are read.
pub const MAX_BODY: usize = 64 * 1024;

/// How to reach the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportConfig {
    /// Longest time to resolve the name, connect and shake hands. Default: 30 s.
    pub connect_timeout: Duration,
    /// Longest time for a request from its begin to the end of the answer's body. Default: 400 s. When it runs out
    /// after the connection was made, nobody knows whether the request was taken: better long than short.
    pub request_timeout: Duration,
    /// A PEM file of certificates to trust besides the platform's: that of a TLS-inspecting proxy.
    pub extra_ca: Option<PathBuf>,
    /// Which proxy to use.
    pub proxy: Proxy,
    /// Connections kept open per host while idle. Default: 8.
    pub pool_max_idle_per_host: usize,
    /// Whether `https` will be asked for. Without, the platform's certificate store is not needed. Default: true.
    pub tls: bool,
}

/// Which proxy to use. `Debug` shows no URL, since that may hold credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum Proxy {
    /// What the system says: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, and the system settings on Windows and macOS.
    System,
    /// None.
    Direct,
    /// This one, for everything.
    Url(url::Url),
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Direct => "Direct",
            Self::Url(_) => "Url(hidden)",
        })
    }
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(400),
            extra_ca: None,
            proxy: Proxy::System,
            pool_max_idle_per_host: 8,
            tls: true,
        }
    }
}

impl TransportConfig {
    /// Makes the client.
    ///
    /// # Errors
    /// A time-out is zero, the certificate file cannot be read or holds no certificate, or the platform has no
    /// certificate store.
    pub fn client(&self) -> Result<reqwest::Client> {
        for (name, value) in [
            ("connect_timeout", self.connect_timeout),
            ("timeout", self.request_timeout),
        ] {
            if value.is_zero() {
                return Err(Error::config(format!("`{name}` must be more than zero")));
            }
        }
        install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("hrsink/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            .timeout(self.request_timeout)
            // Also the oldest that rustls has; said here so that no other build of it goes below.
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(self.pool_max_idle_per_host)
            // Well below what servers keep idle connections for: a request on a connection that the other side is
            // just closing ends with its outcome unknown.
            .pool_idle_timeout(Duration::from_secs(20));
        builder = match &self.proxy {
            Proxy::System => builder,
            Proxy::Direct => builder.no_proxy(),
            Proxy::Url(url) => builder.proxy(reqwest::Proxy::all(url.clone()).map_err(|error| {
                Error::config("cannot use the proxy given").with_source(Cause::of(error))
            })?),
        };
        let extra = self.extra_certificates()?;
        builder = match (self.tls, extra.is_empty()) {
            (false, _) => builder.tls_certs_only([]),
            (true, true) => builder,
            (true, false) => builder.tls_certs_merge(extra),
        };
        builder.build().map_err(|error| {
            Error::config("cannot set up TLS")
                .with_source(Cause::of(error))
                .with_hint("install the system's CA certificates (package `ca-certificates` on most Linux systems), or name a PEM file as the extra CA")
        })
    }

    fn extra_certificates(&self) -> Result<Vec<reqwest::Certificate>> {
        let Some(path) = &self.extra_ca else {
            return Ok(Vec::new());
        };
        let pem = std::fs::read(path).map_err(|error| {
            Error::config(format!("cannot read the CA file `{}`", path.display())).with_source(error)
        })?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| {
            Error::config(format!("cannot use the CA file `{}`", path.display()))
                .with_source(Cause::of(error))
        })?;
        if certificates.is_empty() {
            return Err(
                Error::config(format!("the CA file `{}` holds no certificate", path.display()))
                    .with_hint("it must be in PEM form, with a line `-----BEGIN CERTIFICATE-----`"),
            );
        }
        Ok(certificates)
    }
}

/// Makes ring the process's default provider of cryptography, unless one is set.
fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread was faster: then one is set, which is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// How an exchange ended, when not with a 2xx.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The request never left: nothing can have happened on the other side.
    NotSent {
        /// What failed.
        stage: Stage,
        /// Why.
        cause: Cause,
    },
    /// The other side's certificate is not trusted. Nothing was sent, and trying again does not help.
    Certificate(Cause),
    /// The request could not even be made. A bug, or a setting that cannot go into a request.
    Invalid(Cause),
    /// No answer came, or none that can be read, after the request may have been taken.
    Unknown {
        /// Whether the time ran out; else the connection ended or broke.
        timeout: bool,
        /// Why.
        cause: Cause,
    },
    /// An answer that is not a 2xx.
    Answer(Box<Answer>),
}

/// What failed before a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The host's name could not be resolved.
    Dns,
    /// The connection was refused, not possible, or took too long.
    Connect,
    /// The proxy would not connect.
    Proxy,
    /// Connected, but the TLS handshake failed for another reason than the certificate.
    Tls,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent {
                stage: Stage::Dns,
                cause,
            } => write!(f, "cannot resolve the host's name: {cause}"),
            Self::NotSent {
                stage: Stage::Connect,
                cause,
            } => write!(f, "cannot connect: {cause}"),
            Self::NotSent {
                stage: Stage::Proxy,
                cause,
            } => write!(f, "cannot connect through the proxy: {cause}"),
            Self::NotSent {
                stage: Stage::Tls,
                cause,
            } => write!(f, "the TLS handshake failed: {cause}"),
            Self::Certificate(cause) => write!(f, "the server's certificate is not trusted: {cause}"),
            Self::Invalid(cause) => write!(f, "the request cannot be made: {cause}"),
            Self::Unknown { timeout: true, .. } => f.write_str("no answer within the time allowed"),
            Self::Unknown {
                timeout: false,
                cause,
            } => write!(f, "the connection ended without an answer: {cause}"),
            Self::Answer(answer) => write!(f, "the answer was {}", answer.status_line()),
        }
    }
}

impl StdError for Failure {}

impl AttemptError for Failure {
    /// True for a timeout or a cut-off after sending began, and for 502 and 504: a gateway passed the request on and
    /// had no good answer, so the service behind it may have taken it.
    fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown { .. } => true,
            Self::Answer(answer) => matches!(answer.status.as_u16(), 502 | 504),
            Self::NotSent { .. } | Self::Certificate(_) | Self::Invalid(_) => false,
        }
    }
}

impl Failure {
    /// Whether the cause is one that passes: transport, 408, 429 and 5xx.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Unknown { .. } => true,
            Self::Certificate(_) | Self::Invalid(_) => false,
            Self::Answer(answer) => {
                matches!(answer.status.as_u16(), 408 | 429) || answer.status.is_server_error()
            }
        }
    }

    /// The answer, where there is one.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    /// Sorts an error of the client.
    pub fn of(error: reqwest::Error) -> Self {
        let timeout = error.is_timeout();
        let found = Found::in_chain(&error);
        let cause = Cause::of(error);
        if found.certificate {
            Self::Certificate(cause)
        } else if found.connect {
            let stage = if found.dns {
                Stage::Dns
            } else if found.tls {
                Stage::Tls
            } else if found.proxy {
                Stage::Proxy
            } else {
                Stage::Connect
            };
            Self::NotSent { stage, cause }
        } else if found.builder {
            Self::Invalid(cause)
        } else if found.canceled {
            Self::NotSent {
                stage: Stage::Connect,
                cause,
            }
        } else {
            Self::Unknown { timeout, cause }
        }
    }
}

/// What an error's chain holds.
#[derive(Default)]
struct Found {
    builder: bool,
    connect: bool,
    dns: bool,
    tls: bool,
    certificate: bool,
    proxy: bool,
    /// The request was queued for a connection that closed before it was written.
    canceled: bool,
}

impl Found {
    fn in_chain(error: &reqwest::Error) -> Self {
        let mut found = Self {
            builder: error.is_builder(),
            connect: error.is_connect(),
            dns: error.is_dns(),
            ..Self::default()
        };
        walk(error, &mut |error| {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                found.tls = true;
                found.certificate |= matches!(
                    error,
                    rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented
                );
            }
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                found.canceled |= error.is_canceled();
            }
            // The type is not to be had; this decides nothing but a hint.
            let text = error.to_string();
            found.proxy |= text.starts_with("tunnel error") || text.contains("proxy");
        });
        found
    }
}

/// Visits an error and its causes. An `io::Error` hides what it wraps from `source`, so that is looked into as well.
fn walk(error: &(dyn StdError + 'static), visit: &mut dyn FnMut(&(dyn StdError + 'static))) {
    let mut next = Some(error);
    while let Some(error) = next {
        visit(error);
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
}

/// Why an exchange failed, in words: the texts of the error chain without its general layers and without the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause(String);

impl Cause {
    fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut texts: Vec<String> = Vec::new();
        walk(&error, &mut |layer| {
            let text = clean(&layer.to_string(), SHOWN);
            let general = text.is_empty()
                || text == "error sending request"
                || text == "builder error"
                || text.starts_with("client error (");
            if !general {
                // A layer that repeats the text of the one below says nothing of its own.
                if let Some(last) = texts
                    .last_mut()
                    .filter(|last| last.ends_with(&text) || text.contains(last.as_str()))
                {
                    if text.len() > last.len() {
                        *last = text;
                    }
                } else {
                    texts.push(text);
                }
            }
        });
        if texts.is_empty() {
            return Self(clean(&error.to_string(), SHOWN));
        }
        Self(clean(&texts.join(": "), SHOWN))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}

/// An answer, read as far as it is allowed to be.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The status line's text where it is not the usual one, cleaned.
    pub reason: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Whether the body is whole: not cut at the bound, and not broken off.
    pub complete: bool,
}

impl Answer {
    /// `403 Forbidden`, with the reason phrase of the answer where it has one of its own.
    pub fn status_line(&self) -> String {
        match (&self.reason, self.status.canonical_reason()) {
            (Some(reason), _) => format!("{} {reason}", self.status.as_u16()),
            (None, Some(usual)) => format!("{} {usual}", self.status.as_u16()),
            (None, None) => self.status.as_u16().to_string(),
        }
    }

    /// What `Retry-After` asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        parse_retry_after(self.headers.get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
    }

    /// What the other side's clock says, to the second.
    pub fn date(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.headers.get(DATE)?.to_str().ok()?).ok()
    }

    /// Where a redirect leads: scheme and host only, since the rest may hold what is not to be shown. As it came.
    pub fn redirect_host(&self) -> Option<String> {
        if !self.status.is_redirection() {
            return None;
        }
        let url = url::Url::parse(self.headers.get(LOCATION)?.to_str().ok()?).ok()?;
        Some(url.origin().ascii_serialization())
    }
}

impl fmt::Debug for Answer {
    /// Without headers and body: a token's answer is one of these.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status.as_u16())
            .field("reason", &self.reason)
            .field("body_bytes", &self.body.len())
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}

/// Sends a request and reads the answer, at most `max_body` bytes of its body. A body that is cut or breaks off does
/// not undo the status: it is there as far as it came. What is
/// `hidden` does not show in the reason phrase; headers and body are as they came.
///
/// # Errors
/// Everything but a 2xx.
pub async fn exchange(
    client: &reqwest::Client,
    request: reqwest::Request,
    max_body: usize,
    hidden: Hidden<'_>,
) -> Result<Answer, Failure> {
    let response = client.execute(request).await.map_err(Failure::of)?;
    let status = response.status();
    let reason = response
        .extensions()
        .get::<hyper::ext::ReasonPhrase>()
        .map(|reason| hidden.show(reason.as_bytes(), SHOWN))
        .filter(|reason| !reason.is_empty());
    let headers = response.headers().clone();
    let (body, complete) = read_limited(response, max_body).await;
    let answer = Answer {
        status,
        reason,
        headers,
        body,
        complete,
    };
    if status.is_success() {
        Ok(answer)
    } else {
        Err(Failure::Answer(Box::new(answer)))
    }
}

/// Reads at most `max` bytes of a body. The second value says whether that is all of it.
pub async fn read_limited(mut response: reqwest::Response, max: usize) -> (Bytes, bool) {
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = max - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return (body.freeze(), false);
                }
            }
            Ok(None) => return (body.freeze(), true),
            Err(_) => return (body.freeze(), false),
        }
    }
}

/// Those of the headers `names` that are there, as `name: value`, without what is `hidden`.
pub fn shown_headers(headers: &HeaderMap, names: &[HeaderName], hidden: Hidden<'_>) -> Vec<String> {
    names
        .iter()
        .filter_map(|name| {
            let value = hidden.show(headers.get(name)?.as_bytes(), 200);
            (!value.is_empty()).then(|| format!("{name}: {value}"))
        })
        .collect()
}

#[cfg(test)]
mod tests;
