//! Cuts bytes into records and values, and knows the line of each.
//!
//! csv-core's state machine does the work inside a record. What is between records (blank lines, the second half of a
//! CRLF, comments) is taken here, so that the byte at which a record begins, and with it the line, is known exactly;
//! csv-core itself counts line feeds only and would call everything in a file with CR ends line 1.

use std::io::{self, Read};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::{Cells, Dialect};

/// Why there is no next record.
#[derive(Debug)]
pub(super) enum RecordError {
    /// The input failed.
    Io(io::Error),
    /// The record that begins on `line` has more than `most` bytes.
    TooLong { line: u64, most: usize },
    /// The input ended inside quotes, in the record that begins on `line`; `lines` begin after that one.
    Unclosed { line: u64, lines: u64 },
}

impl From<io::Error> for RecordError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The records of a text. The current one lies in buffers that are used again for the next.
pub(super) struct Records<R> {
    input: R,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    ended: bool,
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
    /// `buffer` is how many bytes to ask the input for at once.
    pub(super) fn new(input: R, dialect: &Dialect, buffer: usize) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(dialect.delimiter).escape(dialect.escape);
        match dialect.quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        let machine = builder.build();
        Self {
            input,
            buffer: vec![0; buffer].into(),
            at: 0,
            end: 0,
            ended: false,
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

    /// Takes another delimiter from the next record on.
    pub(super) fn set_delimiter(&mut self, delimiter: u8) {
        self.machine = self.builder.delimiter(delimiter).build();
    }

    /// Skips a line, whatever is in it; `false` if there is none.
    pub(super) fn skip_line(&mut self) -> Result<bool, RecordError> {
        if self.peek()? == Some(b'\n') && self.lines.after_cr {
            self.advance(1);
        }
        if self.peek()?.is_none() {
            return Ok(false);
        }
        while self.peek()?.is_some() {
            let rest = &self.buffer[self.at..self.end];
            match rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
                Some(length) => {
                    self.advance(length + 1);
                    break;
                }
                None => self.advance(rest.len()),
            }
        }
        Ok(true)
    }

    /// Goes to the next record; `false` at the end.
    pub(super) fn next(&mut self) -> Result<bool, RecordError> {
        loop {
            match self.peek()? {
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
            // A line end at the end of the input ends the last record, unless that is inside quotes.
            let ended = self.peek()?.is_none();
            let input = if ended {
                b"\n"
            } else {
                &self.buffer[self.at..self.end]
            };
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
                    most: self.max_record,
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
                        lines: self.lines.begun() - self.record_line,
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

    /// The line on which the current record begins, from 1.
    pub(super) fn record_line(&self) -> u64 {
        self.record_line
    }

    /// The line that reading has come to.
    pub(super) fn line(&self) -> u64 {
        self.lines.line
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        while self.at == self.end && !self.ended {
            match self.input.read(&mut self.buffer) {
                Ok(length) => {
                    (self.at, self.end) = (0, length);
                    self.ended = length == 0;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((self.at < self.end).then(|| self.buffer[self.at]))
    }

    fn advance(&mut self, length: usize) {
        self.lines.pass(&self.buffer[self.at..self.at + length]);
        self.at += length;
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
    fn begun(&self) -> u64 {
        self.line - u64::from(self.fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_bytes_are_cut(
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
