//! Where remembered rows are on disk.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use super::key::{Key, Subject};
use super::sealed::{Broken, Reader, Writer};
use crate::component::RunInfo;
use crate::config::remember::Remembered;
use crate::error::{Error, ErrorKind, Result};
use crate::files;

/// The folder beside the ledger.
const FOLDER: &str = "remembered";
const ENDING: &str = ".enc";
const BUFFER: usize = 256 << 10;

/// The file of one source of one pipeline, and the keys it can be read with.
#[derive(Debug, Clone)]
pub(super) struct Place {
    path: PathBuf,
    pipeline: String,
    source: String,
    key: Key,
    old_key: Option<Key>,
}

impl Place {
    /// Where the rows of `remembered` are; `state` is the ledger's path, `pipeline` what the pipeline is known by.
    ///
    /// # Errors
    /// A key cannot be read, or is none.
    pub(super) fn new(remembered: &Remembered, run: &RunInfo, state: &Path, pipeline: &str) -> Result<Self> {
        let Remembered { source, settings } = remembered;
        let old = settings.old_encryption_key.as_ref();
        Ok(Self {
            path: path(state, pipeline, source),
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

    /// The rows as they were last stored; `None` if there are none.
    pub(super) fn open(&self) -> Result<Option<Reader<BufReader<File>>>> {
        match self.open_with(&self.key) {
            Err(Broken::Key) => match &self.old_key {
                Some(old) => self.open_with(old),
                None => Err(Broken::Key),
            },
            opened => opened,
        }
        .map_err(|broken| self.broken(broken))
    }

    fn open_with(&self, key: &Key) -> Result<Option<Reader<BufReader<File>>>, Broken> {
        match File::open(&self.path) {
            Ok(file) => {
                let file = BufReader::with_capacity(BUFFER, file);
                Reader::begin(file, key, self.subject()).map(Some)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a new file beside the present one; what an earlier run left of such a file is gone.
    pub(super) fn begin(&self) -> Result<Unfinished> {
        let unfinished = beside(&self.path, ".new");
        let begin = || {
            if let Some(folder) = self.path.parent() {
                files::create_private_folder(folder)?;
            }
            files::create_private(&unfinished)
        };
        let file = begin().map_err(|error| self.cannot("make", error))?;
        // From here on it is removed again.
        let mut unfinished = Unfinished {
            place: self.clone(),
            path: Some(unfinished),
            writer: None,
        };
        let file = BufWriter::with_capacity(BUFFER, file);
        let writer = Writer::begin(file, &self.key, self.subject());
        unfinished.writer = Some(writer.map_err(|error| self.cannot("write", error))?);
        Ok(unfinished)
    }

    /// What is wrong with the file, and what to do.
    pub(super) fn broken(&self, broken: Broken) -> Error {
        let (path, source) = (self.path.display(), &self.source);
        let anew = format!(
            "or delete `{path}`: then nothing is remembered of `{source}`, as before the first run; who is no longer in \
             the source cannot be looked up any more"
        );
        match broken {
            Broken::Io(error) => return self.cannot("read", error),
            Broken::Foreign => Error::config(format!("`{path}` is not a file of remembered rows"))
                .into_damage()
                .with_hint("restore it from a backup"),
            Broken::Version(version) => Error::config(format!(
                "the rows remembered of `{source}` in `{path}` are of version {version}; this hrsink ({}) knows version 1",
                env!("CARGO_PKG_VERSION")
            ))
            .with_hint("update hrsink: a newer one has written them"),
            Broken::Key => Error::config(format!(
                "the rows remembered of `{source}` in `{path}` were encrypted with another key"
            ))
            .with_hint("give the key that the last run had, in `remember.encryption_key`")
            .with_hint("was the key changed on purpose? name the one before it in `remember.old_encryption_key` too"),
            Broken::Subject => Error::config(format!(
                "`{path}` holds the rows of another pipeline or source than `{source}` of `{}`",
                self.pipeline
            ))
            .into_damage()
            .with_hint("was it copied or renamed? put the right file there"),
            Broken::Damaged(how) => Error::config(format!(
                "the rows remembered of `{source}` in `{path}` are damaged: {how}"
            ))
            .into_damage()
            .with_hint("restore the file from a backup"),
        }
        .with_hint(anew)
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            pipeline: &self.pipeline,
            source: &self.source,
        }
    }

    fn cannot(&self, what: &str, error: io::Error) -> Error {
        use io::ErrorKind as Io;
        let message = format!(
            "cannot {what} the rows remembered of `{}` in `{}`",
            self.source,
            self.path.display()
        );
        match error.kind() {
            Io::StorageFull | Io::QuotaExceeded => Error::new(ErrorKind::Passing, message)
                .with_hint("free some space on its disk, then run again"),
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Error::config(message)
                .with_hint("this user must own the folder, and be allowed to write to it"),
            Io::NotFound | Io::NotADirectory | Io::IsADirectory | Io::AlreadyExists => Error::config(message)
                .with_hint("look at `state.path`: the rows are in a folder beside the ledger"),
            _ => Error::unexpected(message),
        }
        .with_source(error)
    }
}

/// A new file on its way: encrypted from the first byte, and removed when it is dropped before it is in its place.
pub(super) struct Unfinished {
    place: Place,
    path: Option<PathBuf>,
    writer: Option<Writer<BufWriter<File>>>,
}

impl Unfinished {
    /// Writes a frame, and leaves its ciphertext behind.
    pub(super) fn write(&mut self, frame: &mut Vec<u8>) -> Result<()> {
        let written = match &mut self.writer {
            Some(writer) => writer.write(frame),
            None => Err(io::Error::other("it is complete")),
        };
        written.map_err(|error| self.place.cannot("write", error))
    }

    /// Writes the last frame and sees to it that all is on the disk.
    pub(super) fn end(&mut self, frame: Vec<u8>) -> Result<()> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let end = || {
            let file = writer
                .end(frame)?
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?;
            file.sync_all()
        };
        end().map_err(|error| self.place.cannot("write", error))
    }

    /// Puts the file in its place: from one moment to the next, even in a power cut.
    pub(super) fn put_in_place(mut self) -> Result<()> {
        let Some(path) = self.path.take() else {
            return Ok(());
        };
        let renamed = std::fs::rename(&path, &self.place.path);
        if renamed.is_err() {
            self.path = Some(path);
        }
        renamed
            .and_then(|()| sync_folder(&self.place.path))
            .map_err(|error| self.place.cannot("replace", error))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.writer = None;
        if let Some(path) = &self.path {
            // The next run empties what could not be removed.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The file of a pipeline's source. Its name says what it is for, as far as file names can, and a hash tells it from
/// every other.
fn path(state: &Path, pipeline: &str, source: &str) -> PathBuf {
    let hash = Subject { pipeline, source }.hash();
    let hash: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let stem = Path::new(pipeline).file_stem().unwrap_or_default();
    let name = format!(
        "{}-{}-{hash}{ENDING}",
        plain(&stem.to_string_lossy()),
        plain(source)
    );
    let folder = match state.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    folder.join(FOLDER).join(name)
}

/// `name` as a part of a file name on every system.
fn plain(name: &str) -> String {
    name.chars()
        .take(40)
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Makes a rename safe from a power cut.
fn sync_folder(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = file.parent() {
        File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_safe_for_any_source_and_tells_all_apart() {
        let state = Path::new("/var/lib/hrsink/state.db");
        let name = |pipeline: &str, source: &str| {
            let path = path(state, pipeline, source);
            assert_eq!(path.parent(), Some(Path::new("/var/lib/hrsink/remembered")));
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        let names = [
            name("/etc/hr.yaml", "directory"),
            name("/etc/hr.yaml", "Directory"),
            name("/etc/hr.yaml", "../../etc/passwd"),
            name("/etc/hr.yaml", "..\\con: ?*\u{0}\n"),
            name("/etc/hr.yaml", "Verzeichnis für Personal"),
            name("/etc/hr.yaml", &"x".repeat(500)),
            name("/srv/hr.yaml", "directory"),
        ];
        assert!(names[0].starts_with("hr-directory-"), "{names:?}");
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        for name in &names {
            assert!(name.len() < 120 && name.ends_with(ENDING), "{name}");
            let stem = name.strip_suffix(ENDING).unwrap();
            assert!(
                stem.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)),
                "{name}"
            );
        }
        assert!(path(Path::new("state.db"), "hr.yaml", "a").starts_with("./remembered"));
    }
}
