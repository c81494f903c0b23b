//! How to run a pipeline.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::RejectsFile;
use crate::component::{Rejects, RunInfo};
use crate::config::{Guard, PipelineConfig};
use crate::secret::SecretFiles;

/// How to run a pipeline: [`RunOptions::default`], or [`with`](Self::with) other values.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunOptions {
    /// Do everything but send.
    pub dry_run: bool,
    /// Read at most so many rows of each source.
    pub limit: Option<u64>,
    /// Whether only a part of the rows is needed, so that sources may stop early.
    pub partial: bool,
    /// Rows of a source after which it may stop.
    pub enough: Option<u64>,
    /// Read the sources from the start, not from their saved positions.
    pub from_start: bool,
    /// A folder for recorded exchanges with services, for a support case; values are masked. Each run creates a folder in
    /// it. Default: none.
    pub record: Option<PathBuf>,
    /// Where rejects are written. Default: a new file in the folder of the pipeline file's `rejects.path`.
    pub rejects: RejectsTarget,
    /// Which secret files are accepted. Default: those that only their owner can access.
    pub secret_files: SecretFiles,
    /// Guards that may trip in this run. Recorded in the ledger.
    pub allow: BTreeSet<Guard>,
    /// How long uploads in flight may take after a cancel. Default 30 s.
    pub grace: Duration,
    /// Cancel to stop the run: sources stop reading, and uploads in flight finish within the grace period. The run never
    /// cancels it, so one token may stop several runs.
    pub cancel: CancellationToken,
}

/// Where rejects are written.
#[derive(Debug, Clone, Default)]
pub enum RejectsTarget {
    /// A new file in the folder of the pipeline file's `rejects.path`.
    #[default]
    Folder,
    /// This file.
    File(PathBuf),
    /// This collector.
    Collector(Rejects),
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            limit: None,
            partial: false,
            enough: None,
            from_start: false,
            record: None,
            rejects: RejectsTarget::default(),
            secret_files: SecretFiles::default(),
            allow: BTreeSet::new(),
            grace: Duration::from_secs(30),
            cancel: CancellationToken::new(),
        }
    }
}

impl RunOptions {
    /// The defaults with what `set` changes, as in `RunOptions::with(|options| options.dry_run = true)`.
    #[must_use]
    pub fn with(set: impl FnOnce(&mut Self)) -> Self {
        let mut options = Self::default();
        set(&mut options);
        options
    }
}

impl RejectsTarget {
    /// The collector of a run, and the file it writes to.
    pub(super) fn open(&self, config: &PipelineConfig, run: &RunInfo) -> (Rejects, Option<RejectsFile>) {
        let settings = &config.rejects;
        let file = match self {
            Self::Collector(rejects) => return (rejects.clone(), None),
            Self::File(path) => RejectsFile::at(path.clone()),
            Self::Folder => RejectsFile::in_folder(
                &config.base.join(&settings.path),
                &run.id,
                settings.max_files.as_usize(),
                settings.max_age.get(),
            ),
        };
        (file.rejects(settings.include_values), Some(file))
    }
}
