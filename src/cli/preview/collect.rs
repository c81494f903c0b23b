//! A sink that keeps the first rows.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::component::{
    Chunk, Input, InputDescription, Item, Output, RowKind, Sink, SinkConfig, SinkContext, Source,
    SourceConfig, SourceContext,
};
use crate::config::Problems;
use crate::error::Result;

/// The first rows of a component. Cheap to clone. `Debug` shows no row.
#[derive(Clone)]
pub(super) struct Collected {
    name: Arc<str>,
    enough: usize,
    most: usize,
    kept: Arc<Mutex<Vec<Chunk>>>,
}

impl Collected {
    /// Wants `enough` rows of the component `name`, and keeps at most `most` of those that come with them.
    pub(super) fn new(name: String, enough: usize, most: usize) -> Self {
        Self {
            name: name.into(),
            enough,
            most: most.max(enough),
            kept: Arc::default(),
        }
    }

    /// The component.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The rows, in the chunks they came in; a chunk of no rows tells the columns.
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
        let wanted = (self.most - self.rows()).min(chunk.num_rows());
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

/// A source of which so many rows are enough.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) config: Box<dyn SourceConfig>,
    /// Whether it starts where it would at the first run: one that has read all there is would have nothing to show.
    pub(super) from_the_start: bool,
    pub(super) enough: u64,
}

struct LookedAt(Box<dyn Source>, u64);

#[async_trait]
impl Source for LookedAt {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        out.hint_enough(self.1);
        self.0.run(out).await
    }
}

#[async_trait]
impl SourceConfig for Looked {
    /// Made in code only: there is no name to register.
    fn typetag_deserialize(&self) {}

    fn validate(&self, problems: &mut Problems<'_>) {
        self.config.validate(problems);
    }

    fn kind(&self) -> RowKind {
        self.config.kind()
    }

    fn uses_stdin(&self) -> bool {
        self.config.uses_stdin()
    }

    fn keeps_position(&self) -> bool {
        !self.from_the_start && self.config.keeps_position()
    }

    async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>> {
        let source = self.config.build(cx).await?;
        Ok(Box::new(LookedAt(source, self.enough)))
    }
}

/// The sink, as the pipeline sees it. Ends the run once every one of them is full.
#[derive(Debug)]
pub(super) struct Collect {
    collected: Collected,
    missing: Arc<AtomicUsize>,
}

impl Collect {
    /// `missing` counts the collecting sinks that are not full, for all of them together.
    pub(super) fn new(collected: Collected, missing: Arc<AtomicUsize>) -> Self {
        Self { collected, missing }
    }
}

#[async_trait]
impl SinkConfig for Collect {
    /// Made in code only: there is no name to register.
    fn typetag_deserialize(&self) {}

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
            // Checkpoints are dropped: what was only looked at is not delivered.
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
