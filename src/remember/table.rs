//! The rows as they are kept: the columns that were asked for, as text, and when each row was last good.
//!
//! Everything is text, in the first run and in every later one, whatever types the source has and however they change:
//! so a query over `NAME.previous` that works once works always.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use jiff::Timestamp;

use crate::component::{Chunk, Part};
use crate::config::remember::{LAST_SEEN, Remembered};
use crate::config::suggestion;
use crate::error::{Error, Result};
use crate::ledger::{RowHash, RowHasher};

const UTC: &str = "UTC";

/// What is kept of a source's rows. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// The kept columns and `last_seen`.
    schema: SchemaRef,
    /// Places of the key's columns.
    key: Vec<usize>,
    /// Places of the other columns that a good row has.
    required: Vec<usize>,
    /// Rows that were last seen then, or before, are forgotten.
    forgotten: i64,
    now: i64,
    source: Arc<str>,
}

/// Rows of one chunk, sorted out.
pub(super) struct Sorted {
    /// The good ones, with `last_seen`.
    pub(super) good: RecordBatch,
    /// How many had no key.
    pub(super) without_key: usize,
    /// How many had a key and lacked a required column.
    pub(super) not_good: usize,
}

impl Table {
    pub(super) fn new(remembered: &Remembered, now: Timestamp) -> Self {
        let settings = &remembered.settings;
        let place = |column: &String| settings.columns.iter().position(|kept| kept == column);
        let fields = settings
            .columns
            .iter()
            .map(|name| Field::new(name, DataType::Utf8, true));
        let fields = fields.chain([Field::new(LAST_SEEN, timestamp(), false)]);
        let required = settings.required();
        Self {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            key: settings.key.iter().filter_map(place).collect(),
            required: required
                .iter()
                .filter(|column| !settings.key.contains(column))
                .filter_map(place)
                .collect(),
            forgotten: before(now, settings.ttl.0),
            now: now.as_microsecond(),
            source: remembered.source.as_str().into(),
        }
    }

    /// The columns of the rows that were remembered.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The names of those columns.
    pub(super) fn names(&self) -> Vec<String> {
        self.schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect()
    }

    /// Sorts the rows of the source out.
    ///
    /// # Errors
    /// A kept column is not there, or has no text form.
    pub(super) fn sort_out(&self, chunk: &Chunk) -> Result<Sorted> {
        let rows = chunk.num_rows();
        let mut columns: Vec<StringArray> = Vec::with_capacity(self.kept());
        for field in &self.schema.fields()[..self.kept()] {
            let Some(column) = chunk.batch.column_by_name(field.name()) else {
                return Err(self.missing(field.name(), chunk.origins.part()));
            };
            columns.push(text(column).ok_or_else(|| self.no_text(field.name(), column.data_type()))?);
        }
        let with_key = all_there(&columns, &self.key, rows);
        let complete = all_there(&columns, &self.required, rows);
        let good = arrow::compute::and(&with_key, &complete).map_err(unexpected)?;
        let without_key = rows - with_key.true_count();
        let mut columns: Vec<ArrayRef> = columns.into_iter().map(|column| Arc::new(column) as _).collect();
        columns.push(Arc::new(
            TimestampMicrosecondArray::from_value(self.now, rows).with_timezone(UTC),
        ));
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(unexpected)?;
        Ok(Sorted {
            not_good: rows - without_key - good.true_count(),
            without_key,
            good: filter_record_batch(&batch, &good).map_err(unexpected)?,
        })
    }

    /// A keyed hash of each row's key.
    pub(super) fn hash(&self, rows: &RecordBatch, hasher: &RowHasher) -> Result<Vec<RowHash>> {
        let mut hashes = Vec::new();
        hasher.hash(&rows.project(&self.key).map_err(unexpected)?, &mut hashes)?;
        Ok(hashes)
    }

    /// Brings rows of a file, which may have been written with other settings, to the columns of these, and leaves out
    /// those that are to be forgotten; gives them with the number of the latter.
    pub(super) fn still_kept(&self, rows: &RecordBatch) -> Result<(RecordBatch, usize)> {
        let found = rows
            .column_by_name(LAST_SEEN)
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
            .ok_or_else(|| Error::unexpected("remembered rows do not say when they were seen"))?;
        let columns = self.schema.fields()[..self.kept()]
            .iter()
            .map(|field| match rows.column_by_name(field.name()) {
                Some(column) => text(column).ok_or_else(|| self.no_text(field.name(), column.data_type())),
                None => Ok(StringArray::new_null(rows.num_rows())),
            })
            .collect::<Result<Vec<_>>>()?;
        let with_key = all_there(&columns, &self.key, rows.num_rows());
        let fresh: BooleanArray = found
            .values()
            .iter()
            .map(|&seen| Some(seen > self.forgotten))
            .collect();
        let kept = arrow::compute::and(&with_key, &fresh).map_err(unexpected)?;
        let mut columns: Vec<ArrayRef> = columns.into_iter().map(|column| Arc::new(column) as _).collect();
        columns.push(Arc::new(found.clone().with_timezone(UTC)));
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(unexpected)?;
        let kept = filter_record_batch(&batch, &kept).map_err(unexpected)?;
        let gone = rows.num_rows() - kept.num_rows();
        Ok((kept, gone))
    }

    fn kept(&self) -> usize {
        self.schema.fields().len() - 1
    }

    fn missing(&self, column: &str, part: &Part) -> Error {
        let error = Error::input(format!(
            "{} has no column `{column}`, which `remember.columns` of `{}` keeps",
            part.name, self.source
        ));
        match suggestion(column, part.shown_columns().iter().map(String::as_str)) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn no_text(&self, column: &str, kind: &DataType) -> Error {
        Error::input(format!(
            "the column `{column}` of `{}`, of type {kind}, cannot be remembered: it, or a value in it, has no text form",
            self.source
        ))
        .with_hint("take it out of `remember.columns`")
    }
}

/// Some rows as bytes of their own, columns included.
pub(super) fn encode(rows: &RecordBatch, into: &mut Vec<u8>) -> Result<()> {
    into.clear();
    let write = || -> Result<(), ArrowError> {
        let mut writer = StreamWriter::try_new(into, rows.schema_ref())?;
        writer.write(rows)?;
        writer.finish()
    };
    write().map_err(unexpected)
}

/// Rows out of their bytes, which must be known to be what was written.
pub(super) fn decode(bytes: &[u8]) -> Result<RecordBatch> {
    let mut stream = StreamReader::try_new(bytes, None).map_err(unexpected)?;
    match stream.next() {
        Some(rows) => rows.map_err(unexpected),
        None => Err(Error::unexpected("a frame of remembered rows has no rows")),
    }
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// The moment `ttl` before `now`; the beginning of time, if that is before it.
fn before(now: Timestamp, ttl: Duration) -> i64 {
    let ttl = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
    now.as_microsecond().saturating_sub(ttl)
}

/// Whether each row has a value in all the columns at `places`: neither absent nor blank.
fn all_there(columns: &[StringArray], places: &[usize], rows: usize) -> BooleanArray {
    let there = |row: usize| {
        places.iter().all(|&place| {
            let column = &columns[place];
            column.is_valid(row) && !column.value(row).trim().is_empty()
        })
    };
    (0..rows).map(|row| Some(there(row))).collect()
}

fn text(column: &ArrayRef) -> Option<StringArray> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    // The cause is left out: it may hold a value.
    cast_with_options(column, &DataType::Utf8, &strict)
        .ok()?
        .as_string_opt::<i32>()
        .cloned()
}

/// Without the cause's text, which may hold a value.
fn unexpected(_: ArrowError) -> Error {
    Error::unexpected("rows that are to be remembered could not be worked on")
        .with_hint("please report this: it should not happen")
}
