//! Makes chunks of JSON records. Nested objects and lists become Arrow structs and lists, so that SQL reaches into them:
//! `address['city']`.
//!
//! ```text
//! the text of each record ─┬─▶ plain: does it fit, and into columns, in one pass ──────┬─▶ chunks
//!                          └─▶ shape: does it fit the columns? ──▶ arrow-json ─────────┘
//! ```
//!
//! The upper way is for columns that are all simple values, the lower one for records with objects and lists that are
//! used.
//!
//! The columns and their types are [learnt](Shapes::learn) from records, all of them or the first, or
//! [declared](Shapes::declared). A record that does not fit is a reject that says so, never a value lost without a word.
//!
//! Numbers without a fraction are 64-bit integers, others 64-bit floating point; a key with values of different simple
//! types, or with numbers too large for these, is text, as written; a key that is always null is text. An object or
//! list where other records have something else is a reject.

mod plain;
mod scan;
mod shape;
mod visit;

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::reader::{Decoder, ReaderBuilder};

use plain::Columns;
use shape::Misfit;
pub(crate) use shape::{ColumnType, Learning, Shapes};

use super::feed::{CHUNK_BYTES, CHUNK_ROWS, Feed, Step};
use crate::component::{Chunk, Origins, Part, RejectCode};
use crate::error::Error;

/// Rows on the way to becoming chunks.
pub(crate) struct Rows<'a> {
    feed: &'a Feed,
    shapes: Shapes,
    learning: Learning,
    part: Arc<Part>,
    schema: SchemaRef,
    making: Making,
    row: u64,
    rows: Vec<u64>,
    /// Empty where records have no lines.
    lines: Vec<u64>,
    bytes: usize,
    sent: bool,
}

/// How records become columns.
enum Making {
    Plain(Columns),
    Nested(Box<Decoder>),
}

impl<'a> Rows<'a> {
    /// Rows of `feed`'s file or page, with the columns that `shapes` has.
    pub(crate) fn new(shapes: Shapes, learning: Learning, feed: &'a Feed) -> Step<Self> {
        let (columns, schema) = match (shapes.records(), &feed.cx.columns) {
            // Nobody has left today: without a record there is no key that could be missing.
            (0, Some(wanted)) if !shapes.is_declared() => {
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
        let making = match shapes.columns(&schema) {
            Some(columns) => Making::Plain(columns),
            None => {
                let decoder = ReaderBuilder::new(schema.clone())
                    .with_batch_size(CHUNK_ROWS)
                    .with_coerce_primitive(true)
                    .build_decoder();
                Making::Nested(Box::new(decoder.map_err(unexpected)?))
            }
        };
        Ok(Self {
            feed,
            shapes,
            learning,
            part,
            schema,
            making,
            row: 0,
            rows: Vec::with_capacity(CHUNK_ROWS),
            lines: Vec::with_capacity(CHUNK_ROWS),
            bytes: 0,
            sent: false,
        })
    }

    /// Every column, those that nobody uses included, as far as names may be shown.
    pub(crate) fn shown_columns(&self) -> &[String] {
        self.part.shown_columns()
    }

    /// Those of `names` that no record had, if there were records that fit.
    pub(crate) fn unseen<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
        if !self.sent && self.rows.is_empty() {
            return Vec::new();
        }
        self.shapes.unseen(names)
    }

    /// From now on records are those of another page.
    pub(crate) fn turn_to(&mut self, page: Arc<str>) -> Step {
        if self.part.name == page {
            return Ok(());
        }
        if !self.rows.is_empty() {
            self.flush()?;
        }
        self.part = Arc::new(Part {
            name: page,
            columns: self.part.columns.clone(),
        });
        self.row = 0;
        Ok(())
    }

    /// Takes the next record, which begins on `line` where records have lines; either all of them have or none.
    pub(crate) fn push(&mut self, text: &[u8], line: Option<u64>) -> Step {
        self.row += 1;
        if self.row.is_multiple_of(CHUNK_ROWS as u64) {
            self.feed.check_stopped()?;
        }
        let reject = |code, message: String| {
            self.feed
                .reject_of(&self.part.name, self.row, line, code, message);
        };
        let Ok(text) = std::str::from_utf8(text) else {
            reject(
                RejectCode::InvalidEncoding,
                "the record is not valid UTF-8".to_owned(),
            );
            return Ok(());
        };
        let feed = self.feed;
        let wants = |column: &str| feed.wants(column);
        let taken = match &mut self.making {
            Making::Plain(columns) => self.shapes.push(text, columns, &wants, self.learning),
            Making::Nested(_) => false,
        };
        if !taken {
            if let Err(Misfit(message)) = self.shapes.check(text, &wants, self.learning) {
                reject(RejectCode::InvalidRecord, message);
                return Ok(());
            }
            self.decode(text)?;
        }
        self.rows.push(self.row);
        self.lines.extend(line);
        self.bytes += text.len();
        if self.rows.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Takes a record that fits.
    fn decode(&mut self, text: &str) -> Step {
        let Making::Nested(decoder) = &mut self.making else {
            return Err(Error::unexpected("a record that fits its columns was not taken")
                .with_hint("please report this: it should not happen")
                .into());
        };
        // The decoder cannot go on after an error, so only records that fit get there.
        for piece in [text.as_bytes(), b"\n"] {
            let taken = decoder.decode(piece).map_err(unexpected)?;
            debug_assert!(
                taken == piece.len() || piece == b"\n",
                "a chunk is sent when full"
            );
        }
        Ok(())
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) -> Step {
        if self.rows.is_empty() {
            return Ok(());
        }
        let batch = match &mut self.making {
            Making::Plain(columns) => columns.take(),
            Making::Nested(decoder) => decoder.flush(),
        }
        .map_err(unexpected)?;
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(CHUNK_ROWS));
        let lines = std::mem::take(&mut self.lines);
        self.bytes = 0;
        let Some(batch) = batch.filter(|batch| batch.num_rows() == rows.len()) else {
            return Err(
                Error::unexpected("the JSON decoder gave another number of rows than it took").into(),
            );
        };
        self.sent = true;
        let origins = if lines.is_empty() {
            Origins::of_columns(self.part.clone(), rows.into(), None)
        } else {
            Origins::with_lines(self.part.clone(), rows, lines)
        };
        self.feed.send(Chunk::records(batch, origins))
    }

    /// Sends the rest, or a chunk of no rows if nothing was sent, so that columns are known.
    pub(crate) fn finish(mut self) -> Step {
        self.flush()?;
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
