//! Whole pipelines, from files to the rows that the emulator accepts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use hrsink::config::Notation;
use hrsink::config::{LoadError, PipelineConfig};
use hrsink::pipeline::{Observer, RunOptions, RunReport, run};
use parquet::arrow::ArrowWriter;
use serde_json::Value;

/// A copy of `config-examples`, so that a run leaves nothing in the source tree.
fn examples() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("config-examples"),
        folder.path(),
    );
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_name() == ".hrsink" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Examples with remote sources, which `tests/sftp`, `tests/stores` and `tests/rest` run or validate.
const REMOTE: [&str; 6] = [
    "sftp-csv.yaml",
    "sftp-pgp.yaml",
    "s3-parquet.yaml",
    "azure-blob.yaml",
    "gcs.yaml",
    "rest-auth.yaml",
];

/// The pipeline files of `config-examples` that read what is beside them.
fn example_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| Notation::of(path).is_ok())
        .filter(|path| !REMOTE.iter().any(|name| path.ends_with(name)))
        .collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    files
}

async fn run_file(path: &Path) -> RunReport {
    let config = PipelineConfig::load(path).unwrap_or_else(|error| panic!("{}: {error:#?}", path.display()));
    let report = run(&config, RunOptions::default(), &Observer::default()).await;
    assert!(report.conserved, "{report:#?}");
    report
}

/// Runs a pipeline beside a file of this name and content.
async fn run_with(pipeline: &str, name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, RunReport) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), content).unwrap();
    let path = folder.path().join("p.yaml");
    std::fs::write(&path, pipeline).unwrap();
    let report = run_file(&path).await;
    (folder, report)
}

/// Runs the quick start with a changed text.
async fn run_quickstart(from: &str, to: &str) -> RunReport {
    let folder = examples();
    let path = folder.path().join("quickstart.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(folder.path().join("a-file"), "").unwrap();
    std::fs::write(&path, text.replace(from, to)).unwrap();
    run_file(&path).await
}

/// A pipeline of performance reviews to the emulator; `settings` of the transform come first.
fn reviews(file: &str, settings: &str, fields: &str) -> String {
    format!(
        "
sources: {{e: {{type: file, path: {file}}}}}
transforms:
  t:
    {settings}
    type: hr_schema
    inputs: [e]
    scenario: performance_review
    dates: {{timezone: UTC}}
    fields: {{EmailAddress: mail, EffectiveDate: day{fields}}}
sinks: {{s: {{type: m365_hr, inputs: [t], cloud: emulator}}}}
rejects: {{max_ratio: 0.5}}
"
    )
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut content = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut content, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    content
}

/// What the emulator keeps of the rows it accepted, in the order of the e-mail addresses.
fn accepted(folder: &Path) -> Vec<BTreeMap<String, String>> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(folder.join(".hrsink/emulator")).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with("rows-") {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let row = line["values"].as_object().unwrap_or_else(|| panic!("{line}"));
            rows.push(
                row.iter()
                    .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
                    .collect(),
            );
        }
    }
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn quickstart_delivers_and_rejects_bad_rows() {
    let folder = examples();
    let report = run_file(&folder.path().join("quickstart.yaml")).await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    let rows = report.rows;
    assert_eq!(
        (rows.read, rows.filtered, rows.rejected, rows.accepted),
        (40, 5, 5, 30)
    );
    let reasons: Vec<String> = report
        .rejects
        .by_reason
        .iter()
        .map(|r| format!("{} {} {}", r.field, r.code, r.rows))
        .collect();
    assert_eq!(
        reasons,
        [
            "EmailAddress missing 1",
            "EmailAddress invalid_upn 1",
            "LastWorkingDate missing 1",
            "LastWorkingDate invalid_date 1",
            "ResignationDate invalid_date 1",
        ]
    );
    let accepted = accepted(folder.path());
    assert_eq!(accepted.len(), 30);
    // White space and letter case of the address, a no-break space, and the fallback for an empty date.
    let of = |mail: &str| {
        accepted
            .iter()
            .find(|row| row["EmailAddress"] == mail)
            .unwrap_or_else(|| panic!("{mail}"))
    };
    assert_eq!(
        of("emp.1010@contoso.com")["LastWorkingDate"],
        "2026-02-14T00:00:00-05:00"
    );
    assert_eq!(
        of("emp.1009@contoso.com")["ResignationDate"],
        "2026-06-30T00:00:00-04:00"
    );
    // The rejects name places and reasons, and no values.
    let rejects = std::fs::read_to_string(report.rejects.path.unwrap()).unwrap();
    assert_eq!(rejects.lines().count(), 5);
    let first: Value = serde_json::from_str(rejects.lines().next().unwrap()).unwrap();
    assert_eq!(first["row"], 5);
    assert_eq!(
        first["line"], 7,
        "the fourth record has a line break in its notes"
    );
    assert!(
        first["file"].as_str().unwrap().ends_with("data/terminations.csv"),
        "{first}"
    );
    assert_eq!(first["faults"][0]["field"], "EmailAddress");
    assert!(!rejects.contains("1019"), "{rejects}");
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_every_example_to_the_emulator() {
    for path in example_files(examples().path()) {
        // Each in a folder of its own: several bring the same rows, and a job is sent them once.
        let folder = examples();
        let path = folder.path().join(path.file_name().unwrap());
        // A pipeline for Microsoft's own clouds runs against the emulator here; nothing else about it changes.
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replace("cloud: worldwide", "cloud: emulator");
        let notation = Notation::of(&path).unwrap();
        let config = PipelineConfig::parse(&text, notation, &path, &|_| None)
            .unwrap_or_else(|error| panic!("{}: {error:#?}", path.display()));
        PipelineConfig::load(&path).unwrap_or_else(|error| panic!("{}: {error:#?}", path.display()));
        let report = run(&config, RunOptions::default(), &Observer::default()).await;
        assert_eq!(report.exit_code, 0, "{}: {report:#?}", path.display());
        assert!(
            report.conserved && report.rows.accepted > 0,
            "{}: {report:#?}",
            path.display()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_several_scenarios_to_one_job() {
    let folder = examples();
    let report = run_file(&folder.path().join("multi-scenario.yaml")).await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert_eq!(
        (
            report.rows.read,
            report.rows.copied,
            report.rows.filtered,
            report.rows.accepted
        ),
        (24, 48, 48, 24)
    );
    let rows = accepted(folder.path());
    let of = |kind: &str| rows.iter().filter(|row| row["HRScenario"] == kind).count();
    assert_eq!(
        (
            of("Performance review"),
            of("Performance improvement plan"),
            of("Level")
        ),
        (8, 8, 8)
    );
    let level = rows.iter().find(|row| row["HRScenario"] == "Level").unwrap();
    assert_eq!(
        level
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>(),
        [
            "EffectiveDate=2026-02-11T00:00:00+01:00",
            "HRScenario=Level",
            "NewLevel=L3",
            "OldLevel=L4",
            "UserPrincipalName=emp.1002@contoso.com",
        ]
    );
}

/// One export as text, as an older spreadsheet saves it, and as a lake holds it.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_the_same_from_parquet_utf16_and_csv() {
    let people: Vec<(String, &str, &str, &str)> = (0..50)
        .map(|i| {
            let zip = ["00501", "02134", "99950"][i % 3];
            (
                format!(" Emp{i}@Contoso.com\t"),
                "2026-03-08",
                ["2026-03-31", "2026-11-01"][i % 2],
                zip,
            )
        })
        .collect();
    let mut plain = String::from("mail,resigned,last day,zip,note\n");
    let mut wide = String::from("mail;resigned;last day;zip;note\r\n");
    for (mail, resigned, last, zip) in &people {
        plain.push_str(&format!("{mail},{resigned},{last},{zip},\"a, \"\"b\"\"\nc\"\n"));
        wide.push_str(&format!(
            "{mail};{resigned};{last};{zip};\"a, \"\"b\"\"\r\nc\"\r\n"
        ));
    }
    let pipeline = |path: &str, format: &str| {
        format!(
            r#"
sources:
  export: {{type: file, path: "{path}"{format}}}
transforms:
  leavers:
    type: hr_schema
    inputs: [export]
    scenario: employee_resignation
    dates: {{timezone: America/New_York}}
    fields: {{EmailAddress: 'lower(mail)', ResignationDate: resigned, LastWorkingDate: '"last day"'}}
  profiles:
    type: hr_schema
    inputs: [export]
    scenario: employee_profile
    fields:
      EmailAddress: mail
      EmployeeFirstName: "'first'"
      EmployeeLastName: "'last'"
      EmployeeAddressLine1: note
      EmployeeZipCode: zip
sinks:
  out: {{type: m365_hr, inputs: [leavers, profiles], cloud: emulator, scenario_column: HRScenario}}
"#
        )
    };
    let mut results = Vec::new();
    let utf16 = wide.encode_utf16().flat_map(u16::to_le_bytes);
    let utf16: Vec<u8> = [0xFF, 0xFE].into_iter().chain(utf16).collect();
    for (name, format, content) in [
        ("e.csv", "", plain.into_bytes()),
        ("e.csv", ", format: {type: csv, delimiter: \";\"}", utf16),
        ("e.parquet", "", people_as_parquet(&people)),
    ] {
        let (folder, report) = run_with(&pipeline(name, format), name, content).await;
        assert_eq!((report.exit_code, report.rows.accepted), (0, 100), "{report:#?}");
        let rows: Vec<_> = accepted(folder.path())
            .into_iter()
            .map(|mut row| {
                // A line break in a cell is the file's own business.
                if let Some(line) = row.get_mut("EmployeeAddressLine1") {
                    *line = line.replace("\r\n", "\n");
                }
                row
            })
            .collect();
        results.push(rows);
    }
    assert_eq!(results[0], results[1], "UTF-16");
    assert_eq!(results[0], results[2], "Parquet");
    let zips: Vec<_> = results[0]
        .iter()
        .filter_map(|row| row.get("EmployeeZipCode"))
        .collect();
    assert!(
        zips.contains(&&"00501".to_owned()),
        "leading zeros survive: {zips:?}"
    );
}

fn people_as_parquet(people: &[(String, &str, &str, &str)]) -> Vec<u8> {
    let days = |text: &str| text.parse::<jiff::civil::Date>().unwrap();
    let epoch = jiff::civil::date(1970, 1, 1);
    let mail: StringArray = people.iter().map(|p| Some(p.0.as_str())).collect();
    let resigned: Date32Array = people
        .iter()
        .map(|p| Some((days(p.1) - epoch).get_days()))
        .collect();
    // A timestamp without a zone: local midnight.
    let last: TimestampMicrosecondArray = people
        .iter()
        .map(|p| Some(i64::from((days(p.2) - epoch).get_days()) * 86_400_000_000))
        .collect();
    let zip: StringArray = people.iter().map(|p| Some(p.3)).collect();
    let zip = arrow::compute::cast(
        &zip,
        &arrow::datatypes::DataType::Dictionary(
            Box::new(arrow::datatypes::DataType::Int32),
            Box::new(arrow::datatypes::DataType::Utf8),
        ),
    )
    .unwrap();
    assert_eq!(zip.as_any_dictionary().values().len(), 3);
    let note: StringArray = people.iter().map(|_| Some("a, \"b\"\nc")).collect();
    parquet(vec![
        ("mail", Arc::new(mail)),
        ("resigned", Arc::new(resigned)),
        ("last day", Arc::new(last)),
        ("zip", zip),
        ("note", Arc::new(note)),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_a_misspelled_column_before_the_first_row() {
    let report = run_quickstart("LastWorkingDate: last_day", "LastWorkingDate: lastday").await;
    assert_eq!((report.exit_code, report.rows.accepted), (2, 0), "{report:#?}");
    let error = report.error.unwrap();
    assert_eq!(error.component.as_deref(), Some("resignations"));
    assert!(
        error
            .message
            .contains("LastWorkingDate: the input has no column `lastday` (did you mean `last_day`"),
        "{error:?}"
    );
    assert!(error.hints[0].contains("`Work Email`"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_only_the_row_whose_expression_fails() {
    let rows = "mail,day,n\na@contoso.com,2026-01-01,1\nb@contoso.com,2026-01-02,x7-marker\nc@contoso.com,2026-01-03,3\n";
    let pipeline = reviews("e.csv", "", ", Rating: 'cast(n as int) * 2'");
    let (folder, report) = run_with(&pipeline, "e.csv", rows).await;
    assert_eq!(
        (report.exit_code, report.rows.accepted, report.rows.rejected),
        (0, 2, 1),
        "{report:#?}"
    );
    let rejects = std::fs::read_to_string(report.rejects.path.unwrap()).unwrap();
    assert!(
        rejects.contains("\"row\":2") && rejects.contains("expression_failed"),
        "{rejects}"
    );
    assert!(
        !rejects.contains("x7-marker"),
        "no value without include_values: {rejects}"
    );
    assert_eq!(
        accepted(folder.path())
            .iter()
            .map(|row| row["Rating"].as_str())
            .collect::<Vec<_>>(),
        ["2", "6"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_with_exit_code_3_after_too_many_rejects() {
    let report = run_quickstart("max_ratio: 0.25", "max_ratio: 0.14").await;
    assert_eq!(
        (report.exit_code, report.rows.accepted),
        (3, 30),
        "5 of 35 are more than 0.14: {report:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_rows_of_a_failed_chunk_once() {
    let rows = "{\"mail\":\"a@contoso.com\",\"day\":true,\"on\":1}\n{\"mail\":\"b@contoso.com\",\"day\":true,\"on\":0}\n";
    let (_folder, report) = run_with(&reviews("e.ndjson", "where: on = 1", ""), "e.ndjson", rows).await;
    assert_eq!(
        (report.exit_code, report.rows.read, report.rows.not_sent),
        (2, 2, 2),
        "{report:#?}"
    );
    assert!(report.error.unwrap().message.contains("Boolean"));
}

#[tokio::test(flavor = "multi_thread")]
async fn does_not_show_the_first_row_of_a_file_without_header() {
    let rows = "marker.1@contoso.com,2026-01-01,Marker\nmarker.2@contoso.com,2026-01-02,Other\n";
    let pipeline = reviews("e.csv", "where: mail is not null", "");
    let (_folder, report) = run_with(&pipeline, "e.csv", rows).await;
    assert_eq!(report.exit_code, 2);
    let error = report.error.unwrap();
    assert!(error.hints[0].contains("header: false"), "{error:?}");
    assert!(
        !format!("{error:?}").to_lowercase().contains("marker"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_the_rejects_folder_before_sending_rows() {
    let report = run_quickstart("path: .hrsink/rejects", "path: a-file/rejects").await;
    assert_eq!((report.exit_code, report.rows.read), (2, 0), "{report:#?}");
    let error = report.error.unwrap();
    assert!(
        error.message.contains("a-file/rejects") && error.hints[0].contains("rejects.path"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn replaces_the_output_file_when_there_are_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = "type: m365_hr, inputs: [t], cloud: emulator";
    let file = "type: file, inputs: [t], path: out.csv";
    let pipeline = reviews("e.csv", "", "").replace(emulator, file);
    let path = folder.path().join("p.yaml");
    std::fs::write(&path, pipeline).unwrap();
    for (rows, expected) in [
        (
            "mail,day\na@contoso.com,2026-01-01\n",
            "EmailAddress,EffectiveDate\r\na@contoso.com,2026-01-01T00:00:00+00:00\r\n",
        ),
        ("mail,day\n", "EmailAddress,EffectiveDate\r\n"),
    ] {
        std::fs::write(folder.path().join("e.csv"), rows).unwrap();
        let report = run_file(&path).await;
        assert_eq!(report.exit_code, 0, "{report:#?}");
        assert_eq!(
            std::fs::read_to_string(folder.path().join("out.csv")).unwrap(),
            expected
        );
        assert!(report.rejects.path.is_none());
        let left = std::fs::read_dir(folder.path().join(".hrsink/rejects"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "a run without rejects leaves no file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_only_a_value_without_text_form() {
    let mail: StringArray = ["a@contoso.com", "b@contoso.com"].into_iter().map(Some).collect();
    let day: Date32Array = [Some(20_000), Some(20_001)].into_iter().collect();
    let at: TimestampMicrosecondArray = [Some(0), Some(i64::MAX)].into_iter().collect();
    let content = parquet(vec![
        ("mail", Arc::new(mail)),
        ("day", Arc::new(day)),
        ("at", Arc::new(at)),
    ]);
    let pipeline = reviews("e.parquet", "", ", Remarks: at");
    let (folder, report) = run_with(&pipeline, "e.parquet", content).await;
    assert_eq!(
        (report.exit_code, report.rows.accepted, report.rows.rejected),
        (0, 1, 1),
        "{report:#?}"
    );
    let rejects = std::fs::read_to_string(report.rejects.path.unwrap()).unwrap();
    assert!(
        rejects.contains("\"field\":\"Remarks\"") && rejects.contains("expression_failed"),
        "{rejects}"
    );
    assert!(!rejects.contains(&i64::MAX.to_string()), "{rejects}");
    assert_eq!(accepted(folder.path())[0]["Remarks"], "1970-01-01T00:00:00");
}

#[test]
fn rejects_two_sources_on_standard_input() {
    let pipeline = "
sources:
  a: {type: file, path: '-', format: csv}
  b: {type: file, path: '-', format: csv}
sinks: {s: {type: console, inputs: [a, b]}}
";
    let error = PipelineConfig::parse(pipeline, Notation::Yaml, Path::new("p.yaml"), &|_| None).unwrap_err();
    let LoadError::Problems { problems, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["sources.b: `a` reads standard input already, and only one source can"]
    );
}
