//! The file of a snapshot: its name, how it is opened, and how a new one replaces it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;

use super::config::SourceSnapshot;
use super::encrypted::{Frame, ReadError, Reader, Writer};
use super::key::{Key, Subject};
use super::table;
use crate::component::RunInfo;
use crate::disk::{AtomicFile, folder_of};
use crate::error::{Error, Result};
use crate::ledger::file_error;

const FOLDER: &str = "snapshots";
const ENDING: &str = ".enc";
const BUFFER_BYTES: usize = 256 << 10;

/// The file of one source of one pipeline, and the keys to read it with.
#[derive(Clone)]
pub(super) struct SnapshotFile {
    pub(super) path: PathBuf,
    pipeline: String,
    source: String,
    pub(super) key: Key,
    old_key: Option<Key>,
}

/// A file being written: encrypted from the first byte, and removed when dropped before it replaces the current one.
pub(super) type NewFile = Writer<BufWriter<AtomicFile>>;

impl SnapshotFile {
    /// `ledger` is the ledger's path, `pipeline` the pipeline's name in the ledger.
    pub(super) fn new(
        snapshot: &SourceSnapshot,
        run: &RunInfo,
        ledger: &Path,
        pipeline: &str,
    ) -> Result<Self> {
        let SourceSnapshot { source, settings } = snapshot;
        let old = settings.old_encryption_key.as_ref();
        Ok(Self {
            path: path(ledger, pipeline, source),
            pipeline: pipeline.to_owned(),
            source: source.clone(),
            key: Key::read(&settings.encryption_key, "encryption_key", source, run)?,
            old_key: old
                .map(|key| Key::read(key, "old_encryption_key", source, run))
                .transpose()?,
        })
    }

    /// Passes the stored rows to `each` until it returns false; without a file there are none. Blocks.
    pub(super) fn read(&self, mut each: impl FnMut(&RecordBatch) -> Result<bool>) -> Result<()> {
        let opened = match (self.open_with(&self.key), &self.old_key) {
            (Err(ReadError::WrongKey), Some(old)) => self.open_with(old),
            (opened, _) => opened,
        };
        let Some(mut reader) = opened.map_err(|error| self.read_error(error))? else {
            return Ok(());
        };
        let mut rows: u64 = 0;
        loop {
            match reader.next().map_err(|error| self.read_error(error))? {
                Frame::More(bytes) => {
                    let batch = table::decode(&bytes)?;
                    rows += batch.num_rows() as u64;
                    if !each(&batch)? {
                        return Ok(());
                    }
                }
                Frame::Last(count) if count[..] == rows.to_le_bytes() => return Ok(()),
                Frame::Last(_) => return Err(self.read_error(ReadError::Damaged("rows are missing"))),
            }
        }
    }

    fn open_with(&self, key: &Key) -> Result<Option<Reader<BufReader<File>>>, ReadError> {
        match File::open(&self.path) {
            Ok(file) => {
                let file = BufReader::with_capacity(BUFFER_BYTES, file);
                Reader::start(file, key, self.subject()).map(Some)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn create(&self) -> Result<NewFile> {
        let file = AtomicFile::create(&self.path).map_err(|error| self.io_error("create", error))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Writer::start(file, &self.key, self.subject()).map_err(|error| self.io_error("write", error))
    }

    /// Encrypts `rows` in place and writes them.
    pub(super) fn write(&self, new: &mut NewFile, rows: &mut Vec<u8>) -> Result<()> {
        new.write(rows).map_err(|error| self.io_error("write", error))
    }

    /// Writes the number of rows at the end and syncs the file.
    pub(super) fn finish(&self, new: NewFile, rows: u64) -> Result<AtomicFile> {
        let finish = || {
            let file = new.finish(rows.to_le_bytes().to_vec())?;
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync()?;
            Ok(file)
        };
        finish().map_err(|error| self.io_error("write", error))
    }

    /// Replaces the current file atomically, even in a power cut.
    pub(super) fn replace(&self, new: AtomicFile) -> Result<()> {
        new.commit().map_err(|error| self.io_error("replace", error))
    }

    fn read_error(&self, error: ReadError) -> Error {
        let (path, source) = (self.path.display(), &self.source);
        let damage = |message| {
            Error::config(message)
                .into_damage()
                .with_hint("restore the file from a backup")
        };
        match error {
            ReadError::Io(error) => return self.io_error("read", error),
            ReadError::NotASnapshot => damage(format!("`{path}` is not a snapshot")),
            ReadError::Damaged(how) => {
                damage(format!("the snapshot of `{source}` in `{path}` is damaged: {how}"))
            }
            ReadError::Version(version) => Error::config(format!(
                "the snapshot of `{source}` in `{path}` has format version {version}; hrsink {} supports version 1",
                env!("CARGO_PKG_VERSION")
            ))
            .with_hint("update hrsink: a newer version wrote this file"),
            ReadError::WrongKey => Error::config(format!(
                "the snapshot of `{source}` in `{path}` was encrypted with another key"
            ))
            .with_hint("set `snapshot.encryption_key` to the key of the last run")
            .with_hint("if you rotated the key, set `snapshot.old_encryption_key` to the previous one"),
            ReadError::WrongSubject => Error::config(format!(
                "`{path}` is the snapshot of another pipeline or source, not of `{source}` in `{}`",
                self.pipeline
            ))
            .into_damage()
            .with_hint("if the file was copied or renamed, restore the right one"),
        }
        .with_hint(format!(
            "or delete `{path}`: `{source}` then starts without a snapshot, as in the first run, and rows that are no \
             longer in the source are lost"
        ))
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            pipeline: &self.pipeline,
            source: &self.source,
        }
    }

    fn io_error(&self, what: &str, error: io::Error) -> Error {
        let (source, path) = (&self.source, self.path.display());
        file_error(
            format!("cannot {what} the snapshot of `{source}` in `{path}`"),
            error,
        )
    }
}

/// Readable parts for people, and a hash that makes the name unique.
fn path(ledger: &Path, pipeline: &str, source: &str) -> PathBuf {
    let hash = Subject { pipeline, source }.hash();
    let hash: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let stem = Path::new(pipeline).file_stem().unwrap_or_default();
    let stem = file_name_part(&stem.to_string_lossy());
    let name = format!("{stem}-{}-{hash}{ENDING}", file_name_part(source));
    folder_of(ledger).join(FOLDER).join(name)
}

/// `name` as part of a file name that every system accepts.
fn file_name_part(name: &str) -> String {
    name.chars()
        .take(40)
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
            _ => '_',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_portable_and_unique() {
        let ledger = Path::new("/var/lib/hrsink/state.db");
        let mut names = std::collections::BTreeSet::new();
        for (pipeline, source) in [
            ("/etc/hr.yaml", "directory"),
            ("/etc/hr.yaml", "Directory"),
            ("/etc/hr.yaml", "../../etc/passwd"),
            ("/etc/hr.yaml", "..\\con: ?*\u{0}\n"),
            ("/etc/hr.yaml", "Verzeichnis für Personal"),
            ("/etc/hr.yaml", &"x".repeat(500)),
            ("/srv/hr.yaml", "directory"),
        ] {
            let path = path(ledger, pipeline, source);
            assert_eq!(path.parent(), Some(Path::new("/var/lib/hrsink/snapshots")));
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let stem = name.strip_suffix(ENDING).unwrap();
            let portable = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
            let holds = stem.starts_with("hr-") && stem.len() < 100 && stem.bytes().all(portable);
            assert!(holds, "{name}");
            assert!(names.insert(name));
        }
        assert!(path(Path::new("state.db"), "hr.yaml", "a").starts_with("./snapshots"));
    }
}
