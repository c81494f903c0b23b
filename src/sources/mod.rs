//! The sources.

pub mod file;
pub mod rest;
