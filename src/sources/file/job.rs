//! Reads one file: opens it, decodes it, and hands its bytes to its format.

use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::extension::Extension;
use crate::codec::{Codec, Decoder, MAX_SPOOL_MEMORY, Member};
use crate::component::{Output, SourceContext};
use crate::disk::{ByteSpool, SpooledBytes};
use crate::error::{Result, read_error};
use crate::format::{
    Access, Added, Bytestream, Collector, FormatConfig, Input, READ_BYTES, RandomAccess, ReadRanges,
    ReadResult,
};
use crate::storage::{FileInfo, Storage};

/// What all files of a source share.
pub(super) struct JobContext {
    pub(super) format: Option<FormatConfig>,
    pub(super) decoder: Decoder,
    pub(super) scratch: Arc<Path>,
}

pub(super) struct Job {
    pub(super) file: FileInfo,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) codecs: Vec<Codec>,
    pub(super) context: Arc<JobContext>,
    /// The hash at the last reading, if the file can be skipped while it has this hash.
    pub(super) known_hash: Option<String>,
    pub(super) added: Vec<(String, Added)>,
    /// The file, if it was opened before its turn.
    pub(super) prefetched: Mutex<Option<Result<Bytestream>>>,
    /// Where its hash goes, if it is wanted.
    pub(super) hash: Option<ContentHash>,
}

/// Size up to which a file is prefetched: a few of them fit into memory.
const MAX_PREFETCH_BYTES: u64 = 1 << 20;

impl Job {
    /// Starts to read a small remote file. An error is reported when it is the file's turn.
    pub(super) fn prefetch(&mut self, cancel: &CancellationToken) {
        let small = self.file.size.is_some_and(|size| size <= MAX_PREFETCH_BYTES);
        let streamed = !self.codecs.is_empty()
            || matches!(self.format(), Ok(format) if format.registration.access == Access::Stream);
        let prefetched = self.prefetched.get_mut().unwrap_or_else(PoisonError::into_inner);
        if small && streamed && prefetched.is_none() && self.storage.local_path(&self.file).is_none() {
            *prefetched = Some(self.storage.open(&self.file, cancel));
        }
    }

    /// Reads the file and sends its rows; `false` if it was skipped as unchanged. Blocks.
    pub(super) fn read(&self, cx: &SourceContext, out: &Output) -> ReadResult<bool> {
        let name = &self.file.name;
        if self.codecs.is_empty() {
            let input = Input {
                extension: &Extension::of(name).format,
                open: &|| self.open(cx),
                can_reopen: self.storage.is_rereadable(&self.file),
                ranges: self.ranges(),
            };
            let rows = self.collector(name.clone(), cx, out);
            return self.format()?.format.read(&input, &rows).map(|()| true);
        }
        let encoded = self.encoded(cx)?;
        if let (Some(known), Some(hash)) = (&self.known_hash, &self.hash)
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
            let opened = || decoded[index].open();
            let open = || opened().map_err(|error| read_error(&name, error, None));
            let input = Input {
                extension: &extension,
                open: &open,
                can_reopen: true,
                ranges: None,
            };
            format
                .format
                .read(&input, &self.collector(name.clone(), cx, out))?;
        }
        Ok(true)
    }

    /// Name, extension and format of each decoded file.
    fn members(&self, decoded: &[Member]) -> Result<Vec<(Arc<str>, String, FormatConfig)>> {
        let file = &self.file.name;
        let members = decoded
            .iter()
            .map(|member| match (&member.name, member.printable_name()) {
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
        let supported = self.storage.is_rereadable(&self.file);
        supported.then(|| RandomAccess::Remote(Arc::new(ranges)))
    }

    fn collector(&self, name: Arc<str>, cx: &SourceContext, out: &Output) -> Collector {
        Collector {
            name,
            cx: cx.clone(),
            output: out.clone(),
            added: self.added.clone(),
        }
    }

    fn open(&self, cx: &SourceContext) -> Result<Bytestream> {
        let prefetched = self
            .prefetched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // A second reading opens the file again.
        let opened = match prefetched {
            Some(opened) => opened?,
            None => self.storage.open(&self.file, &cx.run.cancel)?,
        };
        Ok(match &self.hash {
            Some(hash) => hash.reader(opened),
            None => opened,
        })
    }

    /// The encoded file, to read more than once: the local one, or a copy.
    fn encoded(&self, cx: &SourceContext) -> Result<SpooledBytes> {
        let failed = |error| read_error(&self.file.name, error, None);
        if let Some(path) = self.storage.local_path(&self.file) {
            return SpooledBytes::open(path).map_err(failed);
        }
        let content = "a compressed or encrypted remote file";
        let mut copy = ByteSpool::new(&self.context.scratch, MAX_SPOOL_MEMORY, content);
        let mut bytes = io::BufReader::with_capacity(READ_BYTES, self.open(cx)?);
        io::copy(&mut bytes, &mut copy).map_err(failed)?;
        Ok(copy.finish())
    }
}

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

/// Receives the hash of a file that is read to its end; the last of several readings counts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ContentHash(Arc<Mutex<Option<String>>>);

impl ContentHash {
    /// In hexadecimal; `None` if the file was not read to its end in order.
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hashes what is read from `inner`.
    pub(super) fn reader(&self, inner: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
        Box::new(HashingReader {
            inner,
            hasher: blake3::Hasher::new(),
            hash: self.clone(),
        })
    }
}

struct HashingReader {
    inner: Box<dyn Read + Send>,
    hasher: blake3::Hasher,
    hash: ContentHash,
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if length > 0 {
            self.hasher.update(&buffer[..length]);
        } else if !buffer.is_empty() {
            let hash = self.hasher.finalize().to_hex().to_string();
            *self.hash.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash);
        }
        Ok(length)
    }
}
