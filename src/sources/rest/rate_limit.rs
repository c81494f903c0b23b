//! The settings of `rate_limit`: how fast requests are sent, and how long they wait.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

use super::header_name::HeaderNameSetting;
use crate::component::Problems;
use crate::http::rate_limit::{RateLimit, Window};
use crate::http::retry_after::{ResetForm, WaitRule, WaitSource};
use crate::settings::bounded::{DAY, MINUTE};
use crate::settings::{BoundedDuration, BoundedInt};

/// Request rate, concurrency and waiting. All requests of a run to the same host share these limits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetHeader {
    /// Header name, such as `X-RateLimit-Reset`.
    pub name: HeaderNameSetting,
    /// Meaning of the header's number.
    pub format: ResetFormat,
}

/// Meaning of the number in a reset header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResetFormat {
    /// A point in time: seconds since 1970.
    EpochSeconds,
    /// A point in time: milliseconds since 1970.
    EpochMilliseconds,
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
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

    /// For the rate limiter.
    pub(crate) fn limit(&self) -> RateLimit {
        RateLimit {
            windows: self.limits.iter().map(|rate| rate.window).collect(),
            max_concurrent: self.max_concurrent.map(BoundedInt::as_usize),
        }
    }

    /// The wait that a response requests.
    pub(crate) fn wait_rule(&self) -> WaitRule {
        let headers = self.reset_headers.iter().map(|header| WaitSource::Header {
            name: header.name.0.clone(),
            form: match header.format {
                ResetFormat::EpochSeconds => ResetForm::EpochSeconds,
                ResetFormat::EpochMilliseconds => ResetForm::EpochMillis,
                ResetFormat::Seconds => ResetForm::Seconds,
                ResetFormat::Milliseconds => ResetForm::Millis,
            },
        });
        WaitRule {
            sources: std::iter::once(WaitSource::RetryAfter).chain(headers).collect(),
            max_wait: self.max_wait.get(),
        }
    }
}

/// Requests per interval: `10/s`, `100/min`, `2000/h`, `8/day`, `5/10s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rate {
    text: String,
    window: Window,
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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
        Window::new(count, per)
            .map(|window| Self {
                text: text.to_owned(),
                window,
            })
            .map_err(|error| format!("`{text}` {error}"))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Requests per interval.",
            "examples": ["10/s", "100/min", "2000/h", "8/day", "5/10s"],
        })
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
            assert_eq!(text.parse::<Rate>().unwrap().window, window, "{text}");
        }
        for bad in [
            "10",
            "10/",
            "/s",
            "-1/s",
            "1.5/s",
            "10/fortnight",
            "0/s",
            "1/8days",
            "10 per s",
        ] {
            assert!(bad.parse::<Rate>().unwrap_err().contains(bad), "{bad}");
        }
    }

    #[test]
    fn rejects_invalid_settings_by_key() {
        let parse = |json| serde_json::from_str::<RateLimitConfig>(json);
        let config = parse(r#"{"limits": ["10/s", "100/min"], "max_concurrent": 4}"#).unwrap();
        assert_eq!(config.limit().windows.len(), 2);
        assert_eq!(config.limit().max_concurrent, Some(4));
        for bad in [
            r#"{"max_concurrent": 0}"#,
            r#"{"max_concurrent": 65}"#,
            r#"{"max_wait": "2d"}"#,
            r#"{"limits": [10]}"#,
            r#"{"limit": []}"#,
            r#"{"reset_headers": [{"name": "a b", "format": "seconds"}]}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let config = parse(
            r#"{"reset_headers": [
                {"name": "Retry-After", "format": "seconds"}, {"name": "x-reset", "format": "epoch_seconds"},
                {"name": "X-Reset", "format": "epoch_milliseconds"}]}"#,
        )
        .unwrap();
        let mut found = Vec::new();
        config.validate(&mut Problems::new(&mut found));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "reset_headers[0].name: `Retry-After` is always read first; remove it here",
                "reset_headers[2].name: duplicate header `x-reset`",
            ]
        );
    }
}
