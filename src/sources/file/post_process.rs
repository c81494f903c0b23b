//! Moves or deletes a file once every row of it is final, or once it cannot be read. Waits for that in order, while other
//! files are read.

use std::sync::Arc;

use futures::FutureExt as _;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::file_name::{NameTemplate, RunNames, beside};
use super::select::Rank;
use super::state::ProcessedFiles;
use crate::component::{Delivered, Position, Problems, Rejects};
use crate::error::{Error, Result};
use crate::storage::{FileInfo, FilePattern, RenameOutcome, Storage};
use crate::suggest::suggestion;

/// What to do with a file all of whose rows are final.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", try_from = "WordOrMove")]
#[schemars(!try_from)]
pub(crate) enum OnSuccess {
    /// Leaves it where it is.
    #[default]
    Keep,
    /// Deletes it.
    Delete,
    /// Moves it: a path relative to the folder of the file, such as `archive/{name}-{run}`. `{name}` is the name of the
    /// file, `{stem}` the name without its last extension, `{run}` the id of the run, `{date:%Y%m%d}` its day in UTC. A
    /// path that ends with `/` is a folder. If such a file exists, `-2`, `-3`, … is appended.
    Move(String),
}

/// What to do with a file that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", try_from = "WordOrMove")]
#[schemars(!try_from)]
pub(crate) enum OnFailure {
    /// Leaves it where it is.
    #[default]
    Keep,
    /// Moves it, as with `on_success`.
    Move(String),
}

/// Not a derived enum: its errors speak of variants.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a word such as `keep`, or `{move: \"archive/{name}-{run}\"}`"
)]
enum WordOrMove {
    Word(String),
    Move(Move),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    r#move: String,
}

impl WordOrMove {
    fn parse<T: Clone>(self, words: &[(&str, T)], to: fn(String) -> T) -> Result<T, String> {
        let word = match self {
            Self::Move(target) => return Ok(to(target.r#move)),
            Self::Word(word) => word,
        };
        let known = || words.iter().map(|(word, _)| *word);
        match (&*word, words.iter().find(|(known, _)| *known == word)) {
            (_, Some((_, action))) => Ok(action.clone()),
            ("move", None) => {
                Err(r#"`move` requires a new name: `{move: "archive/{name}-{run}"}`"#.to_owned())
            }
            ("remove" | "rm" | "unlink", None) if known().any(|word| word == "delete") => {
                Err(format!("unknown value `{word}`; did you mean `delete`?"))
            }
            (_, None) => {
                let hint = suggestion(&word, known().chain(["move"]));
                Err(format!("unknown value `{word}`; {}", hint.unwrap_or_default()))
            }
        }
    }
}

impl TryFrom<WordOrMove> for OnSuccess {
    type Error = String;

    fn try_from(value: WordOrMove) -> Result<Self, String> {
        value.parse(&[("keep", Self::Keep), ("delete", Self::Delete)], Self::Move)
    }
}

impl TryFrom<WordOrMove> for OnFailure {
    type Error = String;

    fn try_from(value: WordOrMove) -> Result<Self, String> {
        value.parse(&[("keep", Self::Keep)], Self::Move)
    }
}

/// What to do with files and their markers, in a run.
#[derive(Debug, Clone)]
pub(super) struct FileActions {
    deletes: bool,
    move_delivered: Option<NameTemplate>,
    move_failed: Option<NameTemplate>,
    marker: Option<NameTemplate>,
    pub(super) names: RunNames,
}

/// Numbers appended to a name that is taken.
const MAX_ATTEMPTS: u32 = 1_000;

impl FileActions {
    pub(super) fn parse(
        on_success: &OnSuccess,
        on_failure: &OnFailure,
        marker: Option<NameTemplate>,
        names: RunNames,
        problems: &mut Problems<'_>,
    ) -> Self {
        let mut parse = |key: &str, template: &str| match NameTemplate::target(template) {
            Ok(template) => Some(template),
            Err(error) => {
                let mut here = problems.at(key);
                here.at("move").add_with_hint(error.message, error.hint);
                None
            }
        };
        Self {
            deletes: *on_success == OnSuccess::Delete,
            move_delivered: match on_success {
                OnSuccess::Move(template) => parse("on_success", template),
                OnSuccess::Keep | OnSuccess::Delete => None,
            },
            move_failed: match on_failure {
                OnFailure::Move(template) => parse("on_failure", template),
                OnFailure::Keep => None,
            },
            marker,
            names,
        }
    }

    fn changes_delivered(&self) -> bool {
        self.deletes || self.move_delivered.is_some()
    }

    /// Checks that the next run does not find a moved file again.
    pub(super) fn check_targets(&self, pattern: &FilePattern, files: &[FileInfo]) -> Result<()> {
        for (key, template) in [
            ("on_success", &self.move_delivered),
            ("on_failure", &self.move_failed),
        ] {
            let Some(template) = template else { continue };
            for file in files {
                let to = beside(&file.name, &template.in_run(file.file_name(), &self.names));
                if pattern.would_match(&to) {
                    return Err(Error::config(format!(
                        "`{key}.move` renames `{}` to `{to}`, which `path` ({}) matches again",
                        file.name,
                        pattern.as_written()
                    ))
                    .with_hint(
                        "move files where the pattern does not match: to another folder or extension",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Processes a delivered file. `true` if it is no longer the file that was read, so nothing is left to do.
    async fn delivered(&self, storage: &dyn Storage, file: &FileInfo) -> Result<bool> {
        if !self.changes_delivered() {
            return Ok(false);
        }
        match storage.stat(&file.path).await? {
            // Moved or deleted by a run that ended before it could save that.
            None => {}
            Some(now) if !file.is_unchanged(&now) => {
                tracing::warn!(
                    file = %file.name,
                    "the file was overwritten while its rows were uploaded; it is kept, and the next run reads it"
                );
                return Ok(true);
            }
            Some(_) => match &self.move_delivered {
                None => storage.delete(&file.path).await?,
                Some(template) => {
                    let to = self
                        .rename(storage, &file.path, file.file_name(), template)
                        .await?;
                    tracing::info!(file = %file.name, to, "moved");
                }
            },
        }
        self.marker(storage, file, self.move_delivered.as_ref()).await;
        Ok(true)
    }

    pub(super) async fn failed(&self, storage: &dyn Storage, file: &FileInfo) {
        let Some(template) = &self.move_failed else {
            return;
        };
        let moved = async {
            match storage.stat(&file.path).await? {
                Some(now) if file.is_unchanged(&now) => {}
                // It was overwritten, perhaps with a valid one.
                _ => return Ok(None),
            }
            self.rename(storage, &file.path, file.file_name(), template)
                .await
                .map(Some)
        };
        match moved.await {
            Ok(None) => {}
            Ok(Some(to)) => {
                tracing::warn!(file = %file.name, to, "moved a file that cannot be read");
                self.marker(storage, file, Some(template)).await;
            }
            Err(error) => {
                tracing::warn!(file = %file.name, "cannot move a file that cannot be read: {}", error.chain());
            }
        }
    }

    /// Moves or deletes the marker after its file: a marker without a file is harmless, a file without its marker is never
    /// read.
    async fn marker(&self, storage: &dyn Storage, file: &FileInfo, template: Option<&NameTemplate>) {
        let Some(marker) = &self.marker else {
            return;
        };
        let (path, name) = (marker.beside(file), marker.of_name(file.file_name()));
        let done = async {
            match template {
                None => storage.delete(&path).await,
                Some(_) if storage.stat(&path).await?.is_none() => Ok(()),
                Some(template) => self.rename(storage, &path, &name, template).await.map(drop),
            }
        };
        if let Err(error) = done.await {
            tracing::warn!(file = name, "cannot move or delete the marker: {}", error.chain());
        }
    }

    async fn rename(
        &self,
        storage: &dyn Storage,
        path: &str,
        name: &str,
        template: &NameTemplate,
    ) -> Result<String> {
        let target = beside(path, &template.in_run(name, &self.names));
        for number in 1..=MAX_ATTEMPTS {
            let to = match number {
                1 => target.clone(),
                number => format!("{target}-{number}"),
            };
            if storage.rename(path, &to).await? == RenameOutcome::Renamed {
                return Ok(to);
            }
        }
        Err(Error::unexpected(format!(
            "`{target}` and {MAX_ATTEMPTS} numbered names like it exist already"
        )))
    }
}

pub(super) struct SentFile {
    pub(super) file: FileInfo,
    pub(super) hash: Option<String>,
    pub(super) rows: u64,
    pub(super) delivered: Delivered,
}

/// Files after which the ledger is written even if more are ready.
const MAX_READY: usize = 100;

/// Saves which files are final, and moves or deletes them.
#[derive(Debug)]
pub(super) struct PostProcessor {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) state: ProcessedFiles,
    pub(super) actions: FileActions,
    /// Files of earlier runs that are still to be moved or deleted.
    pub(super) pending: Vec<FileInfo>,
    pub(super) listed_at: Timestamp,
    /// With `select.newest`: the glob and the rank to save for the file of this run.
    pub(super) newest: Option<(String, Rank)>,
    /// Whether the state is saved and files are moved or deleted; not for standard input, nor in a run that only reads.
    pub(super) active: bool,
    pub(super) position: Position,
    pub(super) rejects: Rejects,
}

impl PostProcessor {
    pub(super) async fn run(mut self, mut sent: mpsc::UnboundedReceiver<SentFile>) -> Result<()> {
        if !self.active {
            while let Some(file) = sent.recv().await {
                file.delivered.await;
            }
            return Ok(());
        }
        let mut unsaved = self.process_pending().await;
        let mut next = None;
        loop {
            let Some(mut first) = (match next.take() {
                Some(file) => Some(file),
                None => sent.recv().await,
            }) else {
                break;
            };
            if !(&mut first.delivered).await {
                continue;
            }
            // The ledger is written once for all files that are ready.
            let mut ready = Vec::from_iter(self.note(first));
            while ready.len() < MAX_READY {
                let Ok(mut file) = sent.try_recv() else { break };
                match (&mut file.delivered).now_or_never() {
                    Some(true) => ready.extend(self.note(file)),
                    Some(false) => {}
                    None => {
                        next = Some(file);
                        break;
                    }
                }
            }
            if ready.is_empty() {
                continue;
            }
            self.save().await?;
            unsaved = false;
            for file in &ready {
                unsaved |= self.process(file).await;
            }
        }
        if unsaved {
            self.save().await?;
        }
        Ok(())
    }

    /// Processes the files of earlier runs, in a run that reads nothing.
    pub(super) async fn only_pending(mut self) -> Result<()> {
        if self.active && self.process_pending().await {
            self.save().await?;
        }
        Ok(())
    }

    async fn process_pending(&mut self) -> bool {
        let pending = std::mem::take(&mut self.pending);
        for file in &pending {
            self.process(file).await;
        }
        !pending.is_empty()
    }

    /// Notes that the rows of a file are final and that it is still to be processed; then returns the file.
    ///
    /// A file whose rows were all rejected, or with rejects in a run that has too many, counts as not read: rather the
    /// mapping is wrong than every row, and without the file its rows would be lost.
    fn note(&mut self, sent: SentFile) -> Option<FileInfo> {
        let SentFile { file, hash, rows, .. } = sent;
        let rejected = self.rejects.rows_of(&file.name);
        let why = match rejected {
            0 => None,
            _ if rejected >= rows => Some("every row of the file was rejected"),
            _ if self.rejects.exceed_limit() => {
                Some("more rows were rejected than `rejects.max_ratio` allows")
            }
            _ => None,
        };
        if let Some(why) = why {
            tracing::warn!(
                file = %file.name, rows, rejected,
                "{why}: the file is kept, and the next run reads it again"
            );
            return None;
        }
        let pending = self.actions.changes_delivered();
        self.state.insert(&file, hash, self.listed_at, pending);
        if let Some((glob, rank)) = self.newest.take() {
            self.state.set_newest(&glob, rank, self.listed_at);
        }
        Some(file)
    }

    async fn process(&mut self, file: &FileInfo) -> bool {
        match self.actions.delivered(&*self.storage, file).await {
            Ok(true) => {
                self.state.remove(&file.path);
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(
                    file = %file.name,
                    "the file was delivered, but cannot be moved or deleted; the next run does not read it, and tries again: {}",
                    error.chain()
                );
                for hint in error.hints() {
                    tracing::warn!("{hint}");
                }
                false
            }
        }
    }

    async fn save(&self) -> Result<()> {
        self.position.save(self.state.to_text()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_what_to_write() {
        assert!(serde_saphyr::from_str::<OnFailure>("delete").is_err());
        let example = r#"{move: "archive/{name}-{run}"}"#;
        for (text, expected) in [
            ("move", example),
            ("remove", "did you mean `delete`"),
            ("delte", "`delete`"),
            ("{mov: a}", example),
            ("{move: a, delete: b}", example),
        ] {
            let error = serde_saphyr::from_str::<OnSuccess>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
