//! Says in words what came back and what trying took, for the causes of errors.

use std::fmt;

use reqwest::header::{HeaderName, WWW_AUTHENTICATE};

use super::retry::{Reason, Tally};
use super::text::{Hidden, SHOWN, html_title, is_html};
use super::transport::{Answer, shown_headers};

/// Headers that say why, or name the request for a support case.
const TELLING: [HeaderName; 4] = [
    WWW_AUTHENTICATE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-correlation-id"),
];

/// Status, reason phrase, body, where a redirect leads, and headers that say why; one line, without what is `hidden`.
pub(crate) fn describe(answer: &Answer, hidden: Hidden<'_>) -> String {
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
        let body = hidden.show(&answer.body, SHOWN);
        if body.is_empty() {
            text.push_str(", with an empty body");
        } else {
            text.push_str(&format!("; body: {body}"));
        }
    }
    if let Some(host) = answer.redirect_host() {
        text.push_str(&format!("; it leads to {}", hidden.show(host.as_bytes(), 120)));
    }
    for header in shown_headers(&answer.headers, &TELLING, hidden) {
        text.push_str("; ");
        text.push_str(&header);
    }
    text
}

/// What trying took, and why it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// What was done.
    pub(crate) tally: Tally,
    /// Why no more was.
    pub(crate) reason: Reason,
}

impl fmt::Display for Spent {
    /// `3 attempts in 12.3 s, no attempt is left`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.tally.attempts == 1 { "" } else { "s" };
        write!(
            f,
            "{} attempt{plural} in {:.1} s",
            self.tally.attempts,
            self.tally.elapsed.as_secs_f64()
        )?;
        match self.reason {
            Reason::Permanent => Ok(()),
            reason => write!(f, ", {reason}"),
        }
    }
}
