//! Suggests a mapping of a source's columns to the HR schema: for each field the column whose name and values match best.
//!
//! The output is a valid `transforms:` block. A required field without a column is null, so that its rows are rejected and
//! nothing is sent by mistake. No value of a row is printed.

mod dates;
mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use arrow::datatypes::DataType;
use serde_json::{Map, Value, json};

use super::super::output::{HEAD, count};
use super::columns::Column;
use crate::hr::{Field, FieldKind, Scenario};
use crate::mask;
use dates::DateFormats;

/// The lowest score with which a column is suggested.
const MIN_SCORE: u32 = 40;

/// A scenario with a column for each field for which one was found.
#[derive(Debug)]
pub(super) struct Suggestion {
    source: String,
    scenario: Scenario,
    fields: Vec<(&'static Field, Option<Choice>)>,
}

/// A column for a field.
#[derive(Debug, Clone)]
struct Choice {
    /// Index of the column.
    column: usize,
    /// The SQL expression.
    expression: String,
    score: u32,
    /// What its values say about it.
    evidence: String,
    dates: Option<DateFormats>,
}

impl Choice {
    fn confidence(&self) -> &'static str {
        match self.score {
            85.. => "very likely",
            60.. => "likely",
            _ => "a guess",
        }
    }
}

/// The scenarios that match the columns, best first; usually one, and none if the fields specific to a scenario are missing.
pub(super) fn suggest(source: &str, columns: &[Column]) -> Vec<Suggestion> {
    // Column names that look like values mean that there is no header.
    let names = columns.iter().flat_map(|column| &column.names);
    if names.into_iter().any(|name| mask::is_like_a_value(name)) {
        return Vec::new();
    }
    let mut matching: Vec<(u32, Suggestion)> = Scenario::ALL
        .into_iter()
        .map(|scenario| Suggestion {
            source: source.to_owned(),
            scenario,
            fields: assign(scenario, columns),
        })
        .filter(|suggestion| suggestion.is_specific(columns))
        .map(|suggestion| (suggestion.score(), suggestion))
        .collect();
    matching.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let best = matching.first().map_or(0, |(score, _)| *score);
    matching.retain(|(score, suggestion)| *score == best || suggestion.missing().is_empty());
    matching.into_iter().map(|(_, suggestion)| suggestion).collect()
}

impl Suggestion {
    fn choice(&self, name: &str) -> Option<&Choice> {
        let (_, choice) = self.fields.iter().find(|(field, _)| field.name == name)?;
        choice.as_ref()
    }

    /// Required fields without a column.
    fn missing(&self) -> Vec<&'static str> {
        let missing = self
            .fields
            .iter()
            .filter(|(field, choice)| field.required && choice.is_none());
        missing.map(|(field, _)| field.name).collect()
    }

    /// A name for the transform.
    fn name(&self) -> String {
        let name = match self.scenario {
            Scenario::EmployeeResignation => "resignations",
            Scenario::JobLevelChange => "level_changes",
            Scenario::PerformanceReview => "reviews",
            Scenario::PerformanceImprovementPlan => "improvement_plans",
            Scenario::EmployeeProfile => "profiles",
        };
        let suffix = if name == self.source { "_mapped" } else { "" };
        format!("{name}{suffix}")
    }

    /// Whether a column shows that the rows belong to this scenario and not to another.
    fn is_specific(&self, columns: &[Column]) -> bool {
        let has = |name: &str| self.choice(name).is_some();
        let mentions_plans = || {
            let names = columns
                .iter()
                .map(|column| column.path.as_str())
                .chain([self.source.as_str()]);
            names.map(str::to_lowercase).any(|name| {
                name.contains("improvement")
                    || name
                        .split(|c: char| !c.is_alphanumeric())
                        .any(|word| word == "pip")
            })
        };
        match self.scenario {
            Scenario::EmployeeResignation => has("ResignationDate") || has("LastWorkingDate"),
            Scenario::JobLevelChange => has("NewLevel") || has("OldLevel"),
            Scenario::PerformanceReview => has("Rating") && !mentions_plans(),
            Scenario::PerformanceImprovementPlan => mentions_plans() && (has("Rating") || has("Remarks")),
            Scenario::EmployeeProfile => {
                has("EmployeeFirstName")
                    && has("EmployeeLastName")
                    && ["EmployeeAddressLine1", "EmployeeZipCode", "EmployeeCity"]
                        .into_iter()
                        .any(has)
            }
        }
    }

    /// How much of the scenario was found, in percent; required fields count twice.
    fn score(&self) -> u32 {
        let weight = |field: &Field| if field.required { 2 } else { 1 };
        let possible: u32 = self.fields.iter().map(|(field, _)| weight(field)).sum();
        let found = self.fields.iter().map(|(field, choice)| {
            let score = choice.as_ref().map_or(0, |choice| choice.score);
            weight(field) * score
        });
        found.sum::<u32>() / possible.max(1)
    }
}

/// For each field the best column that no other field matches better.
fn assign(scenario: Scenario, columns: &[Column]) -> Vec<(&'static Field, Option<Choice>)> {
    let mut fields: Vec<(&'static Field, Option<Choice>)> =
        scenario.fields().iter().map(|field| (field, None)).collect();
    let mut candidates: Vec<(usize, Choice)> = Vec::new();
    for (at, (field, _)) in fields.iter().enumerate() {
        let matching = columns
            .iter()
            .enumerate()
            .filter_map(|(index, column)| candidate(field, index, column));
        candidates.extend(matching.map(|choice| (at, choice)));
    }
    // Among equals, a column with values and the first one win.
    candidates.sort_by_key(|(_, choice)| {
        let is_empty = columns[choice.column].values.is_empty();
        (std::cmp::Reverse(choice.score), is_empty, choice.column)
    });
    let mut used = BTreeSet::new();
    for (at, choice) in candidates {
        if fields[at].1.is_none() && used.insert(choice.column) {
            fields[at].1 = Some(choice);
        }
    }
    fields
}

/// A column as the source of a field; `None` if its name does not match or its values contradict it.
fn candidate(field: &'static Field, index: usize, column: &Column) -> Option<Choice> {
    use DataType as T;
    let is_text = matches!(
        column.data_type,
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Dictionary(..) | T::Null
    );
    if column.data_type.is_nested() {
        return None;
    }
    let values = column.values.len();
    let addresses = column.values.iter().filter(|value| is_address(value)).count();
    let mut score = names::score(field.name, &column.names)?;
    let mut date_formats = None;
    let evidence = match field.kind {
        FieldKind::Upn if !is_text || addresses * 2 < values => return None,
        FieldKind::Upn if addresses == values => "all values are addresses".to_owned(),
        FieldKind::Upn => {
            score = score.saturating_sub(20);
            format!("but {} of {values} values are not addresses", values - addresses)
        }
        FieldKind::DateTime => match dates::detect(column) {
            Some(found) => {
                date_formats = Some(found);
                "all values are dates".to_owned()
            }
            None if is_text || column.data_type.is_integer() => {
                score = score.saturating_sub(30);
                let text = "but its values do not have one date format: set `dates.formats`";
                let number =
                    "but its values are numbers: does `formats` need `epoch_milliseconds` or `excel_serial`?";
                if is_text { text } else { number }.to_owned()
            }
            None => return None,
        },
        FieldKind::Text { .. } if column.data_type == T::Boolean || addresses * 2 > values => return None,
        FieldKind::Text { max_chars } => {
            let is_long = |value: &&String| max_chars.is_some_and(|max| value.chars().count() > max);
            match column.values.iter().filter(is_long).count() {
                0 => String::new(),
                long => format!("but {long} of {values} values are too long and would be truncated"),
            }
        }
    };
    let evidence = if values == 0 {
        "no value was read".to_owned()
    } else {
        evidence
    };
    score = if values == 0 {
        score.saturating_sub(15)
    } else {
        score
    };
    let expression = match field.kind {
        FieldKind::Upn => format!("lower(trim({}))", column.path),
        FieldKind::DateTime | FieldKind::Text { .. } => column.path.clone(),
    };
    (score >= MIN_SCORE).then_some(Choice {
        column: index,
        expression,
        score,
        evidence,
        dates: date_formats,
    })
}

fn is_address(value: &str) -> bool {
    let value = value.trim();
    value
        .split_once('@')
        .is_some_and(|(user, domain)| !user.is_empty() && domain.contains('.') && !domain.contains('@'))
        && !value.contains(char::is_whitespace)
}

/// The date settings of a transform.
#[derive(Default)]
struct SharedDates {
    formats: BTreeSet<&'static str>,
    null_values: BTreeSet<&'static str>,
    /// The fields disagree about day and month, so each field gets its own formats.
    conflict: bool,
    /// Formats among which the values do not decide.
    ambiguous: BTreeSet<&'static str>,
}

impl SharedDates {
    fn of(suggestion: &Suggestion) -> Self {
        let mut shared = Self::default();
        let choices = suggestion.fields.iter().filter_map(|(_, choice)| choice.as_ref());
        for dates in choices.filter_map(|choice| choice.dates.as_ref()) {
            let is_ambiguous = dates.formats.len() > 1;
            let formats = if is_ambiguous {
                &mut shared.ambiguous
            } else {
                &mut shared.formats
            };
            formats.extend(&dates.formats);
            shared.null_values.extend(&dates.null_values);
        }
        // One column of an export decides for the others.
        if !shared.ambiguous.is_disjoint(&shared.formats) {
            shared.ambiguous.clear();
        }
        let swap = |format: &str| format.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m");
        shared.conflict = shared
            .formats
            .iter()
            .any(|format| shared.formats.contains(&*swap(format)));
        shared
    }

    /// The formats that a field needs for itself.
    fn own<'c>(&self, choice: &'c Choice) -> Option<&'c [&'static str]> {
        let formats = choice.dates.as_ref().map(|dates| dates.formats.as_slice());
        formats.filter(|formats| self.conflict && formats.len() == 1)
    }
}

/// The suggestion for a person, ready to paste.
pub(super) fn text(suggestions: &[Suggestion], columns: &[Column]) -> String {
    let mut text = format!("{HEAD}suggested mapping{HEAD:#}\n");
    if suggestions.is_empty() {
        text.push_str(
            "  No HR scenario matches: no column is named like the fields of one. `hrsink scenarios` shows what each needs.\n\n",
        );
        return text;
    }
    let rows = columns.iter().map(|column| column.rows).max().unwrap_or_default();
    let rows = count(rows as u64, "row", "rows");
    let _ = writeln!(
        text,
        "# A starting point, made from {rows}. Check each line.\ntransforms:"
    );
    for (number, suggestion) in suggestions.iter().enumerate() {
        if number > 0 {
            text.push_str("  # Matches too; remove it if the rows are not about this.\n");
        }
        write_block(&mut text, suggestion, columns);
    }
    text.push('\n');
    text
}

fn write_block(text: &mut String, suggestion: &Suggestion, columns: &[Column]) {
    let (name, scenario) = (suggestion.name(), suggestion.scenario.id());
    let source = Value::from(literal(&suggestion.source));
    let _ = writeln!(
        text,
        "  {name}:\n    type: hr_schema\n    inputs: [{source}]\n    scenario: {scenario}"
    );
    if let Some(column) = suggestion
        .choice("LastWorkingDate")
        .map(|last| &columns[last.column])
    {
        let without = column.rows - column.values.len();
        if without > 0 {
            let (rows, path) = (column.rows, comment(&column.path));
            let _ = writeln!(
                text,
                "    # where: …  # TODO: {without} of {rows} rows have no {path}: exclude people who stay"
            );
        }
    }
    let shared = SharedDates::of(suggestion);
    if suggestion.scenario.has_dates() {
        text.push_str("    dates:\n      timezone: UTC  # TODO: the time zone of the HR system's dates\n");
        if !shared.formats.is_empty() && !shared.conflict {
            let _ = writeln!(text, "      formats: {}", json!(shared.formats));
        }
        if !shared.ambiguous.is_empty() {
            let formats = json!(shared.ambiguous);
            let _ = writeln!(
                text,
                "      # formats: …  # TODO: one of {formats}: the values do not distinguish day and month"
            );
        }
        if !shared.null_values.is_empty() {
            let _ = writeln!(
                text,
                "      null_values: {}  # no date",
                json!(shared.null_values)
            );
        }
    }
    text.push_str("    fields:\n");
    for (field, choice) in &suggestion.fields {
        let name = field.name;
        let _ = match choice {
            None if field.required => {
                writeln!(
                    text,
                    "      {name}: cast(NULL AS varchar)  # TODO: no column found: {}",
                    field.summary
                )
            }
            None => writeln!(text, "      # {name}: …  # no column found: {}", field.summary),
            Some(choice) => {
                let why = [choice.confidence(), &choice.evidence].map(comment);
                let why = why
                    .iter()
                    .filter(|part| !part.is_empty())
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ");
                let expression = yaml(&literal(&choice.expression));
                match shared.own(choice) {
                    Some(formats) => writeln!(
                        text,
                        "      {name}:  # {why}\n        expr: {expression}\n        dates: {{formats: {}}}",
                        json!(formats)
                    ),
                    None => writeln!(text, "      {name}: {expression}  # {why}"),
                }
            }
        };
    }
}

/// `text` as a YAML value: plain where that is safe, else as JSON, which is YAML.
fn yaml(text: &str) -> String {
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_()['].".contains(c))
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() > 5;
    match text {
        text if is_plain => text.to_owned(),
        text if text.chars().any(char::is_control) => Value::from(text).to_string(),
        text => format!("'{}'", text.replace('\'', "''")),
    }
}

/// `text` with `${` written so that it is not replaced from the environment.
fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

/// `text` on one line.
fn comment(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// One JSON object per line: `{"suggestion": …}`, with the transform as in a pipeline file in JSON.
pub(super) fn lines(suggestions: &[Suggestion]) -> String {
    let mut text = String::new();
    for suggestion in suggestions {
        let shared = SharedDates::of(suggestion);
        let mut fields = Map::new();
        let mut confidence = Map::new();
        for (field, choice) in &suggestion.fields {
            let Some(choice) = choice else { continue };
            let expression = literal(&choice.expression);
            let value = match shared.own(choice) {
                Some(formats) => json!({"expr": expression, "dates": {"formats": formats}}),
                None => expression.into(),
            };
            fields.insert(field.name.to_owned(), value);
            confidence.insert(field.name.to_owned(), choice.confidence().into());
        }
        let mut transform = json!({
            "type": "hr_schema",
            "inputs": [suggestion.source],
            "scenario": suggestion.scenario.id(),
        });
        if !shared.conflict && !shared.formats.is_empty() {
            transform["dates"]["formats"] = json!(shared.formats);
        }
        if !shared.null_values.is_empty() {
            transform["dates"]["null_values"] = json!(shared.null_values);
        }
        transform["fields"] = fields.into();
        let line = json!({
            "component": suggestion.source,
            "suggestion": {
                "name": suggestion.name(),
                "transform": transform,
                "confidence": confidence,
                "missing": suggestion.missing(),
            },
        });
        let _ = writeln!(text, "{line}");
    }
    text
}
