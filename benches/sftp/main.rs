//! How fast files come from an SFTP server, beside OpenSSH's own `sftp` from the same server in the same run.
//!
//! ```text
//! cargo bench --bench sftp                      1 GB from an sshd on loopback, 5 runs each in turn; 32 MiB over 50 ms
//! HRSINK_BENCH_RUNS=3 cargo bench --bench sftp
//! ```
//!
//! Needs `sshd` and `sftp`, and GNU `time` for the peak memory. Read the medians and the ratios: absolute times are the
//! machine's. The 50 ms are put on the way by a proxy that holds every byte for 25 ms in each direction and lets any number
//! of them pass; who is compared there is OpenSSH's `sftp` with one request of 32 KiB under way (`-R 1 -B 32768`).

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its result is what it prints"
)]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "as tests")]

// The server is started as on Unix.
#[cfg(unix)]
mod measure;

fn main() {
    // `cargo test --benches` and `cargo nextest` only ask whether it starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    #[cfg(unix)]
    measure::all();
    #[cfg(not(unix))]
    println!("left out: it needs OpenSSH's server as Unix systems have it");
}
