//! Writes down what a run brings.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use jiff::Timestamp;

use super::place::{Place, Unfinished};
use super::sealed::{Broken, Frame};
use super::table::{self, Table};
use crate::component::{Chunk, RunInfo};
use crate::config::remember::Remembered;
use crate::error::{Error, Result};
use crate::ledger::{RowHasher, RowSet};

/// Rows in a frame, at most.
const FRAME_ROWS: usize = 8192;

/// Looks at every row of a source and writes the good ones to a new file. Dropped, it leaves nothing behind.
pub(crate) struct Recorder {
    table: Table,
    place: Place,
    hasher: RowHasher,
    seen: RowSet,
    tally: Tally,
    frame: Vec<u8>,
    /// `None` in a run whose rows are only looked at.
    file: Option<Unfinished>,
}

/// What became of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    kept: u64,
    carried: u64,
    forgotten: u64,
    without_key: u64,
    not_good: u64,
    twice: u64,
}

impl Recorder {
    /// Begins a new file. A dry run, and one that reads only a part, looks at the rows and writes nothing.
    ///
    /// # Errors
    /// The key cannot be read, or the file cannot be made.
    pub(crate) fn begin(
        remembered: &Remembered,
        run: &RunInfo,
        state: &std::path::Path,
        pipeline: &str,
        now: Timestamp,
    ) -> Result<Self> {
        let place = Place::new(remembered, run, state, pipeline)?;
        let file = if run.dry_run || run.partial {
            None
        } else {
            Some(place.begin()?)
        };
        Ok(Self {
            table: Table::new(remembered, now),
            hasher: place.key().row_hasher(),
            place,
            seen: RowSet::default(),
            tally: Tally::default(),
            frame: Vec::new(),
            file,
        })
    }

    /// Takes rows of the source. Blocks while it writes.
    ///
    /// # Errors
    /// A column is missing or cannot be kept; the file cannot be written.
    pub(crate) fn add(&mut self, chunk: &Chunk) -> Result<()> {
        // An empty array of records has no columns that could be missing.
        if chunk.num_rows() == 0 && chunk.origins.part().columns.is_empty() {
            return Ok(());
        }
        let sorted = self.table.sort_out(chunk)?;
        self.tally.without_key += sorted.without_key as u64;
        self.tally.not_good += sorted.not_good as u64;
        let (kept, twice) = self.new_ones(&sorted.good)?;
        self.tally.twice += twice as u64;
        self.tally.kept += kept.num_rows() as u64;
        self.write(&kept)
    }

    /// Adds what earlier runs remember and this one has not brought, and completes the file. Blocks.
    ///
    /// # Errors
    /// The rows of earlier runs cannot be read; the file cannot be written.
    pub(crate) fn complete(mut self) -> Result<Complete> {
        if let Some(mut old) = self
            .file
            .as_ref()
            .map(|_| self.place.open())
            .transpose()?
            .flatten()
        {
            while let Frame::More(bytes) = old.next().map_err(|broken| self.place.broken(broken))? {
                self.carry_over(&bytes)?;
            }
        }
        if let Some(file) = &mut self.file {
            let rows = self.tally.kept + self.tally.carried;
            file.end(rows.to_le_bytes().to_vec())?;
        }
        Ok(Complete {
            place: self.place,
            file: self.file,
            tally: self.tally,
        })
    }

    fn carry_over(&mut self, bytes: &[u8]) -> Result<()> {
        let (rows, gone) = self.table.still_kept(&table::decode(bytes)?)?;
        self.tally.forgotten += gone as u64;
        let (rows, _) = self.new_ones(&rows)?;
        self.tally.carried += rows.num_rows() as u64;
        self.write(&rows)
    }

    /// The rows whose key has not been there, and the number of the others.
    fn new_ones(&mut self, rows: &RecordBatch) -> Result<(RecordBatch, usize)> {
        let hashes = self.table.hash(rows, &self.hasher)?;
        let mut new = Vec::with_capacity(hashes.len());
        self.seen.insert_all(&hashes, &mut new);
        let kept = filter_record_batch(rows, &BooleanArray::from(new))
            .map_err(|_| Error::unexpected("rows that are to be remembered could not be chosen"))?;
        let others = rows.num_rows() - kept.num_rows();
        Ok((kept, others))
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        for from in (0..rows.num_rows()).step_by(FRAME_ROWS) {
            let some = rows.slice(from, FRAME_ROWS.min(rows.num_rows() - from));
            table::encode(&some, &mut self.frame)?;
            file.write(&mut self.frame)?;
        }
        Ok(())
    }
}

/// A new file, complete and on the disk, not yet in its place. Dropped, it leaves nothing behind.
pub(crate) struct Complete {
    place: Place,
    file: Option<Unfinished>,
    tally: Tally,
}

impl Complete {
    /// Puts the file in the place of the one before it, and gives its path and what is in it. Blocks.
    ///
    /// # Errors
    /// It cannot be renamed; the one before it then stays.
    pub(crate) fn put_in_place(self, source: &str) -> Result<Option<(std::path::PathBuf, String)>> {
        let Some(file) = self.file else { return Ok(None) };
        file.put_in_place()?;
        let Tally {
            kept,
            carried,
            forgotten,
            without_key,
            not_good,
            twice,
        } = self.tally;
        tracing::info!(
            source,
            kept,
            carried,
            forgotten,
            without_key,
            not_good,
            "rows remembered"
        );
        if twice > 0 {
            tracing::warn!(
                source,
                rows = twice,
                "keys came more than once; the first good row of each is remembered: `remember.key` should tell all \
                 rows apart"
            );
        }
        if kept == 0 && not_good > 0 {
            tracing::warn!(
                source,
                rows = not_good,
                "no row was good, so nothing new is remembered: in each, a column that `remember.required` asks for is empty"
            );
        }
        let rows = kept + carried;
        let what = format!("rows remembered for the next run: {rows}, encrypted");
        Ok(Some((self.place.path().to_owned(), what)))
    }
}

/// The remembered rows of a file that is whole.
pub(super) struct Stored {
    pub(super) place: Place,
    pub(super) table: Table,
}

impl Stored {
    /// Reads the file from its beginning to its end, and hands each part's rows on, as long as they are wanted. Blocks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(&self, mut take: impl FnMut(RecordBatch) -> bool) -> Result<()> {
        let Some(mut file) = self.place.open()? else {
            return Ok(());
        };
        let mut rows: u64 = 0;
        loop {
            match file.next().map_err(|broken| self.place.broken(broken))? {
                Frame::More(bytes) => {
                    let batch = table::decode(&bytes)?;
                    rows += batch.num_rows() as u64;
                    let (batch, _) = self.table.still_kept(&batch)?;
                    if !take(batch) {
                        return Ok(());
                    }
                }
                Frame::Last(count) => {
                    if count[..] != rows.to_le_bytes() {
                        return Err(self.place.broken(Broken::Damaged("rows are missing")));
                    }
                    return Ok(());
                }
            }
        }
    }
}
