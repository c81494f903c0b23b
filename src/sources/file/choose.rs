//! Which of the files that a place has are read, and in which order.
//!
//! ```text
//! list ──▶ has its trigger? ──▶ newest only? ──▶ read before? ──▶ within the limits? ──▶ settled? ──▶ in order
//! ```
//!
//! A file that is left out is told of, with the reason, for a file that is silently not read is leavers missed.

use std::cmp::Reverse;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use super::memory::{Knowledge, Memory};
use super::names::Wanted;
use super::place::{Found, Place};
use crate::config::nearest;
use crate::error::{Error, Result};

/// Which of the files that match are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// All of them.
    #[default]
    All,
    /// The last one, in the order of `order`.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
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
pub(super) struct Choice {
    pub(super) take: Take,
    pub(super) read_again: ReadAgain,
    pub(super) order: Order,
    /// The name of the file that tells that another is complete, such as `{name}.done`.
    pub(super) trigger: Option<String>,
    pub(super) settle: Duration,
    pub(super) max_files: usize,
    pub(super) max_file_bytes: Option<u64>,
    pub(super) if_missing: IfNone,
    pub(super) if_nothing_new: IfNone,
}

/// What was chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    /// To be read, in order.
    pub(super) files: Vec<Found>,
    /// Done with, but for what is to happen to them afterwards.
    pub(super) pending: Vec<Found>,
    /// When they were listed.
    pub(super) listed: Timestamp,
    /// Whether nothing is to be read because all there is was read by earlier runs.
    pub(super) nothing_new: bool,
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

/// Chooses, given what earlier runs have read.
///
/// # Errors
/// The place cannot be asked; nothing is there, where that is an error; there is more than the limits allow.
pub(super) async fn choose(
    place: &dyn Place,
    wanted: &Wanted,
    choice: &Choice,
    memory: &mut Memory,
) -> Result<Chosen> {
    let listed = Timestamp::now();
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
    memory.saw(&files, listed);
    if files.is_empty() {
        nothing(choice.if_missing, nothing_there(place, wanted).await)?;
    }
    let found = files.len();
    let mut pending = Vec::new();
    files.retain(|file| {
        let is_pending = memory.knows(file) == Knowledge::Pending;
        if is_pending {
            pending.push(file.clone());
        }
        !is_pending
    });
    let mut files = with_trigger(place, choice, files).await?;
    sort(&mut files, choice.order, wanted);
    if choice.take == Take::Newest {
        files.drain(..files.len().saturating_sub(1));
    }
    let mut old = pending.len();
    files.retain(|file| {
        let read = memory.knows(file) == Knowledge::Read && choice.read_again == ReadAgain::Changed;
        old += usize::from(read);
        !read
    });
    // Files that wait for their trigger, or are still being written, are none that were read.
    let nothing_new = files.is_empty() && old > 0;
    limits(choice, &files)?;
    let files = settled(place, choice.settle, files, listed).await?;
    tracing::info!(
        path = wanted.written(),
        found,
        read_before = old + pending.len(),
        chosen = files.len(),
        "looked for files"
    );
    // What is still to be moved must not wait for a new file.
    if files.is_empty() && found > 0 && pending.is_empty() {
        let error = Error::input(format!(
            "there is nothing new to read: of the {found} files that match `{}`, {} were read before",
            wanted.written(),
            old
        ))
        .with_hint("if that is as it should be, set `if_nothing_new: ignore`; to read them all the same: `read_again: always`");
        nothing(choice.if_nothing_new, error)?;
    }
    Ok(Chosen {
        nothing_new,
        files,
        pending,
        listed,
    })
}

fn nothing(what: IfNone, error: Error) -> Result<()> {
    match what {
        IfNone::Error => return Err(error),
        IfNone::Warn => tracing::warn!("{error}"),
        IfNone::Ignore => tracing::info!("{error}"),
    }
    Ok(())
}

/// Nothing read means leavers missed without a word, so no file is an error that shows what there is instead.
async fn nothing_there(place: &dyn Place, wanted: &Wanted) -> Error {
    let folder = format!("`{}`", place.shown(wanted.folder()));
    let mut message = if wanted.is_pattern() {
        format!("no file matches `{}` in {folder}", wanted.written())
    } else {
        format!("there is no file `{}` in {folder}", wanted.written())
    };
    if wanted.text() != wanted.written() && !wanted.has_dates() {
        message.push_str(&format!(", which is `{}` in this run", wanted.text()));
    }
    let error = Error::input(message);
    let names = match place.siblings(wanted).await {
        Ok(names) => names,
        Err(cause) => return error.with_hint(cause.chain()),
    };
    let name = wanted.text().rsplit('/').next().unwrap_or_default();
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

/// Those that have their trigger. Triggers that match the pattern themselves are no data.
async fn with_trigger(place: &dyn Place, choice: &Choice, mut files: Vec<Found>) -> Result<Vec<Found>> {
    let Some(template) = &choice.trigger else {
        return Ok(files);
    };
    let triggers: std::collections::BTreeSet<String> = files
        .iter()
        .map(|file| super::after::beside(&file.path, &trigger_name(template, file.file_name())))
        .collect();
    files.retain(|file| !triggers.contains(&file.path));
    let looked: Vec<(Found, bool)> = stream::iter(files)
        .map(|file| async {
            let path = super::after::beside(&file.path, &trigger_name(template, file.file_name()));
            let there = place.look(&path).await?.is_some();
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

fn sort(files: &mut [Found], order: Order, wanted: &Wanted) {
    files.sort_by(|a, b| a.name.cmp(&b.name));
    match order {
        Order::Name => {}
        Order::Time => files.sort_by_key(|file| file.modified),
        Order::Date => files.sort_by_key(|file| wanted.date_of(file.file_name())),
    }
}

fn limits(choice: &Choice, files: &[Found]) -> Result<()> {
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
    let mut large: Vec<&Found> = files
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

/// Those that nobody writes any more: not changed for so long, or not while we wait for so long.
async fn settled(
    place: &dyn Place,
    settle: Duration,
    files: Vec<Found>,
    now: Timestamp,
) -> Result<Vec<Found>> {
    let Ok(settle_by) = SignedDuration::try_from(settle) else {
        return Ok(files);
    };
    if settle.is_zero() {
        return Ok(files);
    }
    // A time in the future is a clock that goes ahead, and tells nothing.
    let is_old = |file: &Found| {
        file.modified.is_some_and(|modified| {
            modified <= now && modified.checked_add(settle_by).is_ok_and(|until| until <= now)
        })
    };
    if files.iter().all(is_old) {
        return Ok(files);
    }
    let fresh = files.iter().filter(|file| !is_old(file)).count();
    tracing::info!(files = fresh, settle = ?settle, "waiting to see whether files are still being written");
    tokio::time::sleep(settle).await;
    let looked: Vec<(Found, Option<Found>)> = stream::iter(files)
        .map(|file| async {
            let later = if is_old(&file) {
                Some(file.clone())
            } else {
                place.look(&file.path).await?
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::place::local::Local;
    use super::*;

    fn all() -> Choice {
        Choice {
            take: Take::All,
            read_again: ReadAgain::Changed,
            order: Order::Name,
            trigger: None,
            settle: Duration::ZERO,
            max_files: 10,
            max_file_bytes: None,
            if_missing: IfNone::Error,
            if_nothing_new: IfNone::Error,
        }
    }

    fn write(folder: &Path, names: &[&str]) {
        for name in names {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, name).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600))
                .unwrap();
        }
    }

    async fn chosen(folder: &Path, wanted: &Wanted, choice: &Choice) -> Result<Vec<String>> {
        let place = Local::new(Arc::new(folder.to_owned()));
        let chosen = choose(&place, wanted, choice, &mut Memory::default()).await?;
        Ok(chosen.files.iter().map(|file| file.name.to_string()).collect())
    }

    #[tokio::test]
    async fn nothing_there_shows_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &["exports/terminations-2026.txt", "exports/other.bin"],
        );
        let missing = |path: &'static str| {
            let folder = folder.path();
            async move { chosen(folder, &Wanted::plain(path), &all()).await.unwrap_err() }
        };
        let error = missing("exports/terminations-*.csv").await;
        let message = error.to_string();
        assert!(
            message.contains("exports/terminations-*.csv")
                && message.contains(&*folder.path().to_string_lossy()),
            "{message}"
        );
        let hints: Vec<&str> = error.hints().collect();
        assert!(
            hints[0].contains("2 files") && hints[0].contains("`terminations-2026.txt`"),
            "{hints:?}"
        );
        let error = missing("nowhere/a.csv").await;
        assert!(error.hints().next().unwrap().contains("nowhere"), "{error:?}");
        let error = missing("exports").await;
        assert!(
            error.hints().next().unwrap().contains("exports/*.csv"),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn the_newest_is_the_one_of_the_last_date_not_of_the_last_name() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &["a-12312025.csv", "a-01022026.csv", "a-02012025.csv"],
        );
        let zone = jiff::tz::TimeZone::UTC;
        let wanted = Wanted::new(
            "a-{any_date:%m%d%Y}.csv",
            Timestamp::now(),
            &zone,
            SignedDuration::ZERO,
        )
        .unwrap();
        let mut choice = Choice {
            order: Order::Date,
            ..all()
        };
        let found = chosen(folder.path(), &wanted, &choice).await.unwrap();
        assert_eq!(found, ["a-02012025.csv", "a-12312025.csv", "a-01022026.csv"]);
        choice.take = Take::Newest;
        assert_eq!(
            chosen(folder.path(), &wanted, &choice).await.unwrap(),
            ["a-01022026.csv"]
        );
        choice.order = Order::Name;
        assert_eq!(
            chosen(folder.path(), &wanted, &choice).await.unwrap(),
            ["a-12312025.csv"]
        );
    }

    #[tokio::test]
    async fn files_wait_for_their_trigger_which_is_no_data() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["a.csv", "a.csv.done", "b.csv", "c.csv.part"]);
        let mut choice = Choice {
            trigger: Some("{name}.done".into()),
            ..all()
        };
        assert_eq!(
            chosen(folder.path(), &Wanted::plain("*"), &choice).await.unwrap(),
            ["a.csv"]
        );
        choice.trigger = Some("{stem}.ok".into());
        let error = chosen(folder.path(), &Wanted::plain("*.csv"), &choice)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("nothing new"), "{error}");
    }

    #[tokio::test]
    async fn limits_are_kept_before_anything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["a.csv", "b.csv", "long name.csv"]);
        let mut choice = Choice {
            max_files: 2,
            ..all()
        };
        let error = chosen(folder.path(), &Wanted::plain("*.csv"), &choice)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("`max_files` is 2"), "{error}");
        choice.max_files = 3;
        choice.max_file_bytes = Some(10);
        let error = chosen(folder.path(), &Wanted::plain("*.csv"), &choice)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("`long name.csv`"), "{error}");
        choice.max_file_bytes = Some(13);
        assert_eq!(
            chosen(folder.path(), &Wanted::plain("*.csv"), &choice)
                .await
                .unwrap()
                .len(),
            3
        );
    }

    #[tokio::test]
    async fn a_file_that_grows_is_left_alone_and_one_that_stays_is_read() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["old.csv"]);
        for name in ["grows.csv", "fresh.csv"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let choice = Choice {
            settle: Duration::from_millis(300),
            ..all()
        };
        let (done, writer) = (
            Arc::new(std::sync::atomic::AtomicBool::new(false)),
            folder.path().join("grows.csv"),
        );
        let stop = done.clone();
        let writing = std::thread::spawn(move || {
            use std::io::Write as _;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut file = std::fs::File::options().append(true).open(&writer).unwrap();
                file.write_all(b"more\n").unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let found = chosen(folder.path(), &Wanted::plain("*.csv"), &choice).await;
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        writing.join().unwrap();
        assert_eq!(found.unwrap(), ["fresh.csv", "old.csv"]);
    }

    #[tokio::test]
    async fn a_time_in_the_future_is_looked_at_again_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["a.csv"]);
        let file = std::fs::File::options()
            .write(true)
            .open(folder.path().join("a.csv"))
            .unwrap();
        file.set_modified(std::time::SystemTime::now() + Duration::from_secs(3600))
            .unwrap();
        let choice = Choice {
            settle: Duration::from_millis(1),
            ..all()
        };
        assert_eq!(
            chosen(folder.path(), &Wanted::plain("*.csv"), &choice)
                .await
                .unwrap(),
            ["a.csv"]
        );
    }
}
