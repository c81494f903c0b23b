//! Why a response body yields no records. Holds no value of the body: key names and positions only.

use thiserror::Error;

use crate::component::Part;
use crate::error::Error;
use crate::settings::suggestion;

/// Why a response body yields no (more) records.
#[derive(Debug, Error)]
pub(in super::super) enum BodyError {
    /// There is nothing in it.
    #[error("the response body is empty, expected JSON")]
    Empty,
    /// It ends inside its JSON value. A retry may help.
    #[error("the response body is truncated: it ends inside its JSON value, after {at} bytes")]
    Truncated {
        /// Bytes received.
        at: u64,
    },
    /// It is something else.
    #[error("the response body is not JSON but {what}")]
    NotJson {
        /// What it looks like, safe to display.
        what: String,
    },
    /// It starts as JSON and contains a syntax error.
    #[error(
        "invalid JSON at line {line}, column {column} of the response body, after {records} records: {what}"
    )]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// Records before it.
        records: u64,
        /// What is wrong there.
        what: String,
    },
    /// An object has a key twice, so its value is ambiguous.
    #[error("the key `{key}` occurs twice in the response body, at byte {at}")]
    DuplicateKey {
        /// The key or the path it is looked up by.
        key: String,
        /// Where, roughly.
        at: u64,
    },
    /// The path does not exist.
    #[error("there is nothing at `{path}`: {}", missing(reached, wanted.as_deref(), found))]
    Missing {
        /// The path to the records.
        path: String,
        /// The part of it that exists.
        reached: String,
        /// The member that does not exist, where one is looked up.
        wanted: Option<String>,
        /// What exists there: "an object", "an array".
        found: &'static str,
        /// The keys that exist there, as far as they may be displayed.
        keys: Vec<String>,
    },
    /// The value at a path has the wrong type.
    #[error("`{path}` is {found}, expected {expected}")]
    WrongType {
        /// The path.
        path: String,
        /// What is there.
        found: &'static str,
        /// What is expected there.
        expected: &'static str,
    },
    /// Something exceeds its limit.
    #[error("{what} at byte {at} of the response body is larger than {limit} bytes")]
    TooLarge {
        /// What.
        what: String,
        /// Where it starts.
        at: u64,
        /// The limit.
        limit: u64,
    },
    /// Objects and arrays are nested too deeply.
    #[error("objects and arrays are nested more than {limit} levels deep at byte {at} of the response body")]
    TooDeep {
        /// Where.
        at: u64,
        /// The limit.
        limit: usize,
    },
    /// Two parts of a row have the same column with different values.
    #[error("the column `{column}` comes from {one} and from {other}, with different values")]
    Conflict {
        /// The name.
        column: String,
        /// The one part.
        one: &'static str,
        /// The other part.
        other: &'static str,
    },
    /// The rows cannot be stored, or the cursor of one cannot be read.
    #[error(transparent)]
    Other(#[from] Error),
}

impl BodyError {
    /// A syntax error, without the position in its text.
    pub(super) fn syntax(error: &serde_json::Error, records: u64) -> Self {
        let what = error.to_string();
        let what = match what.split(" at line ").next().unwrap_or_default() {
            "invalid unicode code point" => "it is not valid UTF-8",
            what => what,
        };
        Self::Syntax {
            line: error.line(),
            column: error.column(),
            records,
            what: what.to_owned(),
        }
    }

    /// Whether the body is truncated, so that a retry may help.
    pub(in super::super) fn is_truncated(&self) -> bool {
        matches!(self, Self::Truncated { .. })
    }

    /// What to do about it, if anything.
    pub(in super::super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing {
                wanted: Some(wanted),
                keys,
                ..
            } => {
                let known = suggestion(wanted, keys.iter().map(String::as_str));
                let known = known.map_or_else(String::new, |known| format!("{known}; "));
                return Some(format!(
                    "{known}if the service omits it when there are no records, set `missing: empty` in `records`"
                ));
            }
            Self::Missing {
                found: "an array", ..
            } => "write `[*]` where the path goes through the elements of an array",
            Self::Missing { .. } | Self::WrongType { .. } => {
                "set `records.path` to where the records are in the response"
            }
            Self::NotJson { what } if what.starts_with("XML") => {
                "request JSON: many services require a header `Accept: application/json` or a parameter such as `format=json`"
            }
            Self::NotJson { what } if what.starts_with("a web page") => {
                "login and block pages look like this: check the URL, the credentials and the proxy"
            }
            Self::Syntax { what, .. } if what.contains(TRAILING) => {
                "for one JSON value per line, set `records.format: ndjson`"
            }
            Self::Conflict { one: RECORD, .. } => {
                "set `prefix` in `explode`, or list in `keep` only what the rows need"
            }
            Self::Conflict { .. } => "rename the added column",
            Self::TooLarge { what, .. } if what.starts_with(WHOLE) => {
                "a path of names, indexes and `*` only is read without buffering the body"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What `serde_json` says about several values in one body.
const TRAILING: &str = "trailing characters";
/// What is buffered for a path with filters, slices or `..`.
pub(super) const WHOLE: &str = "the whole body";
/// Parts of a row.
pub(super) const RECORD: &str = "the record";
pub(super) const ELEMENT: &str = "the element of its array";
pub(super) const ADDED: &str = "the columns that the source adds";
pub(super) const MAPPED: &str = "`records.columns`";

fn missing(reached: &str, wanted: Option<&str>, found: &str) -> String {
    match wanted {
        Some(wanted) if found == "an object" => format!("`{reached}` has no member `{wanted}`"),
        Some(wanted) => format!("`{reached}` is {found}, which has no member `{wanted}`"),
        None => format!("`{reached}` is {found}"),
    }
}

/// The keys, unless one of them may be personal data.
pub(super) fn displayable(keys: &[String]) -> Vec<String> {
    if Part::shown_names(keys).is_empty() {
        return Vec::new();
    }
    keys.iter()
        .map(|key| crate::http::redact::clean(key, 64))
        .collect()
}
