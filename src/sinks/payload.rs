//! How HR rows become CSV columns: one mapping for all sinks, so that `file` writes what `m365_hr` sends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::Schema;

use crate::component::{InputDescription, Problems, RowKind};
use crate::delivery::Partition;
use crate::format::encode::{CsvEncoder, Values};
use crate::hr::Scenario;
use crate::suggest::suggestion;

/// The names of a payload's columns.
#[derive(Debug, Clone, Default)]
pub(super) struct Naming {
    pub(super) columns: BTreeMap<String, String>,
    pub(super) scenario_column: Option<String>,
    pub(super) scenario_values: BTreeMap<Scenario, String>,
}

impl Naming {
    /// Reports what does not fit the inputs. `together`: the rows of all inputs go to one target, so a column must
    /// distinguish their scenarios.
    pub(super) fn validate(&self, inputs: &[InputDescription], together: bool, problems: &mut Problems<'_>) {
        let scenarios: BTreeSet<Scenario> = inputs.iter().filter_map(scenario).collect();
        let fields = scenarios.iter().flat_map(|scenario| scenario.fields());
        let fields: BTreeSet<&str> = fields.map(|field| field.name).collect();
        for (field, column) in &self.columns {
            let mut here = problems.at("columns");
            let mut here = here.at(field);
            if !fields.is_empty() && !fields.contains(field.as_str()) {
                let message = format!("no input has a field `{field}`");
                match suggestion(field, fields.iter().copied()) {
                    Some(hint) => here.add_with_hint(message, hint),
                    None => here.add(message),
                }
            }
            if column.trim().is_empty() {
                here.add("a column needs a name");
            }
        }
        for scenario in &scenarios {
            // As in the portal: case-insensitive, and spaces count.
            let mut seen: BTreeMap<String, &str> = BTreeMap::new();
            let fields = scenario.fields().iter().map(|field| field.name);
            let own = fields.map(|field| (self.column(field), field));
            let more = self.scenario_column.as_deref();
            for (column, field) in own.chain(more.map(|column| (column, "scenario_column"))) {
                if let Some(other) = seen.insert(column.to_lowercase(), field) {
                    problems.at("columns").add(format!(
                        "`{other}` and `{field}` both map to the column `{column}`"
                    ));
                }
            }
        }
        match &self.scenario_column {
            Some(column) if column.trim().is_empty() => problems.at("scenario_column").add("a column needs a name"),
            None if together && scenarios.len() > 1 => problems.at("scenario_column").add_with_hint(
                format!("the inputs have {} scenarios, and no column distinguishes their rows", scenarios.len()),
                "set the name of the column that the portal maps to the scenario; the documentation calls it `HRScenario`",
            ),
            None if !self.scenario_values.is_empty() => problems.at("scenario_values").add_with_hint(
                "`scenario_values` requires `scenario_column`",
                "set `scenario_column`, or remove `scenario_values`",
            ),
            _ => {}
        }
        for (scenario, value) in &self.scenario_values {
            let mut here = problems.at("scenario_values");
            let mut here = here.at(scenario.id());
            if !scenarios.is_empty() && !scenarios.contains(scenario) {
                here.add("no input has this scenario");
            }
            if value.trim().is_empty() {
                here.add("a scenario needs a value");
            }
        }
    }

    fn column<'n>(&'n self, field: &'n str) -> &'n str {
        self.columns.get(field).map_or(field, String::as_str)
    }

    /// How the rows of an input become CSV: HR rows with these names, records unchanged. Fields that are not mapped have
    /// no column.
    pub(super) fn partition(&self, input: &InputDescription) -> Partition {
        let naming = self.clone();
        let scenario = scenario(input);
        let encoder = move |schema: &Schema| {
            let mut columns = Vec::new();
            if let (Some(scenario), Some(column)) = (scenario, &naming.scenario_column) {
                let value = naming.scenario_values.get(&scenario);
                let value = value.map_or(scenario.facts().identifier, String::as_str);
                columns.push((column.clone(), Values::Constant(value.to_owned())));
            }
            for field in schema.fields() {
                let column = naming.column(field.name()).to_owned();
                columns.push((column, Values::Column(field.name().clone())));
            }
            CsvEncoder { columns }
        };
        Partition {
            label: scenario.map_or("records", Scenario::id),
            encoder: Arc::new(encoder),
        }
    }
}

pub(super) fn scenario(input: &InputDescription) -> Option<Scenario> {
    match input.kind {
        RowKind::Schema(id) => Scenario::from_id(id),
        RowKind::Records => None,
    }
}

pub(super) fn require_hr_rows(inputs: &[InputDescription], problems: &mut Problems<'_>) {
    for input in inputs {
        if scenario(input).is_none() {
            problems.at("inputs").add_with_hint(
                format!(
                    "`{}` produces records, and this sink requires validated HR rows",
                    input.name
                ),
                "put a transform of type `hr_schema` between them",
            );
        }
    }
}
