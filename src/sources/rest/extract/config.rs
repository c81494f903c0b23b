//! The settings `records`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::json_path::{self, SinglePath, Step};
use super::walk::Route;
use crate::component::Problems;

/// Where the records are in a response, and how they become rows.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RecordsConfig {
    /// The JSONPath (RFC 9535) of the records. Default: `$`, the whole body.
    ///
    /// An array is a list of records (`$.data` and `$.data[*]` mean the same), an object is one record, null means no
    /// records, and a string or number is an error. An element that is not an object becomes a row with the column `value`.
    /// A record is at most 16 MiB long. Filters, slices and `..` buffer the whole body, of at most 64 MiB.
    pub path: RecordsPath,
    /// What to do if the path does not exist in a response. Default `error`, so that a misspelled path does not look
    /// like a day without changes.
    pub missing: OnMissing,
    /// The column for the names of the records, if `path` selects an object whose members are the records. In a path with
    /// `.*`, the name is what the last `.*` matches.
    pub key_as: Option<String>,
    /// Additional columns, each with the path of its value within a row: `email: $.attributes.email.value`. Null where
    /// the path does not exist. With `explode`, a row is an element with the kept members of its record.
    pub columns: BTreeMap<String, SinglePath>,
    /// Turns each element of an array inside the record into a row.
    pub explode: Option<Explode>,
    /// The format of the body. Default `json`.
    pub format: BodyFormat,
}

/// The format of a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BodyFormat {
    /// One JSON value.
    #[default]
    Json,
    /// One JSON value per line; the path applies to each. An empty body has no records.
    Ndjson,
}

/// What to do if a path does not exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnMissing {
    /// Fail the run.
    #[default]
    Error,
    /// Treat the response as one without records.
    Empty,
}

/// An array in each record whose elements become rows.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explode {
    /// The path of the array within the record, such as `$.rows`. An object counts as an array of one element.
    pub path: ListPath,
    /// Which other members of the record each row keeps: `all`, `none` or a list of names. Default `all`, without the
    /// member that contains the array. A kept member with the same name as a member of the element and another value is an
    /// error: set `prefix`.
    #[serde(default)]
    pub keep: Keep,
    /// A prefix for the names of kept members.
    #[serde(default)]
    pub prefix: String,
    /// What to do with a record whose array is empty, null or missing. Default `drop`.
    #[serde(default)]
    pub empty: EmptyArray,
}

/// What to do with a record without elements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EmptyArray {
    /// Yield no row.
    #[default]
    Drop,
    /// Yield one row of the kept members.
    Keep,
}

/// Which members of a record its rows keep.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `all`, `none` or a list of names")]
pub(crate) enum Keep {
    /// `all` or `none`.
    Word(KeepWord),
    /// These members.
    These(Vec<String>),
}

/// All members of a record, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeepWord {
    /// All except the one that contains the array.
    All,
    /// None.
    None,
}

impl Default for Keep {
    fn default() -> Self {
        Self::Word(KeepWord::All)
    }
}

/// A JSONPath to records.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", example = "$.data[*]", example = "$.employees.*.rows")]
pub(crate) struct RecordsPath {
    pub(super) text: String,
    pub(super) query: serde_json_path::JsonPath,
}

impl TryFrom<String> for RecordsPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let query = json_path::check(&text)?;
        Ok(Self { text, query })
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

/// A JSONPath to an array in a record, with or without a final `[*]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", example = "$.rows", example = "$.workAssignments[*]")]
pub(crate) struct ListPath(pub(super) SinglePath);

impl std::fmt::Display for ListPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for ListPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        SinglePath::parse(text.trim_end().strip_suffix("[*]").unwrap_or(&text)).map(Self)
    }
}

impl RecordsConfig {
    /// Names of the columns that rows get besides those of the record. Members that `explode` keeps are not included:
    /// they may be objects that are kept for `columns` only.
    pub(in super::super) fn column_names(&self) -> impl Iterator<Item = String> {
        self.key_as.iter().cloned().chain(self.columns.keys().cloned())
    }

    /// Reports members that are kept and then lost: they are not declared and no column is taken from them.
    pub(in super::super) fn check_kept(&self, declared: &dyn Fn(&str) -> bool, problems: &mut Problems<'_>) {
        let Some(explode) = &self.explode else { return };
        let Keep::These(names) = &explode.keep else { return };
        for (index, name) in names.iter().enumerate() {
            let column = format!("{}{name}", explode.prefix);
            let first = Step::Name(column.clone());
            let mut paths = self.columns.values();
            let is_used = paths.any(|path| path.steps().first() == Some(&first));
            if !declared(&column) && !is_used {
                let mut explode = problems.at("explode");
                explode.at("keep").at_index(index).add_with_hint(
                    format!("`columns` does not declare `{column}`, so it would be dropped"),
                    format!("declare `{column}` in `columns`, or remove `{name}` from `keep`"),
                );
            }
        }
    }

    pub(in super::super) fn validate(&self, problems: &mut Problems<'_>) {
        if let Some(key) = &self.key_as {
            if key.is_empty() {
                problems.at("key_as").add("a column name must not be empty");
            }
            if Route::new(&self.path.text, true).is_partial {
                problems.at("key_as").add_with_hint(
                    format!(
                        "`key_as` requires a path of names, indexes, `.*` and `[*]`, found `{}`",
                        self.path.text
                    ),
                    "write the path of the object, such as `$.employees`",
                );
            }
        }
        for (column, path) in &self.columns {
            let mut columns = problems.at("columns");
            let mut here = columns.at(column);
            if column.is_empty() {
                here.add("a column name must not be empty");
            }
            if !matches!(path.steps().first(), Some(Step::Name(_))) {
                here.add_with_hint(
                    format!("`{path}` must start with the name of a member of the row"),
                    "write the path of the value in each row, such as `$.attributes.email.value`",
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
        let member = match self.path.0.steps().first() {
            Some(Step::Name(name)) => Some(name),
            _ => {
                problems.at("path").add_with_hint(
                    format!(
                        "`{}` must start with the name of a member of the record",
                        self.path.0
                    ),
                    "write the path of the array in each record, such as `$.rows`",
                );
                None
            }
        };
        if self.keep == Keep::Word(KeepWord::None) && !self.prefix.is_empty() {
            let message = "has no effect: `keep` is `none`, so there are no names to prefix";
            problems.at("prefix").add(message);
        }
        let Keep::These(names) = &self.keep else { return };
        for (index, name) in names.iter().enumerate() {
            let mut problems = problems.at("keep");
            let mut here = problems.at_index(index);
            if Some(name) == member {
                here.add(format!("`{name}` contains the array and cannot be kept"));
            } else if names[..index].contains(name) {
                here.add(format!("`{name}` is listed twice"));
            }
        }
    }
}
