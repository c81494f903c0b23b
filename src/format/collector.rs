//! Collects the rows and rejects of one file or page, and adds the columns that describe it.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::component::{
    Chunk, Fault, Origin, Origins, Output, Part, Reject, RejectCode, SourceContext, Stopped,
};
use crate::error::Error;

/// Rows in a chunk: DataFusion's own batch size.
pub(crate) const CHUNK_ROWS: usize = 8192;

/// Bytes of values after which a chunk is sent, so that long remarks do not make large chunks.
pub(crate) const CHUNK_BYTES: usize = 4 << 20;

/// Bytes read from a file at a time.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// Why reading ends before the input does.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The run needs no more rows; not an error.
    Stopped,
    /// The input cannot be read further.
    Failed(Error),
}

pub(crate) type ReadResult<T = ()> = Result<T, ReadError>;

impl From<Stopped> for ReadError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Takes the rows and rejects of one file or page. Used on a thread that may block.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) name: Arc<str>,
    pub(crate) cx: SourceContext,
    pub(crate) output: Output,
    /// Columns that describe the file, as far as they are used.
    pub(crate) added: Vec<(String, Added)>,
}

impl Collector {
    /// Whether a component downstream uses the column.
    pub(crate) fn uses(&self, column: &str) -> bool {
        self.cx.columns.as_ref().is_none_or(|used| used.contains(column))
    }

    /// The part of the file with these columns and the added ones.
    pub(crate) fn part(&self, mut columns: Vec<String>) -> Result<Arc<Part>, Error> {
        for (name, _) in &self.added {
            if columns.contains(name) {
                let file = &self.name;
                let message =
                    format!("`{file}` already has a column `{name}`, which `add_columns` would add");
                return Err(Error::input(message).with_hint("give the added column another name"));
            }
            columns.push(name.clone());
        }
        let name = self.name.clone();
        Ok(Arc::new(Part { name, columns }))
    }

    /// Sends rows, waiting while the receivers are busy.
    pub(crate) fn send(&self, chunk: Chunk) -> ReadResult {
        let chunk = match self.added.as_slice() {
            [] => chunk,
            added => self.with_added(chunk, added)?,
        };
        Ok(self.output.blocking_send(chunk)?)
    }

    fn with_added(&self, chunk: Chunk, added: &[(String, Added)]) -> Result<Chunk, Error> {
        let rows = chunk.num_rows();
        let mut fields: Vec<Arc<Field>> = chunk.batch.schema().fields().iter().cloned().collect();
        let mut columns = chunk.batch.columns().to_vec();
        for (name, added) in added.iter().filter(|(name, _)| self.uses(name)) {
            let column: ArrayRef = match added {
                Added::Text(text) => {
                    let texts = std::iter::repeat_n(text.as_deref(), rows);
                    Arc::new(texts.collect::<StringArray>())
                }
                Added::Row => {
                    let number = |row| i64::try_from(chunk.origins.at(row).row).unwrap_or(i64::MAX);
                    Arc::new(Int64Array::from_iter_values((0..rows).map(number)))
                }
            };
            fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|error| Error::unexpected("cannot add columns to a chunk").with_source(error))?;
        Ok(Chunk { batch, ..chunk })
    }

    /// Stops a reader that sends nothing for a while, if the run has stopped.
    pub(crate) fn check_stopped(&self) -> ReadResult {
        if self.output.is_stopped() {
            Err(ReadError::Stopped)
        } else {
            Ok(())
        }
    }

    /// Rejects a record of the file or page `name`.
    pub(crate) fn reject(
        &self,
        name: &Arc<str>,
        row: u64,
        line: Option<u64>,
        code: RejectCode,
        message: impl Into<Cow<'static, str>>,
    ) {
        let origin = Origin {
            file: name.clone(),
            row,
            line,
        };
        let fault = Fault {
            field: None,
            code,
            message: message.into(),
            value: None,
        };
        self.cx.reject(Reject {
            origin,
            component: self.cx.name.clone(),
            faults: vec![fault],
        });
    }
}

/// The numbers and lines of the rows of the next chunk, while a format builds its columns.
pub(super) struct RowBuffer<'a> {
    pub(super) out: &'a Collector,
    pub(super) part: Arc<Part>,
    numbers: Vec<u64>,
    /// Empty where records have no lines.
    lines: Vec<u64>,
    bytes: usize,
    sent: bool,
}

impl<'a> RowBuffer<'a> {
    /// For a part of `out`'s file with these columns and the added ones.
    pub(super) fn new(columns: Vec<String>, out: &'a Collector) -> Result<Self, Error> {
        Ok(Self {
            part: out.part(columns)?,
            out,
            numbers: Vec::with_capacity(CHUNK_ROWS),
            lines: Vec::new(),
            bytes: 0,
            sent: false,
        })
    }

    /// Adds a row with so many bytes of values; returns whether the chunk is full. Either all rows have lines or none.
    #[inline]
    pub(super) fn push(&mut self, number: u64, line: Option<u64>, bytes: usize) -> bool {
        self.numbers.push(number);
        self.lines.extend(line);
        self.bytes += bytes;
        self.numbers.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    pub(super) fn has_rows(&self) -> bool {
        self.sent || !self.numbers.is_empty()
    }

    /// The origins of the rows; starts the next chunk.
    pub(super) fn take(&mut self) -> Origins {
        let numbers = std::mem::replace(&mut self.numbers, Vec::with_capacity(CHUNK_ROWS));
        let lines = std::mem::take(&mut self.lines);
        self.bytes = 0;
        let lines = (!lines.is_empty()).then(|| lines.into());
        Origins::of_columns(self.part.clone(), numbers.into(), lines)
    }

    pub(super) fn send(&mut self, batch: RecordBatch, origins: Origins) -> ReadResult {
        self.sent = true;
        self.out.send(Chunk::records(batch, origins))
    }

    /// Sends an empty chunk if nothing was sent, which makes the columns known.
    pub(super) fn finish(mut self, schema: SchemaRef) -> ReadResult {
        if self.sent {
            return Ok(());
        }
        let origins = self.take();
        self.send(RecordBatch::new_empty(schema), origins)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Added {
    /// The same text in every row, or no value.
    Text(Option<Arc<str>>),
    /// The number of the record.
    Row,
}
