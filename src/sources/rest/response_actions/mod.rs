//! What happens to answers: accepted, retried, skipped or failed, and the error of those that fail.
//!
//! `ResponseActions` decide about an answer: the first rule of the user that matches, else the HTTP status. A `Decision`
//! holds the action, the wait and the hint for the user, and makes the error. No I/O.

mod config;
mod decide;
mod message;

pub(crate) use config::{Action, ResponseActionConfig};
pub(super) use {
    decide::{Decision, Facts, ResponseActions},
    message::service_message,
};

#[cfg(test)]
mod tests;
