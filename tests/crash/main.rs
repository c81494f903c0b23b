//! Runs that are killed at any moment, again and again: in the end every row has arrived, and every row that arrived
//! more than once was told of.
//!
//! The program is a process and is killed as an operator or the system would kill it, while the emulator, another
//! process, fails on purpose. Afterwards the emulator's rows, the ledger and the reports must tell one story, to the
//! row: see [`account`].
//!
//! `HRSINK_CRASH_KILLS` sets the scale (each campaign has its share of it), `HRSINK_CRASH_SEED` draws other moments. Real time has a
//! part in where a kill falls, so a seed repeats the plan and not the outcome.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(clippy::print_stdout, reason = "says what was done")]

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "sftp")]
#[path = "../common/outside.rs"]
mod outside;
#[cfg(feature = "sftp")]
#[path = "../sftp/sshd.rs"]
#[allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "shared with the tests of SFTP"
)]
mod sshd;

mod account;
mod export;
mod line;
mod moment;

use std::path::Path;

use rand::rngs::StdRng;
use serde_json::{Value, json};

use account::Summary;
use common::JOB;
use common::program::{self, Service};
use export::{Export, Kind};
use line::{Line, Way};
use moment::{Moment, random};

/// What the campaigns' shares are of, unless set. More than a hundred kills then fall on runs of 75 batches whose service
/// fails at random.
const KILLS: u32 = 160;
/// Most kills before the books are closed and a new folder is begun: the input grows with every run that is through.
const ROUND: u32 = 40;
/// Rows to begin with: 75 batches.
const ROWS: usize = 3_000;

/// The service is sound.
const SOUND: &[&str] = &["", "latency=4ms"];
/// It is not.
const FAULTY: &[&str] = &[
    "seed=SEED,500=0.05,503=0.05,429=0.03,drop_before=0.05,drop_after=0.07,latency=4ms",
    "seed=SEED,drop_after=0.2,token_drop=0.1,token_503=0.1",
    "seed=SEED,token_expires=uses:7,504=0.1,408=0.05",
    // Longer than the pipelines wait.
    "seed=SEED,latency=170ms,drop_before=0.05",
    "seed=SEED,503=0.3,latency=1ms",
    "latency=12ms",
];

fn number(name: &str) -> Option<u32> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs `round` with a share of the kills, in hundredths, as often as it takes, and says what came of it.
fn campaign(name: &str, share: u32, round: impl Fn(u32, &mut StdRng) -> Summary) {
    let seed = number("HRSINK_CRASH_SEED").unwrap_or(1);
    let kills = number("HRSINK_CRASH_KILLS").unwrap_or(KILLS) * share / 100;
    let mut left = kills.max(2);
    let mut sum = Summary::default();
    let mut rounds = 0_u32;
    while left > 0 {
        let now = left.min(ROUND);
        println!("{name}: round {rounds}, {now} kills, HRSINK_CRASH_SEED={seed}");
        sum += round(now, &mut random(u64::from(seed) << 32 | u64::from(rounds)));
        left -= now;
        rounds += 1;
    }
    println!("{name}: {sum}");
}

/// A line for rows of `kind` out of a new export of that name, in `folder`.
fn line(folder: &Path, service: &Service, export: &str, kind: Kind, change: impl FnOnce(&mut Value)) -> Line {
    program::write_secret(folder);
    let mut pipeline = program::pipeline(service.url(), export, kind.scenario(), &kind.fields(), JOB);
    change(&mut pipeline);
    let file = format!("{}.json", kind.scenario());
    Line::new(folder, &file, Export::new(kind, folder.join(export)), &pipeline)
}

fn one_at_a_time(pipeline: &mut Value) {
    pipeline["sinks"]["purview"]["max_concurrent"] = json!(1);
}

/// Lets `line` be killed, then come to its end, and checks the books.
fn to_the_end(mut line: Line, service: &Service, kills: u32, way: Way, rng: &mut StdRng) -> Summary {
    line.kill(service, kills, way, rng);
    service.faults("");
    line.finish();
    account::check(&[line], service)
}

#[test]
fn a_run_that_is_killed_loses_nothing() {
    campaign("killed", 16, |kills, rng| {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(&json!({}));
        let mut line = line(
            folder.path(),
            &service,
            "export.csv",
            Kind::Resignations,
            one_at_a_time,
        );
        line.export.grow(ROWS);
        line.faults = SOUND;
        to_the_end(line, &service, kills, Way::Kill, rng)
    });
}

#[test]
fn nor_one_whose_service_fails() {
    campaign("killed, faulty service", 20, |kills, rng| {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(&json!({}));
        let mut line = line(folder.path(), &service, "export.csv", Kind::Resignations, |_| {});
        line.export.grow(ROWS);
        line.faults = FAULTY;
        to_the_end(line, &service, kills, Way::Kill, rng)
    });
}

#[test]
fn nor_one_that_is_told_to_stop() {
    campaign("stopped", 14, |kills, rng| {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(&json!({}));
        let mut line = line(folder.path(), &service, "export.csv", Kind::Resignations, |_| {});
        line.export.grow(ROWS);
        line.faults = FAULTY;
        to_the_end(line, &service, kills, Way::Terminate, rng)
    });
}

#[test]
fn nor_one_that_waits_for_its_guards() {
    campaign("guarded, compressed input", 12, |kills, rng| {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(&json!({}));
        let guarded = |pipeline: &mut Value| {
            pipeline["guards"] = json!({"max_rows": 1_000_000, "max_shrink": 0.1, "max_rows_per_person": 5});
        };
        let mut line = line(
            folder.path(),
            &service,
            "export.csv.gz",
            Kind::Resignations,
            guarded,
        );
        line.export.grow(ROWS);
        line.faults = FAULTY;
        to_the_end(line, &service, kills, Way::Kill, rng)
    });
}

#[test]
fn nor_one_whose_rows_wait_in_a_file() {
    campaign("guarded, rows in a file", 4, |kills, rng| {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(&json!({}));
        let guarded = |pipeline: &mut Value| pipeline["guards"] = json!({"max_rows": 1_000_000});
        let mut line = line(folder.path(), &service, "export.csv", Kind::LevelChanges, guarded);
        // 36 MB: more than is kept in memory.
        line.export.width = 12_000;
        line.export.grow(ROWS);
        line.growth = 40;
        line.faults = SOUND;
        to_the_end(line, &service, kills, Way::Kill, rng)
    });
}

#[test]
fn nor_one_whose_batches_are_refused_in_part() {
    campaign("split", 12, |kills, rng| {
        let folder = tempfile::tempdir().unwrap();
        // Refuses more than 12 rows with 400, and one row, for its size, with 413.
        let service = Service::start(&json!({"max_rows": 12, "max_body": "40KB"}));
        let split = |pipeline: &mut Value| {
            pipeline["sinks"]["purview"]["delivery"] = json!({"on_refused": "split"});
        };
        let mut line = line(folder.path(), &service, "export.csv", Kind::LevelChanges, split);
        line.export.grow(ROWS / 3);
        line.export.add_too_large();
        line.refused = 1;
        line.export.grow(ROWS / 3);
        line.faults = FAULTY;
        to_the_end(line, &service, kills, Way::Kill, rng)
    });
}

/// What a person does who is asked: looks into the log of the job, and says of each unknown batch whether it was taken.
fn decide(line: &Line, service: &Service) {
    let args = [
        "history",
        line.file(),
        "--runs",
        "2",
        "--batches",
        "--output",
        "json",
    ];
    let (_, said, _) = program::run(line.folder(), &args);
    let history: Value = serde_json::from_str(&said).unwrap();
    // What a killed run had sent may be on its way for a moment.
    std::thread::sleep(std::time::Duration::from_millis(100));
    service.uploads();
    let files = service.files();
    for run in history["runs"].as_array().unwrap() {
        let id = run["run"].as_str().unwrap();
        for batch in run["batches"].as_array().unwrap() {
            if batch["outcome"] != "unknown" || !batch["decision"].is_null() {
                continue;
            }
            let (number, scenario) = (
                batch["number"].as_u64().unwrap(),
                batch["scenario"].as_str().unwrap(),
            );
            let taken = files.contains(&format!(
                "hrsink-{scenario}-{}-{number:05}.csv",
                &id[id.len() - 8..]
            ));
            let outcome = if taken { "accepted" } else { "not-accepted" };
            let number = number.to_string();
            let args = [
                "ledger",
                "resolve",
                line.file(),
                "--run",
                id,
                "--batch",
                &number,
                "--as",
                outcome,
            ];
            let (code, said, error) = program::run(line.folder(), &args);
            assert_eq!(code, 0, "{said}{error}");
        }
    }
}

#[test]
fn where_a_person_decides_nothing_is_there_twice() {
    campaign("held", 12, |kills, rng| {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(&json!({}));
        let held = |pipeline: &mut Value| {
            pipeline["sinks"]["purview"]["delivery"] = json!({"on_unknown": "hold"});
        };
        let mut line = line(folder.path(), &service, "export.csv", Kind::Resignations, held);
        line.export.grow(ROWS);
        line.faults = FAULTY;
        line.codes = &[75, 5, 4];
        line.before_each = decide;
        line.kill(&service, kills, Way::Kill, rng);
        service.faults("");
        decide(&line, &service);
        line.finish();
        let summary = account::check(&[line], &service);
        assert!(summary.is_once(), "{summary}");
        summary
    });
}

#[test]
fn nor_two_that_share_a_ledger() {
    campaign("two pipelines on one ledger", 14, |kills, rng| {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(&json!({}));
        let mut lines = vec![
            line(folder.path(), &service, "leavers.csv", Kind::Resignations, |_| {}),
            line(
                folder.path(),
                &service,
                "levels.csv",
                Kind::LevelChanges,
                one_at_a_time,
            ),
        ];
        std::thread::scope(|scope| {
            for line in &mut lines {
                let (service, mut rng) = (&service, random(rand::RngExt::random(rng)));
                scope.spawn(move || {
                    line.export.grow(ROWS);
                    line.faults = FAULTY;
                    line.kill(service, kills.div_ceil(2), Way::Kill, &mut rng);
                });
            }
        });
        service.faults("");
        lines.iter_mut().for_each(Line::finish);
        account::check(&lines, &service)
    });
}

/// A line whose rows come in files that are moved once they are delivered; `path` is the folder of them for the source.
fn dropping(folder: &Path, service: &Service, path: &str, change: impl FnOnce(&mut Value)) -> Line {
    program::write_secret(folder);
    let kind = Kind::Resignations;
    let mut pipeline = program::pipeline(service.url(), "", kind.scenario(), &kind.fields(), JOB);
    pipeline["sources"]["export"] = json!({
        "type": "file", "path": format!("{path}/drop-*.csv"), "on_success": {"move": "archive/{name}"},
        "select": {"quiet_period": "0s", "if_none": "ignore", "if_none_new": "ignore"},
    });
    change(&mut pipeline["sources"]["export"]);
    let file = format!("{}.json", kind.scenario());
    let mut line = Line::new(
        folder,
        &file,
        Export::dropping(kind, folder.join("drops")),
        &pipeline,
    );
    line.export.grow(ROWS / 2);
    line.export.grow(ROWS / 2);
    line.faults = FAULTY;
    line
}

/// What the folder of a line must look like in the end: every file in the archive, once, under its own name.
fn all_are_moved(line: &Line) {
    let names = |folder: std::path::PathBuf| -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(line.folder().join("drops")), ["archive"]);
    let expected: Vec<String> = (1..=line.export.drops())
        .map(|n| format!("drop-{n:04}.csv"))
        .collect();
    assert_eq!(names(line.folder().join("drops/archive")), expected);
}

#[test]
fn nor_one_whose_files_are_moved() {
    campaign("files moved", 12, |kills, rng| {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(&json!({}));
        let mut line = dropping(folder.path(), &service, "drops", |_| {});
        line.kill(&service, kills, Way::Kill, rng);
        service.faults("");
        line.finish();
        all_are_moved(&line);
        account::check(&[line], &service)
    });
}

#[cfg(feature = "sftp")]
#[test]
fn nor_one_whose_files_are_moved_on_a_server() {
    if !outside::wanted("crashes with an SFTP source") {
        return;
    }
    campaign("files moved over SFTP", 12, |kills, rng| {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(&json!({}));
        let server = sshd::Sshd::start();
        let key = server.login_key("login", &["-t", "ed25519", "-N", ""]);
        let path = format!(
            "sftp://127.0.0.1:{}{}/drops",
            server.port,
            folder.path().display()
        );
        let mut line = dropping(folder.path(), &service, &path, |source| {
            source["sftp"] = json!({
                "user": sshd::me(), "auth": [{"private_key": {"file": key}}],
                "host_keys": [server.fingerprint("ed25519")],
            });
        });
        line.kill(&service, kills, Way::Kill, rng);
        service.faults("");
        line.finish();
        all_are_moved(&line);
        account::check(&[line], &service)
    });
}

#[test]
fn nor_one_that_makes_its_ledger() {
    campaign("killed at birth", 14, |kills, rng| {
        let mut sum = Summary::default();
        let (mut left, mut unborn) = (kills, 0);
        while left > 0 {
            let folder = tempfile::tempdir().unwrap();
            let service = Service::start(&json!({}));
            let mut line = line(folder.path(), &service, "export.csv", Kind::Resignations, |_| {});
            line.export.grow(200);
            // Until the ledger is there, and once or twice more.
            while line.kills < left.min(6) {
                let moment = Moment::at_birth(rng);
                if line.run_until(&service, &moment, Way::Kill, rng).is_some() {
                    break;
                }
                unborn += u32::from(!line.state().exists());
                line.is_whole();
            }
            line.finish();
            left -= line.kills.clamp(1, left);
            sum += account::check(&[line], &service);
        }
        println!("killed at birth: {unborn} times there was no ledger yet");
        sum
    });
}
