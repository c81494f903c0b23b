//! SFTP servers.
//!
//! ```text
//! config ──▶ server ──▶ transport: TCP, keys, host key verified ──▶ login ──▶ session: requests under way together
//!              ▲ again, when the connection breaks                              ├── list, look, rename, remove
//!              └──────────────────────────────────────────────────────────────  └── read: ahead, in order, resumed
//! ```
//!
//! What holds: no login is sent to a server whose host key is not known, no refused login is tried again, and what is read
//! is the file that was found, from its first byte to its last, or an error.
//!
//! The packets of SFTP are made here (`protocol`) and not by a crate: that at hand takes handles and names for Unicode
//! text, which they are not, ends the session on a status that it does not know, and has no reads under way together that
//! can be resumed.

mod algorithms;
mod config;
// The settings are checked in every build, with what they are made of.
#[cfg_attr(
    not(feature = "sftp"),
    allow(dead_code, reason = "only the client uses the rest")
)]
mod host_key;
#[cfg(feature = "sftp")]
mod identity;
#[cfg(feature = "sftp")]
mod login;
#[cfg(feature = "sftp")]
mod protocol;
#[cfg(feature = "sftp")]
mod read;
#[cfg(feature = "sftp")]
mod server;
#[cfg(feature = "sftp")]
mod session;
#[cfg(feature = "sftp")]
mod storage;
#[cfg(feature = "sftp")]
mod transport;

pub use config::SftpConfig;
#[cfg(feature = "sftp")]
pub(crate) use storage::connect;
#[cfg(feature = "sftp")]
#[doc(hidden)]
pub use storage::throw_away;

#[cfg(not(feature = "sftp"))]
pub(crate) async fn connect(
    remote: &crate::storage::location::RemoteLocation,
    _: Option<&SftpConfig>,
    _: &crate::component::SourceContext,
) -> crate::error::Result<std::sync::Arc<dyn super::Storage>> {
    // Whoever asks has looked before.
    let (message, hint) = crate::storage::location::missing(remote);
    Err(crate::error::Error::config(message).with_hint(hint))
}
