//! Finds what a pattern stands for. `glob` says whether a name matches; the folders are gone through here, because
//! its own walk passes over names that are not valid Unicode or panics on them, and takes a base folder for a pattern.
//!
//! A pattern is about one folder: the part of it before the first wildcard. Links within that folder are followed, and
//! one that leads out of it is refused, so that whoever may write into the folder cannot have any other file sent.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use glob::Pattern;

use super::pattern::{MATCH_OPTIONS, is_pattern};
use crate::error::{Error, Result};

/// Every file and folder that `pattern` stands for, by the path it was found at, with the path that it has behind all
/// links; a relative pattern is relative to `base`.
///
/// # Errors
/// It is no valid pattern, a folder cannot be listed, a link leads nowhere or out of the pattern's folder, or a listed
/// folder holds a name that is not valid Unicode: no one can tell whether the pattern means that.
pub(super) fn find(pattern: &str, base: &Path) -> Result<BTreeMap<PathBuf, PathBuf>> {
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
    let fixed = steps.iter().map_while(|step| match step {
        Step::Name(name) => Some(name),
        Step::Matching(_) | Step::Folders => None,
    });
    let mut walk = Walk {
        pattern,
        root: fixed.fold(folder.clone(), |root, name| root.join(name)),
        found: BTreeMap::new(),
        entered: HashMap::new(),
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
    /// The folder that the pattern is about.
    root: PathBuf,
    found: BTreeMap<PathBuf, PathBuf>,
    /// The folders that a `**` has gone through, behind all links, by the number of steps that were left, with the path
    /// each was first found at. From there on the same files are found again, and where links cross, for ever.
    entered: HashMap<(PathBuf, usize), PathBuf>,
}

impl Walk<'_> {
    fn go(&mut self, path: &Path, steps: &[Step]) -> Result<()> {
        let Some((step, rest)) = steps.split_first() else {
            let target = self.follow(path)?;
            if !target.is_dir() {
                self.require_within(path, &target)?;
            }
            self.found.insert(path.to_owned(), target);
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
                    if wanted.matches_with(&name, MATCH_OPTIONS) {
                        self.go(&path.join(name), rest)?;
                    }
                }
                Ok(())
            }
            Step::Folders => {
                if !self.enter(path, steps.len())? {
                    return Ok(());
                }
                self.go(path, rest)?;
                for name in self.names(path)? {
                    let below = path.join(&name);
                    if name.starts_with('.') || !below.is_dir() || leads_back(&below, path) {
                        continue;
                    }
                    if below.is_symlink() {
                        // Before all that is behind it is gone through.
                        self.require_within(&below, &self.follow(&below)?)?;
                    }
                    self.go(&below, steps)?;
                }
                Ok(())
            }
        }
    }

    /// Whether a `**` with so many steps left has not gone through this folder yet.
    fn enter(&mut self, path: &Path, steps: usize) -> Result<bool> {
        if !or_here(path).is_dir() {
            return Ok(true);
        }
        let place = (self.follow(or_here(path))?, steps);
        if let Some(first) = self.entered.get(&place) {
            if first != path {
                tracing::warn!(
                    folder = %path.display(),
                    same = %first.display(),
                    pattern = self.pattern,
                    "a folder is found by two names and is gone through once"
                );
            }
            return Ok(false);
        }
        self.entered.insert(place, path.to_owned());
        Ok(true)
    }

    /// The names in a folder, in their order; none if it is no folder.
    fn names(&self, path: &Path) -> Result<Vec<String>> {
        let folder = or_here(path);
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
        // The name that a file is found by must not depend on the order in which the system lists them.
        names.sort_unstable();
        Ok(names)
    }

    /// Where `path` is behind all links.
    fn follow(&self, path: &Path) -> Result<PathBuf> {
        fs::canonicalize(path).map_err(|error| {
            let gone = error.kind() == io::ErrorKind::NotFound;
            let error = Error::input(format!(
                "cannot follow `{}`, which `{}` stands for",
                path.display(),
                self.pattern
            ))
            .with_source(error);
            if gone {
                error.with_hint("it is a link that leads nowhere, or was taken away just now")
            } else {
                error
            }
        })
    }

    /// Refuses what lies outside the pattern's folder.
    fn require_within(&self, path: &Path, target: &Path) -> Result<()> {
        let root = fs::canonicalize(or_here(&self.root)).map_err(|error| self.failed(&self.root, error))?;
        if target.starts_with(&root) {
            return Ok(());
        }
        Err(Error::input(format!(
            "`{}` leads to `{}`, out of the folder `{}` that `{}` is about",
            path.display(),
            target.display(),
            or_here(&self.root).display(),
            self.pattern
        ))
        .with_hint(
            "a pattern takes what lies in its folder: if this file is meant, name it in the `path` of a source; if \
             not, find out who put the link there",
        ))
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

/// A path that can be opened: the empty one is the current folder.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
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
        let names = found.keys().map(|path| path.strip_prefix(base).unwrap());
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
        assert_eq!(names("**/*.csv", folder.path()), ["a/c/y.csv", "a/x.csv"]);
        assert_eq!(names("c/**/*.csv", folder.path()), ["c/y.csv"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_that_cross_are_gone_through_once() {
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
            let found = find(pattern, folder.path()).unwrap();
            let targets: std::collections::BTreeSet<_> = found.values().collect();
            assert_eq!(targets.len(), count, "{pattern}");
            assert!(
                found.len() <= 2 * count * letters.len(),
                "{pattern}: {}",
                found.len()
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_within_the_folder_are_followed_and_links_out_of_it_refused() {
        use std::os::unix::fs::symlink;

        let folder = tree(&[
            "in/2026-03.csv",
            "in/..data_1/c.csv",
            "in/sub/d.csv",
            "out/secret.csv",
            "out/b/e.csv",
        ]);
        let base = folder.path();
        // As Kubernetes mounts files, and as exports mark the newest.
        symlink("..data_1", base.join("in/..data")).unwrap();
        symlink("..data/c.csv", base.join("in/c.csv")).unwrap();
        symlink("2026-03.csv", base.join("in/latest.csv")).unwrap();
        assert_eq!(
            names("in/*.csv", base),
            ["in/2026-03.csv", "in/c.csv", "in/latest.csv"]
        );
        let found = find("in/c*.csv", base).unwrap();
        let target = fs::canonicalize(base.join("in/..data_1/c.csv")).unwrap();
        assert_eq!(found.into_values().collect::<Vec<_>>(), [target]);
        // The folder itself may be a link, and what is named is what is meant.
        symlink("in", base.join("export")).unwrap();
        assert_eq!(names("export/l*.csv", base), ["export/latest.csv"]);
        assert_eq!(names("in/../out/s*.csv", base), ["in/../out/secret.csv"]);

        let refused = |pattern: &str, link: &str, target: &str| {
            let error = find(pattern, base).unwrap_err();
            let text = error.chain();
            assert_eq!(error.kind(), crate::error::ErrorKind::Input);
            assert!(text.contains(&format!("{link}` leads to `")), "{text}");
            assert!(text.contains(&format!("{target}`, out of")), "{text}");
            assert!(error.hints().next().unwrap().contains("`path`"), "{error:?}");
        };
        symlink(base.join("out/secret.csv"), base.join("in/z.csv")).unwrap();
        refused("in/*.csv", "in/z.csv", "out/secret.csv");
        refused("in/**/*.csv", "in/z.csv", "out/secret.csv");
        refused("in/[z].csv", "in/z.csv", "out/secret.csv");
        fs::remove_file(base.join("in/z.csv")).unwrap();
        // By way of a folder, or of `..`.
        symlink("../out", base.join("in/way")).unwrap();
        refused("in/*/s*.csv", "in/way/secret.csv", "out/secret.csv");
        refused("in/**/*.csv", "in/way", "out");
        refused(
            "in/s*/../../out/b/*.csv",
            "in/sub/../../out/b/e.csv",
            "out/b/e.csv",
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_is_named() {
        let folder = tree(&["a.csv"]);
        std::os::unix::fs::symlink("gone", folder.path().join("b.csv")).unwrap();
        let error = find("*.csv", folder.path()).unwrap_err();
        assert!(error.to_string().contains("b.csv`"), "{error}");
        assert!(
            error.hints().next().unwrap().contains("leads nowhere"),
            "{error:?}"
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
