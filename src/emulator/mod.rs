//! A local implementation of Entra's token endpoint and the HR connector's ingestion endpoint.
//!
//! For pipelines without a tenant, rehearsals of failures, and tests. Plain HTTP, for this machine only. One address is
//! both the authority and the ingestion endpoint:
//!
//! ```text
//! POST /{tenant}/oauth2/token, /{tenant}/oauth2/v2.0/token   a token, or an error in the style of Entra
//! POST /api/signals?jobid=…                                  an upload: fault? token? job? body? ─▶ CSV ─▶ rows, log
//! GET /, GET /imports, GET /faults, PUT /faults              status and control
//! ```

mod config;
mod faults;
mod ingest;
mod inject;
mod refusal;
mod server;
mod state;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod token;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub(crate) use config::Job;
pub use config::{App, EmulatorConfig, RESOURCE};
pub use faults::Faults;
pub use state::Status;
pub use store::{AcceptedRow, Import, JobCounts};

use crate::error::{Error, Result};
use state::Shared;
use store::Store;

/// How long [`Emulator::stop`] waits for requests in flight.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running emulator. Drop it to end it immediately; [`stop`](Self::stop) waits for requests in flight.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinSet<()>,
}

impl Emulator {
    /// Opens the data folder and serves on the address.
    ///
    /// # Errors
    /// The settings are invalid, the data folder is not usable, or the address is not available.
    pub async fn start(config: EmulatorConfig) -> Result<Self> {
        config.checked()?;
        let wanted = config.address.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
        let cannot_listen = |e: std::io::Error| {
            Error::config(format!("cannot listen on `{wanted}`"))
                .with_source(e)
                .with_hint("another program may use the port; port 0 selects a free one")
        };
        let listener = TcpListener::bind(wanted).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "other machines can reach the emulator, over plain HTTP");
        }
        let store = Store::open(config.data.clone())?;
        let shared = Arc::new(Shared::new(config, format!("http://{address}"), store));
        let mut server = JoinSet::new();
        server.spawn(server::serve(listener, shared.clone()));
        tracing::info!(%address, "emulator started");
        Ok(Self {
            address,
            shared,
            server,
        })
    }

    /// `http://HOST:PORT`, without a trailing slash: both the authority and the ingestion endpoint.
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The last 10,000 uploads accepted since the start, oldest first.
    pub fn imports(&self) -> Vec<Import> {
        self.shared.store.imports()
    }

    /// The accepted rows, in the order of the imports. With a data folder they include those of earlier runs.
    ///
    /// # Errors
    /// The data folder cannot be read.
    pub fn accepted_rows(&self) -> Result<Vec<AcceptedRow>> {
        self.shared.store.accepted_rows()
    }

    /// Counts and settings.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Replaces all faults and restarts their request counts.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.set_faults(faults);
    }

    /// Stops accepting connections, sends delayed responses at once, waits for requests in flight and ends.
    ///
    /// # Errors
    /// Requests were still in flight after ten seconds and were aborted.
    pub async fn stop(mut self) -> Result<()> {
        self.shared.stopping.cancel();
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.server.join_next()).await;
        // Dropping the set aborts the remaining requests.
        match ended {
            Ok(None | Some(Ok(()))) => {
                tracing::info!("emulator stopped");
                Ok(())
            }
            Ok(Some(Err(error))) => {
                Err(Error::unexpected("the emulator's server task failed").with_source(error))
            }
            Err(_) => Err(Error::unexpected(format!(
                "the emulator aborted requests still in flight after {} s",
                STOP_TIMEOUT.as_secs()
            ))),
        }
    }
}
