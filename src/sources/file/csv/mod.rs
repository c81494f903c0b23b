//! Reads CSV in the forms that HR systems and spreadsheets write it.
//!
//! ```text
//! bytes ──▶ records: cells, line of each ──▶ header: names ──▶ columns: chunks of text columns
//! ```
//!
//! Every record that is not blank counts, from 1 for the first after the header, those put aside included. A record
//! with too few or too many values is a reject, and so is one with bytes that are not UTF-8 in a column that is used.

mod columns;
mod dialect;
mod header;
mod records;

use std::collections::VecDeque;
use std::sync::Arc;

use columns::Columns;
pub use dialect::CsvOptions;
pub(super) use dialect::{DEFAULT_DELIMITER, Dialect};
use header::Header;
use records::{RecordError, Records};

use super::text::TextReader;
use crate::component::{Part, RejectCode};
use crate::decode::{Feed, READ_BYTES, Step};
use crate::error::Error;
use crate::error::read_error;

/// Records after which a stretch without a chunk asks whether anybody waits.
const STOP_CHECK: u64 = 8192;

/// Reads one file.
///
/// # Errors
/// The file has no header, cannot be read on, or has a record without an end.
pub(super) fn read(text: TextReader, dialect: &Dialect, feed: &Feed) -> Step {
    read_with(text, dialect, feed, READ_BYTES)
}

fn read_with(text: TextReader, dialect: &Dialect, feed: &Feed, buffer: usize) -> Step {
    let mut records = Records::new(text, dialect, buffer);
    let header = Header::read(&mut records, dialect, feed)?;
    let part = Arc::new(Part {
        name: feed.name.clone(),
        columns: header.names,
    });
    let mut rows = Rows {
        columns: Columns::new(part, feed),
        feed,
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
            // It begins and ends on the last line, so it is the last record and one of those to skip.
            Err(RecordError::Unclosed { lines: 0, .. }) if dialect.skip_last > 0 => {
                tail.make_room(|cells, line| rows.push(cells, line))?;
                break;
            }
            // Only that one record is lost.
            Err(RecordError::Unclosed { line, lines: 0 }) => {
                rows.row += 1;
                let message = "the quote opened in this record is never closed";
                feed.reject(rows.row, Some(line), RejectCode::InvalidRecord, message);
                break;
            }
            Err(error) => return Err(record_error(error, feed, records.line()).into()),
        }
    }
    rows.columns.finish(feed)
}

fn record_error(error: RecordError, feed: &Feed, line: u64) -> Error {
    const QUOTE: &str = "look for a quote at the beginning of a value that is not closed, on that line or above it; if quotes have no \
         meaning in this file, set `quote: null` in `format`";
    let name = &feed.name;
    match error {
        RecordError::Io(error) => read_error(&feed.name, error, Some(line)),
        RecordError::TooLong { line, most } => Error::input(format!(
            "the record that begins on line {line} of `{name}` is longer than {most} bytes"
        ))
        .with_hint(QUOTE)
        .with_hint("if it really is that long, set a larger `max_record_bytes` in `format`"),
        RecordError::Unclosed { line, lines } => Error::input(format!(
            "a quote opened in the record that begins on line {line} of `{name}` is never closed: everything \
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

/// Numbers records and sorts out those with a wrong number of values.
struct Rows<'a> {
    columns: Columns,
    feed: &'a Feed,
    row: u64,
}

impl Rows<'_> {
    fn push(&mut self, cells: Cells<'_>, line: u64) -> Step {
        self.row += 1;
        let expected = self.columns.in_file();
        if cells.len() == expected {
            return self.columns.push(cells, self.row, line, self.feed);
        }
        let found = cells.len();
        let plural = if found == 1 { "" } else { "s" };
        let message = format!("the record has {found} value{plural} where the file has {expected} columns");
        self.feed
            .reject(self.row, Some(line), RejectCode::RaggedRow, message);
        if self.row.is_multiple_of(STOP_CHECK) {
            self.feed.check_stopped()?;
        }
        Ok(())
    }
}

/// Holds the last records back, so that a trailer at the end of the file is never passed on.
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

    /// Passes on the oldest record if one more follows all that are held; gives its buffers to use again.
    fn make_room(&mut self, mut pass: impl FnMut(Cells<'_>, u64) -> Step) -> Step<Held> {
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
        pass(cells, oldest.line)?;
        Ok(oldest)
    }

    /// Passes on the record that is followed by enough others.
    fn push<R: std::io::Read>(
        &mut self,
        records: &Records<R>,
        mut pass: impl FnMut(Cells<'_>, u64) -> Step,
    ) -> Step {
        let (cells, line) = (records.cells(), records.record_line());
        if self.skip == 0 {
            return pass(cells, line);
        }
        let mut held = self.make_room(pass)?;
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
