//! Brings HR records into Microsoft 365's HR connector.

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
pub mod plugin;
pub mod secret;
pub mod sinks;
pub mod sources;
mod table;
pub mod transforms;
