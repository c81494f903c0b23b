//! Extracts records from the JSON body of a response while it arrives.
//!
//! ```text
//! bytes ─▶ reader: limits ─▶ walk: serde seed along the record path ─▶ rows: added, exploded, mapped columns ─▶ output
//!                              └─▶ values of single paths, wherever they are
//! ```
//!
//! Runs on a blocking thread. Parses a body of up to 4 MiB as a whole, and holds one record of a larger one; a path with
//! filters, slices or `..` buffers the body. Knows no HTTP. A body with a JSON error has no rows at all; a record that does not fit its
//! columns is the decoder's to reject.

mod config;
mod error;
mod reader;
mod rows;
mod walk;

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::de::{Deserializer, IoRead, Read};
use serde_json::value::RawValue;

use self::config::BodyFormat;
pub(super) use self::config::OnMissing;
pub(crate) use self::config::RecordsConfig;
pub(super) use self::error::BodyError;
use self::error::WHOLE;
use self::reader::{BOM, BodyReader, Progress, check_nesting};
use self::rows::RecordSink;
use self::walk::{Route, Walk};
use super::json_path::{ExtractedValues, SinglePath, ValuePaths};
use crate::error::Result as Done;

const MAX_RECORD: usize = 16 << 20;

/// Bytes of a body that is parsed as a whole, which is faster than parsing it while it arrives.
const MAX_WHOLE_BODY: usize = 4 << 20;

/// Bytes of a body that is buffered, for a path that needs it.
const MAX_BUFFERED_BODY: usize = 64 << 20;

#[derive(Debug)]
pub(super) struct Extractor {
    pub(super) config: RecordsConfig,
    route: Route,
    paths: ValuePaths,
    cursor: Option<SinglePath>,
    max_buffered_body: usize,
}

#[derive(Debug, Default)]
pub(super) struct Extracted {
    /// Records, before they were exploded.
    pub(super) records: u64,
    pub(super) rows: u64,
    /// Records without the array to explode. If these are all records, its path may be misspelled.
    pub(super) without_list: u64,
    /// The values at the paths; in NDJSON, of the last line that has them.
    pub(super) values: ExtractedValues,
    /// The same for bodies with the same records, within one run.
    pub(super) digest: u64,
    /// Bits of the first 64 of `records.columns`, in order, that a row has a value for, null included.
    pub(super) found_columns: u64,
}

#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    pub(super) received: usize,
}

/// Takes a row, as the text of a JSON object, and its cursor, where the source has one.
pub(super) type RowOutput<'o> = &'o mut dyn FnMut(&str, Option<&Value>) -> Done<()>;

impl Extractor {
    /// For settings without [problems](RecordsConfig::validate). `cursor` is looked up in each row.
    pub(super) fn new(config: &RecordsConfig, paths: &ValuePaths, cursor: Option<SinglePath>) -> Self {
        Self {
            route: Route::new(&config.path.text, config.key_as.is_some()),
            config: config.clone(),
            paths: paths.clone(),
            cursor,
            max_buffered_body: MAX_BUFFERED_BODY,
        }
    }

    /// Reads a body and passes its rows to `output`. `extra` are columns of all rows; a record that has one of them
    /// must agree. After an error, the body is read on until its head has `max_head` bytes. Blocks.
    pub(super) fn run(
        &self,
        body: impl Iterator<Item = Bytes>,
        max_head: usize,
        extra: &[(Arc<str>, Value)],
        output: RowOutput<'_>,
    ) -> (Result<Extracted, BodyError>, Head) {
        let mut body = body.fuse();
        let (mut pieces, mut size) = (Vec::new(), 0);
        while size <= MAX_WHOLE_BODY
            && let Some(piece) = body.next()
        {
            size += piece.len();
            pieces.push(piece);
        }
        let mut failure = None;
        if size <= MAX_WHOLE_BODY && !self.route.is_partial {
            let whole = pieces.concat();
            let progress = Progress::default();
            let mut walk = Walk::new(self, &progress, RecordSink::new(self, extra, output));
            let text = whole.strip_prefix(BOM).unwrap_or(&whole);
            let parsed = check_nesting(text)
                .map_err(|error| progress.fail(error))
                .and_then(|()| self.parse(&progress, &mut walk, &mut Deserializer::from_slice(text)));
            let bytes = whole[..max_head.min(whole.len())].to_vec();
            match parsed {
                Ok(()) => {
                    return (
                        Ok(walk.finish()),
                        Head {
                            bytes,
                            received: whole.len(),
                        },
                    );
                }
                Err(error) => {
                    failure = Some(classify(&error, &progress, &bytes, walk.sink.extracted.records));
                }
            }
        }
        // The caller discards the rows of a body with an error. The streaming parser reads it again, only to say where
        // the error is.
        let mut discard = |_: &str, _: Option<&Value>| Ok(());
        let output = if failure.is_some() { &mut discard } else { output };
        let progress = Progress::default();
        let mut reader = BodyReader::new(pieces.into_iter().chain(body), max_head, &progress);
        let mut walk = Walk::new(self, &progress, RecordSink::new(self, extra, output));
        let mut deserializer = Deserializer::new(IoRead::new(&mut reader));
        let parsed = self.parse(&progress, &mut walk, &mut deserializer);
        drop(deserializer);
        let result = match parsed {
            Ok(()) => failure.map_or_else(|| Ok(walk.finish()), Err),
            Err(error) => {
                reader.fill_head();
                let records = walk.sink.extracted.records;
                Err(classify(&error, &progress, &reader.head, records))
            }
        };
        let head = Head {
            bytes: reader.head,
            received: reader.received,
        };
        (result, head)
    }

    fn parse<'de, R: Read<'de>>(
        &self,
        progress: &Progress,
        walk: &mut Walk<'_>,
        deserializer: &mut Deserializer<R>,
    ) -> serde_json::Result<()> {
        let fail = |error| progress.fail::<serde_json::Error>(error);
        let lines = self.config.format == BodyFormat::Ndjson;
        loop {
            if lines {
                // An error here is only that there is another value.
                match deserializer.end() {
                    Ok(()) => return Ok(()),
                    Err(error) if error.is_syntax() => {}
                    Err(error) => return Err(error),
                }
            }
            if self.route.is_partial {
                let path = &self.config.path;
                let what = format!("{WHOLE}, which `{}` requires to be buffered,", path.text);
                progress.limit(self.max_buffered_body, &what);
                let document = Box::<RawValue>::deserialize(&mut *deserializer)?;
                progress.unlimited();
                walk.run(&mut Deserializer::from_str(document.get()))?;
                walk.check_reached().map_err(fail)?;
                rows::query(document.get(), &path.query, &mut |record| walk.record(record)).map_err(fail)?;
            } else {
                walk.run(&mut *deserializer)?;
                walk.check_reached().map_err(fail)?;
            }
            if !lines {
                return deserializer.end();
            }
        }
    }
}

fn classify(error: &serde_json::Error, progress: &Progress, head: &[u8], records: u64) -> BodyError {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii();
    match text.first() {
        None => return BodyError::invalid("the response body is empty, expected JSON"),
        Some(b'{' | b'[' | b'"') => {}
        Some(_) if serde_json::from_slice::<IgnoredAny>(text).is_ok() => {}
        Some(_) => return BodyError::not_json(head),
    }
    if let Some(failure) = progress.failed.take() {
        return failure;
    }
    if error.is_eof() || progress.ended.get() {
        return BodyError::truncated(progress.at.get());
    }
    BodyError::syntax(error, records)
}

#[cfg(test)]
mod tests;
