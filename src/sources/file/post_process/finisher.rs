//! What is done with files once their rows are final, in their order, while others are read.

use std::sync::Arc;

use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{FileActions, OnSuccess};
use crate::component::{Delivered, Position, Rejects};
use crate::error::Result;
use crate::sources::file::select::Rank;
use crate::sources::file::state::ProcessedFiles;
use crate::storage::{FileInfo, Storage};

/// What is known about files, and what is done with them.
#[derive(Debug)]
pub(in crate::sources::file) struct PostProcessing {
    pub(in crate::sources::file) memory: ProcessedFiles,
    pub(in crate::sources::file) afterwards: FileActions,
    /// Files of earlier runs that are still to be moved or removed.
    pub(in crate::sources::file) pending: Vec<FileInfo>,
    /// When the files were listed.
    pub(in crate::sources::file) listed: Timestamp,
    /// What the one file of a run that takes the newest is remembered as, and the path that found it.
    pub(in crate::sources::file) newest: Option<(String, Rank)>,
    /// Whether files are remembered and moved at all: not by standard input, and not in a run that only looks.
    pub(in crate::sources::file) active: bool,
    /// Whether anything is done with files: not in a run that only looks.
    pub(in crate::sources::file) acts: bool,
}

/// A file whose rows are on their way.
pub(in crate::sources::file) struct InFlightFile {
    pub(in crate::sources::file) file: FileInfo,
    pub(in crate::sources::file) hash: Option<String>,
    /// Rows read of it.
    pub(in crate::sources::file) rows: u64,
    pub(in crate::sources::file) delivered: Delivered,
}

/// Files after which the ledger is written, though more are ready.
const READY: usize = 100;

/// Finishes files once their rows are final.
pub(in crate::sources::file) struct PostProcessor {
    pub(in crate::sources::file) place: Arc<dyn Storage>,
    pub(in crate::sources::file) keeping: PostProcessing,
    pub(in crate::sources::file) position: Position,
    pub(in crate::sources::file) rejects: Rejects,
}

impl PostProcessor {
    pub(in crate::sources::file) async fn run(
        mut self,
        mut waiting: mpsc::UnboundedReceiver<InFlightFile>,
    ) -> Result<()> {
        if !self.keeping.active {
            while let Some(sent) = waiting.recv().await {
                sent.delivered.await;
            }
            return Ok(());
        }
        let mut unsaved = self.finish_pending().await;
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(sent) => Some(sent),
                None => waiting.recv().await,
            };
            let Some(mut first) = first else { break };
            if !(&mut first.delivered).await {
                continue;
            }
            // The ledger is written once for all that are ready.
            let mut ready = Vec::from_iter(self.note(first));
            while ready.len() < READY {
                let Ok(mut further) = waiting.try_recv() else {
                    break;
                };
                match (&mut further.delivered).now_or_never() {
                    Some(true) => ready.extend(self.note(further)),
                    Some(false) => {}
                    None => {
                        next = Some(further);
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
                unsaved |= self.act(file).await;
            }
        }
        if unsaved {
            self.save().await?;
        }
        Ok(())
    }

    /// Does what is still to be done of earlier runs, in a run that reads nothing, and saves that.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub(in crate::sources::file) async fn only_pending(mut self) -> Result<()> {
        if self.keeping.active && self.finish_pending().await {
            self.save().await?;
        }
        Ok(())
    }

    /// Does what is still to be done of earlier runs. Whether the memory is to be saved.
    async fn finish_pending(&mut self) -> bool {
        let pending = std::mem::take(&mut self.keeping.pending);
        for file in &pending {
            self.act(file).await;
        }
        !pending.is_empty()
    }

    /// Notes that the rows of a file are final, and that something may be still to be done with it; then gives the file.
    ///
    /// A file none of whose rows could be sent, or with rejects in a run that has more of them than it may, is left as if
    /// it had not been read: the mistake is rather in the mapping than in every row, and with the file its rows would be
    /// gone.
    fn note(&mut self, sent: InFlightFile) -> Option<FileInfo> {
        let InFlightFile { file, hash, rows, .. } = sent;
        let rejected = self.rejects.rows_of(&file.name);
        let too_many = match (rejected, rows) {
            (0, _) => None,
            (rejected, rows) if rejected >= rows => Some("every row of the file was rejected"),
            _ if self.rejects.too_many() => Some("more rows were rejected than `rejects.max_ratio` allows"),
            _ => None,
        };
        if let Some(why) = too_many {
            tracing::warn!(
                file = %file.name, rows, rejected,
                "{why}: the file stays where it is, counts as not read, and the next run reads it again"
            );
            return None;
        }
        let acts = self.keeping.afterwards.after != OnSuccess::Leave;
        self.keeping.memory.note(&file, hash, self.keeping.listed, acts);
        if let Some((path, rank)) = self.keeping.newest.take() {
            self.keeping.memory.delivered(&path, rank, self.keeping.listed);
        }
        Some(file)
    }

    /// Does what is to be done with a file. Whether the memory is another by that.
    async fn act(&mut self, file: &FileInfo) -> bool {
        match self.keeping.afterwards.delivered(&*self.place, file).await {
            Ok(true) => {
                self.keeping.memory.forget(&file.path);
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(
                    file = %file.name,
                    "the file was delivered but stays where it is, and is not read again; the next run tries it again: {}",
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
        self.position.save(self.keeping.memory.text()).await
    }
}
