//! Batches of rows with the origin of each.

use std::sync::Arc;

use arrow::array::{
    Array, ArrowPrimitiveType, BooleanArray, PrimitiveArray, RecordBatch, UInt32Array, UInt64Array,
};
use arrow::compute::filter;
use arrow::error::ArrowError;
use serde::Serialize;

/// A unit that a source reads: a file, a page, a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name for users: a path, a URL without secrets, `standard input`.
    pub name: Arc<str>,
    /// All its columns, also unused ones, so that a misspelled name finds the nearest.
    pub columns: Vec<String>,
}

impl Part {
    /// The columns, if they may be shown; see [`shown_names`](Self::shown_names).
    pub fn shown_columns(&self) -> &[String] {
        Self::shown_names(&self.columns)
    }

    /// `names`, or none if one looks like a value: a file without a header row has personal data as names.
    pub fn shown_names(names: &[String]) -> &[String] {
        let like_a_value = |name: &String| name.contains('@') || !name.chars().any(char::is_alphabetic);
        if names.iter().any(like_a_value) {
            &[]
        } else {
            names
        }
    }
}

/// The origin of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The [`Part`]'s name.
    pub file: Arc<str>,
    /// Number of the record in its part; the first after the header is 1.
    pub row: u64,
    /// Line on which the record starts, from 1, if the format has lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// The origins of a chunk's rows, as columns.
///
/// Most often all rows are from the [part](Self::part) whose columns the chunk has. A query can combine rows of several
/// parts: its chunks have the columns of the query, and [each row](Self::at) its own part.
#[derive(Debug, Clone)]
pub struct Origins {
    part: Arc<Part>,
    rows: UInt64Array,
    /// Null for a row whose part has no lines.
    lines: Option<UInt64Array>,
    mixed: Option<Mixed>,
}

/// The parts of rows that are not all from one.
#[derive(Debug, Clone)]
pub(crate) struct Mixed {
    /// The names of the parts.
    pub(crate) names: Arc<[Arc<str>]>,
    /// For each row, which of them.
    pub(crate) index: UInt32Array,
}

impl Origins {
    /// Rows `first_row`, `first_row + 1`, … of `part`.
    pub fn consecutive(part: Arc<Part>, first_row: u64, len: usize) -> Self {
        let rows = UInt64Array::from_iter_values(first_row..first_row + len as u64);
        Self::of_columns(part, rows, None)
    }

    /// Rows with their numbers and lines.
    ///
    /// # Panics
    /// If `rows` and `lines` differ in length, which is a bug in the caller.
    pub fn with_lines(part: Arc<Part>, rows: Vec<u64>, lines: Vec<u64>) -> Self {
        assert_eq!(rows.len(), lines.len(), "a line for every row");
        Self::of_columns(part, rows.into(), Some(lines.into()))
    }

    /// Origins from their [columns](Self::columns).
    pub(crate) fn of_columns(part: Arc<Part>, rows: UInt64Array, lines: Option<UInt64Array>) -> Self {
        Self {
            part,
            rows,
            lines,
            mixed: None,
        }
    }

    /// The same rows with the part of each; `part` still describes the columns.
    ///
    /// # Panics
    /// If there is not a part for every row, which is a bug in the caller.
    pub(crate) fn mixed_with(self, mixed: Mixed) -> Self {
        assert_eq!(self.rows.len(), mixed.index.len(), "a part for every row");
        Self {
            mixed: Some(mixed),
            ..self
        }
    }

    /// The parts of the rows, if they are not all from [`part`](Self::part).
    pub(crate) fn mixed(&self) -> Option<&Mixed> {
        self.mixed.as_ref()
    }

    /// The numbers and lines of the records.
    pub(crate) fn columns(&self) -> (&UInt64Array, Option<&UInt64Array>) {
        (&self.rows, self.lines.as_ref())
    }

    /// The part that describes the columns. For the origin of a row, use [`at`](Self::at).
    pub fn part(&self) -> &Arc<Part> {
        &self.part
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Origin of the row at `index`.
    pub fn at(&self, index: usize) -> Origin {
        let file = match &self.mixed {
            None => &self.part.name,
            Some(mixed) => &mixed.names[mixed.index.value(index) as usize],
        };
        Origin {
            file: file.clone(),
            row: self.rows.value(index),
            line: self
                .lines
                .as_ref()
                .filter(|lines| lines.is_valid(index))
                .map(|lines| lines.value(index)),
        }
    }

    /// The origins of the rows for which `keep` is true.
    ///
    /// # Errors
    /// `keep` has another length.
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self, ArrowError> {
        fn column<T: ArrowPrimitiveType>(
            values: &PrimitiveArray<T>,
            keep: &BooleanArray,
        ) -> Result<PrimitiveArray<T>, ArrowError> {
            Ok(PrimitiveArray::from(filter(values, keep)?.to_data()))
        }
        let mixed = match &self.mixed {
            None => None,
            Some(mixed) => Some(Mixed {
                names: mixed.names.clone(),
                index: column(&mixed.index, keep)?,
            }),
        };
        Ok(Self {
            part: self.part.clone(),
            rows: column(&self.rows, keep)?,
            lines: self.lines.as_ref().map(|lines| column(lines, keep)).transpose()?,
            mixed,
        })
    }

    /// The origins of `len` rows from `offset` on, without copying.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self {
            part: self.part.clone(),
            rows: self.rows.slice(offset, len),
            lines: self.lines.as_ref().map(|lines| lines.slice(offset, len)),
            mixed: self.mixed.as_ref().map(|mixed| Mixed {
                names: mixed.names.clone(),
                index: mixed.index.slice(offset, len),
            }),
        }
    }
}

/// The kind of a chunk's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RowKind {
    /// Records as the source has them: any columns and types.
    #[default]
    Records,
    /// Rows checked against a schema with this identifier, such as `employee_resignation`: its columns in its order,
    /// all text, dates in ISO 8601.
    Schema(&'static str),
}

/// A column-wise batch of rows with the origin of each.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The rows.
    pub batch: RecordBatch,
    /// One origin for each row.
    pub origins: Origins,
    /// The kind of the rows.
    pub kind: RowKind,
}

impl Chunk {
    /// Records of a source.
    ///
    /// # Panics
    /// If the origins are not as many as the rows, which is a bug in the caller.
    pub fn records(batch: RecordBatch, origins: Origins) -> Self {
        assert_eq!(batch.num_rows(), origins.len(), "an origin for every row");
        Self {
            batch,
            origins,
            kind: RowKind::Records,
        }
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// The rows for which `keep` is true.
    ///
    /// # Errors
    /// `keep` has another length.
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self, ArrowError> {
        Ok(Self {
            batch: arrow::compute::filter_record_batch(&self.batch, keep)?,
            origins: self.origins.filter(keep)?,
            kind: self.kind,
        })
    }

    /// `len` rows from `offset` on, without copying.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self {
            batch: self.batch.slice(offset, len),
            origins: self.origins.slice(offset, len),
            kind: self.kind,
        }
    }
}
