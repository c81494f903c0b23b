//! Reads NDJSON and JSON arrays of objects. Nested objects and lists become Arrow structs and lists, so that SQL
//! reaches into them: `address['city']`.
//!
//! ```text
//! bytes ──▶ records: the text of each, its line ──▶ decode::json ──▶ chunks
//! ```
//!
//! The columns and their types are not written in such a file, so they are learnt from all of its records first: a
//! file is read twice. Only so is a key that first occurs in the last record a column, and a number that turns out to
//! be a text in the last record text in all. What cannot be read twice (standard input) is learnt from its first
//! 8 MiB; a later record that does not fit is a reject that says so, never a value lost without a word.
//!
//! Numbers without a fraction are 64-bit integers, others 64-bit floating point; a key with values of different simple
//! types, or with numbers too large for these, is text, as written in the file; a key that is always null is text. An
//! object or list where other records have something else is a reject.

mod records;

pub(super) use records::Layout;
use records::{RecordError, Records};

use super::text::TextReader;
use crate::decode::json::{Learning, Rows, Shapes};
use crate::decode::{CHUNK_ROWS, Feed, READ_BYTES, Step};
use crate::error::read_error;
use crate::error::{Error, Result};

/// What is kept of an input that cannot be read twice, to learn its columns.
const SAMPLE_BYTES: usize = 8 << 20;

/// Reads what `open` opens, twice if that gives the same bytes again.
///
/// # Errors
/// The input cannot be read on, or is not of this layout.
pub(super) fn read(
    open: &dyn Fn() -> Result<TextReader>,
    twice: bool,
    layout: Layout,
    max_record: usize,
    feed: &Feed,
) -> Step {
    read_with(open, twice, layout, max_record, feed, (READ_BYTES, SAMPLE_BYTES))
}

fn read_with(
    open: &dyn Fn() -> Result<TextReader>,
    twice: bool,
    layout: Layout,
    max_record: usize,
    feed: &Feed,
    (buffer, sample): (usize, usize),
) -> Step {
    let records = || Ok::<_, Error>(Records::new(open()?, layout, max_record, buffer));
    let wants = |column: &str| feed.wants(column);
    let mut shapes = Shapes::default();
    let mut learn = |text: &[u8]| {
        if let Ok(text) = std::str::from_utf8(text) {
            // A record that does not fit is put aside when it is read for its values.
            let _ = shapes.learn(text, &wants);
        }
    };
    let mut kept = Kept::default();
    let mut records = if twice {
        let mut first = records()?;
        let mut read = 0_u64;
        while first
            .next()
            .map_err(|error| record_error(error, layout, feed, first.line()))?
        {
            learn(first.text());
            read += 1;
            if read.is_multiple_of(CHUNK_ROWS as u64) {
                feed.check_stopped()?;
            }
        }
        records()?
    } else {
        let mut only = records()?;
        while kept.text.len() < sample
            && only
                .next()
                .map_err(|error| record_error(error, layout, feed, only.line()))?
        {
            learn(only.text());
            kept.push(only.text(), only.record_line());
        }
        only
    };
    let learning = if twice { Learning::Whole } else { Learning::Sample };
    let mut rows = Rows::new(shapes, learning, feed)?;
    for (text, line) in kept.iter() {
        rows.push(text, Some(line))?;
    }
    while records
        .next()
        .map_err(|error| record_error(error, layout, feed, records.line()))?
    {
        rows.push(records.text(), Some(records.record_line()))?;
    }
    if records.is_one_object() {
        tracing::warn!(
            file = %feed.name, keys = ?rows.shown_columns(),
            "the file is one object and so one record; if its records are in a list inside, save that list alone"
        );
    }
    rows.finish()
}

/// Records of the sample.
#[derive(Default)]
struct Kept {
    text: Vec<u8>,
    ends: Vec<(usize, u64)>,
}

impl Kept {
    fn push(&mut self, text: &[u8], line: u64) {
        self.text.extend_from_slice(text);
        self.ends.push((self.text.len(), line));
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        starts
            .zip(&self.ends)
            .map(|(start, &(end, line))| (&self.text[start..end], line))
    }
}

fn record_error(error: RecordError, layout: Layout, feed: &Feed, line: u64) -> Error {
    let name = &feed.name;
    match error {
        RecordError::Io(error) => read_error(name, error, Some(line)),
        RecordError::TooLong { line, most } => Error::input(format!(
            "the record that begins on line {line} of `{name}` is longer than {most} bytes"
        ))
        .with_hint("if it really is that long, set a larger `max_record_bytes` in `format`"),
        RecordError::Structure { line, what } => {
            let error = Error::input(format!("`{name}` is not valid JSON at line {line}: {what}"));
            match layout {
                Layout::Array => error.with_hint(
                    "the format `json` is one array of objects; for an object on each line set `format: ndjson`",
                ),
                Layout::Lines => error,
            }
        }
    }
}

#[cfg(test)]
mod tests;
