//! The file of a snapshot: its name, how it is opened, and how a new one replaces it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use super::config::SourceSnapshot;
use super::encrypted::{ReadError, Reader, Writer};
use super::key::{Key, Subject};
use crate::component::RunInfo;
use crate::disk::{AtomicFile, folder_of};
use crate::error::{Error, Result};
use crate::ledger::file_error;

/// The folder beside the ledger.
const FOLDER: &str = "snapshots";
const ENDING: &str = ".enc";
const BUFFER_BYTES: usize = 256 << 10;

/// The file of one source of one pipeline, and the keys to read it with.
#[derive(Debug, Clone)]
pub(super) struct SnapshotFile {
    path: PathBuf,
    pipeline: String,
    source: String,
    key: Key,
    old_key: Option<Key>,
}

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

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Opens the file with the current key, or else the old one; `None` without a file.
    pub(super) fn open(&self) -> Result<Option<Reader<BufReader<File>>>> {
        match (self.open_with(&self.key), &self.old_key) {
            (Err(ReadError::WrongKey), Some(old)) => self.open_with(old),
            (opened, _) => opened,
        }
        .map_err(|error| self.read_error(error))
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

    /// Starts a new file beside the current one.
    pub(super) fn create(&self) -> Result<NewSnapshot> {
        let file = AtomicFile::create(&self.path).map_err(|error| self.io_error("create", error))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let writer = Writer::start(file, &self.key, self.subject());
        Ok(NewSnapshot {
            target: self.clone(),
            writer: Some(writer.map_err(|error| self.io_error("write", error))?),
            finished: None,
        })
    }

    pub(super) fn read_error(&self, error: ReadError) -> Error {
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

/// A file being written: encrypted from the first byte, and removed when dropped before [`replace`](Self::replace).
pub(super) struct NewSnapshot {
    target: SnapshotFile,
    writer: Option<Writer<BufWriter<AtomicFile>>>,
    finished: Option<AtomicFile>,
}

impl NewSnapshot {
    /// Encrypts `frame` in place and writes it.
    pub(super) fn write(&mut self, frame: &mut Vec<u8>) -> Result<()> {
        let written = match &mut self.writer {
            Some(writer) => writer.write(frame),
            None => Err(io::Error::other("it is complete")),
        };
        written.map_err(|error| self.target.io_error("write", error))
    }

    /// Writes the last frame and syncs the file.
    pub(super) fn finish(&mut self, frame: Vec<u8>) -> Result<()> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let finish = || {
            let file = writer.finish(frame)?;
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync()?;
            Ok(file)
        };
        self.finished = Some(finish().map_err(|error| self.target.io_error("write", error))?);
        Ok(())
    }

    /// Replaces the current file atomically, even in a power cut.
    pub(super) fn replace(self) -> Result<()> {
        match self.finished {
            Some(file) => file
                .commit()
                .map_err(|error| self.target.io_error("replace", error)),
            None => Ok(()),
        }
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
        let names = [
            ("/etc/hr.yaml", "directory"),
            ("/etc/hr.yaml", "Directory"),
            ("/etc/hr.yaml", "../../etc/passwd"),
            ("/etc/hr.yaml", "..\\con: ?*\u{0}\n"),
            ("/etc/hr.yaml", "Verzeichnis für Personal"),
            ("/etc/hr.yaml", &"x".repeat(500)),
            ("/srv/hr.yaml", "directory"),
        ]
        .map(|(pipeline, source)| {
            let path = path(ledger, pipeline, source);
            assert_eq!(path.parent(), Some(Path::new("/var/lib/hrsink/snapshots")));
            path.file_name().unwrap().to_str().unwrap().to_owned()
        });
        assert!(names[0].starts_with("hr-directory-"), "{names:?}");
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        for name in &names {
            assert!(name.len() < 120, "{name}");
            let stem = name.strip_suffix(ENDING).unwrap();
            let portable = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
            assert!(stem.bytes().all(portable), "{name}");
        }
        assert!(path(Path::new("state.db"), "hr.yaml", "a").starts_with("./snapshots"));
    }
}
