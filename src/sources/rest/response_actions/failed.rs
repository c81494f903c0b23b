//! The error of a request that failed for good.

use super::judge::{Action, Decision};
use crate::error::{Error, ErrorKind};

/// A request that failed for good, as far as its error tells.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::rest) struct RequestFailure<'a> {
    /// The method: `GET`.
    pub(in crate::sources::rest) method: &'a str,
    /// The URL, without its query: that may hold tokens and people's data.
    pub(in crate::sources::rest) url: &'a str,
    /// The status line: `403 Forbidden`.
    pub(in crate::sources::rest) status_line: &'a str,
    /// What the service said, [found](super::ErrorMessageFinder::find) and fit to be shown.
    pub(in crate::sources::rest) message: Option<&'a str>,
    /// How often it was asked.
    pub(in crate::sources::rest) attempts: u32,
}

impl RequestFailure<'_> {
    /// The error. What would have been tried again is passing; what the service says no to, it refused.
    pub(in crate::sources::rest) fn error(&self, status: u16, judgement: &Decision) -> Error {
        let kind = match (judgement.action, status) {
            (Action::Retry | Action::RateLimited, _) => ErrorKind::Transient,
            // A server that fails, set to fail at once: the next run may find it well.
            (_, 500..=599) => ErrorKind::Transient,
            (_, 300..=399) => ErrorKind::Config,
            _ => ErrorKind::Refused,
        };
        let mut text = format!(
            "{} {} was answered with {}",
            self.method, self.url, self.status_line
        );
        if self.attempts > 1 {
            text.push_str(&format!(", {} times", self.attempts));
        }
        if let Some(message) = self.message {
            text.push_str(": ");
            text.push_str(message);
        }
        let mut error = Error::new(kind, text);
        if let Some(hint) = &judgement.hint {
            error = error.with_hint(hint.clone());
        }
        if let Some(rule) = judgement.rule {
            error = error.with_hint(format!("the rule `response_actions[{rule}]` decided so"));
        }
        error
    }
}
