//! Archives: each member is read as a file, or nothing of any.

use std::io::{Cursor, Write as _};

use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::csv;
use crate::support::{Pipeline, arrived, email, emails, emulator, failure};
use hrsink::emulator::Emulator;
use hrsink::error::ErrorKind;

/// A pipeline that reads an archive of these members.
fn pipeline(emulator: &Emulator, more: Value, members: &[(&str, String)]) -> Pipeline {
    let mut pipeline = crate::pipeline(emulator, more);
    pipeline.file["sources"]["export"]["path"] = json!("leavers.zip");
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    }
    let bytes = archive.finish().unwrap().into_inner();
    std::fs::write(pipeline.path("leavers.zip"), bytes).unwrap();
    pipeline
}

#[tokio::test]
async fn reads_each_member_in_its_format() {
    let emulator = emulator("").await;
    let row =
        json!({"upn": email(3), "resigned": "2026-03-02T09:00:00Z", "last_day": "2026-04-01T00:00:00Z"});
    let members = [
        ("b.ndjson", row.to_string()),
        ("a.csv", csv(&[1, 2])),
        ("__MACOSX/._a.csv", "not a file".to_owned()),
    ];
    let report = pipeline(&emulator, json!({}), &members).run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert_eq!(arrived(&emulator), emails(3));
    let members = [("a.csv", csv(&[4])), ("README", "not a table".to_owned())];
    let only_csv = json!({"zip": {"members": "*.csv"}});
    let report = pipeline(&emulator, only_csv, &members).run().await;
    assert_eq!((report.exit_code, report.rows.read), (0, 1), "{report:#?}");
}

#[tokio::test]
async fn sends_nothing_of_an_archive_with_a_damaged_or_unknown_member() {
    let emulator = emulator("").await;
    let rows: Vec<usize> = (1..=200).collect();
    let two = [("a.csv", csv(&rows)), ("b.csv", csv(&rows))];
    let damaged = pipeline(&emulator, json!({}), &two);
    let mut bytes = std::fs::read(damaged.path("leavers.zip")).unwrap();
    let in_second = bytes.len() * 3 / 5;
    bytes[in_second] ^= 0x55;
    std::fs::write(damaged.path("leavers.zip"), bytes).unwrap();
    let two = [("a.csv", csv(&[1])), ("b.xlsx", "PK".to_owned())];
    let unknown = pipeline(&emulator, json!({}), &two);
    for (pipeline, expected) in [
        (damaged, "`b.csv` of the zip archive is damaged"),
        (unknown, "b.xlsx"),
    ] {
        let report = pipeline.run().await;
        let error = failure(&report, 2);
        assert_eq!(error.kind, ErrorKind::Input);
        assert!(format!("{error:?}").contains(expected), "{error:?}");
        assert_eq!((report.rows.read, arrived(&emulator)), (0, vec![]));
    }
}
