//! A scripted HTTP and TLS server for tests.
//!
//! It answers from a queue of steps or a handler, and records every request. A request that nothing
//! answers fails the test: in [`Server::finish`], or when the server is dropped. The HTTP is written by hand so that a
//! step can do what a server library refuses to: close mid-stream, stall, trickle, send garbage.

pub mod certificates;
mod message;
mod server;

pub use message::{Reply, Request, Step};
pub use server::{Builder, Server, Tls};
