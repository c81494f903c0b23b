//! How fast a service may be asked: the settings of `http::pace`.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};

use crate::config::Problems;
use crate::http::pace::{Pace, Window};

/// How fast a service may be asked. Its limits count for everything that this run asks of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PaceConfig {
    /// At most so many requests in any stretch of time, such as `10/s`, `100/min`, `2000/h`, `8/day` or `5/10s`; all of
    /// them hold. What ran before this run is not known, so a daily limit holds within one run only. Default: none.
    pub limits: Vec<Rate>,
    /// Requests at a time: 1 to 64. Default: as many as the source makes.
    #[schemars(range(min = 1, max = 64))]
    pub max_concurrent: Option<NonZeroU32>,
}

impl PaceConfig {
    /// Notes what is wrong.
    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        if let Some(most) = self.max_concurrent.filter(|most| most.get() > 64) {
            problems
                .at("max_concurrent")
                .add(format!("{most} is not between 1 and 64"));
        }
    }

    /// For the limiter.
    pub(crate) fn pace(&self) -> Pace {
        Pace {
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
            .map_err(|error| format!("`{text}` {}", error.message))
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
    fn settings_become_a_pace() {
        let config: PaceConfig =
            serde_json::from_str(r#"{"limits": ["10/s", "100/min"], "max_concurrent": 4}"#).unwrap();
        assert_eq!(config.pace().windows.len(), 2);
        assert_eq!(config.pace().max_concurrent, Some(4));
        for bad in [
            r#"{"max_concurrent": 0}"#,
            r#"{"limits": [10]}"#,
            r#"{"limit": []}"#,
        ] {
            assert!(serde_json::from_str::<PaceConfig>(bad).is_err(), "{bad}");
        }
        let mut found = Vec::new();
        PaceConfig {
            max_concurrent: NonZeroU32::new(65),
            ..config
        }
        .validate(&mut Problems::new(&mut found));
        assert_eq!(found[0].path, "max_concurrent");
    }
}
