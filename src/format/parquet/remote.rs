//! Parquet from storage that returns parts of files: each row group's used columns in one request, and the next row
//! group's while one is decoded.

use std::ops::Range;
use std::sync::Arc;

use ::parquet::arrow::ParquetRecordBatchStreamBuilder;
use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader};
use ::parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::{Rows, not_parquet};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{CHUNK_ROWS, Collector, ReadRanges, ReadResult};

/// Bytes read from the end first. The metadata of most files is smaller.
const TAIL_BYTES: usize = 64 << 10;

/// Largest metadata: a thousand columns in ten thousand row groups need more, and no export has them.
const MAX_METADATA_BYTES: u64 = 256 << 20;

/// Row groups of which the used columns are larger are not fetched ahead.
const MAX_PREFETCH_BYTES: u64 = 16 << 20;

pub(super) fn read(file: &Arc<dyn ReadRanges>, out: &Collector) -> ReadResult {
    let Some(size) = file.size() else {
        return Err(Error::input(format!("the size of `{}` is unknown", out.name))
            .with_hint("Parquet is read from its end: use a storage that reports the size of files")
            .into());
    };
    let mut remote = RemoteFile {
        file: file.clone(),
        size,
    };
    let metadata = ArrowReaderMetadata::load_async(&mut remote, ArrowReaderOptions::default());
    let metadata = wait(out, metadata)?.map_err(|error| not_parquet(out, error))?;
    let mut rows = Rows::new(out, &metadata)?;
    let small = small_row_groups(&rows, metadata.metadata());
    let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(remote, metadata)
        .with_projection(rows.mask.clone())
        .with_batch_size(CHUNK_ROWS)
        .build()
        .map_err(|error| not_parquet(out, error))?;
    let schema = stream.schema().clone();
    let mut fetch = Fetch::start(stream);
    for group in 0.. {
        out.check_stopped()?;
        let (stream, reader) = fetch.finish(out)?;
        let Some(reader) = reader.map_err(|error| rows.failed(error))? else {
            break;
        };
        if small
            .get(group..group + 2)
            .is_some_and(|pair| pair == [true, true])
        {
            fetch = Fetch::start(stream);
            rows.send_all(reader)?;
        } else {
            rows.send_all(reader)?;
            fetch = Fetch::start(stream);
        }
    }
    rows.finish(schema)
}

/// Which row groups may be fetched while another one is decoded.
fn small_row_groups(rows: &Rows<'_>, metadata: &ParquetMetaData) -> Vec<bool> {
    let groups = metadata.row_groups().iter().map(|group| {
        let used = (0..group.num_columns()).filter(|&column| rows.mask.leaf_included(column));
        let bytes = used.map(|column| group.column(column).byte_range().1);
        bytes.fold(0, u64::saturating_add) <= MAX_PREFETCH_BYTES
    });
    groups.collect()
}

/// Waits for `future` until the run is cancelled.
fn wait<T>(out: &Collector, future: impl Future<Output = T>) -> Result<T> {
    Handle::current().block_on(async {
        tokio::select! {
            biased;
            () = out.cx.run.cancel.cancelled() => Err(Error::new(ErrorKind::Interrupted, "the run is stopping")),
            done = future => Ok(done),
        }
    })
}

type Stream = ParquetRecordBatchStream<RemoteFile>;
type Fetched = (Stream, ParquetResult<Option<ParquetRecordBatchReader>>);

/// A row group that is being fetched; dropping it ends that.
struct Fetch(JoinSet<Fetched>);

impl Fetch {
    fn start(mut stream: Stream) -> Self {
        let mut task = JoinSet::new();
        let fetch = async move {
            let reader = stream.next_row_group().await;
            (stream, reader)
        };
        task.spawn_on(fetch, &Handle::current());
        Self(task)
    }

    fn finish(mut self, out: &Collector) -> Result<Fetched> {
        match wait(out, self.0.join_next())? {
            Some(Ok(fetched)) => Ok(fetched),
            Some(Err(error)) => Err(Error::task_failed("fetching a part of a file", &error)),
            None => Err(Error::unexpected("no part of a file was fetched")),
        }
    }
}

/// A remote file as the parquet crate reads it.
struct RemoteFile {
    file: Arc<dyn ReadRanges>,
    size: u64,
}

impl AsyncFileReader for RemoteFile {
    /// Of the metadata only.
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            let length = range.end.saturating_sub(range.start);
            if length > MAX_METADATA_BYTES {
                return Err(ParquetError::General(format!(
                    "its metadata has {length} bytes, the limit is {MAX_METADATA_BYTES}"
                )));
            }
            let bytes = self.get_byte_ranges(vec![range]).await?;
            Ok(bytes.into_iter().next().unwrap_or_default())
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            // A damaged file may refer to any position.
            if ranges
                .iter()
                .any(|range| range.start > range.end || range.end > self.size)
            {
                let message = "the metadata refers to bytes that are not in the file";
                return Err(ParquetError::General(message.to_owned()));
            }
            let read = self.file.read_ranges(&ranges).await;
            read.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size;
            let reader = ParquetMetaDataReader::new()
                .with_prefetch_hint(Some(TAIL_BYTES))
                .with_arrow_reader_options(options);
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}
