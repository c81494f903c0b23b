//! Parquet from a place that gives parts of files.
//!
//! A row group whose used columns are small is fetched whole, and the next one while it is decoded; a large one is read
//! through windows. Either way no more than [`MOST`] bytes are held, however the file was written. The row groups are
//! decoded one after another on the thread of the caller.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::reader::{ChunkReader, Length};
use arrow::datatypes::Schema;
use bytes::{Buf as _, Bytes};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::window::Windows;
use super::{Rows, around, no_parquet};
use crate::decode::{End, Feed, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::sources::file::place::{Found, Place};

/// Bytes read from the end at first. The metadata of most files is less.
const TAIL: u64 = 64 << 10;

/// Bytes of a file's metadata, at most: that of a thousand columns in ten thousand row groups is more, and no export.
const MOST_METADATA: u64 = 256 << 20;

/// Fetched bytes that are held, at most.
const MOST: u64 = 32 << 20;

/// Reads one file.
///
/// # Errors
/// See [`super::read`].
pub(super) fn read(place: &Arc<dyn Place>, file: &Found, feed: &Feed) -> Step {
    read_within(place, file, feed, MOST)
}

/// As [`read`], holding so many bytes at most.
pub(super) fn read_within(place: &Arc<dyn Place>, file: &Found, feed: &Feed, most: u64) -> Step {
    let source = Source {
        place: place.clone(),
        file: file.clone(),
        cancel: feed.cx.run.cancel.clone(),
        runtime: Handle::current(),
        failure: Arc::default(),
    };
    let Some(size) = file.size else {
        return Err(Error::input(format!("how long `{}` is is not known", feed.name))
            .with_hint("Parquet is read from its end: take the file from a place that tells its size")
            .into());
    };
    let metadata = source.metadata(size).map_err(|error| no_parquet(feed, error))?;
    let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::default())
        .map_err(|error| no_parquet(feed, error))?;
    let mut rows = Rows::new(feed, &metadata);
    let groups = used_columns(&rows, metadata.metadata(), size).map_err(|error| no_parquet(feed, error))?;
    let mut fetching: Option<Fetching> = None;
    let mut schema = Arc::new(Schema::empty());
    for (number, columns) in groups.iter().enumerate() {
        feed.check_stopped()?;
        let whole = fits(columns, most);
        let fetched = match fetching.take() {
            Some(fetching) => Some(fetching),
            None => whole.then(|| source.fetch(columns)),
        };
        // A small row group and the next one are what may be held together.
        if whole
            && let Some(next) = groups.get(number + 1)
            && fits(next, most)
        {
            fetching = Some(source.fetch(next));
        }
        schema = match fetched {
            Some(fetched) => {
                let bytes = fetched
                    .wait(&source)
                    .map_err(|error| around(rows.at_row(), error))?;
                let columns = columns.iter().cloned().zip(bytes).collect();
                rows.decode(InMemory { size, columns }, metadata.clone(), Some(number))?
            }
            None => {
                let windows = Windows::new(source.clone(), size, columns.clone(), most);
                let decoded = rows.decode(windows, metadata.clone(), Some(number));
                match (decoded, source.take_failure()) {
                    (Err(End::Failed(_)), Some(error)) => return Err(around(rows.at_row(), error).into()),
                    (decoded, _) => decoded?,
                }
            }
        };
    }
    if groups.is_empty() {
        let nothing = InMemory {
            size,
            columns: Vec::new(),
        };
        schema = rows.decode(nothing, metadata, None)?;
    }
    rows.finish(schema)
}

/// Whether a row group may be held while the next one is fetched.
fn fits(columns: &[Range<u64>], most: u64) -> bool {
    columns.iter().map(|range| range.end - range.start).sum::<u64>() <= most / 2
}

/// Where the used columns of each row group are.
fn used_columns(
    rows: &Rows<'_>,
    metadata: &ParquetMetaData,
    size: u64,
) -> ParquetResult<Vec<Vec<Range<u64>>>> {
    let used = |column: &usize| rows.mask.leaf_included(*column);
    metadata
        .row_groups()
        .iter()
        .map(|group| {
            (0..group.num_columns())
                .filter(used)
                .map(|column| bytes_of(group.column(column), size))
                .collect()
        })
        .collect()
}

/// Where a column is. Of a damaged file it may be anywhere, which is nothing that the decoder takes.
fn bytes_of(column: &ColumnChunkMetaData, size: u64) -> ParquetResult<Range<u64>> {
    let start = column
        .dictionary_page_offset()
        .unwrap_or_else(|| column.data_page_offset());
    let range = u64::try_from(start)
        .ok()
        .zip(u64::try_from(column.compressed_size()).ok())
        .and_then(|(start, length)| Some(start..start.checked_add(length)?));
    match range {
        Some(range) if range.end <= size => Ok(range),
        _ => Err(ParquetError::General(
            "the metadata names bytes that are not in the file".to_owned(),
        )),
    }
}

/// A file of a place, for threads that may block.
#[derive(Clone)]
pub(super) struct Source {
    place: Arc<dyn Place>,
    file: Found,
    cancel: CancellationToken,
    runtime: Handle,
    /// What the place said: on its way through the decoder an error becomes a text.
    failure: Arc<Mutex<Option<Error>>>,
}

impl Source {
    /// Keeps an error of the place, and stands for it in the decoder.
    pub(super) fn failed(&self, error: Error) -> ParquetError {
        let text = error.to_string();
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        ParquetError::General(text)
    }

    fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Begins to fetch.
    pub(super) fn fetch(&self, ranges: &[Range<u64>]) -> Fetching {
        let mut task = JoinSet::new();
        let (place, file, ranges) = (self.place.clone(), self.file.clone(), ranges.to_vec());
        task.spawn_on(
            async move { place.read_ranges(&file, &ranges).await },
            &self.runtime,
        );
        Fetching(task)
    }

    fn tail(&self, size: u64, length: u64) -> ParquetResult<Bytes> {
        let tail = size.saturating_sub(length)..size;
        let fetched = self.fetch(std::slice::from_ref(&tail)).wait(self);
        let mut fetched = fetched.map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(fetched.pop().unwrap_or_default())
    }

    fn metadata(&self, size: u64) -> ParquetResult<ParquetMetaData> {
        let mut length = TAIL.min(size);
        loop {
            let tail = self.tail(size, length)?;
            let mut reader = ParquetMetaDataReader::new();
            match reader.try_parse_sized(&tail, size) {
                Ok(()) => return reader.finish(),
                Err(ParquetError::NeedMoreData(needed))
                    if needed as u64 > length && needed as u64 <= size =>
                {
                    length = needed as u64;
                    if length > MOST_METADATA {
                        return Err(ParquetError::General(format!(
                            "its metadata has {length} bytes, which is more than {MOST_METADATA}"
                        )));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Ranges on their way; dropped, they are not fetched any more.
pub(super) struct Fetching(JoinSet<Result<Vec<Bytes>>>);

impl Fetching {
    /// Waits for them, until the run is cancelled.
    pub(super) fn wait(mut self, source: &Source) -> Result<Vec<Bytes>> {
        source.runtime.block_on(async {
            tokio::select! {
                biased;
                () = source.cancel.cancelled() => Err(Error::new(ErrorKind::Interrupted, "the run is stopping")),
                fetched = self.0.join_next() => match fetched {
                    Some(Ok(fetched)) => fetched,
                    Some(Err(error)) => Err(Error::broken_off("fetching a part of a file", &error)),
                    None => Err(Error::unexpected("nothing was fetched")),
                },
            }
        })
    }
}

/// The used columns of a row group.
struct InMemory {
    size: u64,
    columns: Vec<(Range<u64>, Bytes)>,
}

impl InMemory {
    /// What there is from `start` on.
    fn from(&self, start: u64) -> ParquetResult<Bytes> {
        let column = self.columns.iter().find(|(range, _)| range.contains(&start));
        let rest = column.and_then(|(range, bytes)| {
            let from = usize::try_from(start - range.start).ok()?;
            (from <= bytes.len()).then(|| bytes.slice(from..))
        });
        rest.ok_or_else(|| outside(start))
    }
}

impl Length for InMemory {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for InMemory {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let rest = self.from(start)?;
        if length > rest.len() {
            return Err(outside(start));
        }
        Ok(rest.slice(..length))
    }
}

/// A page that is not where the metadata says that pages are.
pub(super) fn outside(start: u64) -> ParquetError {
    ParquetError::General(format!("a page at byte {start} is not in its column"))
}

#[cfg(test)]
mod tests;
