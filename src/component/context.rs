//! What the engine gives a component when it is built.

use std::any::{Any, TypeId};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::{BatchReport, Counts, Outputs, Recorder, Reject, Rejects, RowKind};
use crate::error::Result;

/// The run that a component works for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunInfo {
    /// A time-ordered UUID; in the report, in names of files and in log lines.
    pub id: Arc<str>,
    /// The name of the pipeline in the ledger.
    pub pipeline: Arc<str>,
    /// The folder that relative paths of the pipeline file are relative to.
    pub base: Arc<PathBuf>,
    /// Do everything but send.
    pub dry_run: bool,
    /// Whether sources read only a part of their rows, so that a missing row is not a deleted one.
    pub partial: bool,
    /// Stores exchanges with services for a support case, if requested.
    pub record: Option<Recorder>,
    /// How long uploads in flight may take after the run is cancelled.
    pub grace: Duration,
    /// Cancelled when the run must stop: an interrupt, or a failed component.
    pub cancel: CancellationToken,
    /// What components of a run share.
    pub services: Services,
    /// The folder of the ledger, for files that last no longer than the run.
    pub state: Arc<Path>,
}

impl RunInfo {
    /// A run without services, in the folder `base`; for tests of components.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        let base = base.into();
        Self {
            id: "test".into(),
            pipeline: "test".into(),
            state: base.as_path().into(),
            base: Arc::new(base),
            dry_run: false,
            partial: false,
            record: None,
            grace: Duration::from_secs(30),
            cancel: CancellationToken::new(),
            services: Services::default(),
        }
    }

    /// A folder for unnamed files: the ledger's if it exists, else the system's, which may be in memory.
    pub fn scratch_folder(&self) -> Arc<Path> {
        if self.state.is_dir() {
            self.state.clone()
        } else {
            std::env::temp_dir().into()
        }
    }
}

/// What components of a run share, by type: rate limiters, tokens, the ledger. Cheap to clone.
#[derive(Clone, Default)]
pub struct Services(Arc<Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>>);

impl Services {
    /// Adds a service in place of any other of its type.
    pub fn insert<T: Clone + Send + Sync + 'static>(&self, service: T) {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        services.insert(TypeId::of::<T>(), Box::new(service));
    }

    /// The service of this type, if the run has it.
    pub fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        services.get(&TypeId::of::<T>())?.downcast_ref::<T>().cloned()
    }

    /// The service of this type; the first call creates it.
    pub fn get_or_default<T: Clone + Default + Send + Sync + 'static>(&self) -> T {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let service = services
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Box::new(T::default()));
        service.downcast_ref::<T>().cloned().unwrap_or_default()
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Services")
    }
}

/// For [`SourceConfig::build`](super::SourceConfig::build).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SourceContext {
    /// The component's name in the pipeline file.
    pub name: Arc<str>,
    /// The run.
    pub run: RunInfo,
    /// The columns that other components use; `None`: all.
    pub columns: Option<Arc<BTreeSet<String>>>,
    /// The component's counters. The output counts rows as read.
    pub counts: Counts,
    /// The run's rejects; use [`reject`](Self::reject).
    pub rejects: Rejects,
    /// The source's position across runs.
    pub position: Position,
    /// Pages that the sources of the run have read, for the progress line.
    pub pages: Arc<AtomicU64>,
}

impl SourceContext {
    /// A context without position and rejects file; for tests of components.
    pub fn new(name: impl Into<Arc<str>>, run: RunInfo) -> Self {
        Self {
            name: name.into(),
            run,
            columns: None,
            counts: Counts::default(),
            rejects: Rejects::in_memory(usize::MAX, false),
            position: Position::default(),
            pages: Arc::default(),
        }
    }

    /// Rejects a record that could not become a row of a chunk: it counts as read and as rejected.
    pub fn reject(&self, reject: Reject) {
        self.counts.read(1);
        self.counts.rejected(1);
        self.rejects.add(reject);
    }
}

/// A source's position, stored from run to run. Must not hold personal data.
#[derive(Debug, Clone, Default)]
pub struct Position {
    store: Option<Arc<dyn PositionStore>>,
    rejects: Option<Rejects>,
}

/// Stores the position of one source.
#[async_trait]
pub trait PositionStore: fmt::Debug + Send + Sync {
    /// The position saved last.
    async fn load(&self) -> Result<Option<String>>;

    /// Saves a position durably.
    async fn save(&self, position: String) -> Result<()>;
}

impl Position {
    /// A position in `store`. `rejects` are written before a position is saved, because rows before it may be among
    /// them.
    pub fn new(store: Option<Arc<dyn PositionStore>>, rejects: Rejects) -> Self {
        Self {
            store,
            rejects: Some(rejects),
        }
    }

    /// The position saved last; `None` in the first run, or if the source has no
    /// [position](super::SourceTraits::keeps_position).
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(&self) -> Result<Option<String>> {
        match &self.store {
            Some(store) => store.load().await,
            None => Ok(None),
        }
    }

    /// Saves `position` durably. Call it only after the checkpoint at this position was
    /// [delivered](super::Delivered).
    ///
    /// # Errors
    /// The store or the rejects file cannot be written.
    pub async fn save(&self, position: impl Into<String> + Send) -> Result<()> {
        if let Some(rejects) = &self.rejects {
            rejects.flush()?;
        }
        match &self.store {
            Some(store) => store.save(position.into()).await,
            None => Ok(()),
        }
    }
}

/// One of a component's inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputDescription {
    /// Name of the component that sends.
    pub name: Arc<str>,
    /// The kind of its rows.
    pub kind: RowKind,
}

/// For [`TransformConfig::build`](super::TransformConfig::build).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TransformContext {
    /// The component's name in the pipeline file.
    pub name: Arc<str>,
    /// The run.
    pub run: RunInfo,
    /// The inputs, in the order of `inputs`.
    pub inputs: Vec<InputDescription>,
    /// The component's counters.
    pub counts: Counts,
    /// The run's rejects; use [`reject`](Self::reject).
    pub rejects: Rejects,
}

impl TransformContext {
    /// A context without rejects file; for tests of components.
    pub fn new(name: impl Into<Arc<str>>, run: RunInfo, inputs: Vec<InputDescription>) -> Self {
        Self {
            name: name.into(),
            run,
            inputs,
            counts: Counts::default(),
            rejects: Rejects::in_memory(usize::MAX, false),
        }
    }

    /// Rejects a row and counts it.
    pub fn reject(&self, reject: Reject) {
        self.counts.rejected(1);
        self.rejects.add(reject);
    }
}

/// For [`SinkConfig::build`](super::SinkConfig::build).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SinkContext {
    /// The component's name in the pipeline file.
    pub name: Arc<str>,
    /// The run.
    pub run: RunInfo,
    /// The inputs, in the order of `inputs`.
    pub inputs: Vec<InputDescription>,
    /// The component's counters.
    pub counts: Counts,
    /// The run's rejects; use [`reject`](Self::reject).
    pub rejects: Rejects,
    /// Receives a line for each batch, for the report and the progress bar.
    pub batches: UnboundedSender<BatchReport>,
    /// Uploads in flight, for the progress bar.
    pub in_flight: Arc<AtomicUsize>,
    /// Files that the run leaves behind, for the report.
    pub outputs: Outputs,
}

impl SinkContext {
    /// A context without report and rejects file; for tests of components.
    pub fn new(name: impl Into<Arc<str>>, run: RunInfo, inputs: Vec<InputDescription>) -> Self {
        Self {
            name: name.into(),
            run,
            inputs,
            counts: Counts::default(),
            rejects: Rejects::in_memory(usize::MAX, false),
            batches: unbounded_channel().0,
            in_flight: Arc::default(),
            outputs: Outputs::default(),
        }
    }

    /// Rejects a row and counts it.
    pub fn reject(&self, reject: Reject) {
        self.counts.rejected(1);
        self.rejects.add(reject);
    }
}
