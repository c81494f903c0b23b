//! Reads an uploaded CSV as the emulated job does: the rows to save, and log messages for the others.
//!
//! Messages refer to rows by number and to columns by the expected name, never by the text in the file: the first line
//! of a file without a header contains personal data.

use std::cmp::Reverse;
use std::collections::HashSet;

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::config::Job;
use super::refusal::Refusal;
use crate::hr::{Field, FieldKind, Scenario};

/// The documented name of the column with the scenario of a row.
const SCENARIO_COLUMN: &str = "HRScenario";

/// Messages per import; further ones are only counted.
const MAX_MESSAGES: usize = 100;

#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: u64,
    pub(super) saved: Vec<SavedRow>,
    pub(super) messages: Messages,
}

#[derive(Debug)]
pub(super) struct SavedRow {
    /// Its number among the file's data rows, from 1.
    pub(super) row: u64,
    pub(super) scenario: Scenario,
    pub(super) values: Map<String, Value>,
}

#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) kept: Vec<String>,
    pub(super) left_out: u64,
}

impl Messages {
    fn add(&mut self, message: impl FnOnce() -> String) {
        if self.kept.len() < MAX_MESSAGES {
            self.kept.push(message());
        } else {
            self.left_out += 1;
        }
    }
}

/// Reads a file for a job; `None`: open mode.
pub(super) fn read(content: &[u8], job: Option<&Job>, max_rows: u64) -> Result<Table, Refusal> {
    if content.starts_with(b"\xef\xbb\xbf") {
        return Err(Refusal::malformed("the file starts with a byte order mark"));
    }
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(content);
    let header = reader.headers().map_err(|e| unreadable(&e))?.clone();
    if header.iter().all(str::is_empty) {
        return Err(Refusal::malformed("the file has no header row"));
    }
    let lowered: Vec<String> = header.iter().map(str::to_lowercase).collect();
    let mut names = HashSet::new();
    if let Some(position) = lowered.iter().position(|name| !names.insert(name)) {
        let column = position + 1;
        return Err(Refusal::malformed(format!(
            "header column {column} duplicates an earlier one"
        )));
    }

    let layout = Layout::new(&lowered, job);
    let mut messages = Messages::default();
    let mut saved = Vec::new();
    let mut rows = 0;
    let mut incomplete = vec![false; layout.scenarios.len()];
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| unreadable(&e))? {
        rows += 1;
        if record.len() != header.len() {
            let reason = format!("row {rows} and the header differ in the number of cells");
            return Err(Refusal::internal(reason));
        }
        if rows > max_rows {
            return Err(Refusal::malformed(format!(
                "the file has more than {max_rows} data rows"
            )));
        }
        match layout.scenario_of(&record) {
            Err(message) => messages.add(|| format!("row {rows}: {message}")),
            Ok(index) => {
                let scenario = &layout.scenarios[index];
                incomplete[index] |= !scenario.missing.is_empty();
                match scenario.problem_of(&record) {
                    Some(problem) => messages.add(|| format!("row {rows}: {problem}")),
                    None => saved.push(SavedRow {
                        row: rows,
                        scenario: scenario.scenario,
                        values: header
                            .iter()
                            .map(str::to_owned)
                            .zip(record.iter().map(Value::from))
                            .collect(),
                    }),
                }
            }
        }
    }

    // The job does not check the rows of a file in which a mandatory column is missing.
    let mut missing = layout.missing;
    for (scenario, _) in layout.scenarios.iter().zip(incomplete).filter(|(_, used)| *used) {
        let message = scenario.missing_message();
        if !missing.contains(&message) {
            missing.push(message);
        }
    }
    if !missing.is_empty() {
        saved.clear();
        missing.push("nothing was imported".to_owned());
        messages = Messages {
            kept: missing,
            left_out: 0,
        };
    }
    Ok(Table {
        rows,
        saved,
        messages,
    })
}

fn unreadable(error: &csv::Error) -> Refusal {
    Refusal::malformed(match error.kind() {
        ErrorKind::Utf8 { .. } => "the file is not UTF-8",
        _ => "the file is not CSV",
    })
}

/// The columns of a file, matched to a job.
struct Layout {
    /// Position and name of the scenario column.
    identifier: Option<(usize, String)>,
    scenarios: Vec<ScenarioLayout>,
    /// Messages about missing columns that prevent the import whatever the rows are.
    missing: Vec<String>,
}

struct ScenarioLayout {
    scenario: Scenario,
    /// The value in the scenario column, in lower case.
    identifier: String,
    /// Position, expected name and field of the columns in the file.
    cells: Vec<(usize, String, &'static Field)>,
    /// Names of missing mandatory columns.
    missing: Vec<String>,
}

impl Layout {
    /// `header` is in lower case.
    fn new(header: &[String], job: Option<&Job>) -> Self {
        let find = |name: &str| {
            let name = name.to_lowercase();
            header.iter().position(|column| *column == name)
        };
        let ids = job.map_or(&Scenario::ALL[..], |job| &job.scenarios);
        let layouts = ids.iter().map(|id| ScenarioLayout::new(*id, job, find));
        let mut scenarios: Vec<ScenarioLayout> = layouts.collect();
        let column = match job {
            Some(job) => job.scenario_column.as_deref(),
            None => Some(SCENARIO_COLUMN),
        };
        let identifier = column.and_then(|name| find(name).map(|index| (index, name.to_owned())));
        let mut missing = Vec::new();
        if identifier.is_none() {
            if job.is_none() {
                // Fewest mandatory columns missing, then most columns found, then the first. The aliases tell scenarios
                // with the same names apart.
                scenarios.sort_by_key(|layout| (layout.missing.len(), Reverse(layout.cells.len())));
                scenarios.truncate(1);
            }
            match &scenarios[..] {
                // Checked here because a file without rows does not show which scenarios occur.
                [only] if !only.missing.is_empty() => missing.push(only.missing_message()),
                [_, _, ..] => missing.push(format!(
                    "the scenario column `{}` is missing",
                    column.unwrap_or_default()
                )),
                _ => {}
            }
        }
        Self {
            identifier,
            scenarios,
            missing,
        }
    }

    fn scenario_of(&self, record: &StringRecord) -> Result<usize, String> {
        let Some((column, name)) = &self.identifier else {
            return Ok(0);
        };
        let value = record.get(*column).unwrap_or_default().to_lowercase();
        self.scenarios
            .iter()
            .position(|scenario| scenario.identifier == value)
            .ok_or_else(|| format!("`{name}` does not identify a scenario of this job"))
    }
}

impl ScenarioLayout {
    fn new(scenario: Scenario, job: Option<&Job>, find: impl Fn(&str) -> Option<usize>) -> Self {
        let mut cells = Vec::new();
        let mut missing = Vec::new();
        for column in scenario.fields() {
            let mapped = job.and_then(|job| job.columns.get(column.name));
            let found = match mapped {
                Some(name) => find(name).map(|index| (index, name.as_str())),
                // A job without a mapping accepts every documented spelling.
                None => std::iter::once(column.name)
                    .chain(column.aliases.iter().copied())
                    .find_map(|name| find(name).map(|index| (index, name))),
            };
            match found {
                Some((index, name)) => cells.push((index, name.to_owned(), column)),
                None if column.required => {
                    missing.push(format!("`{}`", mapped.map_or(column.name, String::as_str)));
                }
                None => {}
            }
        }
        let identifier = job
            .and_then(|job| job.scenario_values.get(&scenario))
            .map_or(scenario.facts().identifier, String::as_str)
            .to_lowercase();
        Self {
            scenario,
            identifier,
            cells,
            missing,
        }
    }

    fn missing_message(&self) -> String {
        let columns = self.missing.join(", ");
        format!("{}: mandatory columns are missing: {columns}", self.scenario.id())
    }

    fn problem_of(&self, record: &StringRecord) -> Option<String> {
        self.cells.iter().find_map(|(index, name, field)| {
            let cell = record.get(*index).unwrap_or_default();
            let problem = match field.kind {
                _ if cell.is_empty() => field.required.then(|| "is empty".to_owned())?,
                FieldKind::Upn if !is_upn(cell) => {
                    "is not a user principal name or e-mail address".to_owned()
                }
                FieldKind::DateTime if !is_date_time(cell) => "is not an ISO 8601 date and time".to_owned(),
                FieldKind::Text { max_chars: Some(max) }
                    if cell.len() > max && cell.chars().count() > max =>
                {
                    format!("has more than {max} characters")
                }
                _ => return None,
            };
            Some(format!("`{name}` {problem}"))
        })
    }
}

fn is_upn(text: &str) -> bool {
    text.split_once('@').is_some_and(|(name, domain)| {
        !name.is_empty() && !domain.is_empty() && !domain.contains('@') && !text.contains(char::is_whitespace)
    })
}

/// `yyyy-mm-ddThh:mm:ss`, with or without fraction and with or without offset: the samples show all of them.
fn is_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 19
        && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')]
            .into_iter()
            .all(|(at, mark)| bytes[at] == mark);
    // A time zone's name in brackets is an extension of ISO 8601.
    shape
        && !bytes.contains(&b'[')
        && (text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::DateTime>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const HEADER: &str = "EmailAddress,ResignationDate,LastWorkingDate\n";
    const GOOD: &str = "a@contoso.com,2024-01-02T03:04:05.1234567+05:30,2024-02-01T00:00:00Z\n";
    const DATE: &str = "2024-01-02T03:04:05Z";

    fn resignations() -> Job {
        Job::new(Uuid::nil(), Scenario::EmployeeResignation)
    }

    fn read(text: &str, job: &Job) -> Table {
        super::read(text.as_bytes(), Some(job), 5).unwrap()
    }

    #[test]
    fn accepts_the_date_formats_of_the_samples() {
        for (text, expected) in [
            ("2019-04-23T15:18:02.4675041+05:30", true),
            ("2019-04-23T15:18:02Z", true),
            ("2019-04-29T15:18:02.123456", true),
            ("2019-04-29T15:18:02-08:00", true),
            ("2019-04-23", false),
            ("2019-02-30T00:00:00Z", false),
            ("2019-04-23 15:18:02Z", false),
            ("23/04/2019T15:18:02", false),
            ("2019-04-23T15:18:02+05:30[Asia/Kolkata]", false),
            ("€€€€€€€€€€", false),
        ] {
            assert_eq!(is_date_time(text), expected, "{text}");
        }
    }

    #[test]
    fn skips_invalid_rows_without_logging_their_values() {
        let text =
            format!("{HEADER}{GOOD}marker1,{DATE},{DATE}\nb@contoso.com,marker2,{DATE}\n,{DATE},{DATE}\n");
        let table = read(&text, &resignations());
        assert_eq!((table.rows, table.saved.len()), (4, 1));
        assert_eq!(
            table.messages.kept,
            [
                "row 2: `EmailAddress` is not a user principal name or e-mail address",
                "row 3: `ResignationDate` is not an ISO 8601 date and time",
                "row 4: `EmailAddress` is empty",
            ]
        );
        let many = format!("{HEADER}{}", "x,y,z\n".repeat(150));
        let messages = super::read(many.as_bytes(), None, 1000).unwrap().messages;
        assert_eq!((messages.kept.len(), messages.left_out), (100, 50));
    }

    #[test]
    fn compares_mapped_names_case_insensitively_but_with_spaces() {
        let mut job = resignations();
        job.columns.insert("EmailAddress".into(), "Work Mail".into());
        for (name, saved) in [("WORK MAIL", 1), ("WorkMail", 0), ("EmailAddress", 0)] {
            let text = format!("{}{GOOD}", HEADER.replace("EmailAddress", name));
            assert_eq!(read(&text, &job).saved.len(), saved, "{name}");
        }
    }

    #[test]
    fn rejects_malformed_files() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "header"),
            (b"\xef\xbb\xbfa\n1\n", "order mark"),
            (b"a\n\xff\n", "UTF-8"),
            (b"a,A\n", "column 2"),
            (b"a\n1\n2\n3\n4\n5\n6\n", "more than 5"),
            (b"a,b\n1,2\n1\n", "row 2 and the header"),
        ];
        for (content, expected) in cases {
            let error = format!("{:?}", super::read(content, None, 5).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn detects_the_scenario_in_open_mode() {
        use Scenario::*;
        let dated = |columns: &str| format!("{columns},EmailAddress,EffectiveDate,x");
        let resignation = "x,UserPrincipalName,TerminationDate,LastWorkingDate".to_owned();
        for (header, expected) in [
            (resignation, Some(EmployeeResignation)),
            (dated("OldLevel"), Some(JobLevelChange)),
            (dated("Rating"), Some(PerformanceReview)),
            (dated("PerformanceRating"), Some(PerformanceImprovementPlan)),
            (dated("HRScenario"), Some(PerformanceImprovementPlan)),
            ("a,b,c,d".to_owned(), None),
        ] {
            let first = match header.starts_with("HRScenario") {
                true => "performance improvement plan",
                false => "good",
            };
            let text = format!("{header}\n{first},a@contoso.com,{DATE},{DATE}\n");
            let table = super::read(text.as_bytes(), None, 5).unwrap();
            let scenario = table.saved.first().map(|saved| saved.scenario);
            assert_eq!(scenario, expected, "{header}");
        }
    }
}
