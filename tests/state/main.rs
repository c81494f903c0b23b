//! Failures of the ledger: full and read-only disks, damage, lost keys, other versions, concurrent processes. Nothing is
//! sent that the ledger cannot record, and everything is delivered once the cause is fixed.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(clippy::print_stdout, reason = "says what could not be tried")]

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod disk;
mod outputs;
mod together;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::program::{self, Service};
use support::{JOB, email};

const FILE: &str = "hr.json";
const REPORT: &str = "report.json";

/// A pipeline in a temporary folder, with its service.
struct Fixture {
    folder: tempfile::TempDir,
    service: Service,
    pipeline: Value,
    rows: usize,
}

impl Fixture {
    /// With an export of `rows` rows, two to a batch.
    fn new(rows: usize) -> Self {
        let service = Service::start(&json!({}));
        let fields = json!({"EmailAddress": "upn", "ResignationDate": "day", "LastWorkingDate": "day"});
        let mut pipeline =
            program::pipeline(service.url(), "export.csv", "employee_resignation", &fields, JOB);
        pipeline["sinks"]["purview"]["batch"]["max_rows"] = json!(2);
        pipeline["sinks"]["purview"]["timeout"] = json!("60s");
        let mut fixture = Self {
            folder: tempfile::tempdir().unwrap(),
            service,
            pipeline,
            rows: 0,
        };
        program::write_secret(fixture.path());
        fixture.grow(rows);
        fixture
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The default path of the ledger.
    fn ledger(&self) -> PathBuf {
        self.path().join(".hrsink/state.db")
    }

    /// Sets the path of the ledger.
    fn keep_at(&mut self, path: &Path) {
        self.pipeline["state"] = json!({"path": path});
    }

    /// Adds rows to the export.
    fn grow(&mut self, rows: usize) {
        self.rows += rows;
        let mut csv = "upn,day\n".to_owned();
        for row in 1..=self.rows {
            csv.push_str(&format!("{},2026-04-01T00:00:00Z\n", email(row)));
        }
        std::fs::write(self.path().join("export.csv"), csv).unwrap();
    }

    fn run(&self) -> (i32, String, String) {
        std::fs::write(self.path().join(FILE), self.pipeline.to_string()).unwrap();
        program::run(self.path(), &["run", FILE, "--report", REPORT])
    }

    fn report(&self) -> Value {
        let text = std::fs::read(self.path().join(REPORT)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// A run ends with this exit code and prints all of `words`; nothing is sent.
    #[track_caller]
    fn refuses(&self, code: i32, words: &[&str]) {
        let before = self.service.uploads();
        let (ended, said, error) = self.run();
        assert_eq!(ended, code, "{said}{error}");
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
        assert!(error.contains("hint:"), "{error}");
        assert_eq!(self.service.uploads(), before, "{error}");
        let rows = &self.report()["rows"];
        assert_eq!(rows["accepted"], 0);
        assert_eq!(rows["unknown"], 0);
    }

    /// A run delivers `rows` rows and skips the others; the job has every row once.
    #[track_caller]
    fn delivers(&self, rows: usize) {
        let (code, said, error) = self.run();
        assert_eq!(code, 0, "{said}{error}");
        let report = self.report();
        assert_eq!(report["rows"]["accepted"], rows, "{report:#}");
        assert_eq!(report["rows"]["skipped"], self.rows - rows, "{report:#}");
        let arrived = self.arrived();
        assert_eq!(arrived.len(), self.rows);
        assert!(arrived.values().all(|times| *times == 1), "{arrived:?}");
    }

    /// The addresses that arrived, and how often.
    fn arrived(&self) -> BTreeMap<String, usize> {
        let mut arrived = BTreeMap::new();
        for import in self.service.imports() {
            for (_, values) in import.rows {
                *arrived
                    .entry(values["EmailAddress"].as_str().unwrap().to_owned())
                    .or_default() += 1;
            }
        }
        arrived
    }

    fn expected(&self) -> BTreeSet<String> {
        (1..=self.rows).map(email).collect()
    }

    /// Runs a command that ends with `code`, and gives what it prints.
    #[track_caller]
    fn ends(&self, code: i32, args: &[&str]) -> String {
        let (ended, said, error) = program::run(self.path(), args);
        assert_eq!(ended, code, "{said}{error}");
        said + &error
    }

    #[track_caller]
    fn check_ledger(&self) {
        self.ends(0, &["ledger", "verify", FILE]);
    }
}
