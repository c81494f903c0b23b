//! The settings of the source `file`, and what can be wrong with them.

use std::num::NonZeroU32;
use std::path::Path;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::csv::{CsvOptions, DEFAULT_DELIMITER, Dialect};
use super::format::{FORMATS, Format, JsonOptions, NameOrSettings, NdjsonOptions, name_or_settings};
use super::pattern::is_pattern;
use super::place::{self, Entry, STANDARD_INPUT};
use super::source::{FileSource, Job, Reading};
use crate::component::{Description, Source, SourceConfig, SourceContext};
use crate::config::Problems;
use crate::error::{Error, Result};

/// Reads records from files: CSV, Parquet, NDJSON or JSON, compressed or not.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file to read: one path, a pattern, or `-` for standard input. Relative paths are relative to the folder of
    /// the pipeline file, wherever the program is started. In a pattern `*` and `?` stay within a folder, `**` goes
    /// through folders, and names that begin with a dot must be asked for; several matches are read in the order of
    /// their names, and folders among them are left out with a warning. A link among them that leads out of the
    /// pattern's folder (the part before the first wildcard) is an error. No match is an error, because nothing read
    /// would be leavers missed.
    pub path: String,

    /// The format: a name (`csv`, `parquet`, `ndjson`, `json`), or an object with a `type` and that format's
    /// settings. Left out, the extension tells it for each file: `.csv`, `.tsv` (CSV with tabs), `.parquet`,
    /// `.ndjson`, `.jsonl`, `.json`, also followed by `.gz` or `.zst`. Standard input needs it.
    #[serde(default, deserialize_with = "name_or_settings")]
    #[schemars(with = "Option<NameOrSettings>")]
    pub format: Option<Format>,

    /// How the file is packed. Left out, the extension tells it for each file: `.gz` is gzip, `.zst` is zstd, all
    /// others and standard input are not packed.
    #[serde(default)]
    pub compression: Option<Compression>,

    /// How many times its packed size a gzip or zstd file may unpack to; counted from the first 16 MiB on, so that
    /// small files are never judged. Default 200: exports reach 5 to 50, files made to fill memory or a queue
    /// ("bombs") 1,000 and more. A file that passes it ends the run.
    #[serde(default = "default_max_compression_ratio")]
    pub max_compression_ratio: NonZeroU32,
}

/// See [`FileConfig::max_compression_ratio`].
pub(crate) const DEFAULT_MAX_COMPRESSION_RATIO: NonZeroU32 = NonZeroU32::new(200).expect("more than zero");

fn default_max_compression_ratio() -> NonZeroU32 {
    DEFAULT_MAX_COMPRESSION_RATIO
}

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not packed.
    None,
    /// gzip, of one or several members.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Extensions that tell the format.
const EXTENSIONS: &str =
    "`.csv`, `.tsv`, `.parquet`, `.ndjson`, `.jsonl`, `.json`, each also with `.gz` or `.zst`";

/// What the name of a file tells.
struct Extension {
    compression: Compression,
    /// In lower case, without the dot, after that of the compression; empty if there is none.
    format: String,
    /// Whether that is the part of a pattern that files fill in.
    open: bool,
}

impl Extension {
    fn of(name: &str) -> Self {
        let name = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
        let (rest, compression) = match name.rsplit_once('.') {
            Some((rest, last)) if last.eq_ignore_ascii_case("gz") => (rest, Compression::Gzip),
            Some((rest, last)) if last.eq_ignore_ascii_case("zst") => (rest, Compression::Zstd),
            _ => (&*name, Compression::None),
        };
        let (stem, format) = rest.rsplit_once('.').unwrap_or((rest, ""));
        Self {
            compression,
            format: format.to_lowercase(),
            open: is_pattern(if format.is_empty() { stem } else { format }),
        }
    }

    fn format(&self) -> Option<Format> {
        Format::named(match self.format.as_str() {
            "csv" | "tsv" => "csv",
            "parquet" => "parquet",
            "ndjson" | "jsonl" => "ndjson",
            "json" => "json",
            _ => return None,
        })
    }

    /// What to say when it tells no format.
    fn unknown(&self) -> String {
        match self.format.as_str() {
            "" => "there is no extension to tell the format by".to_owned(),
            other => format!("the extension `.{other}` does not tell the format"),
        }
    }

    fn hint(&self) -> String {
        let hint = format!("set `format` to one of {FORMATS:?}, or name the file with {EXTENSIONS}");
        match self.format.as_str() {
            "txt" | "dat" | "tab" => format!(
                "set `format: csv`, or `format: {{type: csv, delimiter: …}}` if it is not a comma; {EXTENSIONS} need no `format`"
            ),
            "xlsx" | "xls" | "xlsm" | "ods" => {
                "workbooks cannot be read: save the sheet as \"CSV UTF-8\"".to_owned()
            }
            "zip" | "7z" | "pgp" | "gpg" | "asc" => {
                "unpack or decrypt the file in a step before the run".to_owned()
            }
            _ => hint,
        }
    }
}

#[typetag::deserialize(name = "file")]
#[async_trait]
impl SourceConfig for FileConfig {
    fn uses_stdin(&self) -> bool {
        self.path == STANDARD_INPUT
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        let standard_input = self.uses_stdin();
        if self.path.is_empty() {
            problems
                .at("path")
                .add("is empty; give a path, a pattern, or `-` for standard input");
        } else if is_pattern(&self.path)
            && let Err(error) = glob::Pattern::new(&self.path)
        {
            problems.at("path").add_with_hint(
                format!(
                    "is not a valid pattern: {} (at character {})",
                    error.msg,
                    error.pos + 1
                ),
                "`[` begins a set of characters; a `[` itself is written `[[]`",
            );
        }
        let extension = Extension::of(&self.path);
        let tells = !self.path.is_empty() && !standard_input && !extension.open;
        match &self.format {
            None if standard_input => {
                problems.at("format").add_with_hint(
                    "standard input has no extension to tell the format by",
                    format!("set `format` to one of {FORMATS:?}"),
                );
            }
            None if tells && extension.format().is_none() => {
                problems
                    .at("format")
                    .add_with_hint(extension.unknown(), extension.hint());
            }
            None => {}
            Some(Format::Csv(options)) => {
                options.dialect(DEFAULT_DELIMITER, &mut problems.at("format"));
            }
            Some(Format::Parquet(_)) => {}
            Some(
                Format::Ndjson(NdjsonOptions { max_record_bytes })
                | Format::Json(JsonOptions { max_record_bytes }),
            ) => max_record_bytes.validate(&mut problems.at("format")),
        }
        let format = self.format.clone().or_else(|| extension.format());
        if let Some(Format::Parquet(_)) = format {
            if standard_input {
                problems
                    .at("format")
                    .add_with_hint("Parquet cannot be read from standard input", PARQUET_SEEKS);
            }
            let packed = match self.compression {
                Some(compression) => compression != Compression::None,
                None => tells && extension.compression != Compression::None,
            };
            if packed {
                problems
                    .at("compression")
                    .add_with_hint("Parquet cannot be read out of a packed file", PARQUET_SEEKS);
            }
        }
    }

    async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>> {
        let (path, base) = (self.path.clone(), cx.run.base.clone());
        let entries = tokio::task::spawn_blocking(move || place::list(&path, &base))
            .await
            .map_err(|error| Error::broken_off("looking for files", &error))??;
        let jobs = entries
            .into_iter()
            .map(|entry| self.job(entry))
            .collect::<Result<_>>()?;
        Ok(Box::new(FileSource::new(cx, jobs)))
    }
}

inventory::submit! {
    Description::source::<FileConfig>("file", "reads CSV, Parquet, NDJSON and JSON files, or standard input")
}

const PARQUET_SEEKS: &str =
    "Parquet is read from its end: it needs a file on disk, compressed inside at most";

impl FileConfig {
    /// How to read one file.
    fn job(&self, entry: Entry) -> Result<Job> {
        let extension = Extension::of(&entry.name);
        let compression = self.compression.unwrap_or(extension.compression);
        let Some(format) = self.format.clone().or_else(|| extension.format()) else {
            let problem = format!(
                "cannot tell the format of `{}`: {}",
                entry.name,
                extension.unknown()
            );
            return Err(Error::input(problem).with_hint(extension.hint()));
        };
        let reading = match format {
            Format::Csv(options) => {
                let delimiter = if extension.format == "tsv" {
                    b'\t'
                } else {
                    DEFAULT_DELIMITER
                };
                Reading::Csv(dialect(&options, delimiter)?)
            }
            Format::Parquet(_) if compression != Compression::None => {
                let problem = format!("cannot read Parquet out of the packed file `{}`", entry.name);
                return Err(Error::input(problem).with_hint(PARQUET_SEEKS));
            }
            Format::Parquet(_) => Reading::Parquet,
            Format::Ndjson(options) => Reading::Ndjson {
                max_record: options.max_record_bytes.get(),
            },
            Format::Json(options) => Reading::Json {
                max_record: options.max_record_bytes.get(),
            },
        };
        Ok(Job {
            entry,
            compression,
            max_ratio: self.max_compression_ratio,
            reading,
        })
    }
}

/// Checked settings. What `validate` says comes out as an error here, for those who build without it.
fn dialect(options: &CsvOptions, delimiter: u8) -> Result<Dialect> {
    let mut found = Vec::new();
    let dialect = options.dialect(delimiter, &mut Problems::new(&mut found).at("format"));
    dialect.ok_or_else(|| {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        Error::config(found.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Problem;
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
        assert_eq!(named.format, tagged.format);
        let error = |format: serde_json::Value| {
            serde_json::from_value::<FileConfig>(json!({"path": "a", "format": format}))
                .unwrap_err()
                .to_string()
        };
        assert!(error(json!("csvv")).contains("did you mean `csv`"));
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
                    header: true\n  columns: [id, mail]\n  max_record_bytes: 4MiB\ncompression: gzip\n";
        let config: Box<dyn SourceConfig> = serde_saphyr::from_str(yaml).unwrap();
        let same: FileConfig =
            serde_json::from_value(json!({"path": "in/*.csv", "compression": "gzip", "format": {
                "type": "csv", "delimiter": ";", "quote": null, "skip_first": 2, "header": true,
                "columns": ["id", "mail"], "max_record_bytes": 4 << 20,
            }}))
            .unwrap();
        assert_eq!(format!("{config:?}"), format!("{same:?}"));
        let named: FileConfig = serde_saphyr::from_str("path: a\nformat: ndjson\n").unwrap();
        assert_eq!(named.format, Format::named("ndjson"));
        let none: FileConfig = serde_saphyr::from_str("path: a\nformat:\n").unwrap();
        assert_eq!(none.format, None);
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let found = paths(json!({"path": "in/[a.csv", "compression": "gzip", "format": {
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
        assert_eq!(paths(json!({"path": "a.parquet.gz"})), ["compression"]);
        assert_eq!(
            paths(json!({"path": "a.parquet", "compression": "zstd"})),
            ["compression"]
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
