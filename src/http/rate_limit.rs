//! Keeps to the limits of a service: requests in any second, minute or day, and at the same time.
//!
//! A [`RateLimiter`] admits requests in order, each as soon as every window has room. Windows slide, so no stretch of a
//! window's length holds more starts than it allows. [`hold_until`](RateLimiter::hold_until) pauses all of them. Callers
//! that give up waiting (drop the future) take nothing away from others.

use std::collections::{HashMap, VecDeque};
use std::fmt;
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
    /// A window of this many starts.
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

    fn count(self) -> usize {
        self.count as usize
    }
}

/// A service's limits.
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
#[derive(Debug)]
#[must_use = "the request counts as ended once this is dropped"]
pub(crate) struct Permit(Arc<RateLimiter>);

/// What the caller whose turn it is waits for.
enum Next {
    Started,
    At(Instant),
    End,
}

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
            let next = self.lock().next(Instant::now());
            match next {
                Next::Started => return Permit(Arc::clone(self)),
                Next::At(time) => tokio::time::sleep_until(time).await,
                // A request that ended meanwhile has left a permit in `ended`.
                Next::End => self.ended.notified().await,
            }
        }
    }

    /// No request starts before `time`. A longer hold stays.
    pub(crate) fn hold_until(&self, time: Instant) {
        let mut state = self.lock();
        state.hold = state.hold.max(Some(time));
    }

    /// Adds limits: all windows apply, and the lower number of concurrent requests. A new window counts from now on.
    pub(crate) fn restrict(&self, limit: &RateLimit) {
        let mut state = self.lock();
        for window in &limit.windows {
            if !state.limit.windows.contains(window) {
                state.limit.windows.push(*window);
            }
        }
        state.limit.max_concurrent = match (state.limit.max_concurrent, limit.max_concurrent) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Starts a request if one may start now.
    fn next(&mut self, now: Instant) -> Next {
        if self.limit.max_concurrent.is_some_and(|max| self.running >= max) {
            return Next::End;
        }
        let free = |window: &Window| {
            let at = self.started.len().checked_sub(window.count())?;
            Some(self.started[at] + window.per)
        };
        let ready = self.limit.windows.iter().filter_map(free).chain(self.hold).max();
        if let Some(time) = ready.filter(|time| *time > now) {
            return Next::At(time);
        }
        let kept = self.limit.windows.iter().map(|window| window.count()).max();
        if let Some(kept) = kept {
            while self.started.len() >= kept {
                self.started.pop_front();
            }
            self.started.push_back(now);
        }
        self.running += 1;
        Next::Started
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.ended.notify_one();
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("limit", &self.lock().limit)
            .finish_non_exhaustive()
    }
}

/// The limiters of a run, by host: a service counts all requests together. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateLimiters(Arc<Mutex<HashMap<String, Arc<RateLimiter>>>>);

impl RateLimiters {
    /// The limiter for `host` ([`address::host`](super::address::host)); an existing one is
    /// [restricted](RateLimiter::restrict) further.
    pub(crate) fn of(&self, host: &str, limit: &RateLimit) -> Arc<RateLimiter> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(host) {
            Some(limiter) => {
                limiter.restrict(limit);
                Arc::clone(limiter)
            }
            None => {
                let limiter = RateLimiter::new(limit.clone());
                all.insert(host.to_owned(), Arc::clone(&limiter));
                limiter
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn window(count: u32, per: Duration) -> Window {
        Window::new(count, per).unwrap()
    }

    fn limiter(windows: &[Window], max_concurrent: Option<usize>) -> Arc<RateLimiter> {
        RateLimiter::new(RateLimit {
            windows: windows.to_vec(),
            max_concurrent,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn applies_every_window() {
        let limiter = limiter(&[window(2, SECOND), window(3, 10 * SECOND)], None);
        let start = Instant::now();
        let mut started = Vec::new();
        for _ in 0..8 {
            let _permit = limiter.acquire().await;
            started.push(start.elapsed().as_secs());
        }
        assert_eq!(started, [0, 0, 1, 10, 10, 11, 20, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_concurrent_requests() {
        let limiter = limiter(&[], Some(2));
        let first = limiter.acquire().await;
        let _second = limiter.acquire().await;
        let mut third = std::pin::pin!(limiter.acquire());
        assert!(futures::poll!(third.as_mut()).is_pending());
        drop(first);
        drop(third.await);
        assert_eq!(limiter.lock().running, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn admits_in_order() {
        let limiter = limiter(&[window(1, SECOND)], Some(1));
        let order = Mutex::new(Vec::new());
        let ask = |number: usize| {
            let (limiter, order) = (&limiter, &order);
            async move {
                let _permit = limiter.acquire().await;
                order.lock().unwrap().push(number);
            }
        };
        futures::future::join_all((0..20).map(ask)).await;
        assert_eq!(order.into_inner().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn an_aborted_caller_takes_nothing_from_others() {
        let limiter = limiter(&[window(1, 10 * SECOND)], Some(1));
        let first = limiter.acquire().await;
        for _ in 0..5 {
            let given_up = tokio::time::timeout(SECOND, limiter.acquire()).await;
            assert!(given_up.is_err());
        }
        drop(first);
        let start = Instant::now();
        for _ in 0..3 {
            assert!(tokio::time::timeout(SECOND, limiter.acquire()).await.is_err());
        }
        let _permit = limiter.acquire().await;
        assert_eq!(start.elapsed(), 5 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_hold_applies_to_all() {
        let limiter = limiter(&[], None);
        let start = Instant::now();
        let waiting = async {
            limiter.hold_until(start + 3 * SECOND);
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
        let limit = |windows: &[Window], max_concurrent| RateLimit {
            windows: windows.to_vec(),
            max_concurrent,
        };
        let one = limiters.of("a", &limit(&[window(5, SECOND)], None));
        let two = limiters
            .clone()
            .of("a", &limit(&[window(1, SECOND), window(5, SECOND)], Some(3)));
        assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &limiters.of("b", &RateLimit::default())));
        assert_eq!(
            one.lock().limit,
            limit(&[window(5, SECOND), window(1, SECOND)], Some(3))
        );
        let start = Instant::now();
        drop(one.acquire().await);
        drop(two.acquire().await);
        assert_eq!(start.elapsed(), SECOND);
    }

    #[test]
    fn rejects_windows_out_of_range() {
        for (count, per) in [
            (0, SECOND),
            (MAX_COUNT + 1, SECOND),
            (1, Duration::ZERO),
            (1, MAX_WINDOW + SECOND),
        ] {
            assert!(Window::new(count, per).is_err(), "{count} {per:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn no_stretch_exceeds_its_window(
            windows in proptest::collection::vec((1u32..8, 1u64..5_000), 1..4),
            pauses in proptest::collection::vec(0u64..700, 1..60),
        ) {
            let windows: Vec<Window> = windows
                .into_iter()
                .map(|(count, millis)| window(count, Duration::from_millis(millis)))
                .collect();
            let limiter = limiter(&windows, None);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let started = runtime.block_on(async {
                let mut started = Vec::new();
                for pause in pauses {
                    // A third of them come in a burst.
                    tokio::time::advance(Duration::from_millis(pause.saturating_sub(230))).await;
                    let _permit = limiter.acquire().await;
                    started.push(Instant::now());
                }
                started
            });
            for window in &windows {
                for (first, begin) in started.iter().enumerate() {
                    let within = started[first..].iter().filter(|other| **other < *begin + window.per).count();
                    proptest::prop_assert!(within <= window.count(), "{} starts in {:?}", within, window.per);
                }
            }
        }
    }
}
