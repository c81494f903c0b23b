//! How long a service asks to wait. Points in time count from the service's own clock if the response has a `Date`,
//! so that a wrong clock here neither hurries nor stops anything.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WaitSource {
    /// The header `Retry-After`: seconds or an HTTP date. Fractions of a second are accepted.
    RetryAfter,
    Header {
        name: HeaderName,
        form: ResetForm,
    },
}

/// Meaning of the number in a reset header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ResetFormat")]
pub(crate) enum ResetForm {
    /// A point in time: seconds since 1970.
    EpochSeconds,
    /// A point in time: milliseconds since 1970.
    EpochMilliseconds,
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
}

/// Where to look, in order, and the longest wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitRule {
    /// The first that has a value wins.
    pub(crate) sources: Vec<WaitSource>,
    /// Longer waits count as this.
    pub(crate) max_wait: Duration,
}

impl WaitRule {
    /// How long to wait after a response with these headers that arrived at `now`.
    pub(crate) fn read(&self, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
        let date = text(headers, &DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let now = date.unwrap_or(now);
        let asked = self.sources.iter().find_map(|source| source.read(headers, now))?;
        Some(asked.min(self.max_wait))
    }
}

impl WaitSource {
    fn read(&self, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
        match self {
            Self::RetryAfter => parse_retry_after(text(headers, &RETRY_AFTER)?, now),
            Self::Header { name, form } => {
                let value = text(headers, name)?;
                match form {
                    ResetForm::Seconds => number(value, 1.0),
                    ResetForm::Milliseconds => number(value, 1e3),
                    ResetForm::EpochSeconds => Some(until(number(value, 1.0)?, now)),
                    ResetForm::EpochMilliseconds => Some(until(number(value, 1e3)?, now)),
                }
            }
        }
    }
}

/// The wait of a `Retry-After` header: seconds, or a date counted from `now` (zero if it has passed).
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    number(value, 1.0).or_else(|| {
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// A number without a sign; `per_second` of its unit are a second.
fn number(text: &str, per_second: f64) -> Option<Duration> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let seconds = text.parse::<f64>().ok()? / per_second;
    // A number that does not fit is a wait without end.
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// The time from `now` to a point in time after 1970; zero if it has passed.
fn until(time: Duration, now: SystemTime) -> Duration {
    time.saturating_sub(now.duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What headers ask for at second 1,700,000,000; `x-reset` has this form.
    fn read(form: ResetForm, pairs: &[(&'static str, &str)]) -> Option<f64> {
        let headers = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let name = HeaderName::from_static("x-reset");
        let rule = WaitRule {
            sources: vec![WaitSource::RetryAfter, WaitSource::Header { name, form }],
            max_wait: Duration::from_secs(300),
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        rule.read(&headers.collect(), now).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn reads_waits_by_their_form() {
        use ResetForm::{EpochMilliseconds, EpochSeconds, Milliseconds, Seconds};
        let service_behind = [
            ("date", "Tue, 14 Nov 2023 21:13:20 GMT"),
            ("x-reset", "1699996405"),
        ];
        for (form, pairs, expected) in [
            (Seconds, &[("retry-after", "7")][..], Some(7.0)),
            (Seconds, &[("retry-after", " 0 ")], Some(0.0)),
            (Seconds, &[("retry-after", "1.5")], Some(1.5)),
            (
                Seconds,
                &[("retry-after", "Tue, 14 Nov 2023 22:13:30 GMT")],
                Some(10.0),
            ),
            (
                Seconds,
                &[("retry-after", "Tuesday, 14-Nov-23 22:13:30 GMT")],
                Some(10.0),
            ),
            (
                Seconds,
                &[("retry-after", "Tue, 14 Nov 2023 22:13:10 GMT")],
                Some(0.0),
            ),
            (
                Seconds,
                &[("retry-after", "99999999999999999999999")],
                Some(300.0),
            ),
            (Seconds, &[("retry-after", "-1")], None),
            (Seconds, &[("retry-after", "+3")], None),
            (Seconds, &[("retry-after", "soon")], None),
            (Seconds, &[("retry-after", "")], None),
            (Seconds, &[("retry-after", "NaN")], None),
            (Seconds, &[("retry-after", "2"), ("x-reset", "60")], Some(2.0)),
            (Seconds, &[("x-reset", "30")], Some(30.0)),
            (Seconds, &[("x-reset", "in 30")], None),
            (Milliseconds, &[("x-reset", "2500")], Some(2.5)),
            (EpochSeconds, &[("x-reset", "1700000030")], Some(30.0)),
            (EpochSeconds, &[("x-reset", "1699999999")], Some(0.0)),
            (EpochSeconds, &[("x-reset", "1700009999")], Some(300.0)),
            (EpochMilliseconds, &[("x-reset", "1700000001500")], Some(1.5)),
            // The service's clock is an hour behind ours.
            (EpochSeconds, &service_behind, Some(5.0)),
        ] {
            assert_eq!(read(form, pairs), expected, "{pairs:?}");
        }
    }
}
