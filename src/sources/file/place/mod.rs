//! Where files lie: which there are, their bytes, and what is done with them afterwards.
//!
//! ```text
//! address ──▶ place: list ──▶ found files ──▶ open: bytes in order      ──▶ text formats, packed files
//!                                         └─▶ read_ranges: some of them ──▶ Parquet
//!                                             rename, remove            ◀── once all rows are final
//! ```
//!
//! [`Place`] is all that the rest of the source knows of a disk, a server or a store; a new one is another module here
//! and another arm in [`Address`]. What a file is (its format, how it is packed) is not a place's business, and which of
//! the found files are read, in which order, is decided outside too, alike for all.

mod address;
mod bridge;
pub(super) mod local;
pub(super) mod object;
mod pattern;
mod pipe;
pub(super) mod sftp;
#[cfg(feature = "sftp")]
mod walk;

use std::fmt::Debug;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub(super) use address::{Address, STANDARD_INPUT, Scheme};
pub(super) use pattern::is_pattern;

use super::names::Wanted;
use crate::component::SourceContext;
use crate::error::{Error, Result};
use object::StoreSettings;
use sftp::SftpConfig;

/// The settings of all kinds of places, of which a source needs those of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings<'c> {
    pub(super) sftp: Option<&'c SftpConfig>,
    pub(super) stores: StoreSettings<'c>,
}

impl Address {
    /// The place, ready to be asked.
    ///
    /// # Errors
    /// It cannot be reached, or this build does not have it.
    pub(super) async fn place(&self, settings: Settings<'_>, cx: &SourceContext) -> Result<Arc<dyn Place>> {
        Ok(match self {
            Self::StandardInput => Arc::new(pipe::StandardInput),
            Self::Local(_) => Arc::new(local::Local::new(cx.run.base.clone())),
            Self::Remote(remote) if !remote.scheme.is_built_in() => {
                let (message, hint) = address::missing(remote);
                return Err(Error::config(message).with_hint(hint));
            }
            Self::Remote(remote) if remote.scheme == Scheme::Sftp => {
                sftp::connect(remote, settings.sftp, cx).await?
            }
            Self::Remote(remote) => object::connect(remote, settings.stores, cx).await?,
        })
    }
}

/// A file as its place showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// What the user knows it as: relative to the pipeline file on the disk, the path on a server, the key in a store.
    pub(super) name: Arc<str>,
    /// What the place knows it as.
    pub(super) path: String,
    /// Bytes; `None` where the place does not tell.
    pub(super) size: Option<u64>,
    /// When it was last changed, by the place's clock.
    pub(super) modified: Option<Timestamp>,
    /// The place's own mark of this content (an entity tag), which changes with it.
    pub(super) version: Option<String>,
}

impl Found {
    /// The last part of the name.
    pub(super) fn file_name(&self) -> &str {
        let name: &str = &self.name;
        name.rsplit_once(['/', std::path::MAIN_SEPARATOR])
            .map_or(name, |(_, last)| last)
    }

    /// Whether the place shows the same content now as it did then, as far as it tells.
    pub(super) fn is_unchanged(&self, now: &Self) -> bool {
        self.size == now.size && self.modified == now.modified && self.version == now.version
    }
}

/// What became of an attempt to rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renamed {
    Done,
    /// There is a file of that name already; nothing was changed.
    Taken,
}

/// A disk, a server, a store.
#[async_trait]
pub(super) trait Place: Debug + Send + Sync {
    /// The files that are wanted, in any order. Folders are left out, with a warning where a pattern's last part
    /// matches one.
    ///
    /// # Errors
    /// The place cannot be reached, or a folder cannot be listed. That none is found is none.
    async fn list(&self, wanted: &Wanted) -> Result<Vec<Found>>;

    /// Names of the files in the folder that `wanted` is about, to be shown when none of them matches; an error says
    /// why there are none to show. Not more than are worth looking at.
    async fn siblings(&self, wanted: &Wanted) -> Result<Vec<String>>;

    /// The file of that path as it is now; `None` if there is none.
    ///
    /// # Errors
    /// The place cannot be asked.
    async fn look(&self, path: &str) -> Result<Option<Found>>;

    /// A reader of all bytes in order, for a thread that may block; reads ahead. Its end is the end of the file as it
    /// was found: if the file is another by then, or is longer or shorter, reading ends in an error. Called on a thread
    /// of the runtime.
    ///
    /// # Errors
    /// It cannot be opened. What fails later is an [`io::Error`](std::io::Error) whose text stands for itself, or holds
    /// a [`crate::error::Error`] ([`bridge::failed`]).
    fn open(&self, file: &Found, cancel: &CancellationToken) -> Result<Box<dyn Read + Send>>;

    /// These bytes, each range as a whole, in the order of `ranges`, for formats that are read by parts. Ranges may be
    /// read together where they lie close.
    ///
    /// # Errors
    /// They cannot be read, or the file is another by now.
    async fn read_ranges(&self, file: &Found, ranges: &[Range<u64>]) -> Result<Vec<Bytes>>;

    /// Gives a file another name, in folders that are made if they are not there; never takes the place of another
    /// file.
    ///
    /// # Errors
    /// It cannot be done.
    async fn rename(&self, from: &str, to: &str) -> Result<Renamed>;

    /// Removes a file. One that is gone already is no error.
    ///
    /// # Errors
    /// It cannot be done.
    async fn remove(&self, path: &str) -> Result<()>;

    /// A path as it is shown in messages.
    fn shown(&self, path: &str) -> String {
        path.to_owned()
    }

    /// The file on the local disk, where it is one that can be opened again and again and read at any place.
    fn on_disk<'f>(&self, _file: &'f Found) -> Option<&'f Path> {
        None
    }

    /// Whether parts of it can be read in any order; a pipe has only one.
    fn has_ranges(&self, file: &Found) -> bool {
        self.can_be_read_twice(file)
    }

    /// Whether its bytes can be had a second time.
    fn can_be_read_twice(&self, _file: &Found) -> bool {
        true
    }
}
