//! The rows of one input: the batch being filled, and the order of its batches and checkpoints.

use std::collections::VecDeque;

use arrow::datatypes::SchemaRef;

use super::batch::Batcher;
use super::service::EncoderFactory;
use super::upload::PayloadColumns;
use crate::component::Checkpoint;
use crate::format::encode::CsvEncoder;

/// One input of a sink. Rows of different partitions or schemas never share a batch, so that the batches do not depend
/// on which input was faster.
#[derive(Clone)]
pub(crate) struct Partition {
    /// What the rows are, for the ledger, reports and file names: the identifier of a scenario, or `records`.
    pub(crate) label: &'static str,
    pub(crate) encoder: EncoderFactory,
}

/// A batch, or a checkpoint behind the batches before it.
enum Queued {
    Batch { number: u64, done: bool },
    Checkpoint(Checkpoint),
}

pub(super) struct PartitionState {
    pub(super) partition: Partition,
    pub(super) filling: Option<Filling>,
    /// Checkpoints that arrived while the batch was being filled.
    waiting: Vec<Checkpoint>,
    /// In the order of the input; only the front is released.
    queue: VecDeque<Queued>,
    /// A batch was not delivered: no later checkpoint is done.
    pub(super) incomplete: bool,
    /// Whether the warning about other header rows was logged.
    pub(super) warned: bool,
    /// The largest payload the service accepts, once it refused one for its size.
    pub(super) max_bytes: usize,
}

pub(super) struct Filling {
    pub(super) schema: SchemaRef,
    pub(super) encoder: CsvEncoder,
    pub(super) batcher: Batcher,
    pub(super) columns: PayloadColumns,
}

impl PartitionState {
    pub(super) fn new(partition: Partition) -> Self {
        Self {
            partition,
            filling: None,
            waiting: Vec::new(),
            queue: VecDeque::new(),
            incomplete: false,
            warned: false,
            max_bytes: usize::MAX,
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.filling
            .as_ref()
            .map_or(0, |filling| filling.batcher.pending())
    }

    pub(super) fn shrink(&mut self, bytes: usize) {
        self.max_bytes = self.max_bytes.min(bytes);
        if let Some(filling) = &mut self.filling {
            filling.batcher.shrink(bytes);
        }
    }

    /// Queues a batch, and the checkpoints after it: checkpoints come between chunks, so all rows before those waiting
    /// are in this batch or an earlier one.
    pub(super) fn queue_batch(&mut self, number: u64) {
        self.queue.push_back(Queued::Batch { number, done: false });
        self.queue.extend(self.waiting.drain(..).map(Queued::Checkpoint));
    }

    pub(super) fn add_checkpoint(&mut self, checkpoint: Checkpoint) {
        if self.incomplete {
            return;
        }
        if self.pending() > 0 {
            self.waiting.push(checkpoint);
        } else {
            self.queue.push_back(Queued::Checkpoint(checkpoint));
            self.release();
        }
    }

    pub(super) fn batch_done(&mut self, number: u64) {
        for queued in &mut self.queue {
            match queued {
                Queued::Batch { number: known, done } if *known == number => *done = true,
                _ => {}
            }
        }
        self.release();
    }

    fn release(&mut self) {
        while let Some(front) = self.queue.pop_front() {
            match front {
                Queued::Batch { done: true, .. } => {}
                Queued::Checkpoint(checkpoint) => checkpoint.done(),
                batch @ Queued::Batch { .. } => {
                    self.queue.push_front(batch);
                    return;
                }
            }
        }
    }

    /// Drops the checkpoints that will never be done, so that no source waits for them. `is_active`: whether a batch is
    /// in progress or about to be sent.
    pub(super) fn drop_stale_checkpoints(&mut self, is_active: impl Fn(u64) -> bool) {
        self.waiting.clear();
        let failed = self.queue.iter().position(|queued| match queued {
            Queued::Batch { number, done } => !done && !is_active(*number),
            Queued::Checkpoint(_) => false,
        });
        if let Some(failed) = failed {
            self.queue.truncate(failed);
        }
    }
}
