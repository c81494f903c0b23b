//! Parquet from storage that returns parts of files: each row group's used columns in one request.

use std::ops::Range;
use std::sync::Arc;

use ::parquet::arrow::ParquetRecordBatchStreamBuilder;
use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use ::parquet::arrow::async_reader::AsyncFileReader;
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::runtime::Handle;

use super::{Rows, not_parquet};
use crate::error::{Error, Result};
use crate::format::{CHUNK_ROWS, Collector, ReadRanges, ReadResult};

/// Bytes read from the end first. The metadata of most files is smaller.
const TAIL_BYTES: usize = 64 << 10;

/// Largest metadata: a thousand columns in ten thousand row groups need more, and no export has them.
const MAX_METADATA_BYTES: u64 = 256 << 20;

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
    let mut stream = ParquetRecordBatchStreamBuilder::new_with_metadata(remote, metadata)
        .with_projection(rows.mask.clone())
        .with_batch_size(CHUNK_ROWS)
        .build()
        .map_err(|error| not_parquet(out, error))?;
    let schema = stream.schema().clone();
    loop {
        let group = wait(out, stream.next_row_group())?;
        let Some(reader) = group.map_err(|error| rows.failed(error))? else {
            break;
        };
        rows.send_all(reader)?;
    }
    rows.rows.finish(schema)
}

fn wait<T>(out: &Collector, future: impl Future<Output = T>) -> Result<T> {
    Handle::current().block_on(async {
        tokio::select! {
            biased;
            () = out.cx.run.cancel.cancelled() => Err(Error::interrupted()),
            done = future => Ok(done),
        }
    })
}

struct RemoteFile {
    file: Arc<dyn ReadRanges>,
    size: u64,
}

impl AsyncFileReader for RemoteFile {
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
