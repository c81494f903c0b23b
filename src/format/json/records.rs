//! Cuts NDJSON and JSON arrays into the text of each record, without parsing it.

use crate::error::{Error, Result};
use crate::format::text::{RecordInput, TextReader};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One on each line.
    Lines,
    /// In one array; a single object is one record.
    Array,
}

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
pub(super) struct Records {
    pub(super) input: RecordInput,
    layout: Layout,
    position: Position,
    text: Vec<u8>,
}

impl Records {
    /// Reads `buffer` bytes of the text at a time.
    pub(super) fn new(text: TextReader, layout: Layout, max_record: usize, buffer: usize) -> Self {
        Self {
            input: RecordInput::new(text, max_record, buffer),
            layout,
            position: Position::Start,
            text: Vec::new(),
        }
    }

    pub(super) fn next(&mut self) -> Result<bool> {
        self.text.clear();
        match self.layout {
            Layout::Lines => self.next_line(),
            Layout::Array => self.next_element(),
        }
    }

    pub(super) fn is_one_object(&self) -> bool {
        self.position == Position::AfterObject
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    fn next_line(&mut self) -> Result<bool> {
        if self.skip_space()?.is_none() {
            return Ok(false);
        }
        self.input.start_record();
        while self.input.peek()?.is_some() {
            let rest = self.input.buffer();
            let end = memchr::memchr(b'\n', rest);
            self.take(end.unwrap_or(rest.len()))?;
            if end.is_some() {
                break;
            }
        }
        Ok(true)
    }

    fn next_element(&mut self) -> Result<bool> {
        let next = self.skip_space()?;
        match (self.position, next) {
            (Position::Start, Some(b'[')) => {
                self.input.skip(1);
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
                self.input.skip(1);
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
    fn close(&mut self) -> Result<bool> {
        self.input.skip(1);
        self.position = Position::End;
        self.next_element()
    }

    fn element(&mut self) -> Result<bool> {
        self.input.start_record();
        self.position = Position::AfterRecord;
        let (mut depth, mut in_string, mut escaped) = (0_u64, false, false);
        loop {
            if self.input.peek()?.is_none() {
                return Err(self.invalid("the file ends in the middle of a record; it may be truncated"));
            }
            let mut ends = false;
            let end = self.input.buffer().iter().position(|&byte| {
                if in_string {
                    (in_string, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
                    return false;
                }
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    // Part of the array around.
                    b'}' | b']' | b',' if depth == 0 => return true,
                    b'}' | b']' => {
                        depth -= 1;
                        ends = depth == 0;
                    }
                    _ => {}
                }
                ends
            });
            let length = end.map_or(self.input.buffer().len(), |at| at + usize::from(ends));
            self.take(length)?;
            if end.is_some() {
                return if self.text.trim_ascii().is_empty() {
                    Err(self.invalid("there is no value between two commas or brackets"))
                } else {
                    Ok(true)
                };
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<()> {
        self.text.extend_from_slice(&self.input.buffer()[..length]);
        self.input.take(length)
    }

    fn skip_space(&mut self) -> Result<Option<u8>> {
        loop {
            match self.input.peek()? {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.input.skip(1),
                other => return Ok(other),
            }
        }
    }

    fn invalid(&self, what: &str) -> Error {
        let (name, line) = (&self.input.name, self.input.lines.line());
        Error::input(format!("`{name}` is not valid JSON at line {line}: {what}")).with_hint(
            "the format `json` is one array of objects; for an object on each line set `format: ndjson`",
        )
    }
}
