//! The bounded channels between components, and the counting that goes with them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Checkpoint, Chunk, Counts, Delivered};
use crate::error::Error;

/// An item between two components.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every item is a chunk")]
pub enum Item {
    /// Rows.
    Chunk(Chunk),
    /// A source's position, in its order among the rows.
    Checkpoint(Checkpoint),
}

/// No more rows are needed: the run is stopping, or the row limit is reached. A component that gets this returns `Ok(())`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

impl From<Stopped> for Error {
    fn from(_: Stopped) -> Self {
        Self::interrupted()
    }
}

/// The sending end, owned by a source or a transform. Clones send on behalf of the same component.
#[derive(Debug, Clone)]
pub struct Output(Arc<OutputInner>);

#[derive(Debug)]
struct OutputInner {
    /// Each receiver with the number of its input that this component is.
    targets: Vec<Target>,
    counts: Counts,
    source: Option<SourceSide>,
}

type Target = (mpsc::Sender<(usize, Item)>, usize);

/// The part of an output that only a source has: it counts rows as read and knows when to stop.
#[derive(Debug)]
struct SourceSide {
    cancel: CancellationToken,
    limit: Option<u64>,
    /// Rows that are enough for a preview.
    enough: OnceLock<u64>,
    /// Rows sent, up to the limit.
    sent: AtomicU64,
    /// Receives a copy of every chunk before the receivers.
    tap: Option<mpsc::Sender<Chunk>>,
}

/// The receiving end, owned by a transform or a sink.
#[derive(Debug)]
pub struct Input {
    receiver: mpsc::Receiver<(usize, Item)>,
    counts: Counts,
}

/// A channel into a component, in which `capacity` items may wait. The sender is for [`Output::source`] and
/// [`Output::transform`].
pub fn channel(capacity: usize, counts: Counts) -> (mpsc::Sender<(usize, Item)>, Input) {
    let (sender, receiver) = mpsc::channel(capacity);
    (sender, Input { receiver, counts })
}

impl Output {
    /// The output of a source, which stops when `cancel` is cancelled or after `limit` rows. `targets` pairs each receiver
    /// with the number of its input.
    pub fn source(
        targets: Vec<(mpsc::Sender<(usize, Item)>, usize)>,
        counts: Counts,
        cancel: CancellationToken,
        limit: Option<u64>,
    ) -> Self {
        let source = SourceSide {
            cancel,
            limit,
            enough: OnceLock::new(),
            sent: AtomicU64::new(0),
            tap: None,
        };
        Self::new(targets, counts, Some(source))
    }

    /// The output of a transform.
    pub fn transform(targets: Vec<(mpsc::Sender<(usize, Item)>, usize)>, counts: Counts) -> Self {
        Self::new(targets, counts, None)
    }

    fn new(targets: Vec<Target>, counts: Counts, source: Option<SourceSide>) -> Self {
        Self(Arc::new(OutputInner {
            targets,
            counts,
            source,
        }))
    }

    /// Before it is cloned: `tap` receives a copy of every chunk that is not counted. A closed tap stops the source.
    #[must_use]
    pub(crate) fn tapped(mut self, tap: Option<mpsc::Sender<Chunk>>) -> Self {
        if let Some(source) = Arc::get_mut(&mut self.0).and_then(|inner| inner.source.as_mut()) {
            source.tap = tap;
        }
        self
    }

    /// Whether there is no other clone.
    pub(crate) fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Whether a source should stop reading; for one that reads for long without sending.
    pub fn is_stopped(&self) -> bool {
        self.0.source.as_ref().is_some_and(|side| {
            let sent = side.sent.load(Ordering::Acquire);
            side.cancel.is_cancelled() || side.limit.is_some_and(|limit| sent >= limit)
        })
    }

    /// Hints that `rows` are enough; the source may send more. The first call counts.
    pub(crate) fn hint_enough(&self, rows: u64) {
        if let Some(side) = &self.0.source {
            let _ = side.enough.set(rows);
        }
    }

    /// How many more rows are needed for the row limit or the [hint](Self::hint_enough); `None`: all.
    pub(crate) fn wanted(&self) -> Option<u64> {
        let side = self.0.source.as_ref()?;
        let rows = side.limit.into_iter().chain(side.enough.get().copied()).min()?;
        Some(rows.saturating_sub(side.sent.load(Ordering::Acquire)))
    }

    /// Sends rows; waits while the receivers are busy.
    ///
    /// # Errors
    /// [`Stopped`]: send no more. Rows without a receiver count as not sent.
    pub async fn send(&self, chunk: Chunk) -> Result<(), Stopped> {
        let (chunk, last) = self.count(chunk)?;
        let rows = chunk.num_rows();
        if let Some(tap) = self.0.source.as_ref().and_then(|side| side.tap.as_ref())
            && tap.send(chunk.clone()).await.is_err()
        {
            self.0.counts.not_sent(rows);
            return Err(Stopped);
        }
        let targets = &self.0.targets;
        self.0.counts.copied(rows * targets.len().saturating_sub(1));
        let mut result = if last { Err(Stopped) } else { Ok(()) };
        for ((sender, input), chunk) in targets.iter().zip(std::iter::repeat_n(chunk, targets.len())) {
            if sender.send((*input, Item::Chunk(chunk))).await.is_err() {
                self.0.counts.not_sent(rows);
                result = Err(Stopped);
            }
        }
        result
    }

    /// [`send`](Self::send) for threads that may block.
    ///
    /// # Errors
    /// [`Stopped`], as for `send`.
    ///
    /// # Panics
    /// If called from asynchronous code.
    pub fn blocking_send(&self, chunk: Chunk) -> Result<(), Stopped> {
        futures::executor::block_on(self.send(chunk))
    }

    /// Sends a checkpoint behind the rows sent so far. The future resolves when those rows are final.
    ///
    /// # Errors
    /// [`Stopped`]: a receiver is closed.
    pub async fn checkpoint(&self, position: impl Into<String>) -> Result<Delivered, Stopped> {
        let (checkpoint, delivered) = Checkpoint::new(position);
        self.pass_checkpoint(checkpoint).await?;
        Ok(delivered)
    }

    /// Sends a checkpoint of an input on.
    ///
    /// # Errors
    /// [`Stopped`]: a receiver is closed.
    pub async fn pass_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Stopped> {
        let targets = &self.0.targets;
        for ((sender, input), checkpoint) in targets.iter().zip(checkpoint.split(targets.len())) {
            let sent = sender.send((*input, Item::Checkpoint(checkpoint))).await;
            sent.map_err(|_| Stopped)?;
        }
        Ok(())
    }

    /// Counts a source's rows as read and drops those over the limit; `true` with the last rows allowed.
    fn count(&self, chunk: Chunk) -> Result<(Chunk, bool), Stopped> {
        let Some(source) = &self.0.source else {
            return Ok((chunk, false));
        };
        if self.is_stopped() {
            return Err(Stopped);
        }
        let rows = chunk.num_rows() as u64;
        let limit = source.limit.unwrap_or(u64::MAX);
        let add = |sent: u64| Some(sent.saturating_add(rows).min(limit));
        let sent = source.sent.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        let (Ok(before) | Err(before)) = sent;
        let left = limit.saturating_sub(before);
        let allowed = usize::try_from(left.min(rows)).unwrap_or(usize::MAX);
        self.0.counts.read(allowed);
        Ok((chunk.slice(0, allowed), left <= rows))
    }
}

impl Input {
    /// The next item and the number of its input in `inputs`; `None` when all inputs have ended.
    pub async fn next(&mut self) -> Option<(usize, Item)> {
        self.receiver.recv().await
    }

    /// Receives the rest and counts its rows as not sent. The engine calls this after a component returned.
    pub async fn drain(&mut self) {
        self.receiver.close();
        while let Some((_, item)) = self.receiver.recv().await {
            if let Item::Chunk(chunk) = item {
                self.counts.not_sent(chunk.num_rows());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    fn output(limit: Option<u64>) -> (Output, Input) {
        let (sender, input) = channel(8, Counts::default());
        let targets = vec![(sender, 0)];
        let output = Output::source(targets, Counts::default(), CancellationToken::new(), limit);
        (output, input)
    }

    #[tokio::test]
    async fn needs_rows_up_to_the_limit_or_hint() {
        let (all, _input) = output(None);
        assert_eq!(all.wanted(), None);
        all.hint_enough(4);
        for wanted in [4, 1, 0] {
            assert_eq!(all.wanted(), Some(wanted));
            let rows = contract::chunk("test", 1, "n\nx\nx\nx");
            assert_eq!(all.send(rows).await, Ok(()), "a hint does not limit");
        }
        let (limited, _input) = output(Some(2));
        limited.hint_enough(9);
        assert_eq!(limited.wanted(), Some(2));
    }
}
