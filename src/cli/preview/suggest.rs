//! Suggests a mapping of a source's columns to the HR schema: for each field the column whose name and values match best.
//!
//! The output is a valid `transforms:` block. A required field without a column is null, so that its rows are rejected and
//! nothing is sent by mistake. No value of a row is printed.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use arrow::datatypes::DataType;
use serde_json::{Map, Value, json};

use super::super::output::{HEAD, count};
use super::columns::Column;
use super::dates::{self, DateFormats};
use super::names;
use crate::hr::{Field, FieldKind, Scenario};
use crate::mask;

const MIN_SCORE: u32 = 40;

/// A scenario with a column for each field for which one was found.
#[derive(Debug)]
pub(super) struct Suggestion {
    source: String,
    scenario: Scenario,
    fields: Vec<(&'static Field, Option<Choice>)>,
}

#[derive(Debug, Clone)]
struct Choice {
    column: usize,
    score: u32,
    /// What its values say against it.
    doubt: &'static str,
    dates: DateFormats,
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
    let mut names = columns.iter().flat_map(|column| &column.names);
    if names.any(|name| mask::is_like_a_value(name)) {
        return Vec::new();
    }
    let suggestions = Scenario::ALL.into_iter().map(|scenario| Suggestion {
        source: source.to_owned(),
        scenario,
        fields: assign(scenario, columns),
    });
    let mut matching: Vec<Suggestion> = suggestions.filter(|one| one.is_specific(columns)).collect();
    matching.sort_by_key(|suggestion| Reverse(suggestion.score()));
    let best = matching.first().map_or(0, Suggestion::score);
    matching.retain(|suggestion| suggestion.score() == best || suggestion.missing().is_empty());
    matching
}

/// For each field the best column that no other field matches better.
fn assign(scenario: Scenario, columns: &[Column]) -> Vec<(&'static Field, Option<Choice>)> {
    let mut fields: Vec<_> = scenario.fields().iter().map(|field| (field, None)).collect();
    let mut candidates: Vec<(usize, Choice)> = Vec::new();
    for (at, (field, _)) in fields.iter().enumerate() {
        let matching = columns.iter().enumerate();
        candidates
            .extend(matching.filter_map(|(index, column)| Some((at, candidate(field, index, column)?))));
    }
    // Among equals, a column with values and the first one win.
    candidates.sort_by_key(|(_, choice)| {
        let is_empty = columns[choice.column].values.is_empty();
        (Reverse(choice.score), is_empty, choice.column)
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
    let score = names::score(field.name, &column.names)?;
    let has_values = !column.values.is_empty();
    let has_addresses = column.values.iter().any(|value| value.contains('@'));
    let is_text = column.is_text();
    let dates = match field.kind {
        FieldKind::DateTime => dates::detect(column),
        FieldKind::Upn | FieldKind::Text { .. } => None,
    };
    let is_possible = match field.kind {
        FieldKind::Upn => is_text && (has_addresses || !has_values),
        FieldKind::DateTime => is_text || column.data_type.is_integer() || dates.is_some(),
        FieldKind::Text { .. } => column.data_type != DataType::Boolean && !has_addresses,
    };
    let (penalty, doubt) = if !has_values {
        (15, "no value was read")
    } else if field.kind == FieldKind::DateTime && dates.is_none() {
        let doubt = "but its values do not have one date format: set `dates.formats`";
        (30, doubt)
    } else {
        (0, "")
    };
    let is_possible = is_possible && !column.data_type.is_nested() && score >= MIN_SCORE + penalty;
    is_possible.then(|| Choice {
        column: index,
        score: score - penalty,
        doubt,
        dates: dates.unwrap_or_default(),
    })
}

/// A transform as in a pipeline file, with comments for some keys; a key that is null is only a comment.
struct Block {
    transform: Value,
    comments: HashMap<&'static str, String>,
}

impl Suggestion {
    fn choice(&self, name: &str) -> Option<&Choice> {
        let (_, choice) = self.fields.iter().find(|(field, _)| field.name == name)?;
        choice.as_ref()
    }

    fn missing(&self) -> Vec<&'static str> {
        let fields = self.fields.iter();
        let missing = fields.filter(|(field, choice)| field.required && choice.is_none());
        missing.map(|(field, _)| field.name).collect()
    }

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
            let names = columns.iter().map(|column| &*column.path).chain([&*self.source]);
            names.map(str::to_lowercase).any(|name| {
                let mut words = name.split(|c: char| !c.is_alphanumeric());
                name.contains("improvement") || words.any(|word| word == "pip")
            })
        };
        match self.scenario {
            Scenario::EmployeeResignation => has("ResignationDate") || has("LastWorkingDate"),
            Scenario::JobLevelChange => has("NewLevel") || has("OldLevel"),
            Scenario::PerformanceReview => has("Rating") && !mentions_plans(),
            Scenario::PerformanceImprovementPlan => (has("Rating") || has("Remarks")) && mentions_plans(),
            Scenario::EmployeeProfile => {
                has("EmployeeFirstName")
                    && has("EmployeeLastName")
                    && (has("EmployeeAddressLine1") || has("EmployeeZipCode") || has("EmployeeCity"))
            }
        }
    }

    /// How much of the scenario was found, in percent; required fields count twice.
    fn score(&self) -> u32 {
        let (mut found, mut possible) = (0, 0);
        for (field, choice) in &self.fields {
            let weight = if field.required { 2 } else { 1 };
            possible += weight;
            found += weight * choice.as_ref().map_or(0, |choice| choice.score);
        }
        found / possible.max(1)
    }

    fn block(&self, columns: &[Column]) -> Block {
        let mut comments = HashMap::new();
        let mut transform = json!({
            "type": "hr_schema",
            "inputs": [literal(&self.source)],
            "scenario": self.scenario.id(),
        });
        if let Some(last) = self.choice("LastWorkingDate").map(|last| &columns[last.column])
            && last.values.len() < last.rows
        {
            let (without, rows, path) = (last.rows - last.values.len(), last.rows, &last.path);
            let todo = format!("TODO: {without} of {rows} rows have no {path}: exclude people who stay");
            comments.insert("where", todo);
            transform["where"] = Value::Null;
        }
        if self.scenario.has_dates() {
            transform["dates"] = self.dates(&mut comments);
        }
        for (field, choice) in &self.fields {
            let (value, comment) = match choice {
                Some(choice) => {
                    let path = &columns[choice.column].path;
                    let expression = match field.kind {
                        FieldKind::Upn => format!("lower(trim({path}))"),
                        FieldKind::DateTime | FieldKind::Text { .. } => path.clone(),
                    };
                    let separator = if choice.doubt.is_empty() { "" } else { ", " };
                    let comment = format!("{}{separator}{}", choice.confidence(), choice.doubt);
                    (literal(&expression).into(), comment)
                }
                None => {
                    let todo = if field.required { "TODO: " } else { "" };
                    let null = field.required.then_some("cast(NULL AS varchar)");
                    (null.into(), format!("{todo}no column found: {}", field.summary))
                }
            };
            comments.insert(field.name, comment);
            transform["fields"][field.name] = value;
        }
        Block { transform, comments }
    }

    fn dates(&self, comments: &mut HashMap<&'static str, String>) -> Value {
        let (mut formats, mut undecided) = (BTreeSet::<&str>::new(), BTreeSet::<&str>::new());
        let mut null_values = BTreeSet::<&str>::new();
        for choice in self.fields.iter().filter_map(|(_, choice)| choice.as_ref()) {
            let dates = &choice.dates;
            let is_decided = dates.formats.len() == 1;
            let formats = if is_decided { &mut formats } else { &mut undecided };
            formats.extend(&dates.formats);
            null_values.extend(&dates.null_values);
        }
        // One column of an export decides for the others.
        if !undecided.is_disjoint(&formats) {
            undecided.clear();
        }
        let swap = |format: &str| format.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m");
        if formats.iter().any(|format| formats.contains(&*swap(format))) {
            undecided.append(&mut formats);
        }
        let todo = "TODO: the time zone of the HR system's dates";
        comments.insert("timezone", todo.to_owned());
        comments.insert("null_values", "no date".to_owned());
        let mut dates = json!({"timezone": "UTC"});
        if !formats.is_empty() {
            dates["formats"] = json!(formats);
        }
        if !undecided.is_empty() {
            let undecided = json!(undecided);
            let why = "the values do not distinguish day and month, or the columns differ";
            let todo = format!("TODO: one of {undecided}, if need be for each field: {why}");
            comments.insert("formats", todo);
            dates["formats"] = dates["formats"].take();
        }
        if !null_values.is_empty() {
            dates["null_values"] = json!(null_values);
        }
        dates
    }
}

pub(super) fn text(suggestions: &[Suggestion], columns: &[Column]) -> String {
    let mut text = format!("{HEAD}suggested mapping{HEAD:#}\n");
    if suggestions.is_empty() {
        text.push_str(
            "  No HR scenario matches: no column has the name of an HR field. `hrsink scenarios` shows what each needs.\n\n",
        );
        return text;
    }
    let rows = columns.iter().map(|column| column.rows).max().unwrap_or_default();
    let rows = count(rows as u64, "row", "rows");
    text += &format!("# A starting point, made from {rows}. Check each line.\ntransforms:\n");
    for (number, suggestion) in suggestions.iter().enumerate() {
        if number > 0 {
            text.push_str("  # Matches too; remove it if the rows are not about this.\n");
        }
        let block = suggestion.block(columns);
        let _ = writeln!(text, "  {}:", suggestion.name());
        write_yaml(&mut text, "    ", &block.transform, &block.comments);
    }
    text.push('\n');
    text
}

fn write_yaml(text: &mut String, indent: &str, object: &Value, comments: &HashMap<&'static str, String>) {
    for (key, value) in object.as_object().into_iter().flatten() {
        let comment = comments.get(key.as_str());
        // A column's name can contain anything.
        let comment = comment.map_or_else(String::new, |text| {
            format!("  # {}", text.replace(char::is_control, " "))
        });
        let _ = match value {
            Value::Null => writeln!(text, "{indent}# {key}: …{comment}"),
            Value::Object(_) => writeln!(text, "{indent}{key}:"),
            Value::String(value) => writeln!(text, "{indent}{key}: {}{comment}", yaml(value)),
            other => writeln!(text, "{indent}{key}: {other}{comment}"),
        };
        write_yaml(text, &format!("{indent}  "), value, comments);
    }
}

/// `text` as a YAML value: plain if that means the same, else quoted, with control characters as JSON, which is YAML.
fn yaml(text: &str) -> String {
    if text.chars().any(char::is_control) {
        return Value::from(text).to_string();
    }
    match serde_saphyr::from_str::<Value>(text) {
        Ok(Value::String(read)) if read == text => read,
        _ => format!("'{}'", text.replace('\'', "''")),
    }
}

/// `text` with `${` written so that it is not replaced from the environment.
fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

/// One JSON object per line: `{"suggestion": …}`, with the transform as in a pipeline file in JSON.
pub(super) fn lines(suggestions: &[Suggestion], columns: &[Column]) -> String {
    let mut text = String::new();
    for suggestion in suggestions {
        let mut transform = suggestion.block(columns).transform;
        without_nulls(&mut transform);
        let chosen = suggestion.fields.iter().filter_map(|(field, choice)| {
            let choice = choice.as_ref()?;
            Some((field.name.to_owned(), choice.confidence().into()))
        });
        let line = json!({
            "component": suggestion.source,
            "suggestion": {
                "name": suggestion.name(),
                "transform": transform,
                "confidence": chosen.collect::<Map<String, Value>>(),
                "missing": suggestion.missing(),
            },
        });
        let _ = writeln!(text, "{line}");
    }
    text
}

fn without_nulls(value: &mut Value) {
    if let Value::Object(object) = value {
        object.retain(|_, value| !value.is_null());
        object.values_mut().for_each(without_nulls);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::PipelineConfig;
    use crate::config::document::Notation;

    /// `name=value|value; name=…`; a dot in the name is a member of an object.
    fn columns(columns: &str) -> Vec<Column> {
        let column = |text: &str| {
            let (name, values) = text.split_once('=').unwrap();
            let values = values.split('|').filter(|value| !value.is_empty());
            let names: Vec<String> = name.split('.').map(str::to_owned).collect();
            let members: String = names[1..].iter().map(|name| format!("['{name}']")).collect();
            let quote = if name.contains(' ') { "\"" } else { "" };
            Column {
                path: format!("{quote}{}{quote}{members}", names[0]),
                names,
                data_type: DataType::Utf8,
                rows: 3,
                values: values.map(str::to_owned).collect(),
            }
        };
        columns.split("; ").map(column).collect()
    }

    /// The output as YAML, which must be a valid pipeline with a source and a sink added.
    #[track_caller]
    fn valid(columns: &[Column]) -> String {
        let text = text(&suggest("hr", columns), columns);
        let (_, yaml) = text.split_once('\n').unwrap();
        let file = format!(
            "sources: {{hr: {{type: file, path: a.csv}}}}\n{yaml}sinks: {{out: {{type: console, inputs: [resignations]}}}}\n"
        );
        let parsed = PipelineConfig::parse(&file, Notation::Yaml, Path::new("a.yaml"), &|_| None);
        assert!(parsed.is_ok(), "{parsed:?}\n{file}");
        yaml.to_owned()
    }

    #[test]
    fn prefers_better_names_and_matching_values() {
        for case in r#"
            terminationDate=2026-05-31; Last Day of Work=2026-05-31; homeEmail=sara@fabrikam.example; workEmail=sarad@contoso.com
              => EmailAddress: lower(trim(workEmail)); LastWorkingDate: '"Last Day of Work"'
            email=yes|no|yes; mail=sarad@contoso.com; last_day=Friday|Monday
              => EmailAddress: lower(trim(mail)); LastWorkingDate: last_day  # a guess, but its values do not
            attributes.email.value=sarad@contoso.com; attributes.last_working_day.value=2026-05-31
              => lower(trim(attributes['email']['value'])); attributes['last_working_day']['value']
            last_day=
              => EmailAddress: cast(NULL AS varchar)  # TODO: no column found; # where: …  # TODO: 3 of 3 rows
            last day=01/02/2026; resignation date=31-May-2026|n/a
              => formats: ["%d-%b-%Y"]  # TODO: one of; null_values: ["n/a"]
            resignation date=31/12/2026; last day=12/31/2026
              => # formats: …  # TODO: one of ["%d/%m/%Y","%m/%d/%Y"]
            last day ${x}: #'=2026-05-31
              => LastWorkingDate: '"last day $${x}: #''"'; timezone: UTC  # TODO
        "#
        .trim()
        .split("\n            ")
        .collect::<Vec<_>>()
        .chunks(2)
        {
            let (given, expected) = (case[0], case[1].trim_start_matches("  => "));
            let text = valid(&columns(given));
            for expected in expected.split("; ") {
                assert!(text.contains(expected), "{expected}\n{text}");
            }
        }
    }

    #[test]
    fn suggests_nothing_for_a_file_without_header() {
        let columns = columns("sarad@contoso.com=mike@contoso.com; last_day=2026-01-01");
        assert!(suggest("hr", &columns).is_empty());
    }
}
