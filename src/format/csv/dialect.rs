//! The settings of CSV, checked once and turned into bytes.

use encoding_rs::Encoding;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::component::Problems;
use crate::format::{MaxRecordBytes, default_max_record, text};
use crate::settings::BoundedInt;
use crate::suggest::suggestion;

/// Settings of CSV. A first line `sep=;`, as Excel writes it, overrides the delimiter and is skipped. Blank lines are
/// skipped. Lines may end in CRLF, LF or CR. A record with more or fewer values than the header is rejected as
/// `ragged_row`.
#[derive(Debug, Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CsvOptions {
    /// The character between values, or the word `tab`. Default: a comma, and a tab for files named `.tsv`. A wrong
    /// delimiter makes the header a single column, which logs a warning.
    #[schemars(example = ";")]
    pub(super) delimiter: Option<String>,
    /// The character around values that contain delimiters, quotes or line breaks. Inside a quoted value it is written
    /// twice. `null` or an empty text disables quoting.
    #[schemars(example = "'")]
    pub(super) quote: Option<String>,
    /// A character that escapes the one after it inside quoted values. Doubled quotes are read either way.
    #[schemars(example = "\\")]
    pub(super) escape: Option<String>,
    /// Lines that start with this character are skipped.
    #[schemars(example = "#")]
    pub(super) comment: Option<String>,
    /// Whether the first record names the columns. Default: true, or false if `columns` is given. Without a header and
    /// `columns`, the columns are named `column_1`, `column_2`, …
    #[schemars(example = false)]
    pub(super) header: Option<bool>,
    /// Column names, in order. With `header: true` they replace the names in the file; their number must be the same.
    /// Default: the names in the header, trimmed; a repeated name becomes `name_2`, an empty one `column_3` (its position),
    /// which logs a warning.
    #[schemars(example = ["id", "email", "last_day"])]
    pub(super) columns: Option<Vec<String>>,
    /// Lines to skip at the start of the file, before the header: a title, a date, a blank line.
    #[schemars(example = 2)]
    pub(super) skip_first: u64,
    /// Records to skip at the end of the file: a trailer, a sum. Too large a number drops employees without an error.
    #[schemars(example = 1)]
    pub(super) skip_last: BoundedInt<0, 1000>,
    /// The encoding, as a WHATWG label: `utf-8`, `windows-1252`, `utf-16le`, … Default: `utf-8`; a byte order mark in the
    /// file takes precedence. In UTF-8, a row with invalid bytes in a used column is rejected as `invalid_encoding`; in
    /// other encodings they become U+FFFD, and a warning counts them.
    #[schemars(example = "windows-1252")]
    pub(super) encoding: Option<String>,
    /// The maximum size of a record. A longer one ends the run: an unclosed quote turns the rest of the file into one
    /// record.
    #[schemars(example = "64MiB")]
    pub(super) max_record_bytes: MaxRecordBytes,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: None,
            quote: Some("\"".into()),
            escape: None,
            comment: None,
            header: None,
            columns: None,
            skip_first: 0,
            skip_last: BoundedInt::new(0),
            encoding: None,
            max_record_bytes: default_max_record(),
        }
    }
}

/// The settings with their texts as bytes.
#[derive(Debug, Clone)]
pub(super) struct Dialect<'o> {
    pub(super) options: &'o CsvOptions,
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    pub(super) escape: Option<u8>,
    pub(super) comment: Option<u8>,
    pub(super) encoding: &'static Encoding,
}

impl CsvOptions {
    /// The dialect of files with this extension; `None` if there are problems, all of which are added.
    pub(super) fn dialect(&self, extension: &str, problems: &mut Problems<'_>) -> Option<Dialect<'_>> {
        let before = problems.len();
        let default = if extension == "tsv" { b'\t' } else { b',' };
        let delimiter = match self.delimiter.as_deref() {
            Some("tab") => Some(b'\t'),
            Some(text) => character("delimiter", text, problems),
            None => Some(default),
        };
        let mut optional = |key, text: &Option<String>| {
            let text = text.as_deref().filter(|text| key != "quote" || !text.is_empty());
            text.and_then(|text| character(key, text, problems))
        };
        let quote = optional("quote", &self.quote);
        let escape = optional("escape", &self.escape);
        let comment = optional("comment", &self.comment);
        let characters = [
            ("delimiter", delimiter),
            ("quote", quote),
            ("escape", escape),
            ("comment", comment),
        ];
        for (index, (key, character)) in characters.into_iter().enumerate() {
            let same = characters[..index]
                .iter()
                .find(|other| character.is_some() && other.1 == character);
            let Some((other, _)) = same else { continue };
            let hint = ((key, *other) == ("escape", "quote"))
                .then_some("doubled quotes need no `escape`: remove it");
            problems
                .at(key)
                .add_with(format!("is the same character as the {other}"), hint);
        }
        if quote.is_none() && escape.is_some() && problems.len() == before {
            problems
                .at("escape")
                .add_with_hint("has no effect without a quote", "set `quote`, or remove `escape`");
        }
        if let Some(names) = &self.columns {
            check_names(names, &mut problems.at("columns"));
        }
        let label = self.encoding.as_deref().unwrap_or("utf-8");
        // There, `latin1` and `iso-8859-1` mean Windows-1252, as they do in practice.
        let encoding = Encoding::for_label_no_replacement(label.as_bytes());
        if encoding.is_none() {
            let near = suggestion(label, text::labels());
            let hint =
                near.unwrap_or_else(|| "use a WHATWG label, such as `windows-1252` or `utf-16le`".to_owned());
            let message = format!("`{label}` is not the label of an encoding");
            problems.at("encoding").add_with_hint(message, hint);
        }
        (problems.len() == before).then_some(Dialect {
            options: self,
            delimiter: delimiter?,
            quote,
            escape,
            comment,
            encoding: encoding?,
        })
    }
}

/// The byte of a character that can be CSV syntax.
fn character(key: &str, text: &str, problems: &mut Problems<'_>) -> Option<u8> {
    if let [byte] = text.as_bytes()
        && byte.is_ascii()
        && !matches!(byte, b'\r' | b'\n' | 0)
    {
        return Some(*byte);
    }
    let shown = text.escape_debug();
    let message = format!("must be one ASCII character other than a line break, not `{shown}`");
    let hint = match (text, key) {
        (r"\t" | "TAB" | "Tab", "delimiter") => "write `tab` for a tab",
        ("", _) => "remove the key",
        _ => "write the character itself, such as `;`",
    };
    problems.at(key).add_with_hint(message, hint);
    None
}

fn check_names(names: &[String], problems: &mut Problems<'_>) {
    if names.is_empty() {
        problems.add_with_hint("is empty", "name the columns in their order, or remove the key");
    }
    for (index, name) in names.iter().enumerate() {
        if name.trim().is_empty() {
            problems.at_index(index).add("is empty");
        } else if names[..index].contains(name) {
            problems.at_index(index).add(format!("`{name}` occurs twice"));
        }
    }
}
