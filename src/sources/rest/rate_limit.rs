//! How fast a service may be asked: the settings of `http::pace`.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use reqwest::header::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};

use crate::config::{HumanDuration, Problems};
use crate::http::rate_limit::{RateLimit, Window};

/// Longest value of `max_wait`.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Request rate, concurrency and waiting. All requests of a run to the same host share these limits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitConfig {
    /// Requests per interval, such as `10/s`, `100/min`, `2000/h`, `8/day` or `5/10s`; all limits apply. Requests of
    /// earlier runs are not counted, so a daily limit holds within one run. Default: no limit.
    pub limits: Vec<Rate>,
    /// Concurrent requests: 1 to 64. Default: as many as the source sends.
    #[schemars(range(min = 1, max = 64))]
    pub max_concurrent: Option<NonZeroU32>,
    /// Response headers that say when to retry, in order of precedence after `Retry-After`. Default: none.
    pub reset_headers: Vec<ResetHeader>,
    /// Longest wait before a retry: up to 24h. A longer one that the service asks for is cut to this. Default 10m.
    pub max_wait: HumanDuration,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            limits: Vec::new(),
            max_concurrent: None,
            reset_headers: Vec::new(),
            max_wait: HumanDuration(Duration::from_secs(600)),
        }
    }
}

/// A response header that says when to retry.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetHeader {
    /// Header name, such as `X-RateLimit-Reset`.
    pub name: String,
    /// Meaning of the header's number.
    pub format: ResetFormat,
}

/// Meaning of the number in a reset header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResetFormat {
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
        if let Some(most) = self.max_concurrent.filter(|most| most.get() > 64) {
            problems
                .at("max_concurrent")
                .add(format!("{most} is not between 1 and 64"));
        }
        if self.max_wait.0.is_zero() || self.max_wait.0 > MAX_WAIT {
            problems.at("max_wait").add(format!(
                "must be more than zero and at most 24h, found {}",
                self.max_wait
            ));
        }
        let mut headers = problems.at("reset_headers");
        for (index, header) in self.reset_headers.iter().enumerate() {
            let mut here = headers.at_index(index);
            let mut here = here.at("name");
            let same = |other: &str| other.eq_ignore_ascii_case(&header.name);
            if HeaderName::from_bytes(header.name.as_bytes()).is_err() {
                here.add(format!("`{}` is not a valid header name", header.name));
            } else if same("retry-after") {
                here.add("`Retry-After` is always read first; remove it here");
            } else if self.reset_headers[..index]
                .iter()
                .any(|earlier| same(&earlier.name))
            {
                here.add(format!("duplicate header `{}`", header.name));
            }
        }
    }

    /// For the limiter.
    pub(crate) fn pace(&self) -> RateLimit {
        RateLimit {
            windows: self.limits.iter().map(|rate| rate.0).collect(),
            max_concurrent: self.max_concurrent.map(|most| most.get() as usize),
        }
    }
}

/// So many requests in a stretch of time: `10/s`, `100/min`, `2000/h`, `8/day`, `5/10s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub(crate) Window);

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form =
            || format!("`{text}` is not a rate such as `10/s`, `100/min`, `2000/h`, `8/day` or `5/10s`");
        let (count, per) = text.split_once('/').ok_or_else(form)?;
        let count: u32 = count.trim().parse().map_err(|_| form())?;
        let per = per.trim();
        let day = Duration::from_secs(24 * 3600);
        let per = match per {
            "s" | "sec" | "second" => Duration::from_secs(1),
            "m" | "min" | "minute" => Duration::from_secs(60),
            "h" | "hour" => Duration::from_secs(3600),
            "d" | "day" => day,
            other => humantime::parse_duration(other).map_err(|_| form())?,
        };
        Window::new(count, per)
            .map(Self)
            .map_err(|error| format!("`{text}` {error}"))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Rate;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate such as `10/s`, `100/min` or `8/day`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "So many requests in any stretch of time.",
            "examples": ["10/s", "100/min", "2000/h", "8/day", "5/10s"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, count, seconds) in [
            ("10/s", 10, 1),
            ("100/min", 100, 60),
            (" 2000 / h", 2000, 3600),
            ("8/day", 8, 86_400),
            ("5/10s", 5, 10),
            ("3/1h 30m", 3, 5400),
        ] {
            let window = Window::new(count, Duration::from_secs(seconds)).unwrap();
            assert_eq!(text.parse(), Ok(Rate(window)), "{text}");
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
    fn rejects_settings_out_of_range_by_key() {
        let config: RateLimitConfig =
            serde_json::from_str(r#"{"limits": ["10/s", "100/min"], "max_concurrent": 4}"#).unwrap();
        assert_eq!(config.pace().windows.len(), 2);
        assert_eq!(config.pace().max_concurrent, Some(4));
        for bad in [
            r#"{"max_concurrent": 0}"#,
            r#"{"limits": [10]}"#,
            r#"{"limit": []}"#,
        ] {
            assert!(serde_json::from_str::<RateLimitConfig>(bad).is_err(), "{bad}");
        }
        let config: RateLimitConfig = serde_json::from_str(
            r#"{"max_concurrent": 65, "max_wait": "2d", "reset_headers": [
                {"name": "Retry-After", "format": "seconds"}, {"name": "x-reset", "format": "epoch_seconds"},
                {"name": "X-Reset", "format": "epoch_milliseconds"}, {"name": "a b", "format": "seconds"}]}"#,
        )
        .unwrap();
        let mut found = Vec::new();
        config.validate(&mut Problems::new(&mut found));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "max_concurrent: 65 is not between 1 and 64",
                "max_wait: must be more than zero and at most 24h, found 2days",
                "reset_headers[0].name: `Retry-After` is always read first; remove it here",
                "reset_headers[2].name: duplicate header `X-Reset`",
                "reset_headers[3].name: `a b` is not a valid header name",
            ]
        );
    }
}
