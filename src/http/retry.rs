//! The one retry loop.
//!
//! The caller decides for each failure whether another attempt is worthwhile ([`Verdict`]); the loop decides how long to
//! wait and when to give up, by attempts and by time. It counts failures with an unknown outcome, because a request that
//! the service may have processed and that is sent again may arrive twice.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Exponential back-off with full jitter: before retry *n* (from 0) a random time between nothing and
/// `min(max, base · 2ⁿ)`, so that clients that failed together do not return together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    base: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits that start at up to `base` and never exceed `max`, nor are they shorter than `base`.
    pub(crate) fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max: max.max(base),
        }
    }

    /// The longest wait before retry `retry`, counted from 0.
    fn ceiling(&self, retry: u32) -> Duration {
        let factor = 1u32.checked_shl(retry).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }

    /// The wait before retry `retry`, counted from 0. `random` is in `0.0..1.0`.
    pub(crate) fn delay(&self, retry: u32, random: f64) -> Duration {
        let random = if random.is_nan() {
            1.0
        } else {
            random.clamp(0.0, 1.0)
        };
        self.ceiling(retry).mul_f64(random)
    }
}

impl Default for Backoff {
    /// From up to 1 s to up to 60 s.
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            max: Duration::from_secs(60),
        }
    }
}

/// How often and how long to try. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RetryPolicy {
    max_attempts: u32,
    max_elapsed: Duration,
    backoff: Backoff,
    random: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// The component and the request, for the log.
    about: Option<(Option<Arc<str>>, Arc<str>)>,
}

impl RetryPolicy {
    /// At most `max_attempts` attempts, the first included. None starts once `max_elapsed` has passed since the first;
    /// a running attempt is not aborted, because the outcome of an upload would be unknown.
    pub(crate) fn new(max_attempts: u32, max_elapsed: Duration, backoff: Backoff) -> Self {
        Self {
            max_attempts,
            max_elapsed,
            backoff,
            random: Arc::new(rand::random::<f64>),
            about: None,
        }
    }

    /// Takes the jitter from `random` (in `0.0..1.0`).
    #[must_use]
    #[cfg(test)]
    pub(crate) fn with_random(mut self, random: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// The same policy, whose log names the component and the request (without a query).
    #[must_use]
    pub(crate) fn about(&self, component: Option<&str>, request: &str) -> Self {
        Self {
            about: Some((component.map(Into::into), request.into())),
            ..self.clone()
        }
    }

    /// The time after which no attempt starts.
    pub(crate) fn max_elapsed(&self) -> Duration {
        self.max_elapsed
    }

    /// Calls `attempt` with its number, from 1, until it succeeds, `judge` or a bound ends the loop, or `cancel` is
    /// cancelled. Cancelling ends a wait and prevents further attempts; a running attempt ends by itself (drop the
    /// future to abort it).
    pub(crate) async fn run<T, E, Attempt, Answer>(
        &self,
        cancel: &CancellationToken,
        mut attempt: Attempt,
        mut judge: impl FnMut(&E) -> Verdict,
    ) -> Result<(T, Tally), GaveUp<E>>
    where
        E: AttemptError,
        Attempt: FnMut(u32) -> Answer,
        Answer: Future<Output = Result<T, E>>,
    {
        let start = Instant::now();
        let mut budget = Budget {
            start,
            used: 0,
            free_retry: true,
        };
        let mut tally = Tally::default();
        let mut last = None;
        loop {
            if cancel.is_cancelled() {
                tally.elapsed = start.elapsed();
                return Err(GaveUp {
                    reason: Reason::Cancelled,
                    last,
                    tally,
                });
            }
            tally.attempts += 1;
            budget.used += 1;
            let result = attempt(tally.attempts).await;
            tally.elapsed = start.elapsed();
            let error = match result {
                Ok(value) => return Ok((value, tally)),
                Err(error) => error,
            };
            tally.last_unknown = error.is_unknown();
            tally.unknown += u32::from(tally.last_unknown);
            let wait = match self.wait(judge(&error), &mut budget) {
                Ok(wait) => wait,
                Err(reason) => {
                    return Err(GaveUp {
                        reason,
                        last: Some(error),
                        tally,
                    });
                }
            };
            let about = self.about.as_ref();
            tracing::warn!(
                component = about.and_then(|(component, _)| component.as_deref()),
                request = about.map(|(_, request)| &**request),
                attempt = tally.attempts,
                of = self.max_attempts,
                wait_ms = wait.as_millis() as u64,
                error = %error,
                "attempt failed, retrying"
            );
            last = Some(error);
            // Cancelled while waiting: found at the top of the loop.
            let _ = cancel.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    /// The wait before the next attempt, or why there is none.
    fn wait(&self, verdict: Verdict, budget: &mut Budget) -> Result<Duration, Reason> {
        let asked = match verdict {
            Verdict::Stop => return Err(Reason::Permanent),
            Verdict::Retry { after } => after,
            Verdict::Resume => {
                *budget = Budget {
                    start: Instant::now(),
                    used: 1,
                    free_retry: budget.free_retry,
                };
                None
            }
            Verdict::RetryAtOnce => {
                // The attempt before the first one of these does not count.
                budget.used -= u32::from(std::mem::take(&mut budget.free_retry));
                None
            }
        };
        if budget.used >= self.max_attempts {
            return Err(Reason::AttemptsSpent);
        }
        let left = self.max_elapsed.saturating_sub(budget.start.elapsed());
        if let Some(asked) = asked.filter(|asked| *asked >= left) {
            return Err(Reason::AskedToWait { asked, left });
        }
        let wait = match verdict {
            Verdict::RetryAtOnce => Duration::ZERO,
            _ => self.backoff.delay(budget.used.saturating_sub(1), (self.random)()),
        };
        let wait = wait.max(asked.unwrap_or_default());
        if wait >= left {
            Err(Reason::TimeSpent)
        } else {
            Ok(wait)
        }
    }
}

/// What is used up of the bounds of a policy.
struct Budget {
    start: Instant,
    used: u32,
    free_retry: bool,
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("max_attempts", &self.max_attempts)
            .field("max_elapsed", &self.max_elapsed)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

/// The failure of one attempt. Its `Display` goes to the log: no secret, no payload.
pub(crate) trait AttemptError: fmt::Display {
    /// Whether the service may have processed the request although no response arrived.
    fn is_unknown(&self) -> bool;
}

/// What to do about the failure of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stop,
    /// Try again after the back-off, and not before `after`.
    Retry {
        /// What the service asked for, such as with `Retry-After`.
        after: Option<Duration>,
    },
    /// Try again after the first back-off; attempts and time count anew, because a part of the work is done.
    #[allow(dead_code, reason = "only remote storage resumes transfers")]
    Resume,
    /// Try again at once: the cause is fixed, such as by a new token. The first time, the failed attempt does not
    /// count.
    RetryAtOnce,
}

/// What a loop did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) attempts: u32,
    /// How many of them ended with an unknown outcome.
    pub(crate) unknown: u32,
    pub(crate) last_unknown: bool,
    /// From the start of the first attempt to the end of the last.
    pub(crate) elapsed: Duration,
}

/// Why a loop ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Permanent,
    AttemptsSpent,
    TimeSpent,
    /// The service asked for a longer wait than the time that is left.
    AskedToWait {
        asked: Duration,
        left: Duration,
    },
    Cancelled,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanent => f.write_str("a retry would not help"),
            Self::AttemptsSpent => f.write_str("no attempt is left"),
            Self::TimeSpent => f.write_str("no time is left for another attempt"),
            Self::AskedToWait { asked, left } => write!(
                f,
                "the service asked to wait {} s, and only {} s are left for retries",
                asked.as_secs(),
                left.as_secs()
            ),
            Self::Cancelled => f.write_str("the run was cancelled"),
        }
    }
}

/// What retrying took, and why it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) tally: Tally,
    pub(crate) reason: Reason,
}

impl fmt::Display for Spent {
    /// `3 attempts in 12.3 s, no attempt is left`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            attempts,
            unknown,
            elapsed,
            ..
        } = self.tally;
        let plural = if attempts == 1 { "" } else { "s" };
        write!(f, "{attempts} attempt{plural} in {:.1} s", elapsed.as_secs_f64())?;
        if unknown > 0 && attempts > 1 {
            write!(f, ", {unknown} of them with the outcome unknown")?;
        }
        match self.reason {
            Reason::Permanent => Ok(()),
            reason => write!(f, ", {reason}"),
        }
    }
}

/// A loop that ended without success.
#[derive(Debug)]
pub(crate) struct GaveUp<E> {
    pub(crate) reason: Reason,
    /// The last failure; none if the run was cancelled before the first attempt ended.
    pub(crate) last: Option<E>,
    pub(crate) tally: Tally,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const SECOND: Duration = Duration::from_secs(1);
    const RETRY: Verdict = Verdict::Retry { after: None };

    #[derive(Debug, PartialEq)]
    struct Fault {
        unknown: bool,
    }

    impl fmt::Display for Fault {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("fault")
        }
    }

    impl AttemptError for Fault {
        fn is_unknown(&self) -> bool {
            self.unknown
        }
    }

    fn policy(attempts: u32, seconds: u32) -> RetryPolicy {
        let backoff = Backoff::new(SECOND, 8 * SECOND);
        RetryPolicy::new(attempts, seconds * SECOND, backoff).with_random(|| 1.0)
    }

    /// Attempts that last `seconds` and fail, each with the next verdict; the last one repeats.
    async fn run(
        policy: &RetryPolicy,
        cancel: &CancellationToken,
        seconds: u32,
        verdicts: &[Verdict],
    ) -> (GaveUp<Fault>, Vec<u64>) {
        let start = Instant::now();
        let starts = RefCell::new(Vec::new());
        let gave_up = policy.run(
            cancel,
            |_| {
                starts.borrow_mut().push(start.elapsed().as_secs());
                async move {
                    tokio::time::sleep(seconds * SECOND).await;
                    Err::<(), _>(Fault { unknown: true })
                }
            },
            |_| verdicts[(starts.borrow().len() - 1).min(verdicts.len() - 1)],
        );
        let gave_up = gave_up.await.unwrap_err();
        (gave_up, starts.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn is_bounded_by_attempts_and_time() {
        let after = |seconds| Verdict::Retry {
            after: Some(seconds * SECOND),
        };
        let asked = Reason::AskedToWait {
            asked: 120 * SECOND,
            left: 60 * SECOND,
        };
        type Case<'a> = (u32, u32, u32, &'a [Verdict], &'a [u64], Reason);
        let cases: &[Case<'_>] = &[
            (5, 600, 0, &[RETRY], &[0, 1, 3, 7, 15], Reason::AttemptsSpent),
            (100, 10, 0, &[RETRY], &[0, 1, 3, 7], Reason::TimeSpent),
            (100, 10, 6, &[RETRY], &[0, 7], Reason::TimeSpent),
            (2, 60, 0, &[after(20)], &[0, 20], Reason::AttemptsSpent),
            (5, 60, 0, &[after(120)], &[0], asked),
            (5, 60, 0, &[Verdict::Stop], &[0], Reason::Permanent),
            // The attempt before the first renewal does not count.
            (
                3,
                60,
                0,
                &[Verdict::RetryAtOnce],
                &[0, 0, 0, 0],
                Reason::AttemptsSpent,
            ),
            (1, 60, 0, &[Verdict::RetryAtOnce], &[0, 0], Reason::AttemptsSpent),
            // Progress counts anew.
            (
                2,
                3,
                2,
                &[Verdict::Resume, Verdict::Resume, RETRY],
                &[0, 3, 6],
                Reason::AttemptsSpent,
            ),
        ];
        for (attempts, elapsed, lasts, verdicts, starts, reason) in cases {
            let (gave_up, found) = run(
                &policy(*attempts, *elapsed),
                &CancellationToken::new(),
                *lasts,
                verdicts,
            )
            .await;
            assert_eq!((&found[..], gave_up.reason), (*starts, *reason), "{verdicts:?}");
            assert_eq!(
                (gave_up.tally.attempts, gave_up.tally.unknown),
                (starts.len() as u32, starts.len() as u32)
            );
        }
        assert_eq!(
            asked.to_string(),
            "the service asked to wait 120 s, and only 60 s are left for retries"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_ends_the_wait_and_keeps_the_last_failure() {
        let cancel = CancellationToken::new();
        let stop = async {
            tokio::time::sleep(2 * SECOND).await;
            cancel.cancel();
        };
        let policy = policy(9, 600);
        let ((gave_up, starts), ()) = tokio::join!(run(&policy, &cancel, 0, &[RETRY]), stop);
        assert_eq!(starts, [0, 1]);
        assert_eq!(
            (gave_up.reason, gave_up.last),
            (Reason::Cancelled, Some(Fault { unknown: true }))
        );
        assert!(gave_up.tally.last_unknown);
        let (gave_up, starts) = run(&policy, &cancel, 0, &[RETRY]).await;
        assert!(starts.is_empty() && gave_up.last.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn counts_the_attempts_of_a_success() {
        let attempt = async |number| match number {
            3 => Ok(number),
            _ => Err(Fault { unknown: number == 1 }),
        };
        let (value, tally) = policy(5, 60)
            .run(&CancellationToken::new(), attempt, |_| RETRY)
            .await
            .unwrap();
        assert_eq!((value, tally.attempts, tally.unknown), (3, 3, 1));
    }

    proptest::proptest! {
        #[test]
        fn a_delay_never_exceeds_its_ceiling(base in 1u64..10_000, more in 0u64..1_000_000, retry: u32, random: f64) {
            let max = Duration::from_millis((base + more).min(3_600_000));
            let backoff = Backoff::new(Duration::from_millis(base), max);
            let delay = backoff.delay(retry, random);
            proptest::prop_assert!(delay <= backoff.ceiling(retry) && backoff.ceiling(retry) <= max);
            if retry < 3 && max > Duration::from_millis(base * 8) {
                proptest::prop_assert_eq!(backoff.ceiling(retry), Duration::from_millis(base << retry));
            }
        }
    }
}
