//! Decides for each request which fault to inject.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::faults::{EndpointFaults, FaultKind, FaultRule, Faults, RetryAfter, When};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Token,
    Upload,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) fault: Option<FaultKind>,
    pub(super) latency: Duration,
    pub(super) retry_after: Option<String>,
}

#[derive(Debug)]
pub(super) struct Injector {
    pub(super) faults: Faults,
    token: Sequence,
    upload: Sequence,
    pub(super) injected: BTreeMap<String, u64>,
}

/// The requests of one endpoint since the faults were set. Each endpoint has its own random numbers, so that a token
/// request does not change which upload fails.
#[derive(Debug)]
struct Sequence {
    count: u64,
    random: Xoshiro256PlusPlus,
}

impl Sequence {
    fn new(seed: u64) -> Self {
        Self {
            count: 0,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    fn next<'f>(&mut self, faults: &'f EndpointFaults) -> Option<&'f FaultRule> {
        self.count += 1;
        // The rates of all rules share one draw per request, so each of them holds exactly.
        let draw: f64 = self.random.random();
        let mut below = 0.0;
        let count = self.count;
        faults.rules.iter().find(|rule| match rule.when {
            When::Rate(rate) => {
                below += rate;
                (below - rate..below).contains(&draw)
            }
            When::First(limit) => count <= limit,
            When::Every(step) => count.is_multiple_of(step),
            When::Nth(number) => count == number,
        })
    }
}

impl Injector {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            token: Sequence::new(faults.seed),
            upload: Sequence::new(faults.seed),
            faults,
            injected: BTreeMap::new(),
        }
    }

    /// Replaces the faults and restarts the request counts.
    pub(super) fn set(&mut self, faults: Faults) {
        let injected = std::mem::take(&mut self.injected);
        *self = Self::new(faults);
        self.injected = injected;
    }

    pub(super) fn decide(&mut self, endpoint: Endpoint) -> Decision {
        let (sequence, faults) = match endpoint {
            Endpoint::Token => (&mut self.token, &self.faults.token),
            Endpoint::Upload => (&mut self.upload, &self.faults.upload),
        };
        let rule = sequence.next(faults);
        if let Some(rule) = rule {
            *self.injected.entry(rule.name.clone()).or_default() += 1;
        }
        let fault = rule.map(|rule| rule.fault);
        let retry_after = match fault {
            Some(FaultKind::Status(429 | 503)) => self.faults.retry_after.map(header_value),
            _ => None,
        };
        Decision {
            fault,
            latency: faults.latency,
            retry_after,
        }
    }
}

fn header_value(retry_after: RetryAfter) -> String {
    match retry_after {
        RetryAfter::Seconds(seconds) => seconds.to_string(),
        RetryAfter::Date(seconds) => {
            // The latest date that an HTTP header can hold.
            let latest = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
            let when = SystemTime::now()
                .checked_add(Duration::from_secs(seconds))
                .map_or(latest, |when| when.min(latest));
            httpdate::fmt_http_date(when)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uploads(faults: &str, number: usize) -> Vec<Option<FaultKind>> {
        let mut injector = Injector::new(faults.parse().unwrap());
        (0..number)
            .map(|_| injector.decide(Endpoint::Upload).fault)
            .collect()
    }

    #[test]
    fn applies_counted_faults_to_their_requests() {
        let cases: [(&str, &[usize]); 5] = [
            ("500=first:2", &[1, 2]),
            ("500=every:4", &[4, 8]),
            ("500=nth:3", &[3]),
            ("500=0", &[]),
            ("429=0.5,500=0.5", &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ];
        for (faults, expected) in cases {
            let injected = uploads(faults, 9);
            let hits: Vec<usize> = (1..=9).filter(|n| injected[n - 1].is_some()).collect();
            assert_eq!(hits, expected, "{faults}");
        }
    }

    #[test]
    fn repeats_faults_by_seed_and_keeps_rates() {
        let first = uploads("429=0.2,503=0.1,seed=7", 10_000);
        assert_eq!(first, uploads("429=0.2,503=0.1,seed=7", 10_000));
        assert_ne!(first, uploads("429=0.2,503=0.1,seed=8", 10_000));
        let share = |status| {
            let hits = first.iter();
            let hits = hits.filter(|f| **f == Some(FaultKind::Status(status))).count();
            u32::try_from(hits).map(f64::from).unwrap() / 10_000.0
        };
        assert!((share(429) - 0.2).abs() < 0.02 && (share(503) - 0.1).abs() < 0.02);
    }

    #[test]
    fn limits_the_date_of_retry_after() {
        assert!(httpdate::parse_http_date(&header_value(RetryAfter::Date(u64::MAX))).is_ok());
    }
}
