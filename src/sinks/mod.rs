//! The sinks.

pub mod console;
pub mod file;
pub mod m365_hr;

mod payload;
