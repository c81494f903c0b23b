//! Finds what a pattern stands for. `glob` says whether a name matches; the folders are gone through here, because
//! its own walk passes over names that are not valid Unicode or panics on them, and takes a base folder for a pattern.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::error::{Error, Result};

/// `*` stays within a folder, and files whose name begins with a dot must be asked for.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Whether a path may stand for several files.
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Every file and folder that `pattern` stands for, each once; a relative one is relative to `base`.
///
/// # Errors
/// It is no valid pattern, a folder cannot be listed, or a listed folder holds a name that is not valid Unicode: no
/// one can tell whether the pattern means that.
pub(super) fn find(pattern: &str, base: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut folder = base.to_owned();
    let mut steps = Vec::new();
    for component in Path::new(pattern).components() {
        match component {
            Component::Prefix(_) | Component::RootDir => folder.push(component),
            Component::CurDir => {}
            Component::ParentDir | Component::Normal(_) => {
                let step = Step::new(pattern, &component.as_os_str().to_string_lossy())?;
                let again = matches!((&step, steps.last()), (Step::Folders, Some(Step::Folders)));
                if !again {
                    steps.push(step);
                }
            }
        }
    }
    let mut walk = Walk {
        pattern,
        found: BTreeSet::new(),
    };
    walk.go(&folder, &steps)?;
    Ok(walk.found)
}

/// One component of a pattern.
enum Step {
    /// A name as it is.
    Name(String),
    /// Names that match.
    Matching(Pattern),
    /// `**`: this folder and all below it.
    Folders,
}

impl Step {
    fn new(pattern: &str, component: &str) -> Result<Self> {
        if component == "**" {
            Ok(Self::Folders)
        } else if is_pattern(component) {
            Pattern::new(component).map(Self::Matching).map_err(|error| {
                Error::config(format!("`{pattern}` is not a valid pattern")).with_source(error)
            })
        } else {
            Ok(Self::Name(component.to_owned()))
        }
    }
}

struct Walk<'a> {
    pattern: &'a str,
    found: BTreeSet<PathBuf>,
}

impl Walk<'_> {
    fn go(&mut self, path: &Path, steps: &[Step]) -> Result<()> {
        let Some((step, rest)) = steps.split_first() else {
            self.found.insert(path.to_owned());
            return Ok(());
        };
        match step {
            Step::Name(name) => {
                let next = path.join(name);
                match fs::symlink_metadata(&next) {
                    Ok(_) => self.go(&next, rest),
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                        ) =>
                    {
                        Ok(())
                    }
                    Err(error) => Err(self.failed(path, error)),
                }
            }
            Step::Matching(wanted) => {
                for name in self.names(path)? {
                    if wanted.matches_with(&name, MATCHING) {
                        self.go(&path.join(name), rest)?;
                    }
                }
                Ok(())
            }
            Step::Folders => {
                self.go(path, rest)?;
                for name in self.names(path)? {
                    let below = path.join(&name);
                    if !name.starts_with('.') && below.is_dir() && !leads_back(&below, path) {
                        self.go(&below, steps)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// The names in a folder; none if it is no folder.
    fn names(&self, path: &Path) -> Result<Vec<String>> {
        let folder = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| self.failed(folder, error))? {
            let name = entry.map_err(|error| self.failed(folder, error))?.file_name();
            names.push(name.into_string().map_err(|name| {
                Error::input(format!(
                    "the folder `{}` holds a file whose name is not valid Unicode",
                    folder.display()
                ))
                .with_hint(format!(
                    "rename `{}` or move it elsewhere: nobody can tell whether `{}` means it",
                    name.display(),
                    self.pattern
                ))
            })?);
        }
        Ok(names)
    }

    fn failed(&self, folder: &Path, error: io::Error) -> Error {
        Error::input(format!(
            "cannot look for `{}` in `{}`",
            self.pattern,
            folder.display()
        ))
        .with_source(error)
    }
}

/// Whether `below`, in `folder`, is a link to a folder that `folder` is in: to follow it would never end.
fn leads_back(below: &Path, folder: &Path) -> bool {
    let back = below.is_symlink()
        && fs::canonicalize(below)
            .and_then(|target| Ok(fs::canonicalize(folder)?.starts_with(target)))
            .unwrap_or(false);
    if back {
        tracing::warn!(link = %below.display(), "a link leads back to a folder that it is in and is not followed");
    }
    back
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

    fn names(pattern: &str, base: &Path) -> Vec<String> {
        let found = find(pattern, base).unwrap();
        let names = found.iter().map(|path| path.strip_prefix(base).unwrap());
        names
            .map(|name| name.to_str().unwrap().replace('\\', "/"))
            .collect()
    }

    #[test]
    fn each_component_is_matched_on_its_own() {
        let folder = tree(&[
            "a/x.csv",
            "a/b/x.csv",
            "a/b/a/x.csv",
            "b/x.csv",
            ".c/x.csv",
            "x.csv",
            ".x.csv",
        ]);
        let base = folder.path();
        assert_eq!(names("*.csv", base), ["x.csv"]);
        assert_eq!(names(".*.csv", base), [".x.csv"]);
        assert_eq!(names("?/x.csv", base), ["a/x.csv", "b/x.csv"]);
        assert_eq!(names("./[!a]/*", base), ["b/x.csv"]);
        assert_eq!(
            names("**/*.csv", base),
            ["a/b/a/x.csv", "a/b/x.csv", "a/x.csv", "b/x.csv", "x.csv"]
        );
        // Two ways lead to some of these, which must not be read twice.
        assert_eq!(
            names("**/a/**/**/x.csv", base),
            ["a/b/a/x.csv", "a/b/x.csv", "a/x.csv"]
        );
        assert_eq!(names("x.csv/*", base), [""; 0]);
        let absolute = format!("{}/b/*", Pattern::escape(base.to_str().unwrap()));
        assert_eq!(find(&absolute, Path::new("elsewhere")).unwrap().len(), 1);
        assert!(find("a/[", base).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_back_is_not_followed_for_ever() {
        let folder = tree(&["a/x.csv", "c/y.csv"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("a/back")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("c"), folder.path().join("a/c")).unwrap();
        assert_eq!(
            names("**/*.csv", folder.path()),
            ["a/c/y.csv", "a/x.csv", "c/y.csv"]
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_that_is_not_unicode_is_an_error_that_names_the_folder() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;

        let folder = tree(&["in/a.csv", "other/a.csv"]);
        let strange = OsStr::from_bytes(b"M\xfcller.csv");
        fs::write(folder.path().join("in").join(strange), "x").unwrap();
        for pattern in ["in/*.csv", "in/*.txt", "**/*.csv", "i*/a*"] {
            let error = find(pattern, folder.path()).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains("/in`") && message.contains("not valid Unicode"),
                "{message}"
            );
            assert!(error.hints().next().unwrap().contains("rename"), "{error:?}");
        }
        assert_eq!(names("other/*.csv", folder.path()), ["other/a.csv"]);

        // A base of such a name is nothing that has to match.
        let base = folder.path().join(OsStr::from_bytes(b"export\xe9"));
        fs::create_dir(&base).unwrap();
        fs::write(base.join("b.csv"), "x").unwrap();
        assert_eq!(names("*.csv", &base), ["b.csv"]);
    }
}
