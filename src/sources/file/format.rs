//! The file formats and how a pipeline file names them.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::csv::CsvOptions;
use crate::config::{ByteSize, Problems, suggestion};

/// A file format and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Format {
    /// Rows of text with a separator. All columns are text, so leading zeros survive; an empty cell has no value.
    Csv(CsvOptions),
    /// Parquet, with the types of its columns. Needs a file that is not packed as a whole.
    Parquet(ParquetOptions),
    /// A JSON object on each line.
    Ndjson(NdjsonOptions),
    /// A JSON array of objects, or one object.
    Json(JsonOptions),
}

/// Parquet has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetOptions {}

/// Settings of NDJSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NdjsonOptions {
    /// Longest record, in bytes: a number, or a text such as `4MiB`. 16 MiB if left out, 1 GiB at most. A longer one
    /// ends the run.
    pub max_record_bytes: MaxRecordBytes,
}

/// Settings of JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonOptions {
    /// Longest record, in bytes: a number, or a text such as `4MiB`. 16 MiB if left out, 1 GiB at most. A longer one
    /// ends the run.
    pub max_record_bytes: MaxRecordBytes,
}

/// Names of the formats.
pub(super) const FORMATS: [&str; 4] = ["csv", "parquet", "ndjson", "json"];

impl Format {
    /// The format of this name, with the settings it has by default.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "csv" => Self::Csv(CsvOptions::default()),
            "parquet" => Self::Parquet(ParquetOptions {}),
            "ndjson" => Self::Ndjson(NdjsonOptions::default()),
            "json" => Self::Json(JsonOptions::default()),
            _ => return None,
        })
    }
}

/// A length limit of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct MaxRecordBytes(ByteSize);

impl Default for MaxRecordBytes {
    /// A thousand times what a record of an HR file has, and still nothing to a machine.
    fn default() -> Self {
        Self(ByteSize(16 << 20))
    }
}

impl MaxRecordBytes {
    pub(super) fn get(self) -> usize {
        usize::try_from(self.0.0).unwrap_or(usize::MAX)
    }

    pub(super) fn validate(self, problems: &mut Problems<'_>) {
        // Offsets within a chunk are 32-bit numbers, and a chunk ends with the record that fills it.
        const MOST: usize = 1 << 30;
        if self.get() == 0 || self.get() > MOST {
            problems
                .at("max_record_bytes")
                .add(format!("must be 1 to {MOST} (1 GiB), not {}", self.get()));
        }
    }
}

/// The two forms of `format`, for the JSON Schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum NameOrSettings {
    Name(FormatName),
    Settings(Format),
}

/// A format with the settings it has by default.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum FormatName {
    Csv,
    Parquet,
    Ndjson,
    Json,
}

/// Reads `csv` like `{type: csv}`. Not an untagged enum, whose errors say only that nothing fitted.
pub(super) fn name_or_settings<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Format>, D::Error> {
    struct FormatVisitor;

    impl<'de> Visitor<'de> for FormatVisitor {
        type Value = Option<Format>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "one of {FORMATS:?}, or an object with a `type`")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
            Format::named(name).map(Some).ok_or_else(|| {
                let hint = suggestion(name, FORMATS).unwrap_or_default();
                E::custom(format!("`{name}` is not a format; {hint}"))
            })
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Format::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(FormatVisitor)
}
