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

use encoding_rs::UTF_8;
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use decoder::RecordDecoder;
use records::{Layout, Records};
pub(crate) use schema::{ColumnType, RecordSchema};
pub(crate) use shape::SchemaOrigin;

use super::text::TextReader;
use super::{
    CHUNK_ROWS, Collector, Format, Input, MaxRecordBytes, READ_BYTES, ReadResult, Registration,
    default_max_record,
};

/// Bytes of an input that cannot be read twice from which its columns are inferred.
const SAMPLE_BYTES: usize = 8 << 20;

/// Settings of JSON and NDJSON.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Json<const LINES: bool> {
    /// The maximum size of a record. A longer one ends the run.
    #[serde(default = "default_max_record")]
    #[schemars(example = "64MiB")]
    max_record_bytes: MaxRecordBytes,
}

inventory::submit! {
    Registration::new::<Json<true>>("ndjson", &["ndjson", "jsonl"], "a JSON object on each line")
}

inventory::submit! {
    Registration::new::<Json<false>>("json", &["json"], "a JSON array of objects, or one object")
}

impl<const LINES: bool> Format for Json<LINES> {
    fn read(&self, input: &Input<'_>, out: &Collector) -> ReadResult {
        let reader = Reader {
            layout: if LINES { Layout::Lines } else { Layout::Array },
            max_record: self.max_record_bytes.as_usize(),
            buffer: READ_BYTES,
            sample: SAMPLE_BYTES,
        };
        reader.read(input, out)
    }
}

/// What differs between the two formats, and the sizes that tests change.
#[derive(Debug)]
struct Reader {
    layout: Layout,
    max_record: usize,
    buffer: usize,
    sample: usize,
}

impl Reader {
    fn read(&self, input: &Input<'_>, out: &Collector) -> ReadResult {
        let mut schema = RecordSchema::default();
        // Records from which the columns of a stream are inferred, and their lines.
        let mut sample: Vec<(Vec<u8>, u64)> = Vec::new();
        let mut sampled = 0;
        let mut records = self.open(input, out)?;
        while (input.can_reopen || sampled < self.sample) && records.next()? {
            if let Ok(text) = std::str::from_utf8(records.text()) {
                // A record that does not fit is rejected when it is decoded.
                let _ = schema.infer(text, &|column| out.uses(column));
            }
            if !input.can_reopen {
                sampled += records.text().len();
                sample.push((records.text().to_vec(), records.input.record_line));
            } else if schema.records.is_multiple_of(CHUNK_ROWS as u64) {
                out.check_stopped()?;
            }
        }
        let origin = if input.can_reopen {
            records = self.open(input, out)?;
            SchemaOrigin::AllRecords
        } else {
            SchemaOrigin::Sample
        };
        let mut rows = RecordDecoder::new(schema, origin, out)?;
        for (text, line) in sample {
            rows.push(&text, Some(line))?;
        }
        while records.next()? {
            rows.push(records.text(), Some(records.input.record_line))?;
        }
        if records.is_one_object() {
            tracing::warn!(
                file = %out.name, keys = ?rows.rows.part.shown_columns(),
                "the file is one object and so one record; if its records are in a list inside, save that list alone"
            );
        }
        rows.finish()
    }

    fn open(&self, input: &Input<'_>, out: &Collector) -> ReadResult<Records> {
        let text = TextReader::new(out.name.clone(), (input.open)()?, UTF_8)?;
        Ok(Records::new(text, self.layout, self.max_record, self.buffer))
    }
}

#[cfg(test)]
mod tests;
