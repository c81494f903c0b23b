//! A local stand-in for Entra's token endpoint and the HR connector's ingestion endpoint.
//!
//! For trying a pipeline without a tenant, for rehearsing failures, and for tests. [`Emulator::start`] listens on one
//! address that is authority and ingestion endpoint at once:
//!
//! ```text
//! POST /{tenant}/oauth2/token, /{tenant}/oauth2/v2.0/token   a token, or an error in the style of Entra
//! POST /api/signals?jobid=…                                  an upload: fault? token? job? body? ─▶ CSV ─▶ rows, log
//! GET /, GET /imports, GET /faults, PUT /faults              for the person at the keyboard
//! ```
//!
//! What it keeps of an upload is what it answered 200 for, and the fault [`FaultKind::DropAfter`] alone keeps rows
//! without an answer. What the real service does where nothing documents it, the emulator guesses on the strict side;
//! `docs/src/reference/emulator.md` says which is which. Plain HTTP: it is for this machine, not for a network.

mod config;
mod faults;
mod ingest;
mod inject;
mod server;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use config::{App, EmulatorConfig, Job, RESOURCE};
pub use faults::{EndpointFaults, FaultKind, FaultRule, Faults, RetryAfter, TokenExpiry, When};
pub use store::{AcceptedRow, Import, JobCounts};

use crate::error::{Error, Result};
use server::Shared;
use store::Store;

/// The documented name of the column that says which scenario a row is of.
const SCENARIO_COLUMN: &str = "HRScenario";

/// How long [`Emulator::stop`] waits for requests in flight.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A running emulator. Dropping it ends it at once; [`stop`](Self::stop) lets requests in flight finish.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinSet<()>,
}

/// What happened so far, and what is set; the answer to `GET /`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The version of this crate.
    pub version: &'static str,
    /// The address to point a pipeline at.
    pub url: String,
    /// Whether every tenant, app and secret is taken.
    pub any_app: bool,
    /// Whether every job is taken.
    pub any_job: bool,
    /// Access tokens issued.
    pub tokens_issued: u64,
    /// Upload requests that came in, whatever became of them.
    pub uploads: u64,
    /// Uploads that were taken.
    pub imports: u64,
    /// Rows saved.
    pub rows_saved: u64,
    /// Uploads not taken, by status.
    pub refused: BTreeMap<u16, u64>,
    /// The faults in force, in the compact form.
    pub faults: String,
    /// How often each fault happened.
    pub injected: BTreeMap<String, u64>,
    /// What each job took.
    pub jobs: BTreeMap<Uuid, JobCounts>,
}

impl Emulator {
    /// Opens the data folder, listens and serves.
    ///
    /// # Errors
    /// The settings are wrong, the data folder cannot be used, or the address cannot be listened on.
    pub async fn start(config: EmulatorConfig) -> Result<Self> {
        config.checked()?;
        let cannot_listen = |e: std::io::Error| {
            Error::config(format!("cannot listen on `{}`", config.address))
                .with_source(e)
                .with_hint("another program may have the port; port 0 takes a free one")
        };
        let listener = TcpListener::bind(config.address).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "the emulator can be reached from other machines, and speaks plain HTTP");
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

    /// `http://HOST:PORT`, without a slash at its end: both the authority and the ingestion endpoint.
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The uploads taken since the start, oldest first; the last 10,000.
    pub fn imports(&self) -> Vec<Import> {
        self.shared.store.imports()
    }

    /// The rows taken, in the order of the imports. With a data folder they are read back from it, those of earlier
    /// runs included.
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

    /// Replaces all faults; their counting of requests starts again.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.set_faults(faults);
    }

    /// Takes no more connections, lets requests in flight finish (held-back answers are given at once) and ends.
    ///
    /// # Errors
    /// Requests were still in flight after ten seconds and were cut off.
    pub async fn stop(mut self) -> Result<()> {
        self.shared.stopping.cancel();
        let ended = tokio::time::timeout(STOP_WITHIN, self.server.join_next()).await;
        // Dropping the set ends what is left.
        match ended {
            Ok(None | Some(Ok(()))) => {
                tracing::info!("emulator stopped");
                Ok(())
            }
            Ok(Some(Err(error))) => {
                Err(Error::unexpected("the emulator's server task failed").with_source(error))
            }
            Err(_) => Err(Error::unexpected(format!(
                "the emulator cut off requests that were still in flight after {} s",
                STOP_WITHIN.as_secs()
            ))),
        }
    }
}
