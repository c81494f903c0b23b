//! The one loop that tries again.
//!
//! Whether a failure is worth another attempt is decided by the caller, failure by failure ([`Verdict`]); how long to
//! wait and when to give up is decided here. Both bounds hold for the whole: attempts (the first included) and time.
//! A failure whose outcome nobody knows is counted, because a request that may have been taken and is sent again may
//! arrive twice.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::InvalidSetting;
use super::backoff::Backoff;

/// How often and how long to try. `Debug` and `Clone`; made once and shared.
#[derive(Clone)]
pub struct RetryPolicy {
    max_attempts: u32,
    max_elapsed: Duration,
    backoff: Backoff,
    random: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// What is tried, and for which component, for the log.
    about: Option<(Option<Arc<str>>, Arc<str>)>,
}

impl RetryPolicy {
    /// At most `max_attempts` attempts, the first included; none is begun once `max_elapsed` has passed since the
    /// first. An attempt under way is not cut off by `max_elapsed`: cutting off an upload would make its outcome
    /// unknown. So the whole lasts at most `max_elapsed` and one request timeout.
    ///
    /// # Errors
    /// `max_attempts` is 0 or above 100, or `max_elapsed` is zero or above 24 hours.
    pub fn new(max_attempts: u32, max_elapsed: Duration, backoff: Backoff) -> Result<Self, InvalidSetting> {
        if !(1..=100).contains(&max_attempts) {
            return Err(InvalidSetting::new(
                "max_attempts",
                format!("must be from 1 (no retry) to 100, found {max_attempts}"),
            ));
        }
        if max_elapsed.is_zero() || max_elapsed > Duration::from_secs(24 * 3600) {
            return Err(InvalidSetting::new(
                "max_elapsed",
                format!("must be more than zero and at most 24h, found {max_elapsed:?}"),
            ));
        }
        Ok(Self {
            max_attempts,
            max_elapsed,
            backoff,
            random: Arc::new(rand::random::<f64>),
            about: None,
        })
    }

    /// Takes the jitter from `random` (in `0.0..1.0`) instead of the thread's generator.
    #[must_use]
    pub fn with_random(mut self, random: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// The same policy, which says in the log what is tried: `request` without a query, and for which component.
    #[must_use]
    pub(crate) fn about(&self, component: Option<&str>, request: &str) -> Self {
        Self {
            about: Some((component.map(Into::into), request.into())),
            ..self.clone()
        }
    }

    /// Attempts, the first included.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Time after which no further attempt is begun.
    pub fn max_elapsed(&self) -> Duration {
        self.max_elapsed
    }

    /// Calls `attempt` until it succeeds, `judge` says that it is no use, a bound is reached or `cancel` is cancelled.
    ///
    /// `attempt` is given its number, from 1. Cancelling stops waiting and keeps a further attempt from being begun;
    /// an attempt under way is left to finish (drop the future to cut it off).
    ///
    /// # Errors
    /// [`GaveUp`]: why, and the last failure.
    pub async fn run<T, E, Attempt, Answer>(
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
        let mut tally = Tally::default();
        let mut last = None;
        let mut mended = 0;
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
            let error = match attempt(tally.attempts).await {
                Ok(value) => {
                    tally.elapsed = start.elapsed();
                    return Ok((value, tally));
                }
                Err(error) => error,
            };
            tally.elapsed = start.elapsed();
            tally.last_unknown = error.is_unknown();
            tally.unknown += u32::from(tally.last_unknown);

            let verdict = judge(&error);
            // What was mended once is asked for again whatever the number of attempts, and only once: it may never be.
            if verdict == Verdict::RetryAtOnce && mended == 0 {
                mended = 1;
            }
            let wait = self.next(verdict, &tally, tally.attempts - mended);
            let wait = match wait {
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
                "attempt failed, trying again"
            );
            last = Some(error);
            // Cancelled while waiting: found at the top of the loop.
            let _ = cancel.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    /// The wait before the next attempt, or why there is none.
    /// `counted` are the attempts that count.
    fn next(&self, verdict: Verdict, tally: &Tally, counted: u32) -> Result<Duration, Reason> {
        let asked = match verdict {
            Verdict::Stop => return Err(Reason::Permanent),
            Verdict::Retry { after } => after,
            Verdict::RetryAtOnce => None,
        };
        if counted >= self.max_attempts {
            return Err(Reason::AttemptsSpent);
        }
        let left = self.max_elapsed.saturating_sub(tally.elapsed);
        if let Some(asked) = asked.filter(|asked| *asked >= left) {
            return Err(Reason::AskedToWait { asked, left });
        }
        if verdict == Verdict::RetryAtOnce {
            return if left.is_zero() {
                Err(Reason::TimeSpent)
            } else {
                Ok(Duration::ZERO)
            };
        }
        let delay = self.backoff.delay(counted.saturating_sub(1), (self.random)());
        let wait = asked.unwrap_or_default().max(delay);
        if wait >= left {
            Err(Reason::TimeSpent)
        } else {
            Ok(wait)
        }
    }
}

impl Default for RetryPolicy {
    /// 8 attempts within 15 minutes, with the default [`Backoff`].
    fn default() -> Self {
        Self {
            max_attempts: 8,
            max_elapsed: Duration::from_secs(15 * 60),
            backoff: Backoff::default(),
            random: Arc::new(rand::random::<f64>),
            about: None,
        }
    }
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
pub trait AttemptError: fmt::Display {
    /// Whether the other side may have acted on the request although no answer came.
    fn is_unknown(&self) -> bool;
}

/// What to do about the failure of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No retry can help.
    Stop,
    /// Try again after the back-off, and not before `after` has passed, where the other side asked for that.
    Retry {
        /// What the other side asked for, such as with `Retry-After`.
        after: Option<Duration>,
    },
    /// Try again at once: the cause was mended, such as a token that was renewed. The first time in a loop the
    /// attempt before does not count; further times it does.
    RetryAtOnce,
}

/// What a loop did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Attempts begun.
    pub attempts: u32,
    /// How many of them ended with the outcome unknown.
    pub unknown: u32,
    /// Whether the last failure was one of those.
    pub last_unknown: bool,
    /// From the first attempt to the end of the last.
    pub elapsed: Duration,
}

/// Why a loop ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The failure is not one that a retry mends.
    Permanent,
    /// No attempt is left.
    AttemptsSpent,
    /// No time is left for another attempt.
    TimeSpent,
    /// The other side asked to wait longer than the time left.
    AskedToWait {
        /// What it asked for.
        asked: Duration,
        /// What was left.
        left: Duration,
    },
    /// The run was cancelled.
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
    /// What was done.
    pub(crate) tally: Tally,
    /// Why it ended.
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
pub struct GaveUp<E> {
    /// Why.
    pub reason: Reason,
    /// The last failure; none if the run was cancelled before the first attempt.
    pub last: Option<E>,
    /// What was done.
    pub tally: Tally,
}

/// The wait that a `Retry-After` header asks for: whole seconds, or a date counted from `now` (one in the past asks
/// for none). `None` for anything else.
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a wait without end: longer than any time left.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const SECOND: Duration = Duration::from_secs(1);

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

    fn policy(attempts: u32, elapsed: Duration) -> RetryPolicy {
        let backoff = Backoff::new(SECOND, 8 * SECOND).unwrap();
        RetryPolicy::new(attempts, elapsed, backoff)
            .unwrap()
            .with_random(|| 1.0)
    }

    async fn fails(
        policy: &RetryPolicy,
        cancel: &CancellationToken,
        verdict: Verdict,
    ) -> (GaveUp<Fault>, Vec<u64>) {
        let start = Instant::now();
        let begun = RefCell::new(Vec::new());
        let gave_up = policy
            .run(
                cancel,
                |_| {
                    begun.borrow_mut().push(start.elapsed().as_secs());
                    async { Err::<(), _>(Fault { unknown: true }) }
                },
                |_| verdict,
            )
            .await
            .unwrap_err();
        (gave_up, begun.into_inner())
    }

    const RETRY: Verdict = Verdict::Retry { after: None };

    #[tokio::test(start_paused = true)]
    async fn attempts_are_bounded_and_waits_double() {
        let (gave_up, begun) = fails(&policy(5, 600 * SECOND), &CancellationToken::new(), RETRY).await;
        assert_eq!(begun, [0, 1, 3, 7, 15]);
        assert_eq!(gave_up.reason, Reason::AttemptsSpent);
        assert_eq!(gave_up.tally.attempts, 5);
        assert_eq!(gave_up.tally.unknown, 5);
        assert_eq!(gave_up.tally.elapsed, 15 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn no_attempt_begins_after_the_time_is_up() {
        let (gave_up, begun) = fails(&policy(100, 10 * SECOND), &CancellationToken::new(), RETRY).await;
        assert_eq!(begun, [0, 1, 3, 7]);
        assert_eq!(gave_up.reason, Reason::TimeSpent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_attempt_counts_towards_the_time() {
        let gave_up = policy(100, 10 * SECOND)
            .run(
                &CancellationToken::new(),
                |_| async {
                    tokio::time::sleep(6 * SECOND).await;
                    Err::<(), _>(Fault { unknown: false })
                },
                |_| RETRY,
            )
            .await
            .unwrap_err();
        assert_eq!((gave_up.tally.attempts, gave_up.tally.unknown), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_sides_wait_is_honoured() {
        let verdict = Verdict::Retry {
            after: Some(20 * SECOND),
        };
        let (gave_up, begun) = fails(&policy(2, 60 * SECOND), &CancellationToken::new(), verdict).await;
        assert_eq!(begun, [0, 20]);
        assert_eq!(gave_up.reason, Reason::AttemptsSpent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_longer_than_the_time_left_ends_the_loop_at_once() {
        let verdict = Verdict::Retry {
            after: Some(120 * SECOND),
        };
        let (gave_up, begun) = fails(&policy(5, 60 * SECOND), &CancellationToken::new(), verdict).await;
        assert_eq!(begun, [0]);
        assert_eq!(gave_up.tally.elapsed, Duration::ZERO);
        assert_eq!(
            gave_up.reason.to_string(),
            "the service asked to wait 120 s, and only 60 s are left for retries"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_failure_is_not_tried_again() {
        let (gave_up, begun) = fails(&policy(5, 60 * SECOND), &CancellationToken::new(), Verdict::Stop).await;
        assert_eq!((begun.len(), gave_up.reason), (1, Reason::Permanent));
    }

    #[tokio::test(start_paused = true)]
    async fn at_once_means_no_wait_and_counts_but_for_the_first_time() {
        let (gave_up, begun) = fails(
            &policy(3, 60 * SECOND),
            &CancellationToken::new(),
            Verdict::RetryAtOnce,
        )
        .await;
        assert_eq!((begun.as_slice(), gave_up.tally.attempts), (&[0, 0, 0, 0][..], 4));
        let (gave_up, _) = fails(
            &policy(1, 60 * SECOND),
            &CancellationToken::new(),
            Verdict::RetryAtOnce,
        )
        .await;
        assert_eq!(gave_up.tally.attempts, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_stops_waiting_and_keeps_the_last_failure() {
        let cancel = CancellationToken::new();
        let stop = async {
            tokio::time::sleep(2 * SECOND).await;
            cancel.cancel();
        };
        let policy = policy(9, 600 * SECOND);
        let ((gave_up, begun), ()) = tokio::join!(fails(&policy, &cancel, RETRY), stop);
        assert_eq!(begun, [0, 1]);
        assert_eq!(
            (gave_up.reason, gave_up.last),
            (Reason::Cancelled, Some(Fault { unknown: true }))
        );
        assert!(gave_up.tally.last_unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_before_the_first_attempt_nothing_is_tried() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let (gave_up, begun) = fails(&policy(9, 600 * SECOND), &cancel, RETRY).await;
        assert!(begun.is_empty() && gave_up.last.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_says_what_it_took() {
        let (value, tally) = policy(5, 60 * SECOND)
            .run(
                &CancellationToken::new(),
                async |number| {
                    if number < 3 {
                        Err(Fault { unknown: number == 1 })
                    } else {
                        Ok(number)
                    }
                },
                |_| RETRY,
            )
            .await
            .unwrap();
        assert_eq!((value, tally.attempts, tally.unknown), (3, 3, 1));
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        let refused = |attempts, elapsed| {
            RetryPolicy::new(attempts, elapsed, Backoff::default())
                .unwrap_err()
                .field
        };
        assert_eq!(refused(0, SECOND), "max_attempts");
        assert_eq!(refused(101, SECOND), "max_attempts");
        assert_eq!(refused(1, Duration::ZERO), "max_elapsed");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let parse = |text| parse_retry_after(text, now);
        assert_eq!(parse(" 120 "), Some(120 * SECOND));
        assert_eq!(parse("0"), Some(Duration::ZERO));
        assert_eq!(
            parse("99999999999999999999999"),
            Some(Duration::from_secs(u64::MAX))
        );
        assert_eq!(parse("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60 * SECOND));
        assert_eq!(parse("Sunday, 06-Nov-94 08:49:47 GMT"), Some(10 * SECOND));
        assert_eq!(parse("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for garbage in ["", "-1", "1.5", "soon", "+3"] {
            assert_eq!(parse(garbage), None, "{garbage}");
        }
    }
}
