//! Builds Arrow text columns of the used values.
//!
//! Values are appended to one byte buffer per column, so a row costs no allocation. UTF-8 is validated once per column
//! of a chunk; only if that fails are its rows checked one by one.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_empty_array};
use arrow::array::{BooleanArray, NullBufferBuilder};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::Cells;
use crate::component::{Chunk, Origins, Part, RejectCode};
use crate::error::Error;
use crate::format::{CHUNK_BYTES, CHUNK_ROWS, Collector, ReadResult};

/// The rows of the next chunk.
pub(super) struct Columns {
    part: Arc<Part>,
    /// Number of columns in the file.
    in_file: usize,
    schema: SchemaRef,
    /// Positions, in the file, of the used columns.
    used: Vec<usize>,
    texts: Vec<Text>,
    rows: Vec<u64>,
    lines: Vec<u64>,
    bytes: usize,
    sent: bool,
}

struct Text {
    values: Vec<u8>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Text {
    fn new(capacity: usize) -> Self {
        let mut offsets = Vec::with_capacity(CHUNK_ROWS + 1);
        offsets.push(0);
        Self {
            values: Vec::with_capacity(capacity),
            offsets,
            nulls: NullBufferBuilder::new(CHUNK_ROWS),
        }
    }

    #[inline]
    fn push(&mut self, value: &[u8]) -> Result<(), Error> {
        self.values.extend_from_slice(value);
        // Chunks are much smaller; records have their own limit.
        let offset = i32::try_from(self.values.len())
            .map_err(|_| Error::unexpected("a chunk of rows is larger than 2 GiB"))?;
        self.offsets.push(offset);
        self.nulls.append(!value.is_empty());
        Ok(())
    }

    /// The column so far; starts an empty one.
    fn take(&mut self) -> Finished {
        let next = Self::new(self.values.len());
        let Self {
            values,
            offsets,
            mut nulls,
        } = std::mem::replace(self, next);
        Finished {
            values: values.into(),
            offsets: OffsetBuffer::new(ScalarBuffer::from(offsets)),
            nulls: nulls.finish(),
        }
    }
}

/// A column whose bytes may not be UTF-8.
struct Finished {
    values: Buffer,
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
}

impl Finished {
    fn array(&self) -> Result<StringArray, ArrowError> {
        StringArray::try_new(self.offsets.clone(), self.values.clone(), self.nulls.clone())
    }

    fn is_utf8(&self, row: usize) -> bool {
        // Offsets are lengths, so they are not negative.
        let at = |index: usize| usize::try_from(self.offsets[index]).unwrap_or_default();
        std::str::from_utf8(&self.values[at(row)..at(row + 1)]).is_ok()
    }

    /// The column with invalid UTF-8 replaced; the rows that have any are dropped.
    fn lossy(&self) -> StringArray {
        let at = |index: usize| usize::try_from(self.offsets[index]).unwrap_or_default();
        (0..self.offsets.len() - 1)
            .map(|row| {
                let valid = self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                valid.then(|| String::from_utf8_lossy(&self.values[at(row)..at(row + 1)]))
            })
            .collect()
    }
}

impl Columns {
    pub(super) fn new(names: Vec<String>, out: &Collector) -> Result<Self, Error> {
        let used: Vec<usize> = (0..names.len())
            .filter(|&index| out.uses(&names[index]))
            .collect();
        let fields = used
            .iter()
            .map(|&index| Field::new(&names[index], DataType::Utf8, true));
        let fields: Vec<Field> = fields.collect();
        Ok(Self {
            in_file: names.len(),
            part: out.part(names)?,
            schema: Arc::new(Schema::new(fields)),
            texts: used.iter().map(|_| Text::new(0)).collect(),
            used,
            rows: Vec::with_capacity(CHUNK_ROWS),
            lines: Vec::with_capacity(CHUNK_ROWS),
            bytes: 0,
            sent: false,
        })
    }

    /// Columns of the file.
    pub(super) fn in_file(&self) -> usize {
        self.in_file
    }

    /// Adds a record with a value for every column of the file.
    #[inline]
    pub(super) fn push(&mut self, cells: Cells<'_>, row: u64, line: u64, out: &Collector) -> ReadResult {
        for (text, &index) in self.texts.iter_mut().zip(&self.used) {
            let value = cells.get(index);
            self.bytes += value.len();
            text.push(value)?;
        }
        self.rows.push(row);
        self.lines.push(line);
        if self.rows.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES {
            self.flush(out)?;
        }
        Ok(())
    }

    /// Sends the rest, or an empty chunk if the file has no rows.
    pub(super) fn finish(mut self, out: &Collector) -> ReadResult {
        if !self.rows.is_empty() {
            self.flush(out)?;
        }
        if !self.sent {
            let columns = self.schema.fields().iter();
            let columns = columns.map(|field| new_empty_array(field.data_type())).collect();
            let origins = Origins::with_lines(self.part.clone(), Vec::new(), Vec::new());
            out.send(Chunk::records(self.batch(columns, 0)?, origins))?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &Collector) -> ReadResult {
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(CHUNK_ROWS));
        let lines = std::mem::replace(&mut self.lines, Vec::with_capacity(CHUNK_ROWS));
        self.bytes = 0;
        let finished: Vec<Finished> = self.texts.iter_mut().map(Text::take).collect();
        let arrays: Result<Vec<ArrayRef>, ArrowError> = finished
            .iter()
            .map(|column| column.array().map(|array| Arc::new(array) as ArrayRef))
            .collect();
        let chunk = match arrays {
            Ok(arrays) => {
                let batch = self.batch(arrays, rows.len())?;
                Chunk::records(batch, Origins::with_lines(self.part.clone(), rows, lines))
            }
            Err(_) => self.without_invalid(&finished, rows, lines, out)?,
        };
        self.sent |= chunk.num_rows() > 0;
        if chunk.num_rows() > 0 {
            out.send(chunk)?;
        } else {
            out.check_stopped()?;
        }
        Ok(())
    }

    /// Rejects the rows that are not UTF-8 and keeps the others.
    fn without_invalid(
        &self,
        finished: &[Finished],
        rows: Vec<u64>,
        lines: Vec<u64>,
        out: &Collector,
    ) -> ReadResult<Chunk> {
        let mut keep = Vec::with_capacity(rows.len());
        for (index, (&row, &line)) in rows.iter().zip(&lines).enumerate() {
            let invalid = finished.iter().position(|column| !column.is_utf8(index));
            keep.push(invalid.is_none());
            if let Some(column) = invalid {
                let column = self.schema.field(column).name();
                let message = format!(
                    "the value of column `{column}` is not valid UTF-8; check `encoding` in `format`"
                );
                out.reject(&out.name, row, Some(line), RejectCode::InvalidEncoding, message);
            }
        }
        let keep = BooleanArray::from(keep);
        let columns = finished
            .iter()
            .map(|column| Arc::new(column.lossy()) as ArrayRef)
            .collect();
        let batch = self.batch(columns, rows.len())?;
        let origins = Origins::with_lines(self.part.clone(), rows, lines);
        let filtered =
            filter_record_batch(&batch, &keep).and_then(|batch| Ok((batch, origins.filter(&keep)?)));
        let (batch, origins) = filtered.map_err(unexpected)?;
        Ok(Chunk::records(batch, origins))
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, Error> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(unexpected)
    }
}

fn unexpected(error: ArrowError) -> Error {
    Error::unexpected("cannot make a chunk of rows").with_source(error)
}
