//! Kills runs at random moments: in the end every row has arrived, and every row that arrived more than once was reported.
//!
//! The program runs as a process, against the emulator as another one, which fails on purpose. Afterwards the emulator's
//! rows, the ledger and the reports must agree on every row: see [`account`].
//!
//! `HRSINK_CRASH_KILLS` sets the number of kills, of which each campaign has a share, `HRSINK_CRASH_SEED` the random
//! moments. A seed repeats the plan, not the outcome: where a kill falls also depends on real time.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(clippy::print_stdout, reason = "says what was done")]

#[cfg(feature = "sftp")]
#[path = "../support/external.rs"]
mod external;
#[cfg(feature = "sftp")]
#[path = "../sftp/sshd.rs"]
#[allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "shared with the tests of SFTP"
)]
mod sshd;
#[path = "../support/mod.rs"]
mod support;

mod account;
mod export;
mod line;
mod moment;

use std::path::Path;

use rand::rngs::StdRng;
use serde_json::{Value, json};

use account::Summary;
use export::{Export, Kind};
use line::{Line, Way};
use moment::{Moment, random};
use support::JOB;
use support::program::{self, Service};

/// Kills by default; more than a hundred of them hit runs of 75 batches with a faulty service.
const KILLS: u32 = 160;
/// Kills before the results are checked and a new folder is started: the input grows with every completed run.
const KILLS_PER_ROUND: u32 = 40;
/// Rows at the start: 75 batches.
const ROWS: usize = 3_000;

/// Settings of a healthy service.
const HEALTHY: &[&str] = &["", "latency=4ms"];
/// Settings of a faulty service.
const FAULTY: &[&str] = &[
    "seed=SEED,500=0.05,503=0.05,429=0.03,drop_before=0.05,drop_after=0.07,latency=4ms",
    "seed=SEED,drop_after=0.2,token_drop=0.1,token_503=0.1",
    "seed=SEED,token_expires=uses:7,504=0.1,408=0.05",
    // Longer than the time-out of the pipelines.
    "seed=SEED,latency=170ms,drop_before=0.05",
    "seed=SEED,503=0.3,latency=1ms",
    "latency=12ms",
];

fn number(name: &str) -> Option<u32> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs `round` with a percentage of the kills, each in a new folder and with a new service, and prints the results.
fn campaign(name: &str, share: u32, round: impl Fn(&Path, &Service, u32, &mut StdRng) -> Summary) {
    campaign_with(name, share, &json!({}), round);
}

fn campaign_with(
    name: &str,
    share: u32,
    settings: &Value,
    round: impl Fn(&Path, &Service, u32, &mut StdRng) -> Summary,
) {
    let seed = number("HRSINK_CRASH_SEED").unwrap_or(1);
    let kills = number("HRSINK_CRASH_KILLS").unwrap_or(KILLS) * share / 100;
    let mut left = kills.max(2);
    let mut sum = Summary::default();
    let mut rounds = 0_u32;
    while left > 0 {
        let now = left.min(KILLS_PER_ROUND);
        println!("{name}: round {rounds}, {now} kills, HRSINK_CRASH_SEED={seed}");
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(settings);
        let mut rng = random(u64::from(seed) << 32 | u64::from(rounds));
        sum += round(folder.path(), &service, now, &mut rng);
        left -= now;
        rounds += 1;
    }
    println!("{name}: {sum}");
}

/// A pipeline for rows of `kind` from a new export of that name, in `folder`.
fn line(folder: &Path, service: &Service, export: &str, kind: Kind, change: impl FnOnce(&mut Value)) -> Line {
    program::write_secret(folder);
    let mut pipeline = program::pipeline(service.url(), export, kind.scenario(), &kind.fields(), JOB);
    change(&mut pipeline);
    let file = format!("{}.json", kind.scenario());
    Line::new(folder, &file, Export::new(kind, folder.join(export)), &pipeline)
}

fn without_concurrency(pipeline: &mut Value) {
    pipeline["sinks"]["purview"]["max_concurrent"] = json!(1);
}

/// Kills `line`, then lets it finish, and checks the results.
fn finish_and_check(mut line: Line, service: &Service, kills: u32, way: Way, rng: &mut StdRng) -> Summary {
    line.kill(service, kills, way, rng);
    service.faults("");
    line.finish();
    account::check(&[line], service)
}

#[test]
fn killed_runs() {
    campaign("killed", 16, |folder, service, kills, rng| {
        let mut line = line(
            folder,
            service,
            "export.csv",
            Kind::Resignations,
            without_concurrency,
        );
        line.export.grow(ROWS);
        line.faults = HEALTHY;
        finish_and_check(line, service, kills, Way::Kill, rng)
    });
}

#[test]
fn killed_runs_with_a_faulty_service() {
    campaign("killed, faulty service", 20, |folder, service, kills, rng| {
        let mut line = line(folder, service, "export.csv", Kind::Resignations, |_| {});
        line.export.grow(ROWS);
        line.faults = FAULTY;
        finish_and_check(line, service, kills, Way::Kill, rng)
    });
}

#[test]
fn terminated_runs() {
    campaign("stopped", 14, |folder, service, kills, rng| {
        let mut line = line(folder, service, "export.csv", Kind::Resignations, |_| {});
        line.export.grow(ROWS);
        line.faults = FAULTY;
        finish_and_check(line, service, kills, Way::Terminate, rng)
    });
}

#[test]
fn guarded_runs() {
    campaign("guarded, compressed input", 12, |folder, service, kills, rng| {
        let guarded = |pipeline: &mut Value| {
            pipeline["guards"] = json!({"max_rows": 1_000_000, "max_shrink": 0.1, "max_rows_per_person": 5});
        };
        let mut line = line(folder, service, "export.csv.gz", Kind::Resignations, guarded);
        line.export.grow(ROWS);
        line.faults = FAULTY;
        finish_and_check(line, service, kills, Way::Kill, rng)
    });
}

#[test]
fn guarded_runs_with_a_spool_file() {
    campaign("guarded, rows in a file", 4, |folder, service, kills, rng| {
        let guarded = |pipeline: &mut Value| pipeline["guards"] = json!({"max_rows": 1_000_000});
        let mut line = line(folder, service, "export.csv", Kind::LevelChanges, guarded);
        // 36 MB: more than the spool keeps in memory.
        line.export.width = 12_000;
        line.export.grow(ROWS);
        line.growth = 40;
        line.faults = HEALTHY;
        finish_and_check(line, service, kills, Way::Kill, rng)
    });
}

#[test]
fn runs_that_split_batches() {
    // Refuses more than 12 rows with 400, and one row, for its size, with 413.
    let settings = json!({"max_rows": 12, "max_body": "40KB"});
    campaign_with("split", 12, &settings, |folder, service, kills, rng| {
        let split = |pipeline: &mut Value| {
            pipeline["sinks"]["purview"]["delivery"] = json!({"on_refused": "split"});
        };
        let mut line = line(folder, service, "export.csv", Kind::LevelChanges, split);
        line.export.grow(ROWS / 3);
        line.export.add_too_large();
        line.refused = 1;
        line.export.grow(ROWS / 3);
        line.faults = FAULTY;
        finish_and_check(line, service, kills, Way::Kill, rng)
    });
}

/// Resolves each unknown batch with the log of the job, as a person would.
fn resolve(line: &Line, service: &Service) {
    let command = format!("history {} --runs 2 --batches --output json", line.file());
    let (_, said, _) = program::run_line(line.folder(), &command);
    let history: Value = serde_json::from_str(&said).unwrap();
    // Uploads of a killed run may still arrive.
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
            let accepted = files.contains(&format!(
                "hrsink-{scenario}-{}-{number:05}.csv",
                &id[id.len() - 8..]
            ));
            let outcome = if accepted { "accepted" } else { "not-accepted" };
            let batch = format!("--run {id} --batch {number} --as {outcome}");
            let command = format!("ledger resolve {} {batch}", line.file());
            let (code, said, error) = program::run_line(line.folder(), &command);
            assert_eq!(code, 0, "{said}{error}");
        }
    }
}

#[test]
fn held_runs_have_no_duplicates() {
    campaign("held", 12, |folder, service, kills, rng| {
        let held = |pipeline: &mut Value| {
            pipeline["sinks"]["purview"]["delivery"] = json!({"on_unknown": "hold"});
        };
        let mut line = line(folder, service, "export.csv", Kind::Resignations, held);
        line.export.grow(ROWS);
        line.faults = FAULTY;
        line.codes = &[75, 5, 4];
        line.before_each = resolve;
        line.kill(service, kills, Way::Kill, rng);
        service.faults("");
        resolve(&line, service);
        line.finish();
        let summary = account::check(&[line], service);
        assert!(summary.is_once(), "{summary}");
        summary
    });
}

#[test]
fn runs_that_share_a_ledger() {
    campaign(
        "two pipelines on one ledger",
        14,
        |folder, service, kills, rng| {
            let mut lines = vec![
                line(folder, service, "leavers.csv", Kind::Resignations, |_| {}),
                line(
                    folder,
                    service,
                    "levels.csv",
                    Kind::LevelChanges,
                    without_concurrency,
                ),
            ];
            std::thread::scope(|scope| {
                for line in &mut lines {
                    let (service, mut rng) = (service, random(rand::RngExt::random(rng)));
                    scope.spawn(move || {
                        line.export.grow(ROWS);
                        line.faults = FAULTY;
                        line.kill(service, kills.div_ceil(2), Way::Kill, &mut rng);
                    });
                }
            });
            service.faults("");
            lines.iter_mut().for_each(Line::finish);
            account::check(&lines, service)
        },
    );
}

/// A pipeline whose rows come in files that are moved when delivered; `path` is their folder as the source names it.
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

/// Kills `line`, lets it finish and checks its files and rows.
fn finish_and_check_files(mut line: Line, service: &Service, kills: u32, rng: &mut StdRng) -> Summary {
    line.kill(service, kills, Way::Kill, rng);
    service.faults("");
    line.finish();
    check_moved_files(&line);
    account::check(&[line], service)
}

/// Every file is in the archive, once, under its own name.
fn check_moved_files(line: &Line) {
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
fn runs_that_move_files() {
    campaign("files moved", 12, |folder, service, kills, rng| {
        let line = dropping(folder, service, "drops", |_| {});
        finish_and_check_files(line, service, kills, rng)
    });
}

#[cfg(feature = "sftp")]
#[test]
fn runs_that_move_files_over_sftp() {
    if !external::enabled("crashes with an SFTP source") {
        return;
    }
    campaign("files moved over SFTP", 12, |folder, service, kills, rng| {
        let server = sshd::Sshd::start();
        let key = server.login_key("login", &["-t", "ed25519", "-N", ""]);
        let path = format!("sftp://127.0.0.1:{}{}/drops", server.port, folder.display());
        let line = dropping(folder, service, &path, |source| {
            source["sftp"] = json!({
                "username": sshd::me(), "auth": [{"private_key": {"file": key}}],
                "host_keys": [server.fingerprint("ed25519")],
            });
        });
        finish_and_check_files(line, service, kills, rng)
    });
}

#[test]
fn runs_that_create_the_ledger() {
    campaign("killed while creating the ledger", 14, |_, _, kills, rng| {
        let mut sum = Summary::default();
        let (mut left, mut uncreated) = (kills, 0);
        while left > 0 {
            let folder = tempfile::tempdir().unwrap();
            let service = Service::start(&json!({}));
            let mut line = line(folder.path(), &service, "export.csv", Kind::Resignations, |_| {});
            line.export.grow(200);
            // Until the ledger exists, and once or twice more.
            while line.kills < left.min(6) {
                let moment = Moment::at_creation(rng);
                if line.run_until(&service, &moment, Way::Kill, rng).is_some() {
                    break;
                }
                uncreated += u32::from(!line.state().exists());
                line.check_ledger();
            }
            line.finish();
            left -= line.kills.clamp(1, left);
            sum += account::check(&[line], &service);
        }
        println!("killed while creating the ledger: {uncreated} times before it existed");
        sum
    });
}
