//! The diagnosis: from what was tried and what came back to an error a person can act on.
//!
//! An error says what was tried (method, URL without secrets, attempts, time), its cause says what came back (status,
//! reason phrase, body, request ids; cleaned and cut), and its hints say the likely causes in order with what to do.
//! Statuses decide the [`ErrorKind`]. Codes and texts of the service change without notice: they are good for hints,
//! and decide nothing.

mod hints;

use std::fmt;

use url::Url;
use uuid::Uuid;

use super::cloud::Endpoints;
use crate::error::{Error, ErrorKind};
use crate::http::auth::oauth_error::TokenFailure;
use crate::http::redact::{Redactor, describe};
use crate::http::retry::{Reason, Spent, Tally};
use crate::http::transport::{Answer, Failure};

/// The settings that advice names. None of them is secret.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) endpoints: Endpoints,
    pub(crate) tenant_id: String,
    pub(crate) client_id: String,
    pub(crate) job_id: Uuid,
    pub(crate) token_url: Url,
    pub(crate) upload_url: Url,
}

impl Facts {
    fn authority_host(&self) -> &str {
        self.endpoints.authority.host_str().unwrap_or_default()
    }

    fn ingestion_host(&self) -> &str {
        self.endpoints.ingestion.host_str().unwrap_or_default()
    }
}

/// What came back, as the cause of an error.
#[derive(Debug)]
struct CameBack(String);

impl fmt::Display for CameBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CameBack {}

/// No token, so nothing was sent.
pub(crate) fn token_error(
    facts: &Facts,
    failure: &TokenFailure,
    spent: Spent,
    hidden: Redactor<'_>,
) -> Error {
    let came_back = match failure {
        TokenFailure::Refused(error) => {
            let mut text = error.to_string();
            for id in error.ids() {
                text.push_str("; ");
                text.push_str(&id);
            }
            text
        }
        TokenFailure::Transport(failure) => came_back(failure, hidden),
        TokenFailure::Unusable { what, .. } => what.clone(),
    };
    let kind = match failure {
        TokenFailure::Transport(Failure::Invalid(_)) => ErrorKind::Unexpected,
        failure => kind(failure.is_passing(), spent.reason),
    };
    let error = Error::new(
        kind,
        format!(
            "cannot get an access token with POST {} ({spent})",
            facts.token_url
        ),
    )
    .with_source(CameBack(came_back));
    with_hints(error, hints::for_token(facts, failure))
}

/// The upload of `file_name` failed.
pub(crate) fn upload_error(
    facts: &Facts,
    file_name: &str,
    failure: &Failure,
    spent: Spent,
    hidden: Redactor<'_>,
) -> Error {
    let kind = match failure {
        Failure::Invalid(_) => ErrorKind::Unexpected,
        failure => kind(failure.is_passing(), spent.reason),
    };
    let error = Error::new(
        kind,
        format!(
            "cannot upload `{file_name}` with POST {} ({spent})",
            facts.upload_url
        ),
    )
    .with_source(CameBack(came_back(failure, hidden)));
    with_hints(error, hints::for_upload(facts, failure, spent.tally.unknown > 0))
}

/// A success in name, answered by something that is not the service.
pub(crate) fn page_error(
    facts: &Facts,
    file_name: &str,
    answer: &Answer,
    tally: Tally,
    hidden: Redactor<'_>,
) -> Error {
    let spent = Spent {
        tally,
        reason: Reason::Permanent,
    };
    let message = format!(
        "cannot tell whether `{file_name}` was taken: POST {} ({spent}) was answered with a web page",
        facts.upload_url
    );
    let error = Error::new(ErrorKind::Refused, message).with_source(CameBack(describe(answer, hidden)));
    with_hints(error, hints::for_page(facts.ingestion_host()))
}

/// The ingestion host cannot be reached, or does not answer as it does to a request without credentials.
pub(crate) fn endpoint_error(facts: &Facts, failure: &Failure) -> Error {
    let error = Error::new(
        kind(failure.is_passing(), Reason::Permanent),
        format!("cannot reach {}", facts.endpoints.ingestion),
    )
    .with_source(CameBack(came_back(failure, Redactor::secrets(&[]))));
    with_hints(error, hints::for_endpoint(facts, failure))
}

/// Advice on a web page that something between here and `host` answered.
pub(crate) fn page_hints(host: &str) -> Vec<String> {
    hints::for_page(host)
}

fn kind(passing: bool, reason: Reason) -> ErrorKind {
    match (reason, passing) {
        (Reason::Cancelled, _) => ErrorKind::Interrupted,
        (_, true) => ErrorKind::Transient,
        (_, false) => ErrorKind::Refused,
    }
}

fn with_hints(error: Error, hints: Vec<String>) -> Error {
    hints.into_iter().fold(error, Error::with_hint)
}

fn came_back(failure: &Failure, hidden: Redactor<'_>) -> String {
    match failure {
        Failure::Answer(answer) => describe(answer, hidden),
        failure => failure.to_string(),
    }
}

#[cfg(test)]
mod tests;
