//! JSON and NDJSON. Nested objects and lists become Arrow structs and lists, so that SQL reaches into them:
//! `address['city']`.
//!
//! Such files do not declare their columns, so these are inferred from all records first: a file is read twice. What
//! cannot be read twice (standard input) is inferred from its first 8 MiB; a later record that does not fit is a reject.
//!
//! Integers become 64-bit integers, other numbers 64-bit floating point. A key with values of different simple types, or
//! with larger numbers, is text as written; a key that is always null is text. An object or list where other records
//! have something else is a reject.

mod decoder;
mod records;
mod schema;
mod shape;
mod visit;

use encoding_rs::UTF_8;
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use decoder::RecordDecoder;
use records::{Layout, RecordError, Records};
pub(crate) use schema::{ColumnType, RecordSchema};
pub(crate) use shape::SchemaOrigin;

use super::text::TextReader;
use super::{
    CHUNK_ROWS, Collector, Format, Input, MaxRecordBytes, READ_BYTES, ReadResult, Registration,
    default_max_record,
};
use crate::error::{Error, read_error};

/// Bytes of an input that cannot be read twice from which its columns are inferred.
const SAMPLE_BYTES: usize = 8 << 20;

/// Settings of NDJSON.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ndjson {
    /// The maximum size of a record. A longer one ends the run.
    #[serde(default = "default_max_record")]
    #[schemars(example = "64MiB")]
    max_record_bytes: MaxRecordBytes,
}

/// Settings of JSON.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Json {
    /// The maximum size of a record. A longer one ends the run.
    #[serde(default = "default_max_record")]
    #[schemars(example = "64MiB")]
    max_record_bytes: MaxRecordBytes,
}

inventory::submit! {
    Registration::new::<Ndjson>("ndjson", &["ndjson", "jsonl"], "a JSON object on each line")
}

inventory::submit! {
    Registration::new::<Json>("json", &["json"], "a JSON array of objects, or one object")
}

impl Format for Ndjson {
    fn read(&self, input: &Input<'_>, out: &Collector) -> ReadResult {
        read(input, Layout::Lines, self.max_record_bytes, out)
    }
}

impl Format for Json {
    fn read(&self, input: &Input<'_>, out: &Collector) -> ReadResult {
        read(input, Layout::Array, self.max_record_bytes, out)
    }
}

fn read(input: &Input<'_>, layout: Layout, max_record: MaxRecordBytes, out: &Collector) -> ReadResult {
    let reader = Reader {
        layout,
        max_record: max_record.as_usize(),
        buffer: READ_BYTES,
        sample: SAMPLE_BYTES,
    };
    reader.read(input, out)
}

/// What differs between the two formats, and the sizes that tests change.
struct Reader {
    layout: Layout,
    max_record: usize,
    buffer: usize,
    sample: usize,
}

impl Reader {
    fn read(&self, input: &Input<'_>, out: &Collector) -> ReadResult {
        let mut schema = RecordSchema::default();
        let used = |column: &str| out.uses(column);
        let mut infer = |text: &[u8]| {
            if let Ok(text) = std::str::from_utf8(text) {
                // A record that does not fit is rejected when it is decoded.
                let _ = schema.infer(text, &used);
            }
        };
        let mut sample = Sample::default();
        let mut records = self.open(input, out)?;
        if input.can_reopen {
            let mut read = 0_u64;
            while self.next(&mut records, out)? {
                infer(records.text());
                read += 1;
                if read.is_multiple_of(CHUNK_ROWS as u64) {
                    out.check_stopped()?;
                }
            }
            records = self.open(input, out)?;
        } else {
            while sample.text.len() < self.sample && self.next(&mut records, out)? {
                infer(records.text());
                sample.push(records.text(), records.record_line());
            }
        }
        let origin = if input.can_reopen {
            SchemaOrigin::AllRecords
        } else {
            SchemaOrigin::Sample
        };
        let mut rows = RecordDecoder::new(schema, origin, out)?;
        for (text, line) in sample.iter() {
            rows.push(text, Some(line))?;
        }
        while self.next(&mut records, out)? {
            rows.push(records.text(), Some(records.record_line()))?;
        }
        if records.is_one_object() {
            tracing::warn!(
                file = %out.name, keys = ?rows.shown_columns(),
                "the file is one object and so one record; if its records are in a list inside, save that list alone"
            );
        }
        rows.finish()
    }

    fn open(&self, input: &Input<'_>, out: &Collector) -> ReadResult<Records<TextReader>> {
        let text = TextReader::new(out.name.clone(), (input.open)()?, UTF_8)?;
        Ok(Records::new(text, self.layout, self.max_record, self.buffer))
    }

    fn next(&self, records: &mut Records<TextReader>, out: &Collector) -> Result<bool, Error> {
        let error = match records.next() {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let name = &out.name;
        Err(match error {
            RecordError::Io(error) => read_error(name, error, Some(records.line())),
            RecordError::TooLong { line } => super::too_long(name, line, self.max_record),
            RecordError::Structure { line, what } => {
                let error = Error::input(format!("`{name}` is not valid JSON at line {line}: {what}"));
                match self.layout {
                    Layout::Array => error.with_hint(
                        "the format `json` is one array of objects; for an object on each line set `format: ndjson`",
                    ),
                    Layout::Lines => error,
                }
            }
        })
    }
}

/// The records from which the columns of a stream were inferred.
#[derive(Default)]
struct Sample {
    text: Vec<u8>,
    ends: Vec<(usize, u64)>,
}

impl Sample {
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

#[cfg(test)]
mod tests;
