//! How long a service asks to wait, from wherever it says so.
//!
//! A moment is counted from the service's own clock where its answer has a `Date`: a clock here that goes wrong
//! neither hurries nor stops anything.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

use super::retry::parse_retry_after;

/// Where an answer says how long to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WaitSource {
    /// The header `Retry-After`: seconds or an HTTP date. Fractions of a second, which some send, are taken.
    RetryAfter,
    /// Another header.
    Header {
        /// Its name.
        name: HeaderName,
        /// What its number means.
        form: ResetForm,
    },
}

/// What the number in a header means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResetForm {
    /// A moment: seconds since 1970.
    EpochSeconds,
    /// A moment: milliseconds since 1970.
    EpochMillis,
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Millis,
}

/// Where to look, in order, and the longest wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitRule {
    /// The first that says something counts.
    pub(crate) sources: Vec<WaitSource>,
    /// Longer waits count as this.
    pub(crate) longest: Duration,
}

/// What a service asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What it asked for.
    pub(crate) asked: Duration,
    /// The same, at most the longest wait.
    pub(crate) wait: Duration,
}

impl Default for WaitRule {
    /// `Retry-After`, at most one hour.
    fn default() -> Self {
        Self {
            sources: vec![WaitSource::RetryAfter],
            longest: Duration::from_secs(3600),
        }
    }
}

impl WaitRule {
    /// How long to wait after an answer with these headers that came at `now`; `None` if none of the sources says.
    pub(crate) fn read(&self, headers: &HeaderMap, now: SystemTime) -> Option<Asked> {
        let now = text(headers, &DATE)
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .unwrap_or(now);
        let asked = self.sources.iter().find_map(|source| source.read(headers, now))?;
        Some(Asked {
            asked,
            wait: asked.min(self.longest),
        })
    }
}

impl WaitSource {
    fn read(&self, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
        match self {
            Self::RetryAfter => {
                let value = text(headers, &RETRY_AFTER)?;
                parse_retry_after(value, now).or_else(|| number(value, 1.0))
            }
            Self::Header { name, form } => {
                let value = text(headers, name)?;
                match form {
                    ResetForm::Seconds => number(value, 1.0),
                    ResetForm::Millis => number(value, 1e3),
                    ResetForm::EpochSeconds => Some(until(number(value, 1.0)?, now)),
                    ResetForm::EpochMillis => Some(until(number(value, 1e3)?, now)),
                }
            }
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// A number that is not negative, of units that a second has `per_second` of.
fn number(text: &str, per_second: f64) -> Option<Duration> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let seconds = text.parse::<f64>().ok()? / per_second;
    // More than fits is a wait without end.
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// From `now` until so long after 1970; nothing if that has passed.
fn until(moment: Duration, now: SystemTime) -> Duration {
    moment.saturating_sub(now.duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    const NOW: u64 = 1_700_000_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn read(source: WaitSource, pairs: &[(&'static str, &str)]) -> Option<f64> {
        let rule = WaitRule {
            sources: vec![source],
            longest: Duration::from_secs(300),
        };
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        rule.read(&headers(pairs), now)
            .map(|asked| asked.wait.as_secs_f64())
    }

    fn reset(form: ResetForm, value: &str) -> Option<f64> {
        let name = HeaderName::from_static("x-ratelimit-reset");
        read(WaitSource::Header { name, form }, &[("x-ratelimit-reset", value)])
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (value, expected) in [
            ("7", Some(7.0)),
            (" 0 ", Some(0.0)),
            ("1.5", Some(1.5)),
            ("Tue, 14 Nov 2023 22:13:30 GMT", Some(10.0)),
            ("Tue, 14 Nov 2023 22:13:10 GMT", Some(0.0)),
            ("99999999999999999999999", Some(300.0)),
            ("-1", None),
            ("soon", None),
            ("", None),
            ("NaN", None),
        ] {
            assert_eq!(
                read(WaitSource::RetryAfter, &[("retry-after", value)]),
                expected,
                "{value}"
            );
        }
        assert_eq!(read(WaitSource::RetryAfter, &[]), None);
    }

    #[test]
    fn a_reset_header_means_what_it_is_said_to_mean() {
        assert_eq!(reset(ResetForm::EpochSeconds, "1700000030"), Some(30.0));
        assert_eq!(reset(ResetForm::EpochSeconds, "1699999999"), Some(0.0));
        assert_eq!(reset(ResetForm::EpochMillis, "1700000001500"), Some(1.5));
        assert_eq!(reset(ResetForm::Seconds, "30"), Some(30.0));
        assert_eq!(reset(ResetForm::Millis, "2500"), Some(2.5));
        assert_eq!(reset(ResetForm::Seconds, "in 30"), None);
        assert_eq!(reset(ResetForm::EpochSeconds, "1700009999"), Some(300.0));
    }

    #[test]
    fn the_services_clock_counts() {
        let name = HeaderName::from_static("x-ratelimit-reset");
        let source = WaitSource::Header {
            name,
            form: ResetForm::EpochSeconds,
        };
        // Its clock is an hour behind ours.
        let pairs = [
            ("date", "Tue, 14 Nov 2023 21:13:20 GMT"),
            ("x-ratelimit-reset", "1699996405"),
        ];
        assert_eq!(read(source, &pairs), Some(5.0));
    }

    #[test]
    fn the_first_that_says_something_counts_and_what_was_asked_is_kept() {
        let rule = WaitRule {
            sources: vec![
                WaitSource::RetryAfter,
                WaitSource::Header {
                    name: HeaderName::from_static("x-reset"),
                    form: ResetForm::Seconds,
                },
            ],
            longest: Duration::from_secs(300),
        };
        let at = |pairs: &[(&'static str, &str)]| {
            let asked = rule.read(&headers(pairs), UNIX_EPOCH).unwrap();
            (asked.asked.as_secs(), asked.wait.as_secs())
        };
        assert_eq!(at(&[("retry-after", "2")]), (2, 2));
        assert_eq!(at(&[("x-reset", "600")]), (600, 300));
        assert_eq!(at(&[("retry-after", "2"), ("x-reset", "600")]), (2, 2));
    }
}
