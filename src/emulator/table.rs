//! Reads an uploaded CSV the way the emulated job does: which rows it saves, and what its log says of the others.
//!
//! Texts made here go into logs: they name rows by number and columns by the name that was expected, never by what
//! the file says, since a file without a header has a person's data in its first line.

use std::collections::HashSet;
use std::sync::Arc;

use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::SCENARIO_COLUMN;
use super::config::Job;
use crate::hr::{Field, FieldKind, Scenario};

/// Messages kept for one import; the others are counted.
const MOST_MESSAGES: usize = 100;

/// The result of an accepted file.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: Arc<[String]>,
    /// Data rows in the file.
    pub(super) rows: u64,
    pub(super) saved: Vec<SavedRow>,
    pub(super) messages: Messages,
}

/// A row to keep.
#[derive(Debug)]
pub(super) struct SavedRow {
    /// Its number among the file's data rows, from 1.
    pub(super) row: u64,
    pub(super) scenario: Scenario,
    pub(super) values: StringRecord,
}

/// Lines for the import log.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) kept: Vec<String>,
    pub(super) left_out: u64,
}

impl Messages {
    fn add(&mut self, message: impl FnOnce() -> String) {
        if self.kept.len() < MOST_MESSAGES {
            self.kept.push(message());
        } else {
            self.left_out += 1;
        }
    }
}

/// Why a file was not taken at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Status 400.
    Malformed(String),
    /// Status 500: rows with another number of cells than the header.
    Ragged(u64),
}

/// Reads a file for a job; `None` is the open mode.
pub(super) fn read(content: &[u8], job: Option<&Job>, max_rows: u64) -> Result<Table, Refused> {
    let malformed = |reason: &str| Refused::Malformed(reason.to_owned());
    if content.starts_with(b"\xef\xbb\xbf") {
        return Err(malformed("the file starts with a byte order mark"));
    }
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(content);
    let header = reader.headers().map_err(|e| unreadable(&e))?.clone();
    if header.iter().all(str::is_empty) {
        return Err(malformed("the file has no header row"));
    }
    let lowered: Vec<String> = header.iter().map(str::to_lowercase).collect();
    let mut names = HashSet::new();
    if let Some(position) = lowered.iter().position(|name| !names.insert(name)) {
        return Err(Refused::Malformed(format!(
            "header column {} has the name of an earlier one",
            position + 1
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
            return Err(Refused::Ragged(rows));
        }
        if rows > max_rows {
            return Err(Refused::Malformed(format!(
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
                        values: record.clone(),
                    }),
                }
            }
        }
    }

    // A file in which a mandatory column is missing is not looked into, so what was found in its rows is not told.
    let mut missing = layout.missing;
    for (scenario, _) in layout
        .scenarios
        .iter()
        .zip(incomplete)
        .filter(|(_, incomplete)| *incomplete)
    {
        let message = format!(
            "{}: mandatory columns are missing: {}",
            scenario.scenario.id(),
            scenario.missing.join(", ")
        );
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
        columns: header.iter().map(str::to_owned).collect(),
        rows,
        saved,
        messages,
    })
}

fn unreadable(error: &csv::Error) -> Refused {
    Refused::Malformed(match error.kind() {
        ErrorKind::Utf8 { .. } => "the file is not UTF-8".to_owned(),
        _ => "the file is not CSV".to_owned(),
    })
}

/// How the columns of one file fit the job.
struct Layout {
    /// Where the scenario column is, and what it is called.
    identifier: Option<(usize, String)>,
    scenarios: Vec<ScenarioLayout>,
    /// What makes the whole file useless whatever its rows are.
    missing: Vec<String>,
}

struct ScenarioLayout {
    scenario: Scenario,
    /// What the scenario column holds, in lower case.
    identifier: String,
    /// Position, expected name and column of those that the file has.
    cells: Vec<(usize, String, &'static Field)>,
    /// Names of mandatory columns that the file does not have.
    missing: Vec<String>,
}

impl Layout {
    /// `header` is in lower case.
    fn new(header: &[String], job: Option<&Job>) -> Self {
        let find = |name: &str| {
            let name = name.to_lowercase();
            header.iter().position(|column| *column == name)
        };
        let scenarios: Vec<ScenarioLayout> = job
            .map_or(&Scenario::ALL[..], |job| &job.scenarios)
            .iter()
            .map(|scenario| ScenarioLayout::new(*scenario, job, find))
            .collect();
        let column = match job {
            Some(job) => job.scenario_column.as_deref(),
            None => Some(SCENARIO_COLUMN),
        };
        let identifier = column.and_then(|name| find(name).map(|index| (index, name.to_owned())));
        let mut missing = Vec::new();
        let scenarios = match (job, &identifier) {
            (None, None) => vec![best(scenarios)],
            (Some(_), None) if scenarios.len() > 1 => {
                missing.push(format!(
                    "the scenario column `{}` is missing",
                    column.unwrap_or_default()
                ));
                scenarios
            }
            _ => scenarios,
        };
        // With no rows to say which scenarios occur, a job of one scenario can still tell.
        if identifier.is_none()
            && let [only] = &scenarios[..]
            && !only.missing.is_empty()
        {
            missing.push(format!(
                "{}: mandatory columns are missing: {}",
                only.scenario.id(),
                only.missing.join(", ")
            ));
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
            .ok_or_else(|| format!("`{name}` holds the identifier of no scenario of this job"))
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
                // Which of the documented spellings is mapped, a job without a mapping of its own cannot know.
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
            .map_or(scenario.documented_identifier(), String::as_str)
            .to_lowercase();
        Self {
            scenario,
            identifier,
            cells,
            missing,
        }
    }

    fn problem_of(&self, record: &StringRecord) -> Option<String> {
        self.cells.iter().find_map(|(index, name, column)| {
            let cell = record.get(*index).unwrap_or_default();
            if cell.is_empty() {
                return column.required.then(|| format!("`{name}` is empty"));
            }
            match column.kind {
                FieldKind::Upn if !is_upn(cell) => {
                    Some(format!("`{name}` is not a user principal name or e-mail address"))
                }
                FieldKind::DateTime if !is_date_time(cell) => {
                    Some(format!("`{name}` is not an ISO 8601 date and time"))
                }
                FieldKind::Text {
                    max_chars: Some(most),
                } if cell.len() > most && cell.chars().count() > most => {
                    Some(format!("`{name}` has more than {most} characters"))
                }
                _ => None,
            }
        })
    }
}

/// The scenario that fits a header best: fewest mandatory columns missing, then most columns found, then the first.
fn best(scenarios: Vec<ScenarioLayout>) -> ScenarioLayout {
    let mut scenarios = scenarios.into_iter();
    let first = scenarios
        .next()
        .unwrap_or_else(|| ScenarioLayout::new(Scenario::EmployeeResignation, None, |_| None));
    scenarios.fold(first, |best, next| {
        let rank = |layout: &ScenarioLayout| {
            // The alias found instead of the name tells two scenarios with the same names apart.
            let columns = layout.cells.len();
            (std::cmp::Reverse(layout.missing.len()), columns)
        };
        if rank(&next) > rank(&best) { next } else { best }
    })
}

fn is_upn(text: &str) -> bool {
    match text.split_once('@') {
        Some((name, domain)) => {
            !name.is_empty()
                && !domain.is_empty()
                && !domain.contains('@')
                && !text.contains(char::is_whitespace)
        }
        None => false,
    }
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

    const GOOD: &str = "EmailAddress,ResignationDate,LastWorkingDate\n\
                        a@contoso.com,2024-01-02T03:04:05.1234567+05:30,2024-02-01T00:00:00Z\n";

    fn resignations() -> Job {
        Job::new(Uuid::nil(), Scenario::EmployeeResignation)
    }

    fn read(text: &str, job: Option<&Job>) -> Result<Table, Refused> {
        super::read(text.as_bytes(), job, 5)
    }

    #[test]
    fn dates_are_those_of_the_samples() {
        for good in [
            "2019-04-23T15:18:02.4675041+05:30",
            "2019-04-23T15:18:02Z",
            "2019-04-29T15:18:02.123456",
            "2019-04-29T15:18:02-08:00",
        ] {
            assert!(is_date_time(good), "{good}");
        }
        for bad in [
            "2019-04-23",
            "2019-02-30T00:00:00Z",
            "2019-04-23 15:18:02Z",
            "23/04/2019T15:18:02",
            "2019-04-23T15:18:02+05:30[Asia/Kolkata]",
            "€€€€€€€€€€",
        ] {
            assert!(!is_date_time(bad), "{bad}");
        }
    }

    #[test]
    fn rows_wrong_in_themselves_are_not_saved_and_their_values_not_told() {
        let text = format!(
            "{GOOD}marker1,2024-01-02T03:04:05Z,2024-01-02T03:04:05Z\nb@contoso.com,marker2,2024-01-02T03:04:05Z\n\
             ,2024-01-02T03:04:05Z,2024-01-02T03:04:05Z\n"
        );
        let table = read(&text, Some(&resignations())).unwrap();
        assert_eq!((table.rows, table.saved.len()), (4, 1));
        let log = table.messages.kept.join("\n");
        assert!(
            log.contains("row 2: `EmailAddress` is not") && log.contains("row 3: `ResignationDate` is not")
        );
        assert!(log.contains("row 4: `EmailAddress` is empty") && !log.contains("marker"));
    }

    #[test]
    fn a_missing_mandatory_column_imports_nothing_even_without_rows() {
        for rows in ["", "a@contoso.com,2024-01-02T03:04:05Z\n"] {
            let table = read(
                &format!("EmailAddress,LastWorkingDate\n{rows}"),
                Some(&resignations()),
            )
            .unwrap();
            assert!(table.saved.is_empty());
            assert!(
                table.messages.kept[0].contains("`ResignationDate`"),
                "{:?}",
                table.messages
            );
        }
    }

    #[test]
    fn names_are_compared_without_case_but_with_spaces_and_the_mapping() {
        let mut job = resignations();
        job.columns.insert("EmailAddress".into(), "Work Mail".into());
        let with = |name: &str| {
            read(&GOOD.replace("EmailAddress", name), Some(&job))
                .unwrap()
                .saved
                .len()
        };
        assert_eq!(
            [with("WORK MAIL"), with("WorkMail"), with("EmailAddress")],
            [1, 0, 0]
        );
    }

    #[test]
    fn malformed_files_are_refused() {
        let refused = |bytes: &[u8]| super::read(bytes, None, 5).unwrap_err();
        assert!(matches!(refused(b""), Refused::Malformed(reason) if reason.contains("header")));
        assert!(
            matches!(refused(b"\xef\xbb\xbfa\n1\n"), Refused::Malformed(reason) if reason.contains("order mark"))
        );
        assert!(matches!(refused(b"a\n\xff\n"), Refused::Malformed(reason) if reason.contains("UTF-8")));
        assert!(matches!(refused(b"a,A\n"), Refused::Malformed(reason) if reason.contains("column 2")));
        assert!(
            matches!(refused(b"a\n1\n2\n3\n4\n5\n6\n"), Refused::Malformed(reason) if reason.contains("more than 5"))
        );
        assert_eq!(refused(b"a,b\n1,2\n1\n"), Refused::Ragged(2));
    }

    #[test]
    fn the_open_mode_finds_the_scenario() {
        let scenario = |header: &str, row: &str| {
            let table = read(&format!("{header}\n{row}\n"), None).unwrap();
            table.saved.first().map(|saved| saved.scenario)
        };
        let date = "2024-01-02T03:04:05Z";
        let cases = [
            (
                "UserPrincipalName,TerminationDate,LastWorkingDate",
                format!("a@contoso.com,{date},{date}"),
                Scenario::EmployeeResignation,
            ),
            (
                "EmailAddress,EffectiveDate,OldLevel",
                format!("a@contoso.com,{date},7"),
                Scenario::JobLevelChange,
            ),
            (
                "EmailAddress,EffectiveDate,Rating",
                format!("a@contoso.com,{date},good"),
                Scenario::PerformanceReview,
            ),
            (
                "EmailAddress,EffectiveDate,PerformanceRating",
                format!("a@contoso.com,{date},good"),
                Scenario::PerformanceImprovementPlan,
            ),
            (
                "HRScenario,EmailAddress,EffectiveDate",
                format!("performance improvement plan,a@contoso.com,{date}"),
                Scenario::PerformanceImprovementPlan,
            ),
        ];
        for (header, row, expected) in cases {
            assert_eq!(scenario(header, &row), Some(expected), "{header}");
        }
        assert_eq!(scenario("a,b", "1,2"), None);
    }

    #[test]
    fn messages_are_bounded() {
        let text = format!(
            "EmailAddress,ResignationDate,LastWorkingDate\n{}",
            "x,y,z\n".repeat(150)
        );
        let table = super::read(text.as_bytes(), None, 1000).unwrap();
        assert_eq!((table.messages.kept.len(), table.messages.left_out), (100, 50));
    }
}
