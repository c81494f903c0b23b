//! What the ledger keeps from run to run.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

const VERSION: u32 = 1;

/// Settings that give a position its meaning: names, and a short hash of each value.
pub(super) type Settings = BTreeMap<String, String>;

/// What is kept: never anything of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    v: u32,
    /// Everything before it was read.
    pub(super) at: Timestamp,
    pub(super) runs: u32,
    /// When the last complete full run started.
    pub(super) full: Option<Timestamp>,
    /// When the full run started that is not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) filling: Option<Timestamp>,
    pub(super) of: Settings,
}

pub(super) fn hashed<'s>(all: impl IntoIterator<Item = (&'s str, &'s str)>) -> Settings {
    all.into_iter()
        .map(|(name, value)| {
            let hash = blake3::hash(value.as_bytes()).to_hex();
            (name.to_owned(), hash[..12].to_owned())
        })
        .collect()
}

impl State {
    pub(super) fn full(at: Timestamp, now: Timestamp, of: Settings) -> Self {
        Self {
            v: VERSION,
            at,
            runs: 0,
            full: None,
            filling: Some(now),
            of,
        }
    }

    pub(super) fn read(text: &str) -> Result<Self> {
        let damaged = |error| {
            Error::unexpected("the position in the ledger cannot be read")
                .into_damage()
                .with_source(error)
        };
        let state: Value = serde_json::from_str(text).map_err(damaged)?;
        match state["v"].as_u64() {
            Some(version) if version != u64::from(VERSION) => Err(Error::config(format!(
                "another version of hrsink wrote the position in the ledger (format {version}, this version reads \
                 {VERSION})"
            ))
            .with_hint("run the version that wrote it, or a newer one")),
            // serde's text may repeat a value of the ledger, never one of a record.
            _ => serde_json::from_value(state).map_err(damaged),
        }
    }

    pub(super) fn write(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::unexpected("cannot write the position").with_source(error))
    }

    /// Names of settings that differ from `now`, in order.
    pub(super) fn changed(&self, now: &Settings) -> Vec<String> {
        let names: BTreeSet<_> = self.of.keys().chain(now.keys()).collect();
        let changed = |name: &&String| self.of.get(*name) != now.get(*name);
        names.into_iter().filter(changed).cloned().collect()
    }
}
