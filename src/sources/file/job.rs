//! One file: its bytes, unpacked, become rows.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use encoding_rs::UTF_8;
use tokio_util::sync::CancellationToken;

use super::csv;
use super::extension::Extension;
use super::hash::{ContentHash, HashingReader};
use super::place::{Found, Place};
use super::reading::{Formats, Reading};
use super::text::TextReader;
use super::{json, parquet};
use crate::codec::{Codec, Decoded, Decoder, InputFile};
use crate::component::{Output, SourceContext};
use crate::decode::{Added, AddedColumns, Feed, Step};
use crate::error::read_error;
use crate::error::{Error, Result};

/// What all files of a source are read with.
#[derive(Debug)]
pub(super) struct JobContext {
    pub(super) formats: Formats,
    pub(super) unpacker: Decoder,
    /// Where packed files from afar are put while they are read, without a name.
    pub(super) scratch: Arc<Path>,
}

/// One file and how to read it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) file: Found,
    pub(super) place: Arc<dyn Place>,
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
pub(super) struct Prefetch(Mutex<Option<Result<Box<dyn Read + Send>>>>);

impl Prefetch {
    /// Takes it; a second reading opens the file again.
    fn take(&self) -> Option<Result<Box<dyn Read + Send>>> {
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
type Opened = Result<Box<dyn Read + Send>>;

impl Job {
    /// Has the place begin to read a small file. What fails is told when it is the file's turn.
    pub(super) fn open_ahead(&mut self, cancel: &CancellationToken) {
        let small = self.file.size.is_some_and(|size| size <= SMALL);
        let in_order = !self.layers.is_empty() || !matches!(self.reading(), Ok(Reading::Parquet));
        let ahead = self.ahead.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if small && in_order && ahead.is_none() && self.place.on_disk(&self.file).is_none() {
            *ahead = Some(self.place.open(&self.file, cancel));
        }
    }

    /// Reads all of it and sends the rows; says whether any were to be read. Blocks.
    ///
    /// # Errors
    /// It cannot be read to its end. Of a packed file no row was sent then, unless it was changed in between.
    pub(super) fn read(&self, cx: &SourceContext, out: &Output, hash: Option<&ContentHash>) -> Step<bool> {
        if self.layers.is_empty() {
            let open = || self.open(cx, hash);
            let twice = self.place.can_be_read_twice(&self.file);
            let feed = self.feed(self.file.name.clone(), cx, out);
            return self
                .read_records(&self.reading()?, &open, twice, &feed)
                .map(|()| true);
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
                    let reading = self.tools.formats.of(&name, &Extension::of(inner), true)?;
                    (name.into(), reading)
                }
                _ => (name.clone(), self.reading()?),
            })
        });
        let members: Vec<(Arc<str>, Reading)> = members.collect::<Result<_>>()?;
        for (index, (name, reading)) in members.into_iter().enumerate() {
            let open = || open_member(&unpacked, index, &name);
            self.read_records(&reading, &open, true, &self.feed(name.clone(), cx, out))?;
        }
        Ok(true)
    }

    /// How it is read, if it is not an archive of several.
    fn reading(&self) -> Result<Reading> {
        let extension = Extension::of(&self.file.name);
        self.tools
            .formats
            .of(&self.file.name, &extension, !self.layers.is_empty())
    }

    fn feed(&self, name: Arc<str>, cx: &SourceContext, out: &Output) -> Feed {
        Feed {
            name,
            cx: cx.clone(),
            out: out.clone(),
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
        if let Some(path) = self.place.on_disk(&self.file) {
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
        let mut block = vec![0; crate::decode::READ_BYTES];
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

    fn read_records(&self, reading: &Reading, open: &dyn Fn() -> Opened, twice: bool, feed: &Feed) -> Step {
        let text = |encoding| TextReader::new(feed.name.clone(), open()?, encoding);
        let json = |layout, max_record| json::read(&|| text(UTF_8), twice, layout, max_record, feed);
        match reading {
            Reading::Csv(dialect) => csv::read(text(dialect.encoding)?, dialect, feed),
            Reading::Ndjson { max_record } => json(json::Layout::Lines, *max_record),
            Reading::Json { max_record } => json(json::Layout::Array, *max_record),
            Reading::Parquet => parquet::read(&self.place, &self.file, feed),
        }
    }
}

fn open_member(unpacked: &Decoded, index: usize, name: &str) -> Opened {
    unpacked
        .open(index)
        .map_err(|error| read_error(name, error, None))
}
