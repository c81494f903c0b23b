//! The part of [remembered tables](crate::remember) in a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::component::{Chunk, Outputs, RunInfo};
use crate::config::{PipelineConfig, Remembered};
use crate::error::{Error, Result};
use crate::remember::{Complete, Recorder};

/// Chunks that may wait for a recorder.
const CHANNEL_CAPACITY: usize = 2;

/// What was written down of the sources that have ended. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Recorded(Arc<Mutex<Vec<Named<Recorder>>>>);

/// Something of a source, with the source's name.
type Named<T> = (String, T);

/// A failure, with the source it belongs to.
type Failed = (Option<String>, Error);

/// The taps of a run's remembered sources, before anybody listens at them.
pub(super) struct Taps<'c> {
    taps: BTreeMap<&'c str, (&'c Remembered, mpsc::Receiver<Chunk>)>,
    senders: BTreeMap<&'c str, mpsc::Sender<Chunk>>,
}

impl<'c> Taps<'c> {
    pub(super) fn new(config: &'c PipelineConfig) -> Self {
        let mut taps = BTreeMap::new();
        let mut senders = BTreeMap::new();
        for remembered in &config.remembered {
            let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
            senders.insert(remembered.source.as_str(), sender);
            taps.insert(remembered.source.as_str(), (remembered, receiver));
        }
        Self { taps, senders }
    }

    /// The tap for the output of `source`, if its rows are remembered; once.
    pub(super) fn of(&mut self, source: &str) -> Option<mpsc::Sender<Chunk>> {
        self.senders.remove(source)
    }

    /// Begins to record: one recorder for each source.
    ///
    /// # Errors
    /// A file cannot be begun.
    pub(super) fn open(
        self,
        run: &RunInfo,
        state: &Path,
        pipeline: &str,
        now: Timestamp,
    ) -> Result<Vec<Recording>, Failed> {
        self.taps
            .into_values()
            .map(|(remembered, chunks)| {
                let failed = |error| (Some(remembered.source.clone()), error);
                let recorder = Recorder::begin(remembered, run, state, pipeline, now).map_err(failed)?;
                Ok(Recording {
                    source: remembered.source.clone(),
                    chunks,
                    recorder,
                })
            })
            .collect()
    }
}

/// A recorder and what it listens to.
pub(super) struct Recording {
    pub(super) source: String,
    chunks: mpsc::Receiver<Chunk>,
    recorder: Recorder,
}

impl Recording {
    /// Records until the source has ended. A failure cancels the run before the source notices it: what comes after must
    /// not be taken for the end of the rows.
    pub(super) async fn run(self, into: Recorded, cancel: CancellationToken) -> Result<()> {
        let Self {
            source,
            mut chunks,
            mut recorder,
        } = self;
        let work = move || {
            // Gone before the receiver, also in a panic.
            let unless_well = cancel.drop_guard();
            while let Some(chunk) = chunks.blocking_recv() {
                recorder.add(&chunk)?;
            }
            unless_well.disarm();
            into.lock().push((source, recorder));
            Ok(())
        };
        spawn_blocking(work)
            .await
            .map_err(|error| Error::broken_off("remembering rows", &error))?
    }
}

impl Recorded {
    /// Takes what was written down out. Dropped, nothing of it is left.
    pub(super) fn take(&self) -> Vec<Named<Recorder>> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Named<Recorder>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds what earlier runs remember, and sees to it that all is on the disk.
pub(super) async fn complete(recorded: Vec<Named<Recorder>>) -> Result<Vec<Named<Complete>>, Failed> {
    let mut complete = Vec::new();
    for (source, recorder) in recorded {
        match blocking(move || recorder.complete()).await {
            Ok(file) => complete.push((source, file)),
            Err(error) => return Err((Some(source), error)),
        }
    }
    Ok(complete)
}

/// Makes what was written down what is remembered.
pub(super) async fn put_in_place(complete: Vec<Named<Complete>>, outputs: &Outputs) -> Result<(), Failed> {
    for (source, file) in complete {
        let name = source.clone();
        match blocking(move || file.put_in_place(&name)).await {
            Ok(Some((path, what))) => outputs.add(&source, what, path),
            Ok(None) => {}
            Err(error) => return Err((Some(source), error)),
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work)
        .await
        .map_err(|error| Error::broken_off("remembering rows", &error))?
}
