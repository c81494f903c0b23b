//! The diagnosis: from what was tried and what came back to an error a person can act on.
//!
//! An error says what was tried (method, URL without secrets, attempts, time), its cause says what came back (status,
//! reason phrase, body, request ids; cleaned and cut), and its hints say the likely causes in order with what to do.
//! Statuses decide the [`ErrorKind`]. Codes and texts of the service change without notice: they are good for hints,
//! and decide nothing.

mod hints;

use std::fmt;

use reqwest::header::{HeaderName, WWW_AUTHENTICATE};
use url::Url;
use uuid::Uuid;

use super::cloud::Endpoints;
use crate::error::{Error, ErrorKind};
use crate::http::oauth2::TokenFailure;
use crate::http::retry::{Reason, Tally};
use crate::http::text::{Hidden, SHOWN, html_title, is_html};
use crate::http::transport::{Answer, Failure, shown_headers};

/// Headers that name a request at the other side, for a support case.
const ID_HEADERS: [HeaderName; 6] = [
    HeaderName::from_static("request-id"),
    HeaderName::from_static("client-request-id"),
    HeaderName::from_static("x-ms-request-id"),
    HeaderName::from_static("x-ms-correlation-id"),
    HeaderName::from_static("x-ms-correlation-request-id"),
    HeaderName::from_static("x-azure-ref"),
];

/// Headers that say why.
const WHY_HEADERS: [HeaderName; 2] = [WWW_AUTHENTICATE, HeaderName::from_static("x-ms-diagnostics")];

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

/// What trying took, and why it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) tally: Tally,
    pub(crate) reason: Reason,
}

impl fmt::Display for Spent {
    /// `3 attempts in 12.3 s, no attempt is left`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            attempts,
            unknown,
            elapsed,
            ..
        } = self.tally;
        let plural = if attempts == 1 { "" } else { "s" };
        write!(f, "{attempts} attempt{plural} in {:.1} s", elapsed.as_secs_f64())?;
        if unknown > 0 && attempts > 1 {
            write!(f, ", {unknown} of them with the outcome unknown")?;
        }
        match self.reason {
            Reason::Permanent => Ok(()),
            reason => write!(f, ", {reason}"),
        }
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
pub(crate) fn token_error(facts: &Facts, failure: &TokenFailure, spent: Spent, hidden: Hidden<'_>) -> Error {
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
    hidden: Hidden<'_>,
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
    hidden: Hidden<'_>,
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
    .with_source(CameBack(came_back(failure, Hidden::secrets(&[]))));
    with_hints(error, hints::for_endpoint(facts, failure))
}

/// Advice on a web page that something between here and `host` answered.
pub(crate) fn page_hints(host: &str) -> Vec<String> {
    hints::for_page(host)
}

fn kind(passing: bool, reason: Reason) -> ErrorKind {
    match (reason, passing) {
        (Reason::Cancelled, _) => ErrorKind::Interrupted,
        (_, true) => ErrorKind::Passing,
        (_, false) => ErrorKind::Refused,
    }
}

fn with_hints(error: Error, hints: Vec<String>) -> Error {
    hints.into_iter().fold(error, Error::with_hint)
}

fn came_back(failure: &Failure, hidden: Hidden<'_>) -> String {
    match failure {
        Failure::Answer(answer) => describe(answer, hidden),
        failure => failure.to_string(),
    }
}

/// Status, reason phrase, body, what the headers say, ids.
fn describe(answer: &Answer, hidden: Hidden<'_>) -> String {
    let mut text = format!("the answer was {}", answer.status_line());
    if is_html(&answer.body) {
        text.push_str("; the body is a web page");
        if let Some(title) = html_title(&answer.body) {
            text.push_str(&format!(
                " with the title `{}`",
                hidden.show(title.as_bytes(), 120)
            ));
        }
    } else {
        match shown_body(answer, hidden) {
            Some(body) => text.push_str(&format!("; body: {body}")),
            None => text.push_str(", with an empty body"),
        }
    }
    if let Some(host) = answer.redirect_host() {
        text.push_str(&format!("; it leads to {}", hidden.show(host.as_bytes(), 120)));
    }
    for header in shown_headers(&answer.headers, &WHY_HEADERS, hidden)
        .into_iter()
        .chain(request_ids(answer, hidden))
    {
        text.push_str("; ");
        text.push_str(&header);
    }
    text
}

/// The body as it may be shown; `None` if it is empty.
pub(crate) fn shown_body(answer: &Answer, hidden: Hidden<'_>) -> Option<String> {
    let body = hidden.show(&answer.body, SHOWN);
    (!body.is_empty()).then_some(body)
}

/// Request and correlation ids, as `name: value`.
pub(crate) fn request_ids(answer: &Answer, hidden: Hidden<'_>) -> Vec<String> {
    let mut ids = shown_headers(&answer.headers, &ID_HEADERS, hidden);
    // They are kept in the ledger: what does not look like an id may be anything.
    ids.retain(|id| {
        let value = id.split_once(": ").map_or(id.as_str(), |(_, value)| value);
        value.len() <= 128
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=,{}|;".contains(&byte))
    });
    ids
}

#[cfg(test)]
mod tests;
