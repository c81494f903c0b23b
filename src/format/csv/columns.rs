//! Builds Arrow text columns of the used values.
//!
//! Values are appended to one byte buffer per column, so a row costs no allocation. UTF-8 is validated once per column
//! of a chunk; only if that fails are its rows checked one by one.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::Cells;
use crate::component::{Origins, RejectCode};
use crate::error::Error;
use crate::format::{Collector, ReadResult, RowBuffer};

pub(super) struct Columns<'a> {
    rows: RowBuffer<'a>,
    schema: SchemaRef,
    /// Positions, in the file, of the used columns.
    used: Vec<usize>,
    texts: Vec<BinaryBuilder>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(names: Vec<String>, out: &'a Collector) -> Result<Self, Error> {
        let used: Vec<usize> = (0..names.len())
            .filter(|&index| out.uses(&names[index]))
            .collect();
        let fields = used
            .iter()
            .map(|&index| Field::new(&names[index], DataType::Utf8, true));
        let fields: Vec<Field> = fields.collect();
        Ok(Self {
            rows: RowBuffer::new(names, out)?,
            schema: Arc::new(Schema::new(fields)),
            texts: used.iter().map(|_| BinaryBuilder::new()).collect(),
            used,
        })
    }

    /// Adds a record with a value for every column of the file. Chunks and records have limits far below the 2 GiB that
    /// an Arrow column of text can hold.
    #[inline]
    pub(super) fn push(&mut self, cells: Cells<'_>, row: u64, line: u64) -> ReadResult {
        let mut bytes = 0;
        for (text, &index) in self.texts.iter_mut().zip(&self.used) {
            match cells.get(index) {
                b"" => text.append_null(),
                value => {
                    bytes += value.len();
                    text.append_value(value);
                }
            }
        }
        if self.rows.push(row, Some(line), bytes) {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends the rest, or an empty chunk if the file has no rows.
    pub(super) fn finish(mut self) -> ReadResult {
        if !self.rows.is_empty() {
            self.flush()?;
        }
        self.rows.finish(self.schema)
    }

    fn flush(&mut self) -> ReadResult {
        let mut origins = self.rows.take();
        let mut columns: Vec<BinaryArray> = self.texts.iter_mut().map(BinaryBuilder::finish).collect();
        let batch = match self.batch(&columns, origins.len()) {
            Ok(batch) => batch,
            Err(_) => {
                let valid = self.reject_invalid(&columns, &origins);
                origins = origins.filter(&valid).map_err(unexpected)?;
                for column in &mut columns {
                    let filtered = filter(column, &valid).map_err(unexpected)?;
                    *column = filtered.as_binary::<i32>().clone();
                }
                self.batch(&columns, origins.len()).map_err(unexpected)?
            }
        };
        if batch.num_rows() > 0 {
            self.rows.send(batch, origins)
        } else {
            self.rows.out.check_stopped()
        }
    }

    /// The columns as text, if all values are UTF-8.
    fn batch(&self, columns: &[BinaryArray], rows: usize) -> Result<RecordBatch, ArrowError> {
        let texts = columns.iter().map(|column| {
            let text = StringArray::try_from_binary(column.clone())?;
            Ok(Arc::new(text) as ArrayRef)
        });
        let texts = texts.collect::<Result<_, ArrowError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), texts, &options)
    }

    /// Rejects the rows that are not UTF-8; returns which are.
    fn reject_invalid(&self, columns: &[BinaryArray], origins: &Origins) -> BooleanArray {
        let out = self.rows.out;
        let valid = (0..origins.len()).map(|row| {
            let mut columns = columns.iter();
            let invalid = columns.position(|column| std::str::from_utf8(column.value(row)).is_err());
            if let Some(column) = invalid {
                let origin = origins.at(row);
                let name = self.schema.field(column).name();
                let message =
                    format!("the value of column `{name}` is not valid UTF-8; check `encoding` in `format`");
                let code = RejectCode::InvalidEncoding;
                out.reject(&origin.file, origin.row, origin.line, code, message);
            }
            Some(invalid.is_none())
        });
        valid.collect()
    }
}

fn unexpected(error: ArrowError) -> Error {
    Error::unexpected("cannot make a chunk of rows").with_source(error)
}
