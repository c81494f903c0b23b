//! Where bytes come from: which files there are, and a reader for each.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::failure::read_error;
use super::pattern::{self, is_pattern};
use crate::config::nearest;
use crate::error::{Error, Result};

/// What users write for standard input.
pub(super) const STANDARD_INPUT: &str = "-";

/// One thing to read.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// What the user knows it as.
    pub(super) name: Arc<str>,
    place: Place,
}

/// Another kind of place (a server, an object store) is another variant here and another arm in the functions below.
#[derive(Debug, Clone)]
enum Place {
    Local(PathBuf),
    StandardInput,
}

impl Entry {
    /// A reader of its bytes.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(&self, cancel: &CancellationToken) -> Result<Box<dyn Read + Send>> {
        match &self.place {
            Place::Local(path) if is_pipe(path) => {
                let path = path.clone();
                Ok(Box::new(Piped::new(cancel.clone(), move || File::open(path))))
            }
            Place::Local(path) => Ok(Box::new(self.open_local(path)?)),
            Place::StandardInput => Ok(Box::new(Piped::new(cancel.clone(), || Ok(io::stdin().lock())))),
        }
    }

    /// A file that can be read in any order, for formats that need it; `None` if the place has no such thing.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open_seekable(&self) -> Result<Option<File>> {
        match &self.place {
            Place::Local(path) if is_pipe(path) => Ok(None),
            Place::Local(path) => self.open_local(path).map(Some),
            Place::StandardInput => Ok(None),
        }
    }

    /// Whether it can be opened a second time and give the same bytes.
    pub(super) fn can_be_read_twice(&self) -> bool {
        match &self.place {
            Place::Local(path) => !is_pipe(path),
            Place::StandardInput => false,
        }
    }

    fn open_local(&self, path: &Path) -> Result<File> {
        File::open(path).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    Some("let the account that the pipeline runs as read the file")
                }
                io::ErrorKind::NotFound => Some("the file was there when the run began: it was moved since"),
                _ => None,
            };
            let error = read_error(&self.name, error, None);
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })
    }
}

/// Whether it is there but no regular file: opening and reading it may wait for somebody who writes.
fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file())
}

/// Everything that `path` stands for, in the order of names; relative paths are relative to `base`.
///
/// # Errors
/// Nothing matches, or a folder cannot be listed.
pub(super) fn list(path: &str, base: &Path) -> Result<Vec<Entry>> {
    if path == STANDARD_INPUT {
        return Ok(vec![Entry {
            name: "standard input".into(),
            place: Place::StandardInput,
        }]);
    }
    let literal = base.join(path);
    // A file that is called just so, brackets and all, is meant.
    if literal.exists() && !literal.is_dir() {
        return Ok(vec![Entry {
            name: name(&literal, base),
            place: Place::Local(literal),
        }]);
    }
    if !is_pattern(path) {
        if literal.is_dir() {
            return Err(Error::input(format!(
                "`{path}` is a folder (`{}`), not a file",
                literal.display()
            ))
            .with_hint(format!(
                "name the files in it: `{}/*.csv`",
                path.trim_end_matches(['/', '\\'])
            )));
        }
        return Err(nothing_there(path, &literal));
    }
    let mut entries = Vec::new();
    let mut names: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for (found, target) in pattern::find(path, base)? {
        if target.is_dir() {
            tracing::warn!(folder = %found.display(), pattern = path, "a folder matches the pattern and is left out");
            continue;
        }
        if let Some(first) = names.get(&target) {
            tracing::warn!(
                file = %found.display(),
                same = %first.display(),
                pattern = path,
                "a file matches the pattern by two names and is read once"
            );
            continue;
        }
        entries.push(Entry {
            name: name(&found, base),
            // What was looked at is what is read, wherever the link leads by then.
            place: Place::Local(target.clone()),
        });
        names.insert(target, found);
    }
    if entries.is_empty() {
        return Err(nothing_there(path, &literal));
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// What the user knows the file as.
fn name(path: &Path, base: &Path) -> Arc<str> {
    path.strip_prefix(base).unwrap_or(path).to_string_lossy().into()
}

/// Nothing read means leavers missed without a word, so no file is an error that shows what there is instead.
fn nothing_there(path: &str, literal: &Path) -> Error {
    let folder: PathBuf = literal
        .parent()
        .into_iter()
        .flat_map(Path::components)
        .take_while(|component| !is_pattern(&component.as_os_str().to_string_lossy()))
        .collect();
    let message = if is_pattern(path) {
        format!("no file matches `{path}` in `{}`", folder.display())
    } else {
        format!("there is no file `{path}` in `{}`", folder.display())
    };
    let error = Error::input(message);
    let names: Vec<String> = match std::fs::read_dir(&folder) {
        Ok(listing) => listing
            .filter_map(|entry| entry.ok().filter(|entry| !entry.path().is_dir()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect(),
        Err(cause) => {
            return error.with_hint(format!(
                "the folder `{}` cannot be listed: {cause}",
                folder.display()
            ));
        }
    };
    let wanted = literal
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .replace(['*', '?', '[', ']'], "");
    let near = nearest(&wanted, names.iter().map(String::as_str));
    let near: Vec<String> = near.into_iter().map(|name| format!("`{name}`")).collect();
    error.with_hint(match (names.len(), near.is_empty()) {
        (0, _) => "the folder holds no files".to_owned(),
        (count, true) => format!("the folder holds {count} files, none of a similar name"),
        (count, false) => format!(
            "the folder holds {count} files; the most similar names are {}",
            near.join(", ")
        ),
    })
}

/// Standard input or a pipe, opened and read by a thread of its own: neither can be interrupted, and a run must be able
/// to stop while nobody writes.
struct Piped {
    blocks: tokio::sync::mpsc::Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    at: usize,
    cancel: CancellationToken,
    runtime: tokio::runtime::Handle,
}

impl Piped {
    fn new<R: Read>(
        cancel: CancellationToken,
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> Self {
        const BLOCK_BYTES: usize = 64 << 10;
        let (sender, blocks) = tokio::sync::mpsc::channel(4);
        // Ends with the input, when nobody listens any more, or with the process.
        std::thread::spawn(move || {
            let mut input = match open() {
                Ok(input) => input,
                Err(error) => {
                    // It fails only when nobody listens any more.
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            };
            loop {
                let mut block = vec![0; BLOCK_BYTES];
                let read = match input.read(&mut block) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read,
                };
                let ended = !matches!(read, Ok(length) if length > 0);
                let block = read.map(|length| {
                    block.truncate(length);
                    block
                });
                if sender.blocking_send(block).is_err() || ended {
                    return;
                }
            }
        });
        Self {
            blocks,
            block: Vec::new(),
            at: 0,
            cancel,
            runtime: tokio::runtime::Handle::current(),
        }
    }
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            let next = self.runtime.block_on(async {
                tokio::select! {
                    block = self.blocks.recv() => Ok(block),
                    () = self.cancel.cancelled() => Err(io::Error::other("the run is stopping")),
                }
            })?;
            (self.block, self.at) = (next.transpose()?.unwrap_or_default(), 0);
        }
        let left = &self.block[self.at..];
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, base: &Path) -> Vec<String> {
        let entries = list(path, base).unwrap();
        entries.iter().map(|entry| entry.name.to_string()).collect()
    }

    #[test]
    fn matches_come_in_the_order_of_names_and_folders_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        // A base whose name looks like a pattern is still taken as it is.
        let base = folder.path().join("exports [old]");
        std::fs::create_dir_all(base.join("in/d.csv")).unwrap();
        for name in ["b.csv", "a.csv", "c.txt", ".hidden.csv"] {
            std::fs::write(base.join("in").join(name), "x").unwrap();
        }
        let found: Vec<String> = names("in/*.csv", &base)
            .iter()
            .map(|name| name.replace('\\', "/"))
            .collect();
        assert_eq!(found, ["in/a.csv", "in/b.csv"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_two_names_is_read_once_and_as_it_was_when_it_was_found() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        for name in ["2026-02.csv", "2026-03.csv"] {
            std::fs::write(base.join(name), name).unwrap();
        }
        symlink("2026-03.csv", base.join("latest.csv")).unwrap();
        assert_eq!(names("*.csv", base), ["2026-02.csv", "2026-03.csv"]);
        assert_eq!(names("latest.csv", base), ["latest.csv"]);

        let entries = list("l*.csv", base).unwrap();
        assert_eq!(&*entries[0].name, "latest.csv");
        std::fs::remove_file(base.join("latest.csv")).unwrap();
        symlink("/etc/passwd", base.join("latest.csv")).unwrap();
        let mut read = String::new();
        let mut file = entries[0].open(&CancellationToken::new()).unwrap();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "2026-03.csv");
    }

    #[test]
    fn a_path_that_is_no_pattern_may_lead_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        std::fs::create_dir(&base).unwrap();
        std::fs::write(folder.path().join("a.csv"), "x").unwrap();
        assert_eq!(names("../a.csv", &base), ["../a.csv"]);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../a.csv", base.join("link.csv")).unwrap();
            assert_eq!(names("link.csv", &base), ["link.csv"]);
        }
    }

    #[test]
    fn a_name_with_brackets_is_found_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("leavers[1].csv"), "x").unwrap();
        assert_eq!(names("leavers[1].csv", folder.path()), ["leavers[1].csv"]);
    }

    #[test]
    fn nothing_there_shows_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("exports")).unwrap();
        for name in ["terminations-2026.txt", "other.bin"] {
            std::fs::write(folder.path().join("exports").join(name), "x").unwrap();
        }
        let error = list("exports/terminations-*.csv", folder.path()).unwrap_err();
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

        let error = list("nowhere/a.csv", folder.path()).unwrap_err();
        assert!(error.hints().next().unwrap().contains("nowhere"), "{error:?}");
        let error = list("exports", folder.path()).unwrap_err();
        assert!(
            error.hints().next().unwrap().contains("exports/*.csv"),
            "{error:?}"
        );
    }
}
