//! Makes chunks of the records of all pages, in order, on a thread of its own.
//!
//! What columns there are is known in one of three ways:
//! - they are declared: every page's rows go on at once;
//! - they are learnt from all records: these are kept, in memory up to 8 MiB and then in a file without a name, until
//!   the last page is there. Only so is a key that first occurs on the last page a column;
//! - when only a part is looked at (a preview, a row limit), they are learnt from as many records as are wanted, and
//!   from more while a column that is used is in none of them: services leave out what is empty. A later record that
//!   does not fit is a reject.

use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use tempfile::SpooledTempFile;
use tokio::sync::mpsc;

use crate::component::Delivered;
use crate::error::{Error, Result};
use crate::format::json::{ColumnType, RecordDecoder, RecordSchema, SchemaOrigin};
use crate::format::{Collector, READ_BYTES, ReadError, ReadResult};

/// Records kept in memory before a file takes them.
const SPOOLED_BYTES: usize = 8 << 20;

/// Where only a part is looked at: records that are looked through for a column that is used, and that are enough
/// where nobody says how many are.
const SEARCHED: u64 = 1000;

/// What the pages give.
#[derive(Debug)]
pub(super) enum Message {
    /// Records of one page; a large page comes in several blocks.
    Records {
        /// What the user knows the page as.
        page: Arc<str>,
        /// The records' texts, one after another.
        text: Vec<u8>,
        /// Where each text ends.
        ends: Vec<usize>,
    },
    /// All records of the windows before are there; see [`super::incremental`].
    Position(String),
    /// That was all. If blocks end without it, reading failed, and what was kept back is not sent.
    End,
}

/// Positions to save once everything before them is delivered, in order.
pub(super) type Positions = mpsc::UnboundedSender<(String, Delivered)>;

/// How the columns are known.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// These, and no others.
    Declared(Vec<(String, ColumnType)>),
    /// From all records.
    Learnt,
    /// From as many as are wanted.
    Sampled,
}

/// Takes blocks until there are no more, and sends their rows to `feed`.
///
/// # Errors
/// A record's text cannot be kept, or [`ReadError::Stopped`].
pub(super) fn decode(
    mut blocks: mpsc::Receiver<Message>,
    known: &Known,
    feed: &Collector,
    positions: &Positions,
) -> ReadResult {
    // Who wants only a part is to have it before further pages are asked for.
    let partial = feed.cx.run.partial;
    let mut stage = match known {
        Known::Declared(columns) => {
            let wants = |column: &str| feed.uses(column);
            let shapes = RecordSchema::declared(columns.iter().cloned(), &wants);
            Stage::Sending(Box::new(RecordDecoder::new(
                shapes,
                SchemaOrigin::Declared,
                feed,
            )?))
        }
        Known::Learnt | Known::Sampled => Stage::Inferring(Box::default()),
    };
    loop {
        let block = blocks.blocking_recv().ok_or(ReadError::Stopped)?;
        feed.check_stopped()?;
        match (&mut stage, block) {
            (Stage::Sending(rows), Message::Records { page, text, ends }) => {
                rows.start_page(page)?;
                for record in cut(&text, &ends) {
                    rows.push(record, None)?;
                }
                if partial {
                    rows.flush()?;
                }
            }
            // A look at a part is no reason to go on from there.
            (Stage::Sending(_), Message::Position(_)) if matches!(known, Known::Sampled) => {}
            (Stage::Sending(rows), Message::Position(position)) => {
                rows.flush()?;
                mark(position, feed, positions)?;
            }
            (Stage::Inferring(kept), Message::Records { page, text, ends }) => {
                kept.take(&page, &text, &ends, feed)?;
                if matches!(known, Known::Sampled) && kept.is_enough(feed) {
                    let kept = std::mem::take(kept);
                    let mut rows = kept.send(SchemaOrigin::FirstRecords, feed)?;
                    rows.flush()?;
                    stage = Stage::Sending(Box::new(rows));
                }
            }
            // Only the last one counts: nothing is sent before.
            (Stage::Inferring(kept), Message::Position(position)) => kept.position = Some(position),
            (_, Message::End) => break,
        }
    }
    match stage {
        Stage::Sending(rows) => {
            if let Known::Declared(columns) = known
                && !partial
            {
                let names = columns.iter().map(|(name, _)| name.as_str());
                let unseen = rows.unseen(names);
                if !unseen.is_empty() {
                    tracing::warn!(
                        source = %feed.name, columns = ?unseen,
                        "no record has these declared columns: are they spelt as the service spells them?"
                    );
                }
            }
            rows.finish()
        }
        Stage::Inferring(mut kept) => {
            // A look at a part is no reason to go on from there, unless there was nothing at all.
            let position = kept.position.take();
            let position = position.filter(|_| matches!(known, Known::Learnt) || kept.records == 0);
            kept.send(SchemaOrigin::AllRecords, feed)?.finish()?;
            position.map_or(Ok(()), |position| mark(position, feed, positions))
        }
    }
}

enum Stage<'a> {
    Inferring(Box<Kept>),
    Sending(Box<RecordDecoder<'a>>),
}

/// Sends a checkpoint behind the rows sent so far.
fn mark(position: String, feed: &Collector, positions: &Positions) -> ReadResult {
    let delivered = futures::executor::block_on(feed.output.checkpoint(&*position))?;
    // Whoever saves positions has gone only when the run is ending.
    let _ = positions.send((position, delivered));
    Ok(())
}

/// Records whose columns are not known yet.
struct Kept {
    shapes: RecordSchema,
    file: BufWriter<SpooledTempFile>,
    /// The pages, each with the number of its records.
    pages: Vec<(Arc<str>, u64)>,
    records: u64,
    position: Option<String>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            shapes: RecordSchema::default(),
            file: BufWriter::with_capacity(READ_BYTES, SpooledTempFile::new(SPOOLED_BYTES)),
            pages: Vec::new(),
            records: 0,
            position: None,
        }
    }
}

impl Kept {
    fn take(&mut self, page: &Arc<str>, text: &[u8], ends: &[usize], feed: &Collector) -> Result<()> {
        let wants = |column: &str| feed.uses(column);
        for record in cut(text, ends) {
            if let Ok(record) = std::str::from_utf8(record) {
                // A record that does not fit is put aside when it is read for its values.
                let _ = self.shapes.infer(record, &wants);
            }
            let length = u32::try_from(record.len())
                .map_err(|_| Error::input(format!("a record of `{page}` is longer than 4 GiB")))?;
            self.file
                .write_all(&length.to_le_bytes())
                .and_then(|()| self.file.write_all(record))
                .map_err(|error| not_kept("write", error))?;
        }
        match self.pages.last_mut() {
            Some((last, records)) if last == page => *records += ends.len() as u64,
            _ => self.pages.push((page.clone(), ends.len() as u64)),
        }
        self.records += ends.len() as u64;
        Ok(())
    }

    /// Whether the columns that are used are known as well as they need be for a part.
    fn is_enough(&self, feed: &Collector) -> bool {
        if self.records < feed.output.wanted().unwrap_or(SEARCHED).max(1) {
            return false;
        }
        let used = feed.cx.columns.as_ref();
        self.records >= SEARCHED || used.is_none_or(|used| used.iter().all(|name| self.shapes.has(name)))
    }

    /// Sends what was kept.
    fn send(self, learning: SchemaOrigin, feed: &Collector) -> ReadResult<RecordDecoder<'_>> {
        let mut rows = RecordDecoder::new(self.shapes, learning, feed)?;
        let mut file = self
            .file
            .into_inner()
            .map_err(|error| not_kept("write", error.into_error()))?;
        file.seek(SeekFrom::Start(0))
            .map_err(|error| not_kept("read", error))?;
        let mut file = BufReader::with_capacity(READ_BYTES, file);
        let mut record = Vec::new();
        for (page, records) in self.pages {
            rows.start_page(page)?;
            for _ in 0..records {
                let mut length = [0; 4];
                file.read_exact(&mut length)
                    .map_err(|error| not_kept("read", error))?;
                record.resize(u32::from_le_bytes(length) as usize, 0);
                file.read_exact(&mut record)
                    .map_err(|error| not_kept("read", error))?;
                rows.push(&record, None)?;
            }
        }
        Ok(rows)
    }
}

/// The texts that end where `ends` says.
pub(super) fn cut<'t>(text: &'t [u8], ends: &'t [usize]) -> impl Iterator<Item = &'t [u8]> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends).map(|(start, &end)| &text[start..end])
}

fn not_kept(doing: &str, error: std::io::Error) -> Error {
    Error::unexpected(format!(
        "cannot {doing} the temporary file for records whose columns are not known yet"
    ))
    .with_source(error)
    .with_hint("with `columns` declared, records need no such file")
}
