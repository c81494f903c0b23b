//! A mapping of a source's columns to the HR schema, suggested.
//!
//! ```text
//! columns ─ names ─┐
//!         ─ values ┴▶ field → column, at most one each ─▶ scenarios that fit ─▶ transforms: …
//! ```
//!
//! A suggestion is a beginning: every choice says what it rests on, and a field for which no column was found is left
//! to the person. What is printed is valid as it is, and sends nothing by mistake: a required field without a column
//! is null, so that its rows are rejected.

mod dates;
mod names;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use arrow::datatypes::DataType;
use serde_json::{Map, Value, json};

use super::super::output::HEAD;
use super::columns::Column;
use crate::hr::{Field, FieldKind, Scenario};
use crate::mask;
use dates::Dates;

/// The least a name must fit for its column to be suggested.
const LEAST: u32 = 40;

/// A scenario with a column for each field, as far as one was found.
#[derive(Debug)]
pub(super) struct Suggestion {
    pub(super) source: String,
    pub(super) scenario: Scenario,
    pub(super) fields: Vec<(&'static Field, Option<Choice>)>,
}

/// A column for a field.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// Its place among the columns.
    column: usize,
    /// The SQL expression.
    expression: String,
    score: u32,
    why: String,
    dates: Option<Dates>,
}

impl Choice {
    fn how_sure(&self) -> &'static str {
        match self.score {
            85.. => "very likely",
            60.. => "likely",
            _ => "a guess",
        }
    }
}

/// The scenarios that fit the columns, best first; often one, and none if no scenario's own fields are there.
pub(super) fn suggest(source: &str, columns: &[Column]) -> Vec<Suggestion> {
    // Names that are values say that there is no header.
    if columns
        .iter()
        .any(|column| column.names.iter().any(|name| mask::is_like_a_value(name)))
    {
        return Vec::new();
    }
    let mut fitting: Vec<(f64, Suggestion)> = Scenario::ALL
        .into_iter()
        .map(|scenario| Suggestion {
            source: source.to_owned(),
            scenario,
            fields: assigned(scenario, columns),
        })
        .filter(|suggestion| is_of_its_own(suggestion, columns))
        .map(|suggestion| (share(&suggestion), suggestion))
        .collect();
    fitting.sort_by(|a, b| b.0.total_cmp(&a.0));
    let best = fitting.first().map_or(0.0, |(share, _)| *share);
    fitting
        .into_iter()
        .filter(|(share, suggestion)| *share >= best || suggestion.is_complete())
        .map(|(_, suggestion)| suggestion)
        .collect()
}

impl Suggestion {
    fn choice(&self, name: &str) -> Option<&Choice> {
        let (_, choice) = self.fields.iter().find(|(field, _)| field.name == name)?;
        choice.as_ref()
    }

    /// Whether every required field has a column.
    fn is_complete(&self) -> bool {
        self.fields
            .iter()
            .all(|(field, choice)| choice.is_some() || !field.required)
    }

    /// A name for the transform that the source has not.
    fn name(&self) -> String {
        let name = match self.scenario {
            Scenario::EmployeeResignation => "resignations",
            Scenario::JobLevelChange => "level_changes",
            Scenario::PerformanceReview => "reviews",
            Scenario::PerformanceImprovementPlan => "improvement_plans",
            Scenario::EmployeeProfile => "profiles",
        };
        if name == self.source {
            format!("{name}_mapped")
        } else {
            name.to_owned()
        }
    }
}

/// Whether there is a column that says that the rows are of this scenario and no other.
fn is_of_its_own(suggestion: &Suggestion, columns: &[Column]) -> bool {
    let has = |name: &str| suggestion.choice(name).is_some();
    let speaks_of_plans = || {
        let about = columns
            .iter()
            .map(|column| column.path.as_str())
            .chain([suggestion.source.as_str()]);
        about.into_iter().any(|name| {
            let name = name.to_lowercase();
            name.contains("improvement")
                || name
                    .split(|c: char| !c.is_alphanumeric())
                    .any(|word| word == "pip")
        })
    };
    match suggestion.scenario {
        Scenario::EmployeeResignation => has("ResignationDate") || has("LastWorkingDate"),
        Scenario::JobLevelChange => has("NewLevel") || has("OldLevel"),
        Scenario::PerformanceReview => has("Rating") && !speaks_of_plans(),
        Scenario::PerformanceImprovementPlan => speaks_of_plans() && (has("Rating") || has("Remarks")),
        Scenario::EmployeeProfile => {
            has("EmployeeFirstName")
                && has("EmployeeLastName")
                && (has("EmployeeAddressLine1") || has("EmployeeZipCode") || has("EmployeeCity"))
        }
    }
}

/// How much of the scenario was found; required fields count twice.
fn share(suggestion: &Suggestion) -> f64 {
    let (mut found, mut all) = (0.0, 0.0);
    for (field, choice) in &suggestion.fields {
        let weight = if field.required { 2.0 } else { 1.0 };
        all += weight;
        if let Some(choice) = choice {
            found += weight * f64::from(choice.score) / 100.0;
        }
    }
    if all == 0.0 { 0.0 } else { found / all }
}

/// For each field the likeliest column that no other field has a better claim to.
fn assigned(scenario: Scenario, columns: &[Column]) -> Vec<(&'static Field, Option<Choice>)> {
    let mut claims: Vec<(usize, Choice)> = Vec::new();
    for (place, field) in scenario.fields().iter().enumerate() {
        for (index, column) in columns.iter().enumerate() {
            if let Some(choice) = claim(field, index, column) {
                claims.push((place, choice));
            }
        }
    }
    // Equal claims go to the column that comes first, and to one with values.
    claims.sort_by_key(|(_, choice)| {
        (
            std::cmp::Reverse(choice.score),
            columns[choice.column].values.is_empty(),
            choice.column,
        )
    });
    let mut fields: Vec<(&'static Field, Option<Choice>)> =
        scenario.fields().iter().map(|field| (field, None)).collect();
    let mut taken = BTreeSet::new();
    for (place, choice) in claims {
        if fields[place].1.is_none() && taken.insert(choice.column) {
            fields[place].1 = Some(choice);
        }
    }
    fields
}

/// What speaks for a column as a field; `None` if too little does, or its values speak against it.
fn claim(field: &'static Field, index: usize, column: &Column) -> Option<Choice> {
    let values = column.values.len();
    let of_values = |all: &str| match values {
        0 => "no value to look at".to_owned(),
        1 => format!("and its value {all}"),
        many => format!("and its {many} values {all}"),
    };
    let mut score = names::fit(field.name, &column.names)?;
    let mut found_dates = None;
    let why = match (field.kind, &column.data_type) {
        (_, DataType::Struct(_) | DataType::List(_) | DataType::LargeList(_) | DataType::Map(..)) => {
            return None;
        }
        (FieldKind::Upn, data_type) => {
            if !is_text(data_type) {
                return None;
            }
            let addresses = column.values.iter().filter(|value| is_address(value)).count();
            if addresses * 2 < values {
                return None;
            }
            if addresses == values {
                of_values(if values == 1 {
                    "is an address"
                } else {
                    "are addresses"
                })
            } else {
                score = score.saturating_sub(20);
                format!(
                    "but {} of its {values} values are no addresses",
                    values - addresses
                )
            }
        }
        (FieldKind::DateTime, data_type) => match dates::found(column) {
            Some(dates) => {
                found_dates = Some(dates);
                of_values(if values == 1 { "is a date" } else { "are dates" })
            }
            None if data_type.is_integer() || is_text(data_type) => {
                score = score.saturating_sub(30);
                let numbers =
                    "but its values are numbers: does `formats` need `epoch_milliseconds` or `excel_serial`?";
                let texts = "but its values are dates in no one format known here: see `dates.formats`";
                if is_text(data_type) { texts } else { numbers }.to_owned()
            }
            None => return None,
        },
        (FieldKind::Text { .. }, DataType::Boolean) => return None,
        (FieldKind::Text { max_chars }, _) => {
            // A name is no address, and a city no date.
            let strange = column.values.iter().filter(|value| is_address(value)).count();
            if values > 0 && strange * 2 > values {
                return None;
            }
            let long = column
                .values
                .iter()
                .filter(|value| max_chars.is_some_and(|most| value.chars().count() > most))
                .count();
            match (values, long) {
                (0, _) => of_values(""),
                (_, 0) => String::new(),
                (_, long) => format!("{long} of its {values} values are too long and would be cut"),
            }
        }
    };
    if values == 0 {
        score = score.saturating_sub(15);
    }
    let expression = match field.kind {
        FieldKind::Upn => format!("lower(trim({}))", column.path),
        FieldKind::DateTime | FieldKind::Text { .. } => column.path.clone(),
    };
    (score >= LEAST).then_some(Choice {
        column: index,
        expression,
        score,
        why,
        dates: found_dates,
    })
}

fn is_text(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Dictionary(..) | T::Null
    )
}

fn is_address(value: &str) -> bool {
    let value = value.trim();
    value
        .split_once('@')
        .is_some_and(|(user, domain)| !user.is_empty() && domain.contains('.') && !domain.contains('@'))
        && !value.contains(char::is_whitespace)
}

/// The suggestion for a person, ready to paste.
pub(super) fn text(suggestions: &[Suggestion], columns: &[Column]) -> String {
    let mut text = format!("{HEAD}suggested mapping{HEAD:#}\n");
    let [first, ..] = suggestions else {
        text.push_str(
            "  No HR scenario fits: no column is called like a field of its own. `hrsink scenarios` shows what each \
             needs.\n\n",
        );
        return text;
    };
    let _ = writeln!(
        text,
        "# To begin with. Made from {} looked at; check each line.",
        super::super::output::count(
            columns.iter().map(|column| column.rows).max().unwrap_or_default() as u64,
            "row",
            "rows"
        )
    );
    text.push_str("transforms:\n");
    for suggestion in suggestions {
        if !std::ptr::eq(suggestion, first) {
            let _ = writeln!(text, "  # Fits too; leave out what the rows are not about.");
        }
        block(&mut text, suggestion, columns);
    }
    text.push('\n');
    text
}

fn block(text: &mut String, suggestion: &Suggestion, columns: &[Column]) {
    let _ = writeln!(text, "  {}:", suggestion.name());
    let _ = writeln!(text, "    type: hr_schema");
    let _ = writeln!(text, "    inputs: [{}]", yaml_name(&suggestion.source));
    let _ = writeln!(text, "    scenario: {}", suggestion.scenario.id());
    if let Some(last) = suggestion.choice("LastWorkingDate") {
        let column = &columns[last.column];
        if column.values.len() < column.rows {
            let _ = writeln!(
                text,
                "    # where: …  # TODO: {} of {} rows have no {}: leave those who stay out",
                column.rows - column.values.len(),
                column.rows,
                yaml::comment(&column.path)
            );
        }
    }
    let shared = Shared::of(suggestion);
    if suggestion.scenario.has_dates() {
        shared.block(text);
    }
    text.push_str("    fields:\n");
    for (field, choice) in &suggestion.fields {
        line(text, field, choice.as_ref(), &shared);
    }
}

fn yaml_name(name: &str) -> String {
    // In a list in one line a comma would end the name.
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && name.starts_with(|c: char| c.is_ascii_alphabetic());
    if plain {
        yaml::text(name)
    } else {
        Value::from(name.replace("${", "$${")).to_string()
    }
}

/// What the date fields of a scenario have in common.
struct Shared {
    formats: Vec<&'static str>,
    null_values: Vec<&'static str>,
    /// Fields disagree about day and month, so that each must say its own.
    apart: bool,
    /// Formats between which the values do not decide.
    open: Vec<&'static str>,
}

impl Shared {
    fn of(suggestion: &Suggestion) -> Self {
        let found: Vec<&Dates> = suggestion
            .fields
            .iter()
            .filter_map(|(_, choice)| choice.as_ref()?.dates.as_ref())
            .collect();
        let mut formats = Vec::new();
        let mut null_values = Vec::new();
        let mut open = Vec::new();
        for dates in &found {
            let target = if dates.is_ambiguous() {
                &mut open
            } else {
                &mut formats
            };
            target.extend(dates.formats.iter().copied());
            null_values.extend(dates.null_values.iter().copied());
        }
        for list in [&mut formats, &mut null_values, &mut open] {
            let mut seen = BTreeSet::new();
            list.retain(|value| seen.insert(*value));
        }
        // One column of an export tells for the others.
        let told: Vec<&'static str> = open
            .iter()
            .copied()
            .filter(|format| formats.contains(format))
            .collect();
        if !told.is_empty() {
            open.clear();
        }
        let swapped = |format: &str| format.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m");
        let apart = formats
            .iter()
            .any(|format| formats.contains(&swapped(format).as_str()));
        Self {
            formats,
            null_values,
            apart,
            open,
        }
    }

    fn block(&self, text: &mut String) {
        text.push_str("    dates:\n");
        text.push_str("      timezone: UTC  # TODO: the zone in which the HR system means its days\n");
        if !self.formats.is_empty() && !self.apart {
            let _ = writeln!(text, "      formats: {}", list(&self.formats));
        }
        if !self.open.is_empty() {
            let _ = writeln!(
                text,
                "      # formats: …  # TODO: one of {}: the values looked at do not tell day and month apart",
                list(&self.open)
            );
        }
        if !self.null_values.is_empty() {
            let _ = writeln!(
                text,
                "      null_values: {}  # they stand for \"no date\"",
                list(&self.null_values)
            );
        }
    }
}

/// A list of texts, as JSON, which is YAML.
fn list(values: &[&str]) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|value| Value::from(*value).to_string())
        .collect();
    format!("[{}]", values.join(", "))
}

fn line(text: &mut String, field: &Field, choice: Option<&Choice>, shared: &Shared) {
    let Some(choice) = choice else {
        let todo = format!("# TODO: no column found for it: {}", field.summary);
        let _ = if field.required {
            writeln!(text, "      {}: cast(NULL AS varchar)  {todo}", field.name)
        } else {
            writeln!(text, "      # {}: …  {todo}", field.name)
        };
        return;
    };
    let own = choice
        .dates
        .as_ref()
        .filter(|dates| shared.apart && dates.formats.len() == 1);
    let expression = yaml::text(&choice.expression);
    let why = [choice.how_sure(), choice.why.as_str()];
    let why: Vec<&str> = why.into_iter().filter(|part| !part.is_empty()).collect();
    let why = yaml::comment(&why.join(", "));
    let _ = match own {
        Some(dates) => writeln!(
            text,
            "      {}:  # {why}\n        expr: {expression}\n        formats: {}",
            field.name,
            list(&dates.formats)
        ),
        None => writeln!(text, "      {}: {expression}  # {why}", field.name),
    };
}

/// A JSON object a line: `{"suggestion": …}`, with the transform as it would stand in a pipeline file in JSON.
pub(super) fn lines(suggestions: &[Suggestion]) -> String {
    let mut text = String::new();
    for suggestion in suggestions {
        let shared = Shared::of(suggestion);
        let mut fields = Map::new();
        let mut how_sure = Map::new();
        for (field, choice) in &suggestion.fields {
            if let Some(choice) = choice {
                let expression = choice.expression.replace("${", "$${");
                let own = choice
                    .dates
                    .as_ref()
                    .filter(|dates| shared.apart && dates.formats.len() == 1);
                let value = match own {
                    Some(dates) => json!({"expr": expression, "formats": dates.formats}),
                    None => expression.into(),
                };
                fields.insert(field.name.to_owned(), value);
                how_sure.insert(field.name.to_owned(), choice.how_sure().into());
            }
        }
        let mut transform = json!({
            "type": "hr_schema",
            "inputs": [suggestion.source],
            "scenario": suggestion.scenario.id(),
        });
        if suggestion.scenario.has_dates() && !shared.apart && !shared.formats.is_empty() {
            transform["dates"]["formats"] = json!(shared.formats);
        }
        if suggestion.scenario.has_dates() && !shared.null_values.is_empty() {
            transform["dates"]["null_values"] = json!(shared.null_values);
        }
        transform["fields"] = fields.into();
        let missing: Vec<&str> = suggestion
            .fields
            .iter()
            .filter(|(field, choice)| choice.is_none() && field.required)
            .map(|(field, _)| field.name)
            .collect();
        let line = json!({
            "component": suggestion.source,
            "suggestion": {
                "name": suggestion.name(),
                "transform": transform,
                "how_sure": how_sure,
                "missing": missing,
            },
        });
        let _ = writeln!(text, "{line}");
    }
    text
}
