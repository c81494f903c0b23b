//! A row group that is too large to be held: of each used column a window, and the next one on its way.
//!
//! The decoder takes the pages of a column one after another, and of all columns by turns. So a window moves on in each
//! column for itself.

use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::errors::Result as ParquetResult;
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::{Bytes, BytesMut};

use super::remote::{Fetching, Source, outside};

const LARGEST: u64 = 2 << 20;
const SMALLEST: u64 = 64 << 10;

/// The used columns of a row group. Cheap to clone; the clones move the same windows.
#[derive(Clone)]
pub(super) struct Windows {
    source: Source,
    size: u64,
    columns: Arc<Vec<Mutex<Column>>>,
}

struct Column {
    range: Range<u64>,
    /// Bytes of a window.
    length: u64,
    /// The window's bytes, and where they begin.
    start: u64,
    bytes: Bytes,
    /// The window behind.
    next: Option<Fetching>,
}

impl Windows {
    /// Holds `most` bytes at most, apart from pages that are larger than a window.
    pub(super) fn new(source: Source, size: u64, columns: Vec<Range<u64>>, most: u64) -> Self {
        let length = (most / (2 * columns.len().max(1) as u64)).clamp(SMALLEST, LARGEST);
        let columns = columns.into_iter().map(|range| {
            Mutex::new(Column {
                start: range.start,
                range,
                length,
                bytes: Bytes::new(),
                next: None,
            })
        });
        Self {
            source,
            size,
            columns: Arc::new(columns.collect()),
        }
    }

    fn column<T>(&self, start: u64, work: impl FnOnce(&mut Column) -> ParquetResult<T>) -> ParquetResult<T> {
        for column in &*self.columns {
            let mut column = column.lock().unwrap_or_else(PoisonError::into_inner);
            if column.range.contains(&start) {
                return work(&mut column);
            }
        }
        Err(outside(start))
    }

    /// At least one byte from `start` on, and no more than `length`.
    pub(super) fn some(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        self.column(start, |column| {
            column.reach(start, &self.source)?;
            let bytes = column.here(start);
            Ok(bytes.slice(..bytes.len().min(length)))
        })
    }
}

impl Column {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// What the window has from `start` on.
    fn here(&self, start: u64) -> Bytes {
        match usize::try_from(start.saturating_sub(self.start)) {
            Ok(from) if start >= self.start && from <= self.bytes.len() => self.bytes.slice(from..),
            _ => Bytes::new(),
        }
    }

    /// Moves the window to where `start` is in it.
    fn reach(&mut self, start: u64, source: &Source) -> ParquetResult<()> {
        while !(self.start..self.end()).contains(&start) {
            let from = self.end();
            if start < self.start || start >= from.saturating_add(self.length) {
                // Back, or over pages that are not wanted: what is on its way is of no use.
                self.next = None;
                self.start = start;
                self.bytes = Bytes::new();
                continue;
            }
            let fetching = match self.next.take() {
                Some(fetching) => fetching,
                None => self.fetch(from, source)?,
            };
            let mut fetched = fetching.wait(source).map_err(|error| source.failed(error))?;
            let bytes = fetched.pop().unwrap_or_default();
            if bytes.is_empty() {
                return Err(outside(start));
            }
            self.start = from;
            self.bytes = bytes;
            if self.end() < self.range.end {
                self.next = Some(self.fetch(self.end(), source)?);
            }
        }
        Ok(())
    }

    fn fetch(&self, from: u64, source: &Source) -> ParquetResult<Fetching> {
        let window = from..self.range.end.min(from.saturating_add(self.length));
        if window.is_empty() {
            return Err(outside(from));
        }
        Ok(source.fetch(std::slice::from_ref(&window)))
    }
}

impl Length for Windows {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Windows {
    type T = BufReader<Pages>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        // For the header of a page, which is read byte by byte.
        let pages = Pages {
            windows: self.clone(),
            at: start,
            end: self.column(start, |column| Ok(column.range.end))?,
        };
        Ok(BufReader::with_capacity(512, pages))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        self.column(start, |column| {
            let end = start
                .checked_add(length as u64)
                .filter(|end| *end <= column.range.end);
            if end.is_none() {
                return Err(outside(start));
            }
            column.reach(start, &self.source)?;
            let first = column.here(start);
            if first.len() >= length {
                return Ok(first.slice(..length));
            }
            let mut bytes = BytesMut::with_capacity(length);
            bytes.extend_from_slice(&first);
            while bytes.len() < length {
                let at = start + bytes.len() as u64;
                column.reach(at, &self.source)?;
                let here = column.here(at);
                bytes.extend_from_slice(&here[..here.len().min(length - bytes.len())]);
            }
            Ok(bytes.freeze())
        })
    }
}

/// The bytes of a column from somewhere on.
pub(super) struct Pages {
    windows: Windows,
    at: u64,
    end: u64,
}

impl Read for Pages {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.end {
            return Ok(0);
        }
        let bytes = self
            .windows
            .some(self.at, buffer.len())
            .map_err(io::Error::other)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}
