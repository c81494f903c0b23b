//! The pipeline file.

pub mod problem;

pub use problem::{Problem, Problems, nearest, suggestion};
