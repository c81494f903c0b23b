//! The sinks.

pub mod m365_hr;
