//! What the endings of a file's name tell.

use std::path::Path;

use super::format::{FORMATS, Format};
use super::place::is_pattern;
use crate::codec::{Codec, codecs_of};

/// Extensions that tell the format.
const EXTENSIONS: &str =
    "`.csv`, `.tsv`, `.parquet`, `.ndjson`, `.jsonl`, `.json`, each also with `.gz`, `.zst` or `.pgp`";

/// What the name of a file tells.
pub(super) struct Extension {
    /// How the file is packed, outermost first.
    pub(super) layers: Vec<Codec>,
    /// In lower case, without the dot, before those of the packing; empty if there is none.
    pub(super) format: String,
    /// Whether that is the part of a pattern that files fill in.
    pub(super) open: bool,
}

impl Extension {
    pub(super) fn of(name: &str) -> Self {
        let name = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
        let (layers, rest) = codecs_of(&name);
        let (stem, format) = rest.rsplit_once('.').unwrap_or((rest, ""));
        Self {
            layers,
            format: format.to_lowercase(),
            open: is_pattern(if format.is_empty() { stem } else { format }),
        }
    }

    pub(super) fn format(&self) -> Option<Format> {
        Format::named(match self.format.as_str() {
            "csv" | "tsv" => "csv",
            "parquet" => "parquet",
            "ndjson" | "jsonl" => "ndjson",
            "json" => "json",
            _ => return None,
        })
    }

    /// What to say when it tells no format.
    pub(super) fn unknown(&self) -> String {
        match self.format.as_str() {
            "" => "there is no extension to tell the format by".to_owned(),
            other => format!("the extension `.{other}` does not tell the format"),
        }
    }

    pub(super) fn hint(&self) -> String {
        let hint = format!("set `format` to one of {FORMATS:?}, or name the file with {EXTENSIONS}");
        match self.format.as_str() {
            "txt" | "dat" | "tab" => format!(
                "set `format: csv`, or `format: {{type: csv, delimiter: …}}` if it is not a comma; {EXTENSIONS} need no `format`"
            ),
            "xlsx" | "xls" | "xlsm" | "ods" => {
                "workbooks cannot be read: save the sheet as \"CSV UTF-8\"".to_owned()
            }
            "7z" | "rar" | "bz2" | "xz" => {
                "unpack the file in a step before the run, or have it packed with gzip, zstd or zip"
                    .to_owned()
            }
            _ => hint,
        }
    }
}
