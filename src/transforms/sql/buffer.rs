//! Rows of the inputs that wait for the plan: in memory, then in an unnamed file.

use std::collections::VecDeque;
use std::path::Path;
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
    state: Mutex<State>,
    spool: Spool,
    max_batch_bytes: usize,
    /// Rows were added, or a table ended.
    more: Notify,
    /// A reader waits for rows.
    demand: Notify,
}

#[derive(Debug)]
struct State {
    tables: Vec<Table>,
    retention: Retention,
    /// Readers that have not asked for rows yet.
    not_started: usize,
    /// Readers that wait for rows.
    waiting: usize,
    /// How often the readers were replaced.
    round: usize,
    error: Option<Error>,
}

#[derive(Debug, Default)]
struct Table {
    batches: VecDeque<Stored<RecordBatch>>,
    /// Number of the first of them.
    first: usize,
    ended: bool,
    /// Readers that the plan will create, and the positions of those it has created; `None` for a finished one.
    expected: usize,
    readers: Vec<Option<usize>>,
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
        let state = State {
            tables: std::iter::repeat_with(Table::default).take(tables).collect(),
            // Until the readers are known.
            retention: Retention::All,
            not_started: 0,
            waiting: 0,
            round: 0,
            error: None,
        };
        Self {
            state: Mutex::new(state),
            spool: Spool::new(folder, max_memory, "the rows of a query"),
            max_batch_bytes: max_memory / MIN_BATCHES,
            more: Notify::new(),
            demand: Notify::new(),
        }
    }

    /// The complete rows of one table, in memory.
    pub(super) fn single(batch: RecordBatch, folder: Arc<Path>) -> Result<Self> {
        let buffers = Self::new(1, folder, usize::MAX);
        let stored = buffers.spool.store_blocking(batch, 0)?;
        buffers.state().tables[0].batches.push_back(stored);
        buffers.end(0);
        Ok(buffers)
    }

    /// Adds rows to a table. Splits large batches, because an operator needs room for more than one.
    pub(super) async fn push(&self, input: usize, batch: RecordBatch) -> Result<()> {
        for batch in split(batch, self.max_batch_bytes)? {
            let bytes = batch.get_array_memory_size();
            let stored = self.spool.store(batch, bytes).await?;
            let mut state = self.state();
            state.tables[input].batches.push_back(stored);
            state.release(input);
            drop(state);
            self.more.notify_waiters();
        }
        Ok(())
    }

    /// Marks a table as complete.
    pub(super) fn end(&self, input: usize) {
        self.state().tables[input].ended = true;
        self.more.notify_waiters();
    }

    /// Expects this many readers for each table. Existing readers end.
    pub(super) fn expect(&self, readers: &[usize], retention: Retention) {
        let mut state = self.state();
        state.not_started = readers.iter().sum();
        state.retention = retention;
        state.round += 1;
        for (input, expected) in readers.iter().enumerate() {
            state.tables[input].readers.clear();
            state.tables[input].expected = *expected;
            state.release(input);
        }
    }

    /// Whether the query can start again.
    pub(super) fn is_complete(&self) -> bool {
        self.state().retention != Retention::None
    }

    /// Releases, from now on, what all readers have read, unless the number of readers is unknown.
    pub(super) fn stop_retaining(&self) {
        self.state().stop_retaining();
    }

    /// Whether a reader waits for rows.
    pub(super) fn is_waiting(&self) -> bool {
        self.state().waiting > 0
    }

    /// Waits until a reader starts to wait. For one caller.
    pub(super) async fn demand(&self) {
        self.demand.notified().await;
    }

    /// Why rows could not be read, if they could not.
    pub(super) fn take_error(&self) -> Option<Error> {
        self.state().error.take()
    }

    /// Reads a table from its start: its first columns, as many as `schema` has.
    pub(super) fn read(self: Arc<Self>, input: usize, schema: SchemaRef) -> SendableRecordBatchStream {
        let (number, round) = {
            let mut state = self.state();
            state.tables[input].readers.push(Some(0));
            (state.tables[input].readers.len() - 1, state.round)
        };
        let reader = Reader {
            buffers: self,
            input,
            number,
            round,
            width: schema.fields().len(),
        };
        let stream = futures::stream::try_unfold((reader, true), |(reader, first)| async move {
            if first {
                reader.start();
            }
            Ok(reader.next().await?.map(|batch| (batch, (reader, false))))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream))
    }

    /// Removes and returns the rows of a table.
    pub(super) async fn take(&self, input: usize) -> Result<Vec<RecordBatch>> {
        let batches = std::mem::take(&mut self.state().tables[input].batches);
        let mut loaded = Vec::with_capacity(batches.len());
        for batch in batches {
            loaded.push(self.spool.load(batch).await?);
        }
        Ok(loaded)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn release(&mut self, input: usize) {
        let table = &mut self.tables[input];
        if self.retention != Retention::None || table.readers.len() < table.expected {
            return;
        }
        let end = table.first + table.batches.len();
        let read = table.readers.iter().flatten().copied().min().unwrap_or(end);
        table.batches.drain(..read - table.first);
        table.first = read;
    }

    fn stop_retaining(&mut self) {
        if self.retention == Retention::UntilStarted {
            self.retention = Retention::None;
            (0..self.tables.len()).for_each(|input| self.release(input));
        }
    }
}

/// The rows in batches of about `max_bytes`. Copies them: a slice would keep the memory of the entire batch.
fn split(batch: RecordBatch, max_bytes: usize) -> Result<Vec<RecordBatch>> {
    if batch.get_array_memory_size() <= max_bytes {
        return Ok(vec![batch]);
    }
    let sizes = batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size());
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

/// Counts a reader as waiting until it is dropped.
struct Waiting<'a>(&'a Buffers);

impl<'a> Waiting<'a> {
    fn new(buffers: &'a Buffers) -> Self {
        buffers.state().waiting += 1;
        buffers.demand.notify_one();
        Self(buffers)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

impl Reader {
    fn start(&self) {
        let mut state = self.buffers.state();
        if state.round == self.round {
            state.not_started = state.not_started.saturating_sub(1);
            if state.not_started == 0 {
                state.stop_retaining();
            }
        }
    }

    async fn next(&self) -> EngineResult<Option<RecordBatch>> {
        let buffers = &*self.buffers;
        let stored = loop {
            let mut more = std::pin::pin!(buffers.more.notified());
            more.as_mut().enable();
            {
                let mut state = buffers.state();
                // A reader of an earlier round has no position.
                let Some(position) = self.position(&mut state).and_then(|position| *position) else {
                    return Ok(None);
                };
                let table = &mut state.tables[self.input];
                if let Some(stored) = table.batches.get(position - table.first).cloned() {
                    table.readers[self.number] = Some(position + 1);
                    state.release(self.input);
                    break stored;
                }
                if table.ended {
                    return Ok(None);
                }
            }
            let _waiting = Waiting::new(buffers);
            more.await;
        };
        let batch = buffers.spool.load(stored).await.map_err(|error| {
            buffers.state().error.get_or_insert(error);
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
        state.tables[self.input].readers.get_mut(self.number)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.buffers.state();
        if let Some(position) = self.position(&mut state) {
            *position = None;
        }
        state.release(self.input);
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
