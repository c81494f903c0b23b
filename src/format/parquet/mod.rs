//! Parquet, of each row group only the used columns. On the local disk the decoder reads page by page, `remote` fetches
//! row groups from storage.

mod remote;

use std::fs::File;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use ::parquet::errors::ParquetError;
use arrow::array::RecordBatchReader as _;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Access, CHUNK_ROWS, Collector, Format, Input, RandomAccess, ReadResult, Registration, RowBuffer,
};
use crate::component::Origins;
use crate::error::{Error, read_error};

/// Parquet has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parquet {}

inventory::submit! {
    Registration {
        magic: b"PAR1",
        access: Access::Ranges,
        ..Registration::new::<Parquet>("parquet", &["parquet"], "columns with types; compressed inside at most")
    }
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
                rows.rows.finish(schema)
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
            Ok(inner) => return inner.wrapped(message),
            Err(inner) => ParquetError::External(inner),
        },
        other => other,
    };
    Error::input(message).with_source(error).with_hint(hint)
}

struct Rows<'f> {
    rows: RowBuffer<'f>,
    mask: ProjectionMask,
    /// Number of the next row.
    number: u64,
}

impl<'f> Rows<'f> {
    fn new(out: &'f Collector, metadata: &ArrowReaderMetadata) -> Result<Self, Error> {
        let fields = metadata.schema().fields().iter();
        let columns: Vec<String> = fields.map(|field| field.name().clone()).collect();
        let used = (0..columns.len()).filter(|&index| out.uses(&columns[index]));
        let mask = ProjectionMask::roots(metadata.parquet_schema(), used);
        Ok(Self {
            rows: RowBuffer::new(columns, out)?,
            mask,
            number: 1,
        })
    }

    fn send_all(&mut self, reader: ParquetRecordBatchReader) -> ReadResult {
        for batch in reader {
            let batch = batch.map_err(|error| self.failed(error.into()))?;
            let origins = Origins::consecutive(self.rows.part.clone(), self.number, batch.num_rows());
            self.number += batch.num_rows() as u64;
            self.rows.send(batch, origins)?;
        }
        Ok(())
    }

    fn failed(&self, error: ParquetError) -> Error {
        const HINT: &str = "the file is damaged: transfer or export it again";
        let (name, number) = (&self.rows.out.name, self.number);
        from_parquet(format!("cannot read `{name}` from row {number} on"), error, HINT)
    }
}

#[cfg(test)]
mod tests;
