//! What every format must do. A format takes part by registering a [`Sample`] in its tests.

use serde_json::json;

use super::testing::{Outcome, Reading};
use super::{Access, CHUNK_BYTES, CHUNK_ROWS, FormatConfig, formats};
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

fn samples() -> impl Iterator<Item = (&'static Sample, Access)> {
    formats().iter().map(|format| {
        let mut samples = inventory::iter::<Sample>.into_iter();
        let sample = samples.find(|sample| sample.format == format.name);
        (
            sample.unwrap_or_else(|| panic!("no sample of {}", format.name)),
            format.access,
        )
    })
}

impl Sample {
    fn reading(&self, bytes: impl AsRef<[u8]>) -> Reading<'static> {
        Reading::new("a.file", bytes, json!({"type": self.format}))
    }

    async fn read(&self, notes: &[String]) -> Outcome {
        self.reading((self.write)(notes)).run().await
    }
}

fn notes(rows: usize) -> Vec<String> {
    (1..=rows).map(|row| format!("note {row}")).collect()
}

#[test]
fn is_found_by_name_and_extension() {
    for format in formats() {
        assert_eq!(FormatConfig::named(format.name).unwrap().name(), format.name);
        for extension in format.extensions {
            assert_eq!(FormatConfig::of_extension(extension).unwrap().name(), format.name);
            assert!(super::extensions().contains(extension));
        }
        let unknown = json!({"type": format.name, "no_such_key": 1});
        let error = serde_json::from_value::<FormatConfig>(unknown).unwrap_err();
        assert!(error.to_string().contains("no_such_key"), "{error}");
    }
    assert!(FormatConfig::named("no_such_format").is_none());
    assert!(FormatConfig::of_extension("").is_none());
}

#[tokio::test]
async fn reads_records_in_order_with_number_and_line() {
    for (sample, _) in samples() {
        let notes = notes(10_000);
        let found = sample.read(&notes).await;
        let expected: Vec<_> = notes
            .iter()
            .zip(1..)
            .map(|(note, id)| vec![id.to_string(), note.clone()])
            .collect();
        assert!(found.rows() == expected, "{}", sample.format);
        assert_eq!(found.columns(), ["id", "note"], "{}", sample.format);
        let (numbers, lines): (Vec<u64>, Vec<_>) = found.origins().into_iter().unzip();
        assert!(numbers.into_iter().eq(1..=10_000), "{}", sample.format);
        let has_lines = lines[0].is_some();
        assert!(
            lines.windows(2).all(|pair| pair[0] < pair[1] || !has_lines),
            "{}",
            sample.format
        );
        assert!(
            found.chunks.iter().all(|chunk| chunk.num_rows() <= CHUNK_ROWS),
            "{}",
            sample.format
        );
        assert_eq!(
            (found.totals.read, found.totals.rejected),
            (10_000, 0),
            "{}",
            sample.format
        );
    }
}

#[tokio::test]
async fn builds_used_columns_only() {
    for (sample, _) in samples() {
        let bytes = (sample.write)(&notes(3));
        for (used, built) in [(&["note", "other"][..], 1), (&[], 0)] {
            let found = sample.reading(&bytes).columns(used).run().await;
            assert_eq!(found.rows().len(), 3, "{}", sample.format);
            assert_eq!(found.chunks[0].batch.num_columns(), built, "{}", sample.format);
            assert_eq!(found.columns(), ["id", "note"], "{}", sample.format);
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
        let rows = found.rows();
        let ids: Vec<&str> = rows.iter().map(|row| &*row[0]).collect();
        assert_eq!(ids, ["1", "3"], "{}", sample.format);
        let numbers: Vec<u64> = found.origins().into_iter().map(|(row, _)| row).collect();
        assert_eq!(numbers, [1, 3], "{}", sample.format);
        let rejected = found.rejected();
        assert_eq!((rejected.len(), rejected[0].0), (1, 2), "{}", sample.format);
        assert!(
            rejected[0].1.is_some() && !rejected[0].3.is_empty(),
            "{}",
            sample.format
        );
        assert_eq!(
            (found.totals.read, found.totals.rejected),
            (3, 1),
            "{}",
            sample.format
        );
    }
}

#[tokio::test]
async fn never_takes_a_truncated_file_for_a_short_one() {
    for (sample, _) in samples() {
        let bytes = (sample.write)(&notes(100));
        let found = sample.reading(&bytes[..bytes.len() - 3]).run().await;
        match &found.result {
            Ok(()) => assert_eq!(found.rejected()[0].0, 100, "{}", sample.format),
            Err(error) => assert!(
                error.to_string().contains("`a.file`"),
                "{}: {error}",
                sample.format
            ),
        }
    }
}

#[tokio::test]
async fn has_columns_without_rows() {
    for (sample, _) in samples() {
        let found = sample.reading((sample.write)(&[])).columns(&["id"]).run().await;
        assert_eq!(found.rows().len(), 0, "{}", sample.format);
        assert_eq!(
            (found.chunks.len(), found.chunks[0].batch.num_columns()),
            (1, 1),
            "{}",
            sample.format
        );
        let nothing = sample.reading([]).run().await;
        match &nothing.result {
            Ok(()) => assert_eq!(nothing.rows().len(), 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Input, "{}", sample.format),
        }
    }
}

#[tokio::test]
async fn limits_the_bytes_of_chunks() {
    let notes = vec!["y".repeat(1 << 20); 10];
    for (sample, _) in samples().filter(|(_, access)| *access == Access::Stream) {
        let found = sample.read(&notes).await;
        assert_eq!(found.rows().len(), 10, "{}", sample.format);
        let largest = found
            .chunks
            .iter()
            .map(|chunk| chunk.num_rows() << 20)
            .max()
            .unwrap();
        assert!(largest <= CHUNK_BYTES, "{}: {largest}", sample.format);
    }
}

#[tokio::test]
async fn stops_with_the_run() {
    for (sample, _) in samples() {
        let found = sample
            .reading((sample.write)(&notes(20_000)))
            .cancelled()
            .run()
            .await;
        assert_eq!(found.error().kind(), ErrorKind::Interrupted, "{}", sample.format);
        assert!(found.chunks.is_empty(), "{}", sample.format);
    }
}
