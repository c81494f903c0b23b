//! Why there is no token, as an error that a person can act on.

use crate::error::{Error, ErrorKind};
use crate::http::address::{host, shown};
use crate::http::auth::TokenError;
use crate::http::auth::provider::{Grant, TokenProvider};
use crate::http::auth::response::{OAuthError, TokenCause};
use crate::http::auth::rotation::Rotation;
use crate::http::redact::is_html;
use crate::http::retry::{Reason, Spent};
use crate::http::transport::{Answer, Failure, Stage};

/// The answer, as the cause of an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct TokenAnswer(String);

/// The error for a missing token. `spent` is what retrying took.
pub(crate) fn error(provider: &TokenProvider, failure: &TokenError, spent: Option<Spent>) -> Error {
    let tried = format!(
        "cannot get an access token with POST {}",
        shown(&provider.endpoint().url)
    );
    let kind = match &failure.cause {
        TokenCause::Local(error) => error.kind(),
        TokenCause::Transport(Failure::Invalid(_)) => ErrorKind::Unexpected,
        _ if failure.is_transient() => ErrorKind::Transient,
        _ => ErrorKind::Refused,
    };
    let spent = spent
        .filter(|spent| spent.tally.attempts > 1 || spent.reason != Reason::Permanent)
        .map(|spent| format!(" ({spent})"))
        .unwrap_or_default();
    let error = Error::new(kind, tried + &spent).with_source(TokenAnswer(failure.detail.clone()));
    hints(provider, &failure.cause)
        .into_iter()
        .fold(error, Error::with_hint)
}

fn hints(provider: &TokenProvider, cause: &TokenCause) -> Vec<String> {
    let host = host(&provider.endpoint().url);
    match cause {
        TokenCause::Local(error) => error.hints().map(str::to_owned).collect(),
        TokenCause::Refused(error) => oauth(provider, error),
        TokenCause::Transport(failure) => transport(provider, failure, &host),
        TokenCause::Unusable { html: true, .. } => page(&host),
        TokenCause::Unusable { truncated: true, .. } => {
            vec!["run again: the response was truncated".to_owned()]
        }
        TokenCause::Unusable { .. } => vec![
            "check `token_path`: the keys, joined by dots, that lead to the token in the response".to_owned(),
            "check `token_url`: it must be the address of the token endpoint".to_owned(),
        ],
    }
}

fn oauth(provider: &TokenProvider, error: &OAuthError) -> Vec<String> {
    let mut hints = match error.error.as_str() {
        "invalid_client" => client(),
        "invalid_grant" => grant(provider.grant()),
        "invalid_scope" => vec!["check `scope`: the application must have been granted it".to_owned()],
        "unauthorized_client" => vec![
            "allow this grant type for the application where it is registered"
                .to_owned(),
        ],
        "unsupported_grant_type" => {
            vec!["the service does not support this grant type: check `type` and `token_url`".to_owned()]
        }
        "invalid_request" => vec![
            "check which parameters the service requires, and whether as a form or as JSON (`body`, `parameters`)"
                .to_owned(),
        ],
        _ if error.status == 401 => client(),
        _ => Vec::new(),
    };
    hints.extend(status(error.status));
    hints
}

fn client() -> Vec<String> {
    vec![
        "check `client_id` and the secret that belongs to it: it may have expired, or belong to another application".to_owned(),
        "check `credentials`: some services require them in the body, others in a header".to_owned(),
    ]
}

fn grant(grant: &Grant) -> Vec<String> {
    let texts: &[&str] = match grant {
        Grant::Refresh(tokens) => match tokens.rotation() {
            Rotation::File(..) => &[
                "the refresh token was revoked, has expired, or was used elsewhere: get a new one from the service and \
                 configure it; it then replaces the one in the file of `rotation`",
            ],
            _ => &[
                "the refresh token was revoked, has expired, or was used before: get a new one from the service",
                "if the service issues a new one with each use, set `rotation: {file: …}`, which keeps it for the next run",
            ],
        },
        Grant::Jwt(_) | Grant::Saml(_) => &[
            "check `issuer`, `subject` and `audience` against the service's documentation",
            "register the public key or certificate of `private_key` with the service",
            "check this machine's clock: an assertion is valid for a few minutes only",
        ],
        Grant::Fields => &["check user name and password; more attempts may lock the account"],
    };
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn transport(provider: &TokenProvider, failure: &Failure, host: &str) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    match failure {
        Failure::Answer(answer) if is_html(&answer.body) => page(host),
        Failure::Answer(answer) => answered(provider, answer),
        failure if failure.is_client_certificate() => one(
            "set `tls.certificate_file` and `tls.key_file` to the certificate that the service knows, and check \
             whether it has expired",
        ),
        Failure::Certificate(_) => one(
            "if the network inspects TLS, set `tls.ca_file` to its certificate authority; otherwise stop: \
             the server is not the one it claims to be",
        ),
        Failure::NotSent {
            stage: Stage::Dns, ..
        } => one("check the host in `token_url`, and DNS"),
        Failure::NotSent {
            stage: Stage::Tls, ..
        } => one(
            "the server may require a client certificate (`tls.certificate_file`), or support no TLS version that is \
             allowed here (`tls.min_version`)",
        ),
        Failure::NotSent { .. } => vec![format!(
            "allow this machine to reach {host} through firewall and proxy"
        )],
        Failure::Unknown { timeout: true, .. } => vec![format!(
            "check whether {host} is up, and whether a firewall or proxy blocks requests"
        )],
        Failure::Unknown { .. } => vec![
            format!("check whether {host} is up, and whether a firewall or proxy blocks requests"),
            "some servers close the connection if a client certificate is missing \
             (`tls.certificate_file`)"
                .to_owned(),
        ],
        Failure::Invalid(_) => one("please report this: it should not happen"),
    }
}

fn answered(provider: &TokenProvider, answer: &Answer) -> Vec<String> {
    let code = answer.status.as_u16();
    match code {
        300..=399 => vec!["redirects are not followed, so that secrets only go to the configured host: set `token_url` to the new address".to_owned()],
        400 => vec![
            "check which parameters the service requires, and whether as a form or as JSON (`body`, `parameters`)".to_owned(),
        ],
        401 | 403 => match provider.grant() {
            Grant::Fields => client(),
            other => client().into_iter().chain(grant(other)).collect(),
        },
        404 | 405 | 410 => vec!["check `token_url`: there is no token endpoint at this address".to_owned()],
        415 => vec!["the service requires another encoding of the request: check `body`".to_owned()],
        code => status(code).into_iter().collect(),
    }
}

fn status(code: u16) -> Option<String> {
    match code {
        429 => Some("the service limits token requests: run again later, and check whether others use the same application".to_owned()),
        500..=599 => Some("the service has a problem: run again later, and check its status page".to_owned()),
        _ => None,
    }
}

fn page(host: &str) -> Vec<String> {
    vec![
        "check `token_url`: this is the address of a web page, not of a token endpoint".to_owned(),
        format!(
            "or a proxy answered in place of {host}: allow this machine to reach it without a login page"
        ),
    ]
}
