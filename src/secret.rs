//! Secrets: specified by reference, read late, never printed, never serialized.
//!
//! A pipeline file holds a [`SecretRef`] (`{env: NAME}` or `{file: PATH}`); a literal text is refused without repeating
//! it. A [`Secret`] has no `Serialize` and no `Display`. A secret file that other users can access is refused, unless
//! [`SecretFiles`] allows it; on Windows permissions are not checked.

use std::collections::BTreeSet;
use std::env::VarError;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;

use crate::component::RunInfo;
use crate::error::{Error, Result};

/// A secret in memory. Wiped when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a text that must not be shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text. Review every call.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Which secret files are accepted; by default those that only their owner can access. Cheap to clone.
///
/// The mode of the file counts, behind any links. On Windows every file is accepted.
#[derive(Debug, Clone, Default)]
pub struct SecretFiles {
    /// `None`: private files only. Otherwise the other files that a warning was logged for.
    any: Option<Arc<Mutex<BTreeSet<PathBuf>>>>,
}

impl SecretFiles {
    /// Accepts every file; logs a warning once for each that other users can access.
    pub fn any() -> Self {
        Self {
            any: Some(Arc::default()),
        }
    }

    /// Those of a run: a service of it, or the default.
    pub fn of(run: &RunInfo) -> Self {
        run.services.get_or_default()
    }

    #[cfg(unix)]
    fn check(&self, path: &Path, file: &File) -> Result<()> {
        let metadata = file.metadata().map_err(|error| unreadable(path, error))?;
        let mode = crate::disk::private_file::mode(&metadata);
        if mode & crate::disk::private_file::OTHERS == 0 {
            return Ok(());
        }
        let chmod = crate::disk::private_file::chmod("600", path);
        if let Some(warned) = &self.any {
            let mut warned = warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.insert(path.to_owned()) {
                tracing::warn!(
                    file = %path.display(),
                    mode = %format_args!("{mode:04o}"),
                    "other users can access this secret file; run `{chmod}`"
                );
            }
            return Ok(());
        }
        Err(Error::config(format!(
            "other users can access the secret file `{}` (mode {mode:04o})",
            path.display()
        ))
        .with_hint(format!("run `{chmod}`"))
        .with_hint(
            "if a platform mounts it, set the mode there (`defaultMode: 0400` of a Kubernetes secret volume, `mode: 0400` \
             of a Docker secret)",
        )
        .with_hint(
            "if that is not possible, accept such files with `--insecure-secret-files` or \
             HRSINK_INSECURE_SECRET_FILES=1",
        ))
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as on Unix")]
    fn check(&self, _: &Path, _: &File) -> Result<()> {
        Ok(())
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::config(format!("cannot read the secret file `{}`", path.display())).with_source(error)
}

/// Where a secret is stored.
#[derive(Debug, Clone, PartialEq, Eq, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(example = serde_json::json!({"env": "HR_SECRET"}))]
pub enum SecretRef {
    /// The name of an environment variable.
    Env(String),
    /// The path of a file with the secret, relative to the pipeline file; trailing line breaks are removed. On Unix, only
    /// its owner may have access (mode 0600 or 0400), unless hrsink runs with `--insecure-secret-files`.
    File(PathBuf),
    /// The first line of standard input; for the command line only.
    #[schemars(skip)]
    StandardInput,
}

impl SecretRef {
    /// Reads the secret. `base` is the folder that relative paths are relative to.
    ///
    /// # Errors
    /// The variable is not set or empty, or the file cannot be read, is empty, or is not accepted by `files`. The error
    /// never contains the content.
    pub fn read(&self, base: &Path, files: &SecretFiles) -> Result<Secret> {
        match self {
            Self::Env(name) => {
                let wrong = |what| {
                    Error::config(format!(
                        "the environment variable `{name}` for a secret is {what}"
                    ))
                };
                match std::env::var(name) {
                    Ok(text) if !text.is_empty() => Ok(Secret::new(text)),
                    Ok(_) => Err(wrong("empty")),
                    Err(VarError::NotPresent) => Err(wrong("not set").with_hint(format!(
                        "set it in the environment of this process, or use `{{file: …}}` instead of `{{env: {name}}}`"
                    ))),
                    Err(VarError::NotUnicode(_)) => Err(wrong("not valid UTF-8")),
                }
            }
            Self::File(path) => {
                let path = base.join(path);
                // The checked file is the one that is read, also if the path changes in between.
                let mut file = File::open(&path).map_err(|error| unreadable(&path, error))?;
                files.check(&path, &file)?;
                let mut text = String::new();
                file.read_to_string(&mut text)
                    .map_err(|error| unreadable(&path, error))?;
                match text.trim_end_matches(['\r', '\n']) {
                    "" => Err(Error::config(format!(
                        "the secret file `{}` is empty",
                        path.display()
                    ))),
                    text => Ok(Secret::new(text)),
                }
            }
            Self::StandardInput => {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line).map_err(|e| {
                    Error::config("cannot read the secret from standard input").with_source(e)
                })?;
                match line.trim_end_matches(['\r', '\n']) {
                    "" => Err(Error::config(
                        "standard input is empty: its first line must be the secret",
                    )),
                    text => Ok(Secret::new(text)),
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const FORM: &str = "a secret must be a reference: `{env: NAME}` or `{file: PATH}`";
        let Value::Object(map) = Value::deserialize(deserializer)? else {
            return Err(D::Error::custom(format!(
                "{FORM}, not text in the file (it is not repeated here)"
            )));
        };
        if map.len() > 1 {
            return Err(D::Error::custom("set `env` or `file`, not both"));
        }
        match map.into_iter().next() {
            Some((key, Value::String(name))) if key == "env" => Ok(Self::Env(name)),
            Some((key, Value::String(path))) if key == "file" => Ok(Self::File(path.into())),
            Some((key, _)) if key != "env" && key != "file" => {
                Err(D::Error::unknown_field(&key, &["env", "file"]))
            }
            _ => Err(D::Error::custom(FORM)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_the_text_in_debug() {
        assert!(!format!("{:?}", Secret::new("hunter2-marker")).contains("hunter2"));
    }

    #[test]
    fn refuses_literal_values_without_repeating_them() {
        for value in [
            r#""hunter2-marker""#,
            "271828",
            "-271828.5",
            "true",
            r#"["hunter2"]"#,
            r#"{"env": 271828}"#,
        ] {
            let error = serde_json::from_str::<SecretRef>(value).unwrap_err().to_string();
            assert!(error.contains("{env: NAME}"), "{error}");
            let words = ["hunter2", "271828", "true"];
            assert!(!words.iter().any(|word| error.contains(word)), "{error}");
        }
    }

    #[test]
    fn names_a_missing_variable() {
        let variable = SecretRef::Env("HRSINK_NO_SUCH_VARIABLE".into());
        let error = variable.read(Path::new(""), &SecretFiles::default()).unwrap_err();
        assert!(error.to_string().contains("HRSINK_NO_SUCH_VARIABLE"));
    }

    #[cfg(unix)]
    #[test]
    fn accepts_only_files_that_no_other_user_can_access() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        std::fs::write(&path, " pass word \r\n").unwrap();
        symlink("s", folder.path().join("link")).unwrap();
        for mode in [0o604, 0o640, 0o602, 0o620, 0o610, 0o600] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            for name in ["s", "link"] {
                let read = SecretRef::File(name.into()).read(folder.path(), &SecretFiles::default());
                // Only the line end is removed.
                let expected = (mode == 0o600).then_some(" pass word ");
                assert_eq!(read.ok().as_ref().map(Secret::expose), expected, "{mode:o}");
            }
        }
    }
}
