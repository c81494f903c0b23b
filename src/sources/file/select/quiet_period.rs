//! Waits until nobody writes the files any more.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

use super::LOOKS;
use crate::error::{Error, Result};
use crate::storage::{FileInfo, Storage};

/// How long a file must not have been changed.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::file) struct QuietPeriod {
    /// Zero: files are taken as they are.
    pub(in crate::sources::file) wait: Duration,
    /// How far the clock that gave the files their times may be off. A file is taken by its time alone only if that is
    /// older than the wait by as much.
    pub(in crate::sources::file) margin: Duration,
}

/// Those that nobody writes any more: not changed for so long, or not while we wait for so long.
///
/// # Errors
/// The place cannot be asked.
pub(super) async fn without_unfinished(
    place: &dyn Storage,
    settle: QuietPeriod,
    files: Vec<FileInfo>,
    now: Timestamp,
) -> Result<Vec<FileInfo>> {
    if settle.wait.is_zero() {
        return Ok(files);
    }
    let quiet = SignedDuration::try_from(settle.wait.saturating_add(settle.margin));
    // A time in the future is a clock that goes ahead, and tells nothing.
    let is_old = |file: &FileInfo| {
        file.modified.is_some_and(|modified| {
            let until = quiet
                .as_ref()
                .ok()
                .and_then(|quiet| modified.checked_add(*quiet).ok());
            modified <= now && until.is_some_and(|until| until <= now)
        })
    };
    if files.iter().all(is_old) {
        return Ok(files);
    }
    let fresh = files.iter().filter(|file| !is_old(file)).count();
    tracing::info!(files = fresh, settle = ?settle.wait, "waiting to see whether files are still being written");
    tokio::time::sleep(settle.wait).await;
    let looked: Vec<(FileInfo, Option<FileInfo>)> = stream::iter(files)
        .map(|file| async {
            let later = if is_old(&file) {
                Some(file.clone())
            } else {
                place.stat(&file.path).await?
            };
            Ok::<_, Error>((file, later))
        })
        .buffered(LOOKS)
        .try_collect()
        .await?;
    let mut settled = Vec::new();
    for (file, later) in looked {
        match later {
            Some(later) if file.is_unchanged(&later) => settled.push(file),
            Some(_) => tracing::warn!(file = %file.name, "a file that is still being written is left alone"),
            None => tracing::warn!(file = %file.name, "a file that was taken away just now is left out"),
        }
    }
    Ok(settled)
}
