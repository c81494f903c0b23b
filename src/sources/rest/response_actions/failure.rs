//! The error of a request that failed for good.

use super::{Action, Decision};
use crate::error::{Error, ErrorKind};

/// A request that failed for good.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct RequestFailure<'a> {
    pub(in super::super) method: &'a str,
    /// Without the query, which may hold tokens and personal data.
    pub(in super::super) url: &'a str,
    /// Such as `403 Forbidden`.
    pub(in super::super) status_line: &'a str,
    /// The service's message, redacted.
    pub(in super::super) message: Option<&'a str>,
    pub(in super::super) attempts: u32,
}

impl RequestFailure<'_> {
    /// What would have been retried is transient; what the service rejected is refused.
    pub(in super::super) fn error(&self, status: u16, decision: &Decision) -> Error {
        let kind = match (decision.action, status) {
            (Action::Retry | Action::RateLimited, _) => ErrorKind::Transient,
            // A failing server may work in the next run, whatever a rule says.
            (_, 500..=599) => ErrorKind::Transient,
            (_, 300..=399) => ErrorKind::Config,
            _ => ErrorKind::Refused,
        };
        let mut text = format!("{} {} returned {}", self.method, self.url, self.status_line);
        if self.attempts > 1 {
            text.push_str(&format!(", {} times", self.attempts));
        }
        if let Some(message) = self.message {
            text.push_str(": ");
            text.push_str(message);
        }
        let mut error = Error::new(kind, text);
        if let Some(hint) = &decision.hint {
            error = error.with_hint(hint.clone());
        }
        if let Some(rule) = decision.rule {
            error = error.with_hint(format!("decided by `response_actions[{rule}]`"));
        }
        error
    }
}
