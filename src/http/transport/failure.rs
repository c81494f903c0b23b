//! Why an exchange did not end with a 2xx, found in the client's errors, and what a person can do about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use rustls::AlertDescription;

use super::Answer;
use crate::http::redact::{MAX_SHOWN, clean};
use crate::http::retry::AttemptError;

/// How an exchange ended, if not with a 2xx. Causes are texts without URLs.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The request was not sent: it had no effect.
    NotSent {
        stage: Stage,
        cause: String,
    },
    /// The server's certificate is not trusted, or (`client`) the server requires another client certificate. A retry
    /// does not help.
    Certificate {
        client: bool,
        cause: String,
    },
    /// The request could not be made. A bug, or a setting that cannot go into a request.
    Invalid(String),
    /// No readable response arrived after the service may have received the request.
    Unknown {
        /// Whether the time-out expired; otherwise the connection ended.
        timeout: bool,
        cause: String,
    },
    Answer(Box<Answer>),
}

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
        let (what, cause) = match self {
            Self::NotSent { stage, cause } => {
                let what = match stage {
                    Stage::Dns => "cannot resolve the host name",
                    Stage::Connect => "cannot connect",
                    Stage::Proxy => "cannot connect through the proxy",
                    Stage::Tls => "the TLS handshake failed",
                };
                (what, cause)
            }
            Self::Certificate { client: true, cause } => (
                "the server requires a client certificate, or rejected this one",
                cause,
            ),
            Self::Certificate { cause, .. } => ("the server's certificate is not trusted", cause),
            Self::Invalid(cause) => ("the request cannot be made", cause),
            Self::Unknown { timeout: true, .. } => return f.write_str("no response within the timeout"),
            Self::Unknown { cause, .. } => ("the connection ended without a response", cause),
            Self::Answer(answer) => return write!(f, "the response was {}", answer.status_line()),
        };
        write!(f, "{what}: {cause}")
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
            _ => false,
        }
    }
}

impl Failure {
    /// Whether the cause is transient: transport, 408, 429 and 5xx.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Unknown { .. } => true,
            Self::Certificate { .. } | Self::Invalid(_) => false,
            Self::Answer(answer) => {
                matches!(answer.status.as_u16(), 408 | 429) || answer.status.is_server_error()
            }
        }
    }

    pub(crate) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    /// What a person can do, most likely first; nothing for a response, whose meaning is the caller's. `prefix` goes
    /// before the settings keys of the component, such as `s3.`.
    pub(crate) fn hints(&self, host: &str, prefix: &str) -> Vec<String> {
        const ALLOW: &str = "the firewall must allow HTTPS (port 443) from this machine to `{host}`";
        const PROXY: &str = "if this network reaches the internet only through a proxy, set `{prefix}proxy` or \
                             `HTTPS_PROXY` (and `NO_PROXY` for exceptions)";
        const UP: &str = "check whether `{host}` is up, and whether a firewall or proxy blocks requests";
        let hints: &[&str] = match self {
            Self::NotSent { stage, .. } => match stage {
                Stage::Dns => &[
                    "check the host name, and whether this machine can resolve it (for example with `nslookup {host}`)",
                    PROXY,
                    ALLOW,
                ],
                Stage::Connect => &[ALLOW, PROXY],
                Stage::Proxy => &[
                    "the proxy must allow connections to `{host}`",
                    "if the proxy requires credentials, put them in its URL (`{prefix}proxy` or `HTTPS_PROXY`)",
                ],
                Stage::Tls => &[
                    "a device in between may break TLS: have `{host}` excluded from TLS inspection",
                    "the server may require a client certificate (`{prefix}tls.certificate_file`), or support no TLS \
                     version that is allowed here (`{prefix}tls.min_version`)",
                ],
            },
            Self::Certificate { client: true, .. } => &[
                "set `{prefix}tls.certificate_file` and `{prefix}tls.key_file` to the certificate that the service \
                 knows, and check whether it has expired",
            ],
            Self::Certificate { .. } => &[
                "a proxy that inspects TLS presents its own certificate: have `{host}` excluded from inspection, or set \
                 `{prefix}tls.ca_file` to the CA certificate of the proxy (a PEM file)",
                "otherwise check this machine's clock and that its CA certificates are up to date, and stop if they \
                 are: the server is not the one it claims to be",
            ],
            Self::Unknown { timeout: true, .. } => &[UP, PROXY],
            Self::Unknown { .. } => &[
                UP,
                PROXY,
                "some servers close the connection if a client certificate is missing (`{prefix}tls.certificate_file`)",
            ],
            Self::Invalid(_) => &["please report this: it should not happen"],
            Self::Answer(_) => &[],
        };
        let fill = |hint: &&str| hint.replace("{host}", host).replace("{prefix}", prefix);
        hints.iter().map(fill).collect()
    }

    pub(crate) fn of(error: reqwest::Error) -> Self {
        let (timeout, builder, connect) = (error.is_timeout(), error.is_builder(), error.is_connect());
        let mut stage = if error.is_dns() {
            Stage::Dns
        } else {
            Stage::Connect
        };
        let (mut certificate, mut client, mut canceled) = (false, false, false);
        for layer in layers(&error) {
            if let Some(error) = layer.downcast_ref::<rustls::Error>() {
                use rustls::Error::{AlertReceived, InvalidCertificate, NoCertificatesPresented};
                certificate |= matches!(error, InvalidCertificate(_) | NoCertificatesPresented);
                // With TLS 1.3 the alert arrives after the client's part of the handshake, when the request may have
                // been written already; the server has not read it.
                client |= matches!(error, AlertReceived(alert) if is_about_certificate(*alert));
                if stage != Stage::Dns {
                    stage = Stage::Tls;
                }
            }
            // The request was queued for a connection that closed before it was written.
            canceled |= layer.downcast_ref().is_some_and(hyper::Error::is_canceled);
            // The type is private; this decides a hint only.
            let text = layer.to_string();
            if stage == Stage::Connect && (text.starts_with("tunnel error") || text.contains("proxy")) {
                stage = Stage::Proxy;
            }
        }
        let cause = cause(error);
        match (certificate || client, connect) {
            (true, _) => Self::Certificate { client, cause },
            (_, true) => Self::NotSent { stage, cause },
            _ if builder => Self::Invalid(cause),
            _ if canceled => Self::NotSent {
                stage: Stage::Connect,
                cause,
            },
            _ => Self::Unknown { timeout, cause },
        }
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

/// An error and its causes. An `io::Error` hides the error it wraps from `source`.
fn layers<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'e (dyn StdError + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as _),
            None => error.source(),
        }
    })
}

/// The texts of an error chain, without its general layers and without the URL.
pub(super) fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut texts: Vec<String> = Vec::new();
    for layer in layers(&error) {
        let text = clean(&layer.to_string(), MAX_SHOWN);
        if matches!(&*text, "" | "error sending request" | "builder error")
            || text.starts_with("client error (")
        {
            continue;
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
    }
    if texts.is_empty() {
        texts.push(error.to_string());
    }
    clean(&texts.join(": "), 2 * MAX_SHOWN)
}
