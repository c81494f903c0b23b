//! Which answers are good, which are tried again, and what is said about the others.
//!
//! `Rules` judge an answer: the first of the user's rules that matches decides, then what HTTP says. A `Judgement`
//! is what to do, how long to wait and what to tell the user; `Failed` makes the error of it, with the message that
//! the service gave (`MessageFinder`). No request, no clock.

mod config;
mod failed;
mod judge;
mod message;
mod validate;

pub use config::{
    BodyTest, HeaderTest, MessageSettings, ResetHeader, ResetUnit, RetrySettings, RuleConfig, StatusSet,
    Then, WaitSettings, When,
};
pub(super) use {
    failed::Failed,
    judge::{Action, Facts, Judgement, ReadWait, Rules},
    message::MessageFinder,
    validate::{renews, skipping},
};

#[cfg(test)]
mod tests;
