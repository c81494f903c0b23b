//! Which of the files that a place has are read, and in which order.
//!
//! ```text
//! list ──▶ has its trigger? ──▶ newest only? ──▶ read before? ──▶ within the limits? ──▶ settled? ──▶ in order
//! ```
//!
//! The newest is the newest of all that match, those included that are still to be moved, and it is never older than the
//! newest that was delivered: an old snapshot must not go out after a newer one.
//!
//! A file that is left out is told of, with the reason, for a file that is silently not read is leavers missed.

mod newest;
mod quiet_period;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use newest::Rank;
pub(super) use quiet_period::QuietPeriod;

use super::state::{FileStatus, ProcessedFiles};
use crate::config::nearest;
use crate::error::{Error, Result};
use crate::storage::{FileInfo, FilePattern, Storage};

/// Which of the files that match are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// All of them.
    #[default]
    All,
    /// The last one of all that match, in the order of `order`; never one that is older than what was delivered.
    Newest,
}

/// Whether a file is read that was read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadAgain {
    /// Only if its size, time or version has changed since.
    Changed,
    /// Always.
    Always,
}

/// The order in which files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By name.
    Name,
    /// By the time of the last change, then by name.
    Time,
    /// By the date in the name, then by name.
    Date,
}

/// What it means that there is nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfNone {
    /// The run fails.
    Error,
    /// A warning, and the run goes on without rows of this source.
    Warn,
    /// Nothing.
    Ignore,
}

/// How files are chosen.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    pub(super) take: Take,
    pub(super) read_again: ReadAgain,
    pub(super) order: Order,
    /// The name of the file that tells that another is complete, such as `{name}.done`.
    pub(super) trigger: Option<String>,
    pub(super) settle: QuietPeriod,
    pub(super) max_files: usize,
    pub(super) max_file_bytes: Option<u64>,
    pub(super) if_missing: IfNone,
    pub(super) if_nothing_new: IfNone,
}

/// What was chosen.
#[derive(Debug)]
pub(super) struct Selected {
    /// To be read, in order.
    pub(super) files: Vec<FileInfo>,
    /// Done with, but for what is to happen to them afterwards.
    pub(super) pending: Vec<FileInfo>,
    /// When they were listed.
    pub(super) listed: Timestamp,
    /// What the newest of `files` is to be remembered as, once it is delivered, if only the newest are taken.
    pub(super) newest: Option<Rank>,
    /// Whether nothing is to be read because all there is was read by earlier runs.
    pub(super) nothing_new: bool,
    /// That there is nothing new, where that is an error: one that comes after what is to be done with `pending`.
    pub(super) refused: Option<Error>,
}

/// Lookups under way together.
const LOOKS: usize = 16;

/// Names of files shown in a message.
const SHOWN: usize = 5;

/// Endings of files that are still being written, by the habit of many programs.
const UNFINISHED: [&str; 6] = [".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload"];

/// The name of the trigger for a file of this name: `{name}` is the file's, `{stem}` without its last ending.
pub(super) fn trigger_name(template: &str, name: &str) -> String {
    template
        .replace("{name}", name)
        .replace("{stem}", name.rsplit_once('.').map_or(name, |(stem, _)| stem))
}

/// The files that match, without those that are still being written, by their names.
///
/// # Errors
/// The place cannot be asked.
pub(super) async fn list(place: &dyn Storage, wanted: &FilePattern) -> Result<Vec<FileInfo>> {
    let mut files = place.list(wanted).await?;
    if wanted.is_pattern() {
        files.retain(|file| {
            let unfinished = UNFINISHED
                .iter()
                .any(|ending| file.file_name().to_lowercase().ends_with(ending));
            if unfinished {
                tracing::warn!(file = %file.name, "a file that is still being written, by its name, is left out");
            }
            !unfinished
        });
    }
    Ok(files)
}

/// Chooses, given what earlier runs have read.
///
/// # Errors
/// The place cannot be asked; nothing is there, where that is an error; there is more than the limits allow.
pub(super) async fn choose(
    place: &dyn Storage,
    wanted: &FilePattern,
    choice: &Selection,
    memory: &mut ProcessedFiles,
) -> Result<Selected> {
    let listed = Timestamp::now();
    let files = list(place, wanted).await?;
    memory.saw(&files, wanted.glob(), listed);
    if files.is_empty() {
        nothing(choice.if_missing, nothing_there(place, wanted).await).map_or(Ok(()), Err)?;
    }
    let files = without_triggers(choice, files);
    let mut tally = Tally {
        found: files.len(),
        ..Tally::default()
    };
    let (pending, files): (Vec<FileInfo>, Vec<FileInfo>) = files
        .into_iter()
        .partition(|file| memory.knows(file) == FileStatus::Pending);
    tally.read = pending.len();
    let mut files = with_trigger(place, choice, files).await?;
    tally.waiting = tally.found - pending.len() - files.len();
    let mut newest = None;
    if choice.take == Take::Newest {
        newest = only_newest(&mut files, &pending, choice, wanted, memory, &mut tally);
    }
    files.retain(|file| {
        let read = memory.knows(file) == FileStatus::Read && choice.read_again == ReadAgain::Changed;
        tally.read += usize::from(read);
        !read
    });
    // Files that wait for their trigger, or are still being written, are none that were read.
    let nothing_new = files.is_empty() && tally.read + tally.older > 0;
    files.sort_by_cached_key(|file| Rank::of(file, choice.order, wanted));
    limits(choice, &files)?;
    let ready = files.len();
    let files = quiet_period::without_unfinished(place, choice.settle, files, listed).await?;
    tally.unsettled = ready - files.len();
    tracing::info!(
        path = wanted.as_written(),
        found = tally.found,
        read_before = tally.read,
        older = tally.older,
        held_back = tally.waiting + tally.unsettled,
        to_be_moved = pending.len(),
        chosen = files.len(),
        "looked for files"
    );
    let refused = match files.is_empty() && tally.found > 0 {
        true => nothing(choice.if_nothing_new, tally.nothing_new(wanted, memory)),
        false => None,
    };
    Ok(Selected {
        nothing_new,
        newest,
        files,
        pending,
        listed,
        refused,
    })
}

/// Leaves the newest of all that match, if it is to be read: not if it is only still to be moved, and not if a newer one
/// was delivered.
fn only_newest(
    files: &mut Vec<FileInfo>,
    pending: &[FileInfo],
    choice: &Selection,
    wanted: &FilePattern,
    memory: &mut ProcessedFiles,
    tally: &mut Tally,
) -> Option<Rank> {
    let rank = |file: &FileInfo| Rank::of(file, choice.order, wanted);
    let newest = files.iter().chain(pending).map(rank).max()?;
    let delivered = memory
        .newest(wanted.glob())
        .filter(|known| newest.is_before(known));
    let takes = |file: &FileInfo| delivered.is_none() && rank(file) == newest;
    files.retain(|file| {
        let taken = takes(file);
        if !taken {
            tally.older += 1;
            tracing::debug!(file = %file.name, "a file that is older than the newest is left alone");
        }
        taken
    });
    if let Some(delivered) = delivered {
        tracing::info!(newest = %newest.name(), delivered = %delivered.name(), "a newer file was delivered before");
        return None;
    }
    // Also what was delivered before it was to be remembered.
    if pending.iter().any(|file| rank(file) == newest) {
        memory.delivered(wanted.glob(), newest, Timestamp::now());
        return None;
    }
    Some(newest)
}

/// What became of the files that match.
#[derive(Debug, Default)]
struct Tally {
    found: usize,
    /// Read before, those included that are still to be moved.
    read: usize,
    /// Older than the newest.
    older: usize,
    /// Without their trigger.
    waiting: usize,
    /// Still being written, or gone.
    unsettled: usize,
}

impl Tally {
    /// That none of them is to be read, and why.
    fn nothing_new(&self, wanted: &FilePattern, memory: &ProcessedFiles) -> Error {
        let parts = [
            (self.read, "read before"),
            (self.older, "older than the newest"),
            (self.waiting, "without their trigger"),
            (self.unsettled, "still being written"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let mut error = Error::input(format!(
            "there is nothing new to read: of the {} files that match `{}`, {}",
            self.found,
            wanted.as_written(),
            parts.join(", ")
        ));
        if self.waiting + self.unsettled > 0 {
            error = error.with_hint(
                "files that `trigger` or `settle` holds back are read by a later run, once they are complete; if that is as it should be, set `if_nothing_new: ignore`",
            );
        } else if self.read > 0 {
            error = error.with_hint("if that is as it should be, set `if_nothing_new: ignore`; to read them all the same: `read_again: always`");
        }
        if self.older > 0
            && let Some(newest) = memory.newest(wanted.glob())
        {
            error = error.with_hint(format!(
                "`take: newest` never takes a file that is older than the newest that was delivered, `{}`; to read one all the same, give its own name as `path`",
                newest.name()
            ));
        }
        error
    }
}

/// Says it as it is set; gives it back where it is an error.
fn nothing(what: IfNone, error: Error) -> Option<Error> {
    match what {
        IfNone::Error => return Some(error),
        IfNone::Warn => {
            tracing::warn!("{error}");
            for hint in error.hints() {
                tracing::info!("{hint}");
            }
        }
        IfNone::Ignore => tracing::info!("{error}"),
    }
    None
}

/// Nothing read means leavers missed without a word, so no file is an error that shows what there is instead.
pub(super) async fn nothing_there(place: &dyn Storage, wanted: &FilePattern) -> Error {
    let folder = format!("`{}`", place.display_path(wanted.folder()));
    let mut message = if wanted.is_pattern() {
        format!("no file matches `{}` in {folder}", wanted.as_written())
    } else {
        format!("there is no file `{}` in {folder}", wanted.as_written())
    };
    if wanted.glob() != wanted.as_written() && !wanted.has_dates() {
        message.push_str(&format!(", which is `{}` in this run", wanted.glob()));
    }
    let error = Error::input(message);
    let names = match place.sibling_names(wanted).await {
        Ok(names) => names,
        Err(cause) => return error.with_hint(cause.chain()),
    };
    let name = wanted.glob().rsplit('/').next().unwrap_or_default();
    let near = nearest(
        &name.replace(['*', '?', '[', ']'], ""),
        names.iter().map(String::as_str),
    );
    let near: Vec<String> = near.into_iter().map(|name| format!("`{name}`")).collect();
    error.with_hint(match (names.len(), near.is_empty()) {
        (0, _) => format!("{folder} holds no files"),
        (count, true) => format!("{folder} holds {count} files, none of a similar name"),
        (count, false) => format!(
            "{folder} holds {count} files; the most similar names are {}",
            near.join(", ")
        ),
    })
}

/// Without triggers that match the pattern themselves: they are no data.
pub(super) fn without_triggers(choice: &Selection, mut files: Vec<FileInfo>) -> Vec<FileInfo> {
    let Some(template) = &choice.trigger else {
        return files;
    };
    let triggers: std::collections::BTreeSet<String> = files
        .iter()
        .map(|file| super::post_process::beside(&file.path, &trigger_name(template, file.file_name())))
        .collect();
    files.retain(|file| !triggers.contains(&file.path));
    files
}

/// Those that have their trigger.
pub(super) async fn with_trigger(
    place: &dyn Storage,
    choice: &Selection,
    files: Vec<FileInfo>,
) -> Result<Vec<FileInfo>> {
    let Some(template) = &choice.trigger else {
        return Ok(files);
    };
    let looked: Vec<(FileInfo, bool)> = stream::iter(files)
        .map(|file| async {
            let path = super::post_process::beside(&file.path, &trigger_name(template, file.file_name()));
            let there = place.stat(&path).await?.is_some();
            Ok::<_, Error>((file, there))
        })
        .buffered(LOOKS)
        .try_collect()
        .await?;
    let mut ready = Vec::new();
    for (file, there) in looked {
        if there {
            ready.push(file);
        } else {
            tracing::warn!(
                file = %file.name, trigger = %trigger_name(template, file.file_name()),
                "a file whose trigger is not there yet is left alone"
            );
        }
    }
    Ok(ready)
}

fn limits(choice: &Selection, files: &[FileInfo]) -> Result<()> {
    if files.len() > choice.max_files {
        return Err(Error::input(format!(
            "there are {} files to read, and `max_files` is {}",
            files.len(),
            choice.max_files
        ))
        .with_hint("look at the folder: if they are all meant, set a higher `max_files`; nothing was read"));
    }
    let Some(most) = choice.max_file_bytes else {
        return Ok(());
    };
    let mut large: Vec<&FileInfo> = files
        .iter()
        .filter(|file| file.size.is_some_and(|size| size > most))
        .collect();
    if large.is_empty() {
        return Ok(());
    }
    large.sort_by_key(|file| Reverse(file.size));
    let shown: Vec<String> = large
        .iter()
        .take(SHOWN)
        .map(|file| {
            format!(
                "`{}` ({})",
                file.name,
                bytesize::ByteSize(file.size.unwrap_or_default())
            )
        })
        .collect();
    Err(Error::input(format!(
        "{} of the files to read are larger than `max_file_bytes` ({}): {}{}",
        large.len(),
        bytesize::ByteSize(most),
        shown.join(", "),
        if large.len() > SHOWN { ", …" } else { "" }
    ))
    .with_hint("look at them: if they are meant, set a higher `max_file_bytes`; nothing was read"))
}
