//! The `guards` block: limits on a run's numbers, evaluated before anything is sent.
//!
//! At the top level for every sink, and in a sink, where a key overrides the top level.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::component::{InputDescription, Problems, RowKind};
use crate::settings::bounded::UNBOUNDED;
use crate::settings::{BoundedInt, Ratio};

/// The `guards` block: limits on the row counts of a run. With any of them set, hrsink collects all rows, in memory and then
/// in a temporary file, before it sends the first one. If a guard trips, no sink sends anything and the run ends with exit
/// code 4.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardsConfig {
    /// The minimum number of rows that the sink must receive. Not evaluated with `--limit`. In a sink, 0 disables the
    /// top-level limit.
    #[schemars(example = 1_000)]
    pub min_rows: Option<u64>,
    /// The maximum number of rows that the sink may receive.
    #[schemars(example = 100_000)]
    pub max_rows: Option<BoundedInt<1, UNBOUNDED>>,
    /// The largest allowed decrease in rows since the last complete run of this sink: `0.2` allows 20 % fewer rows. Not
    /// evaluated in a sink's first run or with `--limit`.
    #[schemars(example = 0.2)]
    pub max_shrink: Option<Ratio>,
    /// The largest allowed increase in rows since the last complete run of this sink: `0.5` allows 50 % more rows, `2`
    /// three times as many. Not evaluated in a sink's first run. After a run without rows, any row trips it.
    #[schemars(example = 0.5)]
    pub max_growth: Option<Ratio<UNBOUNDED>>,
    /// The largest allowed ratio of rejected rows, for the run as a whole, evaluated before anything is sent;
    /// `rejects.max_ratio` is evaluated after sending. Rows that a `where` excluded do not count.
    #[schemars(example = 0.01)]
    pub max_reject_ratio: Option<Ratio>,
    /// The maximum number of rows for one person in one scenario. Detects joins that multiply rows. People are identified
    /// by address, case-insensitively. Only for sinks that receive HR rows.
    #[schemars(example = 1)]
    pub max_rows_per_person: Option<BoundedInt<1, UNBOUNDED>>,
}

/// A guard, named as its key in `guards`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Guard {
    /// Too few rows.
    MinRows,
    /// Too many rows.
    MaxRows,
    /// Too many fewer rows than in the last run.
    MaxShrink,
    /// Too many more rows than in the last run.
    MaxGrowth,
    /// Too many rejects.
    MaxRejectRatio,
    /// Too many rows of one person.
    MaxRowsPerPerson,
}

impl Guard {
    /// Its key in `guards`, such as `max_rows`.
    pub fn id(self) -> &'static str {
        match self {
            Self::MinRows => "min_rows",
            Self::MaxRows => "max_rows",
            Self::MaxShrink => "max_shrink",
            Self::MaxGrowth => "max_growth",
            Self::MaxRejectRatio => "max_reject_ratio",
            Self::MaxRowsPerPerson => "max_rows_per_person",
        }
    }
}

/// The [`id`](Guard::id).
impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl GuardsConfig {
    /// Whether no guard is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These guards, with those of `defaults` where they are not set.
    #[must_use]
    pub(crate) fn over(&self, defaults: &Self) -> Self {
        Self {
            min_rows: self.min_rows.or(defaults.min_rows),
            max_rows: self.max_rows.or(defaults.max_rows),
            max_shrink: self.max_shrink.or(defaults.max_shrink),
            max_growth: self.max_growth.or(defaults.max_growth),
            max_reject_ratio: self.max_reject_ratio.or(defaults.max_reject_ratio),
            max_rows_per_person: self.max_rows_per_person.or(defaults.max_rows_per_person),
        }
    }

    /// Reports what is wrong with the block alone.
    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        if let Some(limits) = self.contradiction() {
            problems
                .at(Guard::MinRows)
                .add(format!("no run could pass: {limits}"));
        }
    }

    /// Reports what is wrong with a sink's block, which may be empty, together with `defaults` and its inputs. Problems
    /// that [`validate`](Self::validate) reports are not repeated.
    pub(crate) fn validate_in_sink(
        &self,
        defaults: &Self,
        inputs: &[InputDescription],
        problems: &mut Problems<'_>,
    ) {
        let both = self.over(defaults);
        let reported = self.contradiction().or(defaults.contradiction()).is_some();
        if let (false, Some(limits)) = (reported, both.contradiction()) {
            problems.at(Guard::MinRows).add(format!(
                "no run could pass together with the guards of all sinks: {limits}"
            ));
        }
        if both.max_rows_per_person.is_none() {
            return;
        }
        let hint = match self.max_rows_per_person {
            Some(_) => "add an `hr_schema` transform before the sink, or remove the guard",
            None => "the guard is set for all sinks: move it to the sinks that receive HR rows",
        };
        for input in inputs.iter().filter(|input| input.kind == RowKind::Records) {
            let message = format!(
                "`{}` sends records, in which the column of the person is unknown",
                input.name
            );
            problems.at(Guard::MaxRowsPerPerson).add_with_hint(message, hint);
        }
    }

    fn contradiction(&self) -> Option<String> {
        let (min, max) = (self.min_rows?, self.max_rows?);
        let message = || format!("at least {min} rows are required and at most {max} allowed");
        (min > max.get()).then(message)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use serde_json::{Value, json};

    use super::*;
    use crate::component::Problem;

    fn guards(value: Value) -> GuardsConfig {
        serde_json::from_value(value).unwrap()
    }

    fn found(check: impl FnOnce(&mut Problems<'_>)) -> Vec<String> {
        let mut found: Vec<Problem> = Vec::new();
        check(&mut Problems::new(&mut found));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn has_the_same_name_in_the_file_the_report_and_on_the_command_line() {
        let mut block = serde_json::Map::new();
        for guard in Guard::value_variants() {
            assert_eq!(guard.to_possible_value().unwrap().get_name(), guard.id());
            assert_eq!(serde_json::to_value(guard).unwrap(), guard.id());
            block.insert(guard.id().to_owned(), json!(1));
        }
        assert!(!guards(Value::Object(block)).is_empty() && guards(json!({})).is_empty());
    }

    /// Problems of a sink's block together with that of all sinks, and of the former alone.
    #[test]
    fn refuses_limits_that_no_run_could_pass_once() {
        for (own, defaults, alone, together) in [
            (json!({"min_rows": 8, "max_rows": 7}), json!({}), 1, 0),
            (json!({}), json!({"min_rows": 8, "max_rows": 7}), 0, 0),
            (json!({"max_rows": 7}), json!({"min_rows": 8}), 0, 1),
            (
                json!({"max_rows": 7, "min_rows": 0}),
                json!({"min_rows": 8}),
                0,
                0,
            ),
        ] {
            let (own, defaults) = (guards(own), guards(defaults));
            assert_eq!(found(|problems| own.validate(problems)).len(), alone);
            let found = found(|problems| own.validate_in_sink(&defaults, &[], problems));
            assert_eq!(found.len(), together, "{own:?}: {found:?}");
        }
    }

    #[test]
    fn overrides_the_guards_of_all_sinks() {
        let defaults = guards(json!({"max_rows": 9, "max_shrink": 0.1, "max_growth": 3}));
        let merged = guards(json!({"max_rows": 5, "max_shrink": 1})).over(&defaults);
        let expected = json!({"max_rows": 5, "max_shrink": 1, "max_growth": 3});
        assert_eq!(merged, guards(expected));
    }

    #[test]
    fn counts_rows_by_person_in_hr_rows_only() {
        let input = |name: &str, kind| InputDescription {
            name: name.into(),
            kind,
        };
        let hr = RowKind::Schema(crate::hr::Scenario::EmployeeResignation.id());
        let inputs = [input("export", RowKind::Records), input("resignations", hr)];
        let (guard, none) = (guards(json!({"max_rows_per_person": 1})), GuardsConfig::default());
        for (own, defaults, inputs, problems) in [
            (&guard, &none, &inputs[..], 1),
            (&none, &guard, &inputs[..], 1),
            (&guard, &none, &inputs[1..], 0),
            (&none, &none, &inputs[..], 0),
        ] {
            let found = found(|problems| own.validate_in_sink(defaults, inputs, problems));
            let named = found
                .iter()
                .filter(|found| found.starts_with("max_rows_per_person: `export`"));
            assert_eq!((found.len(), named.count()), (problems, problems), "{found:?}");
        }
    }
}
