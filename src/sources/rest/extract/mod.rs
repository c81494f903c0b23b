//! Extracts records from the JSON body of a response while it arrives.
//!
//! ```text
//! bytes ─▶ reader: limits ─▶ walk: serde seed along the record path ─▶ rows: added, exploded, mapped columns ─▶ output
//!                              └─▶ values of single paths, wherever they are
//! ```
//!
//! Runs on a blocking thread and holds one record; only a path with filters, slices or `..` buffers the body. Knows no
//! HTTP. A body with a JSON error has no rows at all; a record that does not fit its columns is the decoder's to reject.

mod config;
mod error;
mod plan;
mod query;
mod reader;
mod rows;
mod sniff;
mod walk;

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::de::{Deserializer, IoRead};
use serde_json::value::RawValue;

use self::config::BodyFormat;
pub(super) use self::config::OnMissing;
pub(crate) use self::config::RecordsConfig;
pub(super) use self::error::BodyError;
use self::plan::Plan;
use self::reader::{BodyReader, Progress};
use self::rows::RecordSink;
pub(super) use self::rows::RowOutput;
use self::walk::Walk;
use super::json_path::{ExtractedValues, SinglePath, ValuePaths};

/// How records are extracted from response bodies. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Extractor(Arc<Plan>);

/// What a body contained.
#[derive(Debug)]
pub(super) struct Extracted {
    /// Records, before they were exploded.
    pub(super) records: u64,
    /// Rows.
    pub(super) rows: u64,
    /// Records without the array to explode. If these are all records, its path may be misspelled.
    pub(super) without_list: u64,
    /// The values at the paths; in NDJSON, of the last line that has them.
    pub(super) values: ExtractedValues,
    /// The same for bodies with the same records, within one run.
    pub(super) digest: u64,
    /// Bits of the first 64 mapped columns that a row has a value for, null included.
    pub(super) found_columns: u64,
    /// The last record, where the pagination needs it.
    pub(super) last_record: Option<Value>,
}

impl Extracted {
    /// Of a response without records.
    pub(super) fn without_records(values: ExtractedValues) -> Self {
        Self {
            records: 0,
            rows: 0,
            without_list: 0,
            values,
            digest: 0,
            found_columns: 0,
            last_record: None,
        }
    }
}

/// The start of a body.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    /// Bytes of the body received.
    pub(super) received: usize,
}

impl Extractor {
    /// For settings without [problems](RecordsConfig::validate). `cursor` is looked up in each row; `keep_last` keeps
    /// the last record.
    pub(super) fn new(
        config: &RecordsConfig,
        paths: &ValuePaths,
        cursor: Option<SinglePath>,
        keep_last: bool,
    ) -> Self {
        Self(Arc::new(Plan {
            cursor,
            keep_last,
            ..Plan::new(config, paths)
        }))
    }

    /// Where each record's array is, if records are exploded, and what it means that it does not exist.
    pub(super) fn explodes(&self) -> Option<(String, OnMissing)> {
        let config = &self.0.config;
        let explode = config.explode.as_ref()?;
        Some((explode.path.0.to_string(), config.missing))
    }

    /// The mapped columns, in the order of their bits in [`Extracted::found_columns`].
    pub(super) fn columns(&self) -> impl Iterator<Item = (&String, &SinglePath)> {
        self.0.config.columns.iter()
    }

    /// Reads a body and passes its rows to `output`. `extra` are columns of all rows; a record that has one of them
    /// must agree. After an error, the body is read on until its head has `max_head` bytes. Blocks.
    ///
    /// # Errors
    /// What is wrong with the body, or an error of `output`.
    pub(super) fn run(
        &self,
        body: impl Iterator<Item = Bytes>,
        max_head: usize,
        extra: &[(Arc<str>, Value)],
        output: &mut dyn RowOutput,
    ) -> (Result<Extracted, BodyError>, Head) {
        let plan = &*self.0;
        let progress = Progress::default();
        let mut reader = BodyReader::new(body, max_head, &progress);
        let sink = RecordSink::new(&plan.config, extra, output);
        let mut walk = Walk::new(plan, &progress, sink);
        let mut deserializer = Deserializer::new(IoRead::new(&mut reader));
        let parsed = parse(plan, &progress, &mut walk, &mut deserializer);
        drop(deserializer);
        let result = match parsed {
            Ok(()) => Ok(walk.finish()),
            Err(failure) => {
                reader.fill_head();
                Err(classify(failure, &progress, &reader.head, walk.sink.records))
            }
        };
        let head = Head {
            bytes: reader.head,
            received: reader.received,
        };
        (result, head)
    }
}

enum Failure {
    Json(serde_json::Error),
    Body(BodyError),
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

/// Parses the value of the body, or one after the other.
fn parse<R: std::io::Read>(
    plan: &Plan,
    progress: &Progress,
    walk: &mut Walk<'_>,
    deserializer: &mut Deserializer<IoRead<R>>,
) -> Result<(), Failure> {
    let lines = plan.config.format == BodyFormat::Ndjson;
    loop {
        if lines {
            // An error here is only that there is another value.
            match deserializer.end() {
                Ok(()) => return Ok(()),
                Err(error) if error.is_syntax() => {}
                Err(error) => return Err(error.into()),
            }
        }
        if plan.route.is_partial {
            progress.limit(plan.limits.buffered_body, &plan.buffered());
            let document = Box::<RawValue>::deserialize(&mut *deserializer)?;
            progress.unlimited();
            walk.run(&mut Deserializer::from_str(document.get()))?;
            walk.check_reached()?;
            query::records(document.get(), &plan.config.path.query, &mut |record| {
                walk.record(record)
            })?;
        } else {
            walk.run(&mut *deserializer)?;
            walk.check_reached()?;
        }
        if !lines {
            return Ok(deserializer.end()?);
        }
    }
}

/// What a failure to parse means for the body.
fn classify(failure: Failure, progress: &Progress, head: &[u8], records: u64) -> BodyError {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii();
    match text.first() {
        None => return BodyError::Empty,
        Some(b'{' | b'[' | b'"') => {}
        Some(_) if serde_json::from_slice::<IgnoredAny>(text).is_ok() => {}
        Some(_) => {
            return BodyError::NotJson {
                what: sniff::looks_like(head),
            };
        }
    }
    let error = match (failure, progress.take_failure()) {
        (Failure::Body(error), _) | (_, Some(error)) => return error,
        (Failure::Json(error), None) => error,
    };
    if error.is_eof() || progress.ended() {
        return BodyError::Truncated { at: progress.at() };
    }
    BodyError::syntax(&error, records)
}

#[cfg(test)]
mod tests;
