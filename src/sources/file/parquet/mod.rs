//! Reads Parquet, of each row group only the columns that are used.
//!
//! On the local disk the decoder reads page by page. From anywhere else `remote` fetches, and this is what it does:
//!
//! ```text
//! the last 64 KiB, mostly all of the metadata ──▶ row group: used columns, in few requests ──▶ decoder
//!                                                     └─ the next one meanwhile
//!                                                 large row group: a window of each used column ──▶ decoder
//!                                                     └─ the next window meanwhile
//! ```

mod remote;
mod window;

use std::fs::File;
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::ChunkReader;
use arrow::array::{RecordBatch, RecordBatchReader as _};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::place::{Found, Place};
use crate::component::{Chunk, Origins, Part};
use crate::decode::{CHUNK_ROWS, Feed, Step};
use crate::error::Error;
use crate::error::read_error;

/// Reads one file. Called on a thread that may block, of a runtime.
///
/// # Errors
/// It is no Parquet file, or is damaged, or cannot be read by parts.
pub(super) fn read(place: &Arc<dyn Place>, file: &Found, feed: &Feed) -> Step {
    if let Some(path) = place.on_disk(file) {
        let file = File::open(path).map_err(|error| read_error(&feed.name, error, None))?;
        let metadata =
            ArrowReaderMetadata::load(&file, Default::default()).map_err(|error| no_parquet(feed, error))?;
        let mut rows = Rows::new(feed, &metadata);
        let schema = rows.decode(file, metadata, None)?;
        return rows.finish(schema);
    }
    if !place.has_ranges(file) {
        return Err(Error::input(format!("Parquet cannot be read from {}", feed.name))
            .with_hint("it is read from its end: write it to a file first")
            .into());
    }
    remote::read(place, file, feed)
}

/// What is read is no Parquet file; or the place failed, which knows better what to do.
fn no_parquet(feed: &Feed, error: ParquetError) -> Error {
    let message = format!("cannot read `{}` as Parquet", feed.name);
    let error = match error {
        ParquetError::External(inner) => match inner.downcast::<Error>() {
            Ok(inner) => return around(message, *inner),
            Err(inner) => ParquetError::External(inner),
        },
        other => other,
    };
    Error::input(message)
        .with_source(error)
        .with_hint("transfer the file again: one that was read while it was still being written has no end")
}

/// The error of a place, of what was read there.
fn around(message: String, inner: Error) -> Error {
    let hints: Vec<String> = inner.hints().map(str::to_owned).collect();
    let error = Error::new(inner.kind(), message).with_source(inner);
    hints.into_iter().fold(error, Error::with_hint)
}

/// The rows of a file on their way out.
struct Rows<'f> {
    feed: &'f Feed,
    part: Arc<Part>,
    mask: ProjectionMask,
    /// Number of the next row.
    row: u64,
}

impl<'f> Rows<'f> {
    fn new(feed: &'f Feed, metadata: &ArrowReaderMetadata) -> Self {
        let columns: Vec<String> = metadata
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let used = (0..columns.len()).filter(|&index| feed.wants(&columns[index]));
        let mask = ProjectionMask::roots(metadata.parquet_schema(), used);
        let name = feed.name.clone();
        Self {
            feed,
            part: Arc::new(Part { name, columns }),
            mask,
            row: 1,
        }
    }

    /// Decodes all row groups, or one, out of `bytes`.
    fn decode<R: ChunkReader + 'static>(
        &mut self,
        bytes: R,
        metadata: ArrowReaderMetadata,
        row_group: Option<usize>,
    ) -> Step<SchemaRef> {
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata)
            .with_projection(self.mask.clone())
            .with_batch_size(CHUNK_ROWS);
        if let Some(row_group) = row_group {
            builder = builder.with_row_groups(vec![row_group]);
        }
        let reader: ParquetRecordBatchReader =
            builder.build().map_err(|error| no_parquet(self.feed, error))?;
        let schema = reader.schema();
        for batch in reader {
            let batch = batch.map_err(|error| self.broken(error))?;
            self.send(batch)?;
        }
        Ok(schema)
    }

    fn send(&mut self, batch: RecordBatch) -> Step {
        let rows = batch.num_rows();
        self.feed.send(Chunk::records(
            batch,
            Origins::consecutive(self.part.clone(), self.row, rows),
        ))?;
        self.row += rows as u64;
        Ok(())
    }

    fn broken(&self, error: ArrowError) -> Error {
        Error::input(self.at_row())
            .with_source(error)
            .with_hint("the file is damaged: transfer or export it again")
    }

    fn at_row(&self) -> String {
        format!("cannot read `{}` on from row {}", self.feed.name, self.row)
    }

    /// Says which columns there are, if there was no row to do so.
    fn finish(mut self, schema: SchemaRef) -> Step {
        if self.row == 1 {
            self.send(RecordBatch::new_empty(schema))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ::parquet::arrow::ArrowWriter;
    use arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, DictionaryArray, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int32Type;
    use serde_json::json;

    use super::super::testing::{read, read_bytes};
    use super::*;

    fn batch(rows: usize) -> RecordBatch {
        let numbers = 0..i32::try_from(rows).unwrap();
        let decimals = Decimal128Array::from_iter_values(numbers.clone().map(i128::from));
        let grades: DictionaryArray<Int32Type> = numbers
            .clone()
            .map(|n| if n % 2 == 0 { "even" } else { "odd" })
            .collect();
        let columns: [(&str, ArrayRef); 5] = [
            (
                "mail",
                Arc::new(StringArray::from_iter_values(
                    numbers.clone().map(|n| format!("{n}@contoso.com")),
                )),
            ),
            ("end", Arc::new(Date32Array::from_iter_values(numbers.clone()))),
            (
                "at",
                Arc::new(
                    TimestampMicrosecondArray::from_iter_values(numbers.map(i64::from)).with_timezone("UTC"),
                ),
            ),
            (
                "rate",
                Arc::new(decimals.with_precision_and_scale(10, 2).unwrap()),
            ),
            ("grade", Arc::new(grades)),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn bytes(batch: &RecordBatch) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    #[tokio::test]
    async fn types_are_kept_and_unused_columns_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let written = batch(10_000);
        std::fs::write(folder.path().join("a.parquet"), bytes(&written)).unwrap();
        let found = read(folder.path(), json!({"path": "a.parquet"}), None).await;
        assert_eq!(found.rows().len(), 10_000);
        assert_eq!(found.chunks[0].batch, written.slice(0, 8192));
        assert_eq!(found.origins()[9_999], (10_000, None));
        let used = Some(&["rate", "end", "other"][..]);
        let found = read(folder.path(), json!({"path": "a.parquet"}), used).await;
        assert_eq!(found.columns().len(), 5);
        let schema = found.chunks[0].batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| &**field.name()).collect();
        assert_eq!(names, ["end", "rate"]);
        let found = read(folder.path(), json!({"path": "a.parquet"}), Some(&[])).await;
        assert_eq!(found.rows().len(), 10_000);
    }

    #[tokio::test]
    async fn no_rows_are_one_chunk_with_columns() {
        let found = read_bytes("a.parquet", bytes(&batch(0)), json!(null)).await;
        assert_eq!((found.rows().len(), found.chunks[0].batch.num_columns()), (0, 5));
    }

    #[tokio::test]
    async fn what_is_no_parquet_file_is_named() {
        let found = read_bytes("a.parquet", "id,b\n1,2\n", json!(null)).await;
        assert!(
            found.error().to_string().contains("`a.parquet`"),
            "{}",
            found.error()
        );
        let mut cut = bytes(&batch(10));
        cut.truncate(cut.len() - 20);
        let found = read_bytes("a.parquet", cut, json!(null)).await;
        assert!(found.result.is_err());
    }
}
