//! The sources.

pub mod file;
