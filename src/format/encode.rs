//! CSV payloads from Arrow columns: UTF-8 without BOM, RFC 4180 quoting, CRLF line breaks.
//!
//! Rows are encoded before batches are cut, so that the byte limit of a batch applies to the bytes that are uploaded. The
//! output is one buffer per chunk with the end of each row; a batch copies ranges of it behind a header row.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use csv_core::{Terminator, WriteResult, Writer, WriterBuilder};

/// Where a CSV column's values come from.
#[derive(Debug, Clone)]
enum Values {
    /// The Arrow column of this name.
    Column(String),
    /// The same text in every row.
    Constant(String),
}

/// Encodes record batches of text columns as CSV.
#[derive(Debug, Clone, Default)]
pub struct CsvEncoder {
    columns: Vec<(String, Values)>,
}

/// Rows as CSV: one buffer, and where each row ends in it.
#[derive(Debug, Clone, Default)]
pub struct EncodedRows {
    /// The rows, line ends included, without a header row.
    pub bytes: Vec<u8>,
    /// For each row, the position in `bytes` behind its line end.
    pub ends: Vec<usize>,
}

impl EncodedRows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// The batch is not what the encoder was made for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EncodeError {
    /// A column is not there.
    #[error("the rows have no column `{0}`")]
    NoColumn(String),
    /// A column is not text.
    #[error("the column `{name}` is of type {found}, and a payload takes text only")]
    NotText {
        /// The column.
        name: String,
        /// Its type.
        found: DataType,
    },
}

impl CsvEncoder {
    /// An encoder without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column headed `header`, with the values of the Arrow column `column`.
    #[must_use]
    pub fn column(mut self, header: impl Into<String>, column: impl Into<String>) -> Self {
        self.columns.push((header.into(), Values::Column(column.into())));
        self
    }

    /// Adds a column headed `header` with `value` in every row.
    #[must_use]
    pub fn constant(mut self, header: impl Into<String>, value: impl Into<String>) -> Self {
        self.columns.push((header.into(), Values::Constant(value.into())));
        self
    }

    /// The header row with its line end.
    pub fn header(&self) -> Vec<u8> {
        let mut out = Buffer::with_capacity(256);
        for (index, (header, _)) in self.columns.iter().enumerate() {
            if index > 0 {
                out.delimiter();
            }
            out.field(header.as_bytes());
        }
        out.end_row();
        out.finish()
    }

    /// Encodes the rows of `batch`; an absent value is an empty cell.
    ///
    /// # Errors
    /// A column is missing or not text.
    pub fn encode(&self, batch: &RecordBatch) -> Result<EncodedRows, EncodeError> {
        enum Cells<'a> {
            /// None of the values needs quotes.
            Plain(&'a StringArray),
            Column(&'a StringArray),
            Constant(&'a str),
        }
        let mut cells = Vec::with_capacity(self.columns.len());
        let mut size = 0;
        for (_, values) in &self.columns {
            cells.push(match values {
                Values::Constant(text) => {
                    size += (text.len() + 1) * batch.num_rows();
                    Cells::Constant(text)
                }
                Values::Column(name) => {
                    let column = batch
                        .column_by_name(name)
                        .ok_or_else(|| EncodeError::NoColumn(name.clone()))?;
                    let column = column
                        .as_string_opt::<i32>()
                        .ok_or_else(|| EncodeError::NotText {
                            name: name.clone(),
                            found: column.data_type().clone(),
                        })?;
                    let offsets = column.value_offsets();
                    let place = |offset: i32| usize::try_from(offset).unwrap_or_default();
                    let bytes = &column.value_data()[place(offsets[0])..place(offsets[offsets.len() - 1])];
                    size += bytes.len() + batch.num_rows();
                    // The writer must know of a row's only cell, since it puts an empty one in quotes.
                    if self.columns.len() > 1 && !needs_quotes(bytes) {
                        Cells::Plain(column)
                    } else {
                        Cells::Column(column)
                    }
                }
            });
        }
        let mut out = Buffer::with_capacity(size + batch.num_rows() + 64);
        let mut ends = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            for (index, cells) in cells.iter().enumerate() {
                if index > 0 {
                    out.delimiter();
                }
                match cells {
                    Cells::Constant(text) => out.field(text.as_bytes()),
                    Cells::Plain(column) if column.is_null(row) => {}
                    Cells::Plain(column) => out.plain_field(column.value(row).as_bytes()),
                    Cells::Column(column) if column.is_null(row) => out.field(b""),
                    Cells::Column(column) => out.field(column.value(row).as_bytes()),
                }
            }
            out.end_row();
            ends.push(out.len);
        }
        Ok(EncodedRows {
            bytes: out.finish(),
            ends,
        })
    }
}

/// Whether a cell with these bytes in it is put in quotes. Looks at all of them, which takes no branch for each.
fn needs_quotes(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| {
        found | matches!(byte, b'"' | b',' | b'\r' | b'\n')
    })
}

/// A growing buffer behind `csv_core`'s writer, which wants a slice to write to.
struct Buffer {
    writer: Writer,
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    fn with_capacity(capacity: usize) -> Self {
        let writer = WriterBuilder::new().terminator(Terminator::CRLF).build();
        Self {
            writer,
            bytes: vec![0; capacity],
            len: 0,
        }
    }

    fn reserve(&mut self, more: usize) {
        if self.bytes.len() - self.len < more {
            self.bytes.resize((self.bytes.len() * 2).max(self.len + more), 0);
        }
    }

    fn field(&mut self, value: &[u8]) {
        // Every byte a quote, and a quote on either side.
        self.reserve(value.len() * 2 + 2);
        let (result, read, written) = self.writer.field(value, &mut self.bytes[self.len..]);
        debug_assert!(result == WriteResult::InputEmpty && read == value.len());
        self.len += written;
    }

    /// One of several of a row, which needs no quotes.
    #[inline]
    fn plain_field(&mut self, value: &[u8]) {
        self.reserve(value.len());
        self.bytes[self.len..self.len + value.len()].copy_from_slice(value);
        self.len += value.len();
    }

    fn delimiter(&mut self) {
        self.reserve(4);
        let (_, written) = self.writer.delimiter(&mut self.bytes[self.len..]);
        self.len += written;
    }

    fn end_row(&mut self) {
        self.reserve(8);
        let (_, written) = self.writer.terminator(&mut self.bytes[self.len..]);
        self.len += written;
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.len);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn batch(columns: &[(&str, Vec<Option<String>>)]) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, values)| {
            let column: StringArray = values.iter().map(Option::as_deref).collect();
            (*name, Arc::new(column) as _, true)
        }))
        .unwrap()
    }

    #[test]
    fn header_quoting_constants_and_absent_values() {
        let rows = batch(&[
            ("a", vec![Some("x,\"y\"\r\nz".into()), None]),
            ("b", vec![Some(" p ".into()), Some(String::new())]),
        ]);
        let encoder = CsvEncoder::new()
            .column("A, first", "a")
            .constant("S", "v")
            .column("b", "b");
        assert_eq!(encoder.header(), b"\"A, first\",S,b\r\n");
        let encoded = encoder.encode(&rows).unwrap();
        assert_eq!(
            String::from_utf8(encoded.bytes).unwrap(),
            "\"x,\"\"y\"\"\r\nz\",v, p \r\n,v,\r\n"
        );
        assert_eq!(encoded.ends, [20, 25]);
    }

    #[test]
    fn a_column_that_is_missing_or_not_text_is_named() {
        let numbers =
            RecordBatch::try_from_iter([("n", Arc::new(arrow::array::Int32Array::from(vec![1])) as _)])
                .unwrap();
        let encode = |name: &str| CsvEncoder::new().column(name, name).encode(&numbers).unwrap_err();
        assert_eq!(encode("m"), EncodeError::NoColumn("m".into()));
        assert!(encode("n").to_string().contains("`n` is of type Int32"));
    }

    proptest! {
        /// Whatever is in the cells, a CSV reader gets the same cells back, and every end is the end of a record.
        #[test]
        fn what_is_written_reads_back(rows in prop::collection::vec(("\\PC{0,6}|[\",\r\n;' a]{0,6}", "[\",\r\n;' b]{0,6}"), 0..20)) {
            let columns = [
                ("a", rows.iter().map(|row| Some(row.0.clone())).collect()),
                ("b", rows.iter().map(|row| Some(row.1.clone())).collect()),
            ];
            let encoder = CsvEncoder::new().column("a", "a").column("b", "b");
            let encoded = encoder.encode(&batch(&columns)).unwrap();
            prop_assert_eq!(encoded.len(), rows.len());
            let mut start = 0;
            for (row, end) in rows.iter().zip(&encoded.ends) {
                let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(&encoded.bytes[start..*end]);
                let records: Vec<_> = reader.records().map(Result::unwrap).collect();
                prop_assert_eq!(records.len(), 1);
                prop_assert_eq!((&records[0][0], &records[0][1]), (row.0.as_str(), row.1.as_str()));
                start = *end;
            }
            prop_assert_eq!(start, encoded.bytes.len());
        }
    }
}
