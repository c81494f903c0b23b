//! The local disk.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::stdin::piped;
use super::{FileInfo, FilePattern, RenameOutcome, Storage, local_walk};
use crate::error::{Error, Result};
use crate::storage::blocks::{changed, failed};

/// Files on the disk; relative paths are relative to a folder.
#[derive(Debug)]
pub(crate) struct Local {
    base: Arc<PathBuf>,
}

impl Local {
    /// `base` is what relative paths are relative to.
    pub(crate) fn new(base: Arc<PathBuf>) -> Self {
        Self { base }
    }
}

#[async_trait]
impl Storage for Local {
    async fn list(&self, wanted: &FilePattern) -> Result<Vec<FileInfo>> {
        let (base, wanted) = (self.base.clone(), wanted.clone());
        blocking("looking for files", move || list(&wanted, &base)).await
    }

    async fn sibling_names(&self, wanted: &FilePattern) -> Result<Vec<String>> {
        let (folder, shown) = (self.base.join(wanted.folder()), wanted.folder().to_owned());
        blocking("listing a folder", move || {
            let listing = fs::read_dir(&folder).map_err(|cause| {
                Error::input(format!("the folder `{shown}` cannot be listed")).with_source(cause)
            })?;
            Ok(listing
                .filter_map(|entry| entry.ok().filter(|entry| !entry.path().is_dir()))
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect())
        })
        .await
    }

    async fn stat(&self, path: &str) -> Result<Option<FileInfo>> {
        let (base, path) = (self.base.clone(), self.base.join(path));
        blocking("looking at a file", move || match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Ok(None),
            Ok(metadata) => Ok(Some(found(&path, &path, &metadata, &base)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(Error::input(format!("cannot look at `{}`", path.display())).with_source(error))
            }
        })
        .await
    }

    fn open(&self, file: &FileInfo, cancel: &CancellationToken) -> Result<Box<dyn Read + Send>> {
        let path = Path::new(&file.path);
        if is_pipe(path) {
            let path = path.to_owned();
            return Ok(Box::new(piped(cancel.clone(), move || File::open(path))));
        }
        let opened = File::open(path).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    Some("let the account that the pipeline runs as read the file")
                }
                io::ErrorKind::NotFound => Some("the file was there when the run began: it was moved since"),
                _ => None,
            };
            let error = read_error(&file.name, error);
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })?;
        Ok(Box::new(Watched {
            file: opened,
            found: file.clone(),
        }))
    }

    async fn read_ranges(&self, file: &FileInfo, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        use std::io::{Seek as _, SeekFrom};
        let (path, name, ranges) = (PathBuf::from(&file.path), file.name.clone(), ranges.to_vec());
        blocking("reading a file", move || {
            let read = || -> io::Result<Vec<Bytes>> {
                let mut opened = File::open(&path)?;
                let one = |range: &Range<u64>| {
                    opened.seek(SeekFrom::Start(range.start))?;
                    let length =
                        usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
                    let mut bytes = vec![0; length];
                    opened.read_exact(&mut bytes)?;
                    Ok(Bytes::from(bytes))
                };
                ranges.iter().map(one).collect()
            };
            read().map_err(|error| read_error(&name, error))
        })
        .await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<RenameOutcome> {
        let (from, to) = (self.base.join(from), self.base.join(to));
        blocking("moving a file", move || {
            let failed = |error| {
                Error::unexpected(format!("cannot move `{}` to `{}`", from.display(), to.display()))
                    .with_source(error)
            };
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).map_err(failed)?;
            }
            if fs::symlink_metadata(&to).is_ok() {
                return Ok(RenameOutcome::Exists);
            }
            // Where the file system has links this cannot take another file's place, whoever is quicker.
            match fs::hard_link(&from, &to) {
                Ok(()) => {
                    if let Err(error) = fs::remove_file(&from) {
                        // Or every run would leave one more name.
                        let _ = fs::remove_file(&to);
                        return Err(failed(error));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Ok(RenameOutcome::Exists);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(failed(error)),
                Err(_) => fs::rename(&from, &to).map_err(failed)?,
            }
            Ok(RenameOutcome::Renamed)
        })
        .await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let path = self.base.join(path);
        blocking("removing a file", move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::unexpected(format!("cannot remove `{}`", path.display())).with_source(error))
            }
            _ => Ok(()),
        })
        .await
    }

    fn display_path(&self, path: &str) -> String {
        self.base.join(path).display().to_string()
    }

    fn local_path<'f>(&self, file: &'f FileInfo) -> Option<&'f Path> {
        let path = Path::new(&file.path);
        (!is_pipe(path)).then_some(path)
    }

    fn is_rereadable(&self, file: &FileInfo) -> bool {
        !is_pipe(Path::new(&file.path))
    }
}

fn read_error(name: &str, error: io::Error) -> Error {
    Error::input(format!("cannot read `{name}`")).with_source(error)
}

async fn blocking<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(work)
        .await
        .map_err(|error| Error::task_failed(doing, &error))?
}

/// A file that must be at its end what it was at the beginning: half a row at the end of a file that grows would be taken
/// for a whole one.
struct Watched {
    file: File,
    found: FileInfo,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        if length == 0 && !buffer.is_empty() {
            let metadata = self.file.metadata()?;
            if self.found.size != Some(metadata.len()) || self.found.modified != modified(&metadata) {
                return Err(failed(changed()));
            }
        }
        Ok(length)
    }
}

/// Whether it is there but no regular file: opening and reading it may wait for somebody who writes.
fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file())
}

fn modified(metadata: &Metadata) -> Option<Timestamp> {
    metadata
        .modified()
        .ok()
        .and_then(|time| Timestamp::try_from(time).ok())
}

fn found(path: &Path, target: &Path, metadata: &Metadata, base: &Path) -> Result<FileInfo> {
    let Some(target) = target.to_str() else {
        return Err(
            Error::input(format!("the path of `{}` is not valid Unicode", path.display()))
                .with_hint("rename the file or its folder"),
        );
    };
    Ok(FileInfo {
        name: name(path, base),
        path: target.to_owned(),
        size: metadata.is_file().then_some(metadata.len()),
        modified: modified(metadata),
        version: None,
    })
}

/// Everything that `wanted` stands for, in the order of names; relative paths are relative to `base`.
fn list(wanted: &FilePattern, base: &Path) -> Result<Vec<FileInfo>> {
    let path = wanted.glob();
    let look = |found_at: &Path, target: &Path| {
        let metadata = fs::metadata(target).map_err(|error| {
            Error::input(format!("cannot look at `{}`", found_at.display())).with_source(error)
        })?;
        found(found_at, target, &metadata, base)
    };
    let literal = base.join(path);
    // A file that is called just so, brackets and all, is meant.
    if literal.exists() && !literal.is_dir() {
        return Ok(vec![look(&literal, &literal)?]);
    }
    if !wanted.is_pattern() {
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
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    let mut names: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for (found, target) in local_walk::find(path, base)? {
        if !wanted.matches_name(&found.file_name().unwrap_or_default().to_string_lossy()) {
            continue;
        }
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
        // What was looked at is what is read, wherever the link leads by then.
        files.push(look(&found, &target)?);
        names.insert(target, found);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// What the user knows the file as.
fn name(path: &Path, base: &Path) -> Arc<str> {
    path.strip_prefix(base).unwrap_or(path).to_string_lossy().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, base: &Path) -> Vec<String> {
        let entries = list(&FilePattern::plain(path), base).unwrap();
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

        let entries = list(&FilePattern::plain("l*.csv"), base).unwrap();
        assert_eq!(&*entries[0].name, "latest.csv");
        std::fs::remove_file(base.join("latest.csv")).unwrap();
        symlink("/etc/passwd", base.join("latest.csv")).unwrap();
        let mut read = String::new();
        let place = Local::new(Arc::new(base.to_owned()));
        let mut file = place.open(&entries[0], &CancellationToken::new()).unwrap();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "2026-03.csv");
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_ends_in_an_error_not_in_half_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "x\n1").unwrap();
        let found = list(&FilePattern::plain("a.csv"), folder.path()).unwrap();
        let place = Local::new(Arc::new(folder.path().to_owned()));
        let mut file = place.open(&found[0], &CancellationToken::new()).unwrap();
        file.read_exact(&mut [0; 3]).unwrap();
        std::fs::write(&path, "x\n12\n").unwrap();
        let error = file.read_to_string(&mut String::new()).unwrap_err();
        assert!(error.to_string().contains("changed while it was read"), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_is_taken_stays_the_other_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let place = Local::new(Arc::new(folder.path().to_owned()));
        assert_eq!(place.rename("a", "b").await.unwrap(), RenameOutcome::Exists);
        assert_eq!(std::fs::read_to_string(folder.path().join("b")).unwrap(), "b");
        assert_eq!(
            place.rename("a", "new/folder/a").await.unwrap(),
            RenameOutcome::Renamed
        );
        assert!(!folder.path().join("a").exists());
        assert_eq!(
            std::fs::read_to_string(folder.path().join("new/folder/a")).unwrap(),
            "a"
        );
        assert!(place.rename("gone", "c").await.is_err());
        place.delete("gone").await.unwrap();
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
}
