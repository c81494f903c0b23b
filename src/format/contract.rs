//! What every format must do. A format takes part by registering a [`Sample`] in its tests.

use serde_json::json;

use super::collector::CHUNK_BYTES;
use super::testing::{Outcome, Reading};
use super::{Access, CHUNK_ROWS, formats};
use crate::error::ErrorKind;

/// Files of a format with the columns `id` (a number) and `note` (text).
pub(super) struct Sample {
    pub(super) format: &'static str,
    /// Makes a file of these notes; the ids count from 1.
    pub(super) write: fn(&[String]) -> Vec<u8>,
    /// A file with the ids 1 and 3, and an invalid record between them, if records can be invalid by themselves.
    pub(super) invalid_second: Option<&'static [u8]>,
}

inventory::collect!(Sample);

impl Sample {
    fn reading(&self, bytes: impl AsRef<[u8]>) -> Reading<'static> {
        Reading::new("a.file", bytes, json!({"type": self.format}))
    }
}

fn notes(rows: usize) -> Vec<String> {
    (1..=rows).map(|row| format!("note {row}")).collect()
}

fn totals(outcome: &Outcome) -> (u64, u64) {
    (outcome.totals.read, outcome.totals.rejected)
}

#[expect(clippy::print_stdout, reason = "so that a failure names the format")]
fn samples() -> impl Iterator<Item = (&'static Sample, Access)> {
    formats().iter().map(|format| {
        println!("the format {}", format.name);
        let mut samples = inventory::iter::<Sample>.into_iter();
        let sample = samples.find(|sample| sample.format == format.name);
        (sample.expect("the format registers a sample"), format.access)
    })
}

#[tokio::test]
async fn reads_records_in_order_with_number_and_line() {
    for (sample, _) in samples() {
        let notes = notes(10_000);
        let found = sample.reading((sample.write)(&notes)).run().await;
        let expected = notes.iter().zip(1..);
        let expected = expected.map(|(note, id)| [id.to_string(), note.clone()]);
        assert!(found.rows().into_iter().eq(expected));
        assert_eq!(found.columns(), ["id", "note"]);
        let (numbers, lines): (Vec<u64>, Vec<_>) = found.origins().into_iter().unzip();
        assert!(numbers.into_iter().eq(1..=10_000));
        assert!(lines[0].is_none() || lines.is_sorted_by(|a, b| a < b));
        assert!(found.chunks.iter().all(|chunk| chunk.num_rows() <= CHUNK_ROWS));
        assert_eq!(totals(&found), (10_000, 0));
    }
}

#[tokio::test]
async fn builds_used_columns_only() {
    for (sample, _) in samples() {
        let bytes = (sample.write)(&notes(3));
        for (used, built) in [(&["note", "other"][..], 1), (&[], 0)] {
            let mut reading = sample.reading(&bytes);
            reading.columns = Some(used);
            let found = reading.run().await;
            assert_eq!((found.rows().len(), found.totals.read), (3, 3));
            assert_eq!(found.chunks[0].batch.num_columns(), built);
            assert_eq!(found.columns(), ["id", "note"]);
        }
    }
}

#[tokio::test]
async fn rejects_an_invalid_record_and_reads_on() {
    for (sample, _) in samples() {
        let Some(bytes) = sample.invalid_second else {
            continue;
        };
        let found = sample.reading(bytes).run().await;
        let ids: Vec<String> = found.rows().into_iter().map(|row| row[0].clone()).collect();
        assert_eq!(ids, ["1", "3"]);
        assert!(found.origins().iter().map(|(row, _)| *row).eq([1, 3]));
        let rejected = found.rejected();
        assert_eq!((rejected.len(), rejected[0].0), (1, 2));
        assert!(rejected[0].1.is_some() && !rejected[0].3.is_empty());
        assert_eq!(totals(&found), (3, 1));
    }
}

#[tokio::test]
async fn never_takes_a_truncated_file_for_a_short_one() {
    for (sample, _) in samples() {
        let bytes = (sample.write)(&notes(100));
        let found = sample.reading(&bytes[..bytes.len() - 3]).run().await;
        match &found.result {
            Ok(()) => assert_eq!(found.rejected()[0].0, 100),
            Err(error) => assert!(error.to_string().contains("`a.file`"), "{error}"),
        }
    }
}

#[tokio::test]
async fn has_columns_without_rows() {
    for (sample, _) in samples() {
        let mut reading = sample.reading((sample.write)(&[]));
        reading.columns = Some(&["id"]);
        let found = reading.run().await;
        assert_eq!((found.rows().len(), found.chunks.len()), (0, 1));
        assert_eq!(found.chunks[0].batch.num_columns(), 1);
        let nothing = sample.reading([]).run().await;
        match &nothing.result {
            Ok(()) => assert_eq!(nothing.rows().len(), 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Input),
        }
    }
}

#[tokio::test]
async fn limits_the_bytes_of_chunks() {
    let notes = vec!["y".repeat(1 << 20); 10];
    for (sample, _) in samples().filter(|(_, access)| *access == Access::Stream) {
        let found = sample.reading((sample.write)(&notes)).run().await;
        assert_eq!(found.rows().len(), 10);
        let small = |rows: usize| rows << 20 <= CHUNK_BYTES;
        assert!(found.chunks.iter().all(|chunk| small(chunk.num_rows())));
    }
}

#[tokio::test]
async fn stops_with_the_run() {
    for (sample, _) in samples() {
        let mut reading = sample.reading((sample.write)(&notes(20_000)));
        reading.cancelled = true;
        let found = reading.run().await;
        assert_eq!(found.error().kind(), ErrorKind::Interrupted);
        assert!(found.chunks.is_empty());
    }
}
