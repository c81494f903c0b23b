//! Positions that travel with the rows and come back once the rows before them are final.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// A source's position ("this file is finished", "this page cursor"), in its place between the chunks.
///
/// Whoever finishes the rows calls [`done`](Self::done). Dropping it instead says "not delivered": the default of a
/// forgotten path is the safe one.
pub struct Checkpoint(Arc<Shared>);

struct Shared {
    position: String,
    remaining: AtomicUsize,
    tell: Mutex<Option<oneshot::Sender<()>>>,
}

/// The source's half: a future that is `true` once every row before the checkpoint is final, `false` when that will
/// not happen in this run.
///
/// Waiting for it before more rows are sent can last for ever: a sink fills its last batch first, and with guards takes
/// in everything before it begins. A source drops its output before it waits.
#[derive(Debug)]
pub struct Delivered(oneshot::Receiver<()>);

impl Checkpoint {
    /// A checkpoint and the half its source keeps. `position` is the source's own text; others only pass it on.
    pub fn new(position: impl Into<String>) -> (Self, Delivered) {
        let (tell, told) = oneshot::channel();
        let shared = Shared {
            position: position.into(),
            remaining: AtomicUsize::new(1),
            tell: Mutex::new(Some(tell)),
        };
        (Self(Arc::new(shared)), Delivered(told))
    }

    /// The source's own text.
    pub fn position(&self) -> &str {
        &self.0.position
    }

    /// Every row before this point is final. With several branches, the last one to say so counts.
    pub fn done(self) {
        if self.0.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            let tell = self.0.tell.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(tell) = tell {
                // The source may have stopped waiting; that is its right.
                let _ = tell.send(());
            }
        }
    }

    /// One for each of `branches` that the rows go to; all of them must be done.
    pub(super) fn split(self, branches: usize) -> Vec<Self> {
        self.0
            .remaining
            .fetch_add(branches.saturating_sub(1), Ordering::AcqRel);
        (0..branches).map(|_| Self(self.0.clone())).collect()
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checkpoint").field(&self.0.position).finish()
    }
}

impl Future for Delivered {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        Pin::new(&mut self.0).poll(cx).map(|told| told.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_branches_must_be_done() {
        let (checkpoint, delivered) = Checkpoint::new("file a");
        let [one, two]: [_; 2] = checkpoint.split(2).try_into().unwrap();
        one.done();
        let mut delivered = Box::pin(delivered);
        assert!(futures::poll!(&mut delivered).is_pending());
        two.done();
        assert!(delivered.await);
    }

    #[tokio::test]
    async fn a_dropped_checkpoint_is_not_delivered() {
        let (checkpoint, delivered) = Checkpoint::new("file a");
        let [one, two]: [_; 2] = checkpoint.split(2).try_into().unwrap();
        one.done();
        drop(two);
        assert!(!delivered.await);
    }
}
