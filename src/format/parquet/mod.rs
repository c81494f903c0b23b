//! Parquet, of each row group only the used columns. On the local disk the decoder reads page by page, `remote` fetches
//! row groups from storage.

mod remote;

use std::fs::File;
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use ::parquet::errors::ParquetError;
use arrow::array::{RecordBatch, RecordBatchReader as _};
use arrow::datatypes::SchemaRef;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{CHUNK_ROWS, Collector, Format, Input, RandomAccess, ReadResult, Registration, wrap};
use crate::component::{Chunk, Origins, Part};
use crate::error::{Error, read_error};

/// Parquet has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parquet {}

inventory::submit! {
    Registration::new::<Parquet>("parquet", &["parquet"], "columns with types; compressed inside at most")
        .magic(b"PAR1")
        .ranges()
}

impl Format for Parquet {
    fn read(&self, input: &Input<'_>, out: &Collector) -> ReadResult {
        match &input.ranges {
            Some(RandomAccess::Local(path)) => {
                let file = File::open(path).map_err(|error| read_error(&out.name, error, None))?;
                let invalid = |error| not_parquet(out, error);
                let metadata = ArrowReaderMetadata::load(&file, Default::default()).map_err(invalid)?;
                let mut rows = Rows::new(out, &metadata)?;
                let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
                    .with_projection(rows.mask.clone())
                    .with_batch_size(CHUNK_ROWS)
                    .build()
                    .map_err(invalid)?;
                let schema = reader.schema();
                rows.send_all(reader)?;
                rows.finish(schema)
            }
            Some(RandomAccess::Remote(file)) => remote::read(file, out),
            None => Err(Error::input(format!("cannot read Parquet from `{}`", out.name))
                .with_hint("Parquet is read from its end: write it to a file first")
                .into()),
        }
    }
}

/// The error for a file that is not Parquet, or of the storage, which knows its kind and hints.
fn not_parquet(out: &Collector, error: ParquetError) -> Error {
    const HINT: &str = "transfer the file again: one that was read while it was being written has no end";
    from_parquet(format!("cannot read `{}` as Parquet", out.name), error, HINT)
}

fn from_parquet(message: String, error: ParquetError, hint: &'static str) -> Error {
    let error = match error {
        ParquetError::External(inner) => match inner.downcast::<Error>() {
            Ok(inner) => return wrap(message, *inner),
            Err(inner) => ParquetError::External(inner),
        },
        other => other,
    };
    Error::input(message).with_source(error).with_hint(hint)
}

/// Sends the rows of a file.
struct Rows<'f> {
    out: &'f Collector,
    part: Arc<Part>,
    mask: ProjectionMask,
    /// Number of the next row.
    row: u64,
}

impl<'f> Rows<'f> {
    fn new(out: &'f Collector, metadata: &ArrowReaderMetadata) -> Result<Self, Error> {
        let fields = metadata.schema().fields().iter();
        let columns: Vec<String> = fields.map(|field| field.name().clone()).collect();
        let used = (0..columns.len()).filter(|&index| out.uses(&columns[index]));
        let mask = ProjectionMask::roots(metadata.parquet_schema(), used);
        Ok(Self {
            out,
            part: out.part(columns)?,
            mask,
            row: 1,
        })
    }

    fn send_all(&mut self, reader: ParquetRecordBatchReader) -> ReadResult {
        for batch in reader {
            let batch = batch.map_err(|error| self.failed(error.into()))?;
            self.send(batch)?;
        }
        Ok(())
    }

    fn send(&mut self, batch: RecordBatch) -> ReadResult {
        let rows = batch.num_rows();
        let origins = Origins::consecutive(self.part.clone(), self.row, rows);
        self.out.send(Chunk::records(batch, origins))?;
        self.row += rows as u64;
        Ok(())
    }

    fn failed(&self, error: ParquetError) -> Error {
        const HINT: &str = "the file is damaged: transfer or export it again";
        let message = format!("cannot read `{}` from row {} on", self.out.name, self.row);
        from_parquet(message, error, HINT)
    }

    /// Sends an empty chunk if there were no rows, which makes the columns known.
    fn finish(mut self, schema: SchemaRef) -> ReadResult {
        if self.row == 1 {
            self.send(RecordBatch::new_empty(schema))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
