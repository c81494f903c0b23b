//! What the emulated jobs took: kept in memory, or as NDJSON in a folder.
//!
//! With a folder no row stays in memory, so that a long run stays flat. The rows files hold personal data and are,
//! like the log, readable by their owner only.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csv::StringRecord;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::table::{SavedRow, Table};
use crate::error::{Error, Result};
use crate::hr::Scenario;

/// Imports kept in memory for [`Emulator::imports`](super::Emulator::imports).
const MOST_IMPORTS: usize = 10_000;
const LOG: &str = "imports.ndjson";

/// An upload that was answered with 200, as the import log tells it. Holds no personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Import {
    /// Its number, from 1; goes on where the log in the data folder ends.
    pub import: u64,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// The job.
    pub job_id: Uuid,
    /// The file name in the upload.
    pub file: String,
    /// Data rows in the file.
    pub rows: u64,
    /// Rows taken, under the name that the portal's log gives it.
    #[serde(rename = "RecordsSaved")]
    pub records_saved: u64,
    /// Why the others were not; the first hundred.
    pub messages: Vec<String>,
    /// How many more messages there were.
    #[serde(default)]
    pub messages_left_out: u64,
}

/// A row that a job took. `Debug` shows no value.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptedRow {
    /// The number of its [`Import`].
    pub import: u64,
    /// Its number among the file's data rows, from 1.
    pub row: u64,
    /// The job.
    pub job_id: Uuid,
    /// The scenario it was taken for.
    pub scenario: Scenario,
    columns: Arc<[String]>,
    values: StringRecord,
}

impl AcceptedRow {
    /// The names in the file's header.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The value of a column, by the header's exact name.
    pub fn get(&self, column: &str) -> Option<&str> {
        let index = self.columns.iter().position(|name| name == column)?;
        self.values.get(index)
    }

    /// The values, in the order of the header.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter()
    }
}

impl fmt::Debug for AcceptedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptedRow")
            .field("import", &self.import)
            .field("row", &self.row)
            .field("job_id", &self.job_id)
            .field("scenario", &self.scenario)
            .finish_non_exhaustive()
    }
}

/// What one job took in this run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobCounts {
    /// Uploads answered with 200.
    pub imports: u64,
    /// Rows taken.
    pub rows_saved: u64,
}

#[derive(Debug)]
pub(super) struct Store(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    folder: Option<PathBuf>,
    last: u64,
    imports: VecDeque<Import>,
    rows: Vec<AcceptedRow>,
    jobs: BTreeMap<Uuid, JobCounts>,
}

impl Store {
    pub(super) fn open(folder: Option<PathBuf>) -> Result<Self> {
        let last = match &folder {
            Some(folder) => crate::disk::create_private_folder(folder)
                .and_then(|()| last_import(&folder.join(LOG)))
                .map_err(|e| cannot("open the emulator's data folder", folder, e))?,
            None => 0,
        };
        Ok(Self(Mutex::new(Inner {
            folder,
            last,
            imports: VecDeque::new(),
            rows: Vec::new(),
            jobs: BTreeMap::new(),
        })))
    }

    /// Keeps what a file brought. Rows first, then the log: what the log tells of is there.
    pub(super) fn add(&self, job_id: Uuid, file: String, table: Table) -> io::Result<Import> {
        // One import at a time, so that each file's lines follow the numbers.
        let mut inner = self.lock();
        let import = Import {
            import: inner.last + 1,
            time: jiff::Timestamp::now().to_string(),
            job_id,
            file,
            rows: table.rows,
            records_saved: table.saved.len() as u64,
            messages: table.messages.kept,
            messages_left_out: table.messages.left_out,
        };
        match &inner.folder {
            Some(folder) => {
                if !table.saved.is_empty() {
                    let lines = lines_of(import.import, &table.columns, &table.saved)?;
                    append(&rows_file(folder, job_id), &lines)?;
                }
                let mut line = serde_json::to_vec(&import)?;
                line.push(b'\n');
                append(&folder.join(LOG), &line)?;
            }
            None => inner
                .rows
                .extend(table.saved.into_iter().map(|saved| AcceptedRow {
                    import: import.import,
                    row: saved.row,
                    job_id,
                    scenario: saved.scenario,
                    columns: table.columns.clone(),
                    values: saved.values,
                })),
        }
        inner.last = import.import;
        let counts = inner.jobs.entry(job_id).or_default();
        counts.imports += 1;
        counts.rows_saved += import.records_saved;
        if inner.imports.len() == MOST_IMPORTS {
            inner.imports.pop_front();
        }
        inner.imports.push_back(import.clone());
        Ok(import)
    }

    pub(super) fn imports(&self) -> Vec<Import> {
        self.lock().imports.iter().cloned().collect()
    }

    pub(super) fn jobs(&self) -> BTreeMap<Uuid, JobCounts> {
        self.lock().jobs.clone()
    }

    pub(super) fn accepted_rows(&self) -> Result<Vec<AcceptedRow>> {
        let inner = self.lock();
        let Some(folder) = &inner.folder else {
            return Ok(inner.rows.clone());
        };
        let read = || -> io::Result<Vec<AcceptedRow>> {
            let mut rows = Vec::new();
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if let Some(job_id) = job_of(&path) {
                    read_rows(job_id, &path, &mut rows)?;
                }
            }
            rows.sort_by_key(|row| (row.import, row.row));
            Ok(rows)
        };
        read().map_err(|e| cannot("read the accepted rows in", folder, e))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line of a rows file.
#[derive(Serialize, Deserialize)]
struct RowLine<V> {
    import: u64,
    row: u64,
    scenario: Scenario,
    values: V,
}

fn lines_of(import: u64, columns: &[String], saved: &[SavedRow]) -> io::Result<Vec<u8>> {
    struct Values<'a>(&'a [String], &'a StringRecord);

    impl Serialize for Values<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().zip(self.1))
        }
    }

    let mut lines = Vec::new();
    for SavedRow {
        row,
        scenario,
        values,
    } in saved
    {
        let line = RowLine {
            import,
            row: *row,
            scenario: *scenario,
            values: Values(columns, values),
        };
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

fn read_rows(job_id: Uuid, path: &Path, rows: &mut Vec<AcceptedRow>) -> io::Result<()> {
    let mut columns: Arc<[String]> = Arc::default();
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        let line = line?;
        if line.is_empty() {
            continue;
        }
        let line: RowLine<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(&line)?;
        if !line.values.keys().eq(columns.iter()) {
            columns = line.values.keys().cloned().collect();
        }
        rows.push(AcceptedRow {
            import: line.import,
            row: line.row,
            job_id,
            scenario: line.scenario,
            columns: columns.clone(),
            values: line
                .values
                .values()
                .map(|value| value.as_str().unwrap_or_default())
                .collect(),
        });
    }
    Ok(())
}

fn rows_file(folder: &Path, job_id: Uuid) -> PathBuf {
    folder.join(format!("rows-{job_id}.ndjson"))
}

fn job_of(path: &Path) -> Option<Uuid> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("rows-")?.strip_suffix(".ndjson")?.parse().ok()
}

/// The number of the log's last import. A line cut off by a crash is passed over.
fn last_import(log: &Path) -> io::Result<u64> {
    let file = match File::open(log) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let mut last = 0;
    for line in BufReader::new(file).split(b'\n') {
        if let Ok(import) = serde_json::from_slice::<Import>(&line?) {
            last = last.max(import.import);
        }
    }
    Ok(last)
}

/// Appends whole lines to a file that only its owner may read. What a crash left of a line is ended first.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = crate::disk::private_file::append_private(path)?;
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut end = [0];
        file.read_exact(&mut end)?;
        if end != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    file.write_all(lines)
}

fn cannot(what: &str, folder: &Path, error: io::Error) -> Error {
    Error::unexpected(format!("cannot {what} `{}`", folder.display())).with_source(error)
}
