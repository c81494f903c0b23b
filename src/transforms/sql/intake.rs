//! Takes the items of the inputs and makes tables of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio_util::sync::CancellationToken;

use super::hub::Hub;
use super::origin::Parts;
use super::query::Query;
use super::table::Table;
use crate::component::{Checkpoint, Chunk, Ends, Input, Item};
use crate::error::{Error, Result};

/// What came.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every event is a chunk")]
pub(super) enum Event {
    Item(usize, Item),
    /// Some inputs have ended.
    Ended,
    /// All have.
    AllEnded,
    /// The run is cancelled: what came is not all.
    Cancelled,
}

/// The inputs, and what is known of them.
pub(super) struct Intake<'a> {
    input: &'a mut Input,
    ends: Ends,
    cancel: CancellationToken,
    query: Arc<Query>,
    pub(super) parts: Arc<Parts>,
    inputs: Vec<Incoming>,
    pub(super) hub: Arc<Hub>,
    /// In the order in which they came.
    pub(super) checkpoints: Vec<Checkpoint>,
    /// Rows taken that were passed on.
    pub(super) passed: usize,
    /// Whether all inputs have ended.
    pub(super) over: bool,
    /// Whether rows are still wanted.
    pub(super) wanted: bool,
}

/// One input.
#[derive(Debug)]
struct Incoming {
    name: Arc<str>,
    table: Option<Table>,
    /// Chunks without rows that came before the first with some: their columns may say little.
    early: Vec<Chunk>,
    ended: bool,
    taken: usize,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        input: &'a mut Input,
        names: impl Iterator<Item = Arc<str>>,
        cancel: CancellationToken,
        query: Arc<Query>,
        hub: Arc<Hub>,
    ) -> Self {
        let inputs = names
            .map(|name| Incoming {
                name,
                table: None,
                early: Vec::new(),
                ended: false,
                taken: 0,
            })
            .collect();
        Self {
            ends: input.ends(),
            input,
            cancel,
            query,
            parts: Arc::default(),
            inputs,
            hub,
            checkpoints: Vec::new(),
            passed: 0,
            over: false,
            wanted: true,
        }
    }

    /// Waits for the next event. Nothing is lost when the wait is broken off.
    pub(super) async fn event(&mut self) -> Event {
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

    /// Takes it in: rows go to their table in the hub, checkpoints wait. `false`: the run is cancelled.
    ///
    /// # Errors
    /// Rows do not have the form of their table, or there is no room for them.
    pub(super) async fn take(&mut self, event: Event) -> Result<bool> {
        match event {
            Event::Cancelled => return Ok(false),
            Event::Item(input, item) => self.item(input, item).await?,
            Event::Ended => {
                let ended = self.ends.ended();
                // What they sent before they ended is there by now.
                for (input, item) in self.input.waiting() {
                    self.item(input, item).await?;
                }
                if self.cancel.is_cancelled() {
                    return Ok(false);
                }
                self.ended(&ended).await?;
            }
            Event::AllEnded => {
                self.over = true;
                self.ended(&(0..self.inputs.len()).collect()).await?;
            }
        }
        Ok(true)
    }

    /// Takes a chunk out of an event, in the form of its table, if the table is known; otherwise as [`take`](Self::take).
    pub(super) async fn take_chunk(&mut self, event: Event) -> Result<Option<RecordBatch>> {
        match event {
            Event::Item(input, Item::Chunk(chunk)) if self.inputs[input].table.is_some() => {
                self.count(input, &chunk);
                self.fit(input, &chunk).map(Some)
            }
            other => {
                self.take(other).await?;
                Ok(None)
            }
        }
    }

    /// Whether the columns of all inputs are known.
    pub(super) fn is_open(&self) -> bool {
        self.inputs.iter().all(|input| input.table.is_some())
    }

    /// Whether all inputs have ended and none sent anything: there is nothing to run the query on.
    ///
    /// # Errors
    /// Some did, and the columns of another are unknown.
    pub(super) fn is_nothing(&self) -> Result<bool> {
        if !self.over || self.is_open() {
            return Ok(false);
        }
        if self.inputs.iter().all(|input| input.table.is_none()) {
            return Ok(true);
        }
        let unknown = self.inputs.iter().find(|input| input.table.is_none());
        let name = unknown.map_or("", |input| &*input.name);
        Err(Error::input(format!(
            "the input `{name}` sent nothing, so that its columns are unknown"
        ))
        .with_hint("name the columns in the query instead of `*`: then they are known without a file"))
    }

    /// The tables, once they are [open](Self::is_open).
    pub(super) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.inputs.iter().filter_map(|input| input.table.as_ref())
    }

    /// Rows taken of each input, and not settled.
    pub(super) fn taken(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().map(|input| input.taken)
    }

    /// So many rows of an input are counted otherwise.
    pub(super) fn settle(&mut self, input: usize, rows: usize) {
        self.inputs[input].taken -= rows;
    }

    fn count(&mut self, input: usize, chunk: &Chunk) {
        self.inputs[input].taken += chunk.num_rows();
    }

    fn fit(&self, input: usize, chunk: &Chunk) -> Result<RecordBatch> {
        match &self.inputs[input].table {
            Some(table) => table.fit(chunk, &self.query, &self.parts),
            None => Err(Error::unexpected("rows came before their table")),
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
        self.count(input, &chunk);
        if !self.wanted {
            return Ok(());
        }
        let incoming = &mut self.inputs[input];
        if incoming.table.is_none() {
            if chunk.num_rows() == 0 {
                incoming.early.push(chunk);
                return Ok(());
            }
            incoming.table = Some(Table::of(incoming.name.clone(), &chunk));
            // The early ones must fit too: a missing column is found in an empty file.
            for early in std::mem::take(&mut incoming.early) {
                self.fit(input, &early)?;
            }
        }
        let batch = self.fit(input, &chunk)?;
        if batch.num_rows() > 0 {
            self.hub.put(input, batch).await?;
        }
        Ok(())
    }

    async fn ended(&mut self, ended: &BTreeSet<usize>) -> Result<()> {
        for input in ended {
            let incoming = &mut self.inputs[*input];
            if std::mem::replace(&mut incoming.ended, true) {
                continue;
            }
            if incoming.table.is_none() {
                // The one with the most columns: an empty file may have none.
                let early = std::mem::take(&mut incoming.early);
                let widest = early.iter().max_by_key(|chunk| chunk.batch.num_columns());
                let Some(widest) = widest else {
                    // Nobody can say what its columns are; whether that matters shows when all have ended.
                    continue;
                };
                incoming.table = Some(Table::of(incoming.name.clone(), widest));
                for early in &early {
                    self.fit(*input, early)?;
                }
            }
            self.hub.end(*input);
        }
        Ok(())
    }
}
