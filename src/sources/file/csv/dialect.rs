//! The settings of CSV, checked once and turned into bytes.

use std::collections::BTreeSet;

use encoding_rs::{Encoding, UTF_8};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::format::MaxRecordBytes;
use super::super::text;
use crate::config::{Problems, suggestion};

/// Between values when nothing else is said.
pub(crate) const DEFAULT_DELIMITER: u8 = b',';

/// Settings of CSV. A first line `sep=;`, as Excel writes it, is understood: it sets the delimiter, whatever is set
/// here, and is skipped. Blank lines are skipped. Lines may end in CRLF, LF or CR. A record with more or fewer values
/// than the header is put aside as `ragged_row`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CsvOptions {
    /// The character between values, or the word `tab`. A comma if left out, for files named `.tsv` a tab. A wrong one
    /// makes one column of the whole header, which a warning says.
    pub delimiter: Option<String>,

    /// The character around values that hold delimiters, quotes or line breaks; doubled inside, it stands for itself.
    /// `"` if left out. `null` or an empty text: quotes have no meaning.
    pub quote: Option<String>,

    /// A character that takes the meaning from the one after it, inside quoted values: usually `\`. None if left out;
    /// doubled quotes are understood either way.
    pub escape: Option<String>,

    /// Lines that begin with this character are skipped. None if left out.
    pub comment: Option<String>,

    /// Whether the first record names the columns. `true` if left out, but `false` if `columns` is given. Without a
    /// header and without `columns`, the columns are called `column_1`, `column_2`, …
    pub header: Option<bool>,

    /// Names of the columns, in their order. With `header: true` they replace the names of the file, which must be as
    /// many. Left out, the names come from the header, without white space around them; a name that is there twice
    /// becomes `name_2`, an empty one `column_3` by its place, which a warning says.
    pub columns: Option<Vec<String>>,

    /// Lines to skip at the beginning of the file, before the header: a title, a date, a blank line. 0 if left out.
    pub skip_first: u64,

    /// Records to skip at the end of the file: a trailer, a sum. 0 if left out, 1000 at most. With a number too large,
    /// people are missed.
    pub skip_last: usize,

    /// The encoding, by its WHATWG label: `utf-8`, `windows-1252`, `utf-16le`, … `utf-8` if left out; a byte order
    /// mark in the file wins. In UTF-8, a row with invalid bytes in a column that is used is put aside as
    /// `invalid_encoding`; in other encodings they become U+FFFD, and a warning counts them.
    pub encoding: Option<String>,

    /// Longest record, in bytes: a number, or a text such as `4MiB`. 16 MiB if left out, 1 GiB at most. A longer one
    /// ends the run, since a quote that is never closed makes one record of all that follows.
    pub max_record_bytes: MaxRecordBytes,
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

/// Where names come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// The first record.
    Header,
    /// The settings; with `skip_header`, the first record is one of names that do not count.
    Given { names: Vec<String>, skip_header: bool },
    /// Nowhere: `column_1` and so on.
    Numbered,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub(crate) struct Dialect {
    pub(super) delimiter: u8,
    /// Whether the user chose the delimiter.
    pub(super) delimiter_is_set: bool,
    pub(super) quote: Option<u8>,
    pub(super) escape: Option<u8>,
    pub(super) comment: Option<u8>,
    pub(super) names: Names,
    pub(super) skip_first: u64,
    pub(super) skip_last: usize,
    pub(crate) encoding: &'static Encoding,
    pub(super) max_record: usize,
}

impl CsvOptions {
    /// Checks everything and notes every problem; nothing if there is one. `delimiter` is the one to use when none
    /// is set.
    pub(crate) fn dialect(&self, delimiter: u8, problems: &mut Problems<'_>) -> Option<Dialect> {
        const MOST_SKIP_LAST: usize = 1000;
        let mut check = Check {
            problems,
            failed: false,
        };
        let delimiter = match self.delimiter.as_deref() {
            Some("tab") => b'\t',
            Some(text) => check.character("delimiter", text).unwrap_or(delimiter),
            None => delimiter,
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
                Names::Given {
                    names: names.clone(),
                    skip_header: header == Some(true),
                }
            }
            (None, Some(false)) => Names::Numbered,
            (None, _) => Names::Header,
        };
        if self.skip_last > MOST_SKIP_LAST {
            check.note(
                "skip_last",
                format!("must be 0 to {MOST_SKIP_LAST}, not {}", self.skip_last),
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

    /// The byte of a character that can mean something in a CSV file.
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
            format!("must be one ASCII character that is no line break, not `{shown}`"),
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
                format!("`{name}` is there twice")
            } else {
                continue;
            };
            self.failed = true;
            self.problems.at("columns").at_index(index).add(message);
        }
    }
}
