//! Lists the files that match a pattern, on a storage that lists one folder at a time.
//!
//! Each component of the pattern is matched on its own. Links to files are read, once under one name. Links to folders are
//! followed where a component names or matches them; `**` follows them on the local disk only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use glob::Pattern;
use jiff::Timestamp;

use super::pattern::{MATCH_OPTIONS, is_pattern};
use super::{FileInfo, FilePattern};
use crate::error::{Error, Result};

/// Requests in flight.
const MAX_CONCURRENT: usize = 32;

/// Upper bound of the depth below `**`.
const MAX_DEPTH: usize = 64;

/// Access to folders. Paths use `/`, as patterns do; relative ones are relative to where the storage starts.
#[async_trait]
pub(super) trait Folders: Sync {
    /// The entries of a folder, without itself and its parent; `None` if it is not a folder.
    ///
    /// # Errors
    /// It cannot be listed.
    async fn entries(&self, folder: &str) -> Result<Option<Vec<Entry>>>;

    /// The entry at a path, links followed; `None` if it does not exist.
    ///
    /// # Errors
    /// It cannot be read.
    async fn target(&self, path: &str) -> Result<Option<Entry>>;

    /// The absolute path, links resolved.
    ///
    /// # Errors
    /// It cannot be resolved.
    async fn real_path(&self, path: &str) -> Result<String>;

    /// Resolving a path is cheap: every match is resolved and checked with [`require_inside`](Self::require_inside), and
    /// `**` follows links.
    fn resolves_all(&self) -> bool {
        false
    }

    /// Rejects what lies outside the folder of the pattern.
    ///
    /// # Errors
    /// It does.
    fn require_inside(&self, _path: &str, _real_path: &str) -> Result<()> {
        Ok(())
    }

    /// The path for requests to the storage.
    fn storage_path(&self, path: &str) -> String;
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Lossy where it is not Unicode.
    pub(super) name: String,
    pub(super) is_unicode: bool,
    pub(super) kind: Kind,
    /// Bytes.
    pub(super) size: Option<u64>,
    pub(super) modified: Option<Timestamp>,
}

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    /// A pipe, a socket or a device.
    #[cfg_attr(
        not(feature = "sftp"),
        expect(dead_code, reason = "only SFTP servers report it")
    )]
    Special,
    /// Not reported.
    Unknown,
}

/// A component of a pattern.
enum Component {
    /// A literal name.
    Name(String),
    /// Wildcards.
    Wildcards(Pattern),
    /// `**`: this folder and all below it.
    AnyDepth,
}

/// The files that match, in the order of their names.
///
/// # Errors
/// The pattern is invalid, a folder cannot be listed, a link leads out of the folder of the pattern on a storage that
/// forbids it, or a name that may match is not valid Unicode.
pub(super) async fn list(pattern: &FilePattern, folders: &impl Folders) -> Result<Vec<FileInfo>> {
    let text = pattern.glob();
    // A file with brackets in its name. Some servers reject requests with a `*`.
    if (!pattern.is_pattern() || text.contains('['))
        && let Some(entry) = folders.target(text).await?
    {
        match entry.kind {
            Kind::Folder if pattern.is_pattern() => {}
            Kind::Folder => {
                let name = pattern.as_written().trim_end_matches(['/', '\\']);
                return Err(Error::input(format!("`{text}` is a folder, not a file"))
                    .with_hint(format!("name the files in it: `{name}/*.csv`")));
            }
            Kind::Special => {
                return Err(Error::input(format!(
                    "`{text}` is a pipe, a socket or a device, not a file"
                )));
            }
            Kind::File | Kind::Link | Kind::Unknown => {
                return Ok(vec![file_info(text, folders.storage_path(text), &entry)]);
            }
        }
    }
    if !pattern.is_pattern() {
        return Ok(Vec::new());
    }
    let walk = Walk {
        pattern,
        folders,
        found: BTreeMap::new(),
        visited: BTreeSet::new(),
    };
    let found = walk.run().await?;
    // Real paths show which files were found under two names.
    let mut real_folders = BTreeMap::new();
    if !folders.resolves_all() && found.values().any(|entry| entry.kind == Kind::Link) {
        for path in found.keys() {
            let (folder, _) = split(path);
            if !real_folders.contains_key(folder) {
                real_folders.insert(folder.to_owned(), folders.real_path(folder).await?);
            }
        }
    }
    let real_folders = &real_folders;
    let files: Vec<Option<(Match, bool)>> = stream::iter(found)
        .map(|(path, entry)| resolve(path, entry, text, folders, real_folders))
        .buffered(MAX_CONCURRENT)
        .try_collect()
        .await?;
    Ok(unique(files.into_iter().flatten().collect(), text))
}

fn file_info(name: &str, path: String, entry: &Entry) -> FileInfo {
    FileInfo {
        name: name.into(),
        path,
        size: entry.size,
        modified: entry.modified,
        version: None,
    }
}

struct Match {
    file: FileInfo,
    real_path: String,
}

/// The match and whether it is a link, if it is a file.
async fn resolve(
    path: String,
    entry: Entry,
    pattern: &str,
    folders: &impl Folders,
    real_folders: &BTreeMap<String, String>,
) -> Result<Option<(Match, bool)>> {
    let is_link = entry.kind == Kind::Link;
    let entry = match entry.kind {
        Kind::Link | Kind::Unknown => match folders.target(&path).await? {
            Some(target) => target,
            // A link to the newest file dangles once that file was moved away.
            None => {
                tracing::warn!(
                    file = path,
                    pattern,
                    "skipping a link without a target, or a file that was just removed"
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
            "skipping a folder that matches the pattern"
        ),
        Kind::Special => {
            tracing::warn!(
                path,
                pattern,
                "skipping a pipe, a socket or a device that matches the pattern"
            );
        }
        // An unknown type is treated as a file.
        Kind::File | Kind::Link | Kind::Unknown => {
            let (real_path, storage_path) = if is_link || folders.resolves_all() {
                // Later reads use the resolved path, wherever the link points by then.
                let real = folders.real_path(&path).await?;
                folders.require_inside(&path, &real)?;
                (real.clone(), real)
            } else {
                let (folder, name) = split(&path);
                let real = real_folders.get(folder);
                let real = real.map(|real| format!("{}/{name}", real.trim_end_matches('/')));
                (real.unwrap_or_else(|| path.clone()), folders.storage_path(&path))
            };
            let file = file_info(&path, storage_path, &entry);
            return Ok(Some((Match { file, real_path }, is_link)));
        }
    }
    Ok(None)
}

/// Each file once, under its own name rather than that of a link.
fn unique(files: Vec<(Match, bool)>, pattern: &str) -> Vec<FileInfo> {
    let (links, plain): (Vec<_>, Vec<_>) = files.into_iter().partition(|(_, is_link)| *is_link);
    let mut names: BTreeMap<String, std::sync::Arc<str>> = BTreeMap::new();
    let mut unique = Vec::new();
    for (Match { file, real_path }, _) in plain.into_iter().chain(links) {
        if let Some(first) = names.get(&real_path) {
            tracing::warn!(
                file = &*file.name,
                same = &**first,
                pattern,
                "a file matches the pattern under two names and is read once"
            );
            continue;
        }
        names.insert(real_path, file.name.clone());
        unique.push(file);
    }
    unique.sort_by(|a, b| a.name.cmp(&b.name));
    unique
}

struct Walk<'w, F> {
    pattern: &'w FilePattern,
    folders: &'w F,
    found: BTreeMap<String, Entry>,
    /// Folders with the index of the component that was matched there.
    visited: BTreeSet<(String, usize)>,
}

/// A folder to visit: its path, the component to match there, the depth.
type Visit = (String, usize, usize);

impl<F: Folders> Walk<'_, F> {
    async fn run(mut self) -> Result<BTreeMap<String, Entry>> {
        let text = self.pattern.glob();
        let components = components(text)?;
        let root = if text.starts_with('/') { "/" } else { "" };
        // Links last: a folder keeps its own name.
        let (mut visits, mut links) = (VecDeque::from([(root.to_owned(), 0, 0)]), VecDeque::new());
        while let Some(visit) = visits.pop_front().or_else(|| links.pop_front()) {
            let (path, at, depth) = visit;
            let is_last = at + 1 == components.len();
            match components.get(at) {
                None => {}
                Some(Component::Name(name)) if !is_last => {
                    visits.push_front((join(&path, name), at + 1, depth));
                }
                Some(Component::Name(name)) => {
                    let path = join(&path, name);
                    if self.pattern.matches_name(name)
                        && let Some(entry) = self.folders.target(&path).await?
                    {
                        self.found.insert(path, entry);
                    }
                }
                Some(Component::Wildcards(wildcards)) => {
                    self.match_entries(wildcards, (path, at, depth), is_last, &mut visits)
                        .await?;
                }
                Some(Component::AnyDepth) => {
                    self.descend((path, at, depth), &mut visits, &mut links).await?;
                }
            }
        }
        Ok(self.found)
    }

    async fn entries(&self, folder: &str) -> Result<Vec<Entry>> {
        let mut entries = self.folders.entries(folder).await?.unwrap_or_default();
        // The name under which a file is found must not depend on the order of the listing.
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    async fn match_entries(
        &mut self,
        wildcards: &Pattern,
        (path, at, depth): Visit,
        is_last: bool,
        visits: &mut VecDeque<Visit>,
    ) -> Result<()> {
        if !self.visited.insert((path.clone(), at)) {
            return Ok(());
        }
        for entry in self.entries(&path).await? {
            // Only folders lead on, and only files end a path.
            let is_irrelevant = match entry.kind {
                Kind::File | Kind::Special => !is_last,
                Kind::Folder | Kind::Link | Kind::Unknown => false,
            };
            if is_irrelevant || !wildcards.matches_with(&entry.name, MATCH_OPTIONS) {
                continue;
            }
            if !(entry.is_unicode || is_last && entry.kind == Kind::Folder) {
                return Err(Error::input(format!(
                    "the folder `{path}` contains a file whose name is not valid Unicode: `{}`",
                    entry.name
                ))
                .with_hint(format!(
                    "rename it, or use a pattern that cannot match it: whether `{}` does is undefined",
                    self.pattern.glob()
                )));
            }
            let below = join(&path, &entry.name);
            if !is_last {
                if self.is_folder(&below, &entry).await? {
                    visits.push_back((below, at + 1, depth + 1));
                }
            } else if self.pattern.matches_name(&entry.name) {
                self.found.insert(below, entry);
            }
        }
        Ok(())
    }

    /// `**`: matches the rest of the pattern here, and visits the folders below.
    async fn descend(
        &mut self,
        (path, at, depth): Visit,
        visits: &mut VecDeque<Visit>,
        links: &mut VecDeque<Visit>,
    ) -> Result<()> {
        let follows_links = self.folders.resolves_all();
        if depth > MAX_DEPTH {
            return Err(Error::input(format!(
                "`{}` leads more than {MAX_DEPTH} folders deep, to `{path}`",
                self.pattern.glob()
            ))
            .with_hint("name more of the path before `**`"));
        }
        let Some(entries) = self.folders.entries(&path).await? else {
            visits.push_front((path, at + 1, depth));
            return Ok(());
        };
        // With links, one folder has several paths, which may be infinitely many.
        let identity = match follows_links {
            true => self.folders.real_path(&path).await?,
            false => path.clone(),
        };
        if !self.visited.insert((identity, at)) {
            return Ok(());
        }
        let mut entries = entries;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for entry in entries {
            let may_be_folder = match entry.kind {
                Kind::Folder | Kind::Unknown => true,
                Kind::Link => follows_links,
                Kind::File | Kind::Special => false,
            };
            if !may_be_folder || entry.name.starts_with('.') {
                continue;
            }
            if !entry.is_unicode {
                tracing::warn!(
                    folder = path,
                    name = entry.name,
                    pattern = self.pattern.glob(),
                    "skipping a folder whose name is not valid Unicode"
                );
                continue;
            }
            let below = join(&path, &entry.name);
            if !self.is_folder(&below, &entry).await? {
                continue;
            }
            if entry.kind == Kind::Link {
                // Before anything behind it is listed.
                let real = self.folders.real_path(&below).await?;
                self.folders.require_inside(&below, &real)?;
                links.push_back((below, at, depth + 1));
            } else {
                visits.push_back((below, at, depth + 1));
            }
        }
        visits.push_front((path, at + 1, depth));
        Ok(())
    }

    async fn is_folder(&self, path: &str, entry: &Entry) -> Result<bool> {
        Ok(match entry.kind {
            Kind::Link | Kind::Unknown => self
                .folders
                .target(path)
                .await?
                .is_some_and(|target| target.kind == Kind::Folder),
            kind => kind == Kind::Folder,
        })
    }
}

fn components(text: &str) -> Result<Vec<Component>> {
    let mut components = Vec::new();
    for part in text.split('/').filter(|part| !matches!(*part, "" | ".")) {
        components.push(if part == "**" {
            if matches!(components.last(), Some(Component::AnyDepth)) {
                continue;
            }
            Component::AnyDepth
        } else if is_pattern(part) {
            let pattern = Pattern::new(part);
            Component::Wildcards(pattern.map_err(|error| {
                Error::config(format!("`{text}` is not a valid pattern")).with_source(error)
            })?)
        } else {
            Component::Name(part.to_owned())
        });
    }
    Ok(components)
}

/// The folder and the name of a path.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => ("", path),
    }
}

/// A name in a folder; the empty folder is where relative paths start.
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

    /// Paths with their types; links with their targets.
    struct Tree(BTreeMap<&'static str, (Kind, &'static str)>);

    impl Tree {
        fn entry(path: &str, name: &str, kind: Kind) -> Entry {
            Entry {
                name: name.to_owned(),
                is_unicode: !name.contains('\u{fffd}'),
                kind,
                size: (kind == Kind::File).then_some(path.len() as u64),
                modified: None,
            }
        }

        /// The path with links resolved.
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
                (parent == real).then(|| Self::entry(path, name, *kind))
            });
            Ok(Some(below.collect()))
        }

        async fn target(&self, path: &str) -> Result<Option<Entry>> {
            let real = self.follow(path);
            let name = path.rsplit('/').next().unwrap();
            let found = self.0.get(&*real).filter(|(kind, _)| *kind != Kind::Link);
            Ok(found.map(|(kind, _)| Self::entry(&real, name, *kind)))
        }

        async fn real_path(&self, path: &str) -> Result<String> {
            Ok(self.follow(path))
        }

        fn storage_path(&self, path: &str) -> String {
            path.to_owned()
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

    async fn names(pattern: &str) -> Result<Vec<String>> {
        let found = list(&FilePattern::plain(pattern), &tree()).await?;
        Ok(found.into_iter().map(|file| file.name.to_string()).collect())
    }

    #[tokio::test]
    async fn matches_each_component_and_returns_each_file_once() {
        for (pattern, expected) in [
            ("/out/*.csv", &["/out/a.csv", "/out/b.csv"][..]),
            ("/out/.*.csv", &["/out/.hidden.csv"]),
            ("/o*/c.csv", &["/other/c.csv"]),
            ("/o*/*/c.csv", &["/out/sub/c.csv"]),
            ("/other/*.csv", &["/other/c.csv"]),
            ("/**/c.csv", &["/out/sub/c.csv"]),
            ("/**/**/[ab].csv", &["/out/a.csv", "/out/b.csv"]),
            ("/out/sub/back/a*.csv", &["/out/sub/back/a.csv"]),
            ("/nowhere/*.csv", &[]),
            ("/out/a.csv/*", &[]),
            // A link without a target is skipped.
            ("/gone/*.csv", &[]),
        ] {
            assert_eq!(names(pattern).await.unwrap(), expected, "{pattern}");
        }
        let found = list(&FilePattern::plain("/out/latest.*"), &tree()).await.unwrap();
        // The target's.
        assert_eq!((&*found[0].path, found[0].size), ("/out/b.csv", Some(10)));
    }

    #[tokio::test]
    async fn rejects_folders_invalid_patterns_and_names_that_are_not_unicode() {
        for (pattern, expected) in [
            ("/out/M*.txt", "not valid Unicode"),
            ("/out/[.csv", "not a valid pattern"),
            ("/out", "is a folder"),
            ("/out/pipe.csv", "is a pipe"),
        ] {
            let error = names(pattern).await.unwrap_err();
            assert!(error.to_string().contains(expected), "{pattern}: {error}");
        }
    }
}
