//! What is done with a file once every row of it is final, or once it is known that it cannot be read.

pub(super) mod finisher;

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::select::trigger_name;
use crate::config::{Problems, suggestion};
use crate::error::{Error, Result};
use crate::storage::{FileInfo, FilePattern, RenameOutcome, Storage};

/// What is done with a file all of whose rows are final.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnSuccess {
    /// It stays.
    #[default]
    Leave,
    /// It is removed.
    Delete,
    /// It is moved: a path relative to the file's folder, such as `archive/{name}-{run}`. `{name}` is the file's name,
    /// `{stem}` without its last ending, `{run}` the id of the run, `{date:%Y%m%d}` its day in UTC. A name that ends with
    /// `/` is a folder. If there is such a file already, the name gets `-2`, `-3` and so on.
    Move(String),
}

/// What is done with a file that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It stays.
    #[default]
    Leave,
    /// It is moved, as with `after`.
    Move(String),
}

impl<'de> Deserialize<'de> for OnSuccess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written {
            words: &["leave", "delete"],
        };
        Ok(match deserializer.deserialize_any(written)? {
            Value::Word("delete") => Self::Delete,
            Value::Word(_) => Self::Leave,
            Value::Move(template) => Self::Move(template),
        })
    }
}

impl<'de> Deserialize<'de> for OnFailure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(
            match deserializer.deserialize_any(Written { words: &["leave"] })? {
                Value::Word(_) => Self::Leave,
                Value::Move(template) => Self::Move(template),
            },
        )
    }
}

/// One of some words, or `{move: NAME}`. Not a derived enum, whose errors speak of variants.
struct Written {
    words: &'static [&'static str],
}

enum Value {
    Word(&'static str),
    Move(String),
}

/// What a move looks like.
const MOVE: &str = r#"`{move: "archive/{name}-{run}"}`"#;

impl<'de> Visitor<'de> for Written {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in self.words {
            write!(f, "`{word}` or ")?;
        }
        write!(f, "a name to move the file to, such as {MOVE}")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Value, E> {
        if let Some(known) = self.words.iter().find(|known| **known == word) {
            return Ok(Value::Word(known));
        }
        Err(E::custom(match word {
            "move" => format!("`move` needs the name that the file gets: {MOVE}"),
            "remove" | "rm" | "unlink" if self.words.contains(&"delete") => {
                format!("`{word}` is not one of the values; did you mean `delete`?")
            }
            _ => match suggestion(word, self.words.iter().copied().chain(["move"])) {
                Some(hint) => format!("`{word}` is not one of the values; {hint}"),
                None => format!("`{word}` is not one of the values"),
            },
        }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let expected = |key: &str| de::Error::custom(format!("`{key}` is not `move`; write {MOVE}"));
        match map.next_key::<String>()? {
            Some(key) if key == "move" => {}
            Some(key) => return Err(expected(&key)),
            None => return Err(expected("")),
        }
        let template = map.next_value()?;
        match map.next_key::<String>()? {
            Some(key) => Err(expected(&key)),
            None => Ok(Value::Move(template)),
        }
    }
}

/// Names that are tried, with a number behind them, before it is given up.
const MOST_TAKEN: u32 = 1_000;

impl OnSuccess {
    /// Notes what is wrong with the template of a name.
    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        if let Self::Move(template) = self {
            validate(template, problems);
        }
    }
}

impl OnFailure {
    /// Notes what is wrong with the template of a name.
    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        if let Self::Move(template) = self {
            validate(template, problems);
        }
    }
}

fn validate(template: &str, problems: &mut Problems<'_>) {
    if template.is_empty() {
        problems
            .at("move")
            .add("is empty; give a name such as `archive/{name}-{run}`");
        return;
    }
    if let Err(message) = fill(template, "name.csv", "run", Timestamp::UNIX_EPOCH) {
        problems.at("move").add(message);
        return;
    }
    if !template.ends_with('/') && !template.contains("{name}") && !template.contains("{stem}") {
        problems.at("move").add_with_hint(
            format!("`{template}` is one name for all files"),
            "put the file's own name into it: `{name}` or `{stem}`, or end it with `/`",
        );
    }
}

/// The name that a template stands for.
fn fill(template: &str, name: &str, run: &str, now: Timestamp) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((text, behind)) = rest.split_once('{') {
        filled.push_str(text);
        let Some((placeholder, behind)) = behind.split_once('}') else {
            return Err(format!("`{template}` has a `{{` without its `}}`"));
        };
        match placeholder {
            "name" => filled.push_str(name),
            "stem" => filled.push_str(name.rsplit_once('.').map_or(name, |(stem, _)| stem)),
            "run" => filled.push_str(run),
            other => match other.strip_prefix("date:") {
                Some(format) => filled.push_str(
                    &jiff::fmt::strtime::format(format, &now.to_zoned(TimeZone::UTC)).map_err(|error| {
                        format!("the form of the date in `{template}` cannot be read: {error}")
                    })?,
                ),
                None => {
                    return Err(format!(
                        "`{{{other}}}` in `{template}` is none of `{{name}}`, `{{stem}}`, `{{run}}`, `{{date:%Y%m%d}}`"
                    ));
                }
            },
        }
        rest = behind;
    }
    filled.push_str(rest);
    if filled.ends_with('/') {
        filled.push_str(name);
    }
    Ok(filled)
}

/// A path that is given relative to the folder of the file at `path`; one that begins with a slash is taken as it is.
pub(super) fn beside(path: &str, relative: &str) -> String {
    if relative.starts_with('/') {
        return relative.to_owned();
    }
    match path.rfind(['/', std::path::MAIN_SEPARATOR]) {
        Some(at) => format!("{}{relative}", &path[..=at]),
        None => relative.to_owned(),
    }
}

/// What is done with files, with all that it takes.
#[derive(Debug, Clone)]
pub(super) struct FileActions {
    pub(super) after: OnSuccess,
    pub(super) on_failure: OnFailure,
    pub(super) trigger: Option<String>,
    pub(super) run: std::sync::Arc<str>,
    pub(super) now: Timestamp,
}

impl FileActions {
    /// Sees to it that a file that is moved is not found again by the next run.
    ///
    /// # Errors
    /// The name that one of `files` would get is wanted too.
    pub(super) fn leads_away(&self, wanted: &FilePattern, files: &[FileInfo]) -> Result<()> {
        let after = match &self.after {
            OnSuccess::Move(template) => Some(("after", template)),
            OnSuccess::Leave | OnSuccess::Delete => None,
        };
        let on_failure = match &self.on_failure {
            OnFailure::Move(template) => Some(("on_failure", template)),
            OnFailure::Leave => None,
        };
        for (key, template) in after.into_iter().chain(on_failure) {
            for file in files {
                let filled = fill(template, file.file_name(), &self.run, self.now).map_err(Error::config)?;
                let to = beside(&file.name, &filled);
                if wanted.would_match(&to) {
                    return Err(Error::config(format!(
                        "`{key}.move` gives `{}` the name `{to}`, which `path` ({}) finds again",
                        file.name,
                        wanted.as_written()
                    ))
                    .with_hint("move files where the pattern does not look: to a folder beside, or to another ending"));
                }
            }
        }
        Ok(())
    }

    /// Does what is to be done with a file that was delivered. `true` if it is gone from its place, or is another file by
    /// now: then there is nothing more to be done with the one that was read.
    ///
    /// # Errors
    /// It could not be done; the file is where it was.
    pub(super) async fn delivered(&self, place: &dyn Storage, file: &FileInfo) -> Result<bool> {
        if self.after == OnSuccess::Leave {
            return Ok(false);
        }
        match place.stat(&file.path).await? {
            // By a run that ended before it could say so.
            None => {}
            Some(now) if !file.is_unchanged(&now) => {
                tracing::warn!(
                    file = %file.name,
                    "the file was overwritten while its rows were on their way: it stays, and the next run reads it"
                );
                return Ok(true);
            }
            Some(_) => match &self.after {
                OnSuccess::Leave => {}
                OnSuccess::Delete => place.delete(&file.path).await?,
                OnSuccess::Move(template) => {
                    let to = self.rename(place, &file.path, file.file_name(), template).await?;
                    tracing::info!(file = %file.name, to = %to, "moved");
                }
            },
        }
        let template = match &self.after {
            OnSuccess::Move(template) => Some(template),
            OnSuccess::Leave | OnSuccess::Delete => None,
        };
        self.trigger(place, file, template).await;
        Ok(true)
    }

    /// Does what is to be done with a file that cannot be read.
    pub(super) async fn failed(&self, place: &dyn Storage, file: &FileInfo) {
        let OnFailure::Move(template) = &self.on_failure else {
            return;
        };
        match place.stat(&file.path).await {
            Ok(Some(now)) if file.is_unchanged(&now) => {}
            // Whoever wrote it anew may have mended it.
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(file = %file.name, "a file that cannot be read stays: {}", error.chain());
                return;
            }
        }
        match self.rename(place, &file.path, file.file_name(), template).await {
            Ok(to) => {
                tracing::warn!(file = %file.name, to = %to, "a file that cannot be read was moved");
                self.trigger(place, file, Some(template)).await;
            }
            Err(error) => {
                tracing::warn!(file = %file.name, "a file that cannot be read stays: {}", error.chain());
            }
        }
    }

    /// Has the trigger of a file go where the file went, or removes it. Behind the file: a trigger without its file is
    /// nothing, a file without its trigger is stuck.
    async fn trigger(&self, place: &dyn Storage, file: &FileInfo, template: Option<&String>) {
        let Some(trigger) = &self.trigger else {
            return;
        };
        let name = trigger_name(trigger, file.file_name());
        let path = beside(&file.path, &name);
        let done = async {
            match template {
                Some(template) if place.stat(&path).await?.is_some() => {
                    self.rename(place, &path, &name, template).await.map(drop)
                }
                Some(_) => Ok(()),
                None => place.delete(&path).await,
            }
        };
        if let Err(error) = done.await {
            tracing::warn!(file = %name, "the trigger stays: {}", error.chain());
        }
    }

    /// Gives the file the name that the template stands for, or that with a number behind it.
    async fn rename(&self, place: &dyn Storage, path: &str, name: &str, template: &str) -> Result<String> {
        let filled = fill(template, name, &self.run, self.now).map_err(Error::config)?;
        let wanted = beside(path, &filled);
        for number in 1..=MOST_TAKEN {
            let to = match number {
                1 => wanted.clone(),
                number => format!("{wanted}-{number}"),
            };
            if place.rename(path, &to).await? == RenameOutcome::Renamed {
                return Ok(to);
            }
        }
        Err(Error::unexpected(format!(
            "`{wanted}` and {MOST_TAKEN} names like it are taken already"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_beside_the_file() {
        let now: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        let filled = |template| fill(template, "a.csv.pgp", "r1", now).unwrap();
        assert_eq!(filled("archive/{name}-{run}"), "archive/a.csv.pgp-r1");
        assert_eq!(filled("{date:%Y}/{stem}.done"), "2026/a.csv.done");
        assert_eq!(filled("failed/"), "failed/a.csv.pgp");
        assert_eq!(beside("/out/a.csv", "archive/a.csv"), "/out/archive/a.csv");
        assert_eq!(beside("/out/a.csv", "/old/a.csv"), "/old/a.csv");
        assert_eq!(beside("a.csv", "old/a.csv"), "old/a.csv");
    }

    #[test]
    fn values_that_are_none_are_told_what_to_write() {
        let error = |value: &str| {
            serde_saphyr::from_str::<OnSuccess>(value)
                .unwrap_err()
                .to_string()
        };
        assert!(
            error("move").contains(r#"{move: "archive/{name}-{run}"}"#),
            "{}",
            error("move")
        );
        assert!(error("remove").contains("did you mean `delete`"));
        assert!(error("delte").contains("`delete`"));
        assert!(error("{mov: a}").contains("`mov` is not `move`"));
        assert!(error("{move: a, delete: b}").contains("`delete` is not `move`"));
        for (text, after) in [
            ("leave", OnSuccess::Leave),
            ("delete", OnSuccess::Delete),
            ("{move: old/}", OnSuccess::Move("old/".to_owned())),
        ] {
            assert_eq!(serde_saphyr::from_str::<OnSuccess>(text).unwrap(), after);
        }
        assert!(serde_saphyr::from_str::<OnFailure>("delete").is_err());
        assert_eq!(
            serde_json::from_str::<OnFailure>(r#"{"move": "failed/"}"#).unwrap(),
            OnFailure::Move("failed/".to_owned())
        );
    }

    #[test]
    fn what_is_wrong_with_a_template_is_said() {
        for (template, said) in [
            ("", "is empty"),
            ("archive/{nam}", "none of"),
            ("archive/{name", "without its"),
            ("archive/old.csv", "one name for all"),
            ("archive/{date:%!}{name}", "cannot be read"),
        ] {
            let mut found = Vec::new();
            OnSuccess::Move(template.to_owned()).validate(&mut Problems::new(&mut found));
            assert!(found[0].to_string().contains(said), "{template}: {found:?}");
            assert_eq!(found[0].path, "move");
        }
    }
}
