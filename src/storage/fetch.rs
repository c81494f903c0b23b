//! Reads objects in byte ranges: sequentially with prefetching, or the ranges that are requested.

use std::io;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::{Semaphore, mpsc};

use super::FileInfo;
use super::blocks::Block;
use crate::error::{Error, Result};

/// Bounds of a request in bytes: large enough that its latency does not matter.
const MIN_REQUEST_BYTES: u64 = 128 << 10;
const MAX_REQUEST_BYTES: u64 = 4 << 20;
/// Gap between two ranges up to which they are read in one request.
const MAX_GAP_BYTES: u64 = 128 << 10;

#[async_trait]
pub(super) trait Fetch: Send + Sync + 'static {
    /// Exactly these bytes of the file as it was listed; an error if the file has changed.
    async fn fetch(&self, file: &FileInfo, range: Range<u64>) -> Result<Bytes>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadAhead {
    pub(super) request_bytes: u64,
    requests: usize,
}

impl ReadAhead {
    /// Within so many bytes, including those that wait for the decoder.
    pub(super) fn new(bytes: u64) -> Self {
        let request_bytes = (bytes / 8).clamp(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES);
        // One block waits in the channel, and one is being decoded.
        let requests = (bytes / request_bytes).saturating_sub(2).clamp(1, 64);
        Self {
            request_bytes,
            requests: usize::try_from(requests).unwrap_or(1),
        }
    }

    fn split(self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + Send {
        let step = self.request_bytes;
        (range.start..range.end)
            .step_by(usize::try_from(step).unwrap_or(usize::MAX))
            .map(move |start| start..range.end.min(start.saturating_add(step)))
    }
}

/// Sends the bytes of `range` in order, and the end.
pub(super) async fn send(
    fetch: &dyn Fetch,
    file: &FileInfo,
    range: Range<u64>,
    read_ahead: ReadAhead,
    blocks: &mpsc::Sender<Block>,
) {
    let mut parts = stream::iter(read_ahead.split(range))
        .map(|part| fetch.fetch(file, part))
        .buffered(read_ahead.requests);
    while let Some(part) = parts.next().await {
        let (block, is_last) = match part {
            Ok(bytes) => (Block::Bytes(bytes), false),
            Err(error) => (Block::Failed(io::Error::other(error)), true),
        };
        // Fails if nobody reads on.
        if blocks.send(block).await.is_err() || is_last {
            return;
        }
    }
    let _ = blocks.send(Block::End).await;
}

/// Reads `ranges`: close ones in one request, large ones in several concurrent requests.
pub(super) async fn ranges(
    fetch: &dyn Fetch,
    file: &FileInfo,
    ranges: &[Range<u64>],
    read_ahead: ReadAhead,
) -> Result<Vec<Bytes>> {
    let permits = Semaphore::new(read_ahead.requests);
    let permits = &permits;
    // Boxed: otherwise the compiler cannot prove that the futures are `Send`.
    let part = move |part: Range<u64>| {
        let read = async move {
            // Fails only if the semaphore is closed.
            let _permit = permits.acquire().await;
            fetch.fetch(file, part).await
        };
        read.boxed()
    };
    let read = |range: Range<u64>| {
        let parts: Vec<Range<u64>> = read_ahead.split(range).collect();
        let reads = stream::iter(parts).map(part).buffered(read_ahead.requests);
        let read = async move {
            let mut parts: Vec<Bytes> = reads.try_collect().await?;
            Ok::<_, Error>(match parts.len() {
                1 => parts.remove(0),
                _ => parts.concat().into(),
            })
        };
        read.boxed()
    };
    object_store::coalesce_ranges(ranges, read, MAX_GAP_BYTES).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefetches_within_the_bound() {
        for bytes in [1 << 20, 3 << 20, 32 << 20, 1 << 30] {
            let read_ahead = ReadAhead::new(bytes);
            let held = (read_ahead.requests as u64 + 2) * read_ahead.request_bytes;
            assert!(held <= bytes, "{read_ahead:?}");
        }
        let parts: Vec<_> = ReadAhead::new(1 << 20).split(5..300_000).collect();
        assert_eq!(parts, [5..131_077, 131_077..262_149, 262_149..300_000]);
    }
}
