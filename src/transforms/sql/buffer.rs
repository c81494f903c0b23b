//! Rows of the inputs that wait for the plan: in memory, then in an unnamed file.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result as EngineResult};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use tokio::sync::Notify;

use crate::disk::{Spool, Stored};
use crate::error::{Error, Result};

/// Batches are split so that memory holds at least this many.
const MIN_BATCHES: usize = 16;

/// One buffer for each table. A reader starts at the first batch and waits at the end for more. Batches that all
/// readers have read are released.
#[derive(Debug)]
pub(super) struct Buffers {
    tables: Vec<Buffer>,
    spool: Spool,
    max_batch_bytes: usize,
    /// Readers that wait for rows.
    waiting: AtomicUsize,
    demand: Notify,
    /// Whether batches are kept after they were read.
    retain: AtomicBool,
    /// Readers that have not asked for rows yet, under [`Retention::UntilStarted`].
    not_started: AtomicUsize,
    error: Mutex<Option<Error>>,
}

#[derive(Debug, Default)]
struct Buffer {
    state: Mutex<State>,
    more: Notify,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Stored<RecordBatch>>,
    /// Number of the first of them.
    first: usize,
    ended: bool,
    /// Readers that the plan will create, and the positions of those it has created; `None` for a finished one.
    expected: usize,
    readers: Vec<Option<usize>>,
    /// How often the readers were replaced.
    round: usize,
}

/// Which batches are kept after they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retention {
    None,
    /// All, until every reader has asked for rows: until then, the query can start again.
    UntilStarted,
    /// All, because the number of readers is unknown.
    All,
}

/// Reads one table.
struct Reader {
    buffers: Arc<Buffers>,
    input: usize,
    number: usize,
    round: usize,
    width: usize,
}

impl Buffers {
    /// Buffers for `tables` tables: `max_memory` bytes in memory, then a file in `folder`.
    pub(super) fn new(tables: usize, folder: Arc<Path>, max_memory: usize) -> Self {
        Self {
            tables: std::iter::repeat_with(Buffer::default).take(tables).collect(),
            spool: Spool::new(folder, max_memory, "the rows of a query"),
            max_batch_bytes: max_memory / MIN_BATCHES,
            waiting: AtomicUsize::new(0),
            demand: Notify::new(),
            // Until the readers are known.
            retain: AtomicBool::new(true),
            not_started: AtomicUsize::new(usize::MAX),
            error: Mutex::new(None),
        }
    }

    /// The complete rows of one table, in memory.
    pub(super) fn single(batch: RecordBatch, folder: Arc<Path>) -> Result<Self> {
        let buffers = Self::new(1, folder, usize::MAX);
        let stored = buffers.spool.store_blocking(batch, 0)?;
        {
            let mut state = buffers.state(0);
            state.batches.push_back(stored);
            state.ended = true;
        }
        Ok(buffers)
    }

    /// Adds rows to a table. Splits large batches, because an operator needs room for more than one.
    pub(super) async fn push(&self, input: usize, batch: RecordBatch) -> Result<()> {
        for batch in split(batch, self.max_batch_bytes)? {
            let bytes = batch.get_array_memory_size();
            let stored = self.spool.store(batch, bytes).await?;
            let mut state = self.state(input);
            state.batches.push_back(stored);
            self.release(&mut state);
            drop(state);
            self.tables[input].more.notify_waiters();
        }
        Ok(())
    }

    /// Marks a table as complete.
    pub(super) fn end(&self, input: usize) {
        self.state(input).ended = true;
        self.tables[input].more.notify_waiters();
    }

    /// Expects this many readers for each table. Existing readers end.
    pub(super) fn expect(&self, readers: &[usize], retention: Retention) {
        let not_started = match retention {
            Retention::UntilStarted => readers.iter().sum(),
            Retention::All | Retention::None => usize::MAX,
        };
        self.not_started.store(not_started, Ordering::Relaxed);
        self.retain.store(retention != Retention::None, Ordering::Relaxed);
        for (input, readers) in readers.iter().enumerate() {
            let mut state = self.state(input);
            state.readers.clear();
            state.round += 1;
            state.expected = *readers;
            self.release(&mut state);
        }
    }

    /// Whether the query can start again.
    pub(super) fn is_complete(&self) -> bool {
        self.retain.load(Ordering::Relaxed)
    }

    /// Releases, from now on, what all readers have read.
    pub(super) fn stop_retaining(&self) {
        if self.retain.swap(false, Ordering::Relaxed) {
            for input in 0..self.tables.len() {
                self.release(&mut self.state(input));
            }
        }
    }

    /// Whether a reader waits for rows.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Waits until a reader starts to wait. For one caller.
    pub(super) async fn demand(&self) {
        self.demand.notified().await;
    }

    /// Why rows could not be read, if they could not.
    pub(super) fn take_error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads a table from its start: its first columns, as many as `schema` has.
    pub(super) fn read(self: Arc<Self>, input: usize, schema: SchemaRef) -> SendableRecordBatchStream {
        let reader = {
            let mut state = self.state(input);
            state.readers.push(Some(0));
            Reader {
                buffers: self.clone(),
                input,
                number: state.readers.len() - 1,
                round: state.round,
                width: schema.fields().len(),
            }
        };
        let stream = futures::stream::try_unfold((reader, true), |(reader, first)| async move {
            if first && reader.buffers.not_started.fetch_sub(1, Ordering::AcqRel) == 1 {
                reader.buffers.stop_retaining();
            }
            Ok(reader.next().await?.map(|batch| (batch, (reader, false))))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream))
    }

    /// Removes and returns the rows of a table.
    pub(super) async fn take(&self, input: usize) -> Result<Vec<RecordBatch>> {
        let batches = std::mem::take(&mut self.state(input).batches);
        let mut loaded = Vec::with_capacity(batches.len());
        for batch in batches {
            loaded.push(self.spool.load(batch).await?);
        }
        Ok(loaded)
    }

    fn state(&self, input: usize) -> MutexGuard<'_, State> {
        self.tables[input]
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, state: &mut State) {
        if self.retain.load(Ordering::Relaxed) || state.readers.len() < state.expected {
            return;
        }
        let end = state.first + state.batches.len();
        let read = state.readers.iter().flatten().copied().min().unwrap_or(end);
        while state.first < read {
            state.batches.pop_front();
            state.first += 1;
        }
    }
}

/// The rows in batches of about `max_bytes`. Copies them: a slice would keep the memory of the entire batch.
fn split(batch: RecordBatch, max_bytes: usize) -> Result<Vec<RecordBatch>> {
    if batch.get_array_memory_size() <= max_bytes {
        return Ok(vec![batch]);
    }
    let bytes: usize = batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
        .sum();
    let rows = batch.num_rows();
    let batch_rows = rows.div_ceil(bytes.div_ceil(max_bytes.max(1)).max(1)).max(1);
    (0..rows)
        .step_by(batch_rows)
        .map(|first| {
            let selected: UInt64Array = (first as u64..rows.min(first + batch_rows) as u64).collect();
            take_record_batch(&batch, &selected)
                .map_err(|error| Error::unexpected("cannot split a batch of rows").with_source(error))
        })
        .collect()
}

/// Counts a reader as waiting until it is dropped.
struct Waiting<'a>(&'a Buffers);

impl<'a> Waiting<'a> {
    fn new(buffers: &'a Buffers) -> Self {
        buffers.waiting.fetch_add(1, Ordering::AcqRel);
        buffers.demand.notify_one();
        Self(buffers)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Reader {
    async fn next(&self) -> EngineResult<Option<RecordBatch>> {
        let buffers = &*self.buffers;
        let stored = loop {
            let mut more = std::pin::pin!(buffers.tables[self.input].more.notified());
            more.as_mut().enable();
            {
                let mut state = buffers.state(self.input);
                // A reader of an earlier round has no position.
                let Some(position) = self.position(&mut state).and_then(|position| *position) else {
                    return Ok(None);
                };
                if let Some(stored) = state.batches.get(position - state.first).cloned() {
                    if let Some(current) = self.position(&mut state) {
                        *current = Some(position + 1);
                    }
                    buffers.release(&mut state);
                    break stored;
                }
                if state.ended {
                    return Ok(None);
                }
            }
            let _waiting = Waiting::new(buffers);
            more.await;
        };
        let batch = buffers.spool.load(stored).await.map_err(|error| {
            let mut first = buffers.error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
            // Replaced by the error above.
            DataFusionError::Execution("cannot read buffered rows".to_owned())
        })?;
        if batch.num_columns() == self.width {
            return Ok(Some(batch));
        }
        let first: Vec<usize> = (0..self.width).collect();
        Ok(Some(batch.project(&first)?))
    }

    fn position<'a>(&self, state: &'a mut State) -> Option<&'a mut Option<usize>> {
        if state.round != self.round {
            return None;
        }
        state.readers.get_mut(self.number)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.buffers.state(self.input);
        if let Some(position) = self.position(&mut state) {
            *position = None;
        }
        self.buffers.release(&mut state);
    }
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
