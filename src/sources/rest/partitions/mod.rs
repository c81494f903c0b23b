//! Reading once for each of several values: reports, companies, or the keys of a parent's rows.
//!
//! ```text
//! values ─combinations─▶ Partition ─┬───────────────────────────────────────────▶ one sequence of requests each
//!                              └─ parent, read with it ─rows─▶ Keys ─▶ Partition ─▶ one sequence of requests each
//! ```
//!
//! A `Partition` is what one sequence of requests is for: values for the placeholders, and the columns that its rows get.
//! Steps come in the order of the values and of the parent's rows. A parent's row without its key, a key that comes
//! again, a value that the service does not give: each is counted, and none is left out unless the pipeline file says
//! so.

mod config;
mod keys;
mod skips;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

pub use self::config::{ForEachConfig, OnError, OnMissingKey};
#[cfg(test)]
use self::keys::KeyCounts;
pub(super) use self::skips::SkipsPlan;
use super::json_path::SinglePath;
use super::template::{Filling, Kind, Names, Uses, Values, is_name, scalar_text};
use crate::config::Problems;

/// More combinations than this are a mistake.
const MOST_COMBINATIONS: usize = 10_000;
const MOST_IN_A_GROUP: usize = 10_000;
const MOST_PARALLEL: usize = 64;
/// Names that `incremental:` has.
const RESERVED: [&str; 2] = ["start", "end"];

/// What one sequence of requests is for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Partition {
    /// Values for the placeholders.
    pub(super) values: Values,
    /// Columns that every row of it gets, by name.
    pub(super) columns: Columns,
}

/// Columns of the same value in all rows of a step.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Columns(pub(super) Vec<(Arc<str>, Value)>);

/// Shows names only: values come out of rows.
impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// An `for_each:` block that was checked; the parent's own request is its owner's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Partitioning {
    steps: Vec<Partition>,
    fixed: Vec<Arc<str>>,
    parent: Option<Parent>,
    columns: bool,
    /// How many steps are under way at a time.
    pub(super) max_parallel: usize,
    /// Which steps may be left out, and how many.
    pub(super) skips: SkipsPlan,
}

/// How a parent's rows become steps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parent {
    keys: Vec<(Arc<str>, SinglePath)>,
    keep: Vec<(Arc<str>, SinglePath)>,
    group: Option<(usize, Arc<str>)>,
    on_missing_key: OnMissingKey,
    distinct: bool,
    columns: bool,
}

impl<P> ForEachConfig<P> {
    /// Checks the block; `problems` points at it. The parent, if any, is checked by whoever knows what it is, with the
    /// names of [`Partitioning::outer_names`].
    pub(super) fn compile(&self, problems: &mut Problems<'_>) -> Option<Partitioning> {
        let before = problems.len();
        if self.values.is_empty() && self.parent.is_none() {
            problems.add_with_hint(
                "there is nothing to read for",
                "give `values: {name: [a, b]}`, or `parent` and `key`",
            );
        }
        let lists = self.lists(&mut problems.at("values"));
        let parent = self.check_parent(problems);
        if !(1..=MOST_PARALLEL).contains(&self.max_parallel) {
            problems.at("max_parallel").add(format!(
                "expected a number from 1 to {MOST_PARALLEL}, found {}",
                self.max_parallel
            ));
        }
        let skips = SkipsPlan::new(self, problems);
        let combinations = lists
            .iter()
            .try_fold(1_usize, |all, (_, list)| all.checked_mul(list.len()));
        if combinations.is_none_or(|all| all > MOST_COMBINATIONS) {
            problems.at("values").add(format!(
                "the lists have more than {MOST_COMBINATIONS} combinations"
            ));
        }
        (problems.len() == before).then(|| Partitioning {
            steps: product(&lists, self.columns),
            fixed: lists.into_iter().map(|(name, _)| name).collect(),
            parent,
            columns: self.columns,
            max_parallel: self.max_parallel,
            skips,
        })
    }

    fn lists(&self, problems: &mut Problems<'_>) -> Vec<(Arc<str>, Vec<Value>)> {
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
                match scalar_text(value) {
                    None => {
                        here.add("expected a text, a whole number or a boolean; other numbers go in quotes");
                    }
                    Some(text) if text.trim().is_empty() => here.add("the value is blank"),
                    Some(text) => {
                        let again = |other: &Value| scalar_text(other).is_some_and(|other| other == text);
                        if list[..index].iter().any(again) {
                            here.add("the value is in the list twice: its rows would be read twice");
                        }
                    }
                }
            }
            lists.push((name.as_str().into(), list.clone()));
        }
        lists
    }

    fn check_parent(&self, problems: &mut Problems<'_>) -> Option<Parent> {
        if self.parent.is_none() {
            for (key, given) in [
                ("key", !self.key.is_empty()),
                ("keep", !self.keep.is_empty()),
                ("group", self.group.is_some()),
                ("separator", self.separator.is_some()),
            ] {
                if given {
                    problems
                        .at(key)
                        .add("there is no `parent` that it could be about");
                }
            }
            return None;
        }
        if self.key.is_empty() {
            problems.add_with_hint(
                "`key` says which values are taken out of the parent's rows, and is not there",
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
        if self.columns {
            for name in self.keep.keys() {
                if self.values.contains_key(name) || self.key.contains_key(name) && self.group.is_none() {
                    problems.at("keep").at(name).add_with_hint(
                        "a placeholder gives a column of this name too",
                        "give it another name, or `columns: false`",
                    );
                }
            }
        }
        match self.group {
            Some(size) if !(1..=MOST_IN_A_GROUP).contains(&size) => {
                problems.at("group").add(format!(
                    "expected a number from 1 to {MOST_IN_A_GROUP}, found {size}"
                ));
            }
            Some(_) => {
                if self.key.len() > 1 {
                    problems
                        .at("group")
                        .add("several keys cannot be grouped: their lists would not belong together");
                }
                if !self.keep.is_empty() {
                    problems.at("keep").add_with_hint(
                        "a group has many parents, and no row is one parent's",
                        "leave out `group` or `keep`; `hr_schema` and `sql` join two sources by their key",
                    );
                }
            }
            None if self.separator.is_some() => {
                problems
                    .at("separator")
                    .add("it joins the keys of a `group`, and there is none");
            }
            None => {}
        }
        let named = |paths: &std::collections::BTreeMap<String, SinglePath>| {
            paths
                .iter()
                .map(|(name, path)| (Arc::from(name.as_str()), path.clone()))
                .collect()
        };
        Some(Parent {
            keys: named(&self.key),
            keep: named(&self.keep),
            group: self
                .group
                .map(|size| (size, self.separator.as_deref().unwrap_or(",").into())),
            on_missing_key: self.on_missing_key,
            distinct: self.distinct,
            columns: self.columns,
        })
    }
}

impl Partitioning {
    /// One step for each combination of `values`; one step without values if there are only keys.
    pub(super) fn steps(&self) -> &[Partition] {
        &self.steps
    }

    /// How a parent's rows become steps, if there is one.
    pub(super) fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// Adds the placeholders that the parent's own request may use: those of `values`.
    pub(super) fn outer_names(&self, names: &mut Names) {
        for name in &self.fixed {
            names.add(name, Kind::Fixed);
        }
    }

    /// Adds the placeholders that the source's request may use.
    pub(super) fn names(&self, names: &mut Names) {
        self.outer_names(names);
        if let Some(parent) = &self.parent {
            let kind = match parent.group {
                Some(_) => Kind::Group,
                None => Kind::Key,
            };
            for (name, _) in &parent.keys {
                names.add(name, kind);
            }
        }
    }

    /// Notes every placeholder that no request uses; `uses` are those of the source's request and of its parents'.
    /// `problems` points at the block.
    pub(super) fn check_used(&self, uses: &Uses, problems: &mut Problems<'_>) {
        let mut unused = |block: &str, name: &str| {
            problems.at(block).at(name).add_with_hint(
                "no request uses this placeholder: each would be the same",
                format!("write `{{{name}}}` where the value belongs, such as in `request.path`"),
            );
        };
        for name in self.fixed.iter().filter(|name| !uses.contains(*name)) {
            unused("values", name);
        }
        // The keys of one parent belong together: one of them in the request is enough, others may be columns.
        if let Some(parent) = &self.parent
            && !parent.keys.iter().any(|(name, _)| uses.contains(name))
        {
            for (name, _) in &parent.keys {
                unused("key", name);
            }
        }
    }

    /// Names of the columns that every row gets, in order.
    pub(super) fn column_names(&self) -> Vec<Arc<str>> {
        let mut all = Vec::new();
        if self.columns {
            all.extend(self.fixed.iter().cloned());
        }
        if let Some(parent) = &self.parent {
            if self.columns && parent.group.is_none() {
                all.extend(parent.keys.iter().map(|(name, _)| name.clone()));
            }
            all.extend(parent.keep.iter().map(|(name, _)| name.clone()));
        }
        all
    }
}

fn check_name(name: &str, problems: &mut Problems<'_>) {
    if !is_name(name) {
        problems.add("a placeholder's name is of letters, digits and `_`, and does not begin with a digit");
    } else if RESERVED.contains(&name) {
        problems.add("`start` and `end` are the placeholders of `incremental:`");
    }
}

/// Every combination, the last list changing fastest.
fn product(lists: &[(Arc<str>, Vec<Value>)], columns: bool) -> Vec<Partition> {
    let mut steps = vec![Partition::default()];
    for (name, list) in lists {
        steps = steps
            .iter()
            .flat_map(|step| {
                list.iter().map(move |value| {
                    let mut step = step.clone();
                    step.values.set(name.clone(), Filling::One(value.clone()));
                    if columns {
                        step.columns.0.push((name.clone(), value.clone()));
                    }
                    step
                })
            })
            .collect();
    }
    steps
}
