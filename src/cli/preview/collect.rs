//! A sink that keeps the first rows.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::component::Problems;
use crate::component::{
    Chunk, Input, InputDescription, Item, Output, Sink, SinkConfig, SinkContext, Source, SourceConfig,
    SourceContext, SourceTraits,
};
use crate::error::Result;

/// The first rows of a component. Cheap to clone. `Debug` shows no rows.
#[derive(Clone)]
pub(super) struct Collected {
    name: Arc<str>,
    enough: usize,
    max: usize,
    kept: Arc<Mutex<Vec<Chunk>>>,
}

impl Collected {
    /// Collects until there are `enough` rows of the component `name`, and keeps at most `max`.
    pub(super) fn new(name: String, enough: usize, max: usize) -> Self {
        Self {
            name: name.into(),
            enough,
            max: max.max(enough),
            kept: Arc::default(),
        }
    }

    /// The component.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The rows in their chunks; a chunk without rows has the columns.
    pub(super) fn chunks(&self) -> MutexGuard<'_, Vec<Chunk>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows kept.
    pub(super) fn rows(&self) -> usize {
        self.chunks().iter().map(Chunk::num_rows).sum()
    }

    /// Whether no more rows are wanted.
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

/// A source that stops after enough rows.
#[derive(Debug)]
pub(super) struct LimitedSource {
    pub(super) config: Box<dyn SourceConfig>,
    /// Whether it ignores its saved position, after which there may be nothing to show.
    pub(super) from_start: bool,
    pub(super) enough: u64,
}

struct Limited(Box<dyn Source>, u64);

#[async_trait]
impl Source for Limited {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        out.hint_enough(self.1);
        self.0.run(out).await
    }
}

#[async_trait]
impl SourceConfig for LimitedSource {
    fn validate(&self, problems: &mut Problems<'_>) {
        self.config.validate(problems);
    }

    fn traits(&self) -> SourceTraits {
        let mut traits = self.config.traits();
        traits.keeps_position &= !self.from_start;
        traits
    }

    async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>> {
        let source = self.config.build(cx).await?;
        Ok(Box::new(Limited(source, self.enough)))
    }
}

/// The collecting sink. Stops the run once all of them are full.
#[derive(Debug)]
pub(super) struct Collect {
    collected: Collected,
    missing: Arc<AtomicUsize>,
}

impl Collect {
    /// `missing` is the shared number of collecting sinks that are not full.
    pub(super) fn new(collected: Collected, missing: Arc<AtomicUsize>) -> Self {
        Self { collected, missing }
    }
}

#[async_trait]
impl SinkConfig for Collect {
    fn validate(&self, _: &[InputDescription], _: &mut Problems<'_>) {}

    async fn build(&self, cx: SinkContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Collector {
            cx,
            collected: self.collected.clone(),
            missing: self.missing.clone(),
        }))
    }
}

struct Collector {
    cx: SinkContext,
    collected: Collected,
    missing: Arc<AtomicUsize>,
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
            if full && self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.cx.run.cancel.cancel();
            }
        }
        Ok(())
    }
}
