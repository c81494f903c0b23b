//! Makes chunks of JSON records: [`RecordSchema`] checks each record, arrow-json builds the columns.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::reader::{Decoder, ReaderBuilder};

use super::schema::{RecordSchema, SchemaMismatch};
use super::shape::SchemaOrigin;
use crate::component::{Chunk, Origins, Part, RejectCode};
use crate::error::Error;
use crate::format::{CHUNK_BYTES, CHUNK_ROWS, Collector, ReadResult};

/// Collects records into chunks. A record that does not fit the schema is a reject.
pub(crate) struct RecordDecoder<'a> {
    out: &'a Collector,
    schema: RecordSchema,
    origin: SchemaOrigin,
    part: Arc<Part>,
    arrow_schema: SchemaRef,
    decoder: Decoder,
    row: u64,
    rows: Vec<u64>,
    /// Empty where records have no lines.
    lines: Vec<u64>,
    bytes: usize,
    sent: bool,
}

impl<'a> RecordDecoder<'a> {
    /// Decodes records of `out`'s file or page with the columns of `schema`.
    pub(crate) fn new(schema: RecordSchema, origin: SchemaOrigin, out: &'a Collector) -> ReadResult<Self> {
        let (columns, arrow_schema) = match (schema.records(), &out.cx.columns) {
            // Without records no key can be missing: there are just no rows today.
            (0, Some(used)) if !schema.is_declared() => {
                let added: Vec<&String> = out.added.names().collect();
                let columns: Vec<String> = used
                    .iter()
                    .filter(|name| !added.contains(name))
                    .cloned()
                    .collect();
                let fields = columns.iter().map(|name| Field::new(name, DataType::Utf8, true));
                let fields: Vec<Field> = fields.collect();
                (columns, Schema::new(fields))
            }
            _ => (schema.names(), schema.arrow_schema()),
        };
        let part = out.part(columns)?;
        let arrow_schema = Arc::new(arrow_schema);
        let decoder = ReaderBuilder::new(arrow_schema.clone())
            .with_batch_size(CHUNK_ROWS)
            .with_coerce_primitive(true)
            .build_decoder()
            .map_err(unexpected)?;
        Ok(Self {
            out,
            schema,
            origin,
            part,
            arrow_schema,
            decoder,
            row: 0,
            rows: Vec::with_capacity(CHUNK_ROWS),
            lines: Vec::with_capacity(CHUNK_ROWS),
            bytes: 0,
            sent: false,
        })
    }

    /// Every column, unused ones included, as far as names may be shown.
    pub(crate) fn shown_columns(&self) -> &[String] {
        self.part.shown_columns()
    }

    /// Those of `names` that no record has, if there were records that fit.
    pub(crate) fn unseen<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
        if !self.sent && self.rows.is_empty() {
            return Vec::new();
        }
        self.schema.unseen(names)
    }

    /// Starts the records of another page.
    pub(crate) fn start_page(&mut self, page: Arc<str>) -> ReadResult {
        if self.part.name == page {
            return Ok(());
        }
        self.flush()?;
        self.part = Arc::new(Part {
            name: page,
            columns: self.part.columns.clone(),
        });
        self.row = 0;
        Ok(())
    }

    /// Decodes the next record, which starts on `line` where records have lines; either all have or none.
    pub(crate) fn push(&mut self, text: &[u8], line: Option<u64>) -> ReadResult {
        self.row += 1;
        if self.row.is_multiple_of(CHUNK_ROWS as u64) {
            self.out.check_stopped()?;
        }
        let reject = |code, message: String| {
            self.out.reject(&self.part.name, self.row, line, code, message);
        };
        let Ok(text) = std::str::from_utf8(text) else {
            let message = "the record is not valid UTF-8".to_owned();
            reject(RejectCode::InvalidEncoding, message);
            return Ok(());
        };
        let out = self.out;
        let used = |column: &str| out.uses(column);
        if let Err(SchemaMismatch(message)) = self.schema.check(text, &used, self.origin) {
            reject(RejectCode::InvalidRecord, message);
            return Ok(());
        }
        // arrow-json cannot go on after an error, so it gets only records that fit.
        for bytes in [text.as_bytes(), b"\n"] {
            self.decoder.decode(bytes).map_err(unexpected)?;
        }
        self.rows.push(self.row);
        self.lines.extend(line);
        self.bytes += text.len();
        if self.rows.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends the rows collected so far.
    pub(crate) fn flush(&mut self) -> ReadResult {
        if self.rows.is_empty() {
            return Ok(());
        }
        let batch = self.decoder.flush().map_err(unexpected)?;
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(CHUNK_ROWS));
        let lines = std::mem::take(&mut self.lines);
        self.bytes = 0;
        let Some(batch) = batch.filter(|batch| batch.num_rows() == rows.len()) else {
            let message = "the JSON decoder returned another number of rows than it was given";
            return Err(Error::unexpected(message).into());
        };
        self.sent = true;
        let origins = if lines.is_empty() {
            Origins::of_columns(self.part.clone(), rows.into(), None)
        } else {
            Origins::with_lines(self.part.clone(), rows, lines)
        };
        self.out.send(Chunk::records(batch, origins))
    }

    /// Sends the rest, or an empty chunk if nothing was sent, which makes the columns known.
    pub(crate) fn finish(mut self) -> ReadResult {
        self.flush()?;
        if !self.sent {
            let columns = self.arrow_schema.fields().iter();
            let columns = columns.map(|field| new_empty_array(field.data_type())).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(0));
            let batch = RecordBatch::try_new_with_options(self.arrow_schema.clone(), columns, &options)
                .map_err(unexpected)?;
            let origins = Origins::with_lines(self.part, Vec::new(), Vec::new());
            self.out.send(Chunk::records(batch, origins))?;
        }
        Ok(())
    }
}

fn unexpected(error: ArrowError) -> Error {
    Error::unexpected("cannot make a chunk of JSON records").with_source(error)
}
