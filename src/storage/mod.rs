//! Where files are stored: local disk, SFTP, object stores, web servers.
//!
//! A [`Location`] connects to a [`Storage`], which lists, opens, renames and deletes files. It knows nothing of formats,
//! compression or file selection, and nothing of the source that uses it. A new backend is a folder that implements
//! [`Storage`] and registers a `Backend` with `inventory`, and one `mod` line here.

mod blocks;
#[cfg(test)]
mod contract;
#[cfg(feature = "http-storage")]
mod fetch;
mod flatten;
mod local;
mod location;
mod object;
mod pattern;
mod registry;
#[cfg(feature = "http-storage")]
mod service_error;
mod sftp;
mod stdin;
#[cfg(test)]
mod tests;
mod transport;
mod walk;
mod web;

use std::fmt::Debug;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub(crate) use flatten::{Flat, add_properties};
#[cfg(test)]
pub(crate) use local::Local;
pub(crate) use location::{Location, STANDARD_INPUT};
pub(crate) use pattern::{FilePattern, is_pattern};
pub(crate) use registry::{Context, Settings, backends, describe_urls};

use crate::error::{Error, Result};

/// A file and its metadata when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileInfo {
    /// Name for users: relative to the pipeline file on the local disk, the path on a server, the key in a store.
    pub(crate) name: Arc<str>,
    /// Path that the storage uses.
    pub(crate) path: String,
    /// Bytes; `None` if the storage does not report it.
    pub(crate) size: Option<u64>,
    /// Last modification, by the clock of the storage.
    pub(crate) modified: Option<Timestamp>,
    /// Entity tag: changes with the content.
    pub(crate) version: Option<String>,
}

impl FileInfo {
    pub(crate) fn file_name(&self) -> &str {
        let name: &str = &self.name;
        name.rsplit_once(['/', std::path::MAIN_SEPARATOR])
            .map_or(name, |(_, last)| last)
    }

    /// Whether size, time and version are the same as in `now`.
    pub(crate) fn is_unchanged(&self, now: &Self) -> bool {
        self.size == now.size && self.modified == now.modified && self.version == now.version
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RenameOutcome {
    Renamed,
    /// A file with the new name exists; nothing was changed.
    Exists,
}

#[async_trait]
pub(crate) trait Storage: Debug + Send + Sync {
    /// The files that match, in any order; an empty list is not an error. Folders are skipped, with a warning if the last
    /// component of the pattern matches one.
    async fn list(&self, pattern: &FilePattern) -> Result<Vec<FileInfo>>;

    /// Names of files in the folder of `pattern`, for the error message if nothing matches. May be incomplete.
    async fn sibling_names(&self, pattern: &FilePattern) -> Result<Vec<String>>;

    /// The current metadata of a file; `None` if it does not exist.
    async fn stat(&self, path: &str) -> Result<Option<FileInfo>>;

    /// Opens a file for sequential reads on a blocking thread; prefetches. A file that is not what `file` describes, at
    /// the start or at the end, is an error: an [`io::Error`](std::io::Error) around a [`crate::error::Error`]. Called on
    /// a thread of the runtime.
    fn open(&self, file: &FileInfo, cancel: &CancellationToken) -> Result<Box<dyn Read + Send>>;

    /// Reads byte ranges, in the order of `ranges`; close ones may be read in one request. Only for files that are
    /// rereadable and have no [local path](Self::local_path).
    async fn read_ranges(&self, file: &FileInfo, _ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let name = &file.name;
        Err(Error::unexpected(format!("`{name}` cannot be read in ranges")))
    }

    /// Renames a file and creates missing folders. Never overwrites.
    async fn rename(&self, from: &str, to: &str) -> Result<RenameOutcome>;

    /// Deletes a file; a missing one is not an error.
    async fn delete(&self, path: &str) -> Result<()>;

    fn display_path(&self, path: &str) -> String {
        path.to_owned()
    }

    /// The path on the local disk of a regular file, which supports repeated and random reads.
    fn local_path<'f>(&self, _file: &'f FileInfo) -> Option<&'f Path> {
        None
    }

    /// Whether the file can be read a second time, and in ranges; not if it is a pipe.
    fn is_rereadable(&self, _file: &FileInfo) -> bool {
        true
    }
}
