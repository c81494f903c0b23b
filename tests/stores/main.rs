//! Files in object stores and on web servers: against Azurite, moto's server, and servers of our own that break off, change
//! their mind or know no ranges.

#![cfg(all(unix, feature = "s3", feature = "azure", feature = "https"))]
#![allow(clippy::disallowed_methods, reason = "a server of a test ends with it")]
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "what is left out is said")]

mod azure;
mod data;
mod examples;
#[path = "../support/external.rs"]
mod external;
mod proxy;
mod s3;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod web;
