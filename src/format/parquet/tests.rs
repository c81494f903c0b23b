use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use serde_json::json;

use super::*;
use crate::error::ErrorKind;
use crate::format::contract::Sample;
use crate::format::testing::{MemoryFile, Outcome, Reading};

fn write(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

inventory::submit! {
    Sample {
        format: "parquet",
        write: |notes| {
            let ids = Int64Array::from_iter_values((1..).take(notes.len()));
            let notes = StringArray::from_iter_values(notes);
            let columns = [("id", Arc::new(ids) as ArrayRef), ("note", Arc::new(notes) as ArrayRef)];
            write(&RecordBatch::try_from_iter(columns).unwrap(), WriterProperties::default())
        },
        invalid_second: None,
    }
}

/// Columns `a` to `d` in so many row groups.
fn grouped(rows: usize, groups: usize) -> (RecordBatch, Vec<u8>) {
    let text = |salt: usize| -> ArrayRef {
        let texts = (0..rows).map(|row| format!("{salt}-{:x}", (row + salt).wrapping_mul(2_654_435_761)));
        Arc::new(StringArray::from_iter_values(texts))
    };
    let numbers = Int64Array::from_iter_values(0..rows as i64);
    let batch = RecordBatch::try_from_iter([
        ("a", text(1)),
        ("b", text(2)),
        ("c", Arc::new(numbers) as ArrayRef),
        ("d", text(3)),
    ])
    .unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows.div_ceil(groups).max(1)))
        .set_data_page_row_count_limit(1_000)
        .build();
    let bytes = write(&batch, properties);
    (batch, bytes)
}

fn reading<'a>(ranges: &RandomAccess, columns: Option<&'a [&'a str]>) -> Reading<'a> {
    Reading {
        columns,
        ranges: Some(ranges.clone()),
        ..Reading::new("a.parquet", "", json!(null))
    }
}

fn remote(bytes: Vec<u8>) -> (Arc<MemoryFile>, RandomAccess) {
    let file = Arc::new(MemoryFile::new(bytes));
    (file.clone(), RandomAccess::Remote(file))
}

fn local(bytes: &[u8]) -> (tempfile::NamedTempFile, RandomAccess) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let ranges = RandomAccess::Local(file.path().to_owned());
    (file, ranges)
}

fn rows(outcome: &Outcome) -> RecordBatch {
    outcome.result.as_ref().unwrap();
    let batches: Vec<_> = outcome.chunks.iter().map(|chunk| chunk.batch.clone()).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn bytes(requests: &[Vec<Range<u64>>]) -> u64 {
    let ranges = requests.iter().flatten();
    ranges.map(|range| range.end - range.start).sum()
}

#[tokio::test]
async fn fetches_each_row_group_in_one_request() {
    let (all, written) = grouped(60_000, 3);
    let size = written.len() as u64;
    let (file, ranges) = remote(written.clone());
    let used = reading(&ranges, Some(&["b", "c", "x"])).run().await;
    assert!(rows(&used) == all.project(&[1, 2]).unwrap());
    assert!(bytes(&file.requests.lock().unwrap()) < size * 6 / 10);
    let (file, ranges) = remote(written);
    assert!(rows(&reading(&ranges, None).run().await) == all);
    let requests = file.requests.lock().unwrap();
    assert_eq!(requests.len(), 4);
    assert!(bytes(&requests) <= size + (64 << 10));
}

#[tokio::test]
async fn reads_metadata_larger_than_the_tail() {
    let (all, bytes) = grouped(20_000, 500);
    assert!(rows(&reading(&remote(bytes).1, None).run().await) == all);
}

#[tokio::test]
async fn keeps_errors_of_the_storage() {
    let (_, bytes) = grouped(60_000, 3);
    for fails_after in [0, 2] {
        let mut file = MemoryFile::new(bytes.clone());
        file.fails_after = fails_after;
        let outcome = reading(&RandomAccess::Remote(Arc::new(file)), None).run().await;
        let error = outcome.error();
        let text = error.chain();
        assert_eq!(error.kind(), ErrorKind::Transient, "{text}");
        assert!(text.contains("a.parquet") && text.contains("the connection is lost"));
        assert_eq!(error.hints().collect::<Vec<_>>(), ["run again"]);
    }
}

#[tokio::test]
async fn reports_damaged_files() {
    let (_, bytes) = grouped(60_000, 3);
    let mut holed = bytes.clone();
    holed[1_000..9_000].fill(0xff);
    let mut short = bytes.clone();
    short.drain(10_000..300_000);
    let truncated = bytes[..bytes.len() - 20].to_vec();
    for damaged in [truncated, holed, short, b"id,b\n1,2\n".to_vec()] {
        let (_file, local) = local(&damaged);
        for ranges in [local, remote(damaged).1] {
            let outcome = reading(&ranges, None).run().await;
            let error = outcome.error();
            assert_eq!(error.kind(), ErrorKind::Input);
            assert!(error.chain().contains("a.parquet"), "{}", error.chain());
        }
    }
}
