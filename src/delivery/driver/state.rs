//! What the driver holds while it runs: the lanes, the batches on their way, and the order in which checkpoints are let go.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::datatypes::SchemaRef;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::Lane;
use crate::component::{BatchOutcome, Checkpoint};
use crate::delivery::courier::Trail;
use crate::delivery::memory::Memory;
use crate::delivery::{Batch, Batcher};
use crate::error::Error;
use crate::format::encode::CsvEncoder;
use crate::ledger::RowHash;

/// A batch's place in the order, or a checkpoint waiting for those before it.
pub(super) enum Pending {
    Batch { number: u64, done: bool },
    Checkpoint(Checkpoint),
}

pub(super) struct LaneState {
    pub(super) lane: Lane,
    /// Fills the next batch; made for the schema of the rows that came last.
    pub(super) filling: Option<Filling>,
    /// Checkpoints that came while the batch was being filled.
    pub(super) behind: Vec<Checkpoint>,
    /// Batches and checkpoints in order; only the front is ever settled.
    pub(super) pending: VecDeque<Pending>,
    /// A batch was not delivered: no checkpoint behind it will be.
    pub(super) lost: bool,
    /// Whether it was said that rows are skipped that went under other column names.
    pub(super) warned: bool,
    /// The largest payload that the service is known to take, once it refused one for its size.
    pub(super) taken_bytes: usize,
}

pub(super) struct Filling {
    pub(super) schema: SchemaRef,
    pub(super) encoder: CsvEncoder,
    pub(super) batcher: Batcher,
    pub(super) shape: Shape,
}

/// The columns of a payload.
#[derive(Debug, Clone)]
pub(in crate::delivery) struct Shape {
    /// The hash of the header row; without a ledger, of no meaning.
    pub(in crate::delivery) header: RowHash,
    /// Whether the service has taken a payload with these columns, now or in an earlier run.
    pub(in crate::delivery) taken: Arc<AtomicBool>,
}

/// A batch that is on its way, or was to be.
pub(super) struct Flight {
    pub(super) lane: usize,
    pub(super) number: u64,
    pub(super) rows: usize,
    pub(super) bytes: usize,
    pub(super) hashes: Arc<Vec<RowHash>>,
}

/// A batch that is cut and not yet under way.
pub(super) struct Ready {
    pub(super) flight: Flight,
    pub(super) batch: Batch,
    pub(super) shape: Shape,
}

pub(super) struct State {
    pub(super) lanes: Vec<LaneState>,
    pub(super) memory: Option<Memory>,
    /// Cut and not yet under way.
    pub(super) ready: VecDeque<Ready>,
    pub(super) uploads: JoinSet<()>,
    /// The batches of `uploads`, and what is known of them.
    pub(super) in_flight: HashMap<Id, (Flight, Trail)>,
    pub(super) last_number: u64,
    /// Rows sent again, by scenario and earlier batch of unknown outcome.
    pub(super) resent: HashMap<(&'static str, usize), u64>,
    /// The first failure that did not end the run.
    pub(super) failed: Option<Error>,
    pub(super) in_a_row: Option<InARow>,
    pub(super) stop: Option<Stop>,
}

/// Batches that failed one after the other for the same cause.
pub(super) struct InARow {
    pub(super) cause: (BatchOutcome, Option<u16>),
    pub(super) batches: u32,
}

/// Nothing more is sent.
pub(super) struct Stop {
    pub(super) error: Error,
    /// When what is in flight is given up; none once it was, or if it may take for ever.
    pub(super) deadline: Option<Instant>,
}

impl State {
    /// Gives a batch its number and puts it, and the checkpoints behind it, in line.
    pub(super) fn cut(&mut self, lane: usize, batch: Batch, shape: Shape) {
        self.last_number += 1;
        let at = &mut self.lanes[lane];
        at.pending.push_back(Pending::Batch {
            number: self.last_number,
            done: false,
        });
        // Checkpoints come between chunks: all rows before those waiting here are in this batch or an earlier one.
        at.pending.extend(at.behind.drain(..).map(Pending::Checkpoint));
        let flight = Flight {
            lane,
            number: self.last_number,
            rows: batch.rows(),
            bytes: batch.payload().len(),
            hashes: batch.hashes().clone(),
        };
        self.ready.push_back(Ready { flight, batch, shape });
    }

    /// Cuts the batch that is being filled, if there are rows in it.
    pub(super) fn cut_lane(&mut self, lane: usize) {
        let Some(filling) = &mut self.lanes[lane].filling else {
            return;
        };
        if let Some(batch) = filling.batcher.finish() {
            let shape = filling.shape.clone();
            self.cut(lane, batch, shape);
        }
    }

    /// The input has ended: no batch waits for more rows.
    pub(super) fn cut_rest(&mut self) {
        for lane in 0..self.lanes.len() {
            self.cut_lane(lane);
        }
    }

    /// The service takes payloads of `bytes` at most.
    pub(super) fn shrink(&mut self, lane: usize, bytes: usize) {
        let lane = &mut self.lanes[lane];
        lane.taken_bytes = lane.taken_bytes.min(bytes);
        if let Some(filling) = &mut lane.filling {
            filling.batcher.shrink(bytes);
        }
    }

    /// Drops the checkpoints that will not be done any more, so that nobody waits for them.
    pub(super) fn let_go(&mut self) {
        let stopped = self.stop.is_some();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if !stopped && !lane.lost {
                continue;
            }
            lane.behind.clear();
            let lost = lane.pending.iter().position(|pending| match pending {
                Pending::Batch { number, done } => {
                    let waits = || {
                        let in_flight = self.in_flight.values().map(|(flight, _)| flight);
                        let ready = self.ready.iter().map(|ready| &ready.flight);
                        in_flight
                            .chain(ready)
                            .any(|flight| (flight.lane, flight.number) == (index, *number))
                    };
                    !done && !waits()
                }
                Pending::Checkpoint(_) => false,
            });
            if let Some(lost) = lost {
                lane.pending.truncate(lost);
            }
        }
    }
}

impl LaneState {
    /// Rows in the batch that is being filled.
    pub(super) fn filled(&self) -> usize {
        self.filling
            .as_ref()
            .map_or(0, |filling| filling.batcher.pending())
    }

    pub(super) fn checkpoint(&mut self, checkpoint: Checkpoint) {
        if self.lost {
            return;
        }
        if self.filled() > 0 {
            self.behind.push(checkpoint);
        } else {
            self.pending.push_back(Pending::Checkpoint(checkpoint));
            self.settle();
        }
    }

    /// All rows of the batch are final.
    pub(super) fn done(&mut self, number: u64) {
        for pending in &mut self.pending {
            if let Pending::Batch {
                number: candidate,
                done,
            } = pending
                && *candidate == number
            {
                *done = true;
            }
        }
        self.settle();
    }

    /// Lets go of what is done at the front.
    pub(super) fn settle(&mut self) {
        while let Some(front) = self.pending.pop_front() {
            match front {
                Pending::Batch { done: true, .. } => {}
                Pending::Checkpoint(checkpoint) => checkpoint.done(),
                waiting @ Pending::Batch { .. } => {
                    self.pending.push_front(waiting);
                    return;
                }
            }
        }
    }
}
