//! Keeps to a service's limits: so many requests in any second, minute or day, and so many at a time.
//!
//! A [`RateLimiter`] is asked before a request is begun. It lets them go in the order in which they asked, each as soon as
//! every window has room: windows move, so no stretch of a window's length ever holds more begins than it allows, not
//! even across the turn of a minute. Whoever is told to wait by the service calls
//! [`hold_until`](RateLimiter::hold_until), and all wait. Whoever gives up waiting (drops the future) takes nothing away
//! from the others.
//!
//! What counts is when requests begin here. What was begun by other programs, or before this run, is not known.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::InvalidSetting;

/// Most begins that a window may allow: each is remembered.
pub(crate) const MOST: u32 = 100_000;

/// The longest window.
pub(crate) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// At most `count` begins in any stretch of `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    count: u32,
    per: Duration,
}

impl Window {
    /// A window of so many begins.
    ///
    /// # Errors
    /// `count` is not between 1 and 100,000, or `per` is zero or longer than a week.
    pub(crate) fn new(count: u32, per: Duration) -> Result<Self, InvalidSetting> {
        if !(1..=MOST).contains(&count) {
            return Err(InvalidSetting::new(
                "rate",
                format!("must allow from 1 to {MOST} requests, found {count}"),
            ));
        }
        if per.is_zero() || per > LONGEST {
            return Err(InvalidSetting::new(
                "rate",
                format!("must be per time of more than nothing and at most 7 days, found {per:?}"),
            ));
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
    /// All of them hold. Empty: begins are not limited.
    pub(crate) windows: Vec<Window>,
    /// Most requests at a time. `None`: not limited. Nothing runs with 0, so the configuration must refuse that.
    pub(crate) max_concurrent: Option<usize>,
}

/// Lets requests begin. Shared by reference or in an [`Arc`].
pub(crate) struct RateLimiter {
    /// Held by the one whose turn it is. Fair: those who ask stand in line.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Tells the one whose turn it is that a request has ended.
    ended: Notify,
}

struct State {
    pace: RateLimit,
    /// When requests began: as many as the largest window counts, the newest last.
    begun: VecDeque<Instant>,
    running: usize,
    hold: Option<Instant>,
}

/// A request under way; dropped when it has ended.
#[derive(Debug)]
#[must_use = "the request counts as ended once this is dropped"]
pub(crate) struct Permit(Arc<RateLimiter>);

/// What the one whose turn it is has to wait for.
enum Next {
    Begun,
    At(Instant),
    End,
}

impl RateLimiter {
    /// A limiter with nothing begun.
    pub(crate) fn new(pace: RateLimit) -> Arc<Self> {
        Arc::new(Self {
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::new(State {
                pace,
                begun: VecDeque::new(),
                running: 0,
                hold: None,
            }),
            ended: Notify::new(),
        })
    }

    /// Waits until a request may begin, which counts as begun when this returns.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Permit {
        let _turn = self.turn.lock().await;
        loop {
            let next = self.lock().next(Instant::now());
            match next {
                Next::Begun => return Permit(Arc::clone(self)),
                Next::At(time) => tokio::time::sleep_until(time).await,
                // A request that ended since it was looked at has left word.
                Next::End => self.ended.notified().await,
            }
        }
    }

    /// No request begins before `time`. A hold that is longer stays.
    pub(crate) fn hold_until(&self, time: Instant) {
        let mut state = self.lock();
        state.hold = state.hold.max(Some(time));
    }

    /// Adds limits to those there are: all of them hold, and the lower number at a time. A window longer than those there
    /// were counts what begins from now on.
    pub(crate) fn restrict(&self, pace: &RateLimit) {
        let mut state = self.lock();
        for window in &pace.windows {
            if !state.pace.windows.contains(window) {
                state.pace.windows.push(*window);
            }
        }
        state.pace.max_concurrent = match (state.pace.max_concurrent, pace.max_concurrent) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Begins a request if one may begin now.
    fn next(&mut self, now: Instant) -> Next {
        if self.pace.max_concurrent.is_some_and(|most| self.running >= most) {
            return Next::End;
        }
        let free = |window: &Window| {
            let at = self.begun.len().checked_sub(window.count())?;
            Some(self.begun[at] + window.per)
        };
        let ready = self.pace.windows.iter().filter_map(free).chain(self.hold).max();
        if let Some(time) = ready.filter(|time| *time > now) {
            return Next::At(time);
        }
        let kept = self.pace.windows.iter().map(|window| window.count()).max();
        if let Some(kept) = kept {
            while self.begun.len() >= kept {
                self.begun.pop_front();
            }
            self.begun.push_back(now);
        }
        self.running += 1;
        Next::Begun
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
            .field("pace", &self.lock().pace)
            .finish_non_exhaustive()
    }
}

/// The limiters of a run, by host: a service counts the requests of all that ask it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateLimiters(Arc<Mutex<HashMap<String, Arc<RateLimiter>>>>);

impl RateLimiters {
    /// The limiter for `host` ([`address::host`](super::address::host)). Whoever asks for one that is there already
    /// [restricts](RateLimiter::restrict) it.
    pub(crate) fn of(&self, host: &str, pace: &RateLimit) -> Arc<RateLimiter> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(host) {
            Some(limiter) => {
                limiter.restrict(pace);
                Arc::clone(limiter)
            }
            None => {
                let limiter = RateLimiter::new(pace.clone());
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
    async fn every_window_holds_at_once() {
        let limiter = limiter(&[window(2, SECOND), window(3, 10 * SECOND)], None);
        let start = Instant::now();
        let mut begun = Vec::new();
        for _ in 0..8 {
            let _permit = limiter.acquire().await;
            begun.push(start.elapsed().as_secs());
        }
        assert_eq!(begun, [0, 0, 1, 10, 10, 11, 20, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_run_at_a_time() {
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
    async fn those_who_wait_go_in_the_order_in_which_they_asked() {
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
    async fn who_gives_up_takes_nothing_from_the_others() {
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
    async fn a_pause_is_for_all_and_the_longer_one_counts() {
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
    async fn a_host_has_one_limiter_with_all_that_was_asked_of_it() {
        let limiters = RateLimiters::default();
        let pace = |windows: &[Window], max_concurrent| RateLimit {
            windows: windows.to_vec(),
            max_concurrent,
        };
        let one = limiters.of("a", &pace(&[window(5, SECOND)], None));
        let two = limiters
            .clone()
            .of("a", &pace(&[window(1, SECOND), window(5, SECOND)], Some(3)));
        assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &limiters.of("b", &RateLimit::default())));
        assert_eq!(
            one.lock().pace,
            pace(&[window(5, SECOND), window(1, SECOND)], Some(3))
        );
        let start = Instant::now();
        drop(one.acquire().await);
        drop(two.acquire().await);
        assert_eq!(start.elapsed(), SECOND);
    }

    #[test]
    fn bad_windows_are_refused() {
        for (count, per) in [
            (0, SECOND),
            (MOST + 1, SECOND),
            (1, Duration::ZERO),
            (1, LONGEST + SECOND),
        ] {
            assert!(Window::new(count, per).is_err(), "{count} {per:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn no_stretch_holds_more_than_its_window(
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
            let begun = runtime.block_on(async {
                let mut begun = Vec::new();
                for pause in pauses {
                    // A third of them come in a burst.
                    tokio::time::advance(Duration::from_millis(pause.saturating_sub(230))).await;
                    let _permit = limiter.acquire().await;
                    begun.push(Instant::now());
                }
                begun
            });
            for window in &windows {
                for (first, begin) in begun.iter().enumerate() {
                    let within = begun[first..].iter().filter(|other| **other < *begin + window.per).count();
                    proptest::prop_assert!(within <= window.count(), "{} begins in {:?}", within, window.per);
                }
            }
        }
    }
}
