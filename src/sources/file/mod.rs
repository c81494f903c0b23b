//! The source `file`: reads records from files.
//!
//! ```text
//! storage ▶ select ▶ job: open ▶ codec ▶ format ▶ chunks, rejects, checkpoint per file
//!             ▲                                              │
//!           state ◀── post_process: move, delete ◀── every row is final
//! ```
//!
//! `plan` parses the settings. A file that has changed at its end is an error, never a short file; no file is moved or
//! deleted before every row of it is final.

mod check;
mod config;
mod extension;
mod file_name;
mod job;
mod plan;
mod post_process;
mod select;
mod source;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use config::FileConfig;
