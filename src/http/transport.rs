//! Makes the HTTP connection, and classifies how an exchange ended.
//!
//! The client trusts the platform's certificate store (and one more file), speaks TLS 1.2 or newer over HTTP/1.1,
//! follows no redirect (so no token goes to another host) and retries nothing: that is [`retry`](super::retry). No body
//! is read without a bound.

mod failure;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};

pub(crate) use self::failure::Failure;
#[cfg(test)]
pub(crate) use self::failure::Stage;
use super::redact::{MAX_SHOWN, Redactor};
use super::retry_after::parse_retry_after;
use super::settings::{Proxy, TlsVersion};
use super::tls::Identity;
use crate::error::{Error, Result};

/// The most bytes of a response's body that are read.
pub(crate) const MAX_BODY: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct TransportConfig {
    pub(crate) connect_timeout: Duration,
    /// From the start of a request to the end of the response's body. Long by default, because a time-out after the
    /// connection was made leaves the outcome unknown.
    pub(crate) timeout: Duration,
    /// The longest pause while waiting for or reading a response.
    pub(crate) read_timeout: Option<Duration>,
    /// Whether compressed bodies are decompressed. Without it, byte offsets are those of the server's file.
    pub(crate) decompress: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) identity: Option<Identity>,
    pub(crate) min_tls: TlsVersion,
    pub(crate) proxy: Proxy,
    pub(crate) pool_max_idle_per_host: usize,
    /// Whether `https` is used. Without it, the platform's certificate store is not needed.
    pub(crate) tls: bool,
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
    /// Makes the client. Sets ring as the process's cryptography provider, unless the program has set one.
    pub(crate) fn client(&self) -> Result<reqwest::Client> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // An error means that another thread was faster.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let unusable =
            |what: &'static str| move |error| Error::config(what).with_source(failure::cause(error));
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("hrsink/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            // 1.2 is also the oldest that rustls has; set so that no other build of it accepts less.
            .tls_version_min(match self.min_tls {
                TlsVersion::Tls12 => reqwest::tls::Version::TLS_1_2,
                TlsVersion::Tls13 => reqwest::tls::Version::TLS_1_3,
            })
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .gzip(self.decompress)
            .http1_only()
            .pool_max_idle_per_host(self.pool_max_idle_per_host)
            // Well below the idle time-outs of servers: a request on a connection that the server is just closing
            // ends with an unknown outcome.
            .pool_idle_timeout(Duration::from_secs(20));
        if let Some(timeout) = self.read_timeout {
            builder = builder.read_timeout(timeout);
        }
        builder = match &self.proxy {
            Proxy::System => builder,
            Proxy::Direct => builder.no_proxy(),
            Proxy::Url(url) => {
                let proxy = reqwest::Proxy::all(url.clone());
                builder.proxy(proxy.map_err(unusable("cannot use the proxy"))?)
            }
        };
        if let Some(identity) = &self.identity {
            let identity = identity.for_client();
            builder = builder.identity(identity.map_err(unusable("cannot use the client certificate"))?);
        }
        let more = self.more_certificates()?;
        builder = match (self.tls, more.is_empty()) {
            (false, _) => builder.tls_certs_only([]),
            (true, true) => builder,
            (true, false) => builder.tls_certs_merge(more),
        };
        builder.build().map_err(|error| {
            unusable("cannot set up TLS")(error).with_hint(
                "install the system's CA certificates (package `ca-certificates` on most Linux systems), or set \
                 `tls.ca_file`",
            )
        })
    }

    fn more_certificates(&self) -> Result<Vec<reqwest::Certificate>> {
        let Some(path) = &self.ca_file else {
            return Ok(Vec::new());
        };
        let shown = path.display();
        let pem = std::fs::read(path).map_err(|error| {
            Error::config(format!("cannot read the CA file `{shown}`")).with_source(error)
        })?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| {
            Error::config(format!("cannot use the CA file `{shown}`")).with_source(failure::cause(error))
        })?;
        if certificates.is_empty() {
            return Err(
                Error::config(format!("the CA file `{shown}` contains no certificate"))
                    .with_hint("it must be in PEM form, with a line `-----BEGIN CERTIFICATE-----`"),
            );
        }
        Ok(certificates)
    }
}

#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The reason phrase if it is not the usual one, redacted.
    pub(crate) reason: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the body is complete: neither truncated nor cut at the bound.
    pub(crate) complete: bool,
}

impl Answer {
    /// `403 Forbidden`, or the status with the reason phrase of the response.
    pub(crate) fn status_line(&self) -> String {
        match self.reason.as_deref().or(self.status.canonical_reason()) {
            Some(reason) => format!("{} {reason}", self.status.as_u16()),
            None => self.status.as_u16().to_string(),
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        parse_retry_after(self.headers.get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
    }

    pub(crate) fn date(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.headers.get(DATE)?.to_str().ok()?).ok()
    }

    /// The scheme and host of a redirect; the rest may be secret. Not redacted.
    pub(crate) fn redirect_host(&self) -> Option<String> {
        if !self.status.is_redirection() {
            return None;
        }
        let url = url::Url::parse(self.headers.get(LOCATION)?.to_str().ok()?).ok()?;
        Some(url.origin().ascii_serialization())
    }
}

impl fmt::Debug for Answer {
    /// Without headers and body: they may contain a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status.as_u16())
            .field("reason", &self.reason)
            .field("body_bytes", &self.body.len())
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}

pub(crate) async fn exchange(
    client: &reqwest::Client,
    request: reqwest::Request,
    max_body: usize,
    redactor: Redactor<'_>,
) -> Result<Answer, Failure> {
    let response = client.execute(request).await.map_err(Failure::of)?;
    read_answer(response, max_body, redactor).await
}

/// Reads a response with at most `max_body` bytes of its body. A truncated body does not change the status. The reason
/// phrase is redacted; headers and body are verbatim.
pub(crate) async fn read_answer(
    response: reqwest::Response,
    max_body: usize,
    redactor: Redactor<'_>,
) -> Result<Answer, Failure> {
    let status = response.status();
    let reason = response.extensions().get::<hyper::ext::ReasonPhrase>();
    let reason = reason
        .map(|reason| redactor.show(reason.as_bytes(), MAX_SHOWN))
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

/// Reads at most `max` bytes of a body, and whether that is all of it.
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
