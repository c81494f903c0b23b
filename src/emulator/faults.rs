//! Faults: what the emulator does wrong on purpose, and when.
//!
//! Written as `NAME=VALUE` pairs, such as `429=0.1,500=every:7,drop_after=first:1,latency=50ms,retry_after=2s`: on
//! the command line, in the `faults` key of the emulator's file (there also as a map) and in the body of
//! `PUT /faults`. [`Display`](std::fmt::Display) writes the same form.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::component::Problem;
use crate::error::{Error, Result};
use crate::settings::suggestion;

/// The faults in force. The default has none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    /// Faults of the ingestion endpoint.
    pub upload: EndpointFaults,
    /// Faults of the token endpoint.
    pub token: EndpointFaults,
    /// Makes access tokens invalid earlier than their answer said.
    pub token_expiry: Option<TokenExpiry>,
    /// The `Retry-After` header of injected answers with status 429 or 503.
    pub retry_after: Option<RetryAfter>,
    /// Starts the random numbers of [`When::Rate`]: the same seed and the same order of requests meet the same faults.
    pub seed: u64,
}

/// The faults of one endpoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EndpointFaults {
    /// How long every answer is held back, after the request has had its effect.
    pub latency: Duration,
    /// What goes wrong. For each request the first rule that applies wins.
    pub rules: Vec<FaultRule>,
}

/// One thing that goes wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultRule {
    /// What happens.
    pub fault: FaultKind,
    /// To which requests it happens.
    pub when: When,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The body is taken, nothing is done with it, and the answer has this status (400 to 599) and an empty body.
    Status(u16),
    /// The connection is closed before the body is read; nothing is done, no answer is given.
    DropBefore,
    /// The request has its effect (rows are saved), then the connection is closed without an answer.
    DropAfter,
}

/// Which requests of an endpoint a fault happens to. Requests are counted from 1 since the faults were set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// Each with this probability, from 0 to 1. The rates of an endpoint exclude one another and add up to 1 at most.
    Rate(f64),
    /// The first so many.
    First(u64),
    /// Every one whose number is a multiple of this.
    Every(u64),
    /// This one alone.
    Nth(u64),
}

/// When an access token stops being taken although its stated lifetime is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenExpiry {
    /// After it was used this many times.
    Uses(u64),
    /// This long after it was issued.
    After(Duration),
}

/// How the `Retry-After` header is written. Whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// As a number of seconds.
    Seconds(u64),
    /// As an HTTP date this many seconds ahead.
    Date(u64),
}

/// Names to suggest; statuses beyond these are understood too.
const NAMES: [&str; 14] = [
    "429",
    "500",
    "503",
    "drop_before",
    "drop_after",
    "latency",
    "retry_after",
    "token_429",
    "token_500",
    "token_503",
    "token_drop",
    "token_latency",
    "token_expires",
    "seed",
];

impl Faults {
    /// Whether nothing at all goes wrong.
    pub fn is_none(&self) -> bool {
        Self {
            seed: 0,
            ..self.clone()
        } == Self::default()
    }

    fn from_pairs<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Result<Self, Vec<Problem>> {
        let mut faults = Self::default();
        let mut problems = Vec::new();
        let mut seen = BTreeMap::new();
        for (name, value) in pairs {
            if seen.insert(name.to_owned(), ()).is_some() {
                problems.push(problem(name, "given twice".to_owned(), None));
            } else if let Err((message, hint)) = faults.set(name, value) {
                problems.push(problem(name, message, hint));
            }
        }
        for (endpoint, what) in [(&faults.upload, "uploads"), (&faults.token, "token requests")] {
            let sum: f64 = endpoint.rules.iter().map(|rule| rule.when.rate()).sum();
            if sum > 1.0 + 1e-9 {
                problems.push(problem(
                    "",
                    format!("the rates of faults of {what} add up to {sum}, more than 1"),
                    None,
                ));
            }
        }
        if problems.is_empty() {
            Ok(faults)
        } else {
            Err(problems)
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), (String, Option<String>)> {
        let plain = |message: String| (message, None);
        match name {
            "seed" => {
                self.seed = value
                    .parse()
                    .map_err(|_| plain(format!("`{value}` is not a whole number")))?;
            }
            "latency" => self.upload.latency = duration(value).map_err(plain)?,
            "token_latency" => self.token.latency = duration(value).map_err(plain)?,
            "retry_after" => self.retry_after = Some(retry_after(value).map_err(plain)?),
            "token_expires" => self.token_expiry = Some(token_expiry(value).map_err(plain)?),
            _ => {
                let (endpoint, bare) = match name.strip_prefix("token_") {
                    Some(bare) => (&mut self.token, bare),
                    None => (&mut self.upload, name),
                };
                let fault = match (bare, name == bare) {
                    ("drop_before", true) | ("drop", false) => FaultKind::DropBefore,
                    ("drop_after", true) => FaultKind::DropAfter,
                    _ => FaultKind::Status(status(name, bare)?),
                };
                endpoint.rules.push(FaultRule {
                    fault,
                    when: value.parse().map_err(plain)?,
                });
            }
        }
        Ok(())
    }
}

fn status(name: &str, bare: &str) -> Result<u16, (String, Option<String>)> {
    match bare.parse::<u16>() {
        Ok(status @ 400..=599) => Ok(status),
        Ok(_) => Err((
            format!("`{bare}` is not the status of an error"),
            Some("give one from 400 to 599".to_owned()),
        )),
        Err(_) => Err(("no such fault".to_owned(), suggestion(name, NAMES))),
    }
}

fn duration(value: &str) -> Result<Duration, String> {
    humantime::parse_duration(value)
        .map_err(|_| format!("`{value}` is not a duration such as `50ms` or `2s`"))
}

fn whole_seconds(value: &str) -> Result<u64, String> {
    let wanted = duration(value)?;
    if wanted.subsec_nanos() != 0 {
        return Err(format!("`{value}` is not a number of whole seconds"));
    }
    Ok(wanted.as_secs())
}

fn retry_after(value: &str) -> Result<RetryAfter, String> {
    match value.strip_prefix("date:") {
        Some(seconds) => whole_seconds(seconds).map(RetryAfter::Date),
        None => whole_seconds(value).map(RetryAfter::Seconds),
    }
}

fn token_expiry(value: &str) -> Result<TokenExpiry, String> {
    match value.strip_prefix("uses:") {
        Some(uses) => uses
            .parse()
            .map(TokenExpiry::Uses)
            .map_err(|_| format!("`{uses}` is not a number of uses")),
        None => duration(value)
            .map(TokenExpiry::After)
            .map_err(|_| format!("`{value}` is neither `uses:N` nor a duration such as `5s`")),
    }
}

fn problem(name: &str, message: String, hint: Option<String>) -> Problem {
    Problem {
        path: name.to_owned(),
        message,
        hint,
    }
}

impl When {
    /// The share of requests it claims of the random draw.
    pub(super) fn rate(self) -> f64 {
        match self {
            Self::Rate(rate) => rate,
            _ => 0.0,
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        let whole = |make: fn(u64) -> Self, number: &str| match number.parse::<u64>() {
            Ok(number) if number > 0 => Ok(make(number)),
            _ => Err(format!("`{value}`: `{number}` is not a whole number above 0")),
        };
        match value.split_once(':') {
            Some(("first", number)) => whole(Self::First, number),
            Some(("every", number)) => whole(Self::Every, number),
            Some(("nth", number)) => whole(Self::Nth, number),
            Some(_) => Err(format!(
                "`{value}` is none of a rate from 0 to 1, `first:N`, `every:N`, `nth:N`"
            )),
            None => match value.parse::<f64>() {
                Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(Self::Rate(rate)),
                _ => Err(format!(
                    "`{value}` is none of a rate from 0 to 1, `first:N`, `every:N`, `nth:N`"
                )),
            },
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) => write!(f, "{rate}"),
            Self::First(number) => write!(f, "first:{number}"),
            Self::Every(number) => write!(f, "every:{number}"),
            Self::Nth(number) => write!(f, "nth:{number}"),
        }
    }
}

impl FromStr for Faults {
    type Err = Error;

    /// Reads the compact form. An empty text means no faults.
    ///
    /// # Errors
    /// Every problem of the text, with the nearest names.
    fn from_str(text: &str) -> Result<Self> {
        let mut pairs = Vec::new();
        let mut malformed = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((name, value)) => pairs.push((name.trim(), value.trim())),
                None => malformed.push(problem(
                    part,
                    "a fault is written `NAME=VALUE`".to_owned(),
                    Some("for example `429=0.1` or `drop_after=first:1`".to_owned()),
                )),
            }
        }
        let parsed = Self::from_pairs(pairs);
        match parsed {
            Ok(faults) if malformed.is_empty() => Ok(faults),
            Ok(_) => Err(listed(&malformed)),
            Err(problems) => {
                malformed.extend(problems);
                Err(listed(&malformed))
            }
        }
    }
}

/// One error for all problems; the advice stands in the text too, as printers of arguments show nothing else.
fn listed(problems: &[Problem]) -> Error {
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| match &problem.hint {
            Some(hint) => format!("{problem} ({hint})"),
            None => problem.to_string(),
        })
        .collect();
    Error::config(format!("the faults cannot be read: {}", texts.join("; ")))
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (endpoint, prefix) in [(&self.upload, ""), (&self.token, "token_")] {
            for FaultRule { fault, when } in &endpoint.rules {
                parts.push(match fault {
                    FaultKind::Status(status) => format!("{prefix}{status}={when}"),
                    FaultKind::DropBefore if prefix.is_empty() => format!("drop_before={when}"),
                    FaultKind::DropAfter if prefix.is_empty() => format!("drop_after={when}"),
                    // A lost token answer is the same to the client whenever it is lost.
                    FaultKind::DropBefore | FaultKind::DropAfter => format!("token_drop={when}"),
                });
            }
            if !endpoint.latency.is_zero() {
                parts.push(format!("{prefix}latency={}", compact(endpoint.latency)));
            }
        }
        match self.token_expiry {
            Some(TokenExpiry::Uses(uses)) => parts.push(format!("token_expires=uses:{uses}")),
            Some(TokenExpiry::After(after)) => parts.push(format!("token_expires={}", compact(after))),
            None => {}
        }
        match self.retry_after {
            Some(RetryAfter::Seconds(seconds)) => parts.push(format!("retry_after={seconds}s")),
            Some(RetryAfter::Date(seconds)) => parts.push(format!("retry_after=date:{seconds}s")),
            None => {}
        }
        if self.seed != 0 {
            parts.push(format!("seed={}", self.seed));
        }
        f.write_str(&parts.join(","))
    }
}

fn compact(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

impl<'de> Deserialize<'de> for Faults {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FaultsVisitor;

        /// A value of the map form: a rate is a number there.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Value {
            Text(String),
            Whole(u64),
            Rate(f64),
        }

        impl<'de> Visitor<'de> for FaultsVisitor {
            type Value = Faults;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("faults, such as `429=0.1,latency=50ms`, or a map of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Faults, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Faults, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    let value = match value {
                        Value::Text(text) => text,
                        Value::Whole(number) => number.to_string(),
                        Value::Rate(rate) => rate.to_string(),
                    };
                    pairs.push((name, value));
                }
                Faults::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
                    .map_err(|problems| de::Error::custom(listed(&problems)))
            }
        }

        deserializer.deserialize_any(FaultsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compact_form_is_read_and_written() {
        let text = "429=0.1,500=every:7,drop_after=first:1,drop_before=nth:3,latency=50ms,token_503=first:2,\
                    token_drop=nth:4,token_latency=1s,token_expires=uses:3,retry_after=date:2s,seed=9";
        let faults: Faults = text.parse().unwrap();
        assert_eq!(faults.to_string(), text);
        assert_eq!(faults.upload.latency, Duration::from_millis(50));
        assert_eq!(faults.token_expiry, Some(TokenExpiry::Uses(3)));
        assert!("".parse::<Faults>().unwrap().is_none());
    }

    #[test]
    fn every_problem_is_listed_with_the_nearest_name() {
        let error = "429=1.5,drop_aftr=first:1,latency=fast,500=every:0,boom,200=0.1,retry_after=500ms"
            .parse::<Faults>()
            .unwrap_err()
            .to_string();
        for part in [
            "429: `1.5`",
            "did you mean `drop_after`",
            "latency: `fast`",
            "`0` is not a whole number above 0",
            "boom: a fault is written `NAME=VALUE`",
            "400 to 599",
            "`500ms` is not a number of whole seconds",
        ] {
            assert!(error.contains(part), "{part} not in: {error}");
        }
    }

    #[test]
    fn rates_that_exceed_certainty_and_names_given_twice_are_refused() {
        let sum = "429=0.6,500=0.6".parse::<Faults>().unwrap_err();
        assert!(sum.to_string().contains("add up to 1.2"), "{sum}");
        let twice = "429=0.1,429=0.2".parse::<Faults>().unwrap_err();
        assert!(twice.to_string().contains("given twice"), "{twice}");
    }

    #[test]
    fn the_rehearsals_of_the_documentation_can_be_set() {
        let page = include_str!("../../docs/src/how-to/emulator.md");
        let (_, rest) = page.split_once("## Rehearse failures").unwrap();
        let rows: Vec<&str> = rest
            .lines()
            .filter(|line| line.starts_with("| "))
            .skip(1)
            .collect();
        assert!(rows.len() > 5);
        for row in rows.iter().take_while(|row| row.contains('=')) {
            let faults = row.split('|').nth(2).unwrap().trim().trim_matches('`');
            assert!(!faults.parse::<Faults>().unwrap().is_none(), "{faults}");
        }
    }

    #[test]
    fn the_map_form_says_the_same() {
        let map: Faults = serde_saphyr::from_str("{429: 0.1, 500: every:7, latency: 50ms, seed: 3}").unwrap();
        assert_eq!(map, "429=0.1,500=every:7,latency=50ms,seed=3".parse().unwrap());
        let text: Faults = serde_saphyr::from_str("\"429=0.1\"").unwrap();
        assert_eq!(text, "429=0.1".parse().unwrap());
    }
}
