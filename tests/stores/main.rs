//! Files in object stores and on web servers: against Azurite, moto's server, and servers of our own that abort, change the
//! content or do not support ranges.

#![cfg(all(unix, feature = "s3", feature = "azure", feature = "https"))]
#![allow(clippy::disallowed_methods, reason = "servers end with their test")]
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "reports skipped tests")]

mod azure;
mod data;
mod examples;
#[path = "../support/external.rs"]
mod external;
mod objects;
mod proxy;
mod s3;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod web;
