//! Rows as the emulator accepts them.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::scenario::Scenario;

/// The scenario and the values of a row.
pub(crate) type Row = (String, BTreeMap<String, String>);

/// Whether a text is a time that lies within ten minutes of now, `ago` before it.
pub(crate) fn is_now(text: &str, ago: SignedDuration) -> bool {
    let time = text.parse::<Timestamp>().or_else(|_| format!("{text}Z").parse());
    time.is_ok_and(|time| (Timestamp::now() - ago).duration_since(time).abs() < SignedDuration::from_mins(10))
}

/// The rows that the facts describe: `resignation: [values in the order of the columns]` or `profile: {column: value}`.
pub(crate) fn expected(scenario: &Scenario, rows: &[Value]) -> Vec<Row> {
    let Value::Array(rows) = crate::scenario::expanded(Value::Array(rows.to_vec())) else {
        unreachable!("a list stays one");
    };
    rows.iter().map(|row| expected_row(scenario, row)).collect()
}

fn expected_row(scenario: &Scenario, row: &Value) -> Row {
    let (kind, given) = row.as_object().unwrap().iter().next().unwrap();
    let (name, label, usual) = match kind.as_str() {
        "resignation" => (
            "employee_resignation",
            "Resignation",
            "EmailAddress ResignationDate LastWorkingDate",
        ),
        "level" => (
            "job_level_change",
            "Job level change",
            "EmailAddress EffectiveDate OldLevel NewLevel",
        ),
        "review" => (
            "performance_review",
            "Performance review",
            "EmailAddress EffectiveDate Rating",
        ),
        "profile" => ("employee_profile", "Employee profile", ""),
        other => panic!("unknown kind of row: {other}"),
    };
    let usual = || usual.split_whitespace().map(str::to_owned).collect();
    let columns: Vec<String> = scenario.columns.get(kind).cloned().unwrap_or_else(usual);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut values: BTreeMap<String, String> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let value = match given {
                Value::Array(given) => given.get(index),
                given => {
                    let name = column.trim_start_matches("Employee");
                    given.get(name).or_else(|| scenario.profile.get(name))
                }
            };
            (column.clone(), value.map(text).unwrap_or_default())
        })
        .collect();
    if let Value::Object(given) = given {
        let names = columns.iter().map(|column| column.trim_start_matches("Employee"));
        let names: Vec<&str> = names.collect();
        assert!(given.keys().all(|name| names.contains(&&**name)), "{given:?}");
    }
    values.insert("HRScenario".to_owned(), label.to_owned());
    (name.to_owned(), values)
}

/// The rows that the emulator accepted in all runs so far, sorted. Times of now are `<now>`.
pub(crate) fn accepted(folder: &Path) -> Vec<Row> {
    let Ok(entries) = std::fs::read_dir(folder.join(".hrsink/emulator")) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("rows-"));
    let mut rows: Vec<Row> = files
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(accepted_row).collect::<Vec<_>>()
        })
        .collect();
    rows.sort();
    rows
}

fn accepted_row(line: &str) -> Row {
    let row: Value = serde_json::from_str(line).unwrap();
    let values = row["values"].as_object().unwrap().iter().map(|(name, value)| {
        let text = value.as_str().unwrap();
        let now = is_now(text, SignedDuration::ZERO);
        (name.clone(), if now { "<now>" } else { text }.to_owned())
    });
    (
        row["scenario"].as_str().unwrap_or_default().to_owned(),
        values.collect(),
    )
}

/// Compares all rows, and shows those that differ.
pub(crate) fn assert_rows(accepted: &[Row], expected: &[Row]) {
    let missing: Vec<_> = expected.iter().filter(|row| !accepted.contains(row)).collect();
    let extra: Vec<_> = accepted.iter().filter(|row| !expected.contains(row)).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing: {missing:#?}\nnot expected: {extra:#?}"
    );
    assert_eq!(accepted, expected, "a row was accepted more than once");
}
