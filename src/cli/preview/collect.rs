//! A sink that keeps the first rows.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::component::{Chunk, Input, InputDescription, Item, Problems, Sink, SinkConfig, SinkContext};
use crate::error::Result;

/// The first rows of a component, and the settings of the sink that collects them. Cheap to clone. `Debug` shows no rows.
#[derive(Clone)]
pub(super) struct Collected {
    pub(super) name: Arc<str>,
    /// Rows after which no more are wanted.
    pub(super) enough: usize,
    pub(super) max: usize,
    /// How many of the collecting sinks do not have enough.
    pub(super) missing: Arc<AtomicUsize>,
    pub(super) kept: Arc<Mutex<Vec<Chunk>>>,
}

impl Collected {
    /// The rows in their chunks; a chunk without rows has the columns.
    pub(super) fn chunks(&self) -> MutexGuard<'_, Vec<Chunk>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows(&self) -> usize {
        self.chunks().iter().map(Chunk::num_rows).sum()
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows() >= self.enough
    }

    fn keep(&self, chunk: &Chunk) {
        let wanted = (self.max - self.rows()).min(chunk.num_rows());
        let mut kept = self.chunks();
        if wanted > 0 || kept.is_empty() {
            kept.push(chunk.slice(0, wanted));
        }
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SinkConfig for Collected {
    fn validate(&self, _: &[InputDescription], _: &mut Problems<'_>) {}

    async fn build(&self, cx: SinkContext) -> Result<Box<dyn Sink>> {
        let collected = self.clone();
        Ok(Box::new(Collector { cx, collected }))
    }
}

/// Stops the run once all collecting sinks are full.
struct Collector {
    cx: SinkContext,
    collected: Collected,
}

#[async_trait]
impl Sink for Collector {
    async fn run(self: Box<Self>, input: &mut Input) -> Result<()> {
        let mut full = false;
        while let Some((_, item)) = input.next().await {
            // Checkpoints are dropped: the rows are not delivered.
            let Item::Chunk(chunk) = item else { continue };
            self.cx.counts.not_sent(chunk.num_rows());
            if full {
                continue;
            }
            self.collected.keep(&chunk);
            full = self.collected.is_full();
            if full && self.collected.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.cx.run.cancel.cancel();
            }
        }
        Ok(())
    }
}
