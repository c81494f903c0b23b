//! The rows of the inputs until the plan reads them: in memory, then in an unnamed file.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::disk::{Spool, Stored};
use crate::error::{Error, Result};

/// Batches are split so that memory holds at least this many.
const MIN_BATCHES: usize = 16;

/// One buffer for each table, to be read any number of times.
#[derive(Debug)]
pub(super) struct Buffers {
    tables: Vec<Vec<Stored<RecordBatch>>>,
    spool: Spool,
    max_batch_bytes: usize,
    error: Mutex<Option<Error>>,
}

impl Buffers {
    /// Buffers for `tables` tables: `max_memory` bytes in memory, then a file in `folder`.
    pub(super) fn new(tables: usize, folder: Arc<Path>, max_memory: usize) -> Self {
        Self {
            tables: vec![Vec::new(); tables],
            spool: Spool::new(folder, max_memory, "the rows of a query"),
            max_batch_bytes: max_memory / MIN_BATCHES,
            error: Mutex::default(),
        }
    }

    /// Adds rows to a table. Splits large batches, because an operator needs room for more than one.
    pub(super) async fn push(&mut self, input: usize, batch: RecordBatch) -> Result<()> {
        for batch in split(batch, self.max_batch_bytes)? {
            let bytes = batch.get_array_memory_size();
            let stored = self.spool.store(batch, bytes).await?;
            self.tables[input].push(stored);
        }
        Ok(())
    }

    /// Removes and returns the rows of a table.
    pub(super) async fn take(&mut self, input: usize) -> Result<Vec<RecordBatch>> {
        let batches = std::mem::take(&mut self.tables[input]).into_iter();
        let batches = futures::stream::iter(batches.map(|stored| self.spool.load(stored)));
        batches.buffered(1).try_collect().await
    }

    /// Reads a table from its start: its first columns, as many as `schema` has.
    pub(super) fn read(self: Arc<Self>, input: usize, schema: SchemaRef) -> SendableRecordBatchStream {
        let columns: Vec<usize> = (0..schema.fields().len()).collect();
        let stream = futures::stream::try_unfold((self, 0), move |(buffers, next)| {
            let columns = columns.clone();
            async move {
                let Some(stored) = buffers.tables[input].get(next).cloned() else {
                    return Ok(None);
                };
                match buffers.spool.load(stored).await {
                    Ok(batch) => Ok(Some((batch.project(&columns)?, (buffers, next + 1)))),
                    Err(error) => {
                        let mut first = buffers.error.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert(error);
                        // Replaced by the error above.
                        Err(DataFusionError::Execution("cannot read buffered rows".to_owned()))
                    }
                }
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream))
    }

    /// Why rows could not be read, if they could not.
    pub(super) fn take_error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The rows in batches of about `max_bytes`. Copies them: a slice would keep the memory of the entire batch.
fn split(batch: RecordBatch, max_bytes: usize) -> Result<Vec<RecordBatch>> {
    if batch.get_array_memory_size() <= max_bytes {
        return Ok(vec![batch]);
    }
    let sizes = batch.columns().iter();
    let sizes = sizes.map(|column| column.to_data().get_slice_memory_size());
    let bytes: usize = sizes.map(|size| size.unwrap_or(0)).sum();
    let rows = batch.num_rows();
    let batch_rows = rows.div_ceil(bytes.div_ceil(max_bytes.max(1)).max(1)).max(1);
    let parts = (0..rows).step_by(batch_rows).map(|first| {
        let selected: UInt64Array = (first as u64..rows.min(first + batch_rows) as u64).collect();
        take_record_batch(&batch, &selected)
            .map_err(|error| Error::unexpected("cannot split a batch of rows").with_source(error))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    #[test]
    fn splits_large_batches_without_losing_rows_or_keeping_memory() {
        let texts = |rows: usize| {
            let column: StringArray = (0..rows).map(|row| Some(format!("{row:0>100}"))).collect();
            RecordBatch::try_from_iter([("x", Arc::new(column) as _)]).unwrap()
        };
        let all = texts(1_000);
        let batches = split(all.clone(), 10_000).unwrap();
        assert!(batches.len() > 10);
        assert!(batches.iter().all(|batch| batch.get_array_memory_size() < 20_000));
        let joined = arrow::compute::concat_batches(&all.schema(), &batches).unwrap();
        assert_eq!(joined, all);
        // A small slice of a large batch stays one batch, without the memory of the rest.
        let batches = split(all.slice(500, 10), 10_000).unwrap();
        assert_eq!(batches, [all.slice(500, 10)]);
        assert!(batches[0].get_array_memory_size() < 10_000);
        // A row is not split.
        assert_eq!(split(texts(3), 10).unwrap().len(), 3);
    }
}
