//! The source `NAME.previous`: the snapshot of `NAME` as of the run before.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use jiff::Timestamp;

use super::config::SourceSnapshot;
use super::file::SnapshotFile;
use super::table::{RowCounts, Table};
use crate::component::{Chunk, Origins, Output, Part, Problems, Source, SourceConfig, SourceContext};
use crate::disk::blocking;
use crate::error::Result;

/// Added to a pipeline for each source with a snapshot.
#[derive(Debug)]
pub(crate) struct SnapshotSource {
    pub(crate) snapshot: SourceSnapshot,
    pub(crate) ledger: PathBuf,
}

#[async_trait]
impl SourceConfig for SnapshotSource {
    fn validate(&self, _: &mut Problems<'_>) {}

    async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>> {
        let ledger = cx.run.base.join(&self.ledger);
        let file = SnapshotFile::new(&self.snapshot, &cx.run, &ledger, &cx.run.pipeline)?;
        // Reads and verifies the whole file before the run sends its first row.
        let file = blocking("reading a snapshot", move || {
            file.read(|_| Ok(true)).map(|()| file)
        })
        .await?;
        Ok(Box::new(Previous {
            file,
            table: Table::new(&self.snapshot, Timestamp::now()),
        }))
    }
}

struct Previous {
    file: SnapshotFile,
    table: Table,
}

#[async_trait]
impl Source for Previous {
    async fn run(self: Box<Self>, out: Output) -> Result<()> {
        let Self { file, table } = *self;
        let part = Arc::new(Part {
            name: format!("snapshot of {}", table.source).into(),
            columns: table.names(),
        });
        // Consumers need the columns even if there are no rows.
        let empty = Chunk::records(
            RecordBatch::new_empty(table.schema.clone()),
            Origins::consecutive(part.clone(), 1, 0),
        );
        if out.send(empty).await.is_err() {
            return Ok(());
        }
        blocking("reading a snapshot", move || {
            let mut row = 1;
            file.read(|stored| {
                let batch = table.unexpired(stored, &mut RowCounts::default())?;
                let rows = batch.num_rows();
                let origins = Origins::consecutive(part.clone(), row, rows);
                row += rows as u64;
                Ok(rows == 0 || out.blocking_send(Chunk::records(batch, origins)).is_ok())
            })
        })
        .await
    }
}
