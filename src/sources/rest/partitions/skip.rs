//! Partitions that the service answers with an error: which may be skipped, and how many.

use super::{Partitioning, SkipConfig};
use crate::component::Problems;
use crate::error::{Error, ErrorKind, Result};

/// If none of so many first partitions is answered, the cause is not one of them.
const MAX_UNANSWERED_START: u64 = 20;

impl SkipConfig {
    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        let mut here = problems.at("status");
        if self.status.is_empty() {
            here.add("an empty list: nothing would be skipped");
        }
        for (index, status) in self.status.iter().enumerate() {
            if let status @ (408 | 429) = status.get() {
                let problem = format!("{status} is transient: it is retried and cannot be skipped");
                here.at_index(index).add(problem);
            }
        }
    }
}

impl Partitioning {
    pub(in super::super) fn may_skip(&self, status: u16) -> bool {
        let skip = self.config.skip.iter();
        skip.flat_map(|skip| &skip.status)
            .any(|known| known.get() == u64::from(status))
    }

    pub(in super::super) fn skips(&self) -> Skips {
        Skips {
            max_ratio: self.config.skip.as_ref().map_or(0.0, |skip| skip.max_ratio.get()),
            answered: 0,
            skipped: 0,
        }
    }
}

#[derive(Debug)]
pub(in super::super) struct Skips {
    max_ratio: f64,
    pub(in super::super) answered: u64,
    pub(in super::super) skipped: u64,
}

impl Skips {
    pub(in super::super) fn skip(&mut self, status: u16) -> Result<()> {
        self.skipped += 1;
        if self.answered > 0 || self.skipped < MAX_UNANSWERED_START || self.max_ratio >= 1.0 {
            return Ok(());
        }
        let message = format!(
            "the service answered none of the first {} partitions of `for_each` (last status: {status})",
            self.skipped
        );
        let hint = "check the permissions of the account, and the path that the values go into";
        Err(Error::new(ErrorKind::Refused, message).with_hint(hint))
    }

    pub(in super::super) fn finish(&self) -> Result<()> {
        let all = self.answered + self.skipped;
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        if self.skipped as f64 <= self.max_ratio * all as f64 {
            return Ok(());
        }
        let message = format!(
            "the service answered {} of {all} partitions of `for_each` with an error, more than `skip.max_ratio` ({}) \
             allows",
            self.skipped, self.max_ratio
        );
        Err(Error::new(ErrorKind::Refused, message).with_hint("check the permissions of the account"))
    }
}
