//! The sinks.

pub(crate) mod console;
pub(crate) mod file;
pub(crate) mod m365_hr;

mod payload;

use crate::component::{Checkpoint, Chunk, Input, Item, SinkContext};
use crate::error::{Error, Result};

/// Passes every chunk to `write`, with the number of its input, until that fails or the run is cancelled; the rest
/// counts as not sent. Returns the checkpoints as well.
async fn consume(
    cx: &SinkContext,
    input: &mut Input,
    mut write: impl FnMut(usize, &Chunk) -> Result<()> + Send,
) -> (Result<()>, Vec<Checkpoint>) {
    let mut checkpoints = Vec::new();
    let mut result = Ok(());
    while let Some((from, item)) = input.next().await {
        let chunk = match item {
            Item::Checkpoint(checkpoint) => {
                checkpoints.push(checkpoint);
                continue;
            }
            Item::Chunk(chunk) => chunk,
        };
        let stopped = result.is_err() || cx.run.cancel.is_cancelled();
        let written = match stopped {
            true => Err(Error::interrupted()),
            false => write(from, &chunk),
        };
        if let Err(error) = written {
            cx.counts.not_sent(chunk.num_rows());
            if !stopped {
                cx.run.cancel.cancel();
            }
            result = result.and(Err(error));
        }
    }
    (result, checkpoints)
}
