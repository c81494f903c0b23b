//! How the bytes of a file become records: a format with its settings, told by the pipeline file or the name.

use super::csv::{CsvOptions, DEFAULT_DELIMITER, Dialect};
use super::extension::Extension;
use super::format::Format;
use crate::config::Problems;
use crate::error::{Error, Result};

/// A format with its checked settings.
#[derive(Debug)]
pub(super) enum Reading {
    Csv(Dialect),
    Parquet,
    Ndjson { max_record: usize },
    Json { max_record: usize },
}

/// What Parquet needs.
pub(super) const PARQUET_SEEKS: &str =
    "Parquet is read from its end: it needs a file that can be read by parts, compressed inside at most";

/// The formats of a source's files.
#[derive(Debug)]
pub(super) struct Formats {
    /// As it was set; else the names tell it.
    format: Option<Format>,
}

impl Formats {
    pub(super) fn new(format: Option<Format>) -> Self {
        Self { format }
    }

    /// How the file of this name is read, given what its endings tell. `packed`: out of a packed file.
    ///
    /// # Errors
    /// Nothing tells the format, or it cannot be read out of a packed file.
    pub(super) fn of(&self, name: &str, extension: &Extension, packed: bool) -> Result<Reading> {
        let Some(format) = self.format.clone().or_else(|| extension.format()) else {
            let problem = format!("cannot tell the format of `{name}`: {}", extension.unknown());
            return Err(Error::input(problem).with_hint(extension.hint()));
        };
        Ok(match format {
            Format::Csv(options) => {
                let delimiter = if extension.format == "tsv" {
                    b'\t'
                } else {
                    DEFAULT_DELIMITER
                };
                Reading::Csv(dialect(&options, delimiter)?)
            }
            Format::Parquet(_) if packed => {
                let problem = format!("cannot read Parquet out of the packed file `{name}`");
                return Err(Error::input(problem).with_hint(PARQUET_SEEKS));
            }
            Format::Parquet(_) => Reading::Parquet,
            Format::Ndjson(options) => Reading::Ndjson {
                max_record: options.max_record_bytes.get(),
            },
            Format::Json(options) => Reading::Json {
                max_record: options.max_record_bytes.get(),
            },
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
