//! Interrupts: the first one stops a run gracefully, the second one at once.

use super::block_on;
use crate::error::{Error, Result};
use crate::pipeline::ExitCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Interrupt,
    /// SIGTERM: a scheduler, a shutdown.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no SIGTERM"))]
    Terminate,
}

impl Signal {
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => ExitCode::Interrupted as u8,
            Self::Terminate => ExitCode::Terminated as u8,
        }
    }
}

/// Runs `work` to its end, or to the first signal, whose exit code is the error.
pub(super) fn until_signal<F: Future>(work: F) -> Result<Result<F::Output, u8>> {
    block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            output = work => Ok(Ok(output)),
            signal = signals.next() => Ok(Err(signal.exit_code())),
        }
    })?
}

pub(super) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Replaces the system's default handling. Requires a runtime.
    pub(super) fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|error| Error::unexpected("cannot listen for interrupts").with_source(error))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            else => std::future::pending().await,
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(super) fn listen() -> Result<Self> {
        Ok(Self {})
    }

    pub(super) async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(error) => {
                tracing::warn!(%error, "cannot listen for interrupts");
                std::future::pending().await
            }
        }
    }
}
