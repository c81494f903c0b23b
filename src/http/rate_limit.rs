//! Keeps to the limits of a service: requests in any second, minute or day, and at the same time.
//!
//! A [`RateLimiter`] admits requests in order, each as soon as every window has room. Windows slide, so no stretch of a
//! window's length holds more starts than it allows. [`hold_until`](RateLimiter::hold_until) pauses all of them. Callers
//! that give up waiting (drop the future) take nothing away from others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The most starts of a window: each is stored.
pub(crate) const MAX_COUNT: u32 = 100_000;

pub(crate) const MAX_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// At most `count` starts in any stretch of `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    count: u32,
    per: Duration,
}

impl Window {
    pub(crate) fn new(count: u32, per: Duration) -> Result<Self, String> {
        if !(1..=MAX_COUNT).contains(&count) {
            return Err(format!(
                "must allow from 1 to {MAX_COUNT} requests, found {count}"
            ));
        }
        if per.is_zero() || per > MAX_WINDOW {
            return Err(format!("must be per a duration of up to 7 days, found {per:?}"));
        }
        Ok(Self { count, per })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// All of them apply. Empty: starts are not limited.
    pub(crate) windows: Vec<Window>,
    /// Requests at the same time. `None`: not limited. Settings must not allow 0, which admits nothing.
    pub(crate) max_concurrent: Option<usize>,
}

/// Admits requests. Shared by reference or in an [`Arc`].
pub(crate) struct RateLimiter {
    /// Held by the caller whose turn it is; fair.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Wakes the caller whose turn it is when a request has ended.
    ended: Notify,
}

struct State {
    limit: RateLimit,
    /// The starts that the largest window counts, the newest last.
    started: VecDeque<Instant>,
    running: usize,
    hold: Option<Instant>,
}

/// A running request; dropped when it has ended.
#[must_use = "the request counts as ended once this is dropped"]
pub(crate) struct Permit(Arc<RateLimiter>);

impl RateLimiter {
    pub(crate) fn new(limit: RateLimit) -> Arc<Self> {
        Arc::new(Self {
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::new(State {
                limit,
                started: VecDeque::new(),
                running: 0,
                hold: None,
            }),
            ended: Notify::new(),
        })
    }

    /// Waits until a request may start; it counts as started when this returns.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Permit {
        let _turn = self.turn.lock().await;
        loop {
            let started = self.lock().start(Instant::now());
            match started {
                Ok(()) => return Permit(Arc::clone(self)),
                Err(Some(time)) => tokio::time::sleep_until(time).await,
                // A request that ended meanwhile has left a permit in `ended`.
                Err(None) => self.ended.notified().await,
            }
        }
    }

    /// No request starts before `time`. A longer hold stays.
    pub(crate) fn hold_until(&self, time: Instant) {
        let mut state = self.lock();
        state.hold = state.hold.max(Some(time));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Starts a request, or says when one may start: at this time, or when another has ended.
    fn start(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        if self.limit.max_concurrent.is_some_and(|max| self.running >= max) {
            return Err(None);
        }
        let free = |window: &Window| {
            let at = self.started.len().checked_sub(window.count as usize)?;
            Some(self.started[at] + window.per)
        };
        let ready = self.limit.windows.iter().filter_map(free).chain(self.hold).max();
        if let Some(time) = ready.filter(|time| *time > now) {
            return Err(Some(time));
        }
        let counts = self.limit.windows.iter().map(|window| window.count as usize);
        if let Some(kept) = counts.max() {
            while self.started.len() >= kept {
                self.started.pop_front();
            }
            self.started.push_back(now);
        }
        self.running += 1;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.ended.notify_one();
    }
}

/// The limiters of a run, by host: a service counts all requests together. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct RateLimiters(Arc<Mutex<HashMap<String, Arc<RateLimiter>>>>);

impl RateLimiters {
    /// The limiter for `host` ([`address::host`](super::address::host)). An existing one gets these limits, too: all
    /// windows apply, a new one from now on, and the lower number of concurrent requests.
    pub(crate) fn of(&self, host: &str, limit: &RateLimit) -> Arc<RateLimiter> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = all
            .entry(host.to_owned())
            .or_insert_with(|| RateLimiter::new(limit.clone()));
        let mut state = limiter.lock();
        for window in &limit.windows {
            if !state.limit.windows.contains(window) {
                state.limit.windows.push(*window);
            }
        }
        let lower = [state.limit.max_concurrent, limit.max_concurrent];
        state.limit.max_concurrent = lower.into_iter().flatten().min();
        Arc::clone(limiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limit(windows: &[(u32, Duration)], max_concurrent: Option<usize>) -> RateLimit {
        let windows = windows
            .iter()
            .map(|(count, per)| Window::new(*count, *per).unwrap());
        RateLimit {
            windows: windows.collect(),
            max_concurrent,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn applies_every_window() {
        let limiter = RateLimiter::new(limit(&[(2, SECOND), (3, 10 * SECOND)], None));
        let start = Instant::now();
        let mut started = Vec::new();
        for _ in 0..8 {
            let _permit = limiter.acquire().await;
            started.push(start.elapsed().as_secs());
        }
        assert_eq!(started, [0, 0, 1, 10, 10, 11, 20, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_aborted_caller_takes_nothing_from_others() {
        let limiter = RateLimiter::new(limit(&[(1, 10 * SECOND)], Some(1)));
        let aborted = async || {
            for _ in 0..3 {
                assert!(tokio::time::timeout(SECOND, limiter.acquire()).await.is_err());
            }
        };
        let first = limiter.acquire().await;
        aborted().await;
        drop(first);
        let start = Instant::now();
        aborted().await;
        let _permit = limiter.acquire().await;
        assert_eq!(start.elapsed(), 7 * SECOND);
        assert_eq!(limiter.lock().running, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_at_its_latest_deadline() {
        let limiter = RateLimiter::new(RateLimit::default());
        let start = Instant::now();
        limiter.hold_until(start + 2 * SECOND);
        let waiting = async {
            let _permit = limiter.acquire().await;
            start.elapsed()
        };
        let longer = async {
            tokio::time::sleep(SECOND).await;
            limiter.hold_until(start + 7 * SECOND);
            limiter.hold_until(start + 2 * SECOND);
            let _permit = limiter.acquire().await;
            start.elapsed()
        };
        assert_eq!(tokio::join!(waiting, longer), (7 * SECOND, 7 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_has_one_limiter_with_all_limits() {
        let limiters = RateLimiters::default();
        let one = limiters.of("a", &limit(&[(5, SECOND)], None));
        let two = limiters.of("a", &limit(&[(1, SECOND), (5, SECOND)], Some(3)));
        assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &limiters.of("b", &RateLimit::default())));
        assert_eq!(one.lock().limit, limit(&[(5, SECOND), (1, SECOND)], Some(3)));
    }

    proptest::proptest! {
        #[test]
        fn no_interval_exceeds_its_limit(
            windows in proptest::collection::vec((1u32..8, 1u64..5_000), 1..4),
            pauses in proptest::collection::vec(0u64..700, 1..60),
        ) {
            let windows = windows.iter().map(|(count, millis)| (*count, Duration::from_millis(*millis)));
            let windows: Vec<_> = windows.collect();
            let limiter = RateLimiter::new(limit(&windows, None));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let mut started = Vec::new();
            runtime.unwrap().block_on(async {
                for pause in pauses {
                    // A third of them come in a burst.
                    tokio::time::advance(Duration::from_millis(pause.saturating_sub(230))).await;
                    let _permit = limiter.acquire().await;
                    started.push(Instant::now());
                }
            });
            for ((count, per), first) in windows.iter().flat_map(|window| (0..started.len()).map(move |n| (window, n))) {
                let within = started[first..].iter().filter(|other| **other < started[first] + *per);
                proptest::prop_assert!(within.count() <= *count as usize);
            }
        }
    }
}
