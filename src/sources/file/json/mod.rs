//! Reads NDJSON and JSON arrays of objects. Nested objects and lists become Arrow structs and lists, so that SQL
//! reaches into them: `address['city']`.
//!
//! ```text
//! bytes ──▶ records: the text of each, its line ──▶ shape: does it fit the columns? ──▶ arrow-json ──▶ chunks
//! ```
//!
//! The columns and their types are not written in such a file, so they are learnt from all of its records first: a
//! file is read twice. Only so is a key that first occurs in the last record a column, and a number that turns out to
//! be a text in the last record text in all. What cannot be read twice (standard input) is learnt from its first
//! 8 MiB; a later record that does not fit is a reject that says so, never a value lost without a word.
//!
//! Numbers without a fraction are 64-bit integers, others 64-bit floating point; a key with values of different simple
//! types, or with numbers too large for these, is text, as written in the file; a key that is always null is text. An
//! object or list where other records have something else is a reject.

mod records;
mod shape;
mod visit;

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::reader::{Decoder, ReaderBuilder};

pub(super) use records::Layout;
use records::{RecordError, Records};
use shape::{Learning, Misfit, Shapes};

use super::feed::{CHUNK_BYTES, CHUNK_ROWS, Feed, READ_BYTES, Step};
use super::text::TextReader;
use crate::component::{Chunk, Origins, Part, RejectCode};
use crate::error::{Error, Result};

/// What is kept of an input that cannot be read twice, to learn its columns.
const SAMPLE_BYTES: usize = 8 << 20;

/// Reads what `open` opens, twice if that gives the same bytes again.
///
/// # Errors
/// The input cannot be read on, or is not of this layout.
pub(super) fn read(
    open: &dyn Fn() -> Result<TextReader>,
    twice: bool,
    layout: Layout,
    max_record: usize,
    feed: &Feed,
) -> Step {
    read_with(open, twice, layout, max_record, feed, (READ_BYTES, SAMPLE_BYTES))
}

fn read_with(
    open: &dyn Fn() -> Result<TextReader>,
    twice: bool,
    layout: Layout,
    max_record: usize,
    feed: &Feed,
    (buffer, sample): (usize, usize),
) -> Step {
    let records = || Ok::<_, Error>(Records::new(open()?, layout, max_record, buffer));
    let wants = |column: &str| feed.wants(column);
    let mut shapes = Shapes::default();
    let mut learn = |text: &[u8]| {
        if let Ok(text) = std::str::from_utf8(text) {
            // A record that does not fit is put aside when it is read for its values.
            let _ = shapes.learn(text, &wants);
        }
    };
    let mut kept = Kept::default();
    let mut records = if twice {
        let mut first = records()?;
        let mut read = 0_u64;
        while first
            .next()
            .map_err(|error| record_error(error, layout, feed, first.line()))?
        {
            learn(first.text());
            read += 1;
            if read.is_multiple_of(CHUNK_ROWS as u64) {
                feed.check_stopped()?;
            }
        }
        records()?
    } else {
        let mut only = records()?;
        while kept.text.len() < sample
            && only
                .next()
                .map_err(|error| record_error(error, layout, feed, only.line()))?
        {
            learn(only.text());
            kept.push(only.text(), only.record_line());
        }
        only
    };
    let learning = if twice { Learning::Whole } else { Learning::Sample };
    let mut rows = Rows::new(shapes, learning, feed)?;
    for (text, line) in kept.iter() {
        rows.push(text, line)?;
    }
    while records
        .next()
        .map_err(|error| record_error(error, layout, feed, records.line()))?
    {
        rows.push(records.text(), records.record_line())?;
    }
    if records.is_one_object() {
        tracing::warn!(
            file = %feed.name, keys = ?rows.part.shown_columns(),
            "the file is one object and so one record; if its records are in a list inside, save that list alone"
        );
    }
    rows.finish()
}

/// Records of the sample.
#[derive(Default)]
struct Kept {
    text: Vec<u8>,
    ends: Vec<(usize, u64)>,
}

impl Kept {
    fn push(&mut self, text: &[u8], line: u64) {
        self.text.extend_from_slice(text);
        self.ends.push((self.text.len(), line));
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        starts
            .zip(&self.ends)
            .map(|(start, &(end, line))| (&self.text[start..end], line))
    }
}

fn record_error(error: RecordError, layout: Layout, feed: &Feed, line: u64) -> Error {
    let name = &feed.name;
    match error {
        RecordError::Io(error) => feed.read_error(error, line),
        RecordError::TooLong { line, most } => Error::input(format!(
            "the record that begins on line {line} of `{name}` is longer than {most} bytes"
        ))
        .with_hint("if it really is that long, set a larger `max_record_bytes` in `format`"),
        RecordError::Structure { line, what } => {
            let error = Error::input(format!("`{name}` is not valid JSON at line {line}: {what}"));
            match layout {
                Layout::Array => error.with_hint(
                    "the format `json` is one array of objects; for an object on each line set `format: ndjson`",
                ),
                Layout::Lines => error,
            }
        }
    }
}

/// Rows on the way to becoming chunks.
struct Rows<'a> {
    feed: &'a Feed,
    shapes: Shapes,
    learning: Learning,
    part: Arc<Part>,
    schema: SchemaRef,
    decoder: Decoder,
    row: u64,
    rows: Vec<u64>,
    lines: Vec<u64>,
    bytes: usize,
    sent: bool,
}

impl<'a> Rows<'a> {
    fn new(shapes: Shapes, learning: Learning, feed: &'a Feed) -> Step<Self> {
        let (columns, schema) = match (shapes.records(), &feed.cx.columns) {
            // Nobody has left today: without a record there is no key that could be missing.
            (0, Some(wanted)) => {
                let columns: Vec<String> = wanted.iter().cloned().collect();
                let fields: Vec<Field> = columns
                    .iter()
                    .map(|name| Field::new(name, DataType::Utf8, true))
                    .collect();
                (columns, Schema::new(fields))
            }
            _ => (shapes.names(), shapes.schema()),
        };
        let part = Arc::new(Part {
            name: feed.name.clone(),
            columns,
        });
        let schema = Arc::new(schema);
        let decoder = ReaderBuilder::new(schema.clone())
            .with_batch_size(CHUNK_ROWS)
            .with_coerce_primitive(true)
            .build_decoder()
            .map_err(unexpected)?;
        Ok(Self {
            feed,
            shapes,
            learning,
            part,
            schema,
            decoder,
            row: 0,
            rows: Vec::with_capacity(CHUNK_ROWS),
            lines: Vec::with_capacity(CHUNK_ROWS),
            bytes: 0,
            sent: false,
        })
    }

    fn push(&mut self, text: &[u8], line: u64) -> Step {
        self.row += 1;
        if self.row.is_multiple_of(CHUNK_ROWS as u64) {
            self.feed.check_stopped()?;
        }
        let reject = |code, message: String| self.feed.reject(self.row, Some(line), code, message);
        let Ok(text) = std::str::from_utf8(text) else {
            reject(
                RejectCode::InvalidEncoding,
                "the record is not valid UTF-8".to_owned(),
            );
            return Ok(());
        };
        let feed = self.feed;
        let fits = self
            .shapes
            .check(text, &|column: &str| feed.wants(column), self.learning);
        if let Err(Misfit(message)) = fits {
            reject(RejectCode::InvalidRecord, message);
            return Ok(());
        }
        // The decoder cannot go on after an error, so only records that fit get there.
        for piece in [text.as_bytes(), b"\n"] {
            let taken = self.decoder.decode(piece).map_err(unexpected)?;
            debug_assert!(
                taken == piece.len() || piece == b"\n",
                "a chunk is sent when full"
            );
        }
        self.rows.push(self.row);
        self.lines.push(line);
        self.bytes += text.len();
        if self.rows.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Step {
        let batch = self.decoder.flush().map_err(unexpected)?;
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(CHUNK_ROWS));
        let lines = std::mem::replace(&mut self.lines, Vec::with_capacity(CHUNK_ROWS));
        self.bytes = 0;
        let Some(batch) = batch.filter(|batch| batch.num_rows() == rows.len()) else {
            return Err(
                Error::unexpected("the JSON decoder gave another number of rows than it took").into(),
            );
        };
        self.sent = true;
        self.feed.send(Chunk::records(
            batch,
            Origins::with_lines(self.part.clone(), rows, lines),
        ))
    }

    fn finish(mut self) -> Step {
        if !self.rows.is_empty() {
            self.flush()?;
        }
        if !self.sent {
            let columns = self.schema.fields().iter();
            let columns = columns.map(|field| new_empty_array(field.data_type())).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(0));
            let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
                .map_err(unexpected)?;
            let origins = Origins::with_lines(self.part, Vec::new(), Vec::new());
            self.feed.send(Chunk::records(batch, origins))?;
        }
        Ok(())
    }
}

fn unexpected(error: arrow::error::ArrowError) -> Error {
    Error::unexpected("cannot make a chunk of rows out of JSON records").with_source(error)
}

#[cfg(test)]
mod tests;
