//! What the files hold, and what must come out.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, RecordBatch, StringArray};
use hrsink::pipeline::RunReport;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::support::{Pipeline, email};

/// A CSV file with the resignations of these rows.
pub(crate) fn csv(rows: impl IntoIterator<Item = usize>) -> String {
    let mut csv = "upn,resigned,last_day\n".to_owned();
    for row in rows {
        let _ = writeln!(csv, "{},2026-03-02,2026-04-01", email(row));
    }
    csv
}

/// A CSV file of about so many bytes with a column that nobody uses, and its number of rows.
pub(crate) fn wide_csv(bytes: usize) -> (String, usize) {
    let mut csv = String::with_capacity(bytes + 70_000);
    csv.push_str("upn,remarks,resigned,last_day\n");
    let mut rows = 0;
    let mut noise = 1_u64;
    while csv.len() < bytes {
        rows += 1;
        let _ = write!(csv, "{},", email(rows));
        for _ in 0..4_000 {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let _ = write!(csv, "{:x}", noise >> 32);
        }
        csv.push_str(",2026-03-02,2026-04-01\n");
    }
    (csv, rows)
}

/// A Parquet file with the three columns that are used, and `more` of which each is as large as all of them together.
pub(crate) fn parquet(rows: usize, rows_per_group: usize, more: usize) -> Vec<u8> {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    let mut noise = 7_u64;
    let mut wide = || {
        let mut next = || {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            format!("{noise:x}{:x}", noise.rotate_left(17))
        };
        Arc::new(StringArray::from_iter_values((0..rows).map(|_| next()))) as ArrayRef
    };
    for number in 0..more / 2 {
        columns.push((format!("before{number}"), wide()));
    }
    let mails = (1..=rows).map(email);
    columns.push(("upn".into(), Arc::new(StringArray::from_iter_values(mails))));
    columns.push(("resigned".into(), Arc::new(Date32Array::from(vec![20_514; rows]))));
    for number in more / 2..more {
        columns.push((format!("between{number}"), wide()));
    }
    columns.push(("last_day".into(), Arc::new(Date32Array::from(vec![20_544; rows]))));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows_per_group))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Resignations out of `source` into a CSV file.
pub(crate) fn pipeline(source: Value) -> Pipeline {
    let mut pipeline = Pipeline::new("http://127.0.0.1:1", 0);
    pipeline.file["sources"]["export"] = source;
    pipeline.file["sources"]["export"]["type"] = json!("file");
    pipeline.file["sinks"] = json!({"out": {"type": "file", "inputs": ["resignations"], "path": "out.csv"}});
    pipeline
}

/// Runs it, and asserts that so many rows came out, the right ones in order.
pub(crate) async fn delivers(pipeline: &Pipeline, rows: impl IntoIterator<Item = usize>) -> RunReport {
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    let expected: Vec<String> = rows.into_iter().map(email).collect();
    let mut reader = csv::Reader::from_path(pipeline.path("out.csv")).unwrap();
    let records = reader.records().map(|record| record.unwrap()[0].to_owned());
    let found: Vec<String> = records.collect();
    assert!(found == expected, "{} rows of {}", found.len(), expected.len());
    report
}

/// Runs it, and asserts that it fails with this exit code and all of `said`, and says none of `secrets`.
pub(crate) async fn fails(pipeline: &Pipeline, exit_code: u8, said: &[&str], secrets: &[&str]) -> RunReport {
    let report = pipeline.run().await;
    let text = serde_json::to_string_pretty(&report).unwrap();
    assert_eq!(report.exit_code, exit_code, "{text}");
    let error = report.error.as_ref().unwrap();
    let told = format!("{} {}", error.message, error.hints.join(" "));
    for said in said {
        assert!(told.contains(said), "`{said}` is not in {told}");
    }
    for secret in secrets {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(!pipeline.path("out.csv").exists());
    report
}
