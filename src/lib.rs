//! Brings HR records into Microsoft 365's HR connector.

#[doc(hidden)]
pub mod cli;
pub mod component;
pub mod config;
pub mod delivery;
pub mod emulator;
pub mod encode;
pub mod error;
mod files;
pub mod hr;
pub mod http;
pub mod pipeline;
pub mod secret;
pub mod sinks;
pub mod sources;
mod table;
pub mod transforms;
