//! Holds a sink's whole input, in order. See the [module](super).

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::memory::Memory;
use crate::component::{Checkpoint, Chunk, Counts, Item, Mixed, Origins, Part, RowKind};
use crate::error::{Error, ErrorKind, Result};

/// Bytes asked of the file, or given to it, at once.
const BUFFER: usize = 256 << 10;

/// Everything that came to a sink. Small inputs stay in memory; one that grows over the limit goes to a temporary file
/// as a whole and stays there, one Arrow IPC stream for each chunk, because chunks of different inputs have different
/// columns. The file has no name, so it is gone when the process ends, however it ends; nobody can find it in between.
///
/// Rows that were put in and not handed on are counted as not sent when the spool is dropped.
pub(super) struct Spool {
    folder: Arc<Path>,
    limit: usize,
    counts: Counts,
    /// Rows taken in and not handed on.
    rows: usize,
    entries: VecDeque<Entry>,
    store: Store,
    /// The last columns of each input: nearly always those of the chunk before, so that few are kept.
    schemas: HashMap<usize, SchemaRef>,
}

enum Entry {
    Checkpoint(usize, Checkpoint),
    Chunk(usize, Held),
}

enum Held {
    InMemory(Box<Chunk>),
    InFile(Stub),
}

/// What the file does not say about a chunk.
struct Stub {
    part: Arc<Part>,
    kind: RowKind,
    schema: SchemaRef,
    rows: usize,
    lines: bool,
    /// The names of the parts, if the rows are of several.
    names: Option<Arc<[Arc<str>]>>,
}

/// Where the chunks are.
enum Store {
    Memory(Memory),
    Writing(BufWriter<File>),
    Reading(BufReader<File>),
    /// Discarded, or a file operation did not come back.
    Gone,
}

impl Spool {
    /// An empty spool: `limit` bytes of rows in memory, then a file in `folder`, which is made if need be. `counts` are
    /// the sink's.
    pub(super) fn new(folder: Arc<Path>, limit: usize, counts: Counts) -> Self {
        Self {
            folder,
            limit,
            counts,
            rows: 0,
            entries: VecDeque::new(),
            store: Store::Memory(Memory::default()),
            schemas: HashMap::new(),
        }
    }

    /// Takes an item of the input `lane`.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub(super) async fn push(&mut self, lane: usize, item: Item) -> Result<()> {
        let chunk = match item {
            Item::Chunk(chunk) => chunk,
            Item::Checkpoint(checkpoint) => {
                self.entries.push_back(Entry::Checkpoint(lane, checkpoint));
                return Ok(());
            }
        };
        self.rows += chunk.num_rows();
        match std::mem::replace(&mut self.store, Store::Gone) {
            Store::Memory(mut memory) => {
                memory.add(&chunk);
                self.entries
                    .push_back(Entry::Chunk(lane, Held::InMemory(Box::new(chunk))));
                if memory.bytes() > self.limit {
                    let writer = self.open().await?;
                    let chunks = self.leave_memory();
                    self.write(writer, chunks).await
                } else {
                    self.store = Store::Memory(memory);
                    Ok(())
                }
            }
            Store::Writing(writer) => {
                let stub = Held::InFile(stub(&mut self.schemas, lane, &chunk));
                self.entries.push_back(Entry::Chunk(lane, stub));
                self.write(writer, vec![chunk]).await
            }
            Store::Reading(_) | Store::Gone => Err(Error::unexpected("rows came to a spool that was closed")),
        }
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// The last of it cannot be written.
    pub(super) async fn end(&mut self) -> Result<()> {
        let writer = match std::mem::replace(&mut self.store, Store::Gone) {
            Store::Writing(writer) => writer,
            other => {
                self.store = other;
                return Ok(());
            }
        };
        let rewound = blocking(move || {
            let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            let bytes = file.stream_position()?;
            file.rewind()?;
            Ok((file, bytes))
        });
        let (file, bytes) = rewound.await?.map_err(|error| self.cannot_write(error))?;
        tracing::debug!(rows = self.rows, bytes, "rows wait in a temporary file");
        self.store = Store::Reading(BufReader::with_capacity(BUFFER, file));
        Ok(())
    }

    /// Lets everything go: rows are counted as not sent, checkpoints dropped.
    pub(super) fn discard(&mut self) {
        self.counts.not_sent(std::mem::take(&mut self.rows));
        self.entries.clear();
        self.store = Store::Gone;
    }

    /// Hands everything on in order, one chunk at a time, until nobody takes it any more or the run is cancelled. What
    /// stays behind is counted as not sent.
    ///
    /// # Errors
    /// The file cannot be read back. The run is then cancelled before the receiver sees the end of its rows.
    pub(super) async fn feed(
        mut self,
        to: mpsc::Sender<(usize, Item)>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        while let Some(entry) = self.entries.pop_front() {
            if cancel.is_cancelled() {
                break;
            }
            let (rows, item) = match entry {
                Entry::Checkpoint(lane, checkpoint) => (0, (lane, Item::Checkpoint(checkpoint))),
                Entry::Chunk(lane, Held::InMemory(chunk)) => (chunk.num_rows(), (lane, Item::Chunk(*chunk))),
                Entry::Chunk(lane, Held::InFile(stub)) => match self.read(stub).await {
                    Ok(chunk) => (chunk.num_rows(), (lane, Item::Chunk(chunk))),
                    Err(error) => {
                        cancel.cancel();
                        return Err(error);
                    }
                },
            };
            if to.send(item).await.is_err() {
                break;
            }
            self.rows -= rows;
        }
        Ok(())
    }

    /// Takes the chunks out of memory, in order; their stubs stay.
    fn leave_memory(&mut self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for entry in &mut self.entries {
            let Entry::Chunk(lane, held) = entry else { continue };
            let Held::InMemory(chunk) = held else { continue };
            let stub = Held::InFile(stub(&mut self.schemas, *lane, chunk));
            if let Held::InMemory(chunk) = std::mem::replace(held, stub) {
                chunks.push(*chunk);
            }
        }
        chunks
    }

    async fn open(&self) -> Result<BufWriter<File>> {
        let folder = self.folder.clone();
        let file = blocking(move || {
            crate::files::create_private_folder(&folder)?;
            tempfile::tempfile_in(&folder)
        });
        let file = file.await?.map_err(|error| {
            let folder = self.folder.display();
            if is_full(&error) {
                return no_room(&folder, error);
            }
            Error::config(format!("cannot make a temporary file in `{folder}`"))
                .with_source(error)
                .with_hint("rows wait there until the guards were judged: give a folder that can be written to, in `state.path`")
        })?;
        Ok(BufWriter::with_capacity(BUFFER, file))
    }

    async fn write(&mut self, mut writer: BufWriter<File>, chunks: Vec<Chunk>) -> Result<()> {
        let written = blocking(move || {
            for chunk in chunks {
                write_chunk(&mut writer, &chunk).map_err(into_io)?;
            }
            Ok(writer)
        });
        let writer = written.await?.map_err(|error| self.cannot_write(error))?;
        self.store = Store::Writing(writer);
        Ok(())
    }

    async fn read(&mut self, stub: Stub) -> Result<Chunk> {
        let Store::Reading(mut reader) = std::mem::replace(&mut self.store, Store::Gone) else {
            return Err(Error::unexpected("a spool was read before it was complete"));
        };
        let read = blocking(move || {
            let chunk = read_chunk(&mut reader, stub).map_err(into_io)?;
            Ok((reader, chunk))
        });
        let (reader, chunk) = read.await?.map_err(|error| {
            let folder = self.folder.display();
            Error::unexpected(format!(
                "cannot read rows back from the temporary file in `{folder}`"
            ))
            .with_source(error)
        })?;
        self.store = Store::Reading(reader);
        Ok(chunk)
    }

    fn cannot_write(&self, error: io::Error) -> Error {
        let folder = self.folder.display();
        if is_full(&error) {
            return no_room(&folder, error);
        }
        Error::unexpected(format!("cannot write to the temporary file in `{folder}`")).with_source(error)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.discard();
    }
}

fn stub(schemas: &mut HashMap<usize, SchemaRef>, lane: usize, chunk: &Chunk) -> Stub {
    let schema = chunk.batch.schema_ref();
    let known = schemas.entry(lane).or_insert_with(|| schema.clone());
    if known != schema {
        *known = schema.clone();
    }
    Stub {
        part: chunk.origins.part().clone(),
        kind: chunk.kind,
        schema: known.clone(),
        rows: chunk.num_rows(),
        lines: chunk.origins.columns().1.is_some(),
        names: chunk.origins.mixed().map(|mixed| mixed.names.clone()),
    }
}

/// File work, away from the threads that serve everybody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<io::Result<T>> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::broken_off("work on a temporary file", &error))
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Passing: whatever fills a disk is most often cleared away again.
fn no_room(folder: &dyn std::fmt::Display, error: io::Error) -> Error {
    Error::new(
        ErrorKind::Passing,
        format!("no room in `{folder}` for the rows that wait there until the guards were judged"),
    )
    .with_source(error)
    .with_hint(format!(
        "free some space in `{folder}`, or name a roomier place in `state.path`; nothing was sent"
    ))
}

/// The cause, when it is one of the file's.
fn into_io(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        other => io::Error::other(other),
    }
}

/// Writes a chunk as an IPC stream of its own, with its origins as the last columns.
fn write_chunk(to: &mut impl Write, chunk: &Chunk) -> Result<(), ArrowError> {
    let (rows, lines) = chunk.origins.columns();
    let numbers = || Arc::new(Field::new("", DataType::UInt64, true));
    let mut fields: Vec<FieldRef> = chunk.batch.schema_ref().fields().iter().cloned().collect();
    let mut columns = chunk.batch.columns().to_vec();
    for numbers_of in [Some(rows), lines].into_iter().flatten() {
        fields.push(numbers());
        columns.push(Arc::new(numbers_of.clone()) as ArrayRef);
    }
    if let Some(mixed) = chunk.origins.mixed() {
        fields.push(Arc::new(Field::new("", DataType::UInt32, false)));
        columns.push(Arc::new(mixed.index.clone()));
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = with_rows(schema.clone(), columns, chunk.num_rows())?;
    let mut writer = StreamWriter::try_new(to, &schema)?;
    writer.write(&batch)?;
    writer.finish()
}

fn read_chunk(from: &mut impl Read, stub: Stub) -> Result<Chunk, ArrowError> {
    let damaged = || ArrowError::IpcError("the file does not hold what was written to it".to_owned());
    // Unbuffered, so that it takes no byte of the next stream.
    let mut stream = StreamReader::try_new(from, None)?;
    let batch = stream.next().ok_or_else(damaged)??;
    // The stream's end mark must be taken too.
    if stream.next().is_some() || batch.num_rows() != stub.rows {
        return Err(damaged());
    }
    let mut columns = batch.columns().to_vec();
    let mixed = match stub.names {
        None => None,
        Some(names) => {
            let column = columns.pop().ok_or_else(damaged)?;
            let index = column.as_primitive_opt::<UInt32Type>().ok_or_else(damaged)?;
            Some(Mixed {
                names,
                index: index.clone(),
            })
        }
    };
    let mut numbers = || -> Result<UInt64Array, ArrowError> {
        let column = columns.pop().ok_or_else(damaged)?;
        column
            .as_primitive_opt::<UInt64Type>()
            .cloned()
            .ok_or_else(damaged)
    };
    let lines = stub.lines.then(&mut numbers).transpose()?;
    let rows = numbers()?;
    let origins = Origins::of_columns(stub.part, rows, lines);
    Ok(Chunk {
        batch: with_rows(stub.schema, columns, stub.rows)?,
        origins: match mixed {
            None => origins,
            Some(mixed) => origins.mixed_with(mixed),
        },
        kind: stub.kind,
    })
}

/// A batch that knows its number of rows even when it has no columns.
fn with_rows(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

#[cfg(test)]
mod tests;
