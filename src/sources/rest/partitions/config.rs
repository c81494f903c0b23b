//! What users write about reading once for each of several values.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::json_path::SinglePath;

/// Reads once for each of several values: the `for_each:` block of a source. `values` are written here, `key` takes them
/// out of the rows of a `parent`; with both, the parent is read once for each combination of `values`.
///
/// ```yaml
/// for_each:
///   parent: {request: {path: Employees}, records: {path: "$.Data"}}
///   key: {id: $.XRefCode}
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "P: serde::de::DeserializeOwned"))]
pub struct ForEachConfig<P> {
    /// Placeholders and the values of each: texts, whole numbers or booleans. Several placeholders give every
    /// combination, the last one changing fastest.
    #[serde(default)]
    pub values: Map<String, Value>,
    /// What is read first, and gives the keys.
    #[serde(default)]
    pub parent: Option<P>,
    /// Placeholders and where their values are in a row of the parent.
    #[serde(default)]
    pub key: BTreeMap<String, SinglePath>,
    /// Columns that every row gets out of its parent's row, and where they are in it; null where there is nothing. Not
    /// with `group`.
    #[serde(default)]
    pub keep: BTreeMap<String, SinglePath>,
    /// Asks for so many parents at a time, from 1 to 10,000: the placeholder stands for all their keys, joined by
    /// `separator`; alone in a text of a JSON body it is a list, and alone in a list of `query` or `form` the parameter
    /// is repeated. Default: one by one.
    pub group: Option<usize>,
    /// What joins the keys of a group. Default: a comma.
    pub separator: Option<String>,
    /// What becomes of a parent's row without its key: nothing there, null, or a blank text. Default: `error`.
    #[serde(default)]
    pub on_missing_key: OnMissingKey,
    /// Whether a key that comes again is not asked for again. The keys are kept in memory for it. Default: true.
    #[serde(default = "yes")]
    pub distinct: bool,
    /// Whether every row gets the values it was read for as columns, named as their placeholders. The keys of a group
    /// are none. Default: true.
    #[serde(default = "yes")]
    pub columns: bool,
    /// How many values are asked for at the same time, from 1 to 64. Rows keep the order of the values all the same.
    /// Default: 4.
    #[serde(default = "four")]
    pub max_parallel: usize,
    /// What becomes of a value that the service answers with one of `skip_statuses`. Default: `fail`.
    #[serde(default)]
    pub on_error: OnError,
    /// The statuses that `on_error: skip` leaves out, from 400 to 499 but 408 and 429. Default: 403 and 404.
    pub skip_statuses: Option<Vec<u16>>,
    /// The share of values, between 0 and 1, that `on_error: skip` may leave out; more fail the run at its end. When
    /// none of the first 20 is answered, the run fails at once. Default: 0.1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_skipped: Option<f64>,
}

/// What becomes of a parent's row without its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMissingKey {
    /// The run fails.
    #[default]
    Error,
    /// Nothing is asked for it; the run says how many there were.
    Skip,
}

/// What becomes of a value that the service does not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The run fails.
    #[default]
    Fail,
    /// It is left out; the run says how many there were.
    Skip,
}

fn yes() -> bool {
    true
}

fn four() -> usize {
    4
}
