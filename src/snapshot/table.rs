//! The rows of a snapshot: the kept columns, all as text, and when each row was last valid.
//!
//! Text in every run, whatever types the source has and however they change, so that a query over `NAME.previous` does
//! not depend on the run.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use jiff::Timestamp;

use super::config::{LAST_SEEN, SourceSnapshot};
use crate::component::{Chunk, Part};
use crate::error::{Error, Result};
use crate::ledger::{RowHash, RowHasher};
use crate::suggest::suggestion;

const UTC: &str = "UTC";

/// Which columns and rows of a source are kept. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) schema: SchemaRef,
    key: Vec<usize>,
    /// Indices of the other columns in which a valid row has a value.
    required: Vec<usize>,
    /// Rows last seen then or earlier have expired.
    expired: i64,
    now: i64,
    pub(super) source: Arc<str>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowCounts {
    pub(super) kept: u64,
    pub(super) carried: u64,
    pub(super) expired: u64,
    pub(super) without_key: u64,
    /// Rows with a key but without a value in a required column.
    pub(super) invalid: u64,
    pub(super) duplicates: u64,
}

impl Table {
    pub(super) fn new(snapshot: &SourceSnapshot, now: Timestamp) -> Self {
        let settings = &snapshot.settings;
        let index = |column: &String| settings.columns.iter().position(|kept| kept == column);
        let fields = settings.columns.iter();
        let fields = fields.map(|name| Field::new(name, DataType::Utf8, true));
        let last_seen = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
        let fields = fields.chain([Field::new(LAST_SEEN, last_seen, false)]);
        let now = now.as_microsecond();
        let ttl = i64::try_from(settings.ttl.0.as_micros()).unwrap_or(i64::MAX);
        Self {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            key: settings.key.iter().filter_map(index).collect(),
            required: settings.required().iter().filter_map(index).collect(),
            expired: now.saturating_sub(ttl),
            now,
            source: snapshot.source.as_str().into(),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        let fields = self.schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    /// Selects the valid rows of a chunk of the source.
    pub(super) fn valid(&self, chunk: &Chunk, counts: &mut RowCounts) -> Result<RecordBatch> {
        let rows = chunk.num_rows();
        let columns = self.columns(&chunk.batch, |name| Err(self.missing(name, chunk.origins.part())))?;
        let with_key = have_values(&columns, &self.key, rows);
        let complete = have_values(&columns, &self.required, rows);
        let valid = arrow::compute::and(&with_key, &complete).map_err(unexpected)?;
        let without_key = rows - with_key.true_count();
        let last_seen = TimestampMicrosecondArray::from_value(self.now, rows);
        counts.without_key += without_key as u64;
        counts.invalid += (rows - without_key - valid.true_count()) as u64;
        self.batch(columns, last_seen, &valid)
    }

    pub(super) fn hash(&self, rows: &RecordBatch, hasher: &RowHasher) -> Result<Vec<RowHash>> {
        let mut hashes = Vec::new();
        hasher.hash(&rows.project(&self.key).map_err(unexpected)?, &mut hashes)?;
        Ok(hashes)
    }

    /// Stored rows, which may have been written with other settings, with the current columns; without expired rows and
    /// rows that have no key now, which count as expired too.
    pub(super) fn unexpired(&self, rows: &RecordBatch, counts: &mut RowCounts) -> Result<RecordBatch> {
        let last_seen = rows
            .column_by_name(LAST_SEEN)
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
            .ok_or_else(|| Error::unexpected(format!("a snapshot lacks the column `{LAST_SEEN}`")))?;
        let columns = self.columns(rows, |_| Ok(StringArray::new_null(rows.num_rows())))?;
        let with_key = have_values(&columns, &self.key, rows.num_rows());
        let seen = last_seen.values().iter();
        let fresh: BooleanArray = seen.map(|&seen| Some(seen > self.expired)).collect();
        let kept = arrow::compute::and(&with_key, &fresh).map_err(unexpected)?;
        counts.expired += (rows.num_rows() - kept.true_count()) as u64;
        self.batch(columns, last_seen.clone(), &kept)
    }

    fn columns(
        &self,
        rows: &RecordBatch,
        missing: impl Fn(&str) -> Result<StringArray>,
    ) -> Result<Vec<StringArray>> {
        let kept = &self.schema.fields()[..self.schema.fields().len() - 1];
        kept.iter()
            .map(|field| match rows.column_by_name(field.name()) {
                Some(column) => text(column).ok_or_else(|| self.no_text(field.name(), column.data_type())),
                None => missing(field.name()),
            })
            .collect()
    }

    fn batch(
        &self,
        columns: Vec<StringArray>,
        last_seen: TimestampMicrosecondArray,
        selected: &BooleanArray,
    ) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = columns.into_iter().map(|column| Arc::new(column) as _).collect();
        columns.push(Arc::new(last_seen.with_timezone(UTC)));
        RecordBatch::try_new(self.schema.clone(), columns)
            .and_then(|batch| filter_record_batch(&batch, selected))
            .map_err(unexpected)
    }

    fn missing(&self, column: &str, part: &Part) -> Error {
        let error = Error::input(format!(
            "{} has no column `{column}`, which `snapshot.columns` of `{}` keeps",
            part.name, self.source
        ));
        let near = suggestion(column, part.shown_columns().iter().map(String::as_str));
        near.into_iter().fold(error, Error::with_hint)
    }

    fn no_text(&self, column: &str, kind: &DataType) -> Error {
        Error::input(format!(
            "the column `{column}` of `{}`, of type {kind}, cannot be kept: it or one of its values has no text form",
            self.source
        ))
        .with_hint("remove it from `snapshot.columns`")
    }
}

pub(super) fn encode(rows: &RecordBatch, into: &mut Vec<u8>) -> Result<()> {
    into.clear();
    let write = || -> Result<(), ArrowError> {
        let mut writer = StreamWriter::try_new(into, rows.schema_ref())?;
        writer.write(rows)?;
        writer.finish()
    };
    write().map_err(unexpected)
}

/// Decodes rows; the bytes must have been authenticated.
pub(super) fn decode(bytes: &[u8]) -> Result<RecordBatch> {
    let mut stream = StreamReader::try_new(bytes, None).map_err(unexpected)?;
    match stream.next() {
        Some(rows) => rows.map_err(unexpected),
        None => Err(Error::unexpected("a frame of a snapshot has no rows")),
    }
}

/// For each row, whether all the columns at `indices` have a value: neither missing nor blank.
fn have_values(columns: &[StringArray], indices: &[usize], rows: usize) -> BooleanArray {
    let has_values = |row: usize| {
        indices.iter().all(|&index| {
            let column = &columns[index];
            column.is_valid(row) && !column.value(row).trim().is_empty()
        })
    };
    (0..rows).map(|row| Some(has_values(row))).collect()
}

fn text(column: &ArrayRef) -> Option<StringArray> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    // The error is dropped: it may contain a value.
    cast_with_options(column, &DataType::Utf8, &strict)
        .ok()?
        .as_string_opt::<i32>()
        .cloned()
}

/// Without the cause, whose text may contain a value.
fn unexpected(_: ArrowError) -> Error {
    Error::unexpected("cannot process the rows of a snapshot")
        .with_hint("please report this: it should not happen")
}
