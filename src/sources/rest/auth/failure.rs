//! Why there is no token, as an error that a person can act on.

use std::borrow::Cow;

use crate::error::{Error, ErrorKind};
use crate::http::address::{host, shown};
use crate::http::auth::TokenError;
use crate::http::auth::provider::{Grant, TokenProvider};
use crate::http::auth::response::{OAuthError, TokenCause};
use crate::http::auth::rotation::Rotation;
use crate::http::redact::is_html;
use crate::http::retry::{Reason, Spent};
use crate::http::transport::{Answer, Failure};

type Hints = Vec<Cow<'static, str>>;

const CLIENT: [&str; 2] = [
    "check `client_id` and the secret that belongs to it: it may have expired, or belong to another application",
    "check `credentials`: some services require them in the body, others in a header",
];

const PARAMETERS: &str =
    "check which parameters the service requires, and whether as a form or as JSON (`body`, `parameters`)";

/// The error for a missing token. `spent` is what retrying took.
pub(crate) fn error(provider: &TokenProvider, failure: &TokenError, spent: Option<Spent>) -> Error {
    let tried = format!(
        "cannot get an access token with POST {}",
        shown(&provider.endpoint.url)
    );
    let kind = match &failure.cause {
        TokenCause::Local(error) => error.kind(),
        TokenCause::Transport(Failure::Invalid(_)) => ErrorKind::Unexpected,
        _ if failure.is_transient() => ErrorKind::Transient,
        _ => ErrorKind::Refused,
    };
    let spent = spent
        .filter(|spent| spent.attempts > 1 || spent.reason != Reason::Permanent)
        .map(|spent| format!(" ({spent})"))
        .unwrap_or_default();
    let error = Error::new(kind, tried + &spent).with_source(failure.detail.clone());
    let hints = hints(provider, &failure.cause).into_iter();
    hints.fold(error, |error, hint| error.with_hint(hint))
}

fn hints(provider: &TokenProvider, cause: &TokenCause) -> Hints {
    let host = host(&provider.endpoint.url);
    match cause {
        TokenCause::Local(error) => error.hints().map(|hint| hint.to_owned().into()).collect(),
        TokenCause::Refused(error) => oauth(provider, error),
        TokenCause::Transport(Failure::Answer(answer)) if is_html(&answer.body) => page(&host),
        TokenCause::Transport(Failure::Answer(answer)) => answered(provider, answer),
        TokenCause::Transport(failure) => failure.hints(&host, "").into_iter().map(Cow::Owned).collect(),
        TokenCause::Unusable { html: true, .. } => page(&host),
        TokenCause::Unusable { truncated: true, .. } => list(&["run again: the response was truncated"]),
        TokenCause::Unusable { .. } => list(&[
            "check `token_path`: the keys, joined by dots, that lead to the token in the response",
            "check `token_url`: it must be the address of the token endpoint",
        ]),
    }
}

fn list(hints: &[&'static str]) -> Hints {
    hints.iter().map(|hint| Cow::Borrowed(*hint)).collect()
}

fn oauth(provider: &TokenProvider, error: &OAuthError) -> Hints {
    let mut hints = match error.error.as_str() {
        "invalid_client" => list(&CLIENT),
        "invalid_grant" => list(grant(&provider.grant)),
        "invalid_scope" => list(&["check `scope`: the application must have been granted it"]),
        "unauthorized_client" => list(&["allow this grant type for the application where it is registered"]),
        "unsupported_grant_type" => {
            list(&["the service does not support this grant type: check `type` and `token_url`"])
        }
        "invalid_request" => list(&[PARAMETERS]),
        _ if error.status == 401 => list(&CLIENT),
        _ => Vec::new(),
    };
    hints.extend(list(status(error.status)));
    hints
}

fn grant(grant: &Grant) -> &'static [&'static str] {
    match grant {
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
    }
}

fn answered(provider: &TokenProvider, answer: &Answer) -> Hints {
    match answer.status.as_u16() {
        300..=399 => list(&[
            "redirects are not followed, so that secrets only go to the configured host: set `token_url` to the new address",
        ]),
        400 => list(&[PARAMETERS]),
        401 | 403 => match &provider.grant {
            Grant::Fields => list(&CLIENT),
            other => list(&[&CLIENT[..], grant(other)].concat()),
        },
        404 | 405 | 410 => list(&["check `token_url`: there is no token endpoint at this address"]),
        415 => list(&["the service requires another encoding of the request: check `body`"]),
        code => list(status(code)),
    }
}

fn status(code: u16) -> &'static [&'static str] {
    match code {
        429 => &[
            "the service limits token requests: run again later, and check whether others use the same application",
        ],
        500..=599 => &["the service has a problem: run again later, and check its status page"],
        _ => &[],
    }
}

fn page(host: &str) -> Hints {
    vec![
        "check `token_url`: this is the address of a web page, not of a token endpoint".into(),
        format!(
            "or a proxy answered in place of {host}: allow this machine to reach it without a login page"
        )
        .into(),
    ]
}
