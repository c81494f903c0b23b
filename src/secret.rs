//! A secret is a type: given by reference, read late, never printed, never serialised.
//!
//! A pipeline file holds a [`SecretRef`] (`{env: NAME}` or `{file: PATH}`), never the secret itself; a text where a
//! reference belongs is refused without being repeated. [`SecretRef::read`] gives a [`Secret`], which has no
//! `Serialize` and no `Display`, and whose `Debug` shows nothing.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::error::{Error, Result};

/// A secret in memory. Wiped when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes over a text that must not be shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself. Every call is a place to look at in a review.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    /// The name of an environment variable.
    Env(String),
    /// The path of a file whose content, without line ends at its end, is the secret. Relative paths are relative
    /// to the pipeline file.
    File(PathBuf),
    /// The first line of standard input. For the command line only; a pipeline file cannot ask for it.
    #[schemars(skip)]
    StandardInput,
}

impl SecretRef {
    /// Reads the secret. `base` is the folder that relative paths are relative to.
    ///
    /// # Errors
    /// The variable is not set or empty, or the file cannot be read or is empty. The text names the place, never
    /// the content.
    pub fn read(&self, base: &Path) -> Result<Secret> {
        match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(text) if !text.is_empty() => Ok(Secret::new(text)),
                Ok(_) => Err(Error::config(format!("the environment variable `{name}`, which should hold a secret, is empty"))),
                Err(std::env::VarError::NotPresent) => {
                    Err(Error::config(format!("the environment variable `{name}`, which should hold a secret, is not set"))
                        .with_hint(format!("set it in the environment of this process, or use `{{file: …}}` instead of `{{env: {name}}}`")))
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    Err(Error::config(format!("the environment variable `{name}`, which should hold a secret, is not valid UTF-8")))
                }
            },
            Self::File(path) => {
                let path = base.join(path);
                let text = std::fs::read_to_string(&path)
                    .map_err(|e| Error::config(format!("cannot read the secret file `{}`", path.display())).with_source(e))?;
                let text = text.trim_end_matches(['\r', '\n']);
                if text.is_empty() {
                    return Err(Error::config(format!("the secret file `{}` is empty", path.display())));
                }
                Ok(Secret::new(text))
            }
            Self::StandardInput => {
                let mut line = String::new();
                std::io::stdin()
                    .read_line(&mut line)
                    .map_err(|e| Error::config("cannot read the secret from standard input").with_source(e))?;
                match line.trim_end_matches(['\r', '\n']) {
                    "" => Err(Error::config("standard input, whose first line should be a secret, is empty")),
                    text => Ok(Secret::new(text)),
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RefVisitor;
        const FORM: &str = "a secret is given by reference: `{env: NAME}` or `{file: PATH}`";

        impl<'de> Visitor<'de> for RefVisitor {
            type Value = SecretRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FORM)
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<SecretRef, E> {
                Err(E::custom(format!(
                    "{FORM}, never as text in the file (the text found here is not repeated)"
                )))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<SecretRef, E> {
                self.visit_str("")
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretRef, E> {
                self.visit_str("")
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretRef, E> {
                self.visit_str("")
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretRef, E> {
                self.visit_str("")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
                let found = match map.next_key::<String>()?.as_deref() {
                    Some("env") => SecretRef::Env(map.next_value()?),
                    Some("file") => SecretRef::File(map.next_value()?),
                    Some(other) => return Err(de::Error::unknown_field(other, &["env", "file"])),
                    None => return Err(de::Error::custom(FORM)),
                };
                if map.next_key::<String>()?.is_some() {
                    return Err(de::Error::custom(
                        "a secret has one place: give `env` or `file`, not both",
                    ));
                }
                Ok(found)
            }
        }

        deserializer.deserialize_any(RefVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert!(!format!("{:?}", Secret::new("hunter2-marker")).contains("hunter2"));
    }

    #[test]
    fn a_value_is_refused_and_not_repeated() {
        for value in [r#""hunter2-marker""#, "271828", "-271828", "271828.5", "true"] {
            let error = serde_json::from_str::<SecretRef>(value).unwrap_err().to_string();
            assert!(error.contains("{env: NAME}"), "{error}");
            assert!(
                !["hunter2", "271828", "true"]
                    .iter()
                    .any(|value| error.contains(value)),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_loses_its_line_end_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("s"), " pass word \r\n").unwrap();
        let secret = SecretRef::File("s".into()).read(folder.path()).unwrap();
        assert_eq!(secret.expose(), " pass word ");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = SecretRef::Env("HRSINK_NO_SUCH_VARIABLE".into())
            .read(Path::new(""))
            .unwrap_err();
        assert!(error.to_string().contains("HRSINK_NO_SUCH_VARIABLE"));
    }
}
