//! The settings `records`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::super::json_path::{self, SinglePath, Step};
use super::plan::Route;
use crate::config::Problems;

/// Where the records are in an answer, and how rows are made of them.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecordsConfig {
    /// The JSONPath (RFC 9535) to the records. Default: `$`, the whole body.
    ///
    /// An array at the path is a list of records; `$.data` and `$.data[*]` mean the same. An object there is one
    /// record, null is no record, and a text or number is an error. An element that is not an object becomes a record
    /// with the one column `value`. Paths of names, indexes, `.*` and `[*]` are followed while the body streams by;
    /// filters, slices and `..` need the whole body in memory.
    pub path: RecordsPath,
    /// What it means when the path leads nowhere. Default `error`: a misspelt path must not look like a day on which
    /// nothing happened.
    pub missing: Missing,
    /// The path names an object whose members are the records; this column gets the member's name. In a path with
    /// `.*` it is the name that the last `.*` stands for.
    pub key_as: Option<String>,
    /// Further columns, and where their values are within a row, such as `email: $.attributes.email.value`; null where
    /// there is nothing. With `explode`, a row is an element and what it keeps of its record.
    pub columns: BTreeMap<String, SinglePath>,
    /// Each record has a list inside, whose elements become the rows.
    pub explode: Option<Explode>,
    /// What becomes of objects and lists in a row. Default `keep`.
    pub nested: Nested,
    /// How the body is written. Default `json`.
    pub format: BodyFormat,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyFormat {
    /// One JSON value.
    #[default]
    Json,
    /// A JSON value on each line; the path holds for each of them. A body without any line has no record.
    Ndjson,
}

/// What a path that leads nowhere means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The answer is not what was expected.
    #[default]
    Error,
    /// There are no records.
    Empty,
}

/// What becomes of objects and lists in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Nested {
    /// They stay, and SQL reaches into them: `address['city']`.
    #[default]
    Keep,
    /// They become their JSON text.
    Json,
}

/// A list in each record whose elements become rows.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Explode {
    /// The list within the record, such as `$.rows` or `$.rows[*]`. An object there is a list of one.
    pub path: ListPath,
    /// Which of the record's other members every row keeps: `all`, `none`, or a list of names. Default `all`. The
    /// member that the list is in is never kept.
    ///
    /// A member that has the name of one of the element's is an error unless both hold the same: set `prefix`.
    #[serde(default)]
    pub keep: Keep,
    /// Put before the names of kept members. Default: nothing.
    #[serde(default)]
    pub prefix: String,
    /// What becomes of a record whose list is empty, null or not there. Default `drop`.
    #[serde(default)]
    pub empty: Empty,
}

/// What becomes of a record without elements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Empty {
    /// It gives no row.
    #[default]
    Drop,
    /// It gives one row of what is kept.
    Keep,
}

/// Which members of a record its rows keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Keep {
    /// All but the one with the list.
    #[default]
    All,
    /// None.
    None,
    /// These.
    These(Vec<String>),
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Keep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, `none` or a list of names")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Keep, E> {
                match word {
                    "all" => Ok(Keep::All),
                    "none" => Ok(Keep::None),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Keep, A::Error> {
                let mut these = Vec::new();
                while let Some(name) = names.next_element()? {
                    these.push(name);
                }
                Ok(Keep::These(these))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Keep {
    fn schema_name() -> Cow<'static, str> {
        "Keep".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`all`, `none`, or the names of the members that rows keep.",
            "anyOf": [
                {"enum": ["all", "none"]},
                {"type": "array", "items": {"type": "string"}},
            ],
        })
    }
}

/// A JSONPath to records.
#[derive(Debug, Clone)]
pub struct RecordsPath {
    pub(super) text: String,
    pub(super) query: serde_json_path::JsonPath,
}

impl RecordsPath {
    /// Reads a path.
    ///
    /// # Errors
    /// It is no JSONPath; in words for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self {
            query: json_path::check(text)?,
            text: text.to_owned(),
        })
    }
}

impl Default for RecordsPath {
    fn default() -> Self {
        Self {
            text: "$".to_owned(),
            query: serde_json_path::JsonPath::default(),
        }
    }
}

impl<'de> Deserialize<'de> for RecordsPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for RecordsPath {
    fn schema_name() -> Cow<'static, str> {
        "RecordsPath".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A JSONPath (RFC 9535).",
            "examples": ["$.data[*]", "$.employees.*.rows", "$['value']"],
        })
    }
}

/// A path to one list in a record, with or without a final `[*]`.
#[derive(Debug, Clone)]
pub struct ListPath(pub(super) SinglePath);

impl<'de> Deserialize<'de> for ListPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let list = text.trim_end().strip_suffix("[*]").unwrap_or(&text);
        SinglePath::parse(list).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for ListPath {
    fn schema_name() -> Cow<'static, str> {
        "ListPath".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A JSONPath (RFC 9535) of names and indexes to a list, with or without a final `[*]`.",
            "examples": ["$.rows", "$.workAssignments[*]"],
        })
    }
}

impl RecordsConfig {
    /// Names of the columns that rows get besides what is in a record as it stands. What `explode` keeps is not among
    /// them: it may be an object that is kept for `columns` only.
    pub(in super::super) fn column_names(&self) -> impl Iterator<Item = String> {
        self.key_as.iter().cloned().chain(self.columns.keys().cloned())
    }

    /// Notes what is kept of records and then lost, since it is not among the declared columns and nothing is picked out
    /// of it.
    pub(in super::super) fn check_kept(&self, declared: &dyn Fn(&str) -> bool, problems: &mut Problems<'_>) {
        let Some(explode) = &self.explode else { return };
        let Keep::These(names) = &explode.keep else { return };
        for (index, name) in names.iter().enumerate() {
            let column = format!("{}{name}", explode.prefix);
            let is_picked_from = self
                .columns
                .values()
                .any(|path| matches!(path.steps().first(), Some(Step::Name(first)) if *first == column));
            if !declared(&column) && !is_picked_from {
                let mut explode = problems.at("explode");
                let mut keep = explode.at("keep");
                keep.at_index(index).add_with_hint(
                    format!("`columns` does not name `{column}`, so what is kept here would be left out"),
                    format!("declare `{column}` in `columns`, or take `{name}` out of `keep`"),
                );
            }
        }
    }

    /// Notes what is wrong with the settings.
    pub(in super::super) fn validate(&self, problems: &mut Problems<'_>) {
        if let Some(key) = &self.key_as {
            if key.is_empty() {
                problems.at("key_as").add("a column needs a name; it is empty");
            }
            if let Route::Query { .. } = Route::of(&self.path.text, true) {
                problems.at("key_as").add_with_hint(
                    format!(
                        "`{}` has filters, slices or `..`, and a member's name can be taken only from a path of names, indexes, `.*` and `[*]`",
                        self.path.text
                    ),
                    "write the path to the object, such as `$.employees`",
                );
            }
        }
        for (column, path) in &self.columns {
            let mut here = problems.at("columns");
            let mut here = here.at(column);
            if column.is_empty() {
                here.add("a column needs a name; it is empty");
            }
            if !matches!(path.steps().first(), Some(Step::Name(_))) {
                here.add_with_hint(
                    format!("`{path}` is not within a row, which is an object"),
                    "write where the value is in each row, such as `$.attributes.email.value`",
                );
            }
        }
        if let Some(explode) = &self.explode {
            explode.validate(&mut problems.at("explode"));
        }
    }
}

impl Explode {
    fn validate(&self, problems: &mut Problems<'_>) {
        let list = match self.path.0.steps().first() {
            Some(Step::Name(name)) => Some(name),
            Some(Step::Index(_)) => {
                problems.at("path").add(format!(
                    "`{}` begins with an index, and a record is an object",
                    self.path.0
                ));
                None
            }
            None => {
                problems.at("path").add_with_hint(
                    "`$` is the record itself, and a list within it is wanted",
                    "write where the list is in each record, such as `$.rows`",
                );
                None
            }
        };
        match &self.keep {
            Keep::All => {}
            Keep::None if self.prefix.is_empty() => {}
            Keep::None => problems
                .at("prefix")
                .add("there is nothing to put it before: `keep` is `none`"),
            Keep::These(names) => {
                for (index, name) in names.iter().enumerate() {
                    let mut problems = problems.at("keep");
                    let mut here = problems.at_index(index);
                    if Some(name) == list {
                        here.add(format!("`{name}` holds the list, and is not kept"));
                    } else if names[..index].contains(name) {
                        here.add(format!("`{name}` is in the list twice"));
                    }
                }
            }
        }
    }
}
