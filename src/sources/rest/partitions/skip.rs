//! Partitions that the service answers with an error: which may be skipped, and how many.

use super::SkipConfig;
use crate::component::Problems;
use crate::error::{Error, ErrorKind, Result};

/// If none of so many first partitions is answered, the cause is not one of them.
const MAX_UNANSWERED_START: u64 = 20;

/// Which partitions may be skipped.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in super::super) struct SkipPolicy {
    status: Vec<u16>,
    max_ratio: f64,
}

impl SkipPolicy {
    pub(super) fn new(config: Option<&SkipConfig>, problems: &mut Problems<'_>) -> Self {
        let Some(config) = config else {
            return Self::default();
        };
        let mut here = problems.at("status");
        if config.status.is_empty() {
            here.add("an empty list: nothing would be skipped");
        }
        let status: Vec<u16> = config.status.iter().map(|status| status.get() as u16).collect();
        for (index, status) in status.iter().enumerate() {
            if [408, 429].contains(status) {
                here.at_index(index).add(format!(
                    "{status} is transient: it is retried and cannot be skipped"
                ));
            }
        }
        if !(0.0..=1.0).contains(&config.max_ratio) {
            problems.at("max_ratio").add_with_hint(
                format!("expected 0 to 1, found {}", config.max_ratio),
                "10 % is written 0.1",
            );
        }
        Self {
            status,
            max_ratio: config.max_ratio,
        }
    }

    /// Starts to count.
    pub(in super::super) fn begin(&self) -> Skips<'_> {
        Skips {
            policy: self,
            answered: 0,
            skipped: 0,
        }
    }

    /// Whether a partition with this status may be skipped.
    pub(in super::super) fn may_skip(&self, status: u16) -> bool {
        self.status.contains(&status)
    }
}

/// Counts of answered and skipped partitions.
#[derive(Debug)]
pub(in super::super) struct Skips<'p> {
    policy: &'p SkipPolicy,
    answered: u64,
    skipped: u64,
}

impl Skips<'_> {
    pub(in super::super) fn answered(&mut self) {
        self.answered += 1;
    }

    /// Counts a skipped partition.
    ///
    /// # Errors
    /// None of the first partitions was answered.
    pub(in super::super) fn skipped(&mut self, status: u16) -> Result<()> {
        self.skipped += 1;
        if self.answered > 0 || self.skipped < MAX_UNANSWERED_START || self.policy.max_ratio >= 1.0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Refused,
            format!(
                "the service answered none of the first {} partitions of `for_each` (last status: {status})",
                self.skipped
            ),
        )
        .with_hint("check the permissions of the account, and the path that the values go into"))
    }

    pub(in super::super) fn count(&self) -> u64 {
        self.skipped
    }

    /// Checks the share of skipped partitions at the end.
    ///
    /// # Errors
    /// It exceeds `max_ratio`.
    pub(in super::super) fn finish(&self) -> Result<()> {
        let all = self.answered + self.skipped;
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        if self.skipped as f64 <= self.policy.max_ratio * all as f64 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Refused,
            format!(
                "the service answered {} of {all} partitions of `for_each` with an error, more than `skip.max_ratio` \
                 ({}) allows",
                self.skipped, self.policy.max_ratio
            ),
        )
        .with_hint("check the permissions of the account"))
    }
}
