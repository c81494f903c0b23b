//! A pipeline that reads a test server and writes one value of each row to a file.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use hrsink::config::Notation;
use hrsink::config::PipelineConfig;
use hrsink::pipeline::{Observer, RunOptions, RunReport, run};
use serde_json::{Value, json};
use test_server::{Reply, Server};

pub(crate) const PEOPLE: &str = "GET /v1/people";

/// People with these ids.
pub(crate) fn people(ids: impl IntoIterator<Item = u64>) -> Value {
    ids.into_iter().map(|id| json!({"id": id})).collect()
}

/// A page of people under `d`, beside other members.
pub(crate) fn page(ids: &[u64], more: Value) -> Reply {
    Reply::ok(merged(json!({"d": people(ids.iter().copied())}), more))
}

/// `settings` overridden by `more`.
pub(crate) fn merged(mut settings: Value, more: Value) -> Value {
    if let Value::Object(more) = more {
        for (key, value) in more {
            settings[key] = value;
        }
    }
    settings
}

/// A pipeline with the source `api`.
pub(crate) struct Pipeline {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) source: Value,
    show: String,
    pub(crate) max_ratio: f64,
    pub(crate) options: RunOptions,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) report: Option<RunReport>,
    pub(crate) rows: Vec<String>,
    /// Everything written for people: the report, and the program's output.
    pub(crate) text: String,
}

impl Pipeline {
    /// `settings` over a source that reads `$URL/v1/people`.
    pub(crate) fn new(server: &Server, settings: Value) -> Self {
        let source = json!({
            "type": "rest", "base_url": format!("{}/v1", server.url()), "request": {"path": "people"},
            "retry": {"initial_backoff": "1ms", "max_backoff": "2ms", "max_attempts": 3},
        });
        Self {
            folder: tempfile::tempdir().unwrap(),
            source: merged(source, settings),
            show: "id".to_owned(),
            max_ratio: 1.0,
            options: RunOptions::default(),
        }
    }

    /// The expression that is written for each row. Default `id`.
    pub(crate) fn show(mut self, expression: &str) -> Self {
        self.show = expression.to_owned();
        self
    }

    fn document(&self) -> Value {
        json!({
            "sources": {"api": self.source},
            "transforms": {"leavers": {
                "type": "hr_schema",
                "inputs": ["api"],
                "scenario": "employee_resignation",
                "dates": {"timezone": "UTC"},
                "fields": {
                    "EmailAddress": format!("concat(cast({} as varchar), '@contoso.com')", self.show),
                    "ResignationDate": "'2026-03-02'",
                    "LastWorkingDate": "'2026-03-02'",
                },
            }},
            "sinks": {"out": {"type": "file", "inputs": ["leavers"], "path": "out.csv"}},
            "rejects": {"max_ratio": self.max_ratio},
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn write_secret(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        #[cfg(unix)]
        {
            let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(self.path(name), owner_only).unwrap();
        }
    }

    fn rows(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("out.csv")).unwrap_or_default();
        let rows = text.lines().skip(1);
        rows.map(|line| line.split('@').next().unwrap().to_owned())
            .collect()
    }

    /// All problems of the settings.
    pub(crate) fn problems(&self) -> String {
        self.config()
            .map_or_else(|error| format!("{error:#?}"), |_| String::new())
    }

    fn config(&self) -> Result<PipelineConfig, hrsink::config::LoadError> {
        let text = self.document().to_string();
        PipelineConfig::parse(&text, Notation::Json, &self.path("pipeline.json"), &|_| None)
    }

    pub(crate) async fn run(&self) -> Ran {
        let _ = std::fs::remove_file(self.path("out.csv"));
        let config = self.config().unwrap_or_else(|error| panic!("{error:#?}"));
        let observer = Observer::default();
        let run = run(&config, self.options.clone(), &observer);
        let report = tokio::time::timeout(Duration::from_secs(60), run).await.unwrap();
        assert!(report.conserved, "{report:#?}");
        Ran {
            code: report.exit_code,
            text: format!("{report:#?}"),
            report: Some(report),
            rows: self.rows(),
        }
    }

    /// Runs the program `hrsink run` with these variables.
    pub(crate) async fn program(&self, env: &[(&str, &str)]) -> Ran {
        let args = ["run", "pipeline.json", "--report", "report.json"];
        self.command(&args, env).await
    }

    pub(crate) async fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        std::fs::write(self.path("pipeline.json"), self.document().to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hrsink"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("HRSINK_LOG")
            .envs(env.iter().copied())
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let report = std::fs::read_to_string(self.path("report.json")).unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            code: u8::try_from(output.status.code().unwrap()).unwrap(),
            report: None,
            rows: self.rows(),
            text: text(&output.stdout) + &text(&output.stderr) + &report,
        }
    }
}

impl Ran {
    /// The rows of a run that succeeded.
    #[track_caller]
    pub(crate) fn good(&self) -> Vec<&str> {
        assert_eq!(self.code, 0, "{}", self.text);
        self.rows.iter().map(String::as_str).collect()
    }

    /// Fails unless the run ended with `code` and said all of this.
    #[track_caller]
    pub(crate) fn failed(&self, code: u8, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.text);
        self.said(parts);
    }

    #[track_caller]
    pub(crate) fn said(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.text.contains(part), "`{part}` is not in {}", self.text);
        }
    }
}
