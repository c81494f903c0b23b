//! The fault matrix: each way in which the network, the token endpoint and the service fail, once and for all of a
//! batch's attempts. Of each it is told how often was tried, what the report and the ledger say, and what the next run
//! sends.
//!
//! Four rows go in two batches, one upload at a time. The first batch meets the fault.

mod answers;
mod held;
mod statuses;
mod token;
mod transport;
mod waits;

use std::time::Duration;

use crate::common::gate::{Break, Gate};
use crate::common::{Pipeline, failure, history, until};
use crate::{outcomes, token, totals};
use hrsink::component::BatchOutcome::{self, Accepted, NotSent, Unknown};
use hrsink::error::ErrorKind;
use hrsink::pipeline::RunReport;
use serde_json::{Value, json};
use test_server::{Reply, Request, Server, Step};

/// A way to fail, and what is known afterwards.
#[derive(Clone)]
struct Fault {
    name: &'static str,
    play: Play,
    /// What time does in it.
    time: Time,
    /// Whether nobody can know if the service took the rows.
    unknown: bool,
    /// The last answer's.
    status: Option<u16>,
    /// In the error's text: what came back.
    says: String,
}

#[derive(Clone)]
enum Play {
    Step(Step),
    Break(Break),
}

#[derive(Clone, Copy, PartialEq)]
enum Time {
    /// Nobody waits for anything.
    Stands,
    /// So many seconds pass until the request is given up.
    Out(u64),
    /// So many seconds pass before the next request, because the answer asked for it.
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

    /// An answer that is tried again.
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
enum Place {
    Token,
    Upload,
}

/// A service whose first requests of a kind fail, and a pipeline for it.
struct Stand {
    server: Server,
    gate: Gate,
    pipeline: Pipeline,
}

impl Stand {
    /// The first `times` requests of `place` meet `fault`. `rest`: what is answered after that, and after the token.
    async fn new(place: Place, fault: &Fault, times: usize, rest: Vec<Step>) -> Self {
        let (steps, breaks) = match &fault.play {
            Play::Step(step) => (vec![step.clone(); times], Vec::new()),
            Play::Break(how) => (Vec::new(), vec![*how; times]),
        };
        let steps = match place {
            Place::Token => [steps, vec![token()], rest].concat(),
            Place::Upload => [vec![token()], steps, rest].concat(),
        };
        let server = Server::script(steps);
        let mut gate = Gate::shut();
        gate.open(&server.url(), breaks);
        let mut pipeline = Pipeline::new(&server.url(), 4);
        let way = match place {
            Place::Token => "authority",
            Place::Upload => "ingestion",
        };
        pipeline.sink()["cloud"][way] = json!(gate.url());
        if let Time::Out(seconds) = fault.time {
            pipeline.sink()["timeout"] = json!(format!("{seconds}s"));
        } else {
            pipeline.sink()["timeout"] = json!("10m");
        }
        pipeline.sink()["retry"]["max_elapsed"] = json!("10m");
        pipeline.sink()["retry"]["max_attempts"] = json!(2);
        Self {
            server,
            gate,
            pipeline,
        }
    }

    /// Requests that came, to their end or not.
    fn requests(&self) -> usize {
        self.server.requests().len() + self.gate.broken()
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
                assert_eq!(self.requests(), request, "the next came before its time");
                if let Time::Out(_) = time {
                    forward(seconds / 2 + 1).await;
                }
                // When the wait began is not to be seen: time passes until it is over, and not for ever.
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

    /// What each upload that came to the server held, and its file's name.
    fn uploads(&self) -> Vec<(Vec<usize>, String)> {
        self.server
            .requests()
            .iter()
            .filter(|request| request.path.starts_with("/api/signals"))
            .map(|request| (rows_of(request), file_of(request)))
            .collect()
    }
}

/// The wait between two looks: real time, for sockets to do their part. Nothing depends on its length.
async fn real_pause() {
    tokio::time::sleep(Duration::from_millis(15)).await;
}

/// Moves the clock of all timers.
async fn forward(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

fn ok() -> Step {
    Reply::new(200).into()
}

/// The numbers of the rows in an upload.
fn rows_of(request: &Request) -> Vec<usize> {
    let text = request.text();
    (1..=60)
        .filter(|row| text.contains(&crate::common::email(*row)))
        .collect()
}

/// The name under which an upload's file goes; empty if the body was not read.
fn file_of(request: &Request) -> String {
    let text = request.text();
    let named = text
        .split_once("filename=\"")
        .and_then(|(_, name)| name.split_once('"'));
    named.map(|(name, _)| name.to_owned()).unwrap_or_default()
}

/// Number, outcome, attempts, those of unknown outcome, and status of each batch of a run, as `hrsink history` has it.
fn batches(run: &Value) -> Value {
    let batch = |batch: &Value| {
        json!([
            batch["number"],
            batch["outcome"],
            batch["attempts"],
            batch["unknown_attempts"],
            batch["status"]
        ])
    };
    run["batches"].as_array().unwrap().iter().map(batch).collect()
}

/// The fault happens once: tried again, and all rows are delivered.
async fn passes(place: Place, fault: &Fault) {
    let name = fault.name;
    let stand = Stand::new(place, fault, 1, vec![ok(), ok()]).await;
    let first = if place == Place::Token { 1 } else { 2 };
    let report = stand.run(fault.time, first, first).await;
    assert_eq!(report.exit_code, 0, "{name}: {report:#?}");
    assert_eq!(outcomes(&report), [(1, Accepted, 2), (2, Accepted, 1)], "{name}");
    assert_eq!(report.rows, totals(4, |rows| rows.accepted = 4), "{name}");
    let unknown = u32::from(fault.unknown);
    assert_eq!(report.batches[0].unknown_attempts, unknown, "{name}");
    if let Time::Out(seconds) | Time::Asked(seconds) = fault.time {
        let waited = report.batches[0].duration_ms;
        assert!(waited >= seconds * 500, "{name}: {waited} ms");
    }
    let told = history(&stand.pipeline).await;
    assert_eq!(
        batches(&told["runs"][0]),
        json!([[1, "accepted", 2, unknown, 200], [2, "accepted", 1, 0, 200]]),
        "{name}"
    );
    is_delivered(&stand, name).await;
    let mut uploads = stand.uploads();
    if place == Place::Upload && matches!(fault.play, Play::Step(_)) {
        // What is sent again is what was sent, under the same name. A body that was not read is not known.
        let first = uploads.remove(0);
        assert!(first.0.is_empty() || first == uploads[0], "{name}: {first:?}");
    }
    let [(one, first), (two, second)] = &uploads[..] else {
        panic!("{name}: {uploads:?}");
    };
    assert_eq!((&one[..], &two[..]), (&[1, 2][..], &[3, 4][..]), "{name}");
    assert_ne!(first, second, "{name}");
    stand.server.finish();
}

/// The fault happens to all attempts of the first batch: the second goes, and the next run sends the first.
async fn lasts(place: Place, fault: &Fault) {
    let name = fault.name;
    let stand = Stand::new(place, fault, 2, vec![ok(), token(), ok()]).await;
    let first = if place == Place::Token { 1 } else { 2 };
    // After the last attempt nobody waits as he was asked.
    let last = first + usize::from(matches!(fault.time, Time::Out(_)));
    let report = stand.run(fault.time, first, last).await;
    let error = failure(&report, 75);
    assert_eq!(
        (error.component.as_deref(), error.kind),
        (Some("purview"), ErrorKind::Transient),
        "{name}"
    );
    let place_says = match place {
        Place::Token => "cannot get an access token",
        Place::Upload => "cannot upload",
    };
    for part in [&*fault.says, place_says, "2 attempts"] {
        assert!(error.message.contains(part), "{name}: {part}: {}", error.message);
    }
    assert!(!error.hints.is_empty(), "{name}");
    let outcome = if fault.unknown { Unknown } else { NotSent };
    assert_eq!(outcomes(&report), [(1, outcome, 2), (2, Accepted, 1)], "{name}");
    let lost = |rows: &mut hrsink::component::Totals| {
        rows.accepted = 2;
        match outcome {
            Unknown => rows.unknown = 2,
            _ => rows.not_sent = 2,
        }
    };
    assert_eq!(report.rows, totals(4, lost), "{name}");

    let told = history(&stand.pipeline).await;
    let open = u64::from(fault.unknown);
    let run = &told["runs"][0];
    assert_eq!(
        batches(run),
        json!([
            [1, word(outcome), 2, open, fault.status],
            [2, "accepted", 1, 0, 200]
        ]),
        "{name}"
    );
    assert_eq!(
        (&run["exit_code"], &run["open_unknown"]),
        (&json!(75), &json!(open)),
        "{name}"
    );
    assert!(
        run["error"].as_str().unwrap().contains(place_says),
        "{name}: {run}"
    );

    let before = stand.uploads().len();
    is_resumed(&stand, fault, &report, 2).await;
    let sent: Vec<_> = stand
        .uploads()
        .split_off(before)
        .into_iter()
        .map(|(rows, _)| rows)
        .collect();
    assert_eq!(sent, [[1, 2]], "{name}: what is missing, and nothing else");
    is_delivered(&stand, name).await;
    stand.server.finish();
}

/// The next run sends `rows` rows, the first batch of the run `before` among them, and says what may be there twice.
async fn is_resumed(stand: &Stand, fault: &Fault, before: &RunReport, rows: u64) {
    let name = fault.name;
    let report = stand.pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{name}: {report:#?}");
    assert_eq!(
        report.rows,
        totals(4, |totals| (totals.accepted, totals.skipped) = (rows, 4 - rows)),
        "{name}"
    );
    let twice: Vec<_> = report
        .earlier_unknown
        .iter()
        .map(|batch| (batch.run.clone(), batch.number, batch.rows, batch.resent_rows))
        .collect();
    let resent: u64 = report.batches.iter().map(|batch| batch.resent_rows).sum();
    let told = history(&stand.pipeline).await;
    assert_eq!(told["runs"][0]["batches"][0]["resent"], resent, "{name}");
    assert_eq!(told["runs"][1]["open_unknown"], 0, "{name}: closed");
    let decision = &told["runs"][1]["batches"][0]["decision"];
    if fault.unknown {
        assert_eq!(twice, [(before.run_id.clone(), 1, 2, 2)], "{name}");
        assert_eq!(resent, 2, "{name}");
        assert_eq!(
            (&decision["decision"], &decision["run"]),
            (&json!("resent"), &json!(report.run_id)),
            "{name}"
        );
    } else {
        assert!(twice.is_empty() && resent == 0, "{name}: {twice:?}");
        assert_eq!(*decision, Value::Null, "{name}");
    }
}

/// Nothing is left to send, and nobody is asked for anything.
async fn is_delivered(stand: &Stand, name: &str) {
    let before = stand.requests();
    let report = stand.pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{name}: {report:#?}");
    assert_eq!(report.rows, totals(4, |rows| rows.skipped = 4), "{name}");
    assert!(
        report.batches.is_empty() && report.earlier_unknown.is_empty(),
        "{name}: {report:#?}"
    );
    assert_eq!(stand.requests(), before, "{name}");
}

/// An outcome as the ledger and the report write it.
fn word(outcome: BatchOutcome) -> Value {
    serde_json::to_value(outcome).unwrap()
}
