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

use std::collections::VecDeque;

use columns::Columns;
use dialect::{CsvOptions, Dialect};
use records::{Cells, Next, Records};

use super::text::TextReader;
use super::{Collector, Format, Input, READ_BYTES, ReadResult, Registration};
use crate::component::{Problems, RejectCode, problems_error};

/// Rejected records between two checks whether the run has stopped.
const STOP_CHECK: u64 = 8192;

inventory::submit! {
    Registration {
        shared_extensions: &["txt", "dat", "tab"],
        ..Registration::new::<CsvOptions>("csv", &["csv", "tsv"], "rows of text with a separator; every column is text")
    }
}

impl Format for CsvOptions {
    fn validate(&self, problems: &mut Problems<'_>) {
        self.dialect("", problems);
    }

    fn read(&self, input: &Input<'_>, out: &Collector) -> ReadResult {
        let mut found = Vec::new();
        let dialect = self.dialect(input.extension, &mut Problems::new(&mut found).at("format"));
        let dialect = dialect.ok_or_else(|| problems_error("", found))?;
        let text = TextReader::new(out.name.clone(), (input.open)()?, dialect.encoding)?;
        read_with(text, &dialect, out, READ_BYTES)
    }
}

fn read_with(text: TextReader, dialect: &Dialect<'_>, out: &Collector, buffer: usize) -> ReadResult {
    let mut records = Records::new(text, dialect, buffer);
    let (names, first_is_record) = header::read(&mut records, dialect, out)?;
    let skip_last = dialect.options.skip_last.as_usize();
    let mut rows = Rows {
        expected: names.len(),
        columns: Columns::new(names, out)?,
        out,
        row: 0,
        skip_last,
        held: VecDeque::new(),
    };
    if first_is_record {
        rows.push(records.cells(), records.input.record_line)?;
    }
    loop {
        match records.next()? {
            Next::Record => rows.push(records.cells(), records.input.record_line)?,
            Next::End => break,
            // It is one of the records to skip.
            Next::Unclosed if skip_last > 0 => {
                rows.send_all_but(skip_last - 1)?;
                break;
            }
            // Only that one record is lost.
            Next::Unclosed => {
                let message = "the quote opened in this record is never closed";
                rows.reject(
                    records.input.record_line,
                    RejectCode::InvalidRecord,
                    message.to_owned(),
                )?;
                break;
            }
        }
    }
    rows.columns.finish()
}

/// Numbers records, holds the last ones back, and rejects those with a wrong number of values.
struct Rows<'a> {
    columns: Columns<'a>,
    expected: usize,
    out: &'a Collector,
    row: u64,
    skip_last: usize,
    /// Records that may be the last ones, so that a trailer at the end of the file is never sent.
    held: VecDeque<Held>,
}

struct Held {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    line: u64,
}

impl Rows<'_> {
    fn push(&mut self, cells: Cells<'_>, line: u64) -> ReadResult {
        if self.skip_last == 0 {
            return self.send(cells, line);
        }
        self.held.push_back(Held {
            bytes: cells.bytes.to_vec(),
            ends: cells.ends.to_vec(),
            line,
        });
        self.send_all_but(self.skip_last)
    }

    /// Sends the held records that so many follow.
    fn send_all_but(&mut self, last: usize) -> ReadResult {
        while self.held.len() > last
            && let Some(Held { bytes, ends, line }) = self.held.pop_front()
        {
            let (bytes, ends) = (&*bytes, &*ends);
            self.send(Cells { bytes, ends }, line)?;
        }
        Ok(())
    }

    fn send(&mut self, cells: Cells<'_>, line: u64) -> ReadResult {
        let (found, expected) = (cells.len(), self.expected);
        if found == expected {
            self.row += 1;
            return self.columns.push(cells, self.row, line);
        }
        let plural = if found == 1 { "" } else { "s" };
        let message = format!("the record has {found} value{plural} where the file has {expected} columns");
        self.reject(line, RejectCode::RaggedRow, message)
    }

    fn reject(&mut self, line: u64, code: RejectCode, message: String) -> ReadResult {
        self.row += 1;
        self.out
            .reject(&self.out.name, self.row, Some(line), code, message);
        if self.row.is_multiple_of(STOP_CHECK) {
            self.out.check_stopped()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
