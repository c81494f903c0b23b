//! Why an operation on an SFTP server failed.

use std::fmt;

use russh::keys::PublicKey;
use sftp_client::Status;

use super::host_key::HostKeyStatus;
use crate::error::Error;
use crate::http::retry::AttemptError;

/// The failures of SSH and SFTP; [`Transient`](Self::Transient) ones are retried.
#[derive(Debug)]
pub(super) enum SftpError {
    /// The server rejected a request.
    Status(Status),
    /// A new connection may succeed.
    Transient(Error),
    /// Retrying does not help.
    Permanent(Error),
    /// The file is not the one that was listed.
    Changed,
    /// The server closed the connection during a login: that may count as a failed login.
    LoginUnanswered(String),
    /// The host key is not trusted.
    HostKey(Box<PublicKey>, HostKeyStatus),
    /// An error of the SSH library.
    Ssh(russh::Error),
}

impl From<russh::Error> for SftpError {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl fmt::Display for SftpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Transient(error) | Self::Permanent(error) => f.write_str(&error.chain()),
            Self::Changed => f.write_str("the file changed"),
            Self::LoginUnanswered(reason) => f.write_str(reason),
            Self::HostKey(..) => f.write_str("the host key is not trusted"),
            Self::Ssh(error) => error.fmt(f),
        }
    }
}

impl AttemptError for SftpError {
    fn is_unknown(&self) -> bool {
        false
    }
}

/// The cause of an error, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Cause(pub(super) String);
