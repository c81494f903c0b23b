//! Which answers are good, which are tried again, and what is said about the others.
//!
//! `ResponseActions` judge an answer: the first of the user's rules that matches decides, then what HTTP says. A `Decision`
//! is what to do, how long to wait and what to tell the user; `RequestFailure` makes the error of it, with the message that
//! the service gave (`ErrorMessageFinder`). No request, no clock.

mod config;
mod failed;
mod judge;
mod message;
mod validate;

pub use config::{
    BodyTest, ErrorMessageSettings, HeaderTest, ResponseAction, ResponseActionConfig, StatusSet, When,
};
pub(super) use {
    failed::RequestFailure,
    judge::{Action, Decision, Facts, ReadWait, ResponseActions},
    message::ErrorMessageFinder,
    validate::{renews, skipping},
};

#[cfg(test)]
mod tests;
