//! Shared by the tests of complete runs: a pipeline on disk, and the invariants of every report.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

pub(crate) mod barrier;
#[cfg(unix)]
pub(crate) mod program;
pub(crate) mod strict;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use hrsink::config::{LoadError, PipelineConfig};
use hrsink::emulator::{Emulator, RESOURCE};
use hrsink::pipeline::{ErrorReport, Observer, RunOptions, RunReport, run};
use hrsink::plugin::{BatchOutcome, Role, Totals};
use serde_json::{Value, json};

pub(crate) const TENANT: &str = "d5723623-11cf-4e2e-b5a5-01d1506273f9";
pub(crate) const CLIENT: &str = "29ee526e-f9a7-4e98-a682-67f41bfd643e";
pub(crate) const JOB: &str = "b8be4a7d-e338-43eb-a69e-c513cd458eba";
pub(crate) const SECRET: &str = "the-right-secret";

/// Far longer than any run takes; a test that hangs fails.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A pipeline file with its input in a folder of its own.
pub(crate) struct Pipeline {
    folder: tempfile::TempDir,
    /// The file. Tests change it before they run it.
    pub(crate) file: Value,
}

impl Pipeline {
    /// `rows` resignations to the job [`JOB`] of the service at `url`: batches of two rows, one upload at a time, three
    /// attempts with short waits.
    pub(crate) fn new(url: &str, rows: usize) -> Self {
        let pipeline = Self {
            folder: tempfile::tempdir().unwrap(),
            file: json!({
                "sources": {"export": {"type": "file", "path": "export.csv"}},
                "transforms": {"resignations": {
                    "type": "hr_schema",
                    "inputs": ["export"],
                    "scenario": "employee_resignation",
                    "dates": {"timezone": "UTC"},
                    "fields": {"EmailAddress": "upn", "ResignationDate": "resigned", "LastWorkingDate": "last_day"},
                }},
                "sinks": {"purview": sink(url, JOB, "resignations")},
            }),
        };
        let mut csv = "upn,resigned,last_day\n".to_owned();
        for row in 1..=rows {
            csv.push_str(&format!(
                "{},2026-03-02T09:00:00Z,2026-04-01T00:00:00Z\n",
                email(row)
            ));
        }
        pipeline.write("export.csv", &csv);
        pipeline.write("secret", SECRET);
        pipeline
    }

    /// The sink `purview`.
    pub(crate) fn sink(&mut self) -> &mut Value {
        &mut self.file["sinks"]["purview"]
    }

    /// Writes a private file beside the pipeline file.
    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(
            self.path(name),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
    }

    /// A path beside the pipeline file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn load(&self) -> Result<PipelineConfig, LoadError> {
        self.write("pipeline.json", &self.file.to_string());
        PipelineConfig::load(&self.path("pipeline.json"))
    }

    pub(crate) async fn run(&self) -> RunReport {
        self.run_with(RunOptions::default(), &Observer::default()).await
    }

    /// Runs it and asserts the invariants of every run.
    pub(crate) async fn run_with(&self, options: RunOptions, observer: &Observer) -> RunReport {
        let config = match self.load() {
            Ok(config) => config,
            Err(error) => panic!("{error:#?}"),
        };
        let report = tokio::time::timeout(TIMEOUT, run(&config, options, observer))
            .await
            .expect("the run ends");
        assert_sound(&report);
        assert_eq!(observer.totals(), report.rows);
        assert_eq!(observer.in_flight(), 0);
        report
    }
}

/// Runs the program with a pipeline; `{}` stands for its file.
pub(crate) async fn program(pipeline: &Pipeline, args: &[&str]) -> Output {
    pipeline.load().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hrsink"));
    let file = pipeline.path("pipeline.json").display().to_string();
    command.args(
        args.iter()
            .map(|&arg| if arg == "{}" { file.as_str() } else { arg }),
    );
    command.stdin(Stdio::null()).env_remove("HRSINK_LOG");
    // The service of a test runs in its thread.
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// The output of `hrsink history`, newest run first, with the batches.
pub(crate) async fn history(pipeline: &Pipeline) -> Value {
    let output = program(pipeline, &["history", "{}", "--batches", "--output", "json"]).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The settings of an `m365_hr` sink for a job of the service at `url`.
pub(crate) fn sink(url: &str, job: &str, input: &str) -> Value {
    json!({
        "type": "m365_hr",
        "inputs": [input],
        "cloud": {"authority": url, "resource": RESOURCE, "ingestion": url},
        "tenant_id": TENANT,
        "job_id": job,
        "auth": {"type": "client_secret", "client_id": CLIENT, "client_secret": {"file": "secret"}},
        "batch": {"max_rows": 2},
        "max_concurrent": 1, "timeout": "60s",
        "retry": {"max_attempts": 3, "max_elapsed": "5s", "initial_backoff": "1ms", "max_backoff": "5ms"},
    })
}

/// Rows are conserved, and sums, components and batches agree.
fn assert_sound(report: &RunReport) {
    let shown = serde_json::to_string_pretty(report).unwrap();
    assert!(report.conserved && report.rows.conserved(), "{shown}");
    let mut sum = Totals::default();
    for component in &report.components {
        sum += component.rows;
    }
    assert_eq!(sum, report.rows, "{shown}");
    assert_eq!(
        report.error.is_none(),
        matches!(report.exit_code, 0 | 3),
        "{shown}"
    );
    for component in &report.components {
        let batches: Vec<_> = report
            .batches
            .iter()
            .filter(|batch| batch.sink == component.name)
            .collect();
        if component.role != Role::Sink || batches.is_empty() {
            continue;
        }
        // A split batch is reported by its parts, and once more for rows that were not sent.
        let numbers: BTreeSet<u64> = batches.iter().map(|batch| batch.number).collect();
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{shown}");
        let parts: BTreeSet<(u64, u32)> = batches
            .iter()
            .filter(|batch| batch.attempts > 0)
            .map(|batch| (batch.number, batch.part))
            .collect();
        let begun = batches.iter().filter(|batch| batch.attempts > 0).count();
        assert_eq!(parts.len(), begun, "{shown}");
        let rows = |outcome| -> u64 {
            let batches = batches.iter().filter(|batch| batch.outcome == outcome);
            batches.map(|batch| batch.rows).sum()
        };
        let totals = component.rows;
        assert_eq!(rows(BatchOutcome::Accepted), totals.accepted, "{shown}");
        assert_eq!(rows(BatchOutcome::Refused), totals.refused, "{shown}");
        assert_eq!(rows(BatchOutcome::Unknown), totals.unknown, "{shown}");
        assert!(rows(BatchOutcome::Rejected) <= totals.rejected, "{shown}");
        assert!(rows(BatchOutcome::NotSent) <= totals.not_sent, "{shown}");
        for batch in batches {
            // A batch with attempts has its own error; one without has that of the run.
            let begun = batch.attempts > 0;
            let accepted = batch.outcome == BatchOutcome::Accepted;
            assert!(batch.error.is_some() || accepted || !begun, "{shown}");
            assert!(batch.error.is_none() || !accepted, "{shown}");
        }
    }
}

/// The address in a row.
pub(crate) fn email(row: usize) -> String {
    format!("user{row:04}@contoso.com")
}

/// The addresses of the first `rows` rows.
pub(crate) fn emails(rows: usize) -> Vec<String> {
    (1..=rows).map(email).collect()
}

/// An emulator that accepts any app and job, with these faults.
pub(crate) async fn emulator(faults: &str) -> Emulator {
    emulator_with(json!({"faults": faults})).await
}

/// An emulator with these settings.
pub(crate) async fn emulator_with(settings: Value) -> Emulator {
    Emulator::start(serde_json::from_value(settings).unwrap())
        .await
        .unwrap()
}

/// The addresses that arrived, in order.
pub(crate) fn arrived(emulator: &Emulator) -> Vec<String> {
    let rows = emulator.accepted_rows().unwrap();
    let emails = rows.iter().map(|row| row.get("EmailAddress").unwrap());
    let mut emails: Vec<String> = emails.map(str::to_owned).collect();
    emails.sort();
    emails
}

/// The failure in a report with this exit code.
#[track_caller]
pub(crate) fn failure(report: &RunReport, exit_code: u8) -> &ErrorReport {
    let shown = serde_json::to_string_pretty(report).unwrap();
    assert_eq!(report.exit_code, exit_code, "{shown}");
    report.error.as_ref().unwrap()
}

/// Waits until `check` holds.
pub(crate) async fn until(check: impl Fn() -> bool) {
    let waiting = async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waiting)
        .await
        .expect("the condition becomes true");
}
