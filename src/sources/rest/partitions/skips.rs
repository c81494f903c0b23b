//! Steps that the service does not give: which may be left out, and how many.

use super::{ForEachConfig, OnError};
use crate::config::Problems;
use crate::error::{Error, ErrorKind, Result};

/// When none of so many first steps is answered, it is not about single ones.
const NONE_OF: u64 = 20;
const DEFAULT_STATUSES: [u16; 2] = [403, 404];
const DEFAULT_SHARE: f64 = 0.1;

/// Which steps may be left out.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct SkipsPlan {
    /// Empty: none may be.
    statuses: Vec<u16>,
    share: f64,
}

impl SkipsPlan {
    /// Checks `on_error`, `skip_statuses` and `max_skipped`; `problems` points at the block that has them.
    pub(super) fn new<P>(config: &ForEachConfig<P>, problems: &mut Problems<'_>) -> Self {
        if config.on_error == OnError::Fail {
            for (key, given) in [
                ("skip_statuses", config.skip_statuses.is_some()),
                ("max_skipped", config.max_skipped.is_some()),
            ] {
                if given {
                    problems
                        .at(key)
                        .add_with_hint("nothing is left out", "it goes with `on_error: skip`");
                }
            }
            return Self {
                statuses: Vec::new(),
                share: 0.0,
            };
        }
        let statuses = config.skip_statuses.clone().unwrap_or(DEFAULT_STATUSES.to_vec());
        let mut here = problems.at("skip_statuses");
        if statuses.is_empty() {
            here.add("an empty list: nothing would be left out");
        }
        for (index, status) in statuses.iter().enumerate() {
            if !(400..500).contains(status) || [408, 429].contains(status) {
                here.at_index(index).add_with_hint(
                    format!("{status} does not say that the service has no answer for one value"),
                    "statuses from 400 to 499 can be left out, but 408 and 429, which are tried again",
                );
            }
        }
        let share = config.max_skipped.unwrap_or(DEFAULT_SHARE);
        if !(0.0..=1.0).contains(&share) {
            problems.at("max_skipped").add_with_hint(
                format!("a share of values is between 0 and 1, not {share}"),
                "10 % is written 0.1",
            );
        }
        Self { statuses, share }
    }

    /// Begins to count.
    pub(in super::super) fn begin(&self) -> Skips<'_> {
        Skips {
            plan: self,
            answered: 0,
            skipped: 0,
        }
    }

    /// Whether a step with this status may be left out.
    pub(in super::super) fn may_skip(&self, status: u16) -> bool {
        self.statuses.contains(&status)
    }
}

/// Counts steps that were answered and steps that were left out.
#[derive(Debug)]
pub(in super::super) struct Skips<'p> {
    plan: &'p SkipsPlan,
    answered: u64,
    skipped: u64,
}

impl Skips<'_> {
    /// A step was answered.
    pub(in super::super) fn answered(&mut self) {
        self.answered += 1;
    }

    /// A step was left out.
    ///
    /// # Errors
    /// None of the first was answered.
    pub(in super::super) fn skipped(&mut self, status: u16) -> Result<()> {
        self.skipped += 1;
        if self.answered == 0 && self.skipped >= NONE_OF && self.plan.share < 1.0 {
            return Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "the service answered none of the first {} values of `for_each` (the last one with status {status})",
                    self.skipped
                ),
            )
            .with_hint("check the rights of the account, and the path that the values go into"));
        }
        Ok(())
    }

    /// How many were left out.
    pub(in super::super) fn count(&self) -> u64 {
        self.skipped
    }

    /// Judges the whole, at its end.
    ///
    /// # Errors
    /// More were left out than may be.
    pub(in super::super) fn finish(&self) -> Result<()> {
        let all = self.answered + self.skipped;
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let most = self.plan.share * all as f64;
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        if self.skipped as f64 > most {
            return Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "the service gave no answer for {} of {all} values of `for_each`, more than `max_skipped` ({}) allows",
                    self.skipped, self.plan.share
                ),
            )
            .with_hint("check the rights of the account")
            .with_hint("`max_skipped` is the share that may be left out"));
        }
        Ok(())
    }
}
