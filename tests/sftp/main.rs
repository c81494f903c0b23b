//! The source `file` against OpenSSH's own server, through whole pipelines.
//!
//! Each test starts an `sshd` of its own: own configuration, own host keys, a free port, files in a temporary folder.
//! Where the tests run as root, accounts with passwords and folders that an account may not write to are tested with users
//! that are made for it and removed behind it.

#![cfg(all(unix, feature = "sftp"))]
#![allow(clippy::disallowed_methods, reason = "what a test starts ends with it")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are given"
)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "../support/external.rs"]
mod external;

mod digest;
mod example;
mod files;
mod host_keys;
mod logins;
mod other_server;
mod pgp_example;
mod pipeline;
mod proxy;
mod sshd;
mod transfer;

/// Leaves the test out where servers of others are not wanted.
macro_rules! needs_sshd {
    () => {
        if !crate::external::enabled("SFTP") {
            return;
        }
    };
}

/// Leaves the test out where accounts cannot be made.
macro_rules! needs_root {
    ($what:literal) => {
        needs_sshd!();
        if !crate::external::enabled_as_root($what, crate::sshd::is_root()) {
            return;
        }
    };
}

use {needs_root, needs_sshd};
