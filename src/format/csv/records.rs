//! Cuts bytes into records and values, and tracks the line of each.
//!
//! csv-core's state machine handles the inside of a record. What is between records (blank lines, the second half of a
//! CRLF, comments) is consumed here, so that the line on which a record starts is exact; csv-core counts line feeds only.

use std::io::{self, BufRead, BufReader, Read};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::{Cells, Dialect};
use crate::format::text::peek;

/// Why there is no next record.
#[derive(Debug)]
pub(super) enum RecordError {
    Io(io::Error),
    /// The record that starts on `line` exceeds the limit.
    TooLong {
        line: u64,
    },
    /// The input ended inside quotes, in the record that starts on `line`; `lines` start after that one.
    Unclosed {
        line: u64,
        lines: u64,
    },
}

impl From<io::Error> for RecordError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The records of a text. The current one is in buffers that the next one reuses.
pub(super) struct Records<R> {
    input: BufReader<R>,
    builder: ReaderBuilder,
    machine: Reader,
    comment: Option<u8>,
    max_record: usize,
    bytes: Vec<u8>,
    bytes_len: usize,
    ends: Vec<usize>,
    ends_len: usize,
    lines: Lines,
    record_line: u64,
}

impl<R: Read> Records<R> {
    /// Reads `buffer` bytes of the input at a time.
    pub(super) fn new(input: R, dialect: &Dialect, buffer: usize) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(dialect.delimiter).escape(dialect.escape);
        match dialect.quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        let machine = builder.build();
        Self {
            input: BufReader::with_capacity(buffer, input),
            builder,
            machine,
            comment: dialect.comment,
            max_record: dialect.max_record,
            bytes: vec![0; 4096],
            bytes_len: 0,
            ends: vec![0; 64],
            ends_len: 0,
            lines: Lines::default(),
            record_line: 1,
        }
    }

    /// Changes the delimiter from the next record on.
    pub(super) fn set_delimiter(&mut self, delimiter: u8) {
        self.machine = self.builder.delimiter(delimiter).build();
    }

    /// Skips a line; `false` if there is none.
    pub(super) fn skip_line(&mut self) -> Result<bool, RecordError> {
        if peek(&mut self.input)? == Some(b'\n') && self.lines.after_cr {
            self.advance(1);
        }
        if peek(&mut self.input)?.is_none() {
            return Ok(false);
        }
        while peek(&mut self.input)?.is_some() {
            let rest = self.input.buffer();
            match memchr::memchr2(b'\r', b'\n', rest) {
                Some(length) => {
                    self.advance(length + 1);
                    break;
                }
                None => {
                    let length = rest.len();
                    self.advance(length);
                }
            }
        }
        Ok(true)
    }

    /// Moves to the next record; `false` at the end.
    pub(super) fn next(&mut self) -> Result<bool, RecordError> {
        loop {
            match peek(&mut self.input)? {
                None => return Ok(false),
                Some(b'\r' | b'\n') => self.advance(1),
                Some(byte) if self.comment == Some(byte) => {
                    self.skip_line()?;
                }
                Some(_) => break,
            }
        }
        self.record_line = self.lines.line;
        (self.bytes_len, self.ends_len) = (0, 0);
        let mut length = 0;
        loop {
            // A line break at the end of the input ends the last record, unless that is inside quotes.
            let ended = peek(&mut self.input)?.is_none();
            let input: &[u8] = if ended { b"\n" } else { self.input.buffer() };
            let (result, read, bytes, ends) = self.machine.read_record(
                input,
                &mut self.bytes[self.bytes_len..],
                &mut self.ends[self.ends_len..],
            );
            self.bytes_len += bytes;
            self.ends_len += ends;
            if !ended {
                self.advance(read);
                length += read;
            }
            if length > self.max_record {
                return Err(RecordError::TooLong {
                    line: self.record_line,
                });
            }
            match result {
                ReadRecordResult::Record => return Ok(true),
                ReadRecordResult::OutputFull => self.bytes.resize(self.bytes.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty if !ended => {}
                ReadRecordResult::InputEmpty | ReadRecordResult::End => {
                    return Err(RecordError::Unclosed {
                        line: self.record_line,
                        lines: self.lines.started() - self.record_line,
                    });
                }
            }
        }
    }

    /// The values of the current record.
    pub(super) fn cells(&self) -> Cells<'_> {
        Cells {
            bytes: &self.bytes[..self.bytes_len],
            ends: &self.ends[..self.ends_len],
        }
    }

    /// The line on which the current record starts, from 1.
    pub(super) fn record_line(&self) -> u64 {
        self.record_line
    }

    /// The line reached so far.
    pub(super) fn line(&self) -> u64 {
        self.lines.line
    }

    fn advance(&mut self, length: usize) {
        self.lines.pass(&self.input.buffer()[..length]);
        self.input.consume(length);
    }
}

/// Counts lines that end in CRLF, LF or CR, across buffers.
#[derive(Debug)]
struct Lines {
    line: u64,
    after_cr: bool,
    /// Whether the line has bytes.
    fresh: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            line: 1,
            after_cr: false,
            fresh: true,
        }
    }
}

impl Lines {
    fn pass(&mut self, bytes: &[u8]) {
        let Some((&last, rest)) = bytes.split_last() else {
            return;
        };
        if rest.contains(&b'\r') {
            for &byte in rest {
                self.pass_byte(byte);
            }
        } else if let Some(&first) = rest.first() {
            self.pass_byte(first);
            let feeds = rest[1..].iter().filter(|&&byte| byte == b'\n').count();
            self.line += feeds as u64;
            self.after_cr = false;
        }
        self.pass_byte(last);
    }

    fn pass_byte(&mut self, byte: u8) {
        let ends = byte == b'\r' || (byte == b'\n' && !self.after_cr);
        self.line += u64::from(ends);
        self.after_cr = byte == b'\r';
        self.fresh = matches!(byte, b'\r' | b'\n');
    }

    /// The last line that has bytes.
    fn started(&self) -> u64 {
        self.line - u64::from(self.fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_lines_across_buffers(
            pieces in prop::collection::vec("[a\r\n]{0,5}", 0..8),
        ) {
            let mut lines = Lines::default();
            for piece in &pieces {
                lines.pass(piece.as_bytes());
            }
            let text = pieces.concat().replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(lines.line, text.matches('\n').count() as u64 + 1);
        }
    }
}
