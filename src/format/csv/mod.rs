//! CSV as HR systems and spreadsheets write it.
//!
//! ```text
//! bytes ──▶ records: cells, line of each ──▶ header: names ──▶ columns: chunks of text columns
//! ```
//!
//! Every record that is not blank is numbered, from 1 for the first after the header, rejects included. A record with
//! too few or too many values is a reject, and so is one with invalid UTF-8 in a used column.

mod columns;
mod dialect;
mod header;
mod records;

use columns::Columns;
use dialect::{CsvOptions, Dialect};
use header::Header;
use records::{RecordError, Records};
use std::collections::VecDeque;

use super::text::TextReader;
use super::{Collector, Format, Input, READ_BYTES, ReadResult, Registration};
use crate::component::Problems;
use crate::component::RejectCode;
use crate::error::{Error, read_error};

/// Records after which a stretch without a chunk checks whether the run has stopped.
const STOP_CHECK: u64 = 8192;

inventory::submit! {
    Registration::new::<CsvOptions>("csv", &["csv", "tsv"], "rows of text with a separator; every column is text")
}

impl Format for CsvOptions {
    fn validate(&self, problems: &mut Problems<'_>) {
        self.dialect("", problems);
    }

    fn read(&self, input: &Input<'_>, out: &Collector) -> ReadResult {
        let mut found = Vec::new();
        let dialect = self.dialect(input.extension, &mut Problems::new(&mut found).at("format"));
        let dialect = dialect.ok_or_else(|| {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            Error::config(found.join("; "))
        })?;
        let text = TextReader::new(out.name.clone(), (input.open)()?, dialect.encoding)?;
        read_with(text, &dialect, out, READ_BYTES)
    }
}

fn read_with(text: TextReader, dialect: &Dialect, out: &Collector, buffer: usize) -> ReadResult {
    let mut records = Records::new(text, dialect, buffer);
    let header = Header::read(&mut records, dialect, out)?;
    let mut rows = Rows {
        columns: Columns::new(header.names, out)?,
        out,
        row: 0,
    };
    let mut tail = Tail::new(dialect.skip_last);
    if header.first_is_record {
        tail.push(&records, |cells, line| rows.push(cells, line))?;
    }
    loop {
        match records.next() {
            Ok(true) => tail.push(&records, |cells, line| rows.push(cells, line))?,
            Ok(false) => break,
            // It starts and ends on the last line, so it is the last record and one of those to skip.
            Err(RecordError::Unclosed { lines: 0, .. }) if dialect.skip_last > 0 => {
                tail.make_room(|cells, line| rows.push(cells, line))?;
                break;
            }
            // Only that one record is lost.
            Err(RecordError::Unclosed { line, lines: 0 }) => {
                rows.row += 1;
                let message = "the quote opened in this record is never closed";
                out.reject(
                    &out.name,
                    rows.row,
                    Some(line),
                    RejectCode::InvalidRecord,
                    message,
                );
                break;
            }
            Err(error) => return Err(record_error(error, dialect, out, records.line()).into()),
        }
    }
    rows.columns.finish(out)
}

fn record_error(error: RecordError, dialect: &Dialect, out: &Collector, line: u64) -> Error {
    const QUOTE: &str = "look for a quote at the start of a value that is not closed, on that line or above it; if quotes have no \
         meaning in this file, set `quote: null` in `format`";
    let name = &out.name;
    match error {
        RecordError::Io(error) => read_error(name, error, Some(line)),
        RecordError::TooLong { line } => super::too_long(name, line, dialect.max_record).with_hint(QUOTE),
        RecordError::Unclosed { line, lines } => Error::input(format!(
            "a quote opened in the record that starts on line {line} of `{name}` is never closed: everything \
             from there to the end of the file would be lost ({lines} more lines)"
        ))
        .with_hint(QUOTE),
    }
}

/// The values of a record: one after another, and the end of each.
#[derive(Debug, Clone, Copy)]
struct Cells<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Cells<'a> {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, index: usize) -> &'a [u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// Numbers records and rejects those with a wrong number of values.
struct Rows<'a> {
    columns: Columns,
    out: &'a Collector,
    row: u64,
}

impl Rows<'_> {
    fn push(&mut self, cells: Cells<'_>, line: u64) -> ReadResult {
        self.row += 1;
        let expected = self.columns.in_file();
        if cells.len() == expected {
            return self.columns.push(cells, self.row, line, self.out);
        }
        let found = cells.len();
        let plural = if found == 1 { "" } else { "s" };
        let message = format!("the record has {found} value{plural} where the file has {expected} columns");
        let (name, line) = (&self.out.name, Some(line));
        self.out
            .reject(name, self.row, line, RejectCode::RaggedRow, message);
        if self.row.is_multiple_of(STOP_CHECK) {
            self.out.check_stopped()?;
        }
        Ok(())
    }
}

/// Holds the last records back, so that a trailer at the end of the file is never sent.
struct Tail {
    skip: usize,
    held: VecDeque<Held>,
}

#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    line: u64,
}

impl Tail {
    fn new(skip: usize) -> Self {
        let held = VecDeque::with_capacity(skip);
        Self { skip, held }
    }

    /// Sends the oldest record if as many as are skipped follow it; returns its buffers for reuse.
    fn make_room(&mut self, mut send: impl FnMut(Cells<'_>, u64) -> ReadResult) -> ReadResult<Held> {
        if self.held.len() < self.skip {
            return Ok(Held::default());
        }
        let Some(oldest) = self.held.pop_front() else {
            return Ok(Held::default());
        };
        let cells = Cells {
            bytes: &oldest.bytes,
            ends: &oldest.ends,
        };
        send(cells, oldest.line)?;
        Ok(oldest)
    }

    /// Adds a record, and sends the one that is now followed by enough others.
    fn push<R: std::io::Read>(
        &mut self,
        records: &Records<R>,
        mut send: impl FnMut(Cells<'_>, u64) -> ReadResult,
    ) -> ReadResult {
        let (cells, line) = (records.cells(), records.record_line());
        if self.skip == 0 {
            return send(cells, line);
        }
        let mut held = self.make_room(send)?;
        held.bytes.clear();
        held.bytes.extend_from_slice(cells.bytes);
        held.ends.clear();
        held.ends.extend_from_slice(cells.ends);
        held.line = line;
        self.held.push_back(held);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
