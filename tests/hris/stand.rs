//! An example pipeline in a folder of its own, and a server that stands in for an HR system.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use serde_json::Value;

/// A server on loopback with the routes of one HR system. What no route takes is answered with 404 and remembered as
/// unexpected.
pub(crate) struct Mock {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    log: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Mock {
    /// Serves `routes` until dropped.
    pub(crate) async fn start(routes: Router) -> Self {
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let noted = log.clone();
        let app = routes.layer(middleware::from_fn(move |request: Request, next: Next| {
            let noted = noted.clone();
            async move {
                let line = format!("{} {}", request.method(), request.uri());
                let answer = next.run(request).await;
                noted
                    .lock()
                    .unwrap()
                    .push(format!("{line} {}", answer.status().as_u16()));
                answer
            }
        }));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, log, task }
    }

    /// Requests so far, each as `GET /path?query 200`, in the order of the answers.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A copy of `config-examples/hris` with what its runs leave behind.
pub(crate) struct Examples {
    folder: tempfile::TempDir,
    env: BTreeMap<String, String>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stderr: String,
    /// The report.
    pub(crate) report: Value,
}

impl Examples {
    /// `env` is what the pipeline files take from the environment, URLs of the stand-ins and secrets; `HRSINK_CLOUD` is
    /// set to `emulator`.
    pub(crate) fn new(env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("config-examples/hris");
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let mut env: BTreeMap<String, String> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        env.insert("HRSINK_CLOUD".to_owned(), "emulator".to_owned());
        Self { folder, env }
    }

    /// Sets or changes a variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file beside the pipeline files, its owner's alone.
    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(self.path(name), owner_only).unwrap();
    }

    /// Runs `hrsink run FILE` to its end.
    pub(crate) async fn run(&self, file: &str) -> Ran {
        self.run_with(file, &[]).await
    }

    /// Runs `hrsink run FILE` with further arguments.
    pub(crate) async fn run_with(&self, file: &str, args: &[&str]) -> Ran {
        let report = self.path("report.json");
        let _ = std::fs::remove_file(&report);
        let mut command = Command::new(env!("CARGO_BIN_EXE_hrsink"));
        command
            .args(["run", file, "--report", "report.json"])
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("HRSINK_LOG")
            .envs(&self.env)
            .stdin(Stdio::null());
        // The stand-ins run on the test's threads.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let report = std::fs::read_to_string(report)
            .map(|text| serde_json::from_str(&text).unwrap())
            .unwrap_or_default();
        Ran {
            code: output.status.code().expect("ended by itself"),
            stderr,
            report,
        }
    }

    /// What the emulator has taken in all runs so far: the scenario and the values of each row, sorted.
    pub(crate) fn accepted(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let mut rows = Vec::new();
        let Ok(entries) = std::fs::read_dir(self.path(".hrsink/emulator")) else {
            return rows;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.starts_with("rows-") {
                continue;
            }
            for line in std::fs::read_to_string(path).unwrap().lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                let values = line["values"].as_object().unwrap();
                let values = values
                    .iter()
                    .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
                    .collect();
                rows.push((line["scenario"].as_str().unwrap_or_default().to_owned(), values));
            }
        }
        rows.sort();
        rows
    }
}

/// A row as [`Examples::accepted`] gives it.
pub(crate) fn row(scenario: &str, values: &[(&str, &str)]) -> (String, BTreeMap<String, String>) {
    let values = values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    (scenario.to_owned(), values)
}

/// The requests with `path` in their path, in order.
pub(crate) fn about(mock: &Mock, path: &str) -> Vec<String> {
    let mut requests = mock.requests();
    requests.retain(|request| request.split('?').next().unwrap().contains(path));
    requests
}

/// A header's value; empty if it is not there.
pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Whether `left`, a number of times something shall still happen, was not used up; takes one.
pub(crate) fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        .is_ok()
}

/// Rows that the run has put aside.
pub(crate) fn rejected(ran: &Ran) -> u64 {
    ran.report["rows"]["rejected"].as_u64().unwrap()
}
