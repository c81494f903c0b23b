//! Parses a pipeline file: YAML, TOML and JSON become the same tree.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The notation of a pipeline file.
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
    /// By the extension of the file.
    ///
    /// # Errors
    /// The extension is unknown.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Ok(Self::Yaml),
            "toml" => Ok(Self::Toml),
            "json" => Ok(Self::Json),
            _ => {
                let error = format!("unknown extension of the pipeline file `{}`", path.display());
                Err(Error::config(error).with_hint("name it `.yaml`, `.yml`, `.toml` or `.json`"))
            }
        }
    }
}

/// Parses `text`, the content of the file at `path`. Keys keep their order; a duplicate key is an error.
///
/// # Errors
/// The text is invalid in its notation; the error names the file and the line.
pub(crate) fn parse(text: &str, notation: Notation, path: &Path) -> Result<Value> {
    let cannot = |what: &str, error: String| {
        Error::config(format!("`{}` is not valid {what}", path.display())).with_source(error)
    };
    match notation {
        Notation::Yaml => {
            let options = serde_saphyr::options! {
                strict_booleans: true,
                leading_zero_numbers_as_strings: true,
                underscored_numbers_as_strings: true,
                // A snippet would repeat lines of the file, which may hold a secret.
                with_snippet: false,
            };
            // For programmers.
            let advice = ", set DuplicateKeyPolicy in Options if acceptable";
            serde_saphyr::from_str_with_options(text, options)
                .map_err(|error| cannot("YAML", error.to_string().replace(advice, "")))
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

/// A JSON value without duplicate keys, of which `serde_json` would take the last.
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
                        return Err(de::Error::custom(format!("duplicate key `{key}`")));
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
    fn parses_all_notations_to_the_same_tree() {
        let expected =
            serde_json::json!({"sources": {"a": {"path": "x.csv", "n": [1, "x", null, 1.5, true, -1]}}});
        assert_eq!(parse(&expected.to_string(), Notation::Json).unwrap(), expected);
        let yaml = "sources:\n  a:\n    path: x.csv\n    n: [1, 'x', null, 1.5, true, -1]\n";
        assert_eq!(parse(yaml, Notation::Yaml).unwrap(), expected);
        let toml = parse("[sources.a]\npath = 'x.csv'\nn = [1, 'x']\n", Notation::Toml).unwrap();
        assert_eq!(toml["sources"]["a"]["n"], serde_json::json!([1, "x"]));
        let texts = parse("[007, no, 1_000, yes]", Notation::Yaml).unwrap();
        assert_eq!(texts, serde_json::json!(["007", "no", "1_000", "yes"]));
    }

    #[test]
    fn rejects_duplicate_keys() {
        for (text, notation) in [
            ("a: 1\na: 2\n", Notation::Yaml),
            ("a = 1\na = 2\n", Notation::Toml),
            ("{\"a\": 1,\n\"a\": 2}", Notation::Json),
        ] {
            let error = parse(text, notation).unwrap_err().chain();
            let holds = error.starts_with("`hr.yaml` is not valid ") && error.contains("line 2");
            assert!(holds, "{error}");
        }
    }
}
