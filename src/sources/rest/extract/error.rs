//! Why a response body yields no records. Holds no value of the body: key names and positions only.

use std::fmt;

use crate::component::Part;
use crate::error::{Error, ErrorKind};
use crate::http::redact::{clean, clean_bytes, html_title, is_html};
use crate::suggest::suggestion;

/// Why a response body yields no (more) records.
#[derive(Debug)]
pub(in super::super) enum BodyError {
    /// It ends inside its JSON value. A retry may help.
    Truncated(Error),
    /// The path to the records does not exist. The body may say why.
    Missing(Error),
    /// It is not what is expected.
    Invalid(Error),
    /// The rows cannot be stored, or the cursor of one cannot be read.
    Output(Error),
}

/// What is buffered for a path with filters, slices or `..`.
pub(super) const WHOLE: &str = "the whole body";
/// Parts of a row.
pub(super) const RECORD: &str = "the record";
pub(super) const ELEMENT: &str = "the element of its array";
pub(super) const ADDED: &str = "the columns that the source adds";
pub(super) const MAPPED: &str = "`records.columns`";

const SET_PATH: &str = "set `records.path` to where the records are in the response";

impl From<Error> for BodyError {
    fn from(error: Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Truncated(error) | Self::Missing(error) | Self::Invalid(error) | Self::Output(error)) =
            self;
        error.fmt(f)
    }
}

impl BodyError {
    pub(in super::super) fn into_error(self) -> Error {
        let (Self::Truncated(error) | Self::Missing(error) | Self::Invalid(error) | Self::Output(error)) =
            self;
        error
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(Error::input(message.into()))
    }

    fn invalid_with_hint(message: String, hint: Option<&'static str>) -> Self {
        Self::Invalid(hint.into_iter().fold(Error::input(message), Error::with_hint))
    }

    pub(super) fn truncated(at: u64) -> Self {
        let message =
            format!("the response body is truncated: it ends inside its JSON value, after {at} bytes");
        Self::Truncated(Error::new(ErrorKind::Transient, message))
    }

    pub(super) fn not_json(head: &[u8]) -> Self {
        let what = looks_like(head);
        let xml = "request JSON: many services require a header `Accept: application/json` or a parameter such as \
                   `format=json`";
        let page = "login and block pages look like this: check the URL, the credentials and the proxy";
        let mut hints = [("XML", xml), ("a web page", page)].into_iter();
        let hint = hints.find_map(|(start, hint)| what.starts_with(start).then_some(hint));
        Self::invalid_with_hint(format!("the response body is not JSON but {what}"), hint)
    }

    /// A syntax error after so many records.
    pub(super) fn syntax(error: &serde_json::Error, records: u64) -> Self {
        let text = error.to_string();
        // The position is in the text too.
        let what = match text.split(" at line ").next().unwrap_or_default() {
            "invalid unicode code point" => "it is not valid UTF-8",
            what => what,
        };
        let several = what.contains("trailing characters");
        let message = format!(
            "invalid JSON at line {}, column {} of the response body, after {records} records: {what}",
            error.line(),
            error.column()
        );
        let hint = "for one JSON value per line, set `records.format: ndjson`";
        Self::invalid_with_hint(message, several.then_some(hint))
    }

    /// `key`: the key, or the path that it is looked up by.
    pub(super) fn duplicate_key(key: &impl fmt::Display, at: u64) -> Self {
        Self::invalid(format!(
            "the key `{key}` occurs twice in the response body, at byte {at}"
        ))
    }

    /// The path to the records exists as far as `reached`, where something else was found: an object without the member
    /// `wanted`, which has `keys`, or another value.
    pub(super) fn missing(
        path: &str,
        reached: &str,
        wanted: Option<&str>,
        found: &str,
        keys: &[String],
    ) -> Self {
        let what = match wanted {
            Some(wanted) if found == "an object" => format!("`{reached}` has no member `{wanted}`"),
            Some(wanted) => format!("`{reached}` is {found}, which has no member `{wanted}`"),
            None => format!("`{reached}` is {found}"),
        };
        let hint = match wanted {
            Some(wanted) => {
                let keys = displayable(keys);
                let known = suggestion(wanted, keys.iter().map(String::as_str));
                let known = known.map_or_else(String::new, |known| format!("{known}; "));
                format!(
                    "{known}if the service omits it when there are no records, set `missing: empty` in `records`"
                )
            }
            None if found == "an array" => {
                "write `[*]` where the path goes through the elements of an array".to_owned()
            }
            None => SET_PATH.to_owned(),
        };
        Self::Missing(Error::input(format!("there is nothing at `{path}`: {what}")).with_hint(hint))
    }

    pub(super) fn wrong_type(path: &impl fmt::Display, found: &str, expected: &str) -> Self {
        let message = format!("`{path}` is {found}, expected {expected}");
        Self::invalid_with_hint(message, Some(SET_PATH))
    }

    /// `what` starts at byte `at` and is larger than `limit`.
    pub(super) fn too_large(what: &str, at: u64, limit: u64) -> Self {
        let hint = "a path of names, indexes and `*` only is read without buffering the body";
        Self::invalid_with_hint(
            format!("{what} at byte {at} of the response body is larger than {limit} bytes"),
            what.starts_with(WHOLE).then_some(hint),
        )
    }

    /// Two parts of a row have the same column with different values.
    pub(super) fn conflict(column: &str, one: &'static str, other: &'static str) -> Self {
        let hint = match one {
            RECORD => "set `prefix` in `explode`, or list in `keep` only what the rows need",
            _ => "rename the added column",
        };
        Self::invalid_with_hint(
            format!("the column `{column}` comes from {one} and from {other}, with different values"),
            Some(hint),
        )
    }
}

/// The keys, unless one of them may be personal data.
fn displayable(keys: &[String]) -> Vec<String> {
    match Part::shown_names(keys).is_empty() {
        true => Vec::new(),
        false => keys.iter().map(|key| clean(key, 64)).collect(),
    }
}

/// What the start of a body looks like.
fn looks_like(head: &[u8]) -> String {
    if is_html(head) {
        return match html_title(head) {
            Some(title) => format!("a web page titled \"{}\"", clean(&title, 100)),
            None => "a web page".to_owned(),
        };
    }
    let text = head.trim_ascii_start();
    if text.starts_with(b"<") {
        return match root_element(text) {
            Some(name) => format!("XML with the root element `{name}`"),
            None => "XML".to_owned(),
        };
    }
    let is_text = |byte: &u8| *byte >= b' ' || byte.is_ascii_whitespace();
    let known = match head {
        [0x1f, 0x8b, ..] => "gzip data that is not declared as such",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "text in UTF-16",
        [b'%', b'P', b'D', b'F', ..] => "a PDF document",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive",
        _ if head.iter().all(is_text) => "plain text",
        _ => "binary data",
    };
    known.to_owned()
}

/// The name of the first element.
fn root_element(text: &[u8]) -> Option<String> {
    let mut rest = text;
    loop {
        rest = &rest[memchr::memchr(b'<', rest)? + 1..];
        match rest.first()? {
            b'?' | b'!' => {}
            first if first.is_ascii_alphabetic() || *first == b'_' => {
                let end = rest
                    .iter()
                    .position(|byte| !(byte.is_ascii_alphanumeric() || b"_:-.".contains(byte)))?;
                return Some(clean_bytes(&rest[..end], 64));
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_bodies_without_their_content() {
        let cases: [(&[u8], &str); 5] = [
            (b" <html><body>marker", "a web page"),
            (
                b"<?xml version='1.0'?><!-- marker --><wd:Report_Data a='marker'>",
                "XML with the root element `wd:Report_Data`",
            ),
            (b"\x1f\x8b\x08", "gzip data that is not declared as such"),
            (b"\xff\xfe{\0", "text in UTF-16"),
            (b"marker\0", "binary data"),
        ];
        for (body, look) in cases {
            assert_eq!(looks_like(body), look);
        }
    }
}
