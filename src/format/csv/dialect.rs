//! The settings of CSV, checked once and turned into bytes.

use std::collections::BTreeSet;

use encoding_rs::{Encoding, UTF_8};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{Problems, suggestion};
use crate::format::{MaxRecordBytes, text};

/// Settings of CSV. A first line `sep=;`, as Excel writes it, overrides the delimiter and is skipped. Blank lines are
/// skipped. Lines may end in CRLF, LF or CR. A record with more or fewer values than the header is rejected as
/// `ragged_row`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CsvOptions {
    /// The character between values, or the word `tab`. Default: a comma, and a tab for files named `.tsv`. With the
    /// wrong one the header is a single column, which logs a warning.
    pub(super) delimiter: Option<String>,

    /// The character around values that contain delimiters, quotes or line breaks; doubled inside, it stands for itself.
    /// Default: `"`. `null` or an empty text: quotes have no meaning.
    pub(super) quote: Option<String>,

    /// A character that escapes the one after it inside quoted values, usually `\`. Default: none; doubled quotes are
    /// read either way.
    pub(super) escape: Option<String>,

    /// Lines that start with this character are skipped. Default: none.
    pub(super) comment: Option<String>,

    /// Whether the first record names the columns. Default: true, or false if `columns` is given. Without a header and
    /// `columns`, the columns are named `column_1`, `column_2`, …
    pub(super) header: Option<bool>,

    /// Names of the columns, in their order. With `header: true` they replace the names in the file, which must be as
    /// many. Default: the names in the header, trimmed; a repeated name becomes `name_2`, an empty one `column_3` by its
    /// position, which logs a warning.
    pub(super) columns: Option<Vec<String>>,

    /// Lines to skip at the start of the file, before the header: a title, a date, a blank line.
    pub(super) skip_first: u64,

    /// Records to skip at the end of the file: a trailer, a sum. 1000 at most. Too large a number loses people.
    pub(super) skip_last: usize,

    /// The encoding, as a WHATWG label: `utf-8`, `windows-1252`, `utf-16le`, … Default: `utf-8`; a byte order mark in the
    /// file takes precedence. In UTF-8, a row with invalid bytes in a used column is rejected as `invalid_encoding`; in
    /// other encodings they become U+FFFD, and a warning counts them.
    pub(super) encoding: Option<String>,

    /// Longest record, in bytes: a number, or a text such as `4MiB`. 16 MiB if left out, 1 GiB at most. A longer one
    /// ends the run, since a quote that is never closed makes one record of all that follows.
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
            skip_last: 0,
            encoding: None,
            max_record_bytes: MaxRecordBytes::default(),
        }
    }
}

/// Where column names come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// The first record.
    Header,
    /// The settings; with `skip_header`, the first record holds names that are ignored.
    Configured { names: Vec<String>, skip_header: bool },
    /// `column_1` and so on.
    Numbered,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    /// Whether the settings specify the delimiter.
    pub(super) delimiter_is_set: bool,
    pub(super) quote: Option<u8>,
    pub(super) escape: Option<u8>,
    pub(super) comment: Option<u8>,
    pub(super) names: Names,
    pub(super) skip_first: u64,
    pub(super) skip_last: usize,
    pub(super) encoding: &'static Encoding,
    pub(super) max_record: usize,
}

impl CsvOptions {
    /// The checked settings for files with this extension; `None` if there are problems, all of which are added.
    pub(super) fn dialect(&self, extension: &str, problems: &mut Problems<'_>) -> Option<Dialect> {
        const MAX_SKIP_LAST: usize = 1000;
        let mut check = Check {
            problems,
            failed: false,
        };
        let default = if extension == "tsv" { b'\t' } else { b',' };
        let delimiter = match self.delimiter.as_deref() {
            Some("tab") => b'\t',
            Some(text) => check.character("delimiter", text).unwrap_or(default),
            None => default,
        };
        let quote = self.quote.as_deref().filter(|text| !text.is_empty());
        let quote = quote.and_then(|text| check.character("quote", text));
        let escape = self.escape.as_deref();
        let escape = escape.and_then(|text| check.character("escape", text));
        let comment = self.comment.as_deref();
        let comment = comment.and_then(|text| check.character("comment", text));
        let mut taken = vec![("delimiter", delimiter)];
        for (key, byte) in [("quote", quote), ("escape", escape), ("comment", comment)] {
            let Some(byte) = byte else { continue };
            if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == byte) {
                check.note(
                    key,
                    format!("is the same character as the {other}"),
                    (key == "escape" && *other == "quote")
                        .then(|| "a doubled quote is understood without `escape`: leave it out".to_owned()),
                );
            }
            taken.push((key, byte));
        }
        if quote.is_none() && escape.is_some() && !check.failed {
            check.note(
                "escape",
                "has no effect without a quote",
                Some("escapes count inside quoted values only".to_owned()),
            );
        }
        let names = match (&self.columns, self.header) {
            (Some(names), header) => {
                check.names(names);
                Names::Configured {
                    names: names.clone(),
                    skip_header: header == Some(true),
                }
            }
            (None, Some(false)) => Names::Numbered,
            (None, _) => Names::Header,
        };
        if self.skip_last > MAX_SKIP_LAST {
            check.note(
                "skip_last",
                format!("must be 0 to {MAX_SKIP_LAST}, not {}", self.skip_last),
                None,
            );
        }
        let encoding = match self.encoding.as_deref() {
            None => UTF_8,
            Some(label) => text::encoding(label).unwrap_or_else(|| {
                let hint = suggestion(label, text::LABELS.iter().copied())
                    .unwrap_or_else(|| "use a WHATWG label, such as `windows-1252` or `utf-16le`".to_owned());
                check.note(
                    "encoding",
                    format!("`{label}` is not the label of an encoding"),
                    Some(hint),
                );
                UTF_8
            }),
        };
        let failed = check.failed;
        let mut found = Vec::new();
        self.max_record_bytes.validate(&mut Problems::new(&mut found));
        if !found.is_empty() {
            self.max_record_bytes.validate(problems);
            return None;
        }
        (!failed).then_some(Dialect {
            delimiter,
            delimiter_is_set: self.delimiter.is_some(),
            quote,
            escape,
            comment,
            names,
            skip_first: self.skip_first,
            skip_last: self.skip_last,
            encoding,
            max_record: self.max_record_bytes.get(),
        })
    }
}

struct Check<'a, 'p> {
    problems: &'a mut Problems<'p>,
    failed: bool,
}

impl Check<'_, '_> {
    fn note(&mut self, key: &str, message: impl Into<String>, hint: Option<String>) {
        self.failed = true;
        let mut problems = self.problems.at(key);
        match hint {
            Some(hint) => problems.add_with_hint(message.into(), hint),
            None => problems.add(message.into()),
        }
    }

    /// The byte of a character that can be CSV syntax.
    fn character(&mut self, key: &str, text: &str) -> Option<u8> {
        if let [byte] = text.as_bytes()
            && byte.is_ascii()
            && !matches!(byte, b'\r' | b'\n' | 0)
        {
            return Some(*byte);
        }
        let hint = match (text, key) {
            (r"\t" | "TAB" | "Tab", "delimiter") => Some("a tab is written `tab`".to_owned()),
            ("", _) => Some("leave the key out".to_owned()),
            _ => None,
        };
        let shown = text.escape_debug();
        self.note(
            key,
            format!("must be one ASCII character other than a line break, not `{shown}`"),
            hint,
        );
        None
    }

    fn names(&mut self, names: &[String]) {
        if names.is_empty() {
            self.note(
                "columns",
                "is empty",
                Some("name the columns in their order, or leave it out".to_owned()),
            );
        }
        let mut seen = BTreeSet::new();
        for (index, name) in names.iter().enumerate() {
            let message = if name.trim().is_empty() {
                "is empty".to_owned()
            } else if !seen.insert(name) {
                format!("`{name}` occurs twice")
            } else {
                continue;
            };
            self.failed = true;
            self.problems.at("columns").at_index(index).add(message);
        }
    }
}
