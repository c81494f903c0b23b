//! Reads Parquet, of each row group only the columns that are used, page by page.

use std::fs::File;
use std::sync::Arc;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::component::{Chunk, Origins, Part};
use crate::decode::{CHUNK_ROWS, Feed, Step};
use crate::error::Error;

/// Reads one file.
///
/// # Errors
/// It is no Parquet file, or is damaged.
pub(super) fn read(file: File, feed: &Feed) -> Step {
    let name = &feed.name;
    let failed = |error: ::parquet::errors::ParquetError| {
        Error::input(format!("cannot read `{name}` as Parquet"))
            .with_source(error)
            .with_hint(
                "transfer the file again: one that was read while it was still being written has no end",
            )
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
    let columns: Vec<String> = builder
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let used = (0..columns.len()).filter(|&index| feed.wants(&columns[index]));
    let mask = ProjectionMask::roots(builder.parquet_schema(), used);
    let reader = builder
        .with_projection(mask)
        .with_batch_size(CHUNK_ROWS)
        .build()
        .map_err(failed)?;
    let part = Arc::new(Part {
        name: name.clone(),
        columns,
    });
    let schema = arrow::array::RecordBatchReader::schema(&reader);
    let mut row = 1;
    for batch in reader {
        let batch = batch.map_err(|error| {
            Error::input(format!("cannot read `{name}` on from row {row}"))
                .with_source(error)
                .with_hint("the file is damaged: transfer or export it again")
        })?;
        let rows = batch.num_rows();
        feed.send(Chunk::records(
            batch,
            Origins::consecutive(part.clone(), row, rows),
        ))?;
        row += rows as u64;
    }
    if row == 1 {
        let batch = arrow::array::RecordBatch::new_empty(schema);
        feed.send(Chunk::records(batch, Origins::consecutive(part, 1, 0)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, DictionaryArray, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int32Type;
    use parquet::arrow::ArrowWriter;
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
