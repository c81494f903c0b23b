//! State that all requests share: settings, counts, issued tokens, accepted rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::config::{EmulatorConfig, Job};
use super::faults::Faults;
use super::inject::Injector;
use super::store::{JobCounts, Store};
use super::token::Tokens;

/// Counts and settings; the response to `GET /`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The version of this crate.
    pub version: &'static str,
    /// The address for the pipeline file.
    pub url: String,
    /// Whether every tenant, app and secret is accepted.
    pub any_app: bool,
    /// Whether every job is accepted.
    pub any_job: bool,
    /// Access tokens issued.
    pub tokens_issued: u64,
    /// Upload requests received, with any outcome.
    pub uploads: u64,
    /// Accepted uploads.
    pub imports: u64,
    /// Rows saved.
    pub rows_saved: u64,
    /// Refused uploads by status.
    pub refused: BTreeMap<u16, u64>,
    /// The current faults, in the compact form.
    pub faults: String,
    /// The number of injected faults by name.
    pub injected: BTreeMap<String, u64>,
    /// Accepted uploads and rows by job.
    pub jobs: BTreeMap<Uuid, JobCounts>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: EmulatorConfig,
    pub(super) url: String,
    pub(super) jobs: HashMap<Uuid, Arc<Job>>,
    pub(super) store: Store,
    state: Mutex<State>,
    pub(super) stopping: CancellationToken,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) injector: Injector,
    pub(super) tokens: Tokens,
    pub(super) uploads: u64,
    pub(super) refused: BTreeMap<u16, u64>,
}

impl Shared {
    pub(super) fn new(mut config: EmulatorConfig, url: String, store: Store) -> Self {
        let jobs = std::mem::take(&mut config.jobs);
        Self {
            state: Mutex::new(State {
                injector: Injector::new(std::mem::take(&mut config.faults)),
                tokens: Tokens::default(),
                uploads: 0,
                refused: BTreeMap::new(),
            }),
            jobs: jobs.into_iter().map(|job| (job.job_id, Arc::new(job))).collect(),
            config,
            url,
            store,
            stopping: CancellationToken::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        tracing::info!(%faults, "faults set");
        self.state().injector.set(faults);
    }

    pub(super) fn status(&self) -> Status {
        let jobs = self.store.jobs();
        let state = self.state();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            url: self.url.clone(),
            any_app: self.config.apps.is_empty(),
            any_job: self.jobs.is_empty(),
            tokens_issued: state.tokens.issued,
            uploads: state.uploads,
            imports: jobs.values().map(|job| job.imports).sum(),
            rows_saved: jobs.values().map(|job| job.rows_saved).sum(),
            refused: state.refused.clone(),
            faults: state.injector.faults.to_string(),
            injected: state.injector.injected.clone(),
            jobs,
        }
    }

    /// Delays a response, until [`stopping`](Self::stopping).
    pub(super) async fn delay(&self, latency: Duration) {
        if !latency.is_zero() {
            drop(tokio::time::timeout(latency, self.stopping.cancelled()).await);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
