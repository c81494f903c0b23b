//! Collects all rows before the first is sent, so that guards can be evaluated over all of them.
//!
//! When any sink of a run has a guard, each is wrapped in a [`StagedSink`]. It buffers its input and waits at the
//! [`Gate`], which opens when all sinks have their rows and no guard tripped. Only then does the inner sink run, and
//! receives its input in the same order.
//!
//! A failure, a panic or a cancel closes the gate for all: nothing is sent, rows count as not sent, and checkpoints as
//! not delivered. A component that fails must cancel the run before its output closes ([`upstream()`]), because the end
//! of an input means that it is complete.

mod buffer;
mod gate;
mod people;
mod upstream;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;

pub(crate) use gate::{Gate, Participant};
pub(crate) use upstream::upstream;

use self::buffer::InputBuffer;
use self::gate::Verdict;
use self::people::People;
use super::guards::Figures;
use crate::component::{Counts, Input, Item, Sink, channel};
use crate::error::{Error, ErrorKind, Result};

/// Rows of a sink that its buffer keeps in memory.
pub(crate) const MAX_MEMORY_BYTES: usize = 32 << 20;

/// Items that may wait in front of the inner sink.
const CHANNEL_CAPACITY: usize = 2;

/// A sink that receives its rows only after the guards of the run passed.
pub(crate) struct StagedSink {
    inner: Box<dyn Sink>,
    participant: Participant,
    counts: Counts,
    buffer: InputBuffer,
}

impl StagedSink {
    /// Wraps `inner`, whose counters are `counts`. `folder` is for rows that exceed `max_memory` bytes.
    pub(crate) fn new(
        inner: Box<dyn Sink>,
        participant: Participant,
        counts: Counts,
        folder: Arc<Path>,
        max_memory: usize,
    ) -> Self {
        let buffer = InputBuffer::new(folder, max_memory, counts.clone());
        Self {
            inner,
            participant,
            counts,
            buffer,
        }
    }
}

#[async_trait]
impl Sink for StagedSink {
    async fn run(self: Box<Self>, input: &mut Input) -> Result<()> {
        let Self {
            inner,
            participant,
            counts,
            mut buffer,
        } = *self;
        let cancel = participant.cancel().clone();
        let figures = collect(input, &participant, &counts, &mut buffer).await?;
        match participant.wait(figures).await {
            Verdict::Open => {}
            Verdict::Tripped(error) => return Err(error),
            // The component that closed the gate has the reason.
            Verdict::Closed => return Err(Error::interrupted()),
        }
        let (sender, mut rows) = channel(CHANNEL_CAPACITY, counts);
        let run = async {
            let ended = AssertUnwindSafe(inner.run(&mut rows)).catch_unwind().await;
            // Counts what waits in the channel and stops the buffer from feeding.
            rows.drain().await;
            ended
        };
        let (ended, fed) = tokio::join!(run, buffer.feed(sender, &cancel));
        match (ended.unwrap_or_else(|panic| resume_unwind(panic)), fed) {
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(_)) if error.kind() != ErrorKind::Interrupted => Err(error),
            (_, fed) => fed,
        }
    }
}

/// Buffers the complete input. Once it is certain that nothing will be sent, rows are only counted, so that a join gone
/// wrong does not fill the disk.
async fn collect(
    input: &mut Input,
    participant: &Participant,
    counts: &Counts,
    buffer: &mut InputBuffer,
) -> Result<Figures> {
    let max_rows = participant.max_rows();
    let mut people = participant.max_rows_per_person().map(People::new);
    let mut rows = 0;
    while let Some((index, item)) = input.next().await {
        let mut counted = Ok(());
        if let Item::Chunk(chunk) = &item {
            rows += chunk.num_rows() as u64;
            if let Some(people) = &mut people {
                counted = people.count(chunk);
            }
        }
        if rows > max_rows || participant.is_closed() {
            buffer.discard();
            if let Item::Chunk(chunk) = item {
                counts.not_sent(chunk.num_rows());
            }
        } else {
            buffer.push(index, item).await?;
        }
        counted?;
    }
    let people = people.map(|people| people.figures()).unwrap_or_default();
    Ok(Figures { rows, people })
}

#[cfg(test)]
mod tests;
