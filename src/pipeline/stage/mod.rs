//! Takes all rows in before the first is sent, so that guards can be judged over all of them.
//!
//! ```text
//! input ──▶ Spool ──▶ Gate: every sink's figures ──▶ open ──▶ inner sink, fed from the spool
//!                                                └──▶ closed: not sent
//! ```
//!
//! When any sink of a run has a guard, each is wrapped in a [`Staged`], which is a sink itself. It takes its input into
//! a [`Spool`], memory first and then one temporary file without a name, and asks the [`Gate`], which opens when the
//! figures of all sinks are there and no guard of any was tripped. Only then does the inner sink run, on a channel of
//! its own, and gets what came in, in the same order.
//!
//! - Nothing is sent when a guard trips, the run is cancelled, or one sink's rows could not be taken in, whether it
//!   failed or panicked: a [`Seat`] at the gate that is left without figures closes it for all, so nobody waits for ever.
//! - Rows that do not reach the inner sink are counted as not sent by the spool that holds them, and their
//!   checkpoints are dropped, which means "not delivered".
//! - The end of an input is taken for the end of its rows. A component that fails must therefore cancel the run before
//!   its output closes: [`upstream()`] sees to that.
//!
//! A source that goes on for ever never has its guards judged, and nothing of it is sent. A source that waits for delivery drops its output first, so taking everything in before anything is delivered does
//! not make it wait for itself.

mod gate;
mod memory;
mod persons;
mod spool;
mod upstream;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;

pub(crate) use gate::{Gate, Seat};
pub(crate) use upstream::upstream;

use self::gate::Ruling;
use self::persons::Persons;
use self::spool::Spool;
use super::guards::Figures;
use crate::component::{Counts, Input, Item, Sink, channel};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of rows that a sink's spool keeps in memory before it goes to a file.
const MEMORY: usize = 32 << 20;

/// Items that may wait in front of the inner sink.
const CHANNEL_CAPACITY: usize = 2;

/// A sink that gets its rows only after the guards of the run were judged.
pub(crate) struct Staged {
    inner: Box<dyn Sink>,
    seat: Seat,
    counts: Counts,
    spool: Spool,
}

impl Staged {
    /// Wraps `inner`, whose counters are `counts`. `folder` is for what does not fit into memory; it is made when it is
    /// needed.
    pub(crate) fn new(inner: Box<dyn Sink>, seat: Seat, counts: Counts, folder: Arc<Path>) -> Self {
        Self {
            inner,
            seat,
            spool: Spool::new(folder, MEMORY, counts.clone()),
            counts,
        }
    }
}

#[async_trait]
impl Sink for Staged {
    async fn run(self: Box<Self>, input: &mut Input) -> Result<()> {
        let Self {
            inner,
            seat,
            counts,
            mut spool,
        } = *self;
        let cancel = seat.cancel().clone();
        // A failure on the way leaves the seat, which closes the gate, and the spool, which counts its rows.
        let figures = take_in(input, &seat, &counts, &mut spool).await?;
        match seat.ask(figures).await {
            Ruling::Open => {}
            Ruling::Tripped(error) => return Err(error),
            // Whoever closed the gate has the reason.
            Ruling::Closed => return Err(Error::interrupted()),
        }
        let (sender, mut rows) = channel(CHANNEL_CAPACITY, counts);
        let run = async {
            let ended = AssertUnwindSafe(inner.run(&mut rows)).catch_unwind().await;
            // However it ended: what waits in the channel is counted, and the spool stops feeding.
            rows.drain().await;
            ended
        };
        let (ended, fed) = tokio::join!(run, spool.feed(sender, &cancel));
        match (ended.unwrap_or_else(|panic| resume_unwind(panic)), fed) {
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(_)) if error.kind() != ErrorKind::Interrupted => Err(error),
            (_, fed) => fed,
        }
    }
}

/// Takes everything into the spool. Once it is known that nothing will be sent, rows are only counted: a join gone wrong
/// is not to fill the disk.
async fn take_in(input: &mut Input, seat: &Seat, counts: &Counts, spool: &mut Spool) -> Result<Figures> {
    let most_rows = seat.most_rows();
    let mut persons = seat.max_rows_per_person().map(Persons::new);
    let mut rows = 0;
    while let Some((lane, item)) = input.next().await {
        let mut counted = Ok(());
        if let Item::Chunk(chunk) = &item {
            rows += chunk.num_rows() as u64;
            if let Some(persons) = &mut persons {
                counted = persons.count(chunk);
            }
        }
        if rows > most_rows || seat.is_closed() {
            spool.discard();
            if let Item::Chunk(chunk) = item {
                counts.not_sent(chunk.num_rows());
            }
        } else {
            spool.push(lane, item).await?;
        }
        counted?;
    }
    spool.end().await?;
    let (most_per_person, persons_over) = persons.map_or((0, 0), |persons| persons.figures());
    Ok(Figures {
        rows,
        most_per_person,
        persons_over,
    })
}

#[cfg(test)]
mod tests;
