//! Archives: their members arrive as files of their own, or nothing of them does.

use std::io::{Cursor, Write as _};

use hrsink::error::ErrorKind;
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::common::{Pipeline, arrived, email, emails, emulator, failure};

/// A pipeline that reads `leavers.zip`, with these settings more.
fn pipeline(url: &str, more: Value, members: &[(&str, String)]) -> Pipeline {
    let mut pipeline = crate::pipeline(url, json!({"type": "file", "path": "leavers.zip"}));
    let source = pipeline.file["sources"]["export"].as_object_mut().unwrap();
    source.extend(more.as_object().unwrap().clone());
    std::fs::write(pipeline.path("leavers.zip"), archive(members)).unwrap();
    pipeline
}

fn archive(members: &[(&str, String)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn csv(rows: &[usize]) -> String {
    let rows = rows
        .iter()
        .map(|&row| format!("{},2026-03-02T09:00:00Z,2026-04-01T00:00:00Z\n", email(row)));
    "upn,resigned,last_day\n".to_owned() + &rows.collect::<String>()
}

fn ndjson(row: usize) -> String {
    json!({"upn": email(row), "resigned": "2026-03-02T09:00:00Z", "last_day": "2026-04-01T00:00:00Z"})
        .to_string()
}

#[tokio::test]
async fn members_are_read_each_in_its_format() {
    let emulator = emulator("").await;
    let members = [
        ("b.ndjson", ndjson(3)),
        ("a.csv", csv(&[1, 2])),
        ("__MACOSX/._a.csv", "not a file".to_owned()),
    ];
    let report = pipeline(&emulator.url(), json!({}), &members).run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert_eq!(arrived(&emulator), emails(3));

    let members = [("a.csv", csv(&[4])), ("README", "not a table".to_owned())];
    let only_csv = json!({"zip": {"members": "*.csv"}});
    let report = pipeline(&emulator.url(), only_csv, &members).run().await;
    assert_eq!((report.exit_code, report.rows.read), (0, 1), "{report:#?}");
}

#[tokio::test]
async fn nothing_is_sent_of_an_archive_with_a_damaged_member() {
    let emulator = emulator("").await;
    let rows: Vec<usize> = (1..=200).collect();
    let members = [("a.csv", csv(&rows)), ("b.csv", csv(&rows))];
    let pipeline = pipeline(&emulator.url(), json!({}), &members);
    let mut bytes = std::fs::read(pipeline.path("leavers.zip")).unwrap();
    let second = bytes.len() * 3 / 5;
    bytes[second] ^= 0x55;
    std::fs::write(pipeline.path("leavers.zip"), bytes).unwrap();
    let report = pipeline.run().await;
    let error = failure(&report, 2);
    assert_eq!(error.kind, ErrorKind::Input);
    assert!(
        format!("{error:?}").contains("`b.csv` of the zip archive is damaged"),
        "{error:?}"
    );
    assert_eq!((report.rows.read, arrived(&emulator)), (0, vec![]));
}

#[tokio::test]
async fn nothing_is_sent_of_an_archive_with_a_member_of_no_known_format() {
    let emulator = emulator("").await;
    let members = [("a.csv", csv(&[1])), ("b.xlsx", "PK".to_owned())];
    let report = pipeline(&emulator.url(), json!({}), &members).run().await;
    assert!(format!("{:?}", failure(&report, 2)).contains("b.xlsx"));
    assert_eq!((report.rows.read, arrived(&emulator)), (0, vec![]));
}
