//! Work on chunks in parallel, order kept.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;

use super::{Checkpoint, Chunk, Counts, Input, Item, Output};
use crate::error::{Error, Result};

/// What waits for its turn.
#[expect(clippy::large_enum_variant, reason = "nearly every item is a chunk")]
enum Done {
    Chunk { rows: usize, result: Result<Chunk> },
    Checkpoint(Checkpoint),
}

/// Calls `map` for every chunk of `input`, on as many threads as the machine has, and sends the results to `out` in
/// the order in which the chunks came. For a transform whose chunks do not depend on one another. `map` counts what
/// it filters and rejects; the rows of a chunk for which it fails are counted as not sent.
///
/// # Errors
/// The first error of `map`; chunks before it have been passed on.
pub async fn map_in_order<F>(input: &mut Input, out: &Output, counts: &Counts, map: F) -> Result<()>
where
    F: Fn(usize, Chunk) -> Result<Chunk> + Send + Sync + 'static,
{
    let map = Arc::new(map);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut waiting: FuturesOrdered<BoxFuture<'static, Done>> = FuturesOrdered::new();
    // Set once nothing more may be passed on: `Ok` when nobody listens any more (whoever stopped has the reason).
    let mut ended: Option<Result<()>> = None;
    let mut open = true;
    loop {
        tokio::select! {
            item = input.next(), if open && ended.is_none() && waiting.len() < threads => match item {
                Some((from, Item::Chunk(chunk))) => {
                    let map = map.clone();
                    let rows = chunk.num_rows();
                    let work = tokio::task::spawn_blocking(move || map(from, chunk));
                    waiting.push_back(Box::pin(async move {
                        // The text of a panic may hold anything, values of rows included.
                        let result = work.await.unwrap_or_else(|_| {
                            Err(Error::unexpected("the work on a chunk of rows panicked")
                                .with_hint("please report this: it should not happen"))
                        });
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
