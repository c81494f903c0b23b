//! Reads HR files: CSV, Parquet, NDJSON and JSON, packed or not, one or many, from the disk and from afar.
//!
//! The parts stand for themselves, so that a new place, packing or format is one new part:
//!
//! ```text
//! place: list ──▶ choose ──▶ job: open ──▶ codec ──▶ format: chunks, rejects
//!                   ▲                                          │ checkpoint
//!                   └── memory ◀── finisher: move, delete ◀── every row is final ─────────────┘
//! ```
//!
//! - `config` holds the settings, `plan` checks them and finds the files, `check` asks without a run; `names` are the patterns and dates of
//!   a path, `extension` is what a file's name tells,
//! - `place` is a disk, a server or a store: it lists, opens, renames and removes,
//! - `choose` says which files are read and in which order, `memory` which were read, `after` what becomes of them,
//! - `job` reads one file: `codec` decodes it, a [format](crate::format) makes Arrow columns of records,
//! - `source` goes through the files in order and sends a checkpoint after each; `finisher` waits for it to come back.
//!
//! What holds for every format: rows come in the file's order with the number of their record, and its line where
//! the format has lines; only columns that somebody downstream uses are built; memory does not grow with the file; a
//! record that cannot be read is a reject with its place and reason and the records around it go on; what makes the
//! rest of a file unreadable is an error that names the file and the place, never a short file. A file that is another at
//! its end than it was when it was found is such an error, and no file is moved or removed before every row of it is final.

mod check;
#[cfg(test)]
mod compressed_tests;
mod config;
mod extension;
mod hash;
mod job;
mod plan;
mod post_process;
mod select;
mod source;
mod state;
#[cfg(test)]
mod testing;

pub use crate::codec::{
    Codec, Compression, EncryptionPolicy, PgpKey, PgpSettings, SignaturePolicy, ZipSettings,
};
pub use crate::storage::object::{AzureConfig, BasicLogin, GcsConfig, HttpsConfig, S3Config};
#[cfg(feature = "sftp")]
#[doc(hidden)]
pub use crate::storage::sftp::throw_away;
pub use crate::storage::sftp::{SftpAlgorithms, SftpAuth, SftpConfig, SftpRetry};
pub use config::{AddedColumn, DatesConfig, FileConfig};
pub use post_process::{OnFailure, OnSuccess};
pub use select::{IfNone, Order, ReadAgain, Take};
