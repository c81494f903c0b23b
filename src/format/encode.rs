//! CSV payloads from Arrow columns: UTF-8 without BOM, RFC 4180 quoting, CRLF line breaks.
//!
//! Rows are encoded before batches are cut, so that the byte limit of a batch applies to the bytes that are uploaded. The
//! output is one buffer per chunk with the end of each row; a batch copies ranges of it behind a header row.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;

/// The source of a CSV column's values.
#[derive(Debug, Clone)]
enum Values {
    /// The Arrow column of this name.
    Column(String),
    /// The same text in every row.
    Constant(String),
}

/// Encodes record batches of text columns as CSV.
#[derive(Debug, Clone, Default)]
pub(crate) struct CsvEncoder {
    columns: Vec<(String, Values)>,
}

/// Rows as CSV: one buffer, and the end of each row in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct EncodedRows {
    /// The rows with their line breaks, without a header row.
    pub bytes: Vec<u8>,
    /// For each row, the position in `bytes` after its line break.
    pub ends: Vec<usize>,
}

impl EncodedRows {
    /// Number of rows.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// The batch does not fit the encoder.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum EncodeError {
    /// A column is missing.
    #[error("the rows have no column `{0}`")]
    NoColumn(String),
    /// A column is not text.
    #[error("the column `{name}` is of type {found}, and a payload requires text")]
    NotText {
        /// The column.
        name: String,
        /// Its type.
        found: DataType,
    },
}

impl CsvEncoder {
    /// An encoder without columns.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a column headed `header`, with the values of the Arrow column `column`.
    #[must_use]
    pub(crate) fn column(mut self, header: impl Into<String>, column: impl Into<String>) -> Self {
        self.columns.push((header.into(), Values::Column(column.into())));
        self
    }

    /// Adds a column headed `header` with `value` in every row.
    #[must_use]
    pub(crate) fn constant(mut self, header: impl Into<String>, value: impl Into<String>) -> Self {
        self.columns.push((header.into(), Values::Constant(value.into())));
        self
    }

    /// The header row with its line break.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        for (index, (header, _)) in self.columns.iter().enumerate() {
            start_cell(&mut out, index);
            self.cell(&mut out, header);
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// Encodes the rows of `batch`; null is an empty cell.
    ///
    /// # Errors
    /// A column is missing or not text.
    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<EncodedRows, EncodeError> {
        let mut size = 2 * batch.num_rows();
        let mut cells = Vec::with_capacity(self.columns.len());
        for (_, values) in &self.columns {
            cells.push(match values {
                Values::Constant(text) => {
                    size += (text.len() + 1) * batch.num_rows();
                    Cells::Constant(text)
                }
                Values::Column(name) => {
                    let column = text_column(batch, name)?;
                    let offset = |at: i32| usize::try_from(at).unwrap_or_default();
                    let offsets = column.value_offsets();
                    let bytes = &column.value_data()[offset(offsets[0])..offset(offsets[offsets.len() - 1])];
                    size += bytes.len() + batch.num_rows();
                    // A row's only cell is quoted if it is empty.
                    if self.columns.len() > 1 && !needs_quotes(bytes) {
                        Cells::Plain(column)
                    } else {
                        Cells::Column(column)
                    }
                }
            });
        }
        let mut bytes = Vec::with_capacity(size);
        let mut ends = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            for (index, cells) in cells.iter().enumerate() {
                start_cell(&mut bytes, index);
                match cells {
                    Cells::Constant(text) => self.cell(&mut bytes, text),
                    Cells::Plain(column) if column.is_null(row) => {}
                    Cells::Plain(column) => bytes.extend_from_slice(column.value(row).as_bytes()),
                    Cells::Column(column) if column.is_null(row) => self.cell(&mut bytes, ""),
                    Cells::Column(column) => self.cell(&mut bytes, column.value(row)),
                }
            }
            bytes.extend_from_slice(b"\r\n");
            ends.push(bytes.len());
        }
        Ok(EncodedRows { bytes, ends })
    }

    /// Appends a cell, in quotes if it needs them.
    fn cell(&self, out: &mut Vec<u8>, value: &str) {
        if needs_quotes(value.as_bytes()) || value.is_empty() && self.columns.len() == 1 {
            out.push(b'"');
            out.extend_from_slice(value.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(value.as_bytes());
        }
    }
}

/// The values of a column in one batch.
enum Cells<'a> {
    /// None of the values needs quotes.
    Plain(&'a StringArray),
    Column(&'a StringArray),
    Constant(&'a str),
}

fn text_column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b StringArray, EncodeError> {
    let column = batch.column_by_name(name);
    let column = column.ok_or_else(|| EncodeError::NoColumn(name.to_owned()))?;
    column.as_string_opt::<i32>().ok_or_else(|| EncodeError::NotText {
        name: name.to_owned(),
        found: column.data_type().clone(),
    })
}

fn start_cell(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

/// Whether a cell with these bytes is quoted. Branch-free over all of them.
fn needs_quotes(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| {
        found | matches!(byte, b'"' | b',' | b'\r' | b'\n')
    })
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
    fn encodes_header_quotes_constants_and_nulls() {
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
    fn names_columns_that_are_missing_or_not_text() {
        let numbers =
            RecordBatch::try_from_iter([("n", Arc::new(arrow::array::Int32Array::from(vec![1])) as _)])
                .unwrap();
        let encode = |name: &str| CsvEncoder::new().column(name, name).encode(&numbers).unwrap_err();
        assert_eq!(encode("m"), EncodeError::NoColumn("m".into()));
        assert!(encode("n").to_string().contains("`n` is of type Int32"));
    }

    proptest! {
        /// A CSV reader returns the same cells, and every end is the end of a record.
        #[test]
        fn reads_back_what_it_writes(rows in prop::collection::vec(("\\PC{0,6}|[\",\r\n;' a]{0,6}", "[\",\r\n;' b]{0,6}"), 0..20)) {
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
