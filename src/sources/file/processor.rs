//! Waits until the rows of files are final, in order, while other files are read.

use std::sync::Arc;

use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::post_process::FileActions;
use super::select::Rank;
use super::state::ProcessedFiles;
use crate::component::{Delivered, Position, Rejects};
use crate::error::Result;
use crate::storage::{FileInfo, Storage};

pub(super) struct SentFile {
    pub(super) file: FileInfo,
    pub(super) hash: Option<String>,
    pub(super) rows: u64,
    pub(super) delivered: Delivered,
}

/// Files after which the ledger is written even if more are ready.
const MAX_READY: usize = 100;

/// Saves which files are final, and moves or deletes them.
#[derive(Debug)]
pub(super) struct PostProcessor {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) state: ProcessedFiles,
    pub(super) actions: FileActions,
    /// Files of earlier runs that are still to be moved or deleted.
    pub(super) pending: Vec<FileInfo>,
    pub(super) listed_at: Timestamp,
    /// With `select.newest`: the glob and the rank to save for the file of this run.
    pub(super) newest: Option<(String, Rank)>,
    /// Whether the state is saved and files are moved or deleted; not for standard input, nor in a run that only reads.
    pub(super) active: bool,
    pub(super) position: Position,
    pub(super) rejects: Rejects,
}

impl PostProcessor {
    pub(super) async fn run(mut self, mut sent: mpsc::UnboundedReceiver<SentFile>) -> Result<()> {
        if !self.active {
            while let Some(file) = sent.recv().await {
                file.delivered.await;
            }
            return Ok(());
        }
        let mut unsaved = self.process_pending().await;
        let mut next = None;
        loop {
            let Some(mut first) = (match next.take() {
                Some(file) => Some(file),
                None => sent.recv().await,
            }) else {
                break;
            };
            if !(&mut first.delivered).await {
                continue;
            }
            // The ledger is written once for all files that are ready.
            let mut ready = Vec::from_iter(self.note(first));
            while ready.len() < MAX_READY {
                let Ok(mut file) = sent.try_recv() else { break };
                match (&mut file.delivered).now_or_never() {
                    Some(true) => ready.extend(self.note(file)),
                    Some(false) => {}
                    None => {
                        next = Some(file);
                        break;
                    }
                }
            }
            if ready.is_empty() {
                continue;
            }
            self.save().await?;
            unsaved = false;
            for file in &ready {
                unsaved |= self.process(file).await;
            }
        }
        if unsaved {
            self.save().await?;
        }
        Ok(())
    }

    /// Processes the files of earlier runs, in a run that reads nothing.
    pub(super) async fn only_pending(mut self) -> Result<()> {
        if self.active && self.process_pending().await {
            self.save().await?;
        }
        Ok(())
    }

    async fn process_pending(&mut self) -> bool {
        let pending = std::mem::take(&mut self.pending);
        for file in &pending {
            self.process(file).await;
        }
        !pending.is_empty()
    }

    /// Notes that the rows of a file are final and that it is still to be processed; then returns the file.
    ///
    /// A file whose rows were all rejected, or with rejects in a run that has too many, counts as not read: rather the
    /// mapping is wrong than every row, and without the file its rows would be lost.
    fn note(&mut self, sent: SentFile) -> Option<FileInfo> {
        let SentFile { file, hash, rows, .. } = sent;
        let rejected = self.rejects.rows_of(&file.name);
        let why = match rejected {
            0 => None,
            _ if rejected >= rows => Some("every row of the file was rejected"),
            _ if self.rejects.exceed_limit() => {
                Some("more rows were rejected than `rejects.max_ratio` allows")
            }
            _ => None,
        };
        if let Some(why) = why {
            tracing::warn!(
                file = %file.name, rows, rejected,
                "{why}: the file is kept, and the next run reads it again"
            );
            return None;
        }
        let pending = self.actions.changes_delivered();
        self.state.insert(&file, hash, self.listed_at, pending);
        if let Some((glob, rank)) = self.newest.take() {
            self.state.set_newest(&glob, rank, self.listed_at);
        }
        Some(file)
    }

    async fn process(&mut self, file: &FileInfo) -> bool {
        match self.actions.delivered(&*self.storage, file).await {
            Ok(true) => {
                self.state.remove(&file.path);
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(
                    file = %file.name,
                    "the file was delivered, but cannot be moved or deleted; the next run does not read it, and tries again: {}",
                    error.chain()
                );
                for hint in error.hints() {
                    tracing::warn!("{hint}");
                }
                false
            }
        }
    }

    async fn save(&self) -> Result<()> {
        self.position.save(self.state.to_text()).await
    }
}
