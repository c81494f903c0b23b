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

/// How bytes are prefetched.
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
    use std::io::Read as _;
    use std::sync::{Arc, Mutex};

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::blocks;

    /// Byte *n* is *n* modulo 251; bytes from 1 MiB on fail.
    #[derive(Default)]
    struct Numbers(Mutex<Vec<Range<u64>>>);

    #[async_trait]
    impl Fetch for Numbers {
        async fn fetch(&self, _: &FileInfo, range: Range<u64>) -> Result<Bytes> {
            if range.start >= 1 << 20 {
                return Err(Error::new(ErrorKind::Transient, "gone"));
            }
            self.0.lock().unwrap().push(range.clone());
            Ok(bytes(range))
        }
    }

    fn bytes(range: Range<u64>) -> Bytes {
        range.map(|n| (n % 251) as u8).collect()
    }

    fn file() -> FileInfo {
        FileInfo {
            name: "a".into(),
            path: "a".into(),
            size: None,
            modified: None,
            version: None,
        }
    }

    #[tokio::test]
    async fn merges_close_ranges_and_splits_large_ones() {
        let numbers = Numbers::default();
        let requested = [500_000..800_000, 0..10, 100..200, 5..5];
        let read_ahead = ReadAhead::new(1 << 20);
        let read = ranges(&numbers, &file(), &requested, read_ahead).await.unwrap();
        for (range, read) in requested.into_iter().zip(read) {
            assert!(read == bytes(range.clone()), "{range:?}");
        }
        let requests = numbers.0.into_inner().unwrap();
        assert_eq!(
            requests,
            [0..200, 500_000..631_072, 631_072..762_144, 762_144..800_000]
        );
        for bytes in [1 << 20, 3 << 20, 32 << 20, 1 << 30] {
            let read_ahead = ReadAhead::new(bytes);
            let held = (read_ahead.requests as u64 + 2) * read_ahead.request_bytes;
            assert!(held <= bytes, "{read_ahead:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sends_parts_in_order_and_errors_in_their_place() {
        let read = |size: u64| async move {
            let fetch = Arc::new(Numbers::default());
            let mut reader = blocks::reader(1, &CancellationToken::new(), |blocks| async move {
                send(&*fetch, &file(), 0..size, ReadAhead::new(1 << 20), &blocks).await;
            });
            tokio::task::spawn_blocking(move || {
                let mut read = Vec::new();
                let end = reader.read_to_end(&mut read);
                (read, end)
            })
            .await
            .unwrap()
        };
        let (all, end) = read(1_000_000).await;
        assert!(end.is_ok() && all == bytes(0..1_000_000));
        let (all, end) = read(2 << 20).await;
        assert!(all == bytes(0..1 << 20));
        let error = end.unwrap_err();
        let error = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(error.kind(), ErrorKind::Transient);
    }
}
