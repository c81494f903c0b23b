//! The settings of `rate_limit`: how fast requests are sent, and how long they wait.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::header_name::HeaderNameSetting;
use crate::component::Problems;
use crate::http::rate_limit::{RateLimit, Window};
use crate::http::retry_after::{ResetForm, WaitRule, WaitSource};
use crate::settings::bounded::{DAY, MINUTE};
use crate::settings::{BoundedDuration, BoundedInt};

/// Request rate, concurrency and waiting. All requests of a run to the same host share these limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RateLimitConfig {
    /// Requests per interval, such as `10/s`, `100/min`, `2000/h`, `8/day` or `5/10s`; all limits apply. Requests of
    /// earlier runs are not counted, so a daily limit holds within one run. Default: no limit.
    pub limits: Vec<Rate>,
    /// The maximum number of concurrent requests. Default: as many as the source sends.
    pub max_concurrent: Option<BoundedInt<1, 64>>,
    /// Response headers that contain the time of the next retry, in order of precedence, after `Retry-After`.
    pub reset_headers: Vec<ResetHeader>,
    /// The longest wait before a retry. If the service requests a longer wait, hrsink waits only this long.
    pub max_wait: BoundedDuration<1, DAY>,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            limits: Vec::new(),
            max_concurrent: None,
            reset_headers: Vec::new(),
            max_wait: BoundedDuration::new(10 * MINUTE),
        }
    }
}

/// A response header with the time of the next retry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetHeader {
    /// Header name, such as `X-RateLimit-Reset`.
    pub name: HeaderNameSetting,
    /// Meaning of the header's number.
    pub format: ResetForm,
}

impl RateLimitConfig {
    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        let mut headers = problems.at("reset_headers");
        for (index, header) in self.reset_headers.iter().enumerate() {
            let mut here = headers.at_index(index);
            if header.name.0 == reqwest::header::RETRY_AFTER {
                here.at("name")
                    .add("`Retry-After` is always read first; remove it here");
            } else if self.reset_headers[..index]
                .iter()
                .any(|earlier| earlier.name == header.name)
            {
                here.at("name")
                    .add(format!("duplicate header `{}`", header.name.0));
            }
        }
    }

    pub(crate) fn limit(&self) -> RateLimit {
        RateLimit {
            windows: self.limits.iter().map(|rate| rate.window).collect(),
            max_concurrent: self.max_concurrent.map(BoundedInt::as_usize),
        }
    }

    pub(crate) fn wait_rule(&self) -> WaitRule {
        let headers = self.reset_headers.iter().map(|header| WaitSource::Header {
            name: header.name.0.clone(),
            form: header.format,
        });
        WaitRule {
            sources: std::iter::once(WaitSource::RetryAfter).chain(headers).collect(),
            max_wait: self.max_wait.get(),
        }
    }
}

/// Requests per interval.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    with = "String",
    example = "10/s",
    example = "100/min",
    example = "2000/h",
    example = "8/day",
    example = "5/10s"
)]
pub(crate) struct Rate {
    text: String,
    window: Window,
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let notation =
            || format!("`{text}` is not a rate such as `10/s`, `100/min`, `2000/h`, `8/day` or `5/10s`");
        let (count, per) = text.split_once('/').ok_or_else(notation)?;
        let count: u32 = count.trim().parse().map_err(|_| notation())?;
        let per = match per.trim() {
            "s" | "sec" | "second" => Duration::from_secs(1),
            "m" | "min" | "minute" => Duration::from_secs(60),
            "h" | "hour" => Duration::from_secs(3600),
            "d" | "day" => Duration::from_secs(24 * 3600),
            other => humantime::parse_duration(other).map_err(|_| notation())?,
        };
        let window = Window::new(count, per).map_err(|error| format!("`{text}` {error}"))?;
        Ok(Self { text, window })
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_rates() {
        for (text, count, seconds) in [
            ("10/s", 10, 1),
            ("100/min", 100, 60),
            (" 2000 / h", 2000, 3600),
            ("8/day", 8, 86_400),
            ("5/10s", 5, 10),
            ("3/1h 30m", 3, 5400),
        ] {
            let window = Window::new(count, Duration::from_secs(seconds)).unwrap();
            assert_eq!(Rate::try_from(text.to_owned()).unwrap().window, window, "{text}");
        }
        for bad in "10 10/ /s -1/s 1.5/s 10/fortnight 0/s 1/8days".split(' ') {
            assert!(Rate::try_from(bad.to_owned()).unwrap_err().contains(bad), "{bad}");
        }
    }
}
