//! Buffers a sink's complete input, in order: in memory up to a limit, then in an unnamed file.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, RecordBatchOptions,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::component::{Checkpoint, Chunk, Counts, Item, Mixed, Origins, Part, RowKind};
use crate::disk::spool::io_error;
use crate::disk::{Spill, Spool, Stored};
use crate::error::Result;

/// Everything that a sink received. Rows that were added and not handed on count as not sent when it is dropped.
pub(super) struct InputBuffer {
    spool: Spool,
    counts: Counts,
    /// Rows added and not handed on.
    rows: usize,
    entries: VecDeque<(usize, Entry)>,
}

#[expect(clippy::large_enum_variant, reason = "nearly every item is a chunk")]
enum Entry {
    Checkpoint(Checkpoint),
    Chunk(Stored<Chunk>, usize),
}

impl InputBuffer {
    /// An empty buffer: `max_memory` bytes in memory, then a file in `folder`. `counts` are the sink's.
    pub(super) fn new(folder: Arc<Path>, max_memory: usize, counts: Counts) -> Self {
        Self {
            spool: Spool::new(folder, max_memory, "the rows that wait for the guards"),
            counts,
            rows: 0,
            entries: VecDeque::new(),
        }
    }

    pub(super) async fn push(&mut self, input: usize, item: Item) -> Result<()> {
        let entry = match item {
            Item::Checkpoint(checkpoint) => Entry::Checkpoint(checkpoint),
            Item::Chunk(chunk) => {
                let (rows, bytes) = (chunk.num_rows(), memory_size(&chunk));
                self.rows += rows;
                Entry::Chunk(self.spool.store(chunk, bytes).await?, rows)
            }
        };
        self.entries.push_back((input, entry));
        Ok(())
    }

    /// Drops everything: rows count as not sent, checkpoints as not delivered.
    pub(super) fn discard(&mut self) {
        self.counts.not_sent(std::mem::take(&mut self.rows));
        self.entries.clear();
    }

    /// Hands everything on in order, until the receiver is closed or the run is cancelled.
    pub(super) async fn feed(
        mut self,
        to: mpsc::Sender<(usize, Item)>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        tracing::debug!(
            rows = self.rows,
            file_bytes = self.spool.file_bytes(),
            "all rows are buffered"
        );
        while let Some((input, entry)) = self.entries.pop_front() {
            if cancel.is_cancelled() {
                break;
            }
            let (item, rows) = match entry {
                Entry::Checkpoint(checkpoint) => (Item::Checkpoint(checkpoint), 0),
                Entry::Chunk(stored, rows) => match self.spool.load(stored).await {
                    Ok(chunk) => (Item::Chunk(chunk), rows),
                    Err(error) => {
                        cancel.cancel();
                        return Err(error);
                    }
                },
            };
            if to.send((input, item)).await.is_err() {
                break;
            }
            self.rows -= rows;
        }
        Ok(())
    }
}

impl Drop for InputBuffer {
    fn drop(&mut self) {
        self.discard();
    }
}

/// The memory of a chunk's rows. A slice counts with its own rows only: the rest of its buffers is most often in the
/// buffer too.
fn memory_size(chunk: &Chunk) -> usize {
    let size = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8View | DataType::BinaryView => column.get_buffer_memory_size(),
        _ => {
            let slice = column.to_data().get_slice_memory_size();
            slice.unwrap_or_else(|_| column.get_array_memory_size())
        }
    };
    let columns: usize = chunk.batch.columns().iter().map(size).sum();
    columns + 2 * size_of::<u64>() * chunk.num_rows()
}

/// What the file does not hold of a chunk.
#[derive(Clone)]
pub(crate) struct Stub {
    part: Arc<Part>,
    kind: RowKind,
    /// Whether the rows have line numbers.
    lines: bool,
    /// The names of the parts, if the rows are of several.
    names: Option<Arc<[Arc<str>]>>,
}

/// One Arrow IPC stream for each chunk, because chunks of different inputs have different columns. The columns of the
/// origins follow those of the rows.
impl Spill for Chunk {
    type Stub = Stub;

    fn encode(self, bytes: &mut Vec<u8>) -> io::Result<Stub> {
        with_origins(&self).map_err(io_error)?.encode(bytes)?;
        Ok(Stub {
            part: self.origins.part().clone(),
            kind: self.kind,
            lines: self.origins.columns().1.is_some(),
            names: self.origins.mixed().map(|mixed| mixed.names.clone()),
        })
    }

    fn decode(stub: Stub, bytes: Vec<u8>) -> io::Result<Self> {
        let batch = RecordBatch::decode((), bytes)?;
        without_origins(stub, &batch).map_err(io_error)
    }
}

fn with_origins(chunk: &Chunk) -> Result<RecordBatch, ArrowError> {
    let (rows, lines) = chunk.origins.columns();
    let mut columns = chunk.batch.columns().to_vec();
    columns.push(Arc::new(rows.clone()));
    columns.extend(lines.map(|lines| Arc::new(lines.clone()) as ArrayRef));
    let mixed = chunk.origins.mixed();
    columns.extend(mixed.map(|mixed| Arc::new(mixed.index.clone()) as ArrayRef));
    let schema = chunk.batch.schema_ref();
    let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
    for column in &columns[fields.len()..] {
        fields.push(Arc::new(Field::new("", column.data_type().clone(), true)));
    }
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    RecordBatch::try_new(Arc::new(schema), columns)
}

fn without_origins(stub: Stub, batch: &RecordBatch) -> Result<Chunk, ArrowError> {
    fn pop<T: ArrowPrimitiveType>(columns: &mut Vec<ArrayRef>) -> Result<PrimitiveArray<T>, ArrowError> {
        let column = columns
            .pop()
            .and_then(|column| column.as_primitive_opt().cloned());
        column.ok_or_else(|| ArrowError::IpcError("the temporary file is damaged".to_owned()))
    }
    let mut columns = batch.columns().to_vec();
    let mixed = match stub.names {
        None => None,
        Some(names) => Some(Mixed {
            names,
            index: pop::<UInt32Type>(&mut columns)?,
        }),
    };
    let lines = match stub.lines {
        true => Some(pop::<UInt64Type>(&mut columns)?),
        false => None,
    };
    let origins = Origins::of_columns(stub.part, pop::<UInt64Type>(&mut columns)?, lines);
    let schema = batch.schema_ref();
    let fields: Vec<FieldRef> = schema.fields().iter().take(columns.len()).cloned().collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    // A batch without columns does not know its number of rows otherwise.
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(Chunk {
        batch: RecordBatch::try_new_with_options(schema, columns, &options)?,
        origins: match mixed {
            None => origins,
            Some(mixed) => origins.mixed_with(mixed),
        },
        kind: stub.kind,
    })
}

#[cfg(test)]
mod tests;
