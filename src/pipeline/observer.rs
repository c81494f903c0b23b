//! Watches a run, for a progress display.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::component::{Counts, Totals};

/// Watches a run. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    pub(super) counts: Arc<OnceLock<Vec<Counts>>>,
    pub(super) in_flight: Arc<AtomicUsize>,
    pub(super) sent_bytes: Arc<AtomicU64>,
    pub(super) pages: Arc<AtomicU64>,
}

impl Observer {
    /// Sums over all components so far.
    pub fn totals(&self) -> Totals {
        Counts::sum(self.counts.get().into_iter().flatten())
    }

    /// Pages that sources have read.
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Uploads in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Payload bytes of finished uploads.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}
