//! Reads objects in byte ranges: sequentially with prefetching, or the ranges that are requested.

use std::io;
use std::ops::Range;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;

use super::FileInfo;
use super::blocks::Block;
use crate::error::{Error, Result};

/// Bounds of a request in bytes: large enough that its latency does not matter.
const MIN_REQUEST_BYTES: u64 = 128 << 10;
const MAX_REQUEST_BYTES: u64 = 4 << 20;

/// Gap between two ranges up to which they are read in one request.
const MAX_GAP_BYTES: u64 = 128 << 10;

/// Reads bytes of a file.
#[async_trait]
pub(super) trait Fetch: Send + Sync + 'static {
    /// Exactly these bytes of the file as it was listed.
    ///
    /// # Errors
    /// They cannot be read, or the file has changed.
    async fn fetch(&self, file: &FileInfo, range: Range<u64>) -> Result<Bytes>;
}

/// How bytes are prefetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadAhead {
    request_bytes: u64,
    /// Requests in flight.
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

    /// Bytes of a request.
    #[cfg(feature = "https")]
    pub(super) fn request_bytes(self) -> u64 {
        self.request_bytes
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
///
/// # Errors
/// See [`Fetch::fetch`].
pub(super) async fn ranges(
    fetch: &dyn Fetch,
    file: &FileInfo,
    ranges: &[Range<u64>],
    read_ahead: ReadAhead,
) -> Result<Vec<Bytes>> {
    let runs = merge(ranges);
    // Boxed: otherwise the compiler cannot prove that the future is `Send`.
    let parts: Vec<(usize, Range<u64>)> = runs
        .iter()
        .enumerate()
        .flat_map(|(at, run)| read_ahead.split(run.clone()).map(move |part| (at, part)))
        .collect();
    let mut read = stream::iter(parts)
        .map(|(at, part)| async move { fetch.fetch(file, part).await.map(|bytes| (at, bytes)) }.boxed())
        .buffered(read_ahead.requests);
    let mut fetched: Vec<Run> = runs.into_iter().map(Run::new).collect();
    while let Some((at, bytes)) = read.try_next().await? {
        fetched[at].add(bytes);
    }
    let fetched: Vec<(Range<u64>, Bytes)> = fetched.into_iter().map(Run::finish).collect();
    ranges
        .iter()
        .map(|range| {
            if range.is_empty() {
                return Ok(Bytes::new());
            }
            let at = fetched.partition_point(|(run, _)| run.end < range.end);
            fetched
                .get(at)
                .and_then(|(run, bytes)| {
                    let start = usize::try_from(range.start.checked_sub(run.start)?).ok()?;
                    let end = usize::try_from(range.end - run.start).ok()?;
                    (end <= bytes.len()).then(|| bytes.slice(start..end))
                })
                .ok_or_else(|| Error::unexpected(format!("a part of `{}` was not read", file.name)))
        })
        .collect()
}

/// Consecutive bytes.
struct Run {
    range: Range<u64>,
    first: Bytes,
    /// All bytes, once there is more than one part.
    all: BytesMut,
}

impl Run {
    fn new(range: Range<u64>) -> Self {
        Self {
            range,
            first: Bytes::new(),
            all: BytesMut::new(),
        }
    }

    fn add(&mut self, bytes: Bytes) {
        if self.first.is_empty() && self.all.is_empty() {
            self.first = bytes;
            return;
        }
        if self.all.is_empty() {
            let length = self.range.end - self.range.start;
            self.all.reserve(usize::try_from(length).unwrap_or_default());
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&bytes);
    }

    fn finish(self) -> (Range<u64>, Bytes) {
        let bytes = if self.all.is_empty() {
            self.first
        } else {
            self.all.freeze()
        };
        (self.range, bytes)
    }
}

/// The bytes to read for `ranges`, in order, without overlaps and small gaps.
fn merge(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<&Range<u64>> = ranges.iter().filter(|range| !range.is_empty()).collect();
    sorted.sort_by_key(|range| range.start);
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match runs.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(MAX_GAP_BYTES) => {
                last.end = last.end.max(range.end);
            }
            _ => runs.push(range.clone()),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::blocks;

    /// Byte *n* is *n* modulo 251; bytes from `limit` on fail.
    struct Numbers {
        requests: Mutex<Vec<Range<u64>>>,
        limit: u64,
    }

    impl Numbers {
        fn up_to(limit: u64) -> Self {
            Self {
                requests: Mutex::default(),
                limit,
            }
        }
    }

    #[async_trait]
    impl Fetch for Numbers {
        async fn fetch(&self, _: &FileInfo, range: Range<u64>) -> Result<Bytes> {
            if range.start >= self.limit {
                return Err(Error::new(ErrorKind::Transient, "gone"));
            }
            self.requests.lock().unwrap().push(range.clone());
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

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(work)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn returns_all_ranges_and_reads_no_byte_twice(
            requested in prop::collection::vec((0_u64..3_000_000, 0_u64..400_000), 0..6),
        ) {
            let requested: Vec<Range<u64>> =
                requested.into_iter().map(|(start, length)| start..start + length).collect();
            let numbers = Numbers::up_to(u64::MAX);
            let read = block_on(ranges(&numbers, &file(), &requested, ReadAhead::new(1 << 20))).unwrap();
            for (range, read) in requested.iter().zip(read) {
                prop_assert!(read == bytes(range.clone()), "{range:?}");
            }
            let mut all = numbers.requests.into_inner().unwrap();
            all.sort_by_key(|range| range.start);
            prop_assert!(all.windows(2).all(|two| two[0].end <= two[1].start), "{all:?}");
        }
    }

    #[test]
    fn merges_close_ranges_into_one_request() {
        let numbers = Numbers::up_to(u64::MAX);
        let requested = [0..10, 100..200, (1 << 20)..(1 << 20) + 5];
        block_on(ranges(&numbers, &file(), &requested, ReadAhead::new(32 << 20))).unwrap();
        assert_eq!(
            *numbers.requests.lock().unwrap(),
            [0..200, (1 << 20)..(1 << 20) + 5]
        );
        for bytes in [1 << 20, 3 << 20, 32 << 20, 1 << 30] {
            let read_ahead = ReadAhead::new(bytes);
            assert!(
                (read_ahead.requests as u64 + 2) * read_ahead.request_bytes <= bytes,
                "{read_ahead:?}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sends_parts_in_order_and_errors_in_their_place() {
        let read = |size: u64| async move {
            let fetch = Arc::new(Numbers::up_to(1 << 20));
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
