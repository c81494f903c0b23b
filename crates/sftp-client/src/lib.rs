//! An SFTP client (version 3) over any byte stream, such as a channel of an SSH connection.
//!
//! Requests run concurrently, and reads are pipelined, so that the round-trip time does not limit the throughput.
//! Handles and names are bytes: servers use arbitrary bytes as handles, and file names need not be valid Unicode. Status
//! codes of later protocol versions are accepted, because servers send them.

mod packet;
mod read;
mod session;

use std::fmt;

pub use packet::{Attributes, DirEntry, Status};
pub use read::RangeReader;
pub use session::{File, Session};

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The server answered with an error status.
    Status(Status),
    /// The connection is closed or does not respond; a new one may work.
    Disconnected(String),
    /// The server violated the protocol, or does not offer SFTP.
    Protocol(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Disconnected(message) | Self::Protocol(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;
