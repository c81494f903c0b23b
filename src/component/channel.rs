//! The bounded channels between components, and the counting that goes with them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Checkpoint, Chunk, Counts, Delivered};

/// What travels from component to component.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every item is a chunk")]
pub enum Item {
    /// Rows.
    Chunk(Chunk),
    /// A source's position; everything the source sent before it came before it.
    Checkpoint(Checkpoint),
}

/// Nobody wants more rows: the run is stopping, or the row limit is reached. A component that gets this returns
/// `Ok(())`; whoever stopped the run has the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// The sending end, owned by a source or a transform. Clones send on behalf of the same component.
#[derive(Debug, Clone)]
pub struct Output(Arc<OutputInner>);

#[derive(Debug)]
struct OutputInner {
    targets: Vec<Target>,
    counts: Counts,
    source: Option<SourceSide>,
    /// Who is told when this output is gone.
    ends: Vec<(Ends, usize)>,
}

impl Drop for OutputInner {
    fn drop(&mut self) {
        for (ends, input) in &self.ends {
            ends.add(*input);
        }
    }
}

/// Which inputs of one component have ended: nothing more is sent into the channel by them, though what they sent may
/// still wait there. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Ends(Arc<EndsInner>);

#[derive(Debug, Default)]
struct EndsInner {
    ended: Mutex<BTreeSet<usize>>,
    added: Notify,
}

impl Ends {
    fn add(&self, input: usize) {
        self.0
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(input);
        self.0.added.notify_one();
    }

    /// The numbers of the inputs that have ended. An input that does not [tell](Output::telling) is not among them.
    pub fn ended(&self) -> BTreeSet<usize> {
        self.0
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until a further input has ended. For one waiter.
    pub async fn changed(&self) {
        self.0.added.notified().await;
    }
}

#[derive(Debug)]
struct Target {
    sender: mpsc::Sender<(usize, Item)>,
    /// Which of the receiver's inputs this component is.
    input: usize,
}

/// What only a source's output does: it counts rows as read and knows when to stop.
#[derive(Debug)]
struct SourceSide {
    cancel: CancellationToken,
    left: Option<AtomicU64>,
    ended: AtomicBool,
    /// How many rows are enough for whoever looks at a part, if that is known.
    enough: OnceLock<u64>,
    /// Rows sent, up to the limit.
    sent: AtomicU64,
    /// Gets every chunk too, before the receivers do; its rows count once.
    tap: Option<mpsc::Sender<Chunk>>,
}

/// The receiving end, owned by a transform or a sink.
#[derive(Debug)]
pub struct Input {
    receiver: mpsc::Receiver<(usize, Item)>,
    counts: Counts,
    ends: Ends,
}

/// A channel into one component: `capacity` items may wait in it. The sender is for
/// [`Output::source`] and [`Output::transform`].
pub fn channel(capacity: usize, counts: Counts) -> (mpsc::Sender<(usize, Item)>, Input) {
    let (sender, receiver) = mpsc::channel(capacity);
    let ends = Ends::default();
    let input = Input {
        receiver,
        counts,
        ends,
    };
    (sender, input)
}

impl Output {
    /// The output of a source: stops when `cancel` is cancelled, or after `limit` rows.
    /// `targets` pairs each receiver with the number of its input that this source is.
    pub fn source(
        targets: Vec<(mpsc::Sender<(usize, Item)>, usize)>,
        counts: Counts,
        cancel: CancellationToken,
        limit: Option<u64>,
    ) -> Self {
        Self::tapped_source(targets, counts, cancel, limit, None)
    }

    /// The output of a source, of whose rows `tap` gets a copy that is not counted. When nobody listens at the tap any
    /// more, the source is told to stop.
    pub(crate) fn tapped_source(
        targets: Vec<(mpsc::Sender<(usize, Item)>, usize)>,
        counts: Counts,
        cancel: CancellationToken,
        limit: Option<u64>,
        tap: Option<mpsc::Sender<Chunk>>,
    ) -> Self {
        let source = SourceSide {
            cancel,
            left: limit.map(AtomicU64::new),
            ended: AtomicBool::new(false),
            enough: OnceLock::new(),
            sent: AtomicU64::new(0),
            tap,
        };
        Self::new(targets, counts, Some(source))
    }

    /// The output of a transform.
    pub fn transform(targets: Vec<(mpsc::Sender<(usize, Item)>, usize)>, counts: Counts) -> Self {
        Self::new(targets, counts, None)
    }

    fn new(
        targets: Vec<(mpsc::Sender<(usize, Item)>, usize)>,
        counts: Counts,
        source: Option<SourceSide>,
    ) -> Self {
        let targets = targets
            .into_iter()
            .map(|(sender, input)| Target { sender, input })
            .collect();
        Self(Arc::new(OutputInner {
            targets,
            counts,
            source,
            ends: Vec::new(),
        }))
    }

    /// Tells each of `ends` that the input of this number has ended, once this output and its clones are gone.
    #[must_use]
    pub fn telling(mut self, ends: Vec<(Ends, usize)>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.ends = ends;
        }
        self
    }

    /// Whether there is no other clone of it.
    pub(crate) fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Whether a source should stop reading. A source that reads for long without sending looks here.
    pub fn is_stopped(&self) -> bool {
        self.0
            .source
            .as_ref()
            .is_some_and(|side| side.cancel.is_cancelled() || side.ended.load(Ordering::Relaxed))
    }

    /// Tells the source that `rows` are enough. A hint: it may send more. The first one counts.
    pub(crate) fn hint_enough(&self, rows: u64) {
        if let Some(side) = &self.0.source {
            let _ = side.enough.set(rows);
        }
    }

    /// How many more rows a source need send: up to the row limit, or to what is [enough](Self::hint_enough); `None` if
    /// all are wanted.
    pub(crate) fn wanted(&self) -> Option<u64> {
        let side = self.0.source.as_ref()?;
        let left = side.left.as_ref().map(|left| left.load(Ordering::Acquire));
        let enough = side.enough.get();
        let enough = enough.map(|rows| rows.saturating_sub(side.sent.load(Ordering::Acquire)));
        left.into_iter().chain(enough).min()
    }

    /// Passes rows on, waiting while the receivers are busy.
    ///
    /// # Errors
    /// [`Stopped`]: send no more. Rows that reach nobody are counted as not sent.
    pub async fn send(&self, chunk: Chunk) -> Result<(), Stopped> {
        let (chunk, last) = self.count(chunk)?;
        let rows = chunk.num_rows();
        if let Some(tap) = self.0.source.as_ref().and_then(|side| side.tap.as_ref())
            && tap.send(chunk.clone()).await.is_err()
        {
            self.0.counts.not_sent(rows);
            return Err(Stopped);
        }
        self.0
            .counts
            .copied(rows * self.0.targets.len().saturating_sub(1));
        let mut result = if last { Err(Stopped) } else { Ok(()) };
        for (target, chunk) in self.0.targets.iter().zip(copies(chunk, self.0.targets.len())) {
            if target
                .sender
                .send((target.input, Item::Chunk(chunk)))
                .await
                .is_err()
            {
                self.0.counts.not_sent(rows);
                result = Err(Stopped);
            }
        }
        result
    }

    /// [`send`](Self::send) for a thread that may block.
    ///
    /// # Errors
    /// [`Stopped`], as for `send`.
    ///
    /// # Panics
    /// If called from asynchronous code.
    pub fn blocking_send(&self, chunk: Chunk) -> Result<(), Stopped> {
        futures::executor::block_on(self.send(chunk))
    }

    /// Marks a position: everything sent so far is before it. The future tells when those rows are final.
    ///
    /// # Errors
    /// [`Stopped`]: a receiver has gone.
    pub async fn checkpoint(&self, position: impl Into<String>) -> Result<Delivered, Stopped> {
        let (checkpoint, delivered) = Checkpoint::new(position);
        self.pass_checkpoint(checkpoint).await?;
        Ok(delivered)
    }

    /// Passes a checkpoint of an input on.
    ///
    /// # Errors
    /// [`Stopped`]: a receiver has gone.
    pub async fn pass_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Stopped> {
        for (target, checkpoint) in self.0.targets.iter().zip(checkpoint.split(self.0.targets.len())) {
            target
                .sender
                .send((target.input, Item::Checkpoint(checkpoint)))
                .await
                .map_err(|_| Stopped)?;
        }
        Ok(())
    }

    /// Counts a source's rows as read, and cuts off what is over the limit; `true` with the last rows allowed.
    fn count(&self, chunk: Chunk) -> Result<(Chunk, bool), Stopped> {
        let Some(source) = &self.0.source else {
            return Ok((chunk, false));
        };
        if self.is_stopped() {
            return Err(Stopped);
        }
        let Some(left) = &source.left else {
            source.sent.fetch_add(chunk.num_rows() as u64, Ordering::AcqRel);
            self.0.counts.read(chunk.num_rows());
            return Ok((chunk, false));
        };
        let rows = chunk.num_rows() as u64;
        let before = left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            Some(left.saturating_sub(rows))
        });
        let (Ok(before) | Err(before)) = before;
        let taken = usize::try_from(before.min(rows)).unwrap_or(usize::MAX);
        source.sent.fetch_add(taken as u64, Ordering::AcqRel);
        self.0.counts.read(taken);
        let last = before <= rows;
        if last {
            source.ended.store(true, Ordering::Relaxed);
        }
        Ok((chunk.slice(0, taken), last))
    }
}

/// The chunk as often as it is wanted; columns are shared, not copied.
fn copies(chunk: Chunk, wanted: usize) -> impl Iterator<Item = Chunk> {
    std::iter::repeat_n(chunk, wanted)
}

impl Input {
    /// The next item and the number of the input it is from (the place in the `inputs` list); `None` when every
    /// input has ended.
    pub async fn next(&mut self) -> Option<(usize, Item)> {
        self.receiver.recv().await
    }

    /// Takes what waits at this moment, without waiting for more.
    pub fn waiting(&mut self) -> Vec<(usize, Item)> {
        let waiting = self.receiver.len();
        std::iter::from_fn(|| self.receiver.try_recv().ok())
            .take(waiting)
            .collect()
    }

    /// Which of the inputs have ended, as far as they [tell](Output::telling).
    pub fn ends(&self) -> Ends {
        self.ends.clone()
    }

    /// Takes what is left and counts its rows as not sent. The engine calls this after a component has returned, so
    /// that rows of a run that failed are counted too.
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
    use arrow::array::{Int32Array, RecordBatch};

    use super::super::{Origins, Part};
    use super::*;

    fn chunk(rows: usize) -> Chunk {
        let column = Int32Array::from_iter_values(0..i32::try_from(rows).unwrap());
        let batch = RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap();
        let part = Arc::new(Part {
            name: "test".into(),
            columns: vec!["n".into()],
        });
        Chunk::records(batch, Origins::consecutive(part, 1, rows))
    }

    #[tokio::test]
    async fn rows_over_the_limit_are_not_read() {
        let counts = Counts::default();
        let (sender, mut input) = channel(8, Counts::default());
        let output = Output::source(
            vec![(sender, 0)],
            counts.clone(),
            CancellationToken::new(),
            Some(5),
        );
        assert_eq!(output.send(chunk(3)).await, Ok(()));
        assert_eq!(output.send(chunk(3)).await, Err(Stopped));
        assert!(output.is_stopped());
        assert_eq!(output.send(chunk(3)).await, Err(Stopped));
        drop(output);
        let mut rows = 0;
        while let Some((_, Item::Chunk(chunk))) = input.next().await {
            rows += chunk.num_rows();
        }
        assert_eq!((rows, counts.totals().read), (5, 5));
    }

    #[tokio::test]
    async fn what_is_wanted_is_the_limit_or_a_hint_less_what_was_sent() {
        let output = |limit| {
            let (sender, input) = channel(8, Counts::default());
            let targets = vec![(sender, 0)];
            let cancel = CancellationToken::new();
            (Output::source(targets, Counts::default(), cancel, limit), input)
        };
        let (all, _input) = output(None);
        assert_eq!(all.wanted(), None);
        all.hint_enough(4);
        assert_eq!(all.wanted(), Some(4));
        assert_eq!(all.send(chunk(3)).await, Ok(()));
        assert_eq!(all.wanted(), Some(1));
        assert_eq!(all.send(chunk(3)).await, Ok(()), "a hint is no limit");
        assert_eq!(all.wanted(), Some(0));
        let (limited, _input) = output(Some(2));
        limited.hint_enough(9);
        assert_eq!(limited.wanted(), Some(2));
    }

    #[tokio::test]
    async fn rows_that_reach_nobody_and_rows_left_behind_are_counted() {
        let counts = Counts::default();
        let (to_a, mut a) = channel(8, counts.clone());
        let (to_b, b) = channel(8, counts.clone());
        let output = Output::source(
            vec![(to_a, 0), (to_b, 0)],
            counts.clone(),
            CancellationToken::new(),
            None,
        );
        output.send(chunk(4)).await.unwrap();
        drop(output.checkpoint("p").await.unwrap());
        drop(b);
        assert_eq!(output.send(chunk(2)).await, Err(Stopped));
        drop(output);
        a.drain().await;
        let totals = counts.totals();
        // `b` was dropped without a drain, which the engine never does: its 4 rows are missing from the sum.
        assert_eq!((totals.read, totals.copied, totals.not_sent), (6, 6, 8));
    }

    #[tokio::test]
    async fn a_tap_gets_what_the_receivers_get_and_stops_the_source_when_it_is_gone() {
        let counts = Counts::default();
        let (sender, mut input) = channel(8, Counts::default());
        let (tap, mut tapped) = mpsc::channel(8);
        let output = Output::tapped_source(
            vec![(sender, 0)],
            counts.clone(),
            CancellationToken::new(),
            Some(5),
            Some(tap),
        );
        assert_eq!(output.send(chunk(3)).await, Ok(()));
        assert_eq!(tapped.recv().await.unwrap().num_rows(), 3);
        drop(tapped);
        assert_eq!(output.send(chunk(1)).await, Err(Stopped));
        drop(output);
        assert!(matches!(input.next().await, Some((0, Item::Chunk(chunk))) if chunk.num_rows() == 3));
        assert!(input.next().await.is_none());
        let totals = counts.totals();
        assert_eq!((totals.read, totals.copied, totals.not_sent), (4, 0, 1));
    }

    #[tokio::test]
    async fn a_cancelled_source_stops() {
        let cancel = CancellationToken::new();
        let (sender, _input) = channel(8, Counts::default());
        let output = Output::source(vec![(sender, 0)], Counts::default(), cancel.clone(), None);
        cancel.cancel();
        assert_eq!(output.send(chunk(1)).await, Err(Stopped));
    }
}
