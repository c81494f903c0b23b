//! Reads the inputs into tables.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio_util::sync::CancellationToken;

use super::buffer::Buffers;
use super::origin::Parts;
use super::query::Query;
use super::table::Table;
use crate::component::{Checkpoint, Chunk, Input, Item, TransformContext};
use crate::error::{Error, Result};

pub(super) struct Inputs<'a> {
    input: &'a mut Input,
    cancel: CancellationToken,
    query: Arc<Query>,
    pub(super) parts: Parts,
    pub(super) inputs: Vec<InputState>,
    pub(super) buffers: Buffers,
    /// Checkpoints that wait, in the order of their arrival.
    pub(super) checkpoints: Vec<Checkpoint>,
    /// Received rows that were sent.
    pub(super) sent: usize,
    ended: bool,
}

#[derive(Debug)]
pub(super) struct InputState {
    name: Arc<str>,
    table: Option<Table>,
    /// Chunks without rows before the first with rows: they may lack columns.
    empty_chunks: Vec<Chunk>,
    /// Received rows that are not in a counter yet.
    pub(super) rows: usize,
}

impl<'a> Inputs<'a> {
    pub(super) fn new(
        input: &'a mut Input,
        cx: &TransformContext,
        query: Arc<Query>,
        buffers: Buffers,
    ) -> Self {
        let inputs = cx.inputs.iter().map(|input| InputState {
            name: input.name.clone(),
            table: None,
            empty_chunks: Vec::new(),
            rows: 0,
        });
        Self {
            input,
            cancel: cx.run.cancel.clone(),
            query,
            parts: Parts::default(),
            inputs: inputs.collect(),
            buffers,
            checkpoints: Vec::new(),
            sent: 0,
            ended: false,
        }
    }

    /// The next item; `None` when all inputs have ended. Rows before a cancellation are incomplete.
    pub(super) async fn next(&mut self) -> Result<Option<(usize, Item)>> {
        let item = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Error::interrupted()),
            item = self.input.next() => item,
        };
        // A component that fails cancels the run before its rows end.
        if item.is_none() && self.cancel.is_cancelled() {
            return Err(Error::interrupted());
        }
        Ok(item)
    }

    /// Receives until the columns of all inputs are known; `false` if there is nothing to query, because all inputs have
    /// ended without a chunk.
    pub(super) async fn find_columns(&mut self) -> Result<bool> {
        while self.tables().count() < self.inputs.len() && !self.ended {
            self.receive().await?;
        }
        let unknown = self.inputs.iter().find(|input| input.table.is_none());
        match unknown {
            Some(unknown) if self.tables().next().is_some() => Err(Error::input(format!(
                "the input `{}` sent nothing, so its columns are unknown",
                unknown.name
            ))
            .with_hint("name the columns in the query instead of `*`: then no file is needed to know them")),
            unknown => Ok(unknown.is_none()),
        }
    }

    pub(super) async fn receive_all(&mut self) -> Result<()> {
        while !self.ended {
            self.receive().await?;
        }
        Ok(())
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.inputs.iter().filter_map(|input| input.table.as_ref())
    }

    pub(super) fn rows(&self) -> usize {
        self.inputs.iter().map(|input| input.rows).sum()
    }

    pub(super) fn fit(&mut self, input: usize, chunk: &Chunk) -> Result<RecordBatch> {
        let state = &mut self.inputs[input];
        state.rows += chunk.num_rows();
        state.fit(chunk, &self.query, &mut self.parts)
    }

    async fn receive(&mut self) -> Result<()> {
        match self.next().await? {
            Some((_, Item::Checkpoint(checkpoint))) => self.checkpoints.push(checkpoint),
            Some((input, Item::Chunk(chunk))) if chunk.num_rows() > 0 => {
                let batch = self.fit(input, &chunk)?;
                self.buffers.push(input, batch).await?;
            }
            Some((input, Item::Chunk(chunk))) => match &self.inputs[input].table {
                Some(_) => drop(self.fit(input, &chunk)?),
                None => self.inputs[input].empty_chunks.push(chunk),
            },
            None => {
                self.ended = true;
                for state in &mut self.inputs {
                    // An empty file may have no columns.
                    let chunks = state.empty_chunks.iter();
                    if let Some(widest) = chunks.max_by_key(|chunk| chunk.batch.num_columns()).cloned() {
                        state.fit(&widest, &self.query, &mut self.parts)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl InputState {
    /// The first rows make the table. Empty chunks must fit too, so that a missing column is found in an empty file.
    fn fit(&mut self, chunk: &Chunk, query: &Query, parts: &mut Parts) -> Result<RecordBatch> {
        let name = &self.name;
        let table = self.table.get_or_insert_with(|| Table::new(name.clone(), chunk));
        for empty in std::mem::take(&mut self.empty_chunks) {
            table.fit(&empty, query, parts)?;
        }
        table.fit(chunk, query, parts)
    }
}
