//! Selects the files to read, and their order.
//!
//! ```text
//! list ▶ has its marker? ▶ newest only? ▶ delivered before? ▶ not too many? ▶ quiet? ▶ in order
//! ```
//!
//! The newest is the newest of all that match, pending ones included, and is never older than the newest delivered: an
//! old snapshot must not be sent after a newer one. A skipped file is logged: a file not read means missed leavers.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::SelectSettings;
use super::file_name::NameTemplate;
use super::state::{FileStatus, ProcessedFiles};
use crate::error::{Error, Result};
use crate::storage::{FileInfo, FilePattern, Storage};
use crate::suggest::nearest;

/// The order in which files are read. Also part of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OrderBy {
    /// By name.
    Name,
    /// By the time of the last modification, then by name.
    Modified,
    /// By the date in the name, then by name.
    DateInName,
}

/// The position of a file in an order, which decides what the newest is. Comparable with ranks of the same order only.
/// Part of the state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rank {
    order: OrderBy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date: Option<DateTime>,
    name: Arc<str>,
}

impl Rank {
    fn of(file: &FileInfo, order: OrderBy, pattern: &FilePattern) -> Self {
        let dated = order == OrderBy::DateInName;
        Self {
            order,
            modified: file.modified.filter(|_| order == OrderBy::Modified),
            date: dated.then(|| pattern.date_in_name(file.file_name())).flatten(),
            name: file.name.clone(),
        }
    }
}

/// What to do if there is nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IfNone {
    /// The run fails.
    Error,
    /// A warning; the run continues without rows of this source.
    Warn,
    /// The run continues without rows of this source.
    Ignore,
}

impl IfNone {
    /// Logs `error`, or returns it where it fails the run.
    fn apply(self, error: Error) -> Option<Error> {
        match self {
            Self::Error => return Some(error),
            Self::Warn => {
                tracing::warn!("{error}");
                for hint in error.hints() {
                    tracing::info!("{hint}");
                }
            }
            Self::Ignore => tracing::info!("{error}"),
        }
        None
    }
}

#[derive(Debug, Clone)]
pub(super) struct Selection {
    pub(super) settings: SelectSettings,
    pub(super) incremental: bool,
    pub(super) order_by: OrderBy,
    pub(super) marker: Option<NameTemplate>,
    /// Zero: files are not checked.
    pub(super) quiet_period: Duration,
    /// How far the clock of the storage may be off: a modification time alone proves that a file is quiet only if it is
    /// older than the quiet period by as much.
    pub(super) clock_margin: Duration,
}

#[derive(Debug)]
pub(super) struct Selected {
    /// In the order to read them.
    pub(super) files: Vec<FileInfo>,
    /// Delivered by an earlier run and still to be moved or deleted.
    pub(super) pending: Vec<FileInfo>,
    pub(super) listed_at: Timestamp,
    /// With `newest`: what to save once the file is delivered.
    pub(super) newest: Option<Rank>,
    /// Nothing to read, because earlier runs have read everything.
    pub(super) nothing_new: bool,
    /// The error that nothing is to be read; it comes after the pending files are processed.
    pub(super) refused: Option<Error>,
}

const MAX_LOOKUPS: usize = 16;

/// Extensions that many programs give to files they are writing.
const UNFINISHED: [&str; 6] = [".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload"];

/// The files that match, without those whose names mark them as unfinished.
pub(super) async fn list(storage: &dyn Storage, pattern: &FilePattern) -> Result<Vec<FileInfo>> {
    let mut files = storage.list(pattern).await?;
    if pattern.is_pattern() {
        files.retain(|file| {
            let name = file.file_name().to_lowercase();
            let unfinished = UNFINISHED.iter().any(|extension| name.ends_with(extension));
            if unfinished {
                tracing::warn!(file = %file.name, "skipped a file whose name marks it as unfinished");
            }
            !unfinished
        });
    }
    Ok(files)
}

impl Selection {
    pub(super) async fn select(
        &self,
        storage: &dyn Storage,
        pattern: &FilePattern,
        state: &mut ProcessedFiles,
    ) -> Result<Selected> {
        let listed_at = Timestamp::now();
        let files = list(storage, pattern).await?;
        state.seen(&files, pattern.glob(), listed_at);
        if files.is_empty()
            && let Some(error) = self.settings.if_none.apply(no_match(storage, pattern).await)
        {
            return Err(error);
        }
        let files = self.without_markers(files);
        let found = files.len();
        let (pending, files): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|file| state.status(file) == FileStatus::Pending);
        let mut files = self.with_marker(storage, files).await?;
        let mut skipped = Skipped {
            read_before: pending.len(),
            without_marker: found - pending.len() - files.len(),
            ..Skipped::default()
        };
        let newest = match self.settings.newest {
            true => self.keep_newest(&mut files, &pending, pattern, state, &mut skipped),
            false => None,
        };
        if self.incremental {
            let before = files.len();
            files.retain(|file| state.status(file) != FileStatus::Read);
            skipped.read_before += before - files.len();
        }
        // Files without a marker, or still being written, were not read before.
        let nothing_new = files.is_empty() && skipped.read_before + skipped.older > 0;
        files.sort_by_cached_key(|file| Rank::of(file, self.order_by, pattern));
        let max_files = self.settings.max_files.as_usize();
        if files.len() > max_files {
            return Err(Error::input(format!(
                "there are {} files to read, more than `select.max_files` ({max_files})",
                files.len()
            ))
            .with_hint("nothing was read; if all of them are intended, raise `select.max_files`"));
        }
        let ready = files.len();
        let files = self.quiet(storage, files, listed_at).await?;
        skipped.being_written = ready - files.len();
        tracing::info!(
            path = pattern.as_written(),
            found,
            read_before = skipped.read_before,
            older = skipped.older,
            incomplete = skipped.without_marker + skipped.being_written,
            pending = pending.len(),
            selected = files.len(),
            "listed files"
        );
        let refused = match files.is_empty() && found > 0 {
            true => self
                .settings
                .if_none_new
                .apply(skipped.nothing_new(found, pattern, state)),
            false => None,
        };
        Ok(Selected {
            files,
            pending,
            listed_at,
            newest,
            nothing_new,
            refused,
        })
    }

    /// Keeps the newest of all that match, unless it is only pending, or a newer one was delivered.
    fn keep_newest(
        &self,
        files: &mut Vec<FileInfo>,
        pending: &[FileInfo],
        pattern: &FilePattern,
        state: &mut ProcessedFiles,
        skipped: &mut Skipped,
    ) -> Option<Rank> {
        let rank = |file: &FileInfo| Rank::of(file, self.order_by, pattern);
        let newest = files.iter().chain(pending).map(rank).max()?;
        let delivered = state
            .newest(pattern.glob())
            // Ranks of different orders are not comparable.
            .filter(|delivered| newest.order == delivered.order && newest < **delivered);
        let before = files.len();
        files.retain(|file| delivered.is_none() && rank(file) == newest);
        skipped.older += before - files.len();
        if let Some(delivered) = delivered {
            tracing::info!(
                newest = &*newest.name,
                delivered = &*delivered.name,
                "a newer file was delivered before"
            );
            return None;
        }
        // Also if it was delivered before `newest` was set.
        if pending.iter().any(|file| rank(file) == newest) {
            state.set_newest(pattern.glob(), newest, Timestamp::now());
            return None;
        }
        Some(newest)
    }

    /// Drops markers that match the pattern: they are not data.
    pub(super) fn without_markers(&self, mut files: Vec<FileInfo>) -> Vec<FileInfo> {
        if let Some(marker) = &self.marker {
            let markers: BTreeSet<String> = files.iter().map(|file| marker.beside(file)).collect();
            files.retain(|file| !markers.contains(&file.path));
        }
        files
    }

    pub(super) async fn with_marker(
        &self,
        storage: &dyn Storage,
        files: Vec<FileInfo>,
    ) -> Result<Vec<FileInfo>> {
        let Some(marker) = &self.marker else {
            return Ok(files);
        };
        let files = stream::iter(files).map(|file| async {
            let exists = storage.stat(&marker.beside(&file)).await?.is_some();
            if !exists {
                let marker = marker.of_name(file.file_name());
                tracing::warn!(file = %file.name, marker, "skipped a file whose marker does not exist yet");
            }
            Ok::<_, Error>(exists.then_some(file))
        });
        let files: Vec<Option<FileInfo>> = files.buffered(MAX_LOOKUPS).try_collect().await?;
        Ok(files.into_iter().flatten().collect())
    }

    /// Keeps the files that are unchanged for long enough by their time, or during a wait.
    async fn quiet(
        &self,
        storage: &dyn Storage,
        files: Vec<FileInfo>,
        now: Timestamp,
    ) -> Result<Vec<FileInfo>> {
        if self.quiet_period.is_zero() {
            return Ok(files);
        }
        let quiet = SignedDuration::try_from(self.quiet_period.saturating_add(self.clock_margin)).ok();
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
        tracing::info!(files = recent, quiet_period = ?self.quiet_period, "waiting to see whether files are still being written");
        tokio::time::sleep(self.quiet_period).await;
        let checked = stream::iter(files).map(|file| async {
            if is_old(&file) {
                return Ok::<_, Error>(Some(file));
            }
            let why = match storage.stat(&file.path).await? {
                Some(later) if file.is_unchanged(&later) => return Ok(Some(file)),
                Some(_) => "is still being written",
                None => "was deleted a moment ago",
            };
            tracing::warn!(file = %file.name, "skipped a file that {why}");
            Ok(None)
        });
        let checked: Vec<Option<FileInfo>> = checked.buffered(MAX_LOOKUPS).try_collect().await?;
        Ok(checked.into_iter().flatten().collect())
    }
}

#[derive(Debug, Default)]
struct Skipped {
    /// Pending ones included.
    read_before: usize,
    older: usize,
    without_marker: usize,
    /// Or deleted in between.
    being_written: usize,
}

impl Skipped {
    fn nothing_new(&self, found: usize, pattern: &FilePattern, state: &ProcessedFiles) -> Error {
        let reasons = [
            (self.read_before, "read before"),
            (self.older, "older than the newest"),
            (self.without_marker, "without a marker"),
            (self.being_written, "still being written"),
        ];
        let reasons = reasons.iter().filter(|(count, _)| *count > 0);
        let reasons: Vec<String> = reasons.map(|(count, why)| format!("{count} {why}")).collect();
        let mut error = Error::input(format!(
            "nothing new to read: of the {found} files that match `{}`, {}",
            pattern.as_written(),
            reasons.join(", ")
        ));
        let expected = "if this is expected, set `select.if_none_new: ignore`";
        if self.without_marker + self.being_written > 0 {
            error = error.with_hint(format!(
                "a later run reads incomplete files (`select.marker`, `select.quiet_period`); {expected}"
            ));
        } else if self.read_before > 0 {
            error = error.with_hint(format!(
                "{expected}; to read all files again: `select.incremental: false`"
            ));
        }
        if self.older > 0
            && let Some(newest) = state.newest(pattern.glob())
        {
            error = error.with_hint(format!(
                "`select.newest` skips files that are older than the newest delivered one, `{}`; to read one anyway, set \
                 `path` to its name",
                newest.name
            ));
        }
        error
    }
}

/// The error that no file matches; its hint shows what exists instead.
pub(super) async fn no_match(storage: &dyn Storage, pattern: &FilePattern) -> Error {
    let folder = format!("`{}`", storage.display_path(pattern.folder()));
    let path = pattern.as_written();
    let mut message = match pattern.is_pattern() {
        true => format!("no file matches `{path}` in {folder}"),
        false => format!("no file `{path}` in {folder}"),
    };
    if pattern.glob() != path && !pattern.has_dates() {
        message.push_str(&format!(", which is `{}` in this run", pattern.glob()));
    }
    let error = Error::input(message);
    let names = match storage.sibling_names(pattern).await {
        Ok(names) => names,
        Err(cause) => return error.with_hint(cause.chain()),
    };
    let name = pattern.glob().rsplit('/').next().unwrap_or_default();
    let name = name.replace(['*', '?', '[', ']'], "");
    let near = nearest(&name, names.iter().map(String::as_str));
    let near: Vec<String> = near.into_iter().map(|name| format!("`{name}`")).collect();
    error.with_hint(match (names.len(), near.is_empty()) {
        (0, _) => format!("{folder} contains no files"),
        (1, true) => format!("{folder} contains 1 file, with a different name"),
        (count, true) => format!("{folder} contains {count} files, none with a similar name"),
        (count, false) => {
            let files = if count == 1 { "file" } else { "files" };
            let near = near.join(", ");
            format!("{folder} contains {count} {files}; the most similar names are {near}")
        }
    })
}
