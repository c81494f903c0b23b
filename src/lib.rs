//! Brings HR records (resignations, level changes, reviews, improvement plans, employee profiles) from the systems of a
//! company to Microsoft 365's HR connector.
//!
//! The documentation for users and the architecture are in the book (`docs/`). Public modules:
//!
//! - [`plugin`]: what a component in another crate implements, and what the engine gives it,
//! - [`config`]: load and check a pipeline file, and its JSON Schema,
//! - [`pipeline`]: run it, observe it, and its report,
//! - [`error`]: the error type and its kinds,
//! - [`emulator`]: a local implementation of the connector job.
//!
//! # Rules that hold everywhere
//!
//! - An [error](error::Error) names the action, its object and the causes; advice is separate. Its kind decides the exit
//!   code.
//! - A [secret](plugin::Secret) has no `Serialize` and no `Display`. No message, log line or report holds a value of a
//!   row.
//! - Nothing is corrected silently: an invalid setting is refused, a truncated text is counted, and every row that is not
//!   sent has a reason.

mod cli;
mod codec;
mod component;
pub mod config;
mod delivery;
mod disk;
pub mod emulator;
pub mod error;
#[cfg(test)]
#[allow(dead_code, unreachable_pub, clippy::print_stderr, reason = "in tests/")]
#[path = "../tests/support/external.rs"]
mod external;
mod format;
mod hr;
mod http;
mod ledger;
mod mask;
pub mod pipeline;
pub mod plugin;
mod secret;
mod settings;
mod sinks;
mod snapshot;
mod sources;
mod storage;
mod suggest;
mod table;
mod transforms;

#[doc(hidden)]
pub use cli::main;
