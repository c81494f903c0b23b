//! Reads by ranges: ahead and in order, or those that are asked for.

use std::io::{self, Read};
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::config::Tuning;
use crate::component::RunInfo;
use crate::error::{Error, Result};
use crate::http::transport::TransportConfig;
use crate::storage::FileInfo;
use crate::storage::blocks::{Block, Blocks, failed};

/// Most bytes asked for at a time: enough for the time of a request to vanish beside that of its bytes.
const LARGEST_PIECE: u64 = 4 << 20;
const SMALLEST_PIECE: u64 = 128 << 10;

/// Bytes between two ranges up to which they are read as one: a request costs more time than these.
const CLOSE: u64 = 128 << 10;

/// Something that has a file's bytes.
#[async_trait]
pub(super) trait Fetch: Send + Sync + 'static {
    /// Just these bytes, of the file as it was found.
    ///
    /// # Errors
    /// They cannot be read, or the file is another by now.
    async fn fetch(&self, file: &FileInfo, range: Range<u64>) -> Result<Bytes>;
}

/// How bytes are read ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Bytes of a request.
    piece: u64,
    /// Requests at a time.
    pieces: usize,
}

impl Ahead {
    /// Within so many bytes, those included that wait to be decoded.
    pub(super) fn new(bytes: u64) -> Self {
        let piece = (bytes / 8).clamp(SMALLEST_PIECE, LARGEST_PIECE);
        // One piece waits in the channel and one is being decoded.
        let pieces = (bytes / piece).saturating_sub(2).clamp(1, 64);
        Self {
            piece,
            pieces: usize::try_from(pieces).unwrap_or(1),
        }
    }

    /// Bytes of a request.
    #[cfg(feature = "https")]
    pub(super) fn piece(self) -> u64 {
        self.piece
    }

    fn pieces_of(self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + Send {
        let piece = self.piece;
        (range.start..range.end)
            .step_by(usize::try_from(piece).unwrap_or(usize::MAX))
            .map(move |start| start..range.end.min(start.saturating_add(piece)))
    }
}

/// A whole answer may take as long as bytes keep coming.
const REQUEST_TIME: Duration = Duration::from_secs(24 * 3600);

impl Tuning<'_> {
    /// How HTTP is spoken.
    pub(super) fn transport(&self, run: &RunInfo) -> TransportConfig {
        TransportConfig {
            connect_timeout: self.connect_timeout,
            timeout: REQUEST_TIME,
            read_timeout: Some(self.timeout),
            decompress: false,
            ca_file: self.extra_ca.map(|path| run.base.join(path)),
            pool_max_idle_per_host: 16,
            ..TransportConfig::default()
        }
    }
}

/// A reader of what a task sends; the task ends with it.
pub(super) fn reader<Work>(
    cancel: &CancellationToken,
    work: impl FnOnce(mpsc::Sender<Block>) -> Work,
) -> Box<dyn Read + Send>
where
    Work: Future<Output = ()> + Send + 'static,
{
    let (sender, blocks) = mpsc::channel(1);
    let mut task = JoinSet::new();
    task.spawn(work(sender));
    Box::new(Reading {
        blocks: Blocks::new(blocks, cancel.clone()),
        _task: task,
    })
}

struct Reading {
    blocks: Blocks,
    /// Whoever sends the blocks.
    _task: JoinSet<()>,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.blocks.read(buffer)
    }
}

/// Sends the bytes of `range` in order, and the end.
pub(super) async fn send(
    fetch: &dyn Fetch,
    file: &FileInfo,
    range: Range<u64>,
    ahead: Ahead,
    blocks: &mpsc::Sender<Block>,
) {
    let mut pieces = stream::iter(ahead.pieces_of(range))
        .map(|piece| fetch.fetch(file, piece))
        .buffered(ahead.pieces);
    while let Some(piece) = pieces.next().await {
        let (block, goes_on) = match piece {
            Ok(bytes) => (Block::Bytes(bytes), true),
            Err(error) => (Block::Failed(failed(error)), false),
        };
        // An error means that nobody reads any more.
        if blocks.send(block).await.is_err() || !goes_on {
            return;
        }
    }
    let _ = blocks.send(Block::End).await;
}

/// Reads `ranges`, those that lie close together with one request, large ones with several at a time.
///
/// # Errors
/// See [`Fetch::fetch`].
pub(super) async fn ranges(
    fetch: &dyn Fetch,
    file: &FileInfo,
    ranges: &[Range<u64>],
    ahead: Ahead,
) -> Result<Vec<Bytes>> {
    let runs = runs(ranges);
    // Boxed one by one, or the compiler cannot tell that the whole may be sent to another thread.
    let pieces: Vec<(usize, Range<u64>)> = runs
        .iter()
        .enumerate()
        .flat_map(|(at, run)| ahead.pieces_of(run.clone()).map(move |piece| (at, piece)))
        .collect();
    let mut read = stream::iter(pieces)
        .map(|(at, piece)| async move { fetch.fetch(file, piece).await.map(|bytes| (at, bytes)) }.boxed())
        .buffered(ahead.pieces);
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

/// A run of bytes on its way.
struct Run {
    range: Range<u64>,
    first: Bytes,
    /// All of it, once there is more than one piece.
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

/// What is to be read for `ranges`, in order: none of them overlap or lie close together.
fn runs(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<&Range<u64>> = ranges.iter().filter(|range| !range.is_empty()).collect();
    sorted.sort_by_key(|range| range.start);
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match runs.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(CLOSE) => last.end = last.end.max(range.end),
            _ => runs.push(range.clone()),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    /// Byte number *n* is *n* modulo 251.
    #[derive(Default)]
    struct Numbers {
        asked: Mutex<Vec<Range<u64>>>,
    }

    #[async_trait]
    impl Fetch for Numbers {
        async fn fetch(&self, _: &FileInfo, range: Range<u64>) -> Result<Bytes> {
            self.asked.lock().unwrap().push(range.clone());
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
        fn whatever_is_asked_for_comes(asked in prop::collection::vec((0_u64..3_000_000, 0_u64..400_000), 0..6)) {
            let asked: Vec<Range<u64>> = asked.into_iter().map(|(start, length)| start..start + length).collect();
            let numbers = Numbers::default();
            let read = block_on(ranges(&numbers, &file(), &asked, Ahead::new(1 << 20))).unwrap();
            for (range, read) in asked.iter().zip(read) {
                prop_assert!(read == bytes(range.clone()), "{range:?}");
            }
            // Nothing twice.
            let mut all = numbers.asked.into_inner().unwrap();
            all.sort_by_key(|range| range.start);
            prop_assert!(all.windows(2).all(|two| two[0].end <= two[1].start), "{all:?}");
        }
    }

    #[test]
    fn close_ranges_are_one_request_and_far_ones_are_not() {
        let numbers = Numbers::default();
        let asked = [0..10, 100..200, (1 << 20)..(1 << 20) + 5];
        block_on(ranges(&numbers, &file(), &asked, Ahead::new(32 << 20))).unwrap();
        assert_eq!(*numbers.asked.lock().unwrap(), [0..200, (1 << 20)..(1 << 20) + 5]);
    }

    #[test]
    fn what_is_read_ahead_stays_within_its_bounds() {
        for bytes in [1 << 20, 3 << 20, 32 << 20, 1 << 30] {
            let ahead = Ahead::new(bytes);
            assert!((ahead.pieces as u64 + 2) * ahead.piece <= bytes, "{ahead:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn pieces_come_in_order_and_an_error_stands_in_its_place() {
        #[derive(Default)]
        struct Fails(Numbers);
        #[async_trait]
        impl Fetch for Fails {
            async fn fetch(&self, file: &FileInfo, range: Range<u64>) -> Result<Bytes> {
                if range.start >= 1 << 20 {
                    return Err(Error::new(crate::error::ErrorKind::Transient, "gone"));
                }
                self.0.fetch(file, range).await
            }
        }
        let read = |size: u64| async move {
            let fetch = Arc::new(Fails::default());
            let mut reader = reader(&CancellationToken::new(), |blocks| async move {
                send(&*fetch, &file(), 0..size, Ahead::new(1 << 20), &blocks).await;
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
        assert_eq!(error.kind(), crate::error::ErrorKind::Transient);
    }
}
