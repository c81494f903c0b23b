//! Cuts bytes into records and values.
//!
//! csv-core's state machine handles the inside of a record. What is between records (blank lines, the second half of a
//! CRLF, comments) is consumed here, so that the line on which a record starts is exact; csv-core counts line feeds only.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::Dialect;
use crate::error::{Error, Result};
use crate::format::text::{RecordInput, TextReader};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Record,
    /// A record on the last line, in which a quote is not closed.
    Unclosed,
    End,
}

/// The values of a record: one after another, and the end of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) ends: &'a [usize],
}

impl<'a> Cells<'a> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> &'a [u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

/// The records of a text. The current one is in buffers that the next one reuses.
pub(super) struct Records {
    pub(super) input: RecordInput,
    builder: ReaderBuilder,
    machine: Reader,
    comment: Option<u8>,
    bytes: Vec<u8>,
    bytes_len: usize,
    ends: Vec<usize>,
    ends_len: usize,
}

impl Records {
    /// Reads `buffer` bytes of the text at a time.
    pub(super) fn new(text: TextReader, dialect: &Dialect<'_>, buffer: usize) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(dialect.delimiter).escape(dialect.escape);
        match dialect.quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        Self {
            input: RecordInput::new(text, dialect.options.max_record_bytes.as_usize(), buffer),
            machine: builder.build(),
            builder,
            comment: dialect.comment,
            bytes: vec![0; 4096],
            bytes_len: 0,
            ends: vec![0; 64],
            ends_len: 0,
        }
    }

    /// Changes the delimiter from the next record on.
    pub(super) fn set_delimiter(&mut self, delimiter: u8) {
        self.machine = self.builder.delimiter(delimiter).build();
    }

    /// Skips a line; `false` if there is none.
    pub(super) fn skip_line(&mut self) -> Result<bool> {
        if self.input.peek()? == Some(b'\n') && self.input.lines.after_cr {
            self.input.skip(1);
        }
        if self.input.peek()?.is_none() {
            return Ok(false);
        }
        while self.input.peek()?.is_some() {
            let rest = self.input.buffer();
            let end = memchr::memchr2(b'\r', b'\n', rest);
            self.input.skip(end.map_or(rest.len(), |length| length + 1));
            if end.is_some() {
                break;
            }
        }
        Ok(true)
    }

    pub(super) fn next(&mut self) -> Result<Next> {
        loop {
            match self.input.peek()? {
                None => return Ok(Next::End),
                Some(b'\r' | b'\n') => self.input.skip(1),
                Some(byte) if self.comment == Some(byte) => {
                    self.skip_line()?;
                }
                Some(_) => break,
            }
        }
        self.input.start_record();
        (self.bytes_len, self.ends_len) = (0, 0);
        loop {
            // A line break at the end of the input ends the last record, unless that is inside quotes.
            let ended = self.input.peek()?.is_none();
            let input: &[u8] = if ended { b"\n" } else { self.input.buffer() };
            let (result, read, bytes, ends) = self.machine.read_record(
                input,
                &mut self.bytes[self.bytes_len..],
                &mut self.ends[self.ends_len..],
            );
            self.bytes_len += bytes;
            self.ends_len += ends;
            if !ended {
                self.input.take(read).map_err(about_quotes)?;
            }
            match result {
                ReadRecordResult::Record => return Ok(Next::Record),
                ReadRecordResult::OutputFull => self.bytes.resize(self.bytes.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty if !ended => {}
                ReadRecordResult::InputEmpty | ReadRecordResult::End => {
                    return match self.lines_after_start() {
                        0 => Ok(Next::Unclosed),
                        _ => Err(self.unclosed()),
                    };
                }
            }
        }
    }

    pub(super) fn cells(&self) -> Cells<'_> {
        Cells {
            bytes: &self.bytes[..self.bytes_len],
            ends: &self.ends[..self.ends_len],
        }
    }

    /// The error for a quote that the current record opens and nothing closes.
    pub(super) fn unclosed(&self) -> Error {
        let (line, name, lines) = (self.input.record_line, &self.input.name, self.lines_after_start());
        about_quotes(Error::input(format!(
            "a quote opened in the record that starts on line {line} of `{name}` is never closed: everything \
             from there to the end of the file would be lost ({lines} more lines)"
        )))
    }

    /// How many lines start after that of the current record.
    fn lines_after_start(&self) -> u64 {
        self.input.lines.started() - self.input.record_line
    }
}

fn about_quotes(error: Error) -> Error {
    error.with_hint(
        "look for a quote at the start of a value that is not closed, on that line or above it; if quotes have no \
         meaning in this file, set `quote: null` in `format`",
    )
}
