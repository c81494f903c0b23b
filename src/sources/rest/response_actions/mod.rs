//! What happens to answers: accepted, retried, skipped or failed, and the error of those that fail.
//!
//! `ResponseActions` decide about an answer: the first rule of the user that matches, else the HTTP status. A `Decision`
//! holds the action, the wait and the hint for the user; `RequestFailure` turns it into an error with the service's own
//! message (`ErrorMessageFinder`). No I/O.

mod config;
mod decide;
mod failure;
mod message;

pub(crate) use config::{Action, ResponseActionConfig};
pub(super) use {
    decide::{Decision, Facts, ResponseActions},
    failure::RequestFailure,
    message::ErrorMessageFinder,
};

#[cfg(test)]
mod tests;
