//! Files are moved or deleted once their rows are final, and only then.

use serde_json::{Value, json};

use crate::support::{arrived, emails, emulator, failure, sink};
use crate::{files, pipeline, put, put_text};
use hrsink::pipeline::{Observer, RunOptions};

fn moving() -> Value {
    json!({"on_success": {"move": "archive/{name}"}})
}

#[tokio::test]
async fn moves_a_file_once_its_rows_are_accepted_and_never_overwrites() {
    let emulator = emulator("").await;
    let pipeline = pipeline(&emulator, moving());
    put(&pipeline, "a.csv", &[1, 2, 3]);
    put(&pipeline, "b.csv", &[4]);
    assert_eq!(pipeline.run().await.exit_code, 0);
    assert_eq!(files(&pipeline), ["archive/a.csv", "archive/b.csv"]);
    // Another file with the same name.
    put(&pipeline, "a.csv", &[5]);
    assert_eq!(pipeline.run().await.exit_code, 0);
    let moved = ["archive/a.csv", "archive/a.csv-2", "archive/b.csv"];
    assert_eq!(files(&pipeline), moved);
    assert_eq!(arrived(&emulator), emails(5));
}

#[tokio::test]
async fn keeps_a_file_until_every_sink_has_accepted_its_rows() {
    let (down, up) = (emulator("503=1").await, emulator("").await);
    let mut pipeline = pipeline(&up, moving());
    let other = "b8be4a7d-e338-43eb-a69e-c513cd458ebb";
    pipeline.file["sinks"]["other"] = sink(&down.url(), other, "resignations");
    put(&pipeline, "a.csv", &[1, 2]);
    failure(&pipeline.run().await, 75);
    assert_eq!(files(&pipeline), ["a.csv"]);
    pipeline.file["sinks"]["other"] = sink(&up.url(), other, "resignations");
    assert_eq!(pipeline.run().await.exit_code, 0);
    assert_eq!(files(&pipeline), ["archive/a.csv"]);
    // Two rows for each of the two jobs.
    assert_eq!(arrived(&up).len(), 4);
}

#[tokio::test]
async fn a_run_that_only_reads_changes_no_file() {
    let emulator = emulator("").await;
    let pipeline = pipeline(&emulator, json!({"on_success": "delete"}));
    put(&pipeline, "a.csv", &[1, 2]);
    for (dry_run, limit) in [(true, None), (true, Some(1)), (false, Some(1))] {
        let options = RunOptions::with(|options| {
            options.dry_run = dry_run;
            options.limit = limit;
        });
        pipeline.run_with(options, &Observer::default()).await;
        assert_eq!(files(&pipeline), ["a.csv"]);
    }
    assert_eq!(pipeline.run().await.exit_code, 0);
    assert_eq!(files(&pipeline), [""; 0]);
    assert_eq!(arrived(&emulator).len(), 2);
}

#[tokio::test]
async fn a_marker_goes_where_its_file_goes() {
    let emulator = emulator("").await;
    for (on_success, left) in [
        (
            json!({"move": "archive/"}),
            &["archive/a.csv", "archive/a.csv.done", "b.csv"][..],
        ),
        (json!("delete"), &["b.csv"]),
    ] {
        let settings = json!({"on_success": on_success, "select": {"marker": "{name}.done"}});
        let pipeline = pipeline(&emulator, settings);
        put(&pipeline, "a.csv", &[1]);
        put(&pipeline, "a.csv.done", &[]);
        put(&pipeline, "b.csv", &[2]);
        assert_eq!(pipeline.run().await.exit_code, 0);
        assert_eq!(files(&pipeline), left);
    }
}

#[tokio::test]
async fn a_failed_move_is_done_by_a_later_run_without_reading_the_file() {
    let emulator = emulator("").await;
    for if_none_new in ["warn", "error"] {
        let mut settings = moving();
        settings["select"] = json!({"if_none_new": if_none_new});
        let mut pipeline = pipeline(&emulator, settings);
        // Each run would send the rows again if it read them.
        pipeline.sink()["delivery"] = json!({"mode": "all"});
        put(&pipeline, "a.csv", &[1, 2]);
        // A file where the folder should be.
        put(&pipeline, "archive", &[]);
        let report = pipeline.run().await;
        assert_eq!((report.exit_code, report.rows.read), (0, 2), "{report:#?}");
        assert_eq!(files(&pipeline), ["a.csv", "archive"]);
        std::fs::remove_file(pipeline.path("in").join("archive")).unwrap();
        let report = pipeline.run().await;
        assert_eq!(report.rows.read, 0, "{report:#?}");
        if if_none_new == "error" {
            let message = &failure(&report, 2).message;
            let expected = "of the 1 files that match `in/*.csv`, 1 read before";
            assert!(message.ends_with(expected), "{message}");
        }
        assert_eq!(files(&pipeline), ["archive/a.csv"]);
        // A new file with that name is not the old one.
        put(&pipeline, "a.csv", &[3]);
        assert_eq!(pipeline.run().await.rows.read, 1);
    }
}

#[tokio::test]
async fn moves_a_file_that_cannot_be_read_and_leaves_the_others_for_the_next_run() {
    let emulator = emulator("").await;
    let settings = json!({"on_success": {"move": "archive/"}, "on_failure": {"move": "failed/{name}"}});
    let pipeline = pipeline(&emulator, settings);
    put(&pipeline, "a.csv", &[1]);
    put_text(&pipeline, "b.csv", "");
    put(&pipeline, "c.csv", &[2]);
    let report = pipeline.run().await;
    assert!(failure(&report, 2).message.contains("b.csv"));
    assert_eq!(files(&pipeline), ["a.csv", "c.csv", "failed/b.csv"]);
    assert_eq!(arrived(&emulator).len(), 0);
    assert_eq!(pipeline.run().await.exit_code, 0);
    let moved = ["archive/a.csv", "archive/c.csv", "failed/b.csv"];
    assert_eq!(files(&pipeline), moved);
    assert_eq!(arrived(&emulator), emails(2));
}

#[tokio::test]
async fn rejects_a_target_that_path_would_match_again() {
    let emulator = emulator("").await;
    let mut settings = moving();
    settings["path"] = json!("in/**/*.csv");
    let pipeline = pipeline(&emulator, settings);
    put(&pipeline, "a.csv", &[1]);
    let report = pipeline.run().await;
    let message = &failure(&report, 2).message;
    assert!(message.contains("matches again"), "{message}");
    assert_eq!(arrived(&emulator).len(), 0);
}

#[tokio::test]
async fn keeps_and_rereads_a_file_whose_rows_were_all_rejected() {
    for on_success in [json!("delete"), json!({"move": "archive/"}), json!("keep")] {
        let emulator = emulator("").await;
        let is_kept = on_success == json!("keep");
        let mut pipeline = pipeline(&emulator, json!({"on_success": on_success}));
        put(&pipeline, "a.csv", &[1, 2]);
        put(&pipeline, "b.csv", &[3]);
        let right = pipeline.file["transforms"].clone();
        let wrong = right.to_string().replace("upn", "last_day");
        pipeline.file["transforms"] = serde_json::from_str(&wrong).unwrap();
        let report = pipeline.run().await;
        assert_eq!((report.exit_code, report.rows.rejected), (3, 3), "{report:#?}");
        assert_eq!(files(&pipeline), ["a.csv", "b.csv"]);
        pipeline.file["transforms"] = right;
        let report = pipeline.run().await;
        assert_eq!((report.exit_code, report.rows.read), (0, 3), "{report:#?}");
        assert_eq!(files(&pipeline).contains(&"a.csv".to_owned()), is_kept);
        assert_eq!(pipeline.path("in").join("b.csv").exists(), is_kept);
        assert_eq!(arrived(&emulator), emails(3));
    }
}

/// Rows that a `where` filters out are not valid ones.
#[tokio::test]
async fn keeps_files_with_rejects_if_there_are_too_many() {
    for (max_ratio, left) in [(0.5, vec![]), (0.4, vec!["a.csv", "b.csv"])] {
        let emulator = emulator("").await;
        let mut pipeline = pipeline(&emulator, json!({"on_success": "delete"}));
        pipeline.file["rejects"] = json!({"max_ratio": max_ratio});
        pipeline.file["transforms"]["resignations"]["where"] = json!("upn <> 'left-out@contoso.com'");
        for (name, invalid) in [("a.csv", "nobody"), ("b.csv", "no one")] {
            let rows = [invalid, "left-out@contoso.com", "left-out@contoso.com"]
                .map(|upn| format!("{upn},2026-03-02T09:00:00Z,2026-04-01T00:00:00Z\n"));
            put_text(&pipeline, name, &(crate::csv(&[1]) + &rows.concat()));
        }
        let report = pipeline.run().await;
        let exit_code = if left.is_empty() { 0 } else { 3 };
        let found = (report.exit_code, report.rows.rejected);
        assert_eq!(found, (exit_code, 2), "{report:#?}");
        assert_eq!(files(&pipeline), left);
    }
}
