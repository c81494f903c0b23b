//! Why an exchange did not end with a 2xx, found out from the client's errors.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use rustls::AlertDescription;

use super::Answer;
use crate::http::redact::{MAX_SHOWN, clean};
use crate::http::retry::AttemptError;

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
    /// The other side's certificate is not trusted, or it does not let us in with ours
    /// ([`is_client_certificate`](Self::is_client_certificate)). Nothing was taken, and trying again does not help.
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
            Self::Certificate(cause) if cause.client_certificate => {
                write!(
                    f,
                    "the server wants a client certificate, or does not take this one: {cause}"
                )
            }
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

    /// Whether the server ended the handshake because of the client's certificate: there is none, or not a good one.
    pub fn is_client_certificate(&self) -> bool {
        matches!(self, Self::Certificate(cause) if cause.client_certificate)
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
        let mut cause = Cause::of(error);
        cause.client_certificate = found.client_certificate;
        if found.certificate || found.client_certificate {
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
    /// With TLS 1.3 the alert comes after the client has done its part of the handshake, when the request may have been
    /// written already; the server has not read it.
    client_certificate: bool,
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
                found.client_certificate |=
                    matches!(error, rustls::Error::AlertReceived(alert) if is_about_certificate(*alert));
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

/// Whether a server sends this when the client's certificate is missing or not taken.
fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::NoCertificate
    )
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
pub struct Cause {
    text: String,
    client_certificate: bool,
}

impl Cause {
    pub(super) fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut texts: Vec<String> = Vec::new();
        walk(&error, &mut |layer| {
            let text = clean(&layer.to_string(), MAX_SHOWN);
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
            texts.push(error.to_string());
        }
        Self {
            text: clean(&texts.join(": "), MAX_SHOWN),
            client_certificate: false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Cause {}
