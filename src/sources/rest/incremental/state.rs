//! What is kept from run to run.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const VERSION: u32 = 1;

/// A position: an instant, or a number that grows. Never anything else, so that no personal data gets here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    /// The last number seen.
    Number(i64),
    /// All before it was read.
    Time(Timestamp),
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// How far the runs came.
    pub(super) at: At,
    /// Runs since the last full one.
    pub(super) runs: u32,
    /// When the last full run began that came to its end.
    pub(super) full: Option<Timestamp>,
    /// When the full run began that is not at its end.
    pub(super) filling: Option<Timestamp>,
    /// The settings that it is a position of.
    pub(super) of: Settings,
}

/// The text in the ledger.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(rename = "v")]
    version: u32,
    at: Point,
    runs: u32,
    full: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filling: Option<String>,
    of: Settings,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Point {
    Number(i64),
    Time(String),
}

/// Settings that give a position its meaning: names, and a short hash of each.
pub(super) type Settings = BTreeMap<String, String>;

/// The settings as they are kept.
pub(super) fn settings<'s>(all: impl IntoIterator<Item = (&'s str, String)>) -> Settings {
    all.into_iter()
        .map(|(name, value)| {
            let hash = blake3::hash(value.as_bytes()).to_hex();
            (name.to_owned(), hash[..12].to_owned())
        })
        .collect()
}

impl State {
    pub(super) fn new(at: At, of: Settings) -> Self {
        Self {
            at,
            runs: 0,
            full: None,
            filling: None,
            of,
        }
    }

    /// Reads what was saved.
    ///
    /// # Errors
    /// It is not what this program writes, or a newer one wrote it.
    pub(super) fn read(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let broken = || Error::unexpected("the position kept in the ledger cannot be read").into_damage();
        let version: Version = serde_json::from_str(text).map_err(|error| broken().with_source(error))?;
        if version.v != VERSION {
            return Err(Error::config(format!(
                "the position kept in the ledger was written by another version of this program (format {}, here \
                 {VERSION})",
                version.v
            ))
            .with_hint("run the version of the program that wrote it, or a newer one"));
        }
        let kept: Kept = serde_json::from_str(text).map_err(|error| broken().with_source(error))?;
        let time = |text: String| text.parse::<Timestamp>().map_err(|_| broken());
        Ok(Self {
            at: match kept.at {
                Point::Number(number) => At::Number(number),
                Point::Time(text) => At::Time(time(text)?),
            },
            runs: kept.runs,
            full: kept.full.map(time).transpose()?,
            filling: kept.filling.map(time).transpose()?,
            of: kept.of,
        })
    }

    /// The text to save.
    pub(super) fn write(&self) -> Result<String> {
        let kept = Kept {
            version: VERSION,
            at: match self.at {
                At::Number(number) => Point::Number(number),
                At::Time(time) => Point::Time(time.to_string()),
            },
            runs: self.runs,
            full: self.full.map(|time| time.to_string()),
            filling: self.filling.map(|time| time.to_string()),
            of: self.of.clone(),
        };
        serde_json::to_string(&kept)
            .map_err(|error| Error::unexpected("cannot write the position").with_source(error))
    }

    /// Names of settings that are others than now, in order.
    pub(super) fn changed(&self, now: &Settings) -> Vec<String> {
        self.of
            .keys()
            .chain(now.keys())
            .filter(|name| self.of.get(*name) != now.get(*name))
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect()
    }
}
