//! The source through its configuration: problems, checks, and reading.

use std::path::Path;

use serde_json::{Value, json};

use super::FileConfig;
use crate::component::contract::{self, Expected, Outcome, context};
use crate::component::{CheckState, CheckStep, Problems, SourceConfig};

fn config(settings: &Value) -> FileConfig {
    serde_json::from_value(settings.clone()).unwrap()
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
}

async fn read(folder: &Path, settings: &Value) -> Outcome {
    contract::run(&config(settings), context(folder, None), None).await
}

/// Settings | the keys with a problem.
const INVALID: &str = "
path: 'in/{date}.csv', compression: [zip, zip], format: {type: csv, quote: ä}, s3: {} | compression format.quote path s3
path: a.csv, select: {order_by: date_in_name, marker: done}                | select.marker select.order_by
path: a.csv, on_success: {move: old.csv}, on_failure: {move: '{nam}'}      | on_failure.move on_success.move
path: a.csv, add_columns: {day: date}                                      | add_columns.day
path: a.csv, select: {timezone: Europe/Berlin, date_offset: 1d}            | select.date_offset select.timezone
path: '-', format: csv, on_success: delete, on_failure: {move: failed/}    | on_failure on_success
path: '-', format: csv, select: {incremental: true, quiet_period: 1s}      | select.incremental select.quiet_period
path: https://host/a.csv, on_success: delete                               | on_success
path: ''                                                                   | path
path: 'in/[a.csv'                                                          | path
path: sftp://host/a.csv                                                    | sftp
path: '-'                                                                  | format
path: in/leavers.txt                                                       | format
path: http://127.0.0.1:22980/out                                           | format
path: '-', format: parquet                                                 | format
path: a.parquet.gz                                                         | compression
path: a.parquet, compression: zstd                                         | compression
path: in/*                                                                 |
path: in/*.CSV.GZ                                                          |
path: in/*.zip                                                             |
";

#[test]
fn reports_every_invalid_setting_at_its_key() {
    for case in INVALID.lines().skip(1) {
        let (settings, expected) = case.split_once('|').unwrap();
        let config: FileConfig = serde_saphyr::from_str(&format!("{{{settings}}}")).unwrap();
        let mut found = Vec::new();
        config.validate(&mut Problems::new(&mut found));
        let mut paths: Vec<String> = found.into_iter().map(|problem| problem.path).collect();
        paths.sort();
        assert_eq!(paths.join(" "), expected.trim(), "{case}");
    }
}

#[test]
fn the_quiet_period_depends_on_the_storage() {
    for (path, set, expected) in [
        ("sftp://files.contoso.com/out/*.csv", None, (30, 600)),
        ("sftp://files.contoso.com/out/*.csv", Some("0s"), (0, 600)),
        ("s3://exports/*.csv", Some("5s"), (5, 600)),
        ("s3://exports/*.csv", None, (0, 600)),
        ("out/*.csv", Some("5s"), (5, 0)),
        ("out/*.csv", None, (0, 0)),
    ] {
        let config = config(&json!({"path": path, "select": {"quiet_period": set}}));
        let (now, mut found) = (jiff::Timestamp::now(), Vec::new());
        let plan = config.parse_into(now, &mut Problems::new(&mut found)).unwrap();
        let (quiet, margin) = (plan.selection.quiet_period, plan.selection.clock_margin);
        assert_eq!((quiet.as_secs(), margin.as_secs()), expected, "{path}");
    }
}

async fn check(folder: &Path, settings: Value) -> Vec<CheckStep> {
    config(&settings).check(context(folder, None)).await
}

#[tokio::test]
async fn check_reports_missing_files_as_a_run_would() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("leavers.csv", "x\n1\n")]);
    for (if_none, state) in [
        ("error", CheckState::Fails),
        ("warn", CheckState::Unsure),
        ("ignore", CheckState::Works),
    ] {
        let settings = json!({"path": "leaver.csv", "select": {"if_none": if_none}});
        let steps = check(folder.path(), settings).await;
        assert_eq!((steps.len(), steps[0].state), (1, state), "{steps:?}");
        assert!(steps[0].hints[0].contains("`leavers.csv`"), "{steps:?}");
        assert!(steps[0].hints[1].contains("`select.if_none` is `"), "{steps:?}");
    }
    let select = json!({"marker": "{name}.done", "if_none_new": "error"});
    let settings = json!({"path": "*", "format": "csv", "select": select});
    let without = check(folder.path(), settings.clone()).await;
    assert_eq!(without[0].state, CheckState::Fails, "{without:?}");
    write(folder.path(), &[("leavers.csv.done", "")]);
    let with = check(folder.path(), settings).await;
    assert_eq!(with[0].state, CheckState::Works, "{with:?}");
    assert!(with[0].detail.starts_with("1 match"), "{with:?}");
}

#[cfg(feature = "pgp")]
#[tokio::test]
async fn check_reports_missing_keys() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a.csv.pgp", "x")]);
    for pgp in [
        json!({"keys": [{"key": {"file": "gone.key"}}]}),
        json!({"passwords": [{"file": "gone"}]}),
        json!({"passwords": [{"env": "PATH"}], "signed_by": ["gone.asc"]}),
    ] {
        let steps = check(folder.path(), json!({"path": "a.csv.pgp", "pgp": pgp})).await;
        assert_eq!((steps.len(), steps[0].state), (2, CheckState::Fails), "{steps:?}");
        assert!(steps[0].detail.contains("gone"), "{steps:?}");
    }
}

#[tokio::test]
async fn keeps_the_contract_of_sources() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("b.csv", "x,y\n3,4\n"),
        ("a.csv", "x,y\n1,2\n1\n5,6\n"),
        ("c.csv", "x,y\n"),
    ];
    write(folder.path(), &files);
    let config = config(&json!({"path": "*.csv"}));
    let expected = Expected {
        parts: &[("a.csv", 2), ("b.csv", 1), ("c.csv", 0)],
        rejects: &[("a.csv", 2)],
    };
    contract::source(&config, || context(folder.path(), None), expected).await;
    let outcome = contract::run(&config, context(folder.path(), None), None).await;
    assert_eq!(outcome.checkpoints(), [(2, "a.csv"), (3, "b.csv"), (3, "c.csv")]);
}

#[cfg(unix)]
#[tokio::test]
async fn reads_a_pipe_but_not_as_parquet_and_stops_while_it_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let writer = std::thread::spawn(move || std::fs::write(path, "{\"x\":1}\n{\"x\":2}\n").unwrap());
    let outcome = read(folder.path(), &json!({"path": "a.ndjson"})).await;
    assert_eq!((outcome.result.is_ok(), outcome.totals.read), (true, 2));
    writer.join().unwrap();

    let parquet = read(folder.path(), &json!({"path": "a.ndjson", "format": "parquet"})).await;
    let error = parquet.result.unwrap_err();
    assert!(error.to_string().contains("a.ndjson"), "{error}");

    let cx = context(folder.path(), None);
    let (cancel, config) = (cx.run.cancel.clone(), config(&json!({"path": "a.ndjson"})));
    let stop = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(contract::run(&config, cx, None), stop);
    assert_eq!(outcome.totals.read, 0);
}
