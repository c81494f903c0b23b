//! Makes the HTTP client, and says how an exchange ended.
//!
//! The client trusts the platform's certificate store (and one more file if asked), speaks TLS 1.2 or newer over
//! HTTP/1.1, follows no redirect (a redirect is an answer like any other, so a token never goes to another host) and
//! tries nothing again by itself: the only retry layer is [`retry`](super::retry). No body is read without a bound.
//!
//! rustls wants one cryptography provider for the process. [`TransportConfig::client`] sets ring as the process's
//! default if none is set; a program that prefers another sets it before.

mod failure;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};

pub use self::failure::{Cause, Failure, Stage};
use super::retry::parse_retry_after;
use crate::error::{Error, Result};
use crate::http::redact::{MAX_SHOWN, Redactor};
use crate::http::tls::Identity;

/// Most bytes of an answer's body that are read.
pub const MAX_BODY: usize = 64 * 1024;

/// How to reach the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportConfig {
    /// Longest time to resolve the name, connect and shake hands. Default: 30 s.
    pub connect_timeout: Duration,
    /// Longest time for a request from its begin to the end of the answer's body. Default: 400 s. When it runs out
    /// after the connection was made, nobody knows whether the request was taken: better long than short.
    pub timeout: Duration,
    /// Longest silence while an answer is waited for or read. Default: none, the request's time bounds it.
    pub read_timeout: Option<Duration>,
    /// Whether packed bodies are asked for and unpacked. Without, bytes are what the server keeps: their number and
    /// place in the file mean something. Default: true.
    pub decompress: bool,
    /// A PEM file of certificates to trust besides the platform's: that of a TLS-inspecting proxy.
    pub ca_file: Option<PathBuf>,
    /// Who the program is to servers that ask. Default: nobody.
    pub identity: Option<Identity>,
    /// The oldest version of TLS that is spoken. Default: 1.2.
    pub min_tls: TlsVersion,
    /// Which proxy to use.
    pub proxy: Proxy,
    /// Connections kept open per host while idle. Default: 8.
    pub pool_max_idle_per_host: usize,
    /// Whether `https` will be asked for. Without, the platform's certificate store is not needed. Default: true.
    pub tls: bool,
}

/// A version of TLS.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
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
            timeout: Duration::from_secs(400),
            read_timeout: None,
            decompress: true,
            ca_file: None,
            identity: None,
            min_tls: TlsVersion::default(),
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
            ("timeout", self.timeout),
        ] {
            if value.is_zero() {
                return Err(Error::config(format!("`{name}` must be more than zero")));
            }
        }
        install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("hrsink/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            // 1.2 is also the oldest that rustls has; said here so that no other build of it goes below.
            .tls_version_min(match self.min_tls {
                TlsVersion::Tls12 => reqwest::tls::Version::TLS_1_2,
                TlsVersion::Tls13 => reqwest::tls::Version::TLS_1_3,
            })
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(self.pool_max_idle_per_host)
            // Well below what servers keep idle connections for: a request on a connection that the other side is
            // just closing ends with its outcome unknown.
            .pool_idle_timeout(Duration::from_secs(20));
        if let Some(timeout) = self.read_timeout {
            builder = builder.read_timeout(timeout);
        }
        if !self.decompress {
            builder = builder.no_gzip();
        }
        builder = match &self.proxy {
            Proxy::System => builder,
            Proxy::Direct => builder.no_proxy(),
            Proxy::Url(url) => builder.proxy(reqwest::Proxy::all(url.clone()).map_err(|error| {
                Error::config("cannot use the proxy given").with_source(Cause::of(error))
            })?),
        };
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.for_client().map_err(|error| {
                Error::config("cannot use the client certificate").with_source(Cause::of(error))
            })?);
        }
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
        let Some(path) = &self.ca_file else {
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
pub(crate) async fn exchange(
    client: &reqwest::Client,
    request: reqwest::Request,
    max_body: usize,
    hidden: Redactor<'_>,
) -> Result<Answer, Failure> {
    let response = client.execute(request).await.map_err(Failure::of)?;
    let status = response.status();
    let reason = response
        .extensions()
        .get::<hyper::ext::ReasonPhrase>()
        .map(|reason| hidden.show(reason.as_bytes(), MAX_SHOWN))
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
pub(crate) async fn read_limited(mut response: reqwest::Response, max: usize) -> (Bytes, bool) {
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

#[cfg(test)]
mod tests;
