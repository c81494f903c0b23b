//! The one retry loop.
//!
//! The caller decides for each failure whether another attempt is worthwhile ([`Verdict`]); the loop decides how long to
//! wait and when to give up, by attempts and by time. It counts failures with an unknown outcome, because a request that
//! the service may have processed and that is sent again may arrive twice.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::component::Problems;
use crate::settings::bounded::{DAY, HOUR, MINUTE, SECOND};
use crate::settings::{BoundedDuration, BoundedInt};

/// When to stop retrying a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetrySettings {
    /// The maximum number of attempts for each request, including the first.
    pub max_attempts: BoundedInt<1, 100>,
    /// The time after the first attempt during which retries may start.
    #[schemars(example = &"5m")]
    pub max_elapsed: BoundedDuration<1, DAY>,
    /// The upper limit of the first wait; it doubles with every attempt. The actual wait is random, up to the limit.
    #[schemars(example = &"500ms")]
    pub initial_backoff: BoundedDuration<1, HOUR>,
    /// The upper limit of every wait, unless the service requests a longer one. At least `initial_backoff`.
    #[schemars(example = &"30s")]
    pub max_backoff: BoundedDuration<1, HOUR>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: BoundedInt::new(8),
            max_elapsed: BoundedDuration::new(15 * MINUTE),
            initial_backoff: BoundedDuration::new(SECOND),
            max_backoff: BoundedDuration::new(MINUTE),
        }
    }
}

impl RetrySettings {
    /// Reports a `max_backoff` below `initial_backoff`; `problems` is at this block.
    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        if self.max_backoff < self.initial_backoff {
            let message = format!(
                "expected at least `initial_backoff` ({}), found {}",
                self.initial_backoff, self.max_backoff
            );
            problems.at("max_backoff").add(message);
        }
    }

    /// Calls `attempt` until it succeeds, `classify` or a bound ends the loop, or `cancel` is cancelled. The log names the
    /// component and the request (without a query) as `about` says. `random` gives the jitter, from 0 to 1.
    ///
    /// No attempt starts once `max_elapsed` has passed since the first. A running attempt ends by itself, even when
    /// cancelled, because the outcome of an upload would be unknown (drop the future to abort it).
    pub(crate) async fn run<T, E, F>(
        &self,
        cancel: &CancellationToken,
        (component, request): (Option<&str>, &str),
        mut attempt: impl FnMut() -> F,
        mut classify: impl FnMut(&E) -> Verdict,
        random: impl Fn() -> f64,
    ) -> Result<(T, Spent), GaveUp<E>>
    where
        E: AttemptError,
        F: Future<Output = Result<T, E>>,
    {
        let start = Instant::now();
        let mut budget = Budget {
            start,
            used: 0,
            free_retry: true,
        };
        let mut spent = Spent::default();
        let mut last = None;
        loop {
            if cancel.is_cancelled() {
                spent.elapsed = start.elapsed();
                return Err(GaveUp::new(Reason::Cancelled, last, spent));
            }
            spent.attempts += 1;
            budget.used += 1;
            let result = attempt().await;
            spent.elapsed = start.elapsed();
            let error = match result {
                Ok(value) => return Ok((value, spent)),
                Err(error) => error,
            };
            spent.last_unknown = error.is_unknown();
            spent.unknown += u32::from(spent.last_unknown);
            let wait = match self.wait(classify(&error), &mut budget, &random) {
                Ok(wait) => wait,
                Err(reason) => return Err(GaveUp::new(reason, Some(error), spent)),
            };
            tracing::warn!(
                component,
                request,
                attempt = spent.attempts,
                of = self.max_attempts.get(),
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
    fn wait(
        &self,
        verdict: Verdict,
        budget: &mut Budget,
        random: impl Fn() -> f64,
    ) -> Result<Duration, Reason> {
        let requested = match verdict {
            Verdict::Stop => return Err(Reason::Permanent),
            Verdict::Retry { after } => after,
            Verdict::Resume => {
                (budget.start, budget.used) = (Instant::now(), 1);
                None
            }
            Verdict::RetryAtOnce => {
                // The attempt before the first one of these does not count.
                budget.used -= u32::from(std::mem::take(&mut budget.free_retry));
                None
            }
        };
        if budget.used >= self.max_attempts.as_u32() {
            return Err(Reason::AttemptsSpent);
        }
        let left = self.max_elapsed.get().saturating_sub(budget.start.elapsed());
        if let Some(requested) = requested.filter(|requested| *requested >= left) {
            return Err(Reason::RequestedDelay { requested, left });
        }
        let wait = match verdict {
            Verdict::RetryAtOnce => Duration::ZERO,
            // Full jitter, so that clients that failed together do not return together.
            _ => self.backoff(budget.used.saturating_sub(1)).mul_f64(random()),
        };
        let wait = wait.max(requested.unwrap_or_default());
        if wait >= left {
            Err(Reason::TimeSpent)
        } else {
            Ok(wait)
        }
    }

    /// The longest wait before retry `retry`, counted from 0.
    fn backoff(&self, retry: u32) -> Duration {
        let (initial, max) = (self.initial_backoff.get(), self.max_backoff.get());
        let factor = 1u32.checked_shl(retry).unwrap_or(u32::MAX);
        initial.saturating_mul(factor).min(max.max(initial))
    }
}

struct Budget {
    start: Instant,
    used: u32,
    free_retry: bool,
}

/// The failure of one attempt. Its `Display` goes to the log: no secret, no payload.
pub(crate) trait AttemptError: fmt::Display {
    /// Whether the service may have processed the request although no response arrived.
    fn is_unknown(&self) -> bool {
        false
    }
}

/// What to do about the failure of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stop,
    /// Try again after the back-off, and not before `after`.
    Retry {
        /// What the service requested, such as with `Retry-After`.
        after: Option<Duration>,
    },
    /// Try again after the first back-off; attempts and time count anew, because a part of the work is done.
    #[allow(dead_code, reason = "only remote storage resumes transfers")]
    Resume,
    /// Try again at once: the cause is fixed, such as by a new token. The first time, the failed attempt does not
    /// count.
    RetryAtOnce,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) attempts: u32,
    /// How many of them ended with an unknown outcome.
    pub(crate) unknown: u32,
    pub(crate) last_unknown: bool,
    /// From the start of the first attempt to the end of the last.
    pub(crate) elapsed: Duration,
    pub(crate) reason: Reason,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reason {
    #[default]
    Permanent,
    AttemptsSpent,
    TimeSpent,
    /// The service requested a longer wait than the time that is left.
    RequestedDelay {
        requested: Duration,
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
            Self::RequestedDelay { requested, left } => write!(
                f,
                "the service requested a wait of {} s, and only {} s are left for retries",
                requested.as_secs(),
                left.as_secs()
            ),
            Self::Cancelled => f.write_str("the run was cancelled"),
        }
    }
}

impl fmt::Display for Spent {
    /// `3 attempts in 12.3 s, no attempt is left`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (attempts, unknown) = (self.attempts, self.unknown);
        let plural = if attempts == 1 { "" } else { "s" };
        write!(
            f,
            "{attempts} attempt{plural} in {:.1} s",
            self.elapsed.as_secs_f64()
        )?;
        if unknown > 0 && attempts > 1 {
            write!(f, ", {unknown} of them with the outcome unknown")?;
        }
        match self.reason {
            Reason::Permanent => Ok(()),
            reason => write!(f, ", {reason}"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct GaveUp<E> {
    /// The last failure; none if the run was cancelled before the first attempt ended.
    pub(crate) last: Option<E>,
    pub(crate) spent: Spent,
}

impl<E> GaveUp<E> {
    pub(super) fn new(reason: Reason, last: Option<E>, spent: Spent) -> Self {
        let spent = Spent { reason, ..spent };
        Self { last, spent }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const SECONDS: Duration = Duration::from_secs(1);
    const RETRY: Verdict = Verdict::Retry { after: None };

    #[derive(Debug)]
    struct Fault;

    impl fmt::Display for Fault {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("fault")
        }
    }

    impl AttemptError for Fault {
        fn is_unknown(&self) -> bool {
            true
        }
    }

    fn settings(attempts: u64, seconds: u64) -> RetrySettings {
        RetrySettings {
            max_attempts: BoundedInt::checked(attempts).unwrap(),
            max_elapsed: BoundedDuration::checked(seconds * SECOND).unwrap(),
            max_backoff: BoundedDuration::new(8 * SECOND),
            ..RetrySettings::default()
        }
    }

    /// Attempts that last `seconds` and fail, each with the next verdict; the last one repeats.
    async fn run(settings: &RetrySettings, seconds: u32, verdicts: &[Verdict]) -> (GaveUp<Fault>, Vec<u64>) {
        let start = Instant::now();
        let starts = RefCell::new(Vec::new());
        let cancel = CancellationToken::new();
        let gave_up = settings.run(
            &cancel,
            (None, ""),
            || {
                starts.borrow_mut().push(start.elapsed().as_secs());
                async move {
                    tokio::time::sleep(seconds * SECONDS).await;
                    Err::<(), _>(Fault)
                }
            },
            |_| verdicts[(starts.borrow().len() - 1).min(verdicts.len() - 1)],
            || 1.0,
        );
        let gave_up = gave_up.await.unwrap_err();
        (gave_up, starts.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn is_bounded_by_attempts_and_time() {
        let after = |seconds| {
            let after = Some(seconds * SECONDS);
            [Verdict::Retry { after }]
        };
        let requested = Reason::RequestedDelay {
            requested: 120 * SECONDS,
            left: 60 * SECONDS,
        };
        let once = [Verdict::RetryAtOnce];
        let resumed = [Verdict::Resume, Verdict::Resume, RETRY];
        type Case<'a> = (u64, u64, u32, &'a [Verdict], &'a [u64], Reason);
        let cases: &[Case<'_>] = &[
            (6, 600, 0, &[RETRY], &[0, 1, 3, 7, 15, 23], Reason::AttemptsSpent),
            (100, 10, 0, &[RETRY], &[0, 1, 3, 7], Reason::TimeSpent),
            (100, 10, 6, &[RETRY], &[0, 7], Reason::TimeSpent),
            (2, 60, 0, &after(20), &[0, 20], Reason::AttemptsSpent),
            (5, 60, 0, &after(120), &[0], requested),
            (5, 60, 0, &[Verdict::Stop], &[0], Reason::Permanent),
            // The attempt before the first renewal does not count.
            (3, 60, 0, &once, &[0, 0, 0, 0], Reason::AttemptsSpent),
            (1, 60, 0, &once, &[0, 0], Reason::AttemptsSpent),
            // Progress counts anew.
            (2, 3, 2, &resumed, &[0, 3, 6], Reason::AttemptsSpent),
        ];
        for (attempts, elapsed, lasts, verdicts, starts, reason) in cases {
            let settings = settings(*attempts, *elapsed);
            let (gave_up, found) = run(&settings, *lasts, verdicts).await;
            let actual = (&found[..], gave_up.spent.reason);
            assert_eq!(actual, (*starts, *reason), "{verdicts:?}");
            let count = starts.len() as u32;
            assert_eq!((gave_up.spent.attempts, gave_up.spent.unknown), (count, count));
        }
    }

    #[test]
    fn the_backoff_does_not_overflow() {
        let settings = settings(1, 1);
        assert_eq!(settings.backoff(u32::MAX), 8 * SECONDS);
    }
}
