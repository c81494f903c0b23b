//! Guards: nothing is sent when the counts of a run are implausible, until the user allows it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::fails;
use crate::support::{Pipeline, arrived, email, emails, emulator, failure, history, program};
use hrsink::config::Guard;
use hrsink::error::ErrorKind;
use hrsink::pipeline::{GuardOutcome, Observer, RunOptions, RunReport};
use serde_json::{Value, json};

fn export(pipeline: &Pipeline, rows: &[usize]) {
    let mut csv = "upn,resigned,last_day\n".to_owned();
    for row in rows {
        let upn = email(*row);
        csv.push_str(&format!("{upn},2026-03-02T09:00:00Z,2026-04-01T00:00:00Z\n"));
    }
    pipeline.write("export.csv", &csv);
}

fn evaluated(report: &RunReport) -> Vec<(Guard, GuardOutcome)> {
    let all = report.guards.evaluated.iter();
    all.map(|evaluated| (evaluated.guard, evaluated.outcome))
        .collect()
}

async fn allowing(pipeline: &Pipeline, guard: Guard) -> RunReport {
    let options = RunOptions::with(|options| options.allow = BTreeSet::from([guard]));
    pipeline.run_with(options, &Observer::default()).await
}

#[tokio::test]
async fn sends_nothing_after_a_guard_until_it_is_allowed_for_one_run() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.file["guards"] = json!({"max_rows": 3, "min_rows": 1});
    let outcomes = |report: &Value| -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all = report["guards"]["evaluated"].as_array().unwrap().iter();
        all.map(|one| format!("{} {}", text(&one["guard"]), text(&one["outcome"])))
            .collect()
    };
    let output = program(&pipeline, &["run", "{}", "--output", "json"]).await;
    assert_eq!(output.status.code(), Some(4));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (error, rows) = (&report["error"], &report["rows"]);
    assert_eq!(
        (&report["exit_code"], &error["kind"]),
        (&json!(4), &json!("guard"))
    );
    assert_eq!((&rows["read"], &rows["not_sent"]), (&json!(4), &json!(4)));
    assert_eq!(report["batches"], json!([]));
    for part in [
        "`purview`",
        "nothing was sent",
        "`max_rows`: 4 rows, at most 3 allowed",
        "--allow max_rows",
    ] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert_eq!(outcomes(&report), ["min_rows passed", "max_rows tripped"]);
    let status = emulator.status();
    assert_eq!(
        (status.uploads, status.tokens_issued),
        (0, 0),
        "no token request either"
    );
    let recorded = history(&pipeline).await;
    let run = &recorded["runs"][0];
    let found = (&run["exit_code"], &run["batch_count"], &run["allowed"]);
    assert_eq!(found, (&json!(4), &json!(0), &json!([])));
    assert!(run["error"].as_str().unwrap().contains("max_rows"), "{run}");

    let allowed = ["run", "{}", "--allow", "max_rows", "--output", "json"];
    let output = program(&pipeline, &allowed).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(outcomes(&report), ["min_rows passed", "max_rows allowed"]);
    assert_eq!(arrived(&emulator), emails(4));
    let recorded = history(&pipeline).await;
    assert_eq!(recorded["runs"][0]["allowed"], json!(["max_rows"]));
    let text = program(&pipeline, &["history", "{}", "--batches"]).await.stdout;
    let text = String::from_utf8(text).unwrap();
    for part in [
        "allowed guards: max_rows",
        "stopped by a guard or a held batch (4)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    // For that run only.
    failure(&pipeline.run().await, 4);
}

#[tokio::test]
async fn stops_a_run_whose_export_shrank() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 10);
    pipeline.sink()["guards"] = json!({"max_shrink": 0.5});
    let first = pipeline.run().await;
    let outcome = |report: &RunReport| evaluated(report)[0];
    assert_eq!(outcome(&first), (Guard::MaxShrink, GuardOutcome::NotEvaluated));
    export(&pipeline, &[1, 2, 3, 40]);
    let report = pipeline.run().await;
    assert_eq!(fails(&report, 4, &["4 rows after 10"]).kind, ErrorKind::Guard);
    assert_rows!(report, 4, not_sent: 4);
    let last = report.guards.evaluated[0].last.as_ref().unwrap();
    assert_eq!((&last.run, last.rows), (&first.run_id, 10));
    // The stopped run does not count: the next one is still compared with the first.
    failure(&pipeline.run().await, 4);
    // Rows that the job has count too, though they are not sent again.
    export(&pipeline, &[1, 2, 3, 4, 40]);
    let report = pipeline.run().await;
    assert_eq!(outcome(&report), (Guard::MaxShrink, GuardOutcome::Passed));
    assert_rows!(report, 5, accepted: 1, skipped: 4);
    // A run that was allowed counts.
    export(&pipeline, &[1]);
    let report = allowing(&pipeline, Guard::MaxShrink).await;
    assert_eq!(outcome(&report), (Guard::MaxShrink, GuardOutcome::Allowed));
    let report = pipeline.run().await;
    assert_eq!(outcome(&report), (Guard::MaxShrink, GuardOutcome::Passed));
}

#[tokio::test]
async fn compares_with_complete_runs_only() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 10);
    pipeline.sink()["guards"] = json!({"max_growth": 0.0});
    assert_eq!(pipeline.run().await.exit_code, 0);
    export(&pipeline, &[1, 2, 20]);
    emulator.set_faults("503=1".parse().unwrap());
    failure(&pipeline.run().await, 75);
    emulator.set_faults("".parse().unwrap());
    // Ten rows are no more than ten, and far more than three.
    export(&pipeline, &(1..=10).collect::<Vec<_>>());
    let report = pipeline.run().await;
    assert_eq!(evaluated(&report), [(Guard::MaxGrowth, GuardOutcome::Passed)]);
}

#[tokio::test]
async fn stops_before_sending_after_too_many_rejects() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.file["guards"] = json!({"max_reject_ratio": 0.25});
    pipeline.file["rejects"] = json!({"max_ratio": 1.0});
    let fields = &mut pipeline.file["transforms"]["resignations"]["fields"];
    fields["EmailAddress"] = json!("CASE WHEN upn < 'user0003' THEN 'no address' ELSE upn END");
    let report = pipeline.run().await;
    failure(&report, 4);
    assert_rows!(report, 4, rejected: 2, not_sent: 2);
    let rejects = std::fs::read_to_string(report.rejects.path.unwrap()).unwrap();
    assert_eq!(
        rejects.lines().count(),
        2,
        "the reasons are reported all the same"
    );
    assert_eq!(emulator.status().uploads, 0);
}

/// Every file under `folder`, by its path from there.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(here).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy();
                found.insert(name.replace('\\', "/"));
            }
        }
    }
    found
}

#[tokio::test]
async fn leaves_no_spool_file_behind() {
    let mut pipeline = Pipeline::new("http://127.0.0.1:1", 0);
    // 40 MiB: more than the spool keeps in memory.
    let row = format!("{}\n", "x".repeat(1 << 19));
    pipeline.write("wide.csv", &format!("text\n{}", row.repeat(80)));
    pipeline.file["sources"] = json!({"wide": {"type": "file", "path": "wide.csv"}});
    pipeline.file.as_object_mut().unwrap().remove("transforms");
    pipeline.file["sinks"] = json!({"out": {"type": "console", "inputs": ["wide"]}});
    pipeline.file["guards"] = json!({"min_rows": 81});
    let root = pipeline.path("");
    pipeline.load().unwrap();
    let before = files(&root);
    let report = pipeline.run().await;
    failure(&report, 4);
    assert_rows!(report, 80, not_sent: 80);
    let new = || -> Vec<String> {
        let now = files(&root);
        let new = now.difference(&before).cloned();
        new.filter(|name| !name.starts_with(".hrsink/state.db")).collect()
    };
    assert_eq!(new(), Vec::<String>::new());

    let report = allowing(&pipeline, Guard::MinRows).await;
    assert_eq!((report.exit_code, report.rows.accepted), (0, 80), "{report:#?}");
    assert_eq!(new(), Vec::<String>::new());
}
