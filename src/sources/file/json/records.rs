//! Cuts NDJSON and JSON arrays into the text of each record, without parsing it.

use std::io::{self, Read};

/// How records lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Layout {
    /// One on each line.
    Lines,
    /// In one array; a single object is one record.
    Array,
}

/// Why there is no next record.
#[derive(Debug)]
pub(super) enum RecordError {
    /// The input failed.
    Io(io::Error),
    /// The record that begins on `line` has more than `most` bytes.
    TooLong { line: u64, most: usize },
    /// What is around the records is not what it must be.
    Structure { line: u64, what: &'static str },
}

impl From<io::Error> for RecordError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where in an array reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    AfterBracket,
    AfterRecord,
    /// After the one object that the file is.
    AfterObject,
    End,
}

/// The records of a text. The current one lies in a buffer that is used again for the next.
pub(super) struct Records<R> {
    input: R,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    ended: bool,
    layout: Layout,
    place: Place,
    max_record: usize,
    text: Vec<u8>,
    line: u64,
    record_line: u64,
}

impl<R: Read> Records<R> {
    /// `buffer` is how many bytes to ask the input for at once.
    pub(super) fn new(input: R, layout: Layout, max_record: usize, buffer: usize) -> Self {
        Self {
            input,
            buffer: vec![0; buffer].into(),
            at: 0,
            end: 0,
            ended: false,
            layout,
            place: Place::Start,
            max_record,
            text: Vec::new(),
            line: 1,
            record_line: 1,
        }
    }

    /// Goes to the next record; `false` at the end.
    pub(super) fn next(&mut self) -> Result<bool, RecordError> {
        self.text.clear();
        match self.layout {
            Layout::Lines => self.next_line(),
            Layout::Array => self.next_element(),
        }
    }

    /// Whether the whole file is one object.
    pub(super) fn is_one_object(&self) -> bool {
        self.place == Place::AfterObject
    }

    /// The current record.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The line on which the current record begins, from 1.
    pub(super) fn record_line(&self) -> u64 {
        self.record_line
    }

    /// The line that reading has come to.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    fn next_line(&mut self) -> Result<bool, RecordError> {
        if self.skip_space()?.is_none() {
            return Ok(false);
        }
        self.record_line = self.line;
        while self.peek()?.is_some() {
            let rest = &self.buffer[self.at..self.end];
            let end = rest.iter().position(|&byte| byte == b'\n');
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
        match (self.place, next) {
            (Place::Start, Some(b'[')) => {
                self.at += 1;
                self.place = Place::AfterBracket;
                match self.skip_space()? {
                    Some(b']') => self.close(),
                    _ => self.element(),
                }
            }
            (Place::Start, Some(b'{')) => {
                self.element()?;
                self.place = Place::AfterObject;
                Ok(true)
            }
            (Place::Start, None) => Err(self.wrong("the file is empty")),
            (Place::Start, Some(_)) => Err(self.wrong("it begins with neither an array nor an object")),
            (Place::AfterRecord, Some(b',')) => {
                self.at += 1;
                self.skip_space()?;
                self.element()
            }
            (Place::AfterRecord, Some(b']')) => self.close(),
            (Place::AfterRecord | Place::AfterBracket, Some(_)) => {
                Err(self.wrong("a comma is missing between two records"))
            }
            (Place::AfterRecord | Place::AfterBracket, None) => {
                Err(self.wrong("the file ends before its array does; it may be cut off"))
            }
            (Place::AfterObject | Place::End, Some(_)) => {
                Err(self.wrong("there is more after the end of the first value"))
            }
            (Place::AfterObject | Place::End, None) => Ok(false),
        }
    }

    /// Takes the `]`, after which nothing may come.
    fn close(&mut self) -> Result<bool, RecordError> {
        self.at += 1;
        self.place = Place::End;
        self.next_element()
    }

    /// Takes one value, up to what follows it.
    fn element(&mut self) -> Result<bool, RecordError> {
        self.record_line = self.line;
        self.place = Place::AfterRecord;
        let (mut depth, mut in_string, mut escaped) = (0_u64, false, false);
        loop {
            if self.peek()?.is_none() {
                return Err(self.wrong("the file ends in the middle of a record; it may be cut off"));
            }
            let mut length = 0;
            let mut done = false;
            for &byte in &self.buffer[self.at..self.end] {
                if in_string {
                    (in_string, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
                } else {
                    match byte {
                        b'"' => in_string = true,
                        b'{' | b'[' => depth += 1,
                        // Belongs to the array around.
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
                    Err(self.wrong("there is no value between two commas or brackets"))
                } else {
                    Ok(true)
                };
            }
        }
    }

    /// Moves bytes of the buffer to the record.
    fn take(&mut self, length: usize) -> Result<(), RecordError> {
        let bytes = &self.buffer[self.at..self.at + length];
        self.line += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        if self.text.len() + length > self.max_record {
            return Err(RecordError::TooLong {
                line: self.record_line,
                most: self.max_record,
            });
        }
        self.text.extend_from_slice(bytes);
        self.at += length;
        Ok(())
    }

    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.peek()? {
                Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) => {
                    self.line += u64::from(byte == b'\n');
                    self.at += 1;
                }
                other => return Ok(other),
            }
        }
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

    fn wrong(&self, what: &'static str) -> RecordError {
        RecordError::Structure {
            line: self.line,
            what,
        }
    }
}
