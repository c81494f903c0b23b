//! Pipelines with a `sql` transform, from files to the emulator.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};

use hrsink::config::PipelineConfig;
use hrsink::pipeline::{Observer, RunOptions};
use serde_json::{Value, json};
use support::{Pipeline, arrived, email, emulator, failure};

/// Leavers by number, and a directory with the addresses of all but the last.
fn leavers(url: &str, rows: usize, query: &str) -> Pipeline {
    let mut pipeline = Pipeline::new(url, 0);
    pipeline.file["sources"] = json!({
        "leavers": {"type": "file", "path": "leavers-*.csv"},
        "directory": {"type": "file", "path": "directory.csv"},
    });
    pipeline.file["transforms"]["joined"] =
        json!({"type": "sql", "inputs": ["leavers", "directory"], "query": query});
    pipeline.file["transforms"]["resignations"]["inputs"] = json!(["joined"]);
    pipeline.file["rejects"] = json!({"max_ratio": 0.5});
    let mut leavers = "id,resigned,last_day\n".to_owned();
    let mut directory = "number,upn\n".to_owned();
    for row in 1..=rows {
        leavers.push_str(&format!("E{row},2026-03-02T09:00:00Z,2026-04-01T00:00:00Z\n"));
        if row < rows {
            directory.push_str(&format!("E{row},{}\n", email(row)));
        }
    }
    pipeline.write("leavers-1.csv", &leavers);
    pipeline.write("directory.csv", &directory);
    pipeline
}

const JOIN: &str = "SELECT l.*, d.upn FROM leavers l LEFT JOIN directory d ON d.number = l.id";

#[tokio::test(flavor = "multi_thread")]
async fn joins_a_directory_and_tracks_lines_guards_and_deliveries() {
    let emulator = emulator("").await;
    let mut pipeline = leavers(&emulator.url(), 6, JOIN);
    pipeline.file["guards"] = json!({"min_rows": 5, "max_rows": 5, "max_reject_ratio": 0.17});
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert_eq!(arrived(&emulator), support::emails(5));
    let rows = report.rows;
    let counts = [
        rows.read,
        rows.combined,
        rows.derived,
        rows.accepted,
        rows.rejected,
    ];
    assert_eq!(counts, [11, 11, 6, 5, 1]);
    let reject = first_reject(&report.rejects.path.unwrap());
    assert!(
        reject["file"].as_str().unwrap().ends_with("leavers-1.csv"),
        "{reject}"
    );
    assert_eq!((&reject["row"], &reject["line"]), (&json!(6), &json!(7)));
    let again = pipeline.run().await;
    assert_eq!((again.rows.accepted, again.rows.skipped), (0, 5), "{again:#?}");
}

fn first_reject(path: &Path) -> Value {
    let rejects = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(rejects.lines().next().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_files_with_other_columns_that_the_query_uses() {
    let emulator = emulator("").await;
    let pipeline = leavers(&emulator.url(), 3, JOIN);
    pipeline.write("leavers-2.csv", "id,left\nE1,2026-01-01\n");
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    let expected = "leavers-2.csv` of the input `leavers` differs from";
    assert!(error.message.contains(expected), "{error:#?}");
    assert!(arrived(&emulator).is_empty());
    // Columns that the query does not use do not matter.
    let query = "SELECT l.id, d.upn, '2026-03-02' AS resigned, '2026-04-01' AS last_day
                 FROM leavers l JOIN directory d ON d.number = l.id";
    let pipeline = leavers(&emulator.url(), 3, query);
    pipeline.write("leavers-2.csv", "left,id\n2026-01-01,E2\n");
    let report = pipeline.run().await;
    assert_eq!((report.exit_code, report.rows.derived), (0, 3), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_unknown_columns_and_failed_casts_without_values() {
    let query = "SELECT l.id, l.resigned, l.last_day, d.unp AS upn\nFROM leavers l JOIN directory d\n  ON d.numbr = l.id";
    let report = leavers("http://127.0.0.1:9", 3, query).run().await;
    let error = failure(&report, 2);
    let expected = "line 3, column 8: unknown column `numbr` in `d`";
    assert!(error.message.ends_with(expected), "{error:#?}");
    assert!(error.hints[0].contains("`number`"), "{error:#?}");

    let query = "SELECT l.id, d.upn, resigned, last_day, CAST(l.id AS INT) AS n
                 FROM leavers l JOIN directory d ON d.number = l.id";
    let report = leavers("http://127.0.0.1:9", 3, query).run().await;
    let error = failure(&report, 2);
    let expected = "a value cannot be converted to Int32";
    assert!(error.message.ends_with(expected), "{error:#?}");
    let all = serde_json::to_string(&report).unwrap();
    assert!(!all.contains("E1") && !all.contains("E2"), "{all}");
    assert_eq!(report.rows.not_sent, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_one_row_per_person_of_the_example() {
    let folder = tempfile::tempdir().unwrap();
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config-examples");
    std::fs::create_dir(folder.path().join("data")).unwrap();
    for file in ["sql-join.yaml", "data/leavers-by-id.csv", "data/directory.csv"] {
        std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    let config = PipelineConfig::load(&folder.path().join("sql-join.yaml")).unwrap();
    let report = hrsink::pipeline::run(&config, RunOptions::default(), &Observer::default()).await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    let rows = report.rows;
    let counts = [rows.read, rows.derived, rows.rejected, rows.accepted];
    assert_eq!(counts, [13, 6, 1, 5]);
    assert_eq!(first_reject(&report.rejects.path.unwrap())["line"], 8);
}
