//! Which files a run reads, and in which order.

use serde_json::json;

use crate::support::{arrived, email, emails, emulator, failure};
use crate::{csv, files, pipeline, put, put_text};

#[tokio::test]
async fn no_file_is_an_error_a_warning_or_ignored() {
    let emulator = emulator("").await;
    for (if_none, exit_code) in [("error", 2), ("warn", 0), ("ignore", 0)] {
        let pipeline = pipeline(&emulator, json!({"select": {"if_none": if_none}}));
        let report = pipeline.run().await;
        assert_eq!(
            (report.exit_code, report.rows.read),
            (exit_code, 0),
            "{report:#?}"
        );
    }
}

#[tokio::test]
async fn a_query_works_if_one_of_its_sources_has_no_file() {
    let emulator = emulator("").await;
    let mut pipeline = pipeline(&emulator, json!({"select": {"if_none": "ignore"}}));
    pipeline.write("more.csv", &csv(&[1]));
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
async fn added_columns_let_a_query_keep_the_newest_row_of_a_person() {
    let emulator = emulator("").await;
    let columns = json!({"file_date": "date", "file_row": "row", "file_name": "name"});
    let settings = json!({"add_columns": columns, "path": "in/leavers-{any_date:%d%m%Y}.csv"});
    let mut pipeline = pipeline(&emulator, settings);
    for (name, days) in [
        ("leavers-01042026.csv", &["2026-04-01"][..]),
        ("leavers-02032026.csv", &["2026-04-02"]),
        ("leavers-15042026.csv", &["2026-05-03", "2026-05-04"]),
    ] {
        let rows = days
            .iter()
            .map(|day| format!("{},2026-03-02T09:00:00Z,{day}T00:00:00Z\n", email(1)));
        put_text(&pipeline, name, &(csv(&[]) + &rows.collect::<String>()));
    }
    pipeline.file["transforms"]["newest"] = json!({
        "type": "sql", "inputs": ["export"],
        "query": "SELECT upn, resigned, last_day FROM (SELECT *, row_number() OVER \
                  (PARTITION BY upn ORDER BY file_date DESC, file_row DESC) AS rank FROM export) WHERE rank = 1",
    });
    pipeline.file["transforms"]["resignations"]["inputs"] = json!(["newest"]);
    let report = pipeline.run().await;
    assert_eq!((report.rows.read, report.rows.accepted), (4, 1), "{report:#?}");
    let rows = emulator.accepted_rows().unwrap();
    let days: Vec<&str> = rows.iter().filter_map(|row| row.get("LastWorkingDate")).collect();
    assert!(days.len() == 1 && days[0].starts_with("2026-05-04"), "{days:?}");
}

#[tokio::test]
async fn an_added_column_that_the_file_already_has_is_an_error() {
    let emulator = emulator("").await;
    let pipeline = pipeline(&emulator, json!({"add_columns": {"upn": "name"}}));
    put(&pipeline, "a.csv", &[1]);
    let report = pipeline.run().await;
    assert!(failure(&report, 2).message.contains("`upn`"), "{report:#?}");
    assert_eq!(report.rows.accepted, 0);
}

#[tokio::test]
async fn never_reads_an_older_file_than_the_newest_while_its_move_fails() {
    let emulator = emulator("").await;
    let settings = json!({"select": {"newest": true}, "on_success": {"move": "archive/"}});
    let pipeline = pipeline(&emulator, settings);
    put(&pipeline, "a1.csv", &[1]);
    put(&pipeline, "a2.csv", &[2]);
    // A file where the folder should be.
    put(&pipeline, "archive", &[]);
    for rows in [1, 0, 0] {
        let report = pipeline.run().await;
        assert_eq!((report.exit_code, report.rows.read), (0, rows), "{report:#?}");
        assert_eq!(files(&pipeline), ["a1.csv", "a2.csv", "archive"]);
    }
    assert_eq!(arrived(&emulator), [email(2)]);
}

#[tokio::test]
async fn never_reads_an_older_file_than_a_newest_that_is_gone() {
    for on_success in [json!({"move": "archive/"}), json!("delete"), json!("keep")] {
        let emulator = emulator("").await;
        let settings = json!({"select": {"newest": true, "incremental": false}, "on_success": on_success});
        let pipeline = pipeline(&emulator, settings);
        put(&pipeline, "a1.csv", &[1]);
        put(&pipeline, "a2.csv", &[2]);
        assert_eq!(pipeline.run().await.rows.read, 1);
        // Also if somebody else deletes it.
        let _ = std::fs::remove_file(pipeline.path("in").join("a2.csv"));
        let report = pipeline.run().await;
        assert_eq!((report.exit_code, report.rows.read), (0, 0), "{report:#?}");
        put(&pipeline, "a3.csv", &[3, 4]);
        assert_eq!(pipeline.run().await.rows.read, 2);
        assert!(files(&pipeline).contains(&"a1.csv".to_owned()), "{on_success}");
        assert_eq!(arrived(&emulator), [2, 3, 4].map(email), "{on_success}");
    }
}

#[tokio::test]
async fn reads_an_older_file_if_path_names_it() {
    let emulator = emulator("").await;
    let select = json!({"newest": true, "if_none_new": "error"});
    let mut pipeline = pipeline(&emulator, json!({"select": select, "on_success": "delete"}));
    put(&pipeline, "a1.csv", &[1]);
    put(&pipeline, "a2.csv", &[2]);
    assert_eq!(pipeline.run().await.exit_code, 0);
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    for shown in ["of the 1 files", "1 older than the newest"] {
        assert!(error.message.contains(shown), "{}", error.message);
    }
    assert!(error.hints[0].contains("`in/a2.csv`"), "{:?}", error.hints);
    pipeline.file["sources"]["export"]["path"] = json!("in/a1.csv");
    assert_eq!(pipeline.run().await.rows.read, 1);
    assert_eq!(arrived(&emulator), emails(2));
}
