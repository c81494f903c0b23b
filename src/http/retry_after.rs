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
    pub(crate) max_wait: Duration,
}

impl WaitRule {
    /// How long to wait after a response with these headers that arrived at `now`.
    pub(crate) fn read(&self, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
        let date = text(headers, &DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let now = date.unwrap_or(now);
        let requested = self.sources.iter().find_map(|source| source.read(headers, now))?;
        Some(requested.min(self.max_wait))
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

    #[test]
    fn reads_waits_by_their_form() {
        // Form of `x-reset`, headers, and the wait in seconds at second 1,700,000,000. With a `Date`, the service's clock
        // is an hour behind ours.
        const TABLE: &str = r#"
            "seconds"            | retry-after=7                               | 7
            "seconds"            | retry-after= 0                              | 0
            "seconds"            | retry-after=1.5                             | 1.5
            "seconds"            | retry-after=Tue, 14 Nov 2023 22:13:30 GMT   | 10
            "seconds"            | retry-after=Tuesday, 14-Nov-23 22:13:30 GMT | 10
            "seconds"            | retry-after=Tue, 14 Nov 2023 22:13:10 GMT   | 0
            "seconds"            | retry-after=99999999999999999999999         | 300
            "seconds"            | retry-after=-1                              | -
            "seconds"            | retry-after=+3                              | -
            "seconds"            | retry-after=soon                            | -
            "seconds"            | retry-after=                                | -
            "seconds"            | retry-after=NaN                             | -
            "seconds"            | retry-after=2; x-reset=60                   | 2
            "seconds"            | x-reset=30                                  | 30
            "seconds"            | x-reset=in 30                               | -
            "milliseconds"       | x-reset=2500                                | 2.5
            "epoch_seconds"      | x-reset=1700000030                          | 30
            "epoch_seconds"      | x-reset=1699999999                          | 0
            "epoch_seconds"      | x-reset=1700009999                          | 300
            "epoch_milliseconds" | x-reset=1700000001500                       | 1.5
            "epoch_seconds"      | date=Tue, 14 Nov 2023 21:13:20 GMT; x-reset=1699996405 | 5"#;
        for case in TABLE.lines().skip(1) {
            let cells: Vec<&str> = case.split('|').map(str::trim).collect();
            let [form, headers, expected] = cells[..] else {
                panic!("{case}")
            };
            let form = serde_json::from_str(form).unwrap();
            let headers = headers.split(';').map(|header| {
                let (name, value) = header.trim().split_once('=').unwrap();
                (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
            });
            let name = HeaderName::from_static("x-reset");
            let rule = WaitRule {
                sources: vec![WaitSource::RetryAfter, WaitSource::Header { name, form }],
                max_wait: Duration::from_secs(300),
            };
            let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let wait = rule.read(&headers.collect(), now).map(|wait| wait.as_secs_f64());
            assert_eq!(wait, expected.parse().ok(), "{case}");
        }
    }
}
