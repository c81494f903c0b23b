//! Reads HR files.
