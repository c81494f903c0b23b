//! Accepted rows and the import log, in memory or as NDJSON in a folder.
//!
//! With a folder no row stays in memory, so memory use stays constant. Only the owner can read the files: rows are
//! personal data.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::state::lock;
use super::table::Table;
use crate::error::{Error, Result};
use crate::hr::Scenario;

/// Imports in memory for [`Emulator::imports`](super::Emulator::imports).
const MAX_IMPORTS: usize = 10_000;
const LOG: &str = "imports.ndjson";

/// An accepted upload (status 200), as in the import log. Contains no personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Import {
    /// Its number, from 1; continues the log in the data folder.
    pub import: u64,
    /// Time of the import, RFC 3339 in UTC.
    pub time: String,
    /// The job.
    pub job_id: Uuid,
    /// The file name in the upload.
    pub file: String,
    /// Data rows in the file.
    pub rows: u64,
    /// Saved rows, under the name that the portal's log uses.
    #[serde(rename = "RecordsSaved")]
    pub records_saved: u64,
    /// Why other rows were not saved; the first hundred messages.
    pub messages: Vec<String>,
    /// The number of further messages.
    #[serde(default)]
    pub messages_left_out: u64,
}

/// A row that a job accepted; a line of a rows file. `Debug` shows no value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AcceptedRow {
    /// The number of its [`Import`].
    pub import: u64,
    /// Its number among the file's data rows, from 1.
    pub row: u64,
    /// The job, which is in the name of the rows file.
    #[serde(skip)]
    pub job_id: Uuid,
    /// The scenario of the row.
    pub(super) scenario: Scenario,
    /// Texts by the names in the file's header, in its order.
    values: Map<String, Value>,
}

impl AcceptedRow {
    /// The id of its scenario.
    pub fn scenario(&self) -> &'static str {
        self.scenario.id()
    }

    /// The names in the file's header.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The value of a column, by the header's exact name.
    pub fn get(&self, column: &str) -> Option<&str> {
        self.values.get(column)?.as_str()
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

/// Uploads and rows that a job accepted in this run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobCounts {
    /// Accepted uploads.
    pub imports: u64,
    /// Saved rows.
    pub rows_saved: u64,
}

#[derive(Debug)]
pub(super) struct Store(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    folder: Option<PathBuf>,
    last_import: u64,
    imports: VecDeque<Import>,
    rows: Vec<AcceptedRow>,
    jobs: BTreeMap<Uuid, JobCounts>,
}

impl Store {
    pub(super) fn open(folder: Option<PathBuf>) -> Result<Self> {
        let last_import = match &folder {
            Some(folder) => crate::disk::create_private_folder(folder)
                .and_then(|()| last_import(&folder.join(LOG)))
                .map_err(|e| cannot("open the emulator's data folder", folder, e))?,
            None => 0,
        };
        Ok(Self(Mutex::new(Inner {
            folder,
            last_import,
            ..Inner::default()
        })))
    }

    /// Saves the rows of a file. Rows first, then the log, so that the log never lists missing rows.
    pub(super) fn add(&self, job_id: Uuid, file: String, table: Table) -> io::Result<Import> {
        // The lock keeps the lines in each file in the order of the import numbers.
        let mut inner = lock(&self.0);
        let import = Import {
            import: inner.last_import + 1,
            time: jiff::Timestamp::now().to_string(),
            job_id,
            file,
            rows: table.rows,
            records_saved: table.saved.len() as u64,
            messages: table.messages.kept,
            messages_left_out: table.messages.left_out,
        };
        let saved = table.saved.into_iter().map(|saved| AcceptedRow {
            import: import.import,
            row: saved.row,
            job_id,
            scenario: saved.scenario,
            values: saved.values,
        });
        match &inner.folder {
            Some(folder) => {
                let mut lines = Vec::new();
                for row in saved {
                    serde_json::to_writer(&mut lines, &row)?;
                    lines.push(b'\n');
                }
                if !lines.is_empty() {
                    append(&folder.join(format!("rows-{job_id}.ndjson")), &lines)?;
                }
                let mut line = serde_json::to_vec(&import)?;
                line.push(b'\n');
                append(&folder.join(LOG), &line)?;
            }
            None => inner.rows.extend(saved),
        }
        inner.last_import = import.import;
        let counts = inner.jobs.entry(job_id).or_default();
        counts.imports += 1;
        counts.rows_saved += import.records_saved;
        if inner.imports.len() == MAX_IMPORTS {
            inner.imports.pop_front();
        }
        inner.imports.push_back(import.clone());
        Ok(import)
    }

    pub(super) fn imports(&self) -> Vec<Import> {
        lock(&self.0).imports.iter().cloned().collect()
    }

    pub(super) fn jobs(&self) -> BTreeMap<Uuid, JobCounts> {
        lock(&self.0).jobs.clone()
    }

    pub(super) fn accepted_rows(&self) -> Result<Vec<AcceptedRow>> {
        let inner = lock(&self.0);
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
}

fn read_rows(job_id: Uuid, path: &Path, rows: &mut Vec<AcceptedRow>) -> io::Result<()> {
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        if !line.is_empty() {
            let row: AcceptedRow = serde_json::from_str(&line)?;
            rows.push(AcceptedRow { job_id, ..row });
        }
    }
    Ok(())
}

fn job_of(path: &Path) -> Option<Uuid> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("rows-")?.strip_suffix(".ndjson")?.parse().ok()
}

/// The number of the last import in the log. Skips a line that a crash truncated.
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

/// Appends lines to a file that only its owner can read. Terminates a line that a crash truncated first.
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
