//! Lists the files that match a pattern, on a storage that lists one folder at a time.
//!
//! Each component of the pattern is matched on its own. Links to files are read, once under one name. Links to folders are
//! followed where a component names or matches them; `**` follows them on the local disk only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use glob::Pattern;
use jiff::Timestamp;

use super::pattern::{MATCH_OPTIONS, is_pattern};
use super::{FileInfo, FilePattern};
use crate::error::{Error, Result};

const MAX_CONCURRENT: usize = 32;
const MAX_DEPTH: usize = 64;

/// Access to folders. Paths use `/`, as patterns do; relative ones are relative to where the storage starts.
#[async_trait]
pub(super) trait Folders: Sync {
    /// The entries of a folder, without itself and its parent; `None` if it is not a folder.
    async fn entries(&self, folder: &str) -> Result<Option<Vec<Entry>>>;

    /// The entry at a path, links followed; `None` if it does not exist.
    async fn target(&self, path: &str) -> Result<Option<Entry>>;

    /// The absolute path, links resolved.
    async fn real_path(&self, path: &str) -> Result<String>;

    /// Resolving a path is cheap: every match is resolved and checked with [`require_inside`](Self::require_inside), and
    /// `**` follows links.
    fn resolves_all(&self) -> bool {
        false
    }

    /// Rejects what lies outside the folder of the pattern.
    fn require_inside(&self, _path: &str, _real_path: &str) -> Result<()> {
        Ok(())
    }

    /// The path for requests to the storage.
    fn storage_path(&self, path: &str) -> String;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Lossy where it is not Unicode.
    pub(super) name: String,
    pub(super) is_unicode: bool,
    pub(super) kind: Kind,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    /// A pipe, a socket or a device.
    #[cfg_attr(not(feature = "sftp"), expect(dead_code, reason = "of SFTP only"))]
    Special,
    /// Not reported.
    Unknown,
}

enum Component {
    Name(String),
    Wildcards(Pattern),
    /// `**`: this folder and all below it.
    AnyDepth,
}

/// The files that match, in the order of their names.
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
        visits: VecDeque::new(),
        links: VecDeque::new(),
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
    let files: Vec<Option<Match>> = stream::iter(found)
        .map(|(path, entry)| resolve(path, entry, text, folders, real_folders))
        .buffered(MAX_CONCURRENT)
        .try_collect()
        .await?;
    Ok(unique(files.into_iter().flatten().collect(), text))
}

pub(super) async fn sibling_names(pattern: &FilePattern, folders: &impl Folders) -> Result<Vec<String>> {
    let folder = pattern.folder();
    let Some(entries) = folders.entries(folder).await? else {
        return Err(Error::input(format!("there is no folder `{folder}`")));
    };
    let files = entries.into_iter().filter(|entry| entry.kind != Kind::Folder);
    Ok(files.map(|entry| entry.name).collect())
}

pub(super) fn file_info(name: &str, path: String, entry: &Entry) -> FileInfo {
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
    is_link: bool,
}

/// The match, if it is a file.
async fn resolve(
    path: String,
    mut entry: Entry,
    pattern: &str,
    folders: &impl Folders,
    real_folders: &BTreeMap<String, String>,
) -> Result<Option<Match>> {
    let is_link = entry.kind == Kind::Link;
    if matches!(entry.kind, Kind::Link | Kind::Unknown) {
        let Some(target) = folders.target(&path).await? else {
            // A link to the newest file dangles once that file was moved away.
            tracing::warn!(
                file = path,
                pattern,
                "skipping a link without a target, or a file that was just removed"
            );
            return Ok(None);
        };
        entry = target;
    }
    if matches!(entry.kind, Kind::Folder | Kind::Special) {
        tracing::warn!(
            path,
            pattern,
            "skipping a folder, a pipe, a socket or a device that matches the pattern"
        );
        return Ok(None);
    }
    // An unknown type is treated as a file.
    let (real_path, storage_path) = if is_link || folders.resolves_all() {
        // Later reads use the resolved path, wherever the link points by then.
        let real = folders.real_path(&path).await?;
        folders.require_inside(&path, &real)?;
        (real.clone(), real)
    } else {
        let (folder, name) = split(&path);
        let real = real_folders.get(folder).map(|folder| join(folder, name));
        (real.unwrap_or_else(|| path.clone()), folders.storage_path(&path))
    };
    Ok(Some(Match {
        file: file_info(&path, storage_path, &entry),
        real_path,
        is_link,
    }))
}

/// Each file once, under its own name rather than that of a link.
fn unique(mut files: Vec<Match>, pattern: &str) -> Vec<FileInfo> {
    files.sort_by_key(|found| found.is_link);
    let mut names: BTreeMap<String, Arc<str>> = BTreeMap::new();
    let mut unique = Vec::new();
    for Match { file, real_path, .. } in files {
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

/// A folder to visit: its path, the component to match there, the depth.
type Visit = (String, usize, usize);

struct Walk<'w, F> {
    pattern: &'w FilePattern,
    folders: &'w F,
    found: BTreeMap<String, Entry>,
    /// Folders with the index of the component that was matched there.
    visited: BTreeSet<(String, usize)>,
    visits: VecDeque<Visit>,
    /// Links to folders, visited last: a folder keeps its own name.
    links: VecDeque<Visit>,
}

impl<F: Folders> Walk<'_, F> {
    async fn run(mut self) -> Result<BTreeMap<String, Entry>> {
        let text = self.pattern.glob();
        let components = components(text)?;
        let root = if text.starts_with('/') { "/" } else { "" };
        self.visits.push_back((root.to_owned(), 0, 0));
        while let Some(visit) = self.visits.pop_front().or_else(|| self.links.pop_front()) {
            let is_last = visit.1 + 1 == components.len();
            match components.get(visit.1) {
                None => {}
                Some(Component::Name(name)) => {
                    let (path, at, depth) = visit;
                    let path = join(&path, name);
                    if !is_last {
                        self.visits.push_front((path, at + 1, depth));
                    } else if self.pattern.matches_name(name)
                        && let Some(entry) = self.folders.target(&path).await?
                    {
                        self.found.insert(path, entry);
                    }
                }
                Some(Component::Wildcards(wildcards)) => {
                    self.match_entries(wildcards, visit, is_last).await?;
                }
                Some(Component::AnyDepth) => self.descend(visit).await?,
            }
        }
        Ok(self.found)
    }

    async fn entries(&self, folder: &str) -> Result<Option<Vec<Entry>>> {
        let mut entries = self.folders.entries(folder).await?;
        if let Some(entries) = &mut entries {
            // The name under which a file is found must not depend on the order of the listing.
            entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(entries)
    }

    async fn match_entries(
        &mut self,
        wildcards: &Pattern,
        (path, at, depth): Visit,
        is_last: bool,
    ) -> Result<()> {
        if !self.visited.insert((path.clone(), at)) {
            return Ok(());
        }
        for entry in self.entries(&path).await?.unwrap_or_default() {
            // Only folders lead on, and only files end a path.
            let is_irrelevant = !is_last && matches!(entry.kind, Kind::File | Kind::Special);
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
                    self.visits.push_back((below, at + 1, depth + 1));
                }
            } else if self.pattern.matches_name(&entry.name) {
                self.found.insert(below, entry);
            }
        }
        Ok(())
    }

    /// `**`: matches the rest of the pattern here, and visits the folders below.
    async fn descend(&mut self, (path, at, depth): Visit) -> Result<()> {
        let follows_links = self.folders.resolves_all();
        if depth > MAX_DEPTH {
            return Err(Error::input(format!(
                "`{}` leads more than {MAX_DEPTH} folders deep, to `{path}`",
                self.pattern.glob()
            ))
            .with_hint("name more of the path before `**`"));
        }
        let Some(entries) = self.entries(&path).await? else {
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
                self.links.push_back((below, at, depth + 1));
            } else {
                self.visits.push_back((below, at, depth + 1));
            }
        }
        self.visits.push_front((path, at + 1, depth));
        Ok(())
    }

    async fn is_folder(&self, path: &str, entry: &Entry) -> Result<bool> {
        Ok(match entry.kind {
            Kind::Link | Kind::Unknown => {
                let target = self.folders.target(path).await?;
                target.is_some_and(|target| target.kind == Kind::Folder)
            }
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
