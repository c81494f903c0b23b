//! Finds files on a server that lists one folder at a time.
//!
//! A link to a file is read. A link to a folder is followed where a part of the pattern names or matches it; `**` goes
//! through folders only, so that its way ends whatever links there are.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use glob::Pattern;
use jiff::Timestamp;

use super::FilePattern;
use super::pattern::MATCH_OPTIONS;
use super::pattern::is_pattern;
use crate::error::{Error, Result};

/// Looks that are under way at once.
const LOOKS: usize = 32;

/// Deeper than any export; a server could lead on for ever.
const DEEPEST: usize = 64;

/// Folders, as a server shows them. Paths are written with `/`, as patterns are.
#[async_trait]
pub(super) trait Folders: Sync {
    /// What is in a folder, without itself and the one above; `None` if there is no such folder.
    ///
    /// # Errors
    /// It cannot be listed.
    async fn entries(&self, folder: &str) -> Result<Option<Vec<Entry>>>;

    /// What a path leads to, links followed; `None` if nothing is there.
    ///
    /// # Errors
    /// It cannot be asked.
    async fn target(&self, path: &str) -> Result<Option<Entry>>;
}

/// What is in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// As far as it is Unicode.
    pub(super) name: String,
    pub(super) is_unicode: bool,
    pub(super) kind: Kind,
    /// Bytes.
    pub(super) size: Option<u64>,
    pub(super) modified: Option<Timestamp>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    /// A pipe, a socket, a device.
    Special,
    /// The server does not tell.
    Unknown,
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) path: String,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<Timestamp>,
    /// Whether the path is that of a link.
    pub(super) is_link: bool,
}

enum Step {
    /// A name as it is.
    Name(String),
    /// Names that match.
    Matching(Pattern),
    /// `**`: this folder and all below it.
    Folders,
}

/// Every file that a pattern stands for, in the order of paths.
///
/// # Errors
/// It is no valid pattern, a folder cannot be listed, or a name that may be meant is not valid Unicode.
pub(super) async fn find(wanted: &FilePattern, folders: &impl Folders) -> Result<Vec<Match>> {
    let text = wanted.glob();
    let steps = steps(text)?;
    let root = if text.starts_with('/') { "/" } else { "" };
    let mut found: BTreeMap<String, Entry> = BTreeMap::new();
    let mut seen: BTreeSet<(String, usize)> = BTreeSet::new();
    let mut ways = vec![(root.to_owned(), 0, 0)];
    while let Some((path, at, depth)) = ways.pop() {
        if !seen.insert((path.clone(), at)) {
            continue;
        }
        let is_last = at + 1 == steps.len();
        match steps.get(at) {
            None => {}
            Some(Step::Name(name)) if !is_last => ways.push((join(&path, name), at + 1, depth)),
            Some(Step::Name(name)) => {
                let path = join(&path, name);
                if wanted.matches_name(name)
                    && let Some(entry) = folders.target(&path).await?
                {
                    found.insert(path, entry);
                }
            }
            Some(Step::Matching(pattern)) => {
                for entry in folders.entries(&path).await?.unwrap_or_default() {
                    if !pattern.matches_with(&entry.name, MATCH_OPTIONS) {
                        continue;
                    }
                    // On the way only folders are meant, and at its end only files.
                    if matches!(entry.kind, Kind::File | Kind::Special) && !is_last {
                        continue;
                    }
                    let is_left_out = is_last && entry.kind == Kind::Folder;
                    if !entry.is_unicode && !is_left_out {
                        return Err(Error::input(format!(
                            "the folder `{path}` holds a file whose name is not valid Unicode: `{}`",
                            entry.name
                        ))
                        .with_hint(format!(
                            "have it renamed, or write a pattern that cannot mean it: nobody can tell whether `{text}` does"
                        )));
                    }
                    let below = join(&path, &entry.name);
                    if is_last {
                        if wanted.matches_name(&entry.name) {
                            found.insert(below, entry);
                        }
                        continue;
                    }
                    let kind = match entry.kind {
                        Kind::Link | Kind::Unknown => folders.target(&below).await?.map(|target| target.kind),
                        kind => Some(kind),
                    };
                    if kind == Some(Kind::Folder) {
                        ways.push((below, at + 1, depth + 1));
                    }
                }
            }
            Some(Step::Folders) => {
                if depth > DEEPEST {
                    return Err(Error::input(format!(
                        "`{text}` leads more than {DEEPEST} folders deep, to `{path}`"
                    ))
                    .with_hint("name more of the path before `**`"));
                }
                for entry in folders.entries(&path).await?.unwrap_or_default() {
                    if entry.name.starts_with('.') || !matches!(entry.kind, Kind::Folder | Kind::Unknown) {
                        continue;
                    }
                    if !entry.is_unicode {
                        tracing::warn!(
                            folder = path,
                            name = entry.name,
                            pattern = text,
                            "a folder whose name is not valid Unicode is not gone through"
                        );
                        continue;
                    }
                    let below = join(&path, &entry.name);
                    let is_folder = entry.kind == Kind::Folder
                        || folders
                            .target(&below)
                            .await?
                            .is_some_and(|target| target.kind == Kind::Folder);
                    if is_folder {
                        ways.push((below, at, depth + 1));
                    }
                }
                ways.push((path, at + 1, depth));
            }
        }
    }
    let found: Vec<Option<Match>> = stream::iter(found)
        .map(|(path, entry)| file(path, entry, text, folders))
        .buffered(LOOKS)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// What is found, if it is a file.
async fn file(path: String, entry: Entry, pattern: &str, folders: &impl Folders) -> Result<Option<Match>> {
    let is_link = entry.kind == Kind::Link;
    let entry = match entry.kind {
        Kind::Link | Kind::Unknown => match folders.target(&path).await? {
            Some(target) => target,
            // A link to the newest file dangles once that was moved away: no reason to read nothing at all.
            None => {
                tracing::warn!(
                    file = path,
                    pattern,
                    "a link that leads nowhere, or a file taken away just now, is left out"
                );
                return Ok(None);
            }
        },
        _ => entry,
    };
    match entry.kind {
        Kind::Folder => tracing::warn!(
            folder = path,
            pattern,
            "a folder matches the pattern and is left out"
        ),
        Kind::Special => tracing::warn!(
            path,
            pattern,
            "what matches the pattern is no file but a pipe, a socket or a device, and is left out"
        ),
        // What a server does not tell of even when asked is taken for what files are for.
        Kind::File | Kind::Link | Kind::Unknown => {
            return Ok(Some(Match {
                path,
                size: entry.size,
                modified: entry.modified,
                is_link,
            }));
        }
    }
    Ok(None)
}

fn steps(text: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for part in text.split('/').filter(|part| !matches!(*part, "" | ".")) {
        let step = if part == "**" {
            if matches!(steps.last(), Some(Step::Folders)) {
                continue;
            }
            Step::Folders
        } else if is_pattern(part) {
            Step::Matching(Pattern::new(part).map_err(|error| {
                Error::config(format!("`{text}` is not a valid pattern")).with_source(error)
            })?)
        } else {
            Step::Name(part.to_owned())
        };
        steps.push(step);
    }
    Ok(steps)
}

/// A name in a folder; the empty folder is the one that relative paths are relative to.
fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        "/" => format!("/{name}"),
        folder => format!("{folder}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths with what they are; links with where they lead.
    struct Tree(BTreeMap<&'static str, (Kind, &'static str)>);

    impl Tree {
        fn entry(&self, path: &str, name: &str, kind: Kind) -> Entry {
            Entry {
                name: name.to_owned(),
                is_unicode: !name.contains('\u{fffd}'),
                kind,
                size: (kind == Kind::File).then_some(path.len() as u64),
                modified: None,
            }
        }

        /// The path with the links in it followed.
        fn follow(&self, path: &str) -> String {
            let mut real = String::new();
            for part in path.split('/').filter(|part| !part.is_empty()) {
                real = format!("{real}/{part}");
                for _ in 0..8 {
                    match self.0.get(&*real) {
                        Some((Kind::Link, target)) => real = (*target).to_owned(),
                        _ => break,
                    }
                }
            }
            real
        }
    }

    #[async_trait]
    impl Folders for Tree {
        async fn entries(&self, folder: &str) -> Result<Option<Vec<Entry>>> {
            let real = self.follow(folder);
            if !real.is_empty() && self.0.get(&*real).is_none_or(|(kind, _)| *kind != Kind::Folder) {
                return Ok(None);
            }
            let below = self.0.iter().filter_map(|(path, (kind, _))| {
                let (parent, name) = path.rsplit_once('/')?;
                (parent == real).then(|| self.entry(path, name, *kind))
            });
            Ok(Some(below.collect()))
        }

        async fn target(&self, path: &str) -> Result<Option<Entry>> {
            let real = self.follow(path);
            let name = path.rsplit('/').next().unwrap();
            Ok(self
                .0
                .get(&*real)
                .filter(|(kind, _)| *kind != Kind::Link)
                .map(|(kind, _)| self.entry(&real, name, *kind)))
        }
    }

    fn tree() -> Tree {
        use Kind::*;
        Tree(BTreeMap::from([
            ("/out", (Folder, "")),
            ("/out/a.csv", (File, "")),
            ("/out/b.csv", (File, "")),
            ("/out/.hidden.csv", (File, "")),
            ("/out/latest.csv", (Link, "/out/b.csv")),
            ("/out/pipe.csv", (Special, "")),
            ("/out/folder.csv", (Folder, "")),
            ("/out/sub", (Folder, "")),
            ("/out/sub/c.csv", (File, "")),
            ("/out/sub/back", (Link, "/out")),
            ("/out/M\u{fffd}ller.txt", (File, "")),
            ("/other", (Link, "/out/sub")),
            ("/gone", (Folder, "")),
            ("/gone/x.csv", (Link, "/nowhere")),
        ]))
    }

    async fn paths(pattern: &str) -> Result<Vec<String>> {
        let found = find(&FilePattern::plain(pattern), &tree()).await?;
        Ok(found.into_iter().map(|found| found.path).collect())
    }

    #[tokio::test]
    async fn each_part_is_matched_on_its_own_and_only_files_are_taken() {
        for (pattern, expected) in [
            ("/out/*.csv", &["/out/a.csv", "/out/b.csv", "/out/latest.csv"][..]),
            ("/out/.*.csv", &["/out/.hidden.csv"]),
            ("/o*/c.csv", &["/other/c.csv"]),
            ("/o*/*/c.csv", &["/out/sub/c.csv"]),
            ("/other/*.csv", &["/other/c.csv"]),
            ("/**/c.csv", &["/out/sub/c.csv"]),
            ("/**/**/[ab].csv", &["/out/a.csv", "/out/b.csv"]),
            ("/out/sub/back/a*.csv", &["/out/sub/back/a.csv"]),
            ("/nowhere/*.csv", &[]),
            ("/out/a.csv/*", &[]),
        ] {
            assert_eq!(paths(pattern).await.unwrap(), expected, "{pattern}");
        }
        let found = find(&FilePattern::plain("/out/latest.*"), &tree()).await.unwrap();
        assert!(found[0].is_link);
        // Of the file that it leads to.
        assert_eq!(found[0].size, Some(10));
    }

    #[tokio::test]
    async fn what_cannot_be_told_is_an_error() {
        // A link that leads nowhere is left out.
        assert_eq!(paths("/gone/*.csv").await.unwrap(), [""; 0]);
        let error = paths("/out/M*.txt").await.unwrap_err();
        assert!(error.to_string().contains("not valid Unicode"), "{error}");
        assert!(paths("/out/[.csv").await.is_err());
    }
}
