//! The rows of the inputs between their arrival and the plan that reads them.

use std::collections::VecDeque;
use std::io::Cursor;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::common::Result as EngineResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use tokio::sync::Notify;

use super::failure;
use super::scratch::{Scratch, ScratchFile};
use super::session::passed;
use crate::error::{Error, Result};

/// How many of the largest pieces may wait in memory.
const PIECES: usize = 16;

/// A log for each table. A reader begins at a log's beginning and waits at its end for more; what all readers have
/// passed is let go.
#[derive(Debug)]
pub(super) struct Hub {
    logs: Vec<Log>,
    /// Readers that wait.
    waiting: AtomicUsize,
    demand: Notify,
    /// Bytes of batches in memory, and how many there may be before they go to a file.
    bytes: AtomicUsize,
    most_bytes: usize,
    scratch: Scratch,
    file: Mutex<Option<ScratchFile>>,
    /// Whether everything is kept for readers that begin later.
    keep: AtomicBool,
    /// Readers that have not asked for anything yet, when everything is kept only until they do.
    silent: AtomicUsize,
    failure: Mutex<Option<Error>>,
}

#[derive(Debug, Default)]
struct Log {
    state: Mutex<State>,
    more: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: VecDeque<Held>,
    /// Number of the first of them.
    first: usize,
    ended: bool,
    /// Readers that will come, and the places of those that are there.
    expected: usize,
    readers: Vec<Option<usize>>,
    /// How often the readers were sent away.
    round: usize,
}

impl State {
    fn place(&mut self, reader: &Reader) -> Option<&mut Option<usize>> {
        if self.round != reader.round {
            return None;
        }
        self.readers.get_mut(reader.number)
    }
}

#[derive(Debug, Clone)]
enum Held {
    InMemory(RecordBatch, usize),
    InFile(ScratchFile, u64, usize),
}

/// What is kept of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Nothing.
    WhatIsToBeRead,
    /// All, until every reader has asked for rows: until then, the query may begin again.
    UntilAllRead,
    /// All, for readers that nobody counts.
    Always,
}

/// A reader's place in its log; leaves when dropped.
struct Reader {
    hub: Arc<Hub>,
    input: usize,
    number: usize,
    round: usize,
    width: usize,
}

impl Hub {
    /// Logs for `tables` tables, which hold `most_bytes` in memory and more in a file of `scratch`.
    pub(super) fn new(tables: usize, most_bytes: usize, scratch: Scratch) -> Self {
        Self {
            logs: std::iter::repeat_with(Log::default).take(tables).collect(),
            waiting: AtomicUsize::new(0),
            demand: Notify::new(),
            bytes: AtomicUsize::new(0),
            most_bytes,
            scratch,
            file: Mutex::new(None),
            // Until the readers are known.
            keep: AtomicBool::new(true),
            silent: AtomicUsize::new(usize::MAX),
            failure: Mutex::new(None),
        }
    }

    /// The rows of one table, complete.
    pub(super) fn of_one(batch: RecordBatch, scratch: Scratch) -> Self {
        let hub = Self::new(1, usize::MAX, scratch);
        {
            let mut log = hub.log(0);
            log.held.push_back(Held::InMemory(batch, 0));
            log.ended = true;
        }
        hub
    }

    /// Adds rows to a table, large batches in pieces: an operator must have room for more than one.
    ///
    /// # Errors
    /// They cannot be written to a file.
    pub(super) async fn put(&self, input: usize, batch: RecordBatch) -> Result<()> {
        for piece in pieces(batch, self.most_bytes / PIECES)? {
            self.put_piece(input, piece).await?;
        }
        Ok(())
    }

    async fn put_piece(&self, input: usize, batch: RecordBatch) -> Result<()> {
        let bytes = batch.get_array_memory_size();
        let in_memory = self.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= self.most_bytes;
        let held = if in_memory {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            Held::InMemory(batch, bytes)
        } else {
            self.write(batch).await?
        };
        let mut log = self.log(input);
        log.held.push_back(held);
        self.let_go(&mut log);
        drop(log);
        self.logs[input].more.notify_waiters();
        Ok(())
    }

    /// Nothing more comes for a table.
    pub(super) fn end(&self, input: usize) {
        self.log(input).ended = true;
        self.logs[input].more.notify_waiters();
    }

    /// So many readers of each table will come. Readers that are there already are sent away.
    pub(super) fn expect(&self, readers: &[usize], keep: Keep) {
        let silent = match keep {
            Keep::UntilAllRead => readers.iter().sum(),
            Keep::Always | Keep::WhatIsToBeRead => usize::MAX,
        };
        self.silent.store(silent, Ordering::Relaxed);
        self.keep.store(keep != Keep::WhatIsToBeRead, Ordering::Relaxed);
        for (input, readers) in readers.iter().enumerate() {
            let mut log = self.log(input);
            log.readers.clear();
            log.round += 1;
            log.expected = *readers;
            self.let_go(&mut log);
        }
    }

    /// Whether a query could begin again.
    pub(super) fn has_all(&self) -> bool {
        self.keep.load(Ordering::Relaxed)
    }

    /// Lets go from now on what all readers have passed.
    pub(super) fn let_pass(&self) {
        if self.keep.swap(false, Ordering::Relaxed) {
            for input in 0..self.logs.len() {
                self.let_go(&mut self.log(input));
            }
        }
    }

    /// Whether a reader waits for rows.
    pub(super) fn is_hungry(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Waits until a reader has begun to wait. For one waiter.
    pub(super) async fn demand(&self) {
        self.demand.notified().await;
    }

    /// Why rows could not be read, if they could not.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads a table from its beginning, its first columns as far as `schema` goes.
    pub(super) fn read(self: Arc<Self>, input: usize, schema: SchemaRef) -> SendableRecordBatchStream {
        let reader = {
            let mut log = self.log(input);
            let number = log.readers.len();
            log.readers.push(Some(0));
            Reader {
                hub: self.clone(),
                input,
                number,
                round: log.round,
                width: schema.fields().len(),
            }
        };
        let stream = futures::stream::try_unfold((reader, true), |(reader, first)| async move {
            if first {
                reader.hub.speaks();
            }
            Ok(reader.next().await?.map(|batch| (batch, (reader, false))))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream))
    }

    /// Takes what a table has out of it.
    ///
    /// # Errors
    /// It cannot be read back from a file.
    pub(super) async fn take(&self, input: usize) -> Result<Vec<RecordBatch>> {
        let held = std::mem::take(&mut self.log(input).held);
        let mut batches = Vec::with_capacity(held.len());
        for held in held {
            batches.push(self.load(held).await?);
        }
        Ok(batches)
    }

    async fn load(&self, held: Held) -> Result<RecordBatch> {
        let (file, at, len) = match held {
            Held::InMemory(batch, _) => return Ok(batch),
            Held::InFile(file, at, len) => (file, at, len),
        };
        tokio::task::spawn_blocking(move || decode(file.read(at, len)?))
            .await
            .map_err(|error| Error::task_failed("work on a temporary file", &error))?
            .map_err(|error| failure::of_file("read from", self.scratch.folder(), error))
    }

    /// A reader asks for the first time.
    fn speaks(&self) {
        let silent = self.silent.fetch_sub(1, Ordering::AcqRel);
        if silent == 1 {
            self.let_pass();
        }
    }

    fn log(&self, input: usize) -> MutexGuard<'_, State> {
        self.logs[input]
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn let_go(&self, log: &mut State) {
        if self.keep.load(Ordering::Relaxed) {
            return;
        }
        let passed = if log.readers.len() < log.expected {
            0
        } else {
            let end = log.first + log.held.len();
            log.readers.iter().flatten().copied().min().unwrap_or(end)
        };
        while log.first < passed {
            if let Some(Held::InMemory(_, bytes)) = log.held.pop_front() {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            log.first += 1;
        }
    }

    async fn write(&self, batch: RecordBatch) -> Result<Held> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let scratch = self.scratch.clone();
        let written = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => scratch.file()?,
            };
            let bytes = encode(&batch)?;
            let at = file.append(&bytes)?;
            Ok((file, at, bytes.len()))
        });
        let written: std::io::Result<_> = written
            .await
            .map_err(|error| Error::task_failed("work on a temporary file", &error))?;
        let (file, at, len) =
            written.map_err(|error| failure::of_file("write to", self.scratch.folder(), error))?;
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| file.clone());
        Ok(Held::InFile(file, at, len))
    }
}

/// The rows in batches of about `most` bytes at the most. Each is a copy: a mere slice holds the memory of the whole, and
/// the engine counts it so.
fn pieces(batch: RecordBatch, most: usize) -> Result<Vec<RecordBatch>> {
    if batch.get_array_memory_size() <= most {
        return Ok(vec![batch]);
    }
    let bytes: usize = batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
        .sum();
    let rows = batch.num_rows();
    let rows_in_one = rows.div_ceil(bytes.div_ceil(most.max(1)).max(1)).max(1);
    (0..rows)
        .step_by(rows_in_one)
        .map(|first| {
            let taken: UInt64Array = (first..rows.min(first + rows_in_one))
                .map(|row| row as u64)
                .collect();
            take_record_batch(&batch, &taken)
                .map_err(|error| Error::unexpected("a batch of rows could not be divided").with_source(error))
        })
        .collect()
}

fn encode(batch: &RecordBatch) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let written = StreamWriter::try_new(&mut bytes, batch.schema_ref()).and_then(|mut writer| {
        writer.write(batch)?;
        writer.finish()
    });
    written.map_err(std::io::Error::other)?;
    Ok(bytes)
}

fn decode(bytes: Vec<u8>) -> std::io::Result<RecordBatch> {
    let batch =
        StreamReader::try_new(Cursor::new(bytes), None).and_then(|mut stream| stream.next().transpose());
    batch
        .map_err(std::io::Error::other)?
        .ok_or_else(|| std::io::Error::other("the file does not hold what was written to it"))
}

/// Counts a reader as waiting for as long as it lives.
struct Waiting<'a>(&'a Hub);

impl<'a> Waiting<'a> {
    fn new(hub: &'a Hub) -> Self {
        hub.waiting.fetch_add(1, Ordering::AcqRel);
        hub.demand.notify_one();
        Self(hub)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Reader {
    async fn next(&self) -> EngineResult<Option<RecordBatch>> {
        let hub = &*self.hub;
        let held = loop {
            let mut more = std::pin::pin!(hub.logs[self.input].more.notified());
            more.as_mut().enable();
            {
                let mut log = hub.log(self.input);
                let log = &mut *log;
                // A reader that was sent away, because the query begins again, has no place any more.
                let Some(Some(place)) = log.place(self).copied() else {
                    return Ok(None);
                };
                if let Some(held) = log.held.get(place - log.first).cloned() {
                    if let Some(kept) = log.place(self) {
                        *kept = Some(place + 1);
                    }
                    hub.let_go(log);
                    break held;
                }
                if log.ended {
                    return Ok(None);
                }
            }
            let waiting = Waiting::new(hub);
            more.await;
            drop(waiting);
        };
        let batch = hub.load(held).await.map_err(|error| {
            hub.failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(error);
            passed()
        })?;
        if batch.num_columns() == self.width {
            return Ok(Some(batch));
        }
        let first: Vec<usize> = (0..self.width).collect();
        Ok(Some(batch.project(&first)?))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut log = self.hub.log(self.input);
        if let Some(place) = log.place(self) {
            *place = None;
        }
        self.hub.let_go(&mut log);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;

    use super::*;

    fn texts(rows: usize) -> RecordBatch {
        let column: StringArray = (0..rows).map(|row| Some(format!("{row:0>100}"))).collect();
        RecordBatch::try_from_iter([("x", Arc::new(column) as _)]).unwrap()
    }

    #[test]
    fn pieces_are_small_and_together_the_whole() {
        let whole = texts(1_000);
        let found = pieces(whole.clone(), 10_000).unwrap();
        assert!(found.len() > 10);
        for piece in &found {
            assert!(piece.get_array_memory_size() < 20_000);
        }
        assert_eq!(
            arrow::compute::concat_batches(&whole.schema(), &found).unwrap(),
            whole
        );
        // A few rows of a large batch are one piece, without the memory of the rest.
        let found = pieces(whole.slice(500, 10), 10_000).unwrap();
        assert_eq!(found, [whole.slice(500, 10)]);
        assert!(found[0].get_array_memory_size() < 10_000);
        // A row is not divided.
        assert_eq!(pieces(texts(3), 10).unwrap().len(), 3);
    }
}
