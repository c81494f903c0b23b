//! File formats: bytes in, Arrow chunks and rejects out.
//!
//! Every format keeps these promises: rows come in file order with their number, and their line where the format has
//! lines; only columns in use are built; memory does not grow with the file; an unreadable record becomes a reject and
//! the records around it are read; damage that hides the rest of a file is an error that names the place.
//!
//! A new format is a folder that implements [`Format`] and registers itself with `inventory`, and one `mod` line here.

mod collector;
#[cfg(test)]
mod contract;
mod csv;
pub(crate) mod encode;
mod foreign;
pub(crate) mod json;
mod parquet;
mod registry;
#[cfg(test)]
pub(crate) mod testing;
mod text;

use std::fmt::Debug;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use collector::RowBuffer;
pub(crate) use collector::{Added, CHUNK_ROWS, Collector, READ_BYTES, ReadError, ReadResult};
pub(crate) use foreign::hint_for_extension;
pub(crate) use registry::{FormatConfig, Registration, extensions, formats, names};

use crate::component::Problems;
use crate::error::Result;
use crate::settings::BoundedSize;

/// The settings of a file format, and how it reads a file.
pub(crate) trait Format: Debug + Send + Sync {
    /// Adds a problem for each invalid setting that decoding did not find.
    fn validate(&self, _problems: &mut Problems<'_>) {}

    /// Reads one file and sends its rows and rejects to `rows`. Called on a thread that may block.
    ///
    /// # Errors
    /// The file cannot be read to its end, or is not of this format.
    fn read(&self, input: &Input<'_>, rows: &Collector) -> ReadResult;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// In order, from the first byte to the last.
    Stream,
    /// Any part at any time: not from standard input, and not out of a compressed file.
    Ranges,
}

pub(crate) type Bytestream = Box<dyn Read + Send>;

/// One file, or one member of an archive.
pub(crate) struct Input<'a> {
    /// The extension of its name: lower case, without the dot and those of compression; may be empty.
    pub(crate) extension: &'a str,
    /// Opens it from the start.
    pub(crate) open: &'a dyn Fn() -> Result<Bytestream>,
    pub(crate) can_reopen: bool,
    /// Its parts, where they can be read in any order.
    pub(crate) ranges: Option<RandomAccess>,
}

#[derive(Debug, Clone)]
pub(crate) enum RandomAccess {
    Local(PathBuf),
    Remote(Arc<dyn ReadRanges>),
}

#[async_trait]
pub(crate) trait ReadRanges: Debug + Send + Sync {
    fn size(&self) -> Option<u64>;

    /// The bytes of each range, in the order of `ranges`.
    async fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>>;
}

/// The limit for the length of a record. Offsets within a chunk are 32-bit numbers, and a chunk ends with the record that
/// fills it.
type MaxRecordBytes = BoundedSize<1, { 1 << 30 }>;

fn default_max_record() -> MaxRecordBytes {
    BoundedSize::new(16 << 20)
}
