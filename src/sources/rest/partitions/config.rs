//! The settings of `for_each`, checked and compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::extract::RecordsConfig;
use super::super::json_path::SinglePath;
use super::super::pagination::PaginationConfig;
use super::super::request::RequestConfig;
use super::super::template::scalar_text;
use super::{Partition, Partitioning};
use crate::component::Problems;
use crate::settings::template::is_name;
use crate::settings::{BoundedInt, Ratio};

/// More combinations of `values` are a mistake.
const MAX_COMBINATIONS: usize = 10_000;
/// Placeholders of `incremental`.
const RESERVED: [&str; 2] = ["start", "end"];

/// Repeats the request for each of several values. `values` lists fixed values; `key` extracts them from the rows of a
/// `parent` request. With both, the parent is read once for each combination of `values`. The values become columns.
///
/// ```yaml
/// for_each:
///   parent: {request: {path: Employees}, records: {path: "$.Data"}}
///   key: {id: $.XRefCode}
/// ```
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForEachConfig {
    /// The values of each placeholder: strings, integers or booleans. With several placeholders, every combination is
    /// requested; the last placeholder changes fastest.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"company": ["US01", "DE01"]}))]
    pub values: Map<String, Value>,
    /// The request that is read first to get the keys.
    #[serde(default)]
    pub parent: Option<ParentConfig>,
    /// The path of each placeholder's value in a row of the parent. A repeated key is requested once.
    #[serde(default)]
    pub key: BTreeMap<String, SinglePath>,
    /// Columns to add from the parent's row, each with its path in that row. Not with `batch_size`.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"department": "$.Department"}))]
    pub include_from_parent: BTreeMap<String, SinglePath>,
    /// Keys per request. The placeholder is replaced by all keys, joined by commas. As the only content of a string in a
    /// JSON body it becomes a list; as the only element of a list in `query` or `form`, the parameter repeats. Default: 1.
    #[serde(default)]
    #[schemars(example = 100)]
    pub batch_size: Option<BoundedInt<1, 10_000>>,
    /// What to do with a row of the parent whose key is missing, null or blank.
    #[serde(default)]
    pub on_missing_key: OnMissingKey,
    /// The maximum number of partitions read at the same time. Rows keep the order of the values.
    #[serde(default = "four")]
    pub max_concurrent: BoundedInt<1, 64>,
    /// Skips partitions for which the service returns an error, and counts them. Default: the run fails.
    #[serde(default)]
    pub skip: Option<SkipConfig>,
}

/// The request whose rows contain the keys.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParentConfig {
    /// The request, below the same `base_url`.
    pub request: RequestConfig,
    /// How to find the next page. Default: there is one page.
    #[serde(default)]
    pub pagination: PaginationConfig,
    /// Where the records are in a response. Default: the whole body.
    #[serde(default)]
    pub records: RecordsConfig,
}

/// What happens to a parent's row without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnMissingKey {
    /// The run fails.
    #[default]
    Error,
    /// The row is skipped and counted.
    Skip,
}

/// Which partitions may be skipped, and how many.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SkipConfig {
    /// Statuses of the first page that skip the partition: 400 to 499 except 408 and 429, which are retried.
    pub status: Vec<BoundedInt<400, 499>>,
    /// The largest share of skipped partitions, from 0 to 1; the run fails above it. It fails at once if none of the
    /// first 20 partitions is answered.
    pub max_ratio: Ratio,
}

impl Default for SkipConfig {
    fn default() -> Self {
        Self {
            status: vec![BoundedInt::new(403), BoundedInt::new(404)],
            max_ratio: Ratio::new(0.1),
        }
    }
}

fn four() -> BoundedInt<1, 64> {
    BoundedInt::new(4)
}

impl ForEachConfig {
    /// Checks the block. The source checks the parent's request, with the names of [`Partitioning::outer_names`].
    pub(in super::super) fn compile(&self, problems: &mut Problems<'_>) -> Option<Partitioning> {
        let before = problems.len();
        if self.values.is_empty() && self.parent.is_none() {
            problems.add_with_hint(
                "needs `values`, or `parent` and `key`",
                "give `values: {name: [a, b]}`, or `parent` and `key`",
            );
        }
        let lists = self.lists(&mut problems.at("values"));
        self.check_parent(problems);
        if let Some(skip) = &self.skip {
            skip.validate(&mut problems.at("skip"));
        }
        let mut lens = lists.iter().map(|(_, list)| list.len());
        let combinations = lens.try_fold(1_usize, usize::checked_mul);
        if combinations.is_none_or(|all| all > MAX_COMBINATIONS) {
            problems
                .at("values")
                .add(format!("more than {MAX_COMBINATIONS} combinations"));
        }
        (problems.len() == before).then(|| Partitioning {
            config: self.clone(),
            partitions: combine(&lists),
        })
    }

    fn lists(&self, problems: &mut Problems<'_>) -> Vec<(&str, &[Value])> {
        let mut lists = Vec::new();
        for (name, list) in &self.values {
            let mut here = problems.at(name);
            check_name(name, &mut here);
            let Value::Array(list) = list else {
                here.add_with_hint("expected a list of values", format!("such as `{name}: [a, b]`"));
                continue;
            };
            if list.is_empty() {
                here.add("an empty list: nothing would be read");
            }
            for (index, value) in list.iter().enumerate() {
                let mut here = here.at_index(index);
                let text = scalar_text(value);
                let same = |other: &Value| scalar_text(other) == text;
                match &text {
                    None => here.add("expected a text, a whole number or a boolean; quote other numbers"),
                    Some(text) if text.trim().is_empty() => here.add("the value is blank"),
                    Some(_) if list[..index].iter().any(same) => {
                        here.add("duplicate value: its rows would be read twice");
                    }
                    Some(_) => {}
                }
            }
            lists.push((name.as_str(), list.as_slice()));
        }
        lists
    }

    fn check_parent(&self, problems: &mut Problems<'_>) {
        let of_parent = [
            ("key", !self.key.is_empty()),
            ("include_from_parent", !self.include_from_parent.is_empty()),
            ("batch_size", self.batch_size.is_some()),
        ];
        if self.parent.is_none() {
            for (key, _) in of_parent.into_iter().filter(|(_, given)| *given) {
                problems.at(key).add("requires `parent`");
            }
            return;
        }
        if self.key.is_empty() {
            problems.add_with_hint(
                "`parent` requires `key`: the values to take from its rows",
                "such as `key: {id: $.id}`",
            );
        }
        for name in self.key.keys() {
            let mut here = problems.at("key");
            let mut here = here.at(name);
            check_name(name, &mut here);
            if self.values.contains_key(name) {
                here.add("the placeholder is in `values` too");
            }
        }
        for name in self.include_from_parent.keys() {
            if self.values.contains_key(name) || self.key.contains_key(name) {
                problems.at("include_from_parent").at(name).add_with_hint(
                    "a placeholder gives a column of this name too",
                    "give it another name",
                );
            }
        }
        if self.batch_size.is_some() {
            if self.key.len() > 1 {
                problems.at("batch_size").add("requires a single `key`");
            }
            if !self.include_from_parent.is_empty() {
                problems.at("include_from_parent").add_with_hint(
                    "does not work with `batch_size`: a row of a batch has no single parent",
                    "remove one of the two; the transform `sql` joins two sources by their key",
                );
            }
        }
    }
}

fn check_name(name: &str, problems: &mut Problems<'_>) {
    if !is_name(name) {
        problems
            .add("a placeholder's name consists of letters, digits and `_`, and does not start with a digit");
    } else if RESERVED.contains(&name) {
        problems.add("`start` and `end` are the placeholders of `incremental`");
    }
}

/// Every combination, the last list changing fastest.
fn combine(lists: &[(&str, &[Value])]) -> Vec<Partition> {
    let mut partitions = vec![Partition::default()];
    for (name, list) in lists {
        let name: Arc<str> = (*name).into();
        partitions = partitions
            .iter()
            .flat_map(|partition| {
                list.iter().map(|value| {
                    let mut partition = partition.clone();
                    partition.values.set(name.clone(), value.clone());
                    partition.columns.0.push((name.clone(), value.clone()));
                    partition
                })
            })
            .collect();
    }
    partitions
}
