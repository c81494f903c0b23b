//! Skips files that are still being written.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

use super::MAX_LOOKUPS;
use crate::error::{Error, Result};
use crate::storage::{FileInfo, Storage};

/// The time for which a file must be unchanged.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::file) struct QuietPeriod {
    /// Zero: files are not checked.
    pub(in crate::sources::file) wait: Duration,
    /// How far the clock of the storage may be off: a modification time alone proves that a file is quiet only if it is
    /// older than `wait` by as much.
    pub(in crate::sources::file) clock_margin: Duration,
}

impl QuietPeriod {
    /// Keeps the files that are unchanged for long enough by their time, or during a wait.
    pub(super) async fn filter(
        self,
        storage: &dyn Storage,
        files: Vec<FileInfo>,
        now: Timestamp,
    ) -> Result<Vec<FileInfo>> {
        if self.wait.is_zero() {
            return Ok(files);
        }
        let quiet = SignedDuration::try_from(self.wait.saturating_add(self.clock_margin)).ok();
        // A time in the future comes from a clock that is ahead, and proves nothing.
        let is_old = |file: &FileInfo| {
            let until = |modified: Timestamp| modified.checked_add(quiet?).ok();
            let old = |modified| modified <= now && until(modified).is_some_and(|until| until <= now);
            file.modified.is_some_and(old)
        };
        let recent = files.iter().filter(|file| !is_old(file)).count();
        if recent == 0 {
            return Ok(files);
        }
        tracing::info!(files = recent, quiet_period = ?self.wait, "waiting to see whether files are still being written");
        tokio::time::sleep(self.wait).await;
        let checked = stream::iter(files).map(|file| async {
            if is_old(&file) {
                return Ok::<_, Error>(Some(file));
            }
            Ok(match storage.stat(&file.path).await? {
                Some(later) if file.is_unchanged(&later) => Some(file),
                Some(_) => {
                    tracing::warn!(file = %file.name, "skipped a file that is still being written");
                    None
                }
                None => {
                    tracing::warn!(file = %file.name, "skipped a file that was deleted a moment ago");
                    None
                }
            })
        });
        let checked: Vec<Option<FileInfo>> = checked.buffered(MAX_LOOKUPS).try_collect().await?;
        Ok(checked.into_iter().flatten().collect())
    }
}
