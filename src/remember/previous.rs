//! The source `NAME.previous`: what is remembered of `NAME`, as it stood before the run.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use jiff::Timestamp;

use super::place::Place;
use super::recorder::Stored;
use super::table::Table;
use crate::component::{Chunk, Origins, Output, Part, Source, SourceConfig, SourceContext};
use crate::config::Problems;
use crate::config::remember::Remembered;
use crate::error::{Error, Result};

/// The source, as the pipeline sees it.
#[derive(Debug)]
pub(crate) struct Previous {
    remembered: Remembered,
    /// The ledger's path.
    state: PathBuf,
}

impl Previous {
    /// `state` is the ledger's path.
    pub(crate) fn new(remembered: Remembered, state: PathBuf) -> Self {
        Self { remembered, state }
    }
}

#[async_trait]
impl SourceConfig for Previous {
    /// Made in code only: there is no name to register.
    fn typetag_deserialize(&self) {}

    fn validate(&self, _: &mut Problems<'_>) {}

    async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>> {
        let state = cx.run.base.join(&self.state);
        let stored = Stored {
            place: Place::new(&self.remembered, &cx.run, &state, &cx.position.pipeline)?,
            table: Table::new(&self.remembered, Timestamp::now()),
        };
        let source: Arc<str> = self.remembered.source.as_str().into();
        // All of it is read and checked before the first row of the run goes anywhere.
        let checking = tokio::task::spawn_blocking(move || {
            stored.read(|_| true)?;
            Ok::<_, Error>(stored)
        });
        let what = "reading remembered rows";
        let stored = checking
            .await
            .map_err(|error| Error::broken_off(what, &error))??;
        Ok(Box::new(PreviousSource { stored, source }))
    }
}

struct PreviousSource {
    stored: Stored,
    source: Arc<str>,
}

#[async_trait]
impl Source for PreviousSource {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        let Self { stored, source } = *self;
        let part = Arc::new(Part {
            name: format!("remembered rows of {source}").into(),
            columns: stored.table.names(),
        });
        let none = Chunk::records(
            RecordBatch::new_empty(stored.table.schema().clone()),
            Origins::consecutive(part.clone(), 1, 0),
        );
        if out.send(none).await.is_err() {
            return Ok(());
        }
        let sending = tokio::task::spawn_blocking(move || {
            let mut row = 1;
            stored.read(|batch| {
                let rows = batch.num_rows();
                let origins = Origins::consecutive(part.clone(), row, rows);
                row += rows as u64;
                rows == 0 || out.blocking_send(Chunk::records(batch, origins)).is_ok()
            })
        });
        let what = "reading remembered rows";
        sending.await.map_err(|error| Error::broken_off(what, &error))?
    }
}
