//! What can be wrong with a body. Holds no value of it: names of keys and places only.

use std::borrow::Cow;

use thiserror::Error;

use crate::component::Part;
use crate::config::suggestion;

/// Why a body gives no (more) records.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in super::super) enum BodyError {
    /// There is nothing in it.
    #[error("the body is empty where JSON is wanted")]
    Empty,
    /// It ends before its JSON does. The connection may have been cut: asking again can help.
    #[error("the body ends in the middle of its JSON, after {at} bytes; it was cut off")]
    Truncated {
        /// Bytes that came.
        at: u64,
    },
    /// It is something else.
    #[error("the body is not JSON but {what}")]
    NotJson {
        /// What it looks like, fit to be shown.
        what: String,
    },
    /// It begins as JSON and does not go on so.
    #[error("the body is not valid JSON at byte {at}: {what}")]
    Structure {
        /// Bytes before the place.
        at: u64,
        /// What is wrong there.
        what: Cow<'static, str>,
    },
    /// The path leads nowhere.
    #[error("there is nothing at `{path}`: {}", nowhere(reached, wanted.as_deref(), found))]
    Missing {
        /// The path to the records.
        path: String,
        /// How much of it there is.
        reached: String,
        /// The member that is not there, where one is looked for.
        wanted: Option<String>,
        /// What is there: "an object", "a list".
        found: &'static str,
        /// The keys that are there, as far as they may be shown.
        keys: Vec<String>,
    },
    /// What is at the path is of the wrong type.
    #[error("what is at `{path}` is {found}, and {wanted} is wanted")]
    WrongType {
        /// The path.
        path: String,
        /// What is there.
        found: &'static str,
        /// What is wanted there.
        wanted: &'static str,
    },
    /// Something passes its bound.
    #[error("{what} at byte {at} of the body is larger than {most} bytes")]
    TooLarge {
        /// What.
        what: Cow<'static, str>,
        /// Where it begins.
        at: u64,
        /// The bound.
        most: u64,
    },
    /// Objects and lists lie in one another deeper than the bound.
    #[error("objects and lists lie more than {most} deep in one another at byte {at} of the body")]
    TooDeep {
        /// Where.
        at: u64,
        /// The bound.
        most: u32,
    },
    /// Two parts of a row have a column of the same name with different values.
    #[error("the column `{column}` would come from {one} and from {other}, with different values")]
    Clash {
        /// The name.
        column: String,
        /// The one part.
        one: &'static str,
        /// The other part.
        other: &'static str,
    },
}

impl BodyError {
    /// Whether the body was cut off, so that asking again can help.
    pub(in super::super) fn is_truncated(&self) -> bool {
        matches!(self, Self::Truncated { .. })
    }

    /// What to do about it, where there is something to say.
    pub(in super::super) fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Missing {
                wanted: Some(wanted),
                keys,
                ..
            } => {
                let known = suggestion(wanted, keys.iter().map(String::as_str));
                let known = known.map_or_else(String::new, |known| format!("{known}; "));
                format!("{known}if the service leaves it out where there are no records, set `missing: empty` in `records`")
                    .into()
            }
            Self::Missing { found: "a list", .. } => {
                "write `[*]` where the path goes through the elements of a list".into()
            }
            Self::Missing { .. } | Self::WrongType { .. } => {
                "set `path` in `records` to where the rows are in the answer".into()
            }
            Self::NotJson { what } if what.starts_with("XML") => {
                "ask for JSON: many services want a header `Accept: application/json` or a parameter such as `format=json`"
                    .into()
            }
            Self::NotJson { what } if what.starts_with("a web page") => {
                "a login or block page answers so: check the URL, the credentials and the proxy".into()
            }
            Self::Structure { what, .. } if what.contains(MORE) => {
                "for an object on each line set `format: ndjson` in `records`".into()
            }
            Self::Clash { one: PARENT, .. } => {
                "set `prefix` in `explode`, or list in `keep` only what the rows need".into()
            }
            Self::Clash { .. } => "give the added column another name".into(),
            Self::TooLarge { what, .. } if what.contains(WHOLE) => {
                "a path of names, indexes and `*` only is read without keeping the body in memory".into()
            }
            _ => return None,
        })
    }
}

/// In the text of what may be NDJSON.
pub(super) const MORE: &str = "more after the end";
/// What is kept in memory for a path that needs it all.
pub(super) const WHOLE: &str = "the whole body";
/// Parts of a row.
pub(super) const PARENT: &str = "the record";
pub(super) const ELEMENT: &str = "the element of its list";
pub(super) const ADDED: &str = "what the source adds";
pub(super) const PICKED: &str = "what `columns` takes out of it";

fn nowhere(reached: &str, wanted: Option<&str>, found: &str) -> String {
    match wanted {
        Some(wanted) if found == "an object" => format!("`{reached}` has no member `{wanted}`"),
        Some(wanted) => format!("`{reached}` is {found}, which has no member `{wanted}`"),
        None => format!("`{reached}` is {found}"),
    }
}

/// `keys` as far as they may be shown.
pub(super) fn shown(keys: &[String]) -> Vec<String> {
    if Part::shown_names(keys).is_empty() {
        return Vec::new();
    }
    keys.iter()
        .map(|key| crate::http::redact::clean(key, 64))
        .collect()
}
