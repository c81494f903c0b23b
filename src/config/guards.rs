//! The `guards:` block: what a run's numbers must be for anything to be sent.
//!
//! It stands at the top level of the pipeline file, for every sink, and in a sink; a key there wins. How guards are
//! judged, and why there are any, is in the `guards` module of the pipeline.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;
use crate::component::{InputDescription, RowKind};

/// The `guards:` block: limits on the numbers of a run. With any of them set, all rows are taken in before the first is
/// sent, in memory and, when they are many, in a temporary file; when a limit is broken, no sink sends anything and the
/// run ends with exit code 4.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardsConfig {
    /// Fewest rows that may come to the sink. Not judged with `--limit`. 0 lifts a limit set for every sink.
    pub min_rows: Option<u64>,
    /// Most rows that may come to the sink.
    #[schemars(range(min = 1))]
    pub max_rows: Option<u64>,
    /// How many fewer rows than in the last complete run of this sink may come, as a share of that run's rows between
    /// 0 and 1: `0.2` allows a fifth fewer. Not judged in a sink's first run, nor with `--limit`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_shrink: Option<f64>,
    /// How many more rows than in the last complete run of this sink may come, as a share of that run's rows: `0.5`
    /// allows half as many again, `2` three times as many. Not judged in a sink's first run. After a run without rows
    /// any row is too many.
    #[schemars(range(min = 0.0))]
    pub max_growth: Option<f64>,
    /// The share of rows, between 0 and 1, that may have been put aside in the whole run before the sinks get their
    /// rows. Rows that a `where` left out do not count. Unlike `rejects.max_ratio`, which is judged when all is sent.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_reject_ratio: Option<f64>,
    /// Most rows of one person in one scenario, letter case of the address set aside: a join that went wrong
    /// multiplies rows. For sinks that take HR rows.
    #[schemars(range(min = 1))]
    pub max_rows_per_person: Option<u64>,
}

/// A guard, named as its key under `guards:`.
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
    /// Too many fewer rows than the last time.
    MaxShrink,
    /// Too many more rows than the last time.
    MaxGrowth,
    /// Too large a share of the rows put aside.
    MaxRejectRatio,
    /// Too many rows of one person.
    MaxRowsPerPerson,
}

impl Guard {
    /// Its key under `guards:`, such as `max_rows`.
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

    /// This sink's guards, with those of `defaults` where it says nothing.
    #[must_use]
    pub fn over(&self, defaults: &Self) -> Self {
        Self {
            min_rows: self.min_rows.or(defaults.min_rows),
            max_rows: self.max_rows.or(defaults.max_rows),
            max_shrink: self.max_shrink.or(defaults.max_shrink),
            max_growth: self.max_growth.or(defaults.max_growth),
            max_reject_ratio: self.max_reject_ratio.or(defaults.max_reject_ratio),
            max_rows_per_person: self.max_rows_per_person.or(defaults.max_rows_per_person),
        }
    }

    /// Notes what is wrong with a block by itself. `problems` points at it.
    pub fn validate(&self, problems: &mut Problems<'_>) {
        for (guard, value) in [
            (Guard::MaxRows, self.max_rows),
            (Guard::MaxRowsPerPerson, self.max_rows_per_person),
        ] {
            if value == Some(0) {
                problems.at(guard).add_with_hint(
                    "with 0 nothing could ever be sent; give at least 1",
                    "a guard that is not wanted is left out",
                );
            }
        }
        for (guard, value) in [
            (Guard::MaxShrink, self.max_shrink),
            (Guard::MaxRejectRatio, self.max_reject_ratio),
        ] {
            if let Some(value) = value
                && !(0.0..=1.0).contains(&value)
            {
                problems.at(guard).add_with_hint(
                    format!("a share of rows is between 0 and 1, not {value}"),
                    "20 % is written 0.2",
                );
            }
        }
        if let Some(value) = self.max_growth
            && !(value.is_finite() && value >= 0.0)
        {
            problems.at(Guard::MaxGrowth).add_with_hint(
                format!("a share of rows is a number not below 0, not {value}"),
                "0.5 allows half as many rows again, 0 none more",
            );
        }
        self.contradiction("", problems);
    }

    /// Notes what is wrong with a sink's block in its place: with the top level's `defaults` under it, and with what
    /// comes in. `problems` points at the sink's block, `self` is empty when it has none. What
    /// [`validate`](Self::validate) notes is not noted again.
    pub fn validate_in_sink(
        &self,
        defaults: &Self,
        inputs: &[InputDescription],
        problems: &mut Problems<'_>,
    ) {
        let both = self.over(defaults);
        if !self.contradicts_itself() && !defaults.contradicts_itself() {
            both.contradiction(" together with the guards for every sink,", problems);
        }
        if both.max_rows_per_person.is_some() {
            for input in inputs.iter().filter(|input| input.kind == RowKind::Records) {
                let hint = if self.max_rows_per_person.is_some() {
                    "put an `hr_schema` transform between, or leave the guard out"
                } else {
                    "the guard is set for every sink: put it under the sinks that take HR rows"
                };
                problems.at(Guard::MaxRowsPerPerson).add_with_hint(
                    format!(
                        "`{}` sends records, in which no column is known to hold the person",
                        input.name
                    ),
                    hint,
                );
            }
        }
    }

    fn contradicts_itself(&self) -> bool {
        matches!((self.min_rows, self.max_rows), (Some(min), Some(max)) if min > max && max > 0)
    }

    fn contradiction(&self, how: &str, problems: &mut Problems<'_>) {
        if let (Some(min), Some(max)) = (self.min_rows, self.max_rows)
            && self.contradicts_itself()
        {
            problems.at(Guard::MinRows).add(format!(
                "no run could pass:{how} at least {min} rows are asked for and at most {max} allowed"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Problem, decode};
    use crate::hr::Scenario;

    fn guards(value: Value) -> GuardsConfig {
        serde_json::from_value(value).unwrap()
    }

    fn found(check: impl FnOnce(&mut Problems<'_>)) -> Vec<String> {
        let mut found: Vec<Problem> = Vec::new();
        check(&mut Problems::new(&mut found));
        found.iter().map(ToString::to_string).collect()
    }

    fn problems(guards: &GuardsConfig) -> Vec<String> {
        found(|problems| guards.validate(problems))
    }

    #[test]
    fn a_guard_has_one_name_in_the_file_the_report_and_on_the_command_line() {
        let all = Guard::value_variants();
        let mut block = serde_json::Map::new();
        for guard in all {
            assert_eq!(guard.to_possible_value().unwrap().get_name(), guard.id());
            assert_eq!(serde_json::to_value(guard).unwrap(), guard.id());
            block.insert(guard.id().to_owned(), json!(1));
        }
        assert!(!guards(Value::Object(block)).is_empty());
        assert!(guards(json!({})).is_empty());
    }

    #[test]
    fn a_misspelt_guard_is_no_guard_and_is_refused() {
        let found = found(|problems| {
            assert!(decode::decode::<GuardsConfig>(json!({"max_row": 1}), problems).is_none());
        });
        assert_eq!(found, ["max_row: unknown key `max_row`"]);
    }

    #[test]
    fn senseless_limits_are_refused_and_the_ends_of_the_ranges_are_not() {
        let ends = json!({
            "min_rows": 0, "max_rows": 1, "max_shrink": 0, "max_growth": 0, "max_reject_ratio": 1,
            "max_rows_per_person": 1,
        });
        assert!(problems(&guards(ends)).is_empty());
        assert!(problems(&guards(json!({"min_rows": 7, "max_rows": 7, "max_shrink": 1}))).is_empty());
        let wrong = GuardsConfig {
            min_rows: None,
            max_rows: Some(0),
            max_shrink: Some(20.0),
            max_growth: Some(f64::NAN),
            max_reject_ratio: Some(-0.1),
            max_rows_per_person: Some(0),
        };
        let found = problems(&wrong);
        let paths: Vec<_> = found.iter().filter_map(|text| text.split(':').next()).collect();
        assert_eq!(
            paths,
            [
                "max_rows",
                "max_rows_per_person",
                "max_shrink",
                "max_reject_ratio",
                "max_growth"
            ]
        );
        for value in [f64::INFINITY, -1.0] {
            let growth = GuardsConfig {
                max_growth: Some(value),
                ..GuardsConfig::default()
            };
            assert_eq!(problems(&growth).len(), 1);
        }
    }

    #[test]
    fn limits_that_no_run_could_pass_are_refused_once() {
        let own = guards(json!({"min_rows": 8, "max_rows": 7}));
        assert_eq!(problems(&own).len(), 1);
        let in_sink = |own: &GuardsConfig, defaults: &GuardsConfig| {
            found(|problems| own.validate_in_sink(defaults, &[], problems))
        };
        assert!(in_sink(&own, &GuardsConfig::default()).is_empty());
        assert!(in_sink(&GuardsConfig::default(), &own).is_empty());
        let (few, many) = (guards(json!({"max_rows": 7})), guards(json!({"min_rows": 8})));
        assert_eq!(in_sink(&few, &many).len(), 1);
        assert!(in_sink(&guards(json!({"max_rows": 7, "min_rows": 0})), &many).is_empty());
    }

    #[test]
    fn a_sinks_key_wins_over_the_one_for_every_sink() {
        let merged = guards(json!({"max_rows": 5, "max_shrink": 1})).over(&guards(
            json!({"max_rows": 9, "max_shrink": 0.1, "max_growth": 3}),
        ));
        assert_eq!(
            merged,
            guards(json!({"max_rows": 5, "max_shrink": 1, "max_growth": 3}))
        );
    }

    #[test]
    fn persons_can_be_told_in_hr_rows_only() {
        let input = |name: &str, kind| InputDescription {
            name: name.into(),
            kind,
        };
        let inputs = [
            input("export", RowKind::Records),
            input("resignations", RowKind::Hr(Scenario::EmployeeResignation)),
        ];
        let guard = guards(json!({"max_rows_per_person": 1}));
        let none = GuardsConfig::default();
        for (own, defaults) in [(&guard, &none), (&none, &guard)] {
            let found = found(|problems| own.validate_in_sink(defaults, &inputs, problems));
            assert_eq!(found.len(), 1);
            assert!(found[0].starts_with("max_rows_per_person: `export`"), "{found:?}");
        }
        assert!(found(|problems| guard.validate_in_sink(&none, &inputs[1..], problems)).is_empty());
        assert!(found(|problems| none.validate_in_sink(&none, &inputs, problems)).is_empty());
    }
}
