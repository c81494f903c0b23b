//! A pipeline that is started and killed repeatedly.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::export::Export;
use crate::moment::{Moment, Speed};
use crate::support::program::{self, Service, hrsink};

const SIGKILL: i32 = 9;

/// How a run is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// At once, with SIGKILL.
    Kill,
    /// With SIGTERM or SIGINT and a short grace period; sometimes twice, sometimes killed afterwards.
    Terminate,
}

/// A pipeline in a folder, which it may share with others.
pub(crate) struct Line {
    folder: PathBuf,
    file: String,
    pub(crate) export: Export,
    /// Rows added when all are delivered.
    pub(crate) growth: usize,
    /// Rows of a batch.
    pub(crate) batch: usize,
    /// Faults of the service, one drawn for each run.
    pub(crate) faults: &'static [&'static str],
    /// Allowed exit codes of runs that were not killed and did not deliver everything.
    pub(crate) codes: &'static [i32],
    /// Rows that the service always refuses. A run with nothing else to send fails.
    pub(crate) refused: u64,
    /// Called before each run.
    pub(crate) before_each: fn(&Self, &Service),
    /// Runs started.
    pub(crate) runs: u32,
    /// Runs ended with a signal.
    pub(crate) kills: u32,
    /// The reports, by id of the run.
    pub(crate) reports: BTreeMap<String, Value>,
    speed: Speed,
}

impl Line {
    /// `pipeline`, written to `file` in `folder`.
    pub(crate) fn new(folder: &Path, file: &str, export: Export, pipeline: &Value) -> Self {
        std::fs::create_dir_all(folder.join("reports")).unwrap();
        std::fs::write(folder.join(file), pipeline.to_string()).unwrap();
        let batch = pipeline["sinks"]["purview"]["batch"]["max_rows"]
            .as_u64()
            .unwrap();
        Self {
            folder: folder.to_owned(),
            file: file.to_owned(),
            export,
            growth: 600,
            batch: usize::try_from(batch).unwrap(),
            faults: &[""],
            // 5: a token that expires at the last attempt is not renewed.
            codes: &[75, 5],
            refused: 0,
            before_each: |_, _| {},
            runs: 0,
            kills: 0,
            reports: BTreeMap::new(),
            speed: Speed {
                start: Duration::from_millis(60),
                batch: Duration::from_millis(8),
            },
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join(".hrsink/state.db")
    }

    /// Runs it until it was killed `kills` times.
    pub(crate) fn kill(&mut self, service: &Service, kills: u32, way: Way, rng: &mut StdRng) {
        self.measure(service, rng);
        let mut looked = self.kills;
        while self.kills < kills {
            let faults = self.faults[rng.random_range(0..self.faults.len())];
            service.faults(&faults.replace("SEED", &rng.random_range(1..1_000_000).to_string()));
            let batches = (self.export.expected().len() / self.batch) as u32;
            let moment = Moment::draw(rng, self.speed, batches);
            (self.before_each)(self, service);
            let code = self.run_until(service, &moment, way, rng);
            if code.is_some_and(|code| self.is_complete(code)) {
                self.export.grow(self.growth);
            }
            if self.kills >= looked + 10 {
                looked = self.kills;
                self.check_ledger();
            }
        }
    }

    /// Runs it until `moment` and kills it; its exit code if it ended before.
    pub(crate) fn run_until(
        &mut self,
        service: &Service,
        moment: &Moment,
        way: Way,
        rng: &mut StdRng,
    ) -> Option<i32> {
        let grace = format!("{}ms", [0, 2, 20, 5_000][rng.random_range(0..4)]);
        let mut child = self.start(&grace);
        let ended = |child: &mut Child| child.try_wait().unwrap().is_some();
        if moment.wait(&self.folder, service, || ended(&mut child)) {
            if way == Way::Terminate {
                for _ in 0..1 + u32::from(rng.random_bool(0.2)) {
                    send(&child, if rng.random() { "-TERM" } else { "-INT" });
                }
            }
            if way == Way::Kill || rng.random_bool(0.3) {
                std::thread::sleep(Duration::from_micros(match way {
                    Way::Kill => 0,
                    Way::Terminate => rng.random_range(0..20_000),
                }));
                let _ = child.kill();
            }
        }
        let status = wait(&mut child);
        self.ended(status, way)
    }

    /// Runs it until all is delivered, and once more: there is nothing left to do.
    pub(crate) fn finish(&mut self) {
        let mut code = -1;
        // On a busy machine, responses may exceed the short timeouts of these pipelines.
        for _ in 0..10 {
            code = self.run_undisturbed();
            if self.is_complete(code) {
                break;
            }
        }
        assert!(self.is_complete(code), "{}", self.log());
        code = self.run_undisturbed();
        assert!(self.is_complete(code), "{}", self.log());
        let report = self.reports.last_key_value().unwrap().1;
        let rows = &report["rows"];
        assert_eq!(rows["accepted"], 0, "{report:#}");
        // Rows that the service refuses are rejected in each run.
        assert_eq!(rows["refused"], 0, "{report:#}");
        assert_eq!(report["earlier_unknown"], Value::Null, "{report:#}");
    }

    fn run_undisturbed(&mut self) -> i32 {
        let mut child = self.start("30s");
        let status = wait(&mut child);
        self.ended(status, Way::Kill).expect("not killed")
    }

    /// Whether a run that ended with `code` delivered everything it could.
    fn is_complete(&self, code: i32) -> bool {
        let last = self.reports.last_key_value().map(|(_, report)| &report["rows"]);
        let only_refused = || {
            last.is_some_and(|rows| {
                rows["refused"] == self.refused && rows["not_sent"] == 0 && rows["unknown"] == 0
            })
        };
        code == 0 || self.refused > 0 && code == 5 && only_refused()
    }

    /// The ledger is valid, and its dead runs are listed.
    pub(crate) fn check_ledger(&self) {
        if !self.state().exists() {
            return;
        }
        let file = &self.file;
        let (code, said, error) = program::run_line(&self.folder, &format!("ledger verify {file}"));
        assert_eq!(code, 0, "{said}{error}");
        let history = format!("history {file} --runs 3");
        let (code, said, error) = program::run_line(&self.folder, &format!("{history} --output json"));
        assert_eq!(code, 0, "{error}");
        let listed: Value = serde_json::from_str(&said).unwrap();
        let mut dead = 0;
        for run in listed["runs"].as_array().unwrap() {
            let died = run["ended"].is_null();
            assert_eq!(run["state"], if died { "dead" } else { "ended" }, "{run:#}");
            dead += usize::from(died);
        }
        let (_, said, _) = program::run_line(&self.folder, &history);
        assert_eq!(said.matches(" crashed ").count(), dead, "{said}");
    }

    /// Measures the speed of the pipeline.
    fn measure(&mut self, service: &Service, rng: &mut StdRng) {
        let first = service.imported();
        let begun = Instant::now();
        let mut child = self.start("0ms");
        let at = |wanted: usize, child: &mut Child| {
            let ended = |child: &mut Child| child.try_wait().unwrap().is_some();
            while service.imported() < first + wanted && !ended(child) {
                std::thread::sleep(Duration::from_micros(300));
            }
            begun.elapsed()
        };
        let start = at(1, &mut child);
        let more = rng.random_range(3..6);
        let then = at(1 + more, &mut child);
        let _ = child.kill();
        let status = wait(&mut child);
        self.ended(status, Way::Kill);
        self.speed = Speed {
            start,
            batch: (then - start) / u32::try_from(more).unwrap(),
        };
    }

    fn start(&mut self, grace: &str) -> Child {
        self.runs += 1;
        let report = self.report();
        let args = ["run", &self.file, "--report", &report, "--grace", grace];
        let mut command = hrsink(&self.folder, &args);
        let log = File::create(self.folder.join(format!("{}.log", self.file))).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    fn report(&self) -> String {
        format!("reports/{}-{}.json", self.file, self.runs)
    }

    /// Records the end of the last run; its exit code, if it was not killed.
    fn ended(&mut self, status: ExitStatus, way: Way) -> Option<i32> {
        let path = self.folder.join(self.report());
        if let Ok(report) = std::fs::read(&path) {
            let report: Value = serde_json::from_slice(&report).expect("a complete report");
            if let Some(code) = status.code() {
                assert_eq!(report["exit_code"], code);
            }
            let run = report["run_id"].as_str().unwrap().to_owned();
            assert!(self.reports.insert(run, report).is_none());
        }
        let Some(code) = status.code() else {
            let signal = status.signal().unwrap();
            assert!(
                signal == SIGKILL || way == Way::Terminate,
                "{status}: {}",
                self.log()
            );
            self.kills += 1;
            return None;
        };
        let stopped = way == Way::Terminate && [130, 143].contains(&code);
        // A run stops when the service fails too often.
        assert!(
            stopped || code == 0 || self.codes.contains(&code),
            "{status}: {}",
            self.log()
        );
        if stopped {
            self.kills += 1;
        }
        // Only a second signal prevents the report.
        assert!(stopped || path.exists(), "{status}: {}", self.log());
        Some(code)
    }

    /// The log of the last run.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join(format!("{}.log", self.file))).unwrap_or_default()
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > Duration::from_secs(120) {
            let _ = child.kill();
            panic!("a run hangs");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn send(child: &Child, signal: &str) {
    let mut command = Command::new("kill");
    // The process may have ended; its id is not reused before it was waited for.
    let _ = command.args([signal, &child.id().to_string()]).status();
}
