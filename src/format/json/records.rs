//! Cuts NDJSON and JSON arrays into the text of each record, without parsing it.

use std::io::{self, BufRead, BufReader, Read};

use crate::format::text::peek;

/// How records are laid out in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One on each line.
    Lines,
    /// In one array; a single object is one record.
    Array,
}

/// Why there is no next record.
#[derive(Debug)]
pub(super) enum RecordError {
    Io(io::Error),
    /// The record that starts on `line` exceeds the limit.
    TooLong {
        line: u64,
    },
    /// The text around the records is not valid.
    Structure {
        line: u64,
        what: &'static str,
    },
}

impl From<io::Error> for RecordError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The position in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Start,
    AfterBracket,
    AfterRecord,
    /// After the only object of the file.
    AfterObject,
    End,
}

/// The records of a text. The current one is in a buffer that the next one reuses.
pub(super) struct Records<R> {
    input: BufReader<R>,
    layout: Layout,
    position: Position,
    max_record: usize,
    text: Vec<u8>,
    line: u64,
    record_line: u64,
}

impl<R: Read> Records<R> {
    /// Reads `buffer` bytes of the input at a time.
    pub(super) fn new(input: R, layout: Layout, max_record: usize, buffer: usize) -> Self {
        Self {
            input: BufReader::with_capacity(buffer, input),
            layout,
            position: Position::Start,
            max_record,
            text: Vec::new(),
            line: 1,
            record_line: 1,
        }
    }

    /// Moves to the next record; `false` at the end.
    pub(super) fn next(&mut self) -> Result<bool, RecordError> {
        self.text.clear();
        match self.layout {
            Layout::Lines => self.next_line(),
            Layout::Array => self.next_element(),
        }
    }

    /// Whether the whole file is one object.
    pub(super) fn is_one_object(&self) -> bool {
        self.position == Position::AfterObject
    }

    /// The current record.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The line on which the current record starts, from 1.
    pub(super) fn record_line(&self) -> u64 {
        self.record_line
    }

    /// The line reached so far.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    fn next_line(&mut self) -> Result<bool, RecordError> {
        if self.skip_space()?.is_none() {
            return Ok(false);
        }
        self.record_line = self.line;
        while peek(&mut self.input)?.is_some() {
            let rest = self.input.buffer();
            let end = memchr::memchr(b'\n', rest);
            let length = end.unwrap_or(rest.len());
            self.take(length)?;
            if end.is_some() {
                break;
            }
        }
        Ok(true)
    }

    fn next_element(&mut self) -> Result<bool, RecordError> {
        let next = self.skip_space()?;
        match (self.position, next) {
            (Position::Start, Some(b'[')) => {
                self.input.consume(1);
                self.position = Position::AfterBracket;
                match self.skip_space()? {
                    Some(b']') => self.close(),
                    _ => self.element(),
                }
            }
            (Position::Start, Some(b'{')) => {
                self.element()?;
                self.position = Position::AfterObject;
                Ok(true)
            }
            (Position::Start, None) => Err(self.invalid("the file is empty")),
            (Position::Start, Some(_)) => Err(self.invalid("it starts with neither an array nor an object")),
            (Position::AfterRecord, Some(b',')) => {
                self.input.consume(1);
                self.skip_space()?;
                self.element()
            }
            (Position::AfterRecord, Some(b']')) => self.close(),
            (Position::AfterRecord | Position::AfterBracket, Some(_)) => {
                Err(self.invalid("a comma is missing between two records"))
            }
            (Position::AfterRecord | Position::AfterBracket, None) => {
                Err(self.invalid("the file ends before its array does; it may be truncated"))
            }
            (Position::AfterObject | Position::End, Some(_)) => {
                Err(self.invalid("there is more after the end of the first value"))
            }
            (Position::AfterObject | Position::End, None) => Ok(false),
        }
    }

    /// Consumes the `]`, after which nothing may follow.
    fn close(&mut self) -> Result<bool, RecordError> {
        self.input.consume(1);
        self.position = Position::End;
        self.next_element()
    }

    /// Takes one value, up to what follows it.
    fn element(&mut self) -> Result<bool, RecordError> {
        self.record_line = self.line;
        self.position = Position::AfterRecord;
        let (mut depth, mut in_string, mut escaped) = (0_u64, false, false);
        loop {
            if peek(&mut self.input)?.is_none() {
                return Err(self.invalid("the file ends in the middle of a record; it may be truncated"));
            }
            let mut length = 0;
            let mut done = false;
            for &byte in self.input.buffer() {
                if in_string {
                    (in_string, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
                } else {
                    match byte {
                        b'"' => in_string = true,
                        b'{' | b'[' => depth += 1,
                        // Part of the array around.
                        b'}' | b']' | b',' if depth == 0 => {
                            done = true;
                            break;
                        }
                        b'}' | b']' => {
                            depth -= 1;
                            if depth == 0 {
                                length += 1;
                                done = true;
                                break;
                            }
                        }
                        _ => {}
                    }
                }
                length += 1;
            }
            self.take(length)?;
            if done {
                return if self.text.trim_ascii().is_empty() {
                    Err(self.invalid("there is no value between two commas or brackets"))
                } else {
                    Ok(true)
                };
            }
        }
    }

    /// Moves bytes of the buffer to the record.
    fn take(&mut self, length: usize) -> Result<(), RecordError> {
        if self.text.len() + length > self.max_record {
            return Err(RecordError::TooLong {
                line: self.record_line,
            });
        }
        let bytes = &self.input.buffer()[..length];
        self.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.text.extend_from_slice(bytes);
        self.input.consume(length);
        Ok(())
    }

    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            match peek(&mut self.input)? {
                Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) => {
                    self.line += u64::from(byte == b'\n');
                    self.input.consume(1);
                }
                other => return Ok(other),
            }
        }
    }

    fn invalid(&self, what: &'static str) -> RecordError {
        RecordError::Structure {
            line: self.line,
            what,
        }
    }
}
