//! Rows of unknown outcome: resent and reported, or held until they are resolved.

use crate::support::{Pipeline, arrived, email, emails, emulator, failure, history, program};
use crate::{fails, outcomes};
use hrsink::emulator::Faults;
use hrsink::error::ErrorKind;
use hrsink::plugin::BatchOutcome::{NotSent, Unknown};
use serde_json::json;

#[tokio::test]
async fn holds_unknown_batches_until_they_are_resolved() {
    for (decision, copies, sent) in [("accepted", 1, 4), ("not-accepted", 2, 6)] {
        let emulator = emulator("drop_after=first:1").await;
        let mut pipeline = Pipeline::new(&emulator.url(), 6);
        pipeline.sink()["delivery"] = json!({"on_unknown": "hold"});
        let report = pipeline.run().await;
        let error = fails(
            &report,
            4,
            &["hrsink ledger resolve", "find it in the connector's log"],
        );
        assert_eq!(error.kind, ErrorKind::Guard);
        let expected = [(1, Unknown, 1), (2, NotSent, 0), (3, NotSent, 0)];
        assert_eq!(outcomes(&report), expected, "not retried");
        assert_rows!(report, 6, unknown: 2, not_sent: 4);

        // Until it is resolved, a run sends nothing and says what it waits for.
        let waiting = pipeline.run().await;
        let texts = [
            "batch 1",
            &report.run_id,
            "(2 rows",
            "employee_resignation",
            "Purview portal",
        ];
        fails(&waiting, 4, &texts);
        let read = waiting.rows.read;
        assert_rows!(waiting, read, not_sent: read);
        assert_eq!(emulator.status().uploads, 1);
        let recorded = history(&pipeline).await;
        let found = (
            &recorded["runs"][0]["exit_code"],
            &recorded["runs"][1]["open_unknown"],
        );
        assert_eq!(found, (&json!(4), &json!(1)));

        let resolve = [
            "ledger",
            "resolve",
            "{}",
            "--run",
            &report.run_id,
            "--batch",
            "1",
            "--as",
            decision,
        ];
        let output = program(&pipeline, &resolve).await;
        assert!(output.status.success(), "{output:?}");
        let report = pipeline.run().await;
        assert_eq!(report.exit_code, 0, "{report:#?}");
        assert_rows!(report, 6, accepted: sent, skipped: 6 - sent);
        let open = &report.earlier_unknown;
        assert!(open.is_empty(), "resolved: {open:?}");
        let of_the_first = arrived(&emulator).iter().filter(|row| **row == email(1)).count();
        assert_eq!(of_the_first, copies, "{decision}");
        let recorded = history(&pipeline).await;
        let decided = &recorded["runs"][2]["batches"][0]["decision"];
        assert_eq!(decided["decision"], decision.replace('-', "_"));
        assert_eq!(decided["run"], json!(null), "by a person");
    }
}

#[tokio::test]
async fn does_not_hold_rows_that_were_not_sent() {
    let emulator = emulator("503=1").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.sink()["delivery"] = json!({"on_unknown": "hold"});
    failure(&pipeline.run().await, 75);
    emulator.set_faults(Faults::default());
    let report = pipeline.run().await;
    assert_eq!((report.exit_code, report.rows.accepted), (0, 4));
    assert_eq!(arrived(&emulator), emails(4));
}

#[tokio::test]
async fn keeps_an_unknown_batch_open_until_a_complete_run() {
    let emulator = emulator("drop_after=first:3").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    let lost = pipeline.run().await;
    failure(&lost, 75);
    // An outage in the next run.
    emulator.set_faults("503=1".parse().unwrap());
    pipeline.sink()["retry"]["max_attempts"] = json!(1);
    let report = pipeline.run().await;
    failure(&report, 75);
    let open = |report: &hrsink::pipeline::RunReport| -> Vec<(String, u64)> {
        let open = report.earlier_unknown.iter();
        open.map(|batch| (batch.run.clone(), batch.resent_rows)).collect()
    };
    assert_eq!(open(&report), [(lost.run_id.clone(), 0)]);
    assert_eq!(history(&pipeline).await["runs"][1]["open_unknown"], 1);

    emulator.set_faults(Faults::default());
    let report = pipeline.run().await;
    assert_rows!(report, 4, accepted: 2, skipped: 2);
    assert_eq!(open(&report), [(lost.run_id, 2)]);
    assert_eq!(history(&pipeline).await["runs"][2]["open_unknown"], 0);
}

#[tokio::test]
async fn reports_an_unknown_row_that_returns_later() {
    let emulator = emulator("drop_after=first:3").await;
    let pipeline = Pipeline::new(&emulator.url(), 2);
    failure(&pipeline.run().await, 75);
    let export = std::fs::read_to_string(pipeline.path("export.csv")).unwrap();
    let lines: Vec<&str> = export.lines().collect();
    for (rows, accepted, resent) in [(1, 1, Some(1)), (1, 0, None), (2, 1, Some(1))] {
        pipeline.write("export.csv", &format!("{}\n", lines[..=rows].join("\n")));
        let report = pipeline.run().await;
        let read = rows as u64;
        assert_rows!(report, read, accepted: accepted, skipped: read - accepted; "{rows} rows");
        let earlier = report.earlier_unknown.first();
        assert_eq!(earlier.map(|batch| batch.resent_rows), resent, "{rows} rows");
    }
}

#[tokio::test]
async fn prints_possible_duplicates() {
    let emulator = emulator("drop_after=first:3").await;
    let pipeline = Pipeline::new(&emulator.url(), 4);
    let resent = [
        "1 batch of earlier runs with 2 rows had an unknown outcome",
        "2 rows were sent again and may be duplicated",
    ];
    for (code, texts) in [(75, &["2 unknown"][..]), (0, &resent)] {
        let output = program(&pipeline, &["run", "{}"]).await;
        assert_eq!(output.status.code(), Some(code));
        let said = String::from_utf8(output.stdout).unwrap();
        for text in texts {
            assert!(said.contains(text), "{text}: {said}");
        }
    }
}
