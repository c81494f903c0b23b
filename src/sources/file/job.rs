//! Reads one file: opens it, decodes it, and hands its bytes to its format.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::extension::Extension;
use super::hash::ContentHash;
use crate::codec::{Codec, Decoded, Decoder, MAX_SPOOL_MEMORY};
use crate::component::{Output, SourceContext};
use crate::disk::{ByteSpool, SpooledBytes};
use crate::error::{Result, read_error};
use crate::format::{
    Access, Added, AddedColumns, Bytestream, Collector, FormatConfig, Input, READ_BYTES, RandomAccess,
    ReadRanges, ReadResult,
};
use crate::storage::{FileInfo, Storage};

/// What all files of a source share.
#[derive(Debug)]
pub(super) struct JobContext {
    /// As configured; else detected from each name.
    pub(super) format: Option<FormatConfig>,
    pub(super) decoder: Decoder,
    /// Folder of temporary files.
    pub(super) scratch: Arc<Path>,
}

/// One file and how to read it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) file: FileInfo,
    pub(super) storage: Arc<dyn Storage>,
    /// Outermost first.
    pub(super) codecs: Vec<Codec>,
    pub(super) context: Arc<JobContext>,
    /// The hash at the last reading, if the file can be skipped while it has this hash.
    pub(super) known_hash: Option<String>,
    pub(super) added: Vec<(String, Added)>,
    pub(super) prefetched: Prefetched,
}

/// A file that was opened before its turn.
#[derive(Default)]
pub(super) struct Prefetched(Mutex<Option<Result<Bytestream>>>);

impl fmt::Debug for Prefetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prefetched")
    }
}

/// Size up to which a file is prefetched: a few of them fit into memory.
const MAX_PREFETCH_BYTES: u64 = 1 << 20;

impl Job {
    /// Starts to read a small remote file. An error is reported when it is the file's turn.
    pub(super) fn prefetch(&mut self, cancel: &CancellationToken) {
        let small = self.file.size.is_some_and(|size| size <= MAX_PREFETCH_BYTES);
        let streamed = !self.codecs.is_empty()
            || matches!(self.format(), Ok(format) if format.access() == Access::Stream);
        let prefetched = self
            .prefetched
            .0
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if small && streamed && prefetched.is_none() && self.storage.local_path(&self.file).is_none() {
            *prefetched = Some(self.storage.open(&self.file, cancel));
        }
    }

    /// Reads the file and sends its rows; `false` if it was skipped as unchanged. Blocks.
    ///
    /// # Errors
    /// It cannot be read to its end. Of a file with codecs no row was sent then.
    pub(super) fn read(
        &self,
        cx: &SourceContext,
        out: &Output,
        hash: Option<&ContentHash>,
    ) -> ReadResult<bool> {
        let name = &self.file.name;
        if self.codecs.is_empty() {
            let input = Input {
                extension: &Extension::of(name).format,
                open: &|| self.open(cx, hash),
                can_reopen: self.storage.is_rereadable(&self.file),
                ranges: self.ranges(),
            };
            let rows = self.collector(name.clone(), cx, out);
            return self.format()?.read(&input, &rows).map(|()| true);
        }
        let encoded = self.encoded(cx, hash)?;
        if let (Some(known), Some(hash)) = (&self.known_hash, hash)
            && hash.get().as_ref() == Some(known)
        {
            tracing::info!(file = %name, "skipped: modified, but the content is the same as when it was read before");
            return Ok(false);
        }
        let decoder = &self.context.decoder;
        let decoded = decoder.check(name, encoded, &self.codecs, &cx.run.cancel)?;
        // Before the first row: a member of an unknown format must leave nothing of the file sent.
        let members = self.members(&decoded)?;
        for (index, (name, extension, format)) in members.into_iter().enumerate() {
            let open = || {
                decoded
                    .open(index)
                    .map_err(|error| read_error(&name, error, None))
            };
            let input = Input {
                extension: &extension,
                open: &open,
                can_reopen: true,
                ranges: None,
            };
            format.read(&input, &self.collector(name.clone(), cx, out))?;
        }
        Ok(true)
    }

    /// Name, extension and format of each decoded file.
    fn members(&self, decoded: &Decoded) -> Result<Vec<(Arc<str>, String, FormatConfig)>> {
        let file = &self.file.name;
        let members = decoded.members().iter();
        let members = members.map(|member| match (&member.name, member.printable_name()) {
            (Some(inner), Some(printable)) => {
                let name = format!("{file}/{printable}");
                let extension = Extension::of(inner);
                let format = extension.format_of(&name, self.context.format.as_ref(), true)?;
                Ok((name.into(), extension.format, format))
            }
            _ => Ok((file.clone(), Extension::of(file).format, self.format()?)),
        });
        members.collect()
    }

    /// The format, unless the file is an archive of several.
    fn format(&self) -> Result<FormatConfig> {
        let name = &self.file.name;
        Extension::of(name).format_of(name, self.context.format.as_ref(), !self.codecs.is_empty())
    }

    fn ranges(&self) -> Option<RandomAccess> {
        if let Some(path) = self.storage.local_path(&self.file) {
            return Some(RandomAccess::Local(path.to_owned()));
        }
        let ranges = StoredFile {
            storage: self.storage.clone(),
            file: self.file.clone(),
        };
        let supported = self.storage.supports_ranges(&self.file);
        supported.then(|| RandomAccess::Remote(Arc::new(ranges)))
    }

    fn collector(&self, name: Arc<str>, cx: &SourceContext, out: &Output) -> Collector {
        Collector {
            name,
            cx: cx.clone(),
            output: out.clone(),
            added: AddedColumns::new(self.added.clone()),
        }
    }

    /// The bytes as stored.
    fn open(&self, cx: &SourceContext, hash: Option<&ContentHash>) -> Result<Bytestream> {
        let prefetched = self
            .prefetched
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // A second reading opens the file again.
        let opened = match prefetched {
            Some(opened) => opened?,
            None => self.storage.open(&self.file, &cx.run.cancel)?,
        };
        Ok(match hash {
            Some(hash) => hash.reader(opened),
            None => opened,
        })
    }

    /// The encoded file, to read more than once: the local one, or a copy.
    fn encoded(&self, cx: &SourceContext, hash: Option<&ContentHash>) -> Result<SpooledBytes> {
        let failed = |error| read_error(&self.file.name, error, None);
        if let Some(path) = self.storage.local_path(&self.file) {
            return SpooledBytes::open(path).map_err(failed);
        }
        let content = "a compressed or encrypted remote file";
        let mut copy = ByteSpool::new(&self.context.scratch, MAX_SPOOL_MEMORY, content);
        let mut bytes = io::BufReader::with_capacity(READ_BYTES, self.open(cx, hash)?);
        io::copy(&mut bytes, &mut copy).map_err(failed)?;
        Ok(copy.finish())
    }
}

/// A file of which any part can be read.
#[derive(Debug)]
struct StoredFile {
    storage: Arc<dyn Storage>,
    file: FileInfo,
}

#[async_trait]
impl ReadRanges for StoredFile {
    fn size(&self) -> Option<u64> {
        self.file.size
    }

    async fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.storage.read_ranges(&self.file, ranges).await
    }
}
