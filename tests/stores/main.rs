//! Files in object stores and on web servers: against Azurite, moto's server, and servers of our own that break off, change
//! their mind or know no ranges.

#![cfg(all(unix, feature = "s3", feature = "azure", feature = "https"))]
#![allow(clippy::disallowed_methods, reason = "a server of a test ends with it")]
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "what is left out is said")]

mod azure;
#[path = "../common/mod.rs"]
mod common;
mod data;
mod examples;
#[path = "../common/outside.rs"]
mod outside;
mod proxy;
mod s3;
mod servers;
mod web;
