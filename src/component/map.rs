//! Transforms that map one chunk to one chunk.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;

use super::{Checkpoint, Chunk, Counts, Input, Item, Output, Transform};
use crate::error::{Error, Result};

/// Maps chunks that do not depend on one another.
pub trait MapTransform: Send + Sync + 'static {
    /// Maps a chunk of the input with this number. Counts rows that it filters or rejects. Runs on a thread that may
    /// block, several chunks at a time.
    ///
    /// # Errors
    /// The run fails; the chunk's rows count as not sent.
    fn map(&self, input: usize, chunk: Chunk) -> Result<Chunk>;

    /// Called after the last chunk.
    fn finish(&self) {}
}

/// A transform that maps chunks on as many threads as the machine has, and sends the results in order. `counts` are the
/// component's.
pub fn mapped(map: impl MapTransform, counts: Counts) -> Box<dyn Transform> {
    Box::new(Mapped {
        map: Arc::new(map),
        counts,
    })
}

struct Mapped<M> {
    map: Arc<M>,
    counts: Counts,
}

/// A mapped item that waits for its turn.
#[expect(clippy::large_enum_variant, reason = "nearly every item is a chunk")]
enum Done {
    Chunk { rows: usize, result: Result<Chunk> },
    Checkpoint(Checkpoint),
}

#[async_trait]
impl<M: MapTransform> Transform for Mapped<M> {
    async fn run(self: Box<Self>, input: &mut Input, out: Output) -> Result<()> {
        let result = run(&self.map, &self.counts, input, &out).await;
        self.map.finish();
        result
    }
}

async fn run<M: MapTransform>(map: &Arc<M>, counts: &Counts, input: &mut Input, out: &Output) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut waiting: FuturesOrdered<BoxFuture<'static, Done>> = FuturesOrdered::new();
    // Set once nothing more may be sent: `Ok` when the receiver is closed, since the run then ends for another reason.
    let mut ended: Option<Result<()>> = None;
    let mut open = true;
    loop {
        tokio::select! {
            item = input.next(), if open && ended.is_none() && waiting.len() < threads => match item {
                Some((from, Item::Chunk(chunk))) => {
                    let map = map.clone();
                    let rows = chunk.num_rows();
                    let work = tokio::task::spawn_blocking(move || map.map(from, chunk));
                    waiting.push_back(Box::pin(async move {
                        let result = work
                            .await
                            .unwrap_or_else(|error| Err(Error::task_failed("work on a chunk of rows", &error)));
                        Done::Chunk { rows, result }
                    }));
                }
                Some((_, Item::Checkpoint(checkpoint))) => {
                    waiting.push_back(Box::pin(std::future::ready(Done::Checkpoint(checkpoint))));
                }
                None => open = false,
            },
            Some(done) = waiting.next(), if !waiting.is_empty() => match done {
                Done::Chunk { result: Ok(chunk), .. } if ended.is_none() => {
                    if out.send(chunk).await.is_err() {
                        ended = Some(Ok(()));
                    }
                }
                Done::Chunk { result: Ok(chunk), .. } => counts.not_sent(chunk.num_rows()),
                Done::Chunk { rows, result: Err(error) } => {
                    counts.not_sent(rows);
                    ended.get_or_insert(Err(error));
                }
                Done::Checkpoint(checkpoint) => {
                    if ended.is_none() && out.pass_checkpoint(checkpoint).await.is_err() {
                        ended = Some(Ok(()));
                    }
                }
            },
            else => return ended.unwrap_or(Ok(())),
        }
    }
}
