//! Reads the inputs into tables.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio_util::sync::CancellationToken;

use super::buffer::Buffers;
use super::origin::Parts;
use super::query::Query;
use super::table::Table;
use crate::component::{Checkpoint, Chunk, Ends, Input, Item, Stopped, TransformContext};
use crate::error::{Error, Result};

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every event is a chunk")]
pub(super) enum Event {
    Item(usize, Item),
    /// Some inputs have ended.
    Ended,
    AllEnded,
    /// The run is cancelled: the rows so far are incomplete.
    Cancelled,
}

/// Why the work ended early.
pub(super) enum Abort {
    /// The run is cancelled, or nothing receives rows anymore.
    Stopped,
    Failed(Error),
}

impl From<Stopped> for Abort {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The inputs of the transform.
pub(super) struct Inputs<'a> {
    input: &'a mut Input,
    ends: Ends,
    cancel: CancellationToken,
    query: Arc<Query>,
    pub(super) parts: Parts,
    pub(super) inputs: Vec<InputState>,
    pub(super) buffers: Arc<Buffers>,
    /// Checkpoints that wait, in the order of their arrival.
    pub(super) checkpoints: Vec<Checkpoint>,
    /// Received rows that were sent.
    pub(super) sent: usize,
    pub(super) all_ended: bool,
    /// Whether further rows are discarded, because the query does not need them.
    pub(super) discard: bool,
}

#[derive(Debug)]
pub(super) struct InputState {
    name: Arc<str>,
    table: Option<Table>,
    /// Chunks without rows before the first with rows: they may lack columns.
    empty_chunks: Vec<Chunk>,
    ended: bool,
    /// Received rows that are not in a counter yet.
    pub(super) rows: usize,
}

impl<'a> Inputs<'a> {
    pub(super) fn new(
        input: &'a mut Input,
        cx: &TransformContext,
        query: Arc<Query>,
        buffers: Arc<Buffers>,
    ) -> Self {
        let inputs = cx.inputs.iter().map(|input| InputState {
            name: input.name.clone(),
            table: None,
            empty_chunks: Vec::new(),
            ended: false,
            rows: 0,
        });
        Self {
            ends: input.ends(),
            input,
            cancel: cx.run.cancel.clone(),
            query,
            parts: Parts::default(),
            inputs: inputs.collect(),
            buffers,
            checkpoints: Vec::new(),
            sent: 0,
            all_ended: false,
            discard: false,
        }
    }

    /// Waits for the next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Event::Cancelled,
            item = self.input.next() => match item {
                Some((input, item)) => Event::Item(input, item),
                // A component that fails cancels the run before its rows end.
                None if self.cancel.is_cancelled() => Event::Cancelled,
                None => Event::AllEnded,
            },
            () = self.ends.changed() => Event::Ended,
        }
    }

    /// Waits for the next event and handles it.
    pub(super) async fn receive(&mut self) -> Result<(), Abort> {
        let event = self.next().await;
        self.handle(event).await
    }

    /// Buffers rows and checkpoints.
    pub(super) async fn handle(&mut self, event: Event) -> Result<(), Abort> {
        match event {
            Event::Cancelled => return Err(Abort::Stopped),
            Event::Item(input, item) => self.item(input, item).await?,
            Event::Ended => {
                let ended = self.ends.ended();
                // What they sent before they ended has arrived by now.
                for (input, item) in self.input.waiting() {
                    self.item(input, item).await?;
                }
                if self.cancel.is_cancelled() {
                    return Err(Abort::Stopped);
                }
                self.end(&ended)?;
            }
            Event::AllEnded => {
                self.all_ended = true;
                self.end(&(0..self.inputs.len()).collect())?;
            }
        }
        Ok(())
    }

    /// Returns the rows of a chunk if its table is known; otherwise as [`handle`](Self::handle).
    pub(super) async fn handle_chunk(&mut self, event: Event) -> Result<Option<RecordBatch>, Abort> {
        match event {
            Event::Item(input, Item::Chunk(chunk)) if self.inputs[input].table.is_some() => {
                self.inputs[input].rows += chunk.num_rows();
                Ok(Some(self.fit(input, &chunk)?))
            }
            other => {
                self.handle(other).await?;
                Ok(None)
            }
        }
    }

    /// Receives until the columns of all inputs are known; `false` if there is nothing to query, because all inputs have
    /// ended without a chunk.
    pub(super) async fn find_columns(&mut self) -> Result<bool, Abort> {
        while let Some(unknown) = self.inputs.iter().find(|input| input.table.is_none()) {
            if self.all_ended {
                if self.tables().next().is_none() {
                    return Ok(false);
                }
                let error = format!(
                    "the input `{}` sent nothing, so its columns are unknown",
                    unknown.name
                );
                let hint =
                    "name the columns in the query instead of `*`: then no file is needed to know them";
                return Err(Error::input(error).with_hint(hint).into());
            }
            self.receive().await?;
        }
        Ok(true)
    }

    /// The tables that are known.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.inputs.iter().filter_map(|input| input.table.as_ref())
    }

    /// Received rows that are not in a counter yet.
    pub(super) fn rows(&self) -> usize {
        self.inputs.iter().map(|input| input.rows).sum()
    }

    fn fit(&self, input: usize, chunk: &Chunk) -> Result<RecordBatch> {
        match &self.inputs[input].table {
            Some(table) => table.fit(chunk, &self.query, &self.parts),
            None => Err(Error::unexpected("received rows before their table is known")),
        }
    }

    async fn item(&mut self, input: usize, item: Item) -> Result<()> {
        let chunk = match item {
            Item::Chunk(chunk) => chunk,
            Item::Checkpoint(checkpoint) => {
                self.checkpoints.push(checkpoint);
                return Ok(());
            }
        };
        let state = &mut self.inputs[input];
        state.rows += chunk.num_rows();
        if self.discard {
            return Ok(());
        }
        if state.table.is_none() {
            if chunk.num_rows() == 0 {
                state.empty_chunks.push(chunk);
                return Ok(());
            }
            self.set_table(input, &chunk)?;
        }
        let batch = self.fit(input, &chunk)?;
        if batch.num_rows() > 0 {
            self.buffers.push(input, batch).await?;
        }
        Ok(())
    }

    /// Creates the table of an input. Empty chunks must fit too, so that a missing column is found in an empty file.
    fn set_table(&mut self, input: usize, chunk: &Chunk) -> Result<()> {
        let state = &mut self.inputs[input];
        state.table = Some(Table::new(state.name.clone(), chunk));
        for empty in std::mem::take(&mut state.empty_chunks) {
            self.fit(input, &empty)?;
        }
        Ok(())
    }

    fn end(&mut self, ended: &BTreeSet<usize>) -> Result<()> {
        for &input in ended {
            let state = &mut self.inputs[input];
            if std::mem::replace(&mut state.ended, true) {
                continue;
            }
            if state.table.is_none() {
                // An empty file may have no columns.
                let chunks = state.empty_chunks.iter();
                let Some(widest) = chunks.max_by_key(|chunk| chunk.batch.num_columns()).cloned() else {
                    // Matters only when all inputs have ended; see `find_columns`.
                    continue;
                };
                self.set_table(input, &widest)?;
            }
            self.buffers.end(input);
        }
        Ok(())
    }
}
