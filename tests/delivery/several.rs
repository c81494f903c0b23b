//! Branching: one source for several sinks, one sink for several inputs.

use crate::support::{JOB, Pipeline, arrived, emails, emulator, emulator_with, sink};
use crate::{OTHER_ID, fails, infinite};
use serde_json::json;

#[tokio::test]
async fn counts_copies_of_a_source_for_two_sinks() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 5);
    pipeline.file["transforms"]["levels"] = json!({
        "type": "hr_schema",
        "inputs": "export",
        "scenario": "performance_review",
        "dates": {"timezone": "UTC"},
        "where": "upn <> 'user0001@contoso.com'",
        "fields": {"EmailAddress": "upn", "EffectiveDate": "resigned"},
    });
    pipeline.file["sinks"]["file"] =
        json!({"type": "file", "inputs": ["resignations", "levels"], "path": "out/{scenario}.csv"});
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0);
    // The source has two consumers, and the resignations two more.
    assert_rows!(report, 5, copied: 10, filtered: 1, accepted: 14);
    assert_eq!(arrived(&emulator), emails(5));
    for (name, lines) in [("employee_resignation", 6), ("performance_review", 5)] {
        let text = std::fs::read_to_string(pipeline.path(&format!("out/{name}.csv"))).unwrap();
        assert_eq!(text.lines().count(), lines, "{text}");
    }
}

#[tokio::test]
async fn stops_other_sinks_and_names_the_one_that_failed() {
    let emulator = emulator_with(json!({
        "jobs": [{"job_id": JOB, "scenarios": ["employee_resignation"]}],
        "faults": "latency=50ms",
    }))
    .await;
    let mut pipeline = infinite(&emulator.url());
    pipeline.file["sinks"] = json!({
        "a": sink(&emulator.url(), JOB, "resignations"),
        "b": sink(&emulator.url(), OTHER_ID, "resignations"),
        "file": {"type": "file", "inputs": ["resignations"], "path": "out.csv"},
    });
    let report = pipeline.run().await;
    let error = fails(&report, 5, &["404"]);
    assert_eq!(error.component.as_deref(), Some("b"));
    let rows = report.rows;
    assert_eq!((rows.copied, rows.refused, rows.unknown), (2 * rows.read, 2, 0));
    assert_eq!(rows.accepted, arrived(&emulator).len() as u64);
    assert!(!pipeline.path("out.csv").exists(), "no partial file");
}

#[tokio::test]
async fn never_mixes_scenarios_in_an_upload() {
    let emulator = emulator_with(json!({
        "jobs": [{
            "job_id": JOB,
            "scenarios": ["employee_resignation", "performance_review"],
            "scenario_column": "HRScenario",
        }],
    }))
    .await;
    let mut pipeline = Pipeline::new(&emulator.url(), 5);
    pipeline.file["transforms"]["reviews"] = json!({
        "type": "hr_schema",
        "inputs": ["export"],
        "scenario": "performance_review",
        "dates": {"timezone": "UTC"},
        "fields": {"EmailAddress": "upn", "EffectiveDate": "resigned"},
    });
    pipeline.sink()["inputs"] = json!(["resignations", "reviews"]);
    pipeline.sink()["scenario_column"] = json!("HRScenario");
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0);
    assert_rows!(report, 5, copied: 5, accepted: 10);
    let imports = emulator.imports();
    assert_eq!(imports.len(), 6);
    let all = emulator.accepted_rows().unwrap();
    for import in imports {
        assert!(import.rows <= 2);
        let own = all.iter().filter(|row| import.file.contains(row.scenario()));
        assert_eq!(own.count(), 5, "{}", import.file);
    }
}
