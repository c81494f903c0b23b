//! The settings `response_actions`, `wait`, `retry` and `error_message`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_json::Value;

use super::super::json_path::SinglePath;
use crate::config::HumanDuration;

/// A rule about answers: when it holds, and what happens then.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseActionConfig {
    /// What an answer must be like. All that is given must hold.
    pub when: When,
    /// What happens then.
    pub action: ResponseAction,
    /// How long to wait before trying again, at least; longer if the answer asks for longer. With `retry` and
    /// `rate_limited` only. Default: what the answer asks for, else the back-off of `retry`.
    #[serde(default)]
    pub wait: Option<HumanDuration>,
    /// A sentence to show to whoever reads the error: what is wrong and what to do about it.
    #[serde(default)]
    pub message: Option<String>,
}

/// What an answer must be like.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// One of these statuses: numbers from 100 to 599, or all of a class, such as `5xx`. Left out, any; but rules with
    /// `retry` or `rate_limited` then leave 401 and 403 alone.
    pub status: Vec<StatusSet>,
    /// A header.
    pub header: Option<HeaderTest>,
    /// A value in the JSON body. Without `status`, bodies of good answers are looked into as well.
    pub body: Option<BodyTest>,
    /// A regular expression that is found in the first 64 KiB of the body. Without `status`, bodies of good answers are
    /// looked into as well.
    pub text: Option<String>,
}

/// What happens to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseAction {
    /// The request is made again, after a wait.
    Retry,
    /// The run fails.
    Fail,
    /// This request, be it for a parent's record, a value or a window, is left out and counted.
    Skip,
    /// The answer counts as one without rows.
    Empty,
    /// As `retry`, and all other requests to the host wait as well.
    RateLimited,
    /// The token is renewed and the request made again at once; the second time the run fails.
    RenewToken,
}

/// A status, or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusSet {
    /// This one.
    One(u16),
    /// The class of this first digit: `4xx`.
    Class(u8),
}

impl StatusSet {
    /// Whether a status is in it.
    pub(super) fn has(self, status: u16) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(first) => status / 100 == u16::from(first),
        }
    }

    /// Whether all of `other` is in it.
    pub(super) fn has_all(self, other: Self) -> bool {
        match other {
            Self::One(status) => self.has(status),
            Self::Class(_) => self == other,
        }
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(status) => status.fmt(f),
            Self::Class(first) => write!(f, "{first}xx"),
        }
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Status;
        impl Visitor<'_> for Status {
            type Value = StatusSet;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status from 100 to 599, such as 429, or a class such as `5xx`")
            }
            fn visit_u64<E: de::Error>(self, status: u64) -> Result<StatusSet, E> {
                match u16::try_from(status) {
                    Ok(status @ 100..=599) => Ok(StatusSet::One(status)),
                    _ => Err(E::custom(format!("{status} is not a status: 100 to 599"))),
                }
            }
            fn visit_i64<E: de::Error>(self, status: i64) -> Result<StatusSet, E> {
                self.visit_u64(u64::try_from(status).unwrap_or_default())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<StatusSet, E> {
                match text.as_bytes() {
                    [first @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => Ok(StatusSet::Class(first - b'0')),
                    // What stands in place of a `${NAME}` is text.
                    _ => match text.parse::<u64>() {
                        Ok(status) => self.visit_u64(status),
                        Err(_) => Err(E::custom(format!(
                            "`{text}` is neither a status such as 429 nor a class such as `5xx`"
                        ))),
                    },
                }
            }
        }
        deserializer.deserialize_any(Status)
    }
}

impl JsonSchema for StatusSet {
    fn schema_name() -> Cow<'static, str> {
        "StatusSet".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "minimum": 100,
            "maximum": 599,
            "pattern": "^([1-5][xX]{2}|[1-5][0-9]{2})$",
            "description": "A status, or a class of them such as `5xx`.",
            "examples": [429, "5xx"],
        })
    }
}

/// A test of a header. One of `equals`, `matches` and `exists`; none of them means `exists: true`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderTest {
    /// The header's name.
    pub name: String,
    /// Its value is this.
    #[serde(default)]
    pub equals: Option<String>,
    /// This regular expression is found in its value.
    #[serde(default)]
    pub matches: Option<String>,
    /// Whether it is there.
    #[serde(default)]
    pub exists: Option<bool>,
    /// Turns the test round. A header that is not there then passes `equals` and `matches`.
    #[serde(default)]
    pub not: bool,
}

/// A test of a value in a JSON body. One of `equals`, `matches` and `exists`; none of them means `exists: true`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodyTest {
    /// Where the value is, such as `$.error.code`.
    pub path: SinglePath,
    /// It is this text, number, true or false. A number or flag that the service writes as text is the same.
    #[serde(default, deserialize_with = "null_too")]
    pub equals: Option<Value>,
    /// This regular expression is found in it: a text, a number, true or false.
    #[serde(default)]
    pub matches: Option<String>,
    /// Whether it is there, and is not null.
    #[serde(default)]
    pub exists: Option<bool>,
    /// Turns the test round. A value that is not there then passes `equals` and `matches`.
    #[serde(default)]
    pub not: bool,
}

/// A null that is written is one, and not a key left out.
fn null_too<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Where the service says what is wrong, besides the usual places of JSON bodies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorMessageSettings {
    /// Where an error's body has its message. Looked at first. Default: the usual places.
    pub path: Option<SinglePath>,
    /// Headers that have it, looked at after `path`. Default: `x-bamboohr-error-message`.
    pub headers: Option<Vec<String>>,
}
