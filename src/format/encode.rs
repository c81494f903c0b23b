//! CSV payloads from Arrow columns: UTF-8 without BOM, RFC 4180 quoting, CRLF line breaks.
//!
//! Rows are encoded before batches are cut, so that the byte limit of a batch applies to the bytes that are uploaded. The
//! output is one buffer per chunk with the end of each row; a batch copies ranges of it behind a header row.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};

use crate::error::{Error, Result};

/// The source of a CSV column's values.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    Column(String),
    /// The same text in every row.
    Constant(String),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct CsvEncoder {
    /// Header and values of each column.
    pub(crate) columns: Vec<(String, Values)>,
}

/// Encoded rows: one buffer, and the end of each row in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct EncodedRows {
    /// The rows with their line breaks, without a header row.
    pub(crate) bytes: Vec<u8>,
    /// For each row, the position in `bytes` after its line break.
    pub(crate) ends: Vec<usize>,
}

impl CsvEncoder {
    /// The header row with its line break.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.row(&mut out, self.columns.iter().map(|(header, _)| header.as_str()));
        out
    }

    /// Encodes the rows of `batch`; null is an empty cell.
    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<EncodedRows> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for (_, values) in &self.columns {
            columns.push(match values {
                Values::Constant(text) => (None, text.as_str()),
                Values::Column(name) => (Some(text_column(batch, name)?), ""),
            });
        }
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let cells = columns
                .iter()
                .map(|(column, constant)| cell(*column, row).unwrap_or(constant));
            self.row(&mut bytes, cells);
            ends.push(bytes.len());
        }
        Ok(EncodedRows { bytes, ends })
    }

    /// Appends a row. A row's only cell is quoted if it is empty, or the row would be a blank line.
    fn row<'c>(&self, out: &mut Vec<u8>, cells: impl Iterator<Item = &'c str>) {
        for (index, value) in cells.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if needs_quotes(value.as_bytes()) || value.is_empty() && self.columns.len() == 1 {
                out.push(b'"');
                for (index, part) in value.split('"').enumerate() {
                    out.extend_from_slice(if index > 0 { b"\"\"" } else { b"" });
                    out.extend_from_slice(part.as_bytes());
                }
                out.push(b'"');
            } else {
                out.extend_from_slice(value.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn cell(column: Option<&StringArray>, row: usize) -> Option<&str> {
    let column = column.filter(|column| column.is_valid(row))?;
    Some(column.value(row))
}

fn text_column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b StringArray> {
    let column = batch.column_by_name(name);
    let column = column.ok_or_else(|| Error::unexpected(format!("the rows have no column `{name}`")))?;
    column.as_string_opt::<i32>().ok_or_else(|| {
        let found = column.data_type();
        Error::unexpected(format!(
            "the column `{name}` is of type {found}, and a payload requires text"
        ))
    })
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

    use arrow::array::Int32Array;

    use super::*;

    fn batch(columns: &[(&str, Vec<Option<String>>)]) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, values)| {
            let column: StringArray = values.iter().map(Option::as_deref).collect();
            (*name, Arc::new(column) as _, true)
        }))
        .unwrap()
    }

    fn column(header: &str, name: &str) -> (String, Values) {
        (header.to_owned(), Values::Column(name.to_owned()))
    }

    #[test]
    fn encodes_header_quotes_constants_and_nulls() {
        let rows = batch(&[
            ("a", vec![Some("x,\"y\"\r\nz".into()), None]),
            ("b", vec![Some(" p ".into()), Some(String::new())]),
        ]);
        let constant = ("S".to_owned(), Values::Constant("v".to_owned()));
        let columns = vec![column("A, first", "a"), constant, column("b", "b")];
        let encoder = CsvEncoder { columns };
        assert_eq!(encoder.header(), b"\"A, first\",S,b\r\n");
        let encoded = encoder.encode(&rows).unwrap();
        assert_eq!(encoded.bytes, b"\"x,\"\"y\"\"\r\nz\",v, p \r\n,v,\r\n");
        assert_eq!(encoded.ends, [20, 25]);

        let numbers = RecordBatch::try_from_iter([("n", Arc::new(Int32Array::from(vec![1])) as _)]).unwrap();
        for (name, expected) in [("m", "no column `m`"), ("n", "`n` is of type Int32")] {
            let columns = vec![column("h", name)];
            let error = CsvEncoder { columns }.encode(&numbers).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
