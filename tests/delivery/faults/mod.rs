//! The fault matrix: each failure of the network, the token endpoint and the service, once and for all attempts of a
//! batch. Checks the attempts, the report, the ledger, and what the next run sends.
//!
//! Four rows in two batches, one upload at a time; the first batch meets the fault.

mod answers;
mod statuses;
mod token;
mod totals;
mod transport;
mod waits;

use std::time::Duration;

use crate::support::barrier::{Barrier, Break};
use crate::support::{Pipeline, history, until};
use crate::{fails, ok, outcomes, token};
use hrsink::error::ErrorKind;
use hrsink::pipeline::RunReport;
use hrsink::plugin::BatchOutcome::{Accepted, NotSent, Unknown};
use serde_json::{Value, json};
use test_server::{Reply, Request, Server, Step};

/// A failure, and what must be known afterwards.
#[derive(Clone)]
struct Fault {
    name: &'static str,
    play: Play,
    /// How time passes.
    time: Time,
    /// Whether the service may have accepted the rows.
    unknown: bool,
    /// Status of the last answer.
    status: Option<u16>,
    /// In the error's text.
    says: String,
}

#[derive(Clone)]
enum Play {
    Step(Step),
    Break(Break),
}

#[derive(Clone, Copy, PartialEq)]
enum Time {
    /// Nothing waits.
    Stands,
    /// The request times out after so many seconds.
    Out(u64),
    /// The answer asks to wait so many seconds before the next request.
    Asked(u64),
}

impl Fault {
    fn new(name: &'static str, play: impl Into<Play>, says: impl Into<String>) -> Self {
        Self {
            name,
            play: play.into(),
            time: Time::Stands,
            unknown: false,
            status: None,
            says: says.into(),
        }
    }

    /// A retried status.
    fn status(name: &'static str, status: u16, reply: Reply) -> Self {
        Self {
            status: Some(status),
            ..Self::new(name, Step::from(reply), format!("the response was {status}"))
        }
    }

    fn unknown(self) -> Self {
        Self {
            unknown: true,
            ..self
        }
    }

    fn time(self, time: Time) -> Self {
        Self { time, ..self }
    }
}

impl From<Step> for Play {
    fn from(step: Step) -> Self {
        Self::Step(step)
    }
}

impl From<Break> for Play {
    fn from(how: Break) -> Self {
        Self::Break(how)
    }
}

/// Which request fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Endpoint {
    Token,
    Upload,
}

/// A service whose first requests of a kind fail, and a pipeline for it.
struct Fixture {
    server: Server,
    barrier: Barrier,
    pipeline: Pipeline,
}

impl Fixture {
    /// The first `times` requests of `endpoint` meet `fault`. `rest`: what is answered after that, and after the token.
    async fn new(endpoint: Endpoint, fault: &Fault, times: usize, rest: Vec<Step>) -> Self {
        let (steps, breaks) = match &fault.play {
            Play::Step(step) => (vec![step.clone(); times], Vec::new()),
            Play::Break(how) => (Vec::new(), vec![*how; times]),
        };
        let steps = match endpoint {
            Endpoint::Token => [steps, vec![token()], rest].concat(),
            Endpoint::Upload => [vec![token()], steps, rest].concat(),
        };
        let server = Server::script(steps);
        let mut barrier = Barrier::closed();
        barrier.open(&server.url(), breaks);
        let mut pipeline = Pipeline::new(&server.url(), 4);
        let way = match endpoint {
            Endpoint::Token => "authority",
            Endpoint::Upload => "ingestion",
        };
        pipeline.sink()["cloud"][way] = json!(barrier.url());
        let timeout = match fault.time {
            Time::Out(seconds) => format!("{seconds}s"),
            _ => "10m".to_owned(),
        };
        pipeline.sink()["timeout"] = json!(timeout);
        pipeline.sink()["retry"]["max_elapsed"] = json!("10m");
        pipeline.sink()["retry"]["max_attempts"] = json!(2);
        Self {
            server,
            barrier,
            pipeline,
        }
    }

    /// Requests received, complete or not.
    fn requests(&self) -> usize {
        self.server.requests().len() + self.barrier.broken()
    }

    /// Runs the pipeline, and lets time pass while the requests `first` to `last` are failing.
    async fn run(&self, time: Time, first: usize, last: usize) -> RunReport {
        let clock = async {
            let seconds = match time {
                Time::Stands => return,
                Time::Out(seconds) | Time::Asked(seconds) => seconds,
            };
            for request in first..=last {
                until(|| self.requests() >= request).await;
                real_pause().await;
                forward(seconds / 2).await;
                real_pause().await;
                assert_eq!(self.requests(), request, "the next request came too early");
                if let Time::Out(_) = time {
                    forward(seconds / 2 + 1).await;
                }
                // The start of the wait is not observable: advance until it is over.
                let mut left = 100;
                while time == Time::Asked(seconds) && self.requests() == request && left > 0 {
                    forward(2).await;
                    real_pause().await;
                    left -= 1;
                }
                until(|| self.requests() > request).await;
            }
        };
        let (report, ()) = tokio::join!(self.pipeline.run(), clock);
        report
    }

    /// The rows of each upload that the server received, and its file name.
    fn uploads(&self) -> Vec<(Vec<usize>, String)> {
        let requests = self.server.requests().into_iter();
        requests
            .filter(|request| request.path.starts_with("/api/signals"))
            .map(|request| (rows_of(&request), file_of(&request)))
            .collect()
    }
}

/// Real time for sockets to make progress. Nothing depends on its length.
async fn real_pause() {
    tokio::time::sleep(Duration::from_millis(15)).await;
}

/// Moves the clock of all timers.
async fn forward(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// The numbers of the rows in an upload.
fn rows_of(request: &Request) -> Vec<usize> {
    let text = request.text();
    (1..=60)
        .filter(|row| text.contains(&crate::support::email(*row)))
        .collect()
}

/// The file name of an upload; empty if the body was not read.
fn file_of(request: &Request) -> String {
    let text = request.text();
    let named = text
        .split_once("filename=\"")
        .and_then(|(_, name)| name.split_once('"'));
    named.map(|(name, _)| name.to_owned()).unwrap_or_default()
}

/// Number, outcome, attempts, unknown attempts and status of each batch of a run in `hrsink history`.
fn batches(run: &Value) -> Value {
    columns(
        run,
        &["number", "outcome", "attempts", "unknown_attempts", "status"],
    )
}

/// These values of each batch.
fn columns(run: &Value, keys: &[&str]) -> Value {
    let batches = run["batches"].as_array().unwrap().iter();
    let values = |batch: &Value| -> Value { keys.iter().map(|key| batch[key].clone()).collect() };
    batches.map(values).collect()
}

async fn passes_and_lasts(endpoint: Endpoint, faults: impl IntoIterator<Item = Fault>) {
    for fault in faults {
        passes(endpoint, &fault).await;
        lasts(endpoint, &fault).await;
    }
}

/// The fault happens once: the batch is retried, and all rows are delivered.
async fn passes(endpoint: Endpoint, fault: &Fault) {
    let name = fault.name;
    let fixture = Fixture::new(endpoint, fault, 1, vec![ok(), ok()]).await;
    let first = if endpoint == Endpoint::Token { 1 } else { 2 };
    let report = fixture.run(fault.time, first, first).await;
    assert_eq!(report.exit_code, 0, "{name}: {report:#?}");
    assert_eq!(outcomes(&report), [(1, Accepted, 2), (2, Accepted, 1)], "{name}");
    assert_rows!(report, 4, accepted: 4; "{name}");
    let unknown = u32::from(fault.unknown);
    assert_eq!(report.batches[0].unknown_attempts, unknown, "{name}");
    if let Time::Out(seconds) | Time::Asked(seconds) = fault.time {
        let waited = report.batches[0].duration_ms;
        assert!(waited >= seconds * 500, "{name}: {waited} ms");
    }
    let recorded = batches(&history(&fixture.pipeline).await["runs"][0]);
    let expected = json!([[1, "accepted", 2, unknown, 200], [2, "accepted", 1, 0, 200]]);
    assert_eq!(recorded, expected, "{name}");
    is_delivered(&fixture, name).await;
    let mut uploads = fixture.uploads();
    if endpoint == Endpoint::Upload && matches!(fault.play, Play::Step(_)) {
        // A retry has the same rows and name, as far as the first body was read.
        let first = uploads.remove(0);
        assert!(first.0.is_empty() || first == uploads[0], "{name}: {first:?}");
    }
    let [(one, first), (two, second)] = &uploads[..] else {
        panic!("{name}: {uploads:?}");
    };
    assert_eq!((&one[..], &two[..]), (&[1, 2][..], &[3, 4][..]), "{name}");
    assert_ne!(first, second, "{name}");
    fixture.server.finish();
}

/// The fault happens to all attempts of the first batch: the second is delivered, and the next run sends the first.
async fn lasts(endpoint: Endpoint, fault: &Fault) {
    let name = fault.name;
    let fixture = Fixture::new(endpoint, fault, 2, vec![ok(), token(), ok()]).await;
    let first = if endpoint == Endpoint::Token { 1 } else { 2 };
    // Nothing waits after the last attempt.
    let last = first + usize::from(matches!(fault.time, Time::Out(_)));
    let report = fixture.run(fault.time, first, last).await;
    let action = match endpoint {
        Endpoint::Token => "cannot get an access token",
        Endpoint::Upload => "cannot upload",
    };
    let error = fails(&report, 75, &[&fault.says, action, "2 attempts"]);
    let found = (error.component.as_deref(), error.kind);
    assert_eq!(found, (Some("purview"), ErrorKind::Transient), "{name}");
    assert!(!error.hints.is_empty(), "{name}");
    let outcome = if fault.unknown { Unknown } else { NotSent };
    assert_eq!(outcomes(&report), [(1, outcome, 2), (2, Accepted, 1)], "{name}");
    match outcome {
        Unknown => {
            assert_rows!(report, 4, accepted: 2, unknown: 2; "{name}");
        }
        _ => {
            assert_rows!(report, 4, accepted: 2, not_sent: 2; "{name}");
        }
    }

    let recorded = history(&fixture.pipeline).await;
    let open = u64::from(fault.unknown);
    let run = &recorded["runs"][0];
    let expected = json!([[1, outcome, 2, open, fault.status], [2, "accepted", 1, 0, 200]]);
    assert_eq!(batches(run), expected, "{name}");
    assert_eq!(
        (&run["exit_code"], &run["open_unknown"]),
        (&json!(75), &json!(open))
    );
    assert!(run["error"].as_str().unwrap().contains(action), "{name}: {run}");

    let before = fixture.uploads().len();
    is_resumed(&fixture, fault, &report, 2).await;
    let sent = fixture.uploads().split_off(before).into_iter();
    let sent: Vec<_> = sent.map(|(rows, _)| rows).collect();
    assert_eq!(sent, [[1, 2]], "{name}: only what is missing");
    is_delivered(&fixture, name).await;
    fixture.server.finish();
}

/// The next run sends `rows` rows, including the first batch of the run `before`, and reports possible duplicates.
async fn is_resumed(fixture: &Fixture, fault: &Fault, before: &RunReport, rows: u64) {
    let name = fault.name;
    let report = fixture.pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{name}: {report:#?}");
    assert_rows!(report, 4, accepted: rows, skipped: 4 - rows; "{name}");
    let twice = report.earlier_unknown.iter();
    let twice: Vec<_> = twice
        .map(|batch| (batch.run.clone(), batch.number, batch.rows, batch.resent_rows))
        .collect();
    let resent: u64 = report.batches.iter().map(|batch| batch.resent_rows).sum();
    let recorded = history(&fixture.pipeline).await;
    assert_eq!(recorded["runs"][0]["batches"][0]["resent"], resent, "{name}");
    assert_eq!(recorded["runs"][1]["open_unknown"], 0, "{name}: closed");
    let decision = &recorded["runs"][1]["batches"][0]["decision"];
    if fault.unknown {
        assert_eq!(twice, [(before.run_id.clone(), 1, 2, 2)], "{name}");
        assert_eq!(resent, 2, "{name}");
        assert_eq!(
            (&decision["decision"], &decision["run"]),
            (&json!("resent"), &json!(report.run_id))
        );
    } else {
        assert!(twice.is_empty() && resent == 0, "{name}: {twice:?}");
        assert_eq!(*decision, Value::Null, "{name}");
    }
}

/// Nothing is left to send, and no request is sent.
async fn is_delivered(fixture: &Fixture, name: &str) {
    let before = fixture.requests();
    let report = fixture.pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{name}: {report:#?}");
    assert_rows!(report, 4, skipped: 4; "{name}");
    assert!(
        report.batches.is_empty() && report.earlier_unknown.is_empty(),
        "{name}: {report:#?}"
    );
    assert_eq!(fixture.requests(), before, "{name}");
}
