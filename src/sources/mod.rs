//! The sources.

pub(crate) mod file;
pub(crate) mod rest;
