//! A pipeline file's text as a tree: YAML, TOML and JSON say the same thing.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The notations a pipeline file may be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// `.yaml`, `.yml`
    Yaml,
    /// `.toml`
    Toml,
    /// `.json`
    Json,
}

impl Notation {
    /// By the file's extension.
    ///
    /// # Errors
    /// The extension is none of those known.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default()
            .to_ascii_lowercase();
        match extension.as_str() {
            "yaml" | "yml" => Ok(Self::Yaml),
            "toml" => Ok(Self::Toml),
            "json" => Ok(Self::Json),
            _ => Err(Error::config(format!(
                "cannot tell the notation of `{}` from its name",
                path.display()
            ))
            .with_hint("name it `.yaml`, `.yml`, `.toml` or `.json`")),
        }
    }
}

/// Reads the tree out of `text`, the content of the file at `path`. Keys keep their order; a key that stands twice is an
/// error.
///
/// # Errors
/// The text is not valid in its notation; the error names the file and the line.
pub fn parse(text: &str, notation: Notation, path: &Path) -> Result<Value> {
    let cannot = |what: &str, error: String| {
        Error::config(format!("`{}` is not valid {what}", path.display()))
            .with_source(std::io::Error::other(error))
    };
    match notation {
        Notation::Yaml => {
            let options = serde_saphyr::options! {
                strict_booleans: true,
                leading_zero_numbers_as_strings: true,
                underscored_numbers_as_strings: true,
                // The snippet would repeat lines of the file, which may hold what somebody should not have put there.
                with_snippet: false,
            };
            serde_saphyr::from_str_with_options(text, options).map_err(|e| {
                // The advice in the middle is for programmers.
                cannot(
                    "YAML",
                    e.to_string()
                        .replace(", set DuplicateKeyPolicy in Options if acceptable", ""),
                )
            })
        }
        Notation::Toml => {
            let table: toml::Table = toml::from_str(text).map_err(|e| {
                let line = e.span().map_or(0, |span| {
                    text[..span.start.min(text.len())].matches('\n').count() + 1
                });
                cannot("TOML", format!("line {line}: {}", e.message()))
            })?;
            serde_json::to_value(table).map_err(|e| cannot("TOML", e.to_string()))
        }
        Notation::Json => serde_json::from_str::<Strict>(text)
            .map(|strict| strict.0)
            .map_err(|e| cannot("JSON", e.to_string())),
    }
}

/// A JSON value whose maps have each key once; `serde_json` alone takes the last.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E: de::Error>(self) -> std::result::Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> std::result::Result<Value, E> {
                Ok(value.into())
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<Value, E> {
                Ok(value.into())
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<Value, E> {
                Ok(value.into())
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> std::result::Result<Value, E> {
                Ok(value.into())
            }
            fn visit_str<E: de::Error>(self, value: &str) -> std::result::Result<Value, E> {
                Ok(value.into())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(Strict(value)) = seq.next_element()? {
                    list.push(value);
                }
                Ok(list.into())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
                let mut out = Map::new();
                while let Some(key) = map.next_key::<String>()? {
                    if out.contains_key(&key) {
                        return Err(de::Error::custom(format!("the key `{key}` stands twice")));
                    }
                    let Strict(value) = map.next_value()?;
                    out.insert(key, value);
                }
                Ok(out.into())
            }
        }
        deserializer.deserialize_any(Any).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, notation: Notation) -> Result<Value> {
        super::parse(text, notation, Path::new("hr.yaml"))
    }

    #[test]
    fn all_notations_give_one_tree() {
        let yaml = parse(
            "sources:\n  a:\n    type: file\n    path: x.csv\n    n: [1, 'x']\n",
            Notation::Yaml,
        )
        .unwrap();
        let toml = parse(
            "[sources.a]\ntype = 'file'\npath = 'x.csv'\nn = [1, 'x']\n",
            Notation::Toml,
        )
        .unwrap();
        let json = parse(
            r#"{"sources":{"a":{"type":"file","path":"x.csv","n":[1,"x"]}}}"#,
            Notation::Json,
        )
        .unwrap();
        assert_eq!(yaml, toml);
        assert_eq!(yaml, json);
    }

    #[test]
    fn yaml_keeps_texts_that_look_like_something_else() {
        let tree = parse("a: 007\nb: no\nc: 1_000\nd: yes\n", Notation::Yaml).unwrap();
        assert_eq!(
            tree,
            serde_json::json!({"a": "007", "b": "no", "c": "1_000", "d": "yes"})
        );
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error() {
        for (text, notation) in [
            ("a: 1\na: 2\n", Notation::Yaml),
            ("a = 1\na = 2\n", Notation::Toml),
            ("{\"a\": 1,\n\"a\": 2}", Notation::Json),
        ] {
            let error = parse(text, notation).unwrap_err().chain();
            assert!(
                error.starts_with("`hr.yaml` is not valid ") && error.contains("line 2"),
                "{error}"
            );
        }
    }
}
