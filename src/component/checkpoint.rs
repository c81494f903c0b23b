//! Positions that travel with the rows and return once the rows before them are final.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// A source's position ("this file is finished", "this page cursor"), in its order between the chunks.
///
/// The sink that finishes the rows calls [`done`](Self::done). A dropped checkpoint means "not delivered", so that a
/// forgotten code path is safe.
pub struct Checkpoint(Arc<Shared>);

struct Shared {
    position: String,
    remaining: AtomicUsize,
    notify: Mutex<Option<oneshot::Sender<()>>>,
}

/// The source's half: resolves to `true` once every row before the checkpoint is final, to `false` if that does not
/// happen in this run.
///
/// A source drops its output before it waits: a sink fills its last batch first, and with guards waits for all rows.
#[derive(Debug)]
pub struct Delivered(oneshot::Receiver<()>);

impl Checkpoint {
    /// A checkpoint and its source's half. `position` is opaque to others.
    pub fn new(position: impl Into<String>) -> (Self, Delivered) {
        let (notify, notified) = oneshot::channel();
        let shared = Shared {
            position: position.into(),
            remaining: AtomicUsize::new(1),
            notify: Mutex::new(Some(notify)),
        };
        (Self(Arc::new(shared)), Delivered(notified))
    }

    /// The source's text.
    pub fn position(&self) -> &str {
        &self.0.position
    }

    /// Every row before this point is final. With several branches, the last one counts.
    pub fn done(self) {
        if self.0.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            let notify = self
                .0
                .notify
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(notify) = notify {
                // The source may no longer wait.
                let _ = notify.send(());
            }
        }
    }

    /// One checkpoint for each branch; all of them must be done.
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
        Pin::new(&mut self.0).poll(cx).map(|result| result.is_ok())
    }
}
