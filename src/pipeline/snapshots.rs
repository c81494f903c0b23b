//! Records [snapshots](crate::snapshot) during a run.

use std::path::Path;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::component::{Chunk, Outputs, RunInfo};
use crate::config::PipelineConfig;
use crate::disk::blocking;
use crate::error::{Error, Result};
use crate::snapshot::{FinishedSnapshot, Recorder, SourceSnapshot};

/// Chunks that may wait for a recorder.
const CHANNEL_CAPACITY: usize = 2;

pub(super) type Named<T> = (String, T);

type Failed = (Option<String>, Error);

/// Copies of the chunks of the sources with snapshots.
#[derive(Default)]
pub(super) struct Taps<'c>(Vec<(&'c SourceSnapshot, mpsc::Receiver<Chunk>)>);

impl<'c> Taps<'c> {
    /// The tap for the output of `source`, if it has a snapshot.
    pub(super) fn add(&mut self, config: &'c PipelineConfig, source: &str) -> Option<mpsc::Sender<Chunk>> {
        let snapshot = config
            .snapshots
            .iter()
            .find(|snapshot| snapshot.source == source)?;
        let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
        self.0.push((snapshot, receiver));
        Some(sender)
    }

    pub(super) fn open(self, run: &RunInfo, ledger: &Path, now: Timestamp) -> Result<Vec<Recording>, Failed> {
        let start = |(snapshot, chunks): (&SourceSnapshot, _)| {
            let source = snapshot.source.clone();
            match Recorder::start(snapshot, run, ledger, &run.pipeline, now) {
                Ok(recorder) => Ok(Recording {
                    source,
                    chunks,
                    recorder,
                }),
                Err(error) => Err((Some(source), error)),
            }
        };
        self.0.into_iter().map(start).collect()
    }
}

pub(super) struct Recording {
    pub(super) source: String,
    chunks: mpsc::Receiver<Chunk>,
    recorder: Recorder,
}

impl Recording {
    /// Records until the source ends. A failure cancels the run before the source notices: what follows must not look
    /// like the end of the rows.
    pub(super) async fn run(self, cancel: CancellationToken) -> Result<Recorder> {
        let Self {
            mut chunks,
            mut recorder,
            ..
        } = self;
        blocking("writing a snapshot", move || {
            // Declared after `chunks`, so dropped before it, also in a panic.
            let unless_ok = cancel.drop_guard();
            while let Some(chunk) = chunks.blocking_recv() {
                recorder.add(&chunk)?;
            }
            unless_ok.disarm();
            Ok(recorder)
        })
        .await
    }
}

/// Adds the rows carried over from earlier runs and syncs the files.
pub(super) async fn finish(recorded: Vec<Named<Recorder>>) -> Result<Vec<Named<FinishedSnapshot>>, Failed> {
    let mut finished = Vec::new();
    for (source, recorder) in recorded {
        match blocking("writing a snapshot", move || recorder.finish()).await {
            Ok(file) => finished.push((source, file)),
            Err(error) => return Err((Some(source), error)),
        }
    }
    Ok(finished)
}

pub(super) async fn replace(finished: Vec<Named<FinishedSnapshot>>, outputs: &Outputs) -> Result<(), Failed> {
    for (source, file) in finished {
        let name = source.clone();
        match blocking("writing a snapshot", move || file.replace(&name)).await {
            Ok(Some((path, what))) => outputs.add(&source, what, path),
            Ok(None) => {}
            Err(error) => return Err((Some(source), error)),
        }
    }
    Ok(())
}
