//! The example pipelines of `config-examples/hris`, each against a local server that behaves like the HR system, with
//! the rows that reach the emulator compared whole.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "a server of a test ends with it")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod adp;
mod bamboohr;
mod dayforce;
mod hibob;
mod oracle_hcm;
mod personio;
mod shared;
mod stand;
mod successfactors;
mod ukg;
mod workday;
