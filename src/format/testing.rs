//! Runs a format on bytes in memory and collects what comes out.

use std::io::Cursor;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use super::{Bytestream, Collector, Format, FormatConfig, Input, RandomAccess, ReadError, ReadRanges};
use crate::component::contract::context;
use crate::component::{Chunk, Counts, Item, Output, Reject, Totals, channel};
use crate::error::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) rejects: Vec<Reject>,
    pub(crate) totals: Totals,
    pub(crate) result: Result<()>,
}

pub(crate) struct Reading<'a> {
    pub(crate) name: &'a str,
    pub(crate) bytes: Bytes,
    /// Another reader than the format, for sizes that are not settings.
    pub(crate) format: Arc<dyn Format>,
    pub(crate) columns: Option<&'a [&'a str]>,
    /// Without `ranges`, false is like standard input: once, in order.
    pub(crate) can_reopen: bool,
    pub(crate) ranges: Option<RandomAccess>,
    pub(crate) cancelled: bool,
}

fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

impl<'a> Reading<'a> {
    /// Uses `format`, or the format of `name`'s extension if it is null.
    pub(crate) fn new(name: &'a str, bytes: impl AsRef<[u8]>, format: Value) -> Self {
        let bytes = Bytes::copy_from_slice(bytes.as_ref());
        let format: FormatConfig = match format {
            Value::Null => FormatConfig::of_extension(extension(name)).unwrap(),
            format => serde_json::from_value(format).unwrap(),
        };
        Self {
            name,
            format: format.format,
            columns: None,
            can_reopen: true,
            ranges: Some(RandomAccess::Remote(Arc::new(MemoryFile::new(bytes.clone())))),
            bytes,
            cancelled: false,
        }
    }

    pub(crate) async fn run(self) -> Outcome {
        let cx = context(Path::new("."), self.columns);
        if self.cancelled {
            cx.run.cancel.cancel();
        }
        let (sender, mut input) = channel(2, Counts::default());
        let output = Output::source(vec![(sender, 0)], cx.counts.clone(), cx.run.cancel.clone(), None);
        let collector = Collector {
            name: self.name.into(),
            cx: cx.clone(),
            output,
            added: Vec::new(),
        };
        let (name, bytes, format) = (self.name.to_owned(), self.bytes, self.format);
        let (can_reopen, ranges) = (self.can_reopen, self.ranges);
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let read = tokio::task::spawn_blocking(move || {
            let _log = tracing::dispatcher::set_default(&dispatch);
            let input = Input {
                extension: extension(&name),
                open: &|| Ok(Box::new(Cursor::new(bytes.clone())) as Bytestream),
                can_reopen,
                ranges,
            };
            format.read(&input, &collector)
        });
        let mut chunks = Vec::new();
        while let Some((_, item)) = input.next().await {
            if let Item::Chunk(chunk) = item {
                chunks.push(chunk);
            }
        }
        let result = read.await.unwrap().map_err(|error| match error {
            ReadError::Failed(error) => error,
            ReadError::Stopped => Error::interrupted(),
        });
        Outcome {
            chunks,
            rejects: cx.rejects.kept(),
            totals: cx.counts.totals(),
            result,
        }
    }
}

pub(crate) async fn read(name: &str, bytes: impl AsRef<[u8]>, format: Value) -> Outcome {
    Reading::new(name, bytes, format).run().await
}

/// Reads a file of the format of `name`'s extension, of which these columns are used.
pub(crate) async fn read_used(name: &str, bytes: impl AsRef<[u8]>, columns: &[&str]) -> Outcome {
    let columns = Some(columns);
    Reading {
        columns,
        ..Reading::new(name, bytes, Value::Null)
    }
    .run()
    .await
}

/// Reads bytes with `format`, outside a runtime; `once`, in order.
pub(crate) fn decode(bytes: &[u8], format: impl Format + 'static, once: bool) -> Outcome {
    let mut reading = Reading::new("a.csv", bytes, Value::Null);
    reading.format = Arc::new(format);
    reading.can_reopen = !once;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(reading.run())
}

impl Outcome {
    /// The rows as text, null as `-`; reading must have succeeded.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        assert!(self.result.is_ok(), "{:?}", self.result);
        let options = FormatOptions::default().with_null("-");
        let mut rows = Vec::new();
        for chunk in &self.chunks {
            let columns = chunk.batch.columns().iter();
            let columns: Vec<_> = columns
                .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            rows.extend((0..chunk.num_rows()).map(|row| {
                let cells = columns.iter().map(|column| column.value(row).to_string());
                cells.collect::<Vec<_>>()
            }));
        }
        rows
    }

    pub(crate) fn origins(&self) -> Vec<(u64, Option<u64>)> {
        let chunks = self.chunks.iter();
        chunks
            .flat_map(|chunk| (0..chunk.num_rows()).map(|row| chunk.origins.at(row)))
            .map(|origin| (origin.row, origin.line))
            .collect()
    }

    /// Row, line, code and message of each reject.
    pub(crate) fn rejected(&self) -> Vec<(u64, Option<u64>, &'static str, &str)> {
        let rejects = self.rejects.iter().map(|reject| {
            let (origin, fault) = (&reject.origin, &reject.faults[0]);
            (origin.row, origin.line, fault.code.as_str(), &*fault.message)
        });
        rejects.collect()
    }

    pub(crate) fn columns(&self) -> &[String] {
        &self.chunks[0].origins.part().columns
    }

    pub(crate) fn error(&self) -> &Error {
        self.result.as_ref().unwrap_err()
    }
}

/// A file in memory that records the requested ranges.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    bytes: Bytes,
    pub(crate) requests: Mutex<Vec<Vec<Range<u64>>>>,
    /// Requests after which it fails.
    pub(crate) fails_after: usize,
}

impl MemoryFile {
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: bytes.into(),
            requests: Mutex::default(),
            fails_after: usize::MAX,
        }
    }
}

#[async_trait]
impl ReadRanges for MemoryFile {
    fn size(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }

    async fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut requests = self.requests.lock().unwrap();
        if requests.len() >= self.fails_after {
            return Err(Error::new(ErrorKind::Transient, "the connection is lost").with_hint("run again"));
        }
        requests.push(ranges.to_vec());
        let part = |range: &Range<u64>| self.bytes.slice(range.start as usize..range.end as usize);
        Ok(ranges.iter().map(part).collect())
    }
}
