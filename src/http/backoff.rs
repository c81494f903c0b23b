//! How long to wait before trying again: exponential with full jitter. Pure arithmetic, no clock, no state.

use std::time::Duration;

use super::InvalidSetting;

/// Doubling waits with full jitter: before retry *n* (from 0) a random time between nothing and
/// `min(max, base · 2ⁿ)`, so that clients that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits that start at up to `base` and never exceed `max`.
    ///
    /// # Errors
    /// `base` is zero (a retry would hammer the service), or `max` is below `base`, or above one hour.
    pub fn new(base: Duration, max: Duration) -> Result<Self, InvalidSetting> {
        if base.is_zero() {
            return Err(InvalidSetting::new("initial_backoff", "must be more than zero"));
        }
        if max < base {
            return Err(InvalidSetting::new(
                "max_backoff",
                format!("must be at least `initial_backoff` ({base:?}), found {max:?}"),
            ));
        }
        if max > Duration::from_secs(3600) {
            return Err(InvalidSetting::new(
                "max_backoff",
                format!("must be at most 1h, found {max:?}"),
            ));
        }
        Ok(Self { base, max })
    }

    /// The longest wait before retry `retry`, counted from 0.
    pub fn ceiling(&self, retry: u32) -> Duration {
        let factor = 1u32.checked_shl(retry).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }

    /// The wait before retry `retry`, counted from 0. `random` is in `0.0..1.0`; what is outside counts as the nearest.
    pub fn delay(&self, retry: u32, random: f64) -> Duration {
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let backoff = Backoff::new(SECOND, 10 * SECOND).unwrap();
        let ceilings: Vec<_> = (0..6).map(|retry| backoff.ceiling(retry).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 10, 10]);
        assert_eq!(backoff.ceiling(u32::MAX), 10 * SECOND);
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        assert_eq!(
            Backoff::new(Duration::ZERO, SECOND).unwrap_err().field,
            "initial_backoff"
        );
        assert_eq!(Backoff::new(2 * SECOND, SECOND).unwrap_err().field, "max_backoff");
        assert_eq!(
            Backoff::new(SECOND, 3601 * SECOND).unwrap_err().field,
            "max_backoff"
        );
    }

    proptest::proptest! {
        #[test]
        fn a_delay_is_never_above_its_ceiling(
            base in 1u64..10_000, more in 0u64..1_000_000, retry: u32, random: f64,
        ) {
            let max = Duration::from_millis((base + more).min(3_600_000));
            let backoff = Backoff::new(Duration::from_millis(base), max).unwrap();
            let delay = backoff.delay(retry, random);
            proptest::prop_assert!(delay <= backoff.ceiling(retry));
            proptest::prop_assert!(backoff.ceiling(retry) <= max);
        }
    }
}
