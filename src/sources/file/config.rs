//! The settings of the source `file`, and what can be wrong with them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use super::post_process::{OnFailure, OnSuccess};
use super::select::{IfNone, Order, ReadAgain, Take};
use crate::codec::{Compression, PgpSettings, ZipSettings};
use crate::config::{ByteSize, HumanDuration};
use crate::format::FormatConfig;
use crate::storage::object::{AzureConfig, GcsConfig, HttpsConfig, S3Config};
use crate::storage::sftp::SftpConfig;

/// Reads records from files: CSV, Parquet, NDJSON or JSON, compressed or not; on the disk, on an SFTP server, in an object
/// store, on a web server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file to read: a path, a pattern, `-` for standard input, or an address: `sftp://host:port/folder/*.csv`,
    /// `s3://bucket/key`, `az://container/name`, `abfss://container@account.dfs.core.windows.net/name`,
    /// `gs://bucket/name`, `https://host/file.csv`. Relative paths are relative to the folder of the pipeline file,
    /// wherever the program is started. In a pattern `*` and `?` stay within a folder, `**` goes through folders, and
    /// names that begin with a dot must be asked for; folders among the matches are left out with a warning. A link
    /// on the disk that leads out of the pattern's folder (the part before the first wildcard) is an error.
    /// `{date:%Y%m%d}` in a path is the day of the run (see `dates`); `{any_date:%m%d%Y}` in a file's name is any day,
    /// by which the files are put in order.
    pub path: String,

    /// The format: a name (`csv`, `parquet`, `ndjson`, `json`), or an object with a `type` and that format's
    /// settings. Left out, the extension tells it for each file: `.csv`, `.tsv` (CSV with tabs), `.parquet`,
    /// `.ndjson`, `.jsonl`, `.json`, also followed by the endings of `packing`. In a zip
    /// archive the members' own extensions count. Standard input needs it.
    #[serde(default)]
    pub format: Option<FormatConfig>,

    /// How the file is packed: `none`, `gzip`, `zstd`, `zip`, `pgp`, or a list of them, outermost first. Left out, the
    /// endings of the name tell it for each file: `.gz`, `.zst`, `.zip`, `.pgp` (or `.gpg`, `.asc`), also several, as in
    /// `leavers.csv.gz.pgp`. Standard input is not packed if it is left out. A packed file is decoded to its end before a
    /// row of it is passed on.
    #[serde(default)]
    pub packing: Option<Compression>,

    /// How many times its packed size a file may unpack to, in each layer and in all; counted from the first 16 MiB on, so
    /// that small files are never judged. Default 200: exports reach 5 to 50, files made to fill memory or a queue
    /// ("bombs") 1,000 and more. A file that passes it ends the run.
    #[serde(default = "default_max_compression_ratio")]
    pub max_compression_ratio: NonZeroU32,

    /// Which members of a zip archive are read, and its password.
    #[serde(default)]
    pub zip: Option<ZipSettings>,

    /// With which keys OpenPGP files are decrypted, and whose signatures they must have.
    #[serde(default)]
    pub pgp: Option<PgpSettings>,

    /// How the SFTP server of an `sftp://` address is reached.
    #[serde(default)]
    pub sftp: Option<SftpConfig>,

    /// How the store of an `s3://` address is reached. Left out: as the environment says.
    #[serde(default)]
    pub s3: Option<S3Config>,

    /// How the store of an `az://` or `abfss://` address is reached. Left out: as the environment says.
    #[serde(default)]
    pub azure: Option<AzureConfig>,

    /// How the store of a `gs://` address is reached. Left out: as the environment says.
    #[serde(default)]
    pub gcs: Option<GcsConfig>,

    /// How the web server of an `https://` address is asked.
    #[serde(default)]
    pub https: Option<HttpsConfig>,

    /// Which of the files that match are read: `all` (the default), or the `newest`, which is the last in the order of
    /// `order`, and never older than the newest that was delivered.
    #[serde(default)]
    pub take: Take,

    /// Whether a file is read that was read before. `changed`: only if its size, its time or the store's mark of its
    /// content is another now; the files that were read are remembered in the ledger. `always`: in every run. Default
    /// `changed` for files that are not on the disk, and `always` for those that are: reading these costs little, and
    /// rows that were delivered are left out one by one all the same.
    #[serde(default)]
    pub read_again: Option<ReadAgain>,

    /// The order in which files are read: `name`, `time` (of the last change) or `date` (in the name). Default `date` if
    /// the path has an `{any_date:…}`, else `name`. Of several rows about one person the last one counts for whoever
    /// takes the last.
    #[serde(default)]
    pub order: Option<Order>,

    /// The days in `{date:…}`.
    #[serde(default)]
    pub dates: DatesConfig,

    /// How long a file must not have been changed before it is read, so that one that is still being written is left
    /// alone. A file that was changed later than that is looked at again after this time, and read if it is still the
    /// same. Clocks of servers are not relied on: there a file's time must be ten minutes older. Default 30s on SFTP
    /// servers, 0s elsewhere.
    #[serde(default)]
    pub settle: Option<HumanDuration>,

    /// The name of a file beside the one to read that tells that it is complete, such as `{name}.done` or `{stem}.ok`.
    /// Files without it are left alone, with a warning.
    #[serde(default)]
    pub trigger: Option<String>,

    /// Files to read in one run, at most. Default 10000. More of them are an error before any is read.
    #[serde(default = "default_max_files")]
    pub max_files: usize,

    /// Size of a file, at most, as it lies there. A larger one is an error before any is read. No limit if left out.
    #[serde(default)]
    pub max_file_bytes: Option<ByteSize>,

    /// What it means that no file is there: `error` (the default, because nothing read would be leavers missed), `warn`,
    /// or `ignore`.
    #[serde(default = "error")]
    pub if_missing: IfNone,

    /// What it means that there are files and all of them were read before, are older than the newest, or are not
    /// complete: `error`, `warn` (the default) or `ignore`.
    #[serde(default = "warn")]
    pub if_nothing_new: IfNone,

    /// What is done with a file once every row of it is final: `leave` (the default), `delete`, or `{move: NAME}`. A run
    /// that only looks (`--dry-run`, `--limit`) does nothing with files. What fails is a warning: the file is not read
    /// again, and the next run tries it again. A file of which every row was rejected stays and is read again.
    #[serde(default)]
    pub after: OnSuccess,

    /// What is done with a file that cannot be read (damaged, not of its format): `leave` (the default) or
    /// `{move: NAME}`. The run fails either way.
    #[serde(default)]
    pub on_failure: OnFailure,

    /// Columns to add that tell where a row is from, by the name they get: `name` of the file, `date` in its name (as in
    /// `2026-03-01T00:00:00`), `modified` (when it was changed last, in UTC), `row` (the number of the record). With them
    /// a query keeps the newest row of a person.
    #[serde(default)]
    pub add_columns: BTreeMap<String, AddedColumn>,
}

/// What an added column tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddedColumn {
    /// The name of the file, as the report has it.
    Name,
    /// The date in the file's name, in the form `2026-03-01T00:00:00`.
    Date,
    /// When the file was changed last, in UTC.
    Modified,
    /// The number of the record in its file; the first is 1.
    Row,
}

/// How the day of the run becomes the day in a name.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DatesConfig {
    /// The time zone whose day it is, such as `Europe/Berlin`. Default UTC.
    pub zone: Option<String>,
    /// How much earlier: `1d` is yesterday's file. Default none.
    pub lag: Option<HumanDuration>,
}

impl DatesConfig {
    pub(super) fn zone(&self) -> Result<TimeZone, String> {
        match &self.zone {
            None => Ok(TimeZone::UTC),
            Some(name) => {
                TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone such as `Europe/Berlin`"))
            }
        }
    }

    pub(super) fn lag(&self) -> SignedDuration {
        let lag = self.lag.map_or(Duration::ZERO, |lag| lag.0);
        SignedDuration::try_from(lag).unwrap_or(SignedDuration::MAX)
    }
}

fn default_max_files() -> usize {
    10_000
}

fn error() -> IfNone {
    IfNone::Error
}

fn warn() -> IfNone {
    IfNone::Warn
}

impl FileConfig {
    /// The file or files of this path, with all settings as they are by default.
    pub fn of_path(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            format: None,
            packing: None,
            zip: None,
            pgp: None,
            max_compression_ratio: DEFAULT_MAX_COMPRESSION_RATIO,
            sftp: None,
            s3: None,
            azure: None,
            gcs: None,
            https: None,
            take: Take::All,
            read_again: None,
            order: None,
            dates: DatesConfig::default(),
            settle: None,
            trigger: None,
            max_files: default_max_files(),
            max_file_bytes: None,
            if_missing: error(),
            if_nothing_new: warn(),
            after: OnSuccess::Leave,
            on_failure: OnFailure::Leave,
            add_columns: BTreeMap::new(),
        }
    }
}

/// See [`FileConfig::max_compression_ratio`].
pub(crate) const DEFAULT_MAX_COMPRESSION_RATIO: NonZeroU32 = NonZeroU32::new(200).expect("more than zero");

fn default_max_compression_ratio() -> NonZeroU32 {
    DEFAULT_MAX_COMPRESSION_RATIO
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::SourceConfig;
    use crate::config::{Problem, Problems};
    use serde_json::json;

    fn problems(config: serde_json::Value) -> Vec<Problem> {
        let config: FileConfig = serde_json::from_value(config).unwrap();
        let mut found = Vec::new();
        config.validate(&mut Problems::new(&mut found));
        found
    }

    fn paths(config: serde_json::Value) -> Vec<String> {
        problems(config).into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_format_is_a_name_or_an_object() {
        let named: FileConfig = serde_json::from_value(json!({"path": "a", "format": "csv"})).unwrap();
        let tagged: FileConfig =
            serde_json::from_value(json!({"path": "a", "format": {"type": "csv"}})).unwrap();
        assert_eq!(format!("{:?}", named.format), format!("{:?}", tagged.format));
        let error = |format: serde_json::Value| {
            serde_json::from_value::<FileConfig>(json!({"path": "a", "format": format}))
                .unwrap_err()
                .to_string()
        };
        assert!(error(json!("csvv")).contains("unknown variant `csvv`, expected one of `csv`"));
        assert!(error(json!({"type": "csv", "delimeter": ";"})).contains("delimeter"));
        assert!(error(json!({"type": "parquet", "delimiter": ";"})).contains("delimiter"));
        assert!(error(json!({"type": "csv", "max_record_bytes": "many"})).contains("4MiB"));
    }

    #[test]
    fn a_configuration_is_found_by_its_type() {
        let config: Box<dyn SourceConfig> = serde_json::from_value(json!({
            "type": "file", "path": "a.csv", "format": {"type": "csv", "max_record_bytes": "1MiB", "quote": null},
        }))
        .unwrap();
        assert!(format!("{config:?}").contains("MaxRecordBytes(ByteSize(1048576))"));
        assert!(
            crate::component::descriptions()
                .iter()
                .any(|entry| entry.name == "file")
        );
    }

    #[test]
    fn a_pipeline_file_in_yaml_reads_the_same() {
        let yaml = "type: file\npath: in/*.csv\nformat:\n  type: csv\n  delimiter: ;\n  quote: null\n  skip_first: 2\n  \
                    header: true\n  columns: [id, mail]\n  max_record_bytes: 4MiB\npacking: gzip\n";
        let config: Box<dyn SourceConfig> = serde_saphyr::from_str(yaml).unwrap();
        let same: FileConfig =
            serde_json::from_value(json!({"path": "in/*.csv", "packing": "gzip", "format": {
                "type": "csv", "delimiter": ";", "quote": null, "skip_first": 2, "header": true,
                "columns": ["id", "mail"], "max_record_bytes": 4 << 20,
            }}))
            .unwrap();
        assert_eq!(format!("{config:?}"), format!("{same:?}"));
        let named: FileConfig = serde_saphyr::from_str("path: a\nformat: ndjson\n").unwrap();
        assert_eq!(named.format.unwrap().name(), "ndjson");
        let none: FileConfig = serde_saphyr::from_str("path: a\nformat:\n").unwrap();
        assert!(none.format.is_none());
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let found = paths(json!({"path": "in/[a.csv", "packing": "gzip", "format": {
            "type": "csv", "delimiter": "::", "quote": "ä", "escape": "\n", "comment": "",
            "encoding": "windows1252x", "columns": ["a", "a", " "], "max_record_bytes": 0,
        }}));
        let expected = [
            "path",
            "format.delimiter",
            "format.quote",
            "format.escape",
            "format.comment",
            "format.columns[1]",
            "format.columns[2]",
            "format.encoding",
            "format.max_record_bytes",
        ];
        assert_eq!(found, expected);
        let same = json!({"path": "a.csv", "format": {"type": "csv", "delimiter": "tab", "comment": "\t", "quote": "\t"}});
        assert_eq!(paths(same), ["format.quote", "format.comment"]);
        let encoding = json!({"path": "a.csv", "format": {"type": "csv", "encoding": "windows-1253x"}});
        assert!(
            problems(encoding)[0]
                .hint
                .as_ref()
                .unwrap()
                .contains("`windows-1253`")
        );
    }

    #[test]
    fn what_names_cannot_tell_is_asked_for() {
        assert_eq!(paths(json!({"path": "-"})), ["format"]);
        assert_eq!(paths(json!({"path": "in/leavers.txt"})), ["format"]);
        assert_eq!(paths(json!({"path": "in/*"})), [""; 0]);
        let host = problems(json!({"path": "http://127.0.0.1:22980/out"}));
        assert!(host[0].message.contains("there is no extension"), "{host:?}");
        assert_eq!(paths(json!({"path": "in/*.CSV.GZ"})), [""; 0]);
        let workbook = problems(json!({"path": "in/leavers.xlsx"}));
        assert!(
            workbook[0].hint.as_ref().unwrap().contains("CSV UTF-8"),
            "{workbook:?}"
        );
    }

    #[test]
    fn parquet_needs_a_file_on_disk() {
        assert_eq!(paths(json!({"path": "-", "format": "parquet"})), ["format"]);
        assert_eq!(paths(json!({"path": "a.parquet.gz"})), ["packing"]);
        assert_eq!(
            paths(json!({"path": "a.parquet", "packing": "zstd"})),
            ["packing"]
        );
    }

    #[test]
    fn the_schema_has_both_forms_of_format() {
        let schema = serde_json::to_string(&schemars::schema_for!(FileConfig)).unwrap();
        assert!(
            schema.contains(r#""const":"ndjson""#) || schema.contains(r#""ndjson""#),
            "{schema}"
        );
        let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
        let valid = |config: serde_json::Value| jsonschema::is_valid(&schema, &config);
        assert!(valid(json!({"path": "a", "format": "csv"})));
        assert!(valid(
            json!({"path": "a", "format": {"type": "csv", "delimiter": ";", "quote": null, "max_record_bytes": "4MiB"}})
        ));
        assert!(!valid(
            json!({"path": "a", "format": {"type": "csv", "delimeter": ";"}})
        ));
        assert!(!valid(json!({"path": "a", "format": "xml"})));
    }
}
