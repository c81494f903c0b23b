//! Why an exchange did not end with a 2xx, found in the client's errors.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use rustls::AlertDescription;

use super::Answer;
use crate::http::redact::{MAX_SHOWN, clean};
use crate::http::retry::AttemptError;

/// How an exchange ended, if not with a 2xx.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The request was not sent: it had no effect.
    NotSent {
        stage: Stage,
        cause: Cause,
    },
    /// The server's certificate is not trusted, or the server requires another client certificate
    /// ([`is_client_certificate`](Self::is_client_certificate)). A retry does not help.
    Certificate(Cause),
    /// The request could not be made. A bug, or a setting that cannot go into a request.
    Invalid(Cause),
    /// No readable response arrived after the service may have received the request.
    Unknown {
        /// Whether the time-out expired; otherwise the connection ended.
        timeout: bool,
        cause: Cause,
    },
    Answer(Box<Answer>),
}

/// What failed before a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Dns,
    Connect,
    Proxy,
    /// The TLS handshake, for another reason than the certificate.
    Tls,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent { stage, cause } => {
                let what = match stage {
                    Stage::Dns => "cannot resolve the host name",
                    Stage::Connect => "cannot connect",
                    Stage::Proxy => "cannot connect through the proxy",
                    Stage::Tls => "the TLS handshake failed",
                };
                write!(f, "{what}: {cause}")
            }
            Self::Certificate(cause) if cause.client_certificate => {
                write!(
                    f,
                    "the server requires a client certificate, or rejected this one: {cause}"
                )
            }
            Self::Certificate(cause) => write!(f, "the server's certificate is not trusted: {cause}"),
            Self::Invalid(cause) => write!(f, "the request cannot be made: {cause}"),
            Self::Unknown { timeout: true, .. } => f.write_str("no response within the timeout"),
            Self::Unknown {
                timeout: false,
                cause,
            } => write!(f, "the connection ended without a response: {cause}"),
            Self::Answer(answer) => write!(f, "the response was {}", answer.status_line()),
        }
    }
}

impl StdError for Failure {}

impl AttemptError for Failure {
    /// True for a time-out or a lost connection after sending began, and for 502 and 504: a gateway passed the request
    /// on, so the service behind it may have processed it.
    fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown { .. } => true,
            Self::Answer(answer) => matches!(answer.status.as_u16(), 502 | 504),
            Self::NotSent { .. } | Self::Certificate(_) | Self::Invalid(_) => false,
        }
    }
}

impl Failure {
    /// Whether the cause is transient: transport, 408, 429 and 5xx.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Unknown { .. } => true,
            Self::Certificate(_) | Self::Invalid(_) => false,
            Self::Answer(answer) => {
                matches!(answer.status.as_u16(), 408 | 429) || answer.status.is_server_error()
            }
        }
    }

    /// Whether the server ended the handshake because of a missing or unaccepted client certificate.
    pub(crate) fn is_client_certificate(&self) -> bool {
        matches!(self, Self::Certificate(cause) if cause.client_certificate)
    }

    pub(crate) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    pub(crate) fn of(error: reqwest::Error) -> Self {
        let timeout = error.is_timeout();
        let traits = Traits::of(&error);
        let mut cause = Cause::of(error);
        cause.client_certificate = traits.client_certificate;
        if traits.certificate || traits.client_certificate {
            return Self::Certificate(cause);
        }
        let stage = match &traits {
            Traits {
                connect: true,
                dns: true,
                ..
            } => Stage::Dns,
            Traits {
                connect: true,
                tls: true,
                ..
            } => Stage::Tls,
            Traits {
                connect: true,
                proxy: true,
                ..
            } => Stage::Proxy,
            Traits { connect: true, .. } => Stage::Connect,
            Traits { builder: true, .. } => return Self::Invalid(cause),
            Traits { canceled: true, .. } => Stage::Connect,
            _ => return Self::Unknown { timeout, cause },
        };
        Self::NotSent { stage, cause }
    }
}

/// What the chain of an error contains.
#[derive(Default)]
struct Traits {
    builder: bool,
    connect: bool,
    dns: bool,
    tls: bool,
    certificate: bool,
    /// With TLS 1.3 the alert arrives after the client's part of the handshake, when the request may have been written
    /// already; the server has not read it.
    client_certificate: bool,
    proxy: bool,
    /// The request was queued for a connection that closed before it was written.
    canceled: bool,
}

impl Traits {
    fn of(error: &reqwest::Error) -> Self {
        let mut traits = Self {
            builder: error.is_builder(),
            connect: error.is_connect(),
            dns: error.is_dns(),
            ..Self::default()
        };
        walk(error, &mut |error| {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                traits.tls = true;
                match error {
                    rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                        traits.certificate = true;
                    }
                    rustls::Error::AlertReceived(alert) => {
                        traits.client_certificate |= is_about_certificate(*alert);
                    }
                    _ => {}
                }
            }
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                traits.canceled |= error.is_canceled();
            }
            // The type is private; this decides a hint only.
            let text = error.to_string();
            traits.proxy |= text.starts_with("tunnel error") || text.contains("proxy");
        });
        traits
    }
}

/// Whether a server sends this alert about a client certificate.
fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::NoCertificate
    )
}

/// Visits an error and its causes. An `io::Error` hides the error it wraps from `source`.
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

/// Why an exchange failed: the texts of the error chain without its general layers and without the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    text: String,
    client_certificate: bool,
}

impl Cause {
    pub(super) fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut texts: Vec<String> = Vec::new();
        walk(&error, &mut |layer| {
            let text = clean(&layer.to_string(), MAX_SHOWN);
            if matches!(&*text, "" | "error sending request" | "builder error")
                || text.starts_with("client error (")
            {
                return;
            }
            // Of two layers of which one repeats the other, the longer text is kept.
            match texts
                .last_mut()
                .filter(|last| last.ends_with(&text) || text.contains(last.as_str()))
            {
                Some(last) if text.len() > last.len() => *last = text,
                Some(_) => {}
                None => texts.push(text),
            }
        });
        if texts.is_empty() {
            texts.push(error.to_string());
        }
        Self {
            text: clean(&texts.join(": "), 2 * MAX_SHOWN),
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
