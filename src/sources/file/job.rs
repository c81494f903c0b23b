//! One file: its bytes, unpacked, become rows.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::extension::Extension;
use super::hash::{ContentHash, HashingReader};
use crate::codec::{Codec, Decoded, Decoder, InputFile};
use crate::component::{Output, SourceContext};
use crate::error::read_error;
use crate::error::{Error, Result};
use crate::format::{
    Access, Added, AddedColumns, Bytestream, Collector, FormatConfig, Input, READ_BYTES, RandomAccess,
    ReadRanges, ReadResult,
};
use crate::storage::{FileInfo, Storage};

/// What all files of a source are read with.
#[derive(Debug)]
pub(super) struct JobContext {
    /// As configured; else by the extensions.
    pub(super) format: Option<FormatConfig>,
    pub(super) unpacker: Decoder,
    /// Where packed files from afar are put while they are read, without a name.
    pub(super) scratch: Arc<Path>,
}

/// One file and how to read it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) file: FileInfo,
    pub(super) place: Arc<dyn Storage>,
    /// How it is packed, outermost first.
    pub(super) layers: Vec<Codec>,
    pub(super) tools: Arc<JobContext>,
    /// The hash of the file as it was read last, if it need not be read again while it is the same.
    pub(super) known: Option<String>,
    pub(super) added: Vec<(String, Added)>,
    /// The file's bytes, asked for before its turn.
    pub(super) ahead: Prefetch,
}

/// What opening a file before its turn gave.
#[derive(Default)]
pub(super) struct Prefetch(Mutex<Option<Result<Bytestream>>>);

impl Prefetch {
    /// Takes it; a second reading opens the file again.
    fn take(&self) -> Option<Result<Bytestream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prefetch")
    }
}

/// How large a file may be that is asked for before its turn: all of them together stay small in memory.
const SMALL: u64 = 1 << 20;

/// The bytes of a file, or of a member of it.
type Opened = Result<Bytestream>;

impl Job {
    /// Has the place begin to read a small file. What fails is told when it is the file's turn.
    pub(super) fn open_ahead(&mut self, cancel: &CancellationToken) {
        let small = self.file.size.is_some_and(|size| size <= SMALL);
        let in_order = !self.layers.is_empty()
            || self
                .format()
                .is_ok_and(|format| format.access() == Access::Stream);
        let ahead = self.ahead.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if small && in_order && ahead.is_none() && self.place.local_path(&self.file).is_none() {
            *ahead = Some(self.place.open(&self.file, cancel));
        }
    }

    /// Reads all of it and sends the rows; says whether any were to be read. Blocks.
    ///
    /// # Errors
    /// It cannot be read to its end. Of a packed file no row was sent then, unless it was changed in between.
    pub(super) fn read(
        &self,
        cx: &SourceContext,
        out: &Output,
        hash: Option<&ContentHash>,
    ) -> ReadResult<bool> {
        if self.layers.is_empty() {
            let extension = Extension::of(&self.file.name);
            let input = Input {
                extension: &extension.format,
                open: &|| self.open(cx, hash),
                can_reopen: self.place.is_rereadable(&self.file),
                ranges: self.ranges(),
            };
            let out = self.collector(self.file.name.clone(), cx, out);
            return self.format()?.read(&input, &out).map(|()| true);
        }
        let name = &self.file.name;
        let packed = self.packed(cx, hash)?;
        if let (Some(known), Some(hash)) = (&self.known, hash)
            && hash.finish().as_ref() == Some(known)
        {
            tracing::info!(file = %name, "the file has another time and the same content as when it was read before");
            return Ok(false);
        }
        let unpacked = self
            .tools
            .unpacker
            .check(name, packed, &self.layers, &cx.run.cancel)?;
        // All before the first row: one member whose format cannot be told leaves nothing of the file sent.
        let members = unpacked.members().iter().map(|member| {
            Ok(match (&member.name, member.shown_name()) {
                (Some(inner), Some(shown)) => {
                    let name = format!("{name}/{shown}");
                    let extension = Extension::of(inner);
                    let format = extension.format_of(&name, self.tools.format.as_ref(), true)?;
                    (name.into(), extension.format, format)
                }
                _ => (name.clone(), Extension::of(name).format, self.format()?),
            })
        });
        let members: Vec<(Arc<str>, String, FormatConfig)> = members.collect::<Result<_>>()?;
        for (index, (name, extension, format)) in members.into_iter().enumerate() {
            let input = Input {
                extension: &extension,
                open: &|| open_member(&unpacked, index, &name),
                can_reopen: true,
                ranges: None,
            };
            format.read(&input, &self.collector(name.clone(), cx, out))?;
        }
        Ok(true)
    }

    /// Its format, if it is not an archive of several files.
    fn format(&self) -> Result<FormatConfig> {
        let extension = Extension::of(&self.file.name);
        extension.format_of(
            &self.file.name,
            self.tools.format.as_ref(),
            !self.layers.is_empty(),
        )
    }

    /// Its parts, where they can be read in any order.
    fn ranges(&self) -> Option<RandomAccess> {
        if let Some(path) = self.place.local_path(&self.file) {
            return Some(RandomAccess::Local(path.to_owned()));
        }
        let parts = Parts {
            place: self.place.clone(),
            file: self.file.clone(),
        };
        let has_ranges = self.place.supports_ranges(&self.file);
        has_ranges.then(|| RandomAccess::Remote(Arc::new(parts)))
    }

    fn collector(&self, name: Arc<str>, cx: &SourceContext, out: &Output) -> Collector {
        Collector {
            name,
            cx: cx.clone(),
            output: out.clone(),
            added: AddedColumns::new(self.added.clone()),
        }
    }

    /// The bytes as they lie there.
    fn open(&self, cx: &SourceContext, hash: Option<&ContentHash>) -> Opened {
        let opened = match self.ahead.take() {
            Some(opened) => opened?,
            None => self.place.open(&self.file, &cx.run.cancel)?,
        };
        Ok(match hash {
            Some(hash) => Box::new(HashingReader::new(opened, hash)),
            None => opened,
        })
    }

    /// The packed file, where it can be read again and again: as it lies on the disk, or in a file without a name.
    fn packed(&self, cx: &SourceContext, hash: Option<&ContentHash>) -> Result<InputFile> {
        let name = &self.file.name;
        if let Some(path) = self.place.local_path(&self.file) {
            return InputFile::from_path(path).map_err(|error| read_error(name, error, None));
        }
        let scratch = &self.tools.scratch;
        let unwritten = |error: io::Error| {
            Error::unexpected(format!(
                "cannot put `{name}` into a temporary file in `{}`",
                scratch.display()
            ))
            .with_source(error)
            .with_hint("packed files are put there, as they are, until they are read: make room, or name a roomier place in `state.path`")
        };
        let mut file = tempfile::tempfile_in(scratch).map_err(unwritten)?;
        let mut bytes = self.open(cx, hash)?;
        let mut block = vec![0; READ_BYTES];
        loop {
            match bytes.read(&mut block) {
                Ok(0) => break,
                Ok(length) => io::Write::write_all(&mut file, &block[..length]).map_err(unwritten)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(name, error, None)),
            }
        }
        InputFile::from_file(file).map_err(unwritten)
    }
}

fn open_member(unpacked: &Decoded, index: usize, name: &str) -> Opened {
    unpacked
        .open(index)
        .map_err(|error| read_error(name, error, None))
}

/// The parts of a file.
#[derive(Debug)]
struct Parts {
    place: Arc<dyn Storage>,
    file: FileInfo,
}

#[async_trait]
impl ReadRanges for Parts {
    fn size(&self) -> Option<u64> {
        self.file.size
    }

    async fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.place.read_ranges(&self.file, ranges).await
    }
}
