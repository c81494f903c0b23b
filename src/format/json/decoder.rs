//! Makes chunks of JSON records: [`RecordSchema`] checks each record, arrow-json builds the columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::reader::{Decoder, ReaderBuilder};

use super::schema::RecordSchema;
use super::shape::SchemaOrigin;
use crate::component::{Part, RejectCode};
use crate::error::Error;
use crate::format::{CHUNK_ROWS, Collector, ReadResult, RowBuffer};

/// Collects records into chunks. A record that does not fit the schema is a reject.
pub(crate) struct RecordDecoder<'a> {
    pub(super) rows: RowBuffer<'a>,
    schema: RecordSchema,
    origin: SchemaOrigin,
    arrow_schema: SchemaRef,
    decoder: Decoder,
    row: u64,
}

impl<'a> RecordDecoder<'a> {
    /// Decodes records of `out`'s file or page with the columns of `schema`.
    pub(crate) fn new(schema: RecordSchema, origin: SchemaOrigin, out: &'a Collector) -> ReadResult<Self> {
        let (columns, arrow_schema) = match (schema.records, &out.cx.columns) {
            // Without records no key can be missing: there are just no rows today.
            (0, Some(used)) if origin != SchemaOrigin::Declared => {
                let is_added = |column: &str| out.added.iter().any(|(name, _)| name == column);
                let columns = used.iter().filter(|name| !is_added(name));
                let columns: Vec<String> = columns.cloned().collect();
                let fields = columns.iter().map(|name| Field::new(name, DataType::Utf8, true));
                let fields: Vec<Field> = fields.collect();
                (columns, Schema::new(fields))
            }
            _ => (schema.names(), schema.arrow_schema()),
        };
        let arrow_schema = Arc::new(arrow_schema);
        let decoder = ReaderBuilder::new(arrow_schema.clone())
            .with_batch_size(CHUNK_ROWS)
            .with_coerce_primitive(true)
            .build_decoder()
            .map_err(unexpected)?;
        Ok(Self {
            rows: RowBuffer::new(columns, out)?,
            schema,
            origin,
            arrow_schema,
            decoder,
            row: 0,
        })
    }

    /// Those of `names` that no record has, if there were records that fit.
    pub(crate) fn unseen<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
        if self.rows.has_rows() {
            self.schema.unseen(names)
        } else {
            Vec::new()
        }
    }

    pub(crate) fn start_page(&mut self, page: Arc<str>) -> ReadResult {
        if self.rows.part.name == page {
            return Ok(());
        }
        self.flush()?;
        self.rows.part = Arc::new(Part {
            name: page,
            columns: self.rows.part.columns.clone(),
        });
        self.row = 0;
        Ok(())
    }

    /// Decodes the next record, which starts on `line` where records have lines; either all have or none.
    pub(crate) fn push(&mut self, text: &[u8], line: Option<u64>) -> ReadResult {
        self.start_row()?;
        let out = self.rows.out;
        let checked = match std::str::from_utf8(text) {
            Ok(text) => self
                .schema
                .check(text, &|column| out.uses(column), self.origin)
                .map_err(|message| (RejectCode::InvalidRecord, message)),
            Err(_) => Err((
                RejectCode::InvalidEncoding,
                "the record is not valid UTF-8".to_owned(),
            )),
        };
        if let Err((code, message)) = checked {
            out.reject(&self.rows.part.name, self.row, line, code, message);
            return Ok(());
        }
        self.append(text, line)
    }

    /// The same for a record that is known to fit the schema.
    pub(crate) fn push_fitting(&mut self, text: &[u8], line: Option<u64>) -> ReadResult {
        self.start_row()?;
        self.append(text, line)
    }

    fn start_row(&mut self) -> ReadResult {
        self.row += 1;
        match self.row.is_multiple_of(CHUNK_ROWS as u64) {
            true => self.rows.out.check_stopped(),
            false => Ok(()),
        }
    }

    fn append(&mut self, text: &[u8], line: Option<u64>) -> ReadResult {
        // arrow-json cannot go on after an error, so it gets only records that fit.
        for bytes in [text, b"\n"] {
            self.decoder.decode(bytes).map_err(unexpected)?;
        }
        if self.rows.push(self.row, line, text.len()) {
            self.flush()?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> ReadResult {
        if self.rows.is_empty() {
            return Ok(());
        }
        let batch = self.decoder.flush().map_err(unexpected)?;
        let origins = self.rows.take();
        let Some(batch) = batch.filter(|batch| batch.num_rows() == origins.len()) else {
            let message = "the JSON decoder returned another number of rows than it was given";
            return Err(Error::unexpected(message).into());
        };
        self.rows.send(batch, origins)
    }

    /// Sends the rest, or an empty chunk if nothing was sent, which makes the columns known.
    pub(crate) fn finish(mut self) -> ReadResult {
        self.flush()?;
        self.rows.finish(self.arrow_schema)
    }
}

fn unexpected(error: ArrowError) -> Error {
    Error::unexpected("cannot make a chunk of JSON records").with_source(error)
}
