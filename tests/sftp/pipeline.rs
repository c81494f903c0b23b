//! A pipeline that reads from a server.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hrsink::config::Notation;
use hrsink::config::PipelineConfig;
use hrsink::pipeline::{Observer, RunOptions, RunReport, run};
use serde_json::{Value, json};

use crate::digest::{DIGESTS, Digest};
use crate::sshd::{Sshd, me};

/// A pipeline in a folder of its own: the column `line` of the files at an address, digested.
pub(crate) struct Pipeline {
    folder: tempfile::TempDir,
    pub(crate) source: Value,
    note: String,
}

/// Runs the program with the pipeline `file` in `folder`: its exit code, its report, and all that it said.
pub(crate) fn program(folder: &Path, file: &str, environment: &[(&str, String)]) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hrsink"))
        .args(["run", file, "--report", "report.json"])
        .current_dir(folder)
        .env_remove("HRSINK_LOG")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let report = std::fs::read_to_string(folder.join("report.json")).unwrap_or_default();
    let report = serde_json::from_str(&report).unwrap_or_default();
    (output.status.code().unwrap(), report, told)
}

/// A server with one file, and a pipeline that reads it; `None` if tests against real servers are not requested.
pub(crate) fn serving(name: &str, content: impl AsRef<[u8]>) -> Option<(Sshd, Pipeline)> {
    crate::external::enabled("SFTP").then(|| {
        let sshd = Sshd::start();
        sshd.write(name, content);
        let pipeline = Pipeline::new(&sshd, name);
        (sshd, pipeline)
    })
}

/// A folder with an example, and the host key of `sshd` as known.
pub(crate) fn example(sshd: &Sshd, name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config-examples");
    std::fs::copy(examples.join(name), folder.path().join(name)).unwrap();
    let known = format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host_key("ed25519"));
    std::fs::write(folder.path().join("known_hosts"), known).unwrap();
    folder
}

/// An export of three people, two of whom have left.
pub(crate) const EXPORT: &str = concat!(
    "employee_id,work_email,status,resign_date,last_day\r\n",
    "1,Adele.Vance@contoso.com,Terminated,2026-03-02,2026-03-31\r\n",
    "2,alex.wilber@contoso.com,Active,,\r\n",
    "3,diego.siciliani@contoso.com,Terminated,2026-03-03,2026-04-30\r\n",
);

/// Makes a file an hour old.
pub(crate) fn age(path: &Path) {
    let then = std::time::SystemTime::now() - Duration::from_secs(3600);
    let file = std::fs::File::options().append(true).open(path).unwrap();
    file.set_modified(then).unwrap();
}

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) report: RunReport,
    pub(crate) digest: Option<Digest>,
    /// Error, causes and hints, as a person reads them.
    pub(crate) told: String,
}

impl Pipeline {
    /// Reads `name` in the folder of `sshd`, whose host key is pinned, and logs in with a key. Short waits, and files as
    /// they are now.
    pub(crate) fn new(sshd: &Sshd, name: &str) -> Self {
        let mut pipeline = Self::at(&sshd.address(name));
        if !sshd.path("login").exists() {
            sshd.login_key("login", &["-t", "ed25519", "-N", ""]);
        }
        pipeline.sftp()["auth"] = json!([{"private_key": {"file": sshd.path("login")}}]);
        pipeline.sftp()["host_keys"] = json!([sshd.fingerprint("ed25519")]);
        pipeline
    }

    /// Reads what is at `address`; how to log in and which host key is meant must be set.
    pub(crate) fn at(address: &str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            source: json!({
                "type": "file", "path": address, "select": {"quiet_period": "0s", "incremental": false},
                "sftp": {"username": me(), "retry": {"initial_backoff": "20ms", "max_backoff": "200ms"}},
            }),
            note: uuid::Uuid::new_v4().to_string(),
        }
    }

    pub(crate) fn sftp(&mut self) -> &mut Value {
        &mut self.source["sftp"]
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file beside the pipeline file, its owner's alone.
    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Removes a setting of the backend.
    pub(crate) fn unset(&mut self, key: &str) {
        self.sftp().as_object_mut().unwrap().remove(key);
    }

    fn config(&self) -> PipelineConfig {
        let file = json!({
            "sources": {"export": self.source},
            "sinks": {"out": {"type": "digest", "inputs": ["export"], "note_as": self.note}},
        });
        let path = self.path("pipeline.json");
        PipelineConfig::parse(&file.to_string(), Notation::Json, &path, &|_| None)
            .unwrap_or_else(|error| panic!("{error:#?}"))
    }

    /// Runs the program with the same source, printing what it reads; see [`program`].
    pub(crate) fn run_program(&self) -> (i32, Value, String) {
        let file = json!({
            "sources": {"export": self.source},
            "sinks": {"out": {"type": "console", "inputs": ["export"]}},
        });
        self.write("pipeline.json", &file.to_string());
        program(self.folder.path(), "pipeline.json", &[])
    }

    pub(crate) async fn run(&self) -> Ran {
        self.run_with(RunOptions::default()).await
    }

    /// Runs it; the digest of a successful run.
    pub(crate) async fn read(&self) -> Digest {
        self.run().await.good()
    }

    /// Runs it; the rows of a successful run.
    pub(crate) async fn rows(&self) -> usize {
        self.read().await.rows
    }

    /// Runs it; a run that ends otherwise or does not report all of this fails the test.
    pub(crate) async fn fails(&self, code: u8, said: &[&str]) -> Ran {
        let ran = self.run().await;
        ran.failed(code, said);
        ran
    }

    pub(crate) async fn run_with(&self, options: RunOptions) -> Ran {
        DIGESTS.lock().unwrap().remove(&self.note);
        let observer = Observer::default();
        let config = self.config();
        let run = run(&config, options, &observer);
        let report = tokio::time::timeout(Duration::from_secs(240), run)
            .await
            .expect("the run comes to an end");
        assert!(report.conserved, "{report:#?}");
        Ran {
            code: report.exit_code,
            digest: DIGESTS.lock().unwrap().get(&self.note).cloned(),
            told: serde_json::to_string_pretty(&report).unwrap(),
            report,
        }
    }
}

impl Ran {
    /// What came, if the run went well.
    #[track_caller]
    pub(crate) fn good(&self) -> Digest {
        assert_eq!(self.code, 0, "{}", self.told);
        self.digest.clone().unwrap()
    }

    /// Fails unless the run ended so and told all of this.
    #[track_caller]
    pub(crate) fn failed(&self, code: u8, told: &[&str]) {
        assert_eq!(self.code, code, "{}", self.told);
        let error = serde_json::to_string(&self.report.error).unwrap();
        for told in told {
            assert!(self.told_has(told), "`{told}` is not in {error}");
        }
    }

    /// Whether the output contains a text, escaped or not.
    pub(crate) fn told_has(&self, text: &str) -> bool {
        let escaped = serde_json::to_string(text).unwrap();
        self.told.contains(escaped.trim_matches('"'))
    }
}
