//! The local disk.
//!
//! A pattern covers the folder in front of its first wildcard. Links inside it are followed; a link that leads out of it is
//! an error, so that an account that may write to the folder cannot have any other file sent.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::blocks::changed;
use super::stdin::piped;
use super::walk::{self, Entry, Folders, Kind};
use super::{FileInfo, FilePattern, RenameOutcome, Storage};
use crate::disk::blocking;
use crate::error::{Error, Result};

#[derive(Debug)]
pub(crate) struct Local {
    /// The folder of relative paths.
    pub(crate) base: Arc<PathBuf>,
}

#[async_trait]
impl Storage for Local {
    async fn list(&self, pattern: &FilePattern) -> Result<Vec<FileInfo>> {
        let pattern = pattern.clone();
        let folders = LocalFolders::new(self.base.clone(), &pattern);
        blocking("listing files", move || {
            futures::executor::block_on(walk::list(&pattern, &folders))
        })
        .await
    }

    async fn sibling_names(&self, pattern: &FilePattern) -> Result<Vec<String>> {
        let pattern = pattern.clone();
        let folders = LocalFolders::new(self.base.clone(), &pattern);
        blocking("listing a folder", move || {
            futures::executor::block_on(walk::sibling_names(&pattern, &folders))
        })
        .await
    }

    async fn stat(&self, path: &str) -> Result<Option<FileInfo>> {
        let (file, name) = (self.base.join(path), path.to_owned());
        blocking("reading file metadata", move || {
            let entry = target(&file, String::new())?.filter(|entry| entry.kind != Kind::Folder);
            let info = |entry| Ok(walk::file_info(&name, unicode(&file)?, &entry));
            entry.map(info).transpose()
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
                    Some("let the account that runs the pipeline read the file")
                }
                io::ErrorKind::NotFound => Some("the file existed when the run started: it was moved since"),
                _ => None,
            };
            let error = Error::input(format!("cannot read `{}`", file.name)).with_source(error);
            hint.into_iter().fold(error, Error::with_hint)
        })?;
        Ok(Box::new(CheckedFile {
            file: opened,
            info: file.clone(),
        }))
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
            // Unlike a rename, a hard link never overwrites.
            match fs::hard_link(&from, &to) {
                Ok(()) => {
                    if let Err(error) = fs::remove_file(&from) {
                        // Otherwise every run would add a name.
                        let _ = fs::remove_file(&to);
                        return Err(failed(error));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Ok(RenameOutcome::Exists);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(failed(error)),
                // The file system has no hard links.
                Err(_) => fs::rename(&from, &to).map_err(failed)?,
            }
            Ok(RenameOutcome::Renamed)
        })
        .await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let path = self.base.join(path);
        blocking("deleting a file", move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::unexpected(format!("cannot delete `{}`", path.display())).with_source(error))
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

/// A file that must not change while it is read: half a row at the end of a growing file would look like a complete one.
struct CheckedFile {
    file: File,
    info: FileInfo,
}

impl Read for CheckedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        if length == 0 && !buffer.is_empty() {
            let metadata = self.file.metadata()?;
            if self.info.size != Some(metadata.len()) || self.info.modified != modified(&metadata) {
                return Err(io::Error::other(changed()));
            }
        }
        Ok(length)
    }
}

/// Whether the path exists and is not a regular file: opening and reading it may block.
fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file())
}

/// What is at a path, links followed; `None` if it does not exist.
fn target(path: &Path, name: String) -> Result<Option<Entry>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(Entry {
            name,
            is_unicode: true,
            kind: match metadata.is_dir() {
                true => Kind::Folder,
                false => Kind::File,
            },
            size: size(&metadata),
            modified: modified(&metadata),
        })),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(
                Error::input(format!("cannot read the metadata of `{}`", path.display())).with_source(error),
            ),
        },
    }
}

fn modified(metadata: &Metadata) -> Option<Timestamp> {
    let time = metadata.modified().ok()?;
    Timestamp::try_from(time).ok()
}

fn size(metadata: &Metadata) -> Option<u64> {
    metadata.is_file().then_some(metadata.len())
}

fn unicode(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::input(format!("the path of `{}` is not valid Unicode", path.display()))
            .with_hint("rename the file or its folder")
    })
}

/// The folders below `base`, for the walk.
struct LocalFolders {
    base: Arc<PathBuf>,
    /// The folder that the pattern covers, and the pattern.
    root: PathBuf,
    pattern: Arc<str>,
}

impl LocalFolders {
    fn new(base: Arc<PathBuf>, pattern: &FilePattern) -> Self {
        Self {
            root: or_current(base.join(pattern.folder())),
            base,
            pattern: pattern.glob().into(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        or_current(self.base.join(path))
    }

    fn error(&self, folder: &Path, error: io::Error) -> Error {
        let (pattern, folder) = (&self.pattern, folder.display());
        Error::input(format!("cannot search for `{pattern}` in `{folder}`")).with_source(error)
    }
}

/// The empty path is the current folder.
fn or_current(path: PathBuf) -> PathBuf {
    if path.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        path
    }
}

#[async_trait]
impl Folders for LocalFolders {
    async fn entries(&self, folder: &str) -> Result<Option<Vec<Entry>>> {
        let folder = self.path(folder);
        if !folder.is_dir() {
            return Ok(None);
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|error| self.error(&folder, error))? {
            let entry = entry.map_err(|error| self.error(&folder, error))?;
            let name = entry.file_name();
            let kind = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => Kind::Link,
                Ok(kind) if kind.is_dir() => Kind::Folder,
                // Pipes are read like files.
                Ok(_) => Kind::File,
                Err(_) => Kind::Unknown,
            };
            let metadata = entry.metadata().ok().filter(|_| kind == Kind::File);
            entries.push(Entry {
                is_unicode: name.to_str().is_some(),
                name: name.to_string_lossy().into_owned(),
                kind,
                size: metadata.as_ref().and_then(size),
                modified: metadata.as_ref().and_then(modified),
            });
        }
        Ok(Some(entries))
    }

    async fn target(&self, path: &str) -> Result<Option<Entry>> {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        target(&self.path(path), name)
    }

    async fn real_path(&self, path: &str) -> Result<String> {
        let path = self.path(path);
        let real = fs::canonicalize(&path).map_err(|error| {
            let hint = (error.kind() == io::ErrorKind::NotFound)
                .then_some("it is a link without a target, or was just removed");
            let (path, pattern) = (path.display(), &self.pattern);
            let error = Error::input(format!("cannot resolve `{path}`, which matches `{pattern}`"))
                .with_source(error);
            hint.into_iter().fold(error, Error::with_hint)
        })?;
        unicode(&real)
    }

    fn resolves_all(&self) -> bool {
        true
    }

    fn require_inside(&self, path: &str, real_path: &str) -> Result<()> {
        let root = fs::canonicalize(&self.root).map_err(|error| self.error(&self.root, error))?;
        if Path::new(real_path).starts_with(&root) {
            return Ok(());
        }
        Err(Error::input(format!(
            "`{}` leads to `{real_path}`, out of the folder `{}` that `{}` covers",
            self.path(path).display(),
            self.root.display(),
            self.pattern
        ))
        .with_hint(
            "a pattern reads files in its folder: if this file is intended, name it in the `path` of a source; if not, \
             find out who created the link",
        ))
    }

    fn storage_path(&self, path: &str) -> String {
        self.path(path).to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        folder
    }

    async fn list(pattern: &str, base: &Path) -> Result<Vec<FileInfo>> {
        let base = Arc::new(base.to_owned());
        Local { base }.list(&FilePattern::plain(pattern)).await
    }

    async fn names(pattern: &str, base: &Path) -> Vec<String> {
        let files = list(pattern, base)
            .await
            .unwrap_or_else(|error| panic!("{pattern}: {error:?}"));
        files.iter().map(|file| file.name.to_string()).collect()
    }

    /// The error of a list contains all of this.
    async fn rejects(pattern: &str, base: &Path, expected: &[&str]) {
        let error = list(pattern, base).await.unwrap_err();
        let text = format!("{} {:?}", error.chain(), error.hints().collect::<Vec<_>>());
        for expected in expected {
            assert!(text.contains(expected), "{pattern}: {text}");
        }
    }

    #[tokio::test]
    async fn matches_each_component_on_its_own() {
        // A base that looks like a pattern is literal.
        let folder = tree(&[
            "a [old]/a/b/a/x.csv",
            "a [old]/b/x.csv",
            "a [old]/.c/x.csv",
            "a [old]/x.csv",
            "y.csv",
        ]);
        let base = folder.path().join("a [old]");
        for (pattern, expected) in [
            ("./[!a]/*", &["b/x.csv"][..]),
            ("**/x.csv", &["a/b/a/x.csv", "b/x.csv", "x.csv"]),
            // Found on two ways, read once.
            ("**/a/**/**/x.csv", &["a/b/a/x.csv"]),
            ("x.csv/*", &[]),
            ("x.csv/**/*", &[]),
            ("../y.csv", &["../y.csv"]),
        ] {
            assert_eq!(names(pattern, &base).await, expected, "{pattern}");
        }
        rejects("[.csv", &base, &["not a valid pattern"]).await;
        let absolute = format!("{}/b/*", glob::Pattern::escape(base.to_str().unwrap()));
        assert_eq!(list(&absolute, Path::new("elsewhere")).await.unwrap().len(), 1);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn visits_folders_once_if_links_form_cycles() {
        let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        let files: Vec<String> = letters.iter().map(|name| format!("{name}/{name}.csv")).collect();
        let folder = tree(&files.iter().map(|file| &**file).collect::<Vec<_>>());
        for one in letters {
            for other in letters.iter().filter(|other| **other != one) {
                let link = folder.path().join(one).join(other);
                std::os::unix::fs::symlink(format!("../{other}"), link).unwrap();
            }
        }
        for (pattern, count) in [("**/*.csv", 12), ("**/l.csv", 1), ("**/a/**/b/*.csv", 1)] {
            assert_eq!(names(pattern, folder.path()).await.len(), count, "{pattern}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn follows_links_inside_the_folder_and_rejects_links_out_of_it() {
        use std::os::unix::fs::symlink;

        let folder = tree(&[
            "in/2026-03.csv",
            "in/..data_1/c.csv",
            "in/sub/d.csv",
            "out/b/e.csv",
        ]);
        let base = folder.path();
        // As Kubernetes mounts files, and as exports mark the newest.
        symlink("..data_1", base.join("in/..data")).unwrap();
        symlink("..data/c.csv", base.join("in/c.csv")).unwrap();
        symlink("2026-03.csv", base.join("in/latest.csv")).unwrap();
        assert_eq!(names("in/*.csv", base).await, ["in/2026-03.csv", "in/c.csv"]);
        let found = list("in/c*.csv", base).await.unwrap();
        let target = fs::canonicalize(base.join("in/..data_1/c.csv")).unwrap();
        assert_eq!(Path::new(&found[0].path), target);
        // The folder itself may be a link, and a named file may be anywhere.
        symlink("in", base.join("export")).unwrap();
        symlink("../out/b/e.csv", base.join("in/named")).unwrap();
        for (pattern, name) in [
            ("export/l*.csv", "export/latest.csv"),
            ("in/../out/b/e*.csv", "in/../out/b/e.csv"),
            ("in/named", "in/named"),
        ] {
            assert_eq!(names(pattern, base).await, [name]);
        }
        let leads = async |pattern: &str, link: &str, target: &str| {
            let (link, target) = (format!("{link}` leads to `"), format!("{target}`, out of"));
            rejects(pattern, base, &[&link, &target, "`path`"]).await;
        };
        symlink(base.join("out/b/e.csv"), base.join("in/z.csv")).unwrap();
        for pattern in ["in/*.csv", "in/**/*.csv", "in/[z].csv"] {
            leads(pattern, "in/z.csv", "out/b/e.csv").await;
        }
        fs::remove_file(base.join("in/z.csv")).unwrap();
        // Through a folder, or `..`.
        symlink("../out", base.join("in/way")).unwrap();
        leads("in/*/b/e*.csv", "in/way/b/e.csv", "out/b/e.csv").await;
        leads("in/**/*.csv", "in/way", "out").await;
        let up = "in/sub/../../out/b/e.csv";
        leads("in/s*/../../out/b/*.csv", up, "out/b/e.csv").await;
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn reads_the_file_that_a_link_named_when_it_was_listed() {
        use std::os::unix::fs::symlink;

        let folder = tree(&["2026-03.csv"]);
        let link = folder.path().join("latest.csv");
        symlink("2026-03.csv", &link).unwrap();
        let found = list("l*.csv", folder.path()).await.unwrap();
        assert_eq!(&*found[0].name, "latest.csv");
        fs::remove_file(&link).unwrap();
        symlink("/etc/passwd", &link).unwrap();
        let base = Arc::new(folder.path().to_owned());
        let mut file = Local { base }.open(&found[0], &CancellationToken::new()).unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "x");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn rejects_matching_names_that_are_not_unicode() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;

        let folder = tree(&["in/a.csv", "other/a.csv"]);
        let strange = OsStr::from_bytes(b"M\xfcller.csv");
        fs::write(folder.path().join("in").join(strange), "x").unwrap();
        for pattern in ["in/*.csv", "**/*.csv", "i*/M*"] {
            rejects(pattern, folder.path(), &["`in`", "not valid Unicode"]).await;
        }
        // A name that cannot match does not matter.
        for (pattern, expected) in [("other/*.csv", "other/a.csv"), ("i*/a*", "in/a.csv")] {
            assert_eq!(names(pattern, folder.path()).await, [expected]);
        }
    }
}
