//! The fault language: which faults the emulator injects, and when.
//!
//! `NAME=VALUE` pairs, such as `429=0.1,500=every:7,drop_after=first:1,latency=50ms,retry_after=2s`: on the command
//! line, in the `faults` key of the emulator's file (there also as a map) and in the body of `PUT /faults`.
//! [`Display`](std::fmt::Display) writes the same form.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

use crate::component::Problem;
use crate::error::{Error, Result};
use crate::suggest::{nearest, quoted};

/// Faults to inject. The default has none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    /// Names and values, as specified.
    pairs: Vec<(String, String)>,
    pub(super) upload: EndpointFaults,
    pub(super) token: EndpointFaults,
    /// Invalidates access tokens before their stated lifetime ends.
    pub(super) token_expiry: Option<TokenExpiry>,
    /// The `Retry-After` header of injected 429 and 503 responses.
    pub(super) retry_after: Option<RetryAfter>,
    /// Seeds [`When::Rate`]: the same seed and the same order of requests give the same faults.
    pub(super) seed: u64,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct EndpointFaults {
    /// Delays every response, after the request has had its effect.
    pub(super) latency: Duration,
    /// For each request the first rule that applies wins.
    pub(super) rules: Vec<FaultRule>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct FaultRule {
    pub(super) name: String,
    pub(super) fault: FaultKind,
    pub(super) when: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// Reads the body, ignores it, and responds with this status (400 to 599) and an empty body.
    Status(u16),
    /// Closes the connection before reading the body; the request has no effect.
    DropBefore,
    /// Processes the request (rows are saved), then closes the connection without a response.
    DropAfter,
}

/// The requests that a fault applies to. Requests of an endpoint count from 1 since the faults were set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum When {
    /// Each with this probability. The rates of an endpoint are mutually exclusive and add up to at most 1.
    Rate(f64),
    First(u64),
    Every(u64),
    Nth(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenExpiry {
    /// After this many uses.
    Uses(u64),
    /// This long after it was issued.
    After(Duration),
}

/// The form of the `Retry-After` header, and the wait in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryAfter {
    Seconds(u64),
    Date(u64),
}

/// Names other than statuses.
const NAMES: [&str; 8] = [
    "drop_before",
    "drop_after",
    "latency",
    "retry_after",
    "seed",
    "token_drop",
    "token_latency",
    "token_expires",
];

impl Faults {
    /// Reads names and values; reports every problem.
    fn from_pairs(pairs: Vec<(String, String)>, mut problems: Vec<Problem>) -> Result<Self> {
        let mut faults = Self::default();
        for (index, (name, value)) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|(other, _)| other == name) {
                problems.push(problem(name, "specified twice".to_owned()));
            } else if let Err(found) = faults.set(name, value) {
                problems.push(found);
            }
        }
        faults.pairs = pairs;
        for (endpoint, what) in [(&faults.upload, "upload"), (&faults.token, "token request")] {
            let rates = endpoint.rules.iter().map(|rule| match rule.when {
                When::Rate(rate) => rate,
                _ => 0.0,
            });
            let sum: f64 = rates.sum();
            if sum > 1.0 + 1e-9 {
                let message = format!("the {what} fault rates add up to {sum}, more than 1");
                problems.push(problem("", message));
            }
        }
        if problems.is_empty() {
            return Ok(faults);
        }
        // With the hints, because clap prints nothing else.
        let texts = problems.iter().map(|problem| match &problem.hint {
            Some(hint) => format!("{problem} ({hint})"),
            None => problem.to_string(),
        });
        let texts = texts.collect::<Vec<_>>().join("; ");
        Err(Error::config(format!("invalid faults: {texts}")))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let invalid = |message| problem(name, message);
        match name {
            "seed" => self.seed = number(value, "a whole number").map_err(invalid)?,
            "latency" => self.upload.latency = duration(value).map_err(invalid)?,
            "token_latency" => self.token.latency = duration(value).map_err(invalid)?,
            "retry_after" => self.retry_after = Some(retry_after(value).map_err(invalid)?),
            "token_expires" => self.token_expiry = Some(token_expiry(value).map_err(invalid)?),
            _ => {
                let (endpoint, fault) = match name {
                    // A lost token response has the same effect on the client whenever it is lost.
                    "token_drop" => (&mut self.token, FaultKind::DropBefore),
                    "drop_before" => (&mut self.upload, FaultKind::DropBefore),
                    "drop_after" => (&mut self.upload, FaultKind::DropAfter),
                    _ => match name.strip_prefix("token_") {
                        Some(bare) => (&mut self.token, FaultKind::Status(status(name, bare)?)),
                        None => (&mut self.upload, FaultKind::Status(status(name, name)?)),
                    },
                };
                let (name, when) = (name.to_owned(), value.parse().map_err(invalid)?);
                endpoint.rules.push(FaultRule { name, fault, when });
            }
        }
        Ok(())
    }
}

fn status(name: &str, bare: &str) -> Result<u16, Problem> {
    const STATUSES: &str = "a status from 400 to 599 (`429`, or `token_429` at the token endpoint)";
    let (message, hint) = match bare.parse::<u16>() {
        Ok(status @ 400..=599) => return Ok(status),
        Ok(_) => (
            format!("`{bare}` is not an error status"),
            format!("use {STATUSES}"),
        ),
        Err(_) => {
            let hint = match nearest(name, NAMES).first() {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("use {STATUSES}, or one of {}", quoted(NAMES)),
            };
            ("unknown fault".to_owned(), hint)
        }
    };
    Err(Problem {
        hint: Some(hint),
        ..problem(name, message)
    })
}

fn number(text: &str, expected: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not {expected}"))
}

fn duration(value: &str) -> Result<Duration, String> {
    humantime::parse_duration(value)
        .map_err(|_| format!("`{value}` is not a duration such as `50ms` or `2s`"))
}

fn retry_after(value: &str) -> Result<RetryAfter, String> {
    let (text, form): (_, fn(u64) -> RetryAfter) = match value.strip_prefix("date:") {
        Some(text) => (text, RetryAfter::Date),
        None => (value, RetryAfter::Seconds),
    };
    let wait = duration(text)?;
    if wait.subsec_nanos() != 0 {
        return Err(format!("`{text}` is not a number of whole seconds"));
    }
    Ok(form(wait.as_secs()))
}

fn token_expiry(value: &str) -> Result<TokenExpiry, String> {
    match value.strip_prefix("uses:") {
        Some(uses) => number(uses, "a number of uses").map(TokenExpiry::Uses),
        None => duration(value)
            .map(TokenExpiry::After)
            .map_err(|_| format!("`{value}`: expected `uses:N` or a duration such as `5s`")),
    }
}

fn problem(name: &str, message: String) -> Problem {
    Problem {
        path: name.to_owned(),
        message,
        hint: None,
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        let count = |form: fn(u64) -> Self, text: &str| match text.parse::<u64>() {
            Ok(count) if count > 0 => Ok(form(count)),
            _ => Err(format!("`{value}`: `{text}` is not a whole number above 0")),
        };
        match (value.split_once(':'), value.parse::<f64>()) {
            (Some(("first", text)), _) => count(Self::First, text),
            (Some(("every", text)), _) => count(Self::Every, text),
            (Some(("nth", text)), _) => count(Self::Nth, text),
            (None, Ok(rate)) if (0.0..=1.0).contains(&rate) => Ok(Self::Rate(rate)),
            _ => Err(format!(
                "`{value}`: expected a rate from 0 to 1, `first:N`, `every:N` or `nth:N`"
            )),
        }
    }
}

impl FromStr for Faults {
    type Err = Error;

    /// Reads the compact form. An empty text means no faults.
    fn from_str(text: &str) -> Result<Self> {
        let mut pairs = Vec::new();
        let mut problems = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((name, value)) => pairs.push((name.trim().to_owned(), value.trim().to_owned())),
                None => problems.push(Problem {
                    hint: Some("for example `429=0.1` or `drop_after=first:1`".to_owned()),
                    ..problem(part, "expected `NAME=VALUE`".to_owned())
                }),
            }
        }
        Self::from_pairs(pairs, problems)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.pairs.iter().map(|(name, value)| format!("{name}={value}"));
        f.write_str(&pairs.collect::<Vec<_>>().join(","))
    }
}

impl<'de> Deserialize<'de> for Faults {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let faults = match Value::deserialize(deserializer)? {
            Value::String(text) => text.parse(),
            Value::Object(map) => {
                let pairs = map.into_iter().map(|(name, value)| match value {
                    Value::String(text) => (name, text),
                    other => (name, other.to_string()),
                });
                Self::from_pairs(pairs.collect(), Vec::new())
            }
            _ => Err(Error::config(
                "expected faults, such as `429=0.1,latency=50ms`, or a map of them",
            )),
        };
        faults.map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_the_compact_form() {
        let text = "429=0.1,500=every:7,drop_after=first:1,drop_before=nth:3,latency=50ms,token_503=first:2,\
                    token_drop=nth:4,token_latency=1s,token_expires=uses:3,retry_after=date:2s,seed=9";
        let faults: Faults = text.parse().unwrap();
        assert_eq!(faults.to_string(), text);
        assert_eq!(faults.upload.latency, Duration::from_millis(50));
        assert_eq!(faults.token_expiry, Some(TokenExpiry::Uses(3)));
        assert_eq!("".parse::<Faults>().unwrap(), Faults::default());
    }

    #[test]
    fn reports_every_problem_with_the_nearest_name() {
        let error = "429=1.5,drop_aftr=first:1,latency=fast,500=every:0,boom,200=0.1,retry_after=500ms,\
                     503=0.6,502=0.6,503=0.1,xyz=1"
            .parse::<Faults>()
            .unwrap_err()
            .to_string();
        for part in [
            "429: `1.5`",
            "did you mean `drop_after`",
            "latency: `fast`",
            "`0` is not a whole number above 0",
            "boom: expected `NAME=VALUE`",
            "400 to 599",
            "`500ms` is not a number of whole seconds",
            "add up to 1.2",
            "503: specified twice",
            "xyz: unknown fault (use a status from 400 to 599 (`429`, or `token_429`",
        ] {
            assert!(error.contains(part), "{part} not in: {error}");
        }
    }

    #[test]
    fn accepts_the_faults_of_the_documentation() {
        let page = include_str!("../../docs/src/how-to/emulator.md");
        let (_, rest) = page.split_once("## Rehearse failures").unwrap();
        let rows = rest.lines().filter(|line| line.starts_with("| ")).skip(1);
        let rows: Vec<&str> = rows.take_while(|row| row.contains('=')).collect();
        assert!(rows.len() > 3);
        for row in rows {
            let faults = row.split('|').nth(2).unwrap().trim().trim_matches('`');
            assert_ne!(faults.parse::<Faults>().unwrap(), Faults::default(), "{faults}");
        }
    }
}
