//! Which files a run reads, and what their order is for.

use crate::common::{arrived, emails, emulator, failure};
use crate::{drop_file, files, pipeline};
use serde_json::json;

#[tokio::test]
async fn no_file_is_an_error_a_warning_or_nothing_as_it_is_set() {
    let emulator = emulator("").await;
    for (setting, exit) in [
        (None, 2),
        (Some("error"), 2),
        (Some("warn"), 0),
        (Some("ignore"), 0),
    ] {
        let mut source = files(json!({}));
        if let Some(setting) = setting {
            source["if_missing"] = json!(setting);
        }
        let pipeline = pipeline(&emulator.url(), source);
        std::fs::create_dir(pipeline.path("in")).unwrap();
        let report = pipeline.run().await;
        assert_eq!(report.exit_code, exit, "{setting:?}: {report:#?}");
        assert_eq!(report.rows.read, 0);
    }
}

#[tokio::test]
async fn a_source_without_files_leaves_the_others_of_a_query_their_rows() {
    let emulator = emulator("").await;
    let mut pipeline = pipeline(&emulator.url(), files(json!({"if_missing": "ignore"})));
    std::fs::create_dir(pipeline.path("in")).unwrap();
    pipeline.write(
        "more.csv",
        &format!(
            "upn,resigned,last_day\n{},2026-03-02T09:00:00Z,2026-04-01T00:00:00Z\n",
            crate::common::email(1)
        ),
    );
    pipeline.file["sources"]["more"] = json!({"type": "file", "path": "more.csv"});
    pipeline.file["transforms"]["both"] = json!({
        "type": "sql", "inputs": ["export", "more"],
        "query": "SELECT upn, resigned, last_day FROM more UNION ALL SELECT upn, resigned, last_day FROM export",
    });
    pipeline.file["transforms"]["resignations"]["inputs"] = json!(["both"]);
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert_eq!(arrived(&emulator), emails(1));
}

#[tokio::test]
async fn the_newest_row_of_a_person_wins_by_the_date_in_the_name_and_the_row() {
    let emulator = emulator("").await;
    let mut source = files(json!({
        "add_columns": {"file_date": "date", "file_row": "row", "file_name": "name"},
    }));
    source["path"] = json!("in/leavers-{any_date:%d%m%Y}.csv");
    let mut pipeline = pipeline(&emulator.url(), source);
    let row = |last_day: &str| {
        format!(
            "{},2026-03-02T09:00:00Z,{last_day}T00:00:00Z\n",
            crate::common::email(1)
        )
    };
    for (name, rows) in [
        ("leavers-01042026.csv", vec!["2026-04-01"]),
        ("leavers-02032026.csv", vec!["2026-04-02"]),
        ("leavers-15042026.csv", vec!["2026-05-03", "2026-05-04"]),
    ] {
        drop_file(&pipeline, name, &[]);
        let rows: String = rows.into_iter().map(row).collect();
        std::fs::write(
            pipeline.path("in").join(name),
            format!("upn,resigned,last_day\n{rows}"),
        )
        .unwrap();
    }
    pipeline.file["transforms"]["newest"] = json!({
        "type": "sql", "inputs": ["export"],
        "query": "SELECT upn, resigned, last_day FROM (SELECT *, row_number() OVER \
                  (PARTITION BY upn ORDER BY file_date DESC, file_row DESC) AS rank FROM export) WHERE rank = 1",
    });
    pipeline.file["transforms"]["resignations"]["inputs"] = json!(["newest"]);
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert_eq!((report.rows.read, report.rows.accepted), (4, 1));
    let rows = emulator.accepted_rows().unwrap();
    let days: Vec<&str> = rows.iter().filter_map(|row| row.get("LastWorkingDate")).collect();
    assert_eq!(days.len(), 1);
    assert!(days[0].starts_with("2026-05-04"), "{days:?}");
}

#[tokio::test]
async fn an_added_column_that_the_file_has_itself_is_an_error() {
    let emulator = emulator("").await;
    let mut pipeline = pipeline(&emulator.url(), files(json!({"add_columns": {"upn": "name"}})));
    drop_file(&pipeline, "a.csv", &[1]);
    pipeline.file["sources"]["export"]["path"] = json!("in/a.csv");
    let report = pipeline.run().await;
    assert!(failure(&report, 2).message.contains("`upn`"), "{report:#?}");
    assert_eq!(report.rows.accepted, 0);
}

#[test]
fn settings_that_do_not_fit_together_are_all_told_at_once() {
    let source = json!({
        "type": "file", "path": "in/{date}.csv", "order": "date", "trigger": "done", "max_files": 0,
        "after": {"move": "archive/old.csv"}, "on_failure": {"move": "{nam}"}, "dates": {"zone": "Mars/Base"},
        "s3": {}, "add_columns": {"day": "date"},
    });
    let pipeline = pipeline("http://127.0.0.1:9", source);
    let error = format!("{:#?}", pipeline.load().unwrap_err());
    for path in [
        "sources.export.path",
        "sources.export.order",
        "sources.export.trigger",
        "sources.export.max_files",
        "sources.export.after.move",
        "sources.export.on_failure.move",
        "sources.export.dates.zone",
        "sources.export.s3",
        "sources.export.add_columns.day",
    ] {
        assert!(error.contains(path), "{path}: {error}");
    }
}
