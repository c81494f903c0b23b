//! The settings of the source `file`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::post_process::{OnFailure, OnSuccess};
use super::select::{IfNone, OrderBy};
use crate::codec::{self, Compression, PgpSettings, ZipSettings};
use crate::format::FormatConfig;
use crate::settings::{BoundedInt, HumanDuration, Timezone};
use crate::storage;

/// Reads records from files: on the local disk, in remote storage, or from standard input.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "FileConfig", transform = storage::add_properties::<storage::Settings>)]
pub(crate) struct FileConfig {
    /// Files to read: a path, a glob pattern, `-` for standard input, or a URL. Relative paths are relative to the folder
    /// of the pipeline file. `*` and `?` match within a folder, `**` across folders; hidden files only match a pattern
    /// that starts with a dot. `{date:%Y%m%d}` is the day of the run (see `select.timezone`); `{any_date:%m%d%Y}` in a
    /// file name matches any date; files are then ordered by it.
    #[schemars(transform = storage::describe_urls)]
    pub(crate) path: String,
    /// Format of the files: a name, or an object with a `type` and settings. Default: detected from the extension of
    /// each file, or of each member of a zip archive. Required for standard input.
    #[serde(default)]
    pub(crate) format: Option<FormatConfig>,
    /// Compression and encryption: `none`, `gzip`, `zstd`, `zip`, `pgp`, or a list of them, outermost first. Default:
    /// detected from the extensions (`.gz`, `.zst`, `.zip`, `.pgp`, `.gpg`, `.asc`, also several, as in `.csv.gz.pgp`);
    /// `none` for standard input. Such a file is decoded completely before its first row is sent.
    #[serde(default)]
    #[schemars(example = &["pgp", "gzip"])]
    pub(crate) compression: Option<Compression>,
    /// The maximum ratio of decompressed to compressed size, per codec and in total, checked after the first 16 MiB. A
    /// higher ratio indicates a decompression bomb and ends the run. Typical exports have ratios from 5 to 50.
    #[serde(default = "default_max_compression_ratio")]
    #[schemars(example = 1000)]
    pub(crate) max_compression_ratio: MaxCompressionRatio,
    /// Members of zip archives to read, and their password.
    #[serde(default)]
    #[schemars(example = &serde_json::json!({"members": "*.csv"}))]
    pub(crate) zip: Option<ZipSettings>,
    /// Keys for files encrypted or signed with OpenPGP.
    #[serde(default)]
    pub(crate) pgp: Option<PgpSettings>,
    /// Settings of storage backends, each under its own key.
    #[serde(skip)]
    pub(crate) storage: storage::Settings,
    /// Which of the matching files are read, and in which order.
    #[serde(default)]
    pub(crate) select: SelectSettings,
    /// What to do with a file once all its rows have an outcome: `keep`, `delete`, or `{move: NAME}`. Not applied with
    /// `--dry-run` or `--limit`. A failure logs a warning, and the next run tries again. A file whose rows were all rejected
    /// is kept and read again.
    #[serde(default)]
    pub(crate) on_success: OnSuccess,
    /// What to do with a file that cannot be read: `keep` or `{move: NAME}`. The run fails in either case.
    #[serde(default)]
    pub(crate) on_failure: OnFailure,
    /// Columns to add, each with its content: `name` of the file, `date` in its name, `modified` time (UTC), or `row`
    /// number. A query can use them to keep the newest row of a person.
    #[serde(default)]
    #[schemars(example = &serde_json::json!({"file_date": "date", "file_row": "row"}))]
    pub(crate) add_columns: BTreeMap<String, AddedColumn>,
}

/// Which of the matching files are read, and in which order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SelectSettings {
    /// Reads only the last file in the order of `order_by`, for full exports. Files older than the newest delivered file are
    /// never read.
    pub(crate) newest: bool,
    /// Order in which files are read. Default `date_in_name` if `path` has an `{any_date:…}`, else `name`.
    #[schemars(example = &"modified")]
    pub(crate) order_by: Option<OrderBy>,
    /// Skips files that an earlier run delivered, unless their size, time or entity tag has changed. Default `true` for
    /// remote files and `false` for local ones, which are cheap to read; rows that were delivered are skipped anyway.
    pub(crate) incremental: Option<bool>,
    /// How long a file must be unchanged before it is read. A file that changed more recently is checked again after this
    /// time. Default `30s` on SFTP servers, else `0s`.
    pub(crate) quiet_period: Option<HumanDuration>,
    /// Name of the marker file that shows that a file in the same folder is complete: `{name}.done` or `{stem}.ok`. Files without
    /// their marker are skipped with a warning.
    pub(crate) marker: Option<String>,
    /// Time zone of the day in `{date:…}`. Default UTC.
    pub(crate) timezone: Option<Timezone>,
    /// Time to subtract from the day in `{date:…}`: `1d` for yesterday's file.
    pub(crate) date_offset: Option<HumanDuration>,
    /// The maximum number of files to read in a run. If there are more, the run fails before it reads any.
    #[schemars(example = 500)]
    pub(crate) max_files: MaxFiles,
    /// What to do if no file matches: `error`, `warn` or `ignore`.
    pub(crate) if_none: IfNone,
    /// What to do if files match, but all of them were read before, are older than the newest, or are incomplete.
    pub(crate) if_none_new: IfNone,
}

type MaxFiles = BoundedInt<1, 1_000_000>;
type MaxCompressionRatio = BoundedInt<1, 1_000_000>;

impl Default for SelectSettings {
    fn default() -> Self {
        Self {
            newest: false,
            order_by: None,
            incremental: None,
            quiet_period: None,
            marker: None,
            timezone: None,
            date_offset: None,
            max_files: MaxFiles::new(10_000),
            if_none: IfNone::Error,
            if_none_new: IfNone::Warn,
        }
    }
}

/// The content of an added column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AddedColumn {
    /// Name of the file, as in the report.
    Name,
    /// Date in the file name, as `2026-03-01T00:00:00`.
    Date,
    /// Time of the last modification, in UTC.
    Modified,
    /// Number of the record in its file, from 1.
    Row,
}

impl<'de> Deserialize<'de> for FileConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut storage = storage::Settings::default();
        let config = Self::deserialize(storage::Flat {
            inner: deserializer,
            group: &mut storage,
        })?;
        Ok(Self { storage, ..config })
    }
}

impl FileConfig {
    /// The files of a path, with default settings.
    pub(crate) fn of_path(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            format: None,
            compression: None,
            max_compression_ratio: default_max_compression_ratio(),
            zip: None,
            pgp: None,
            storage: storage::Settings::default(),
            select: SelectSettings::default(),
            on_success: OnSuccess::Keep,
            on_failure: OnFailure::Keep,
            add_columns: BTreeMap::new(),
        }
    }

    pub(super) fn codec_settings(&self) -> codec::Settings<'_> {
        codec::Settings {
            compression: self.compression.as_ref(),
            zip: self.zip.as_ref(),
            pgp: self.pgp.as_ref(),
            max_compression_ratio: self.max_compression_ratio.get(),
        }
    }
}

fn default_max_compression_ratio() -> MaxCompressionRatio {
    MaxCompressionRatio::new(200)
}
