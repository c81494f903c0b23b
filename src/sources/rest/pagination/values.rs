//! Flags, counts and cursors in answers, in the notations that services use.

use reqwest::header::HeaderMap;
use serde_json::Value;
use url::form_urlencoded;

use super::super::json_path::{SinglePath, type_name};
use super::super::page::PageResponse;
use super::config::{CursorFrom, LinkQuery};
use super::{NextPage, Plan};
use crate::error::{Error, Result};
use crate::http::link;

/// The value at a path of the body; `None` for nothing, null and blank text.
fn value<'a>(page: &'a PageResponse, path: &SinglePath) -> Option<&'a Value> {
    page.extracted.values.get(path).filter(|value| !is_blank(value))
}

/// The value at the path that `setting` names, as `parse` understands it.
pub(super) fn read<T>(
    page: &PageResponse,
    number: u64,
    (setting, path): (&str, Option<&SinglePath>),
    expected: &str,
    parse: fn(&Value) -> Option<T>,
) -> Result<Option<T>> {
    let Some((path, value)) = path.and_then(|path| Some((path, value(page, path)?))) else {
        return Ok(None);
    };
    parse(value).map(Some).ok_or_else(|| {
        let found = type_name(value);
        Error::input(format!(
            "page {number}: `{path}` (`{setting}`) is {found} that is not {expected}"
        ))
    })
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

pub(super) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim() {
            "0" => Some(false),
            "1" => Some(true),
            text if text.eq_ignore_ascii_case("false") => Some(false),
            text if text.eq_ignore_ascii_case("true") => Some(true),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            // Some services write 120.0. Above 2^53 a float is not exact.
            let float = number.as_f64()?;
            (float.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&float)).then_some(float as u64)
        }),
        Value::String(text) => {
            let text = text.trim();
            // `parse` would accept a sign.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        }
        _ => None,
    }
}

impl NextPage {
    /// The cursor or URL of the next page; `None` is the end.
    pub(super) fn token(&self, page: &PageResponse, number: u64) -> Result<Option<Value>> {
        let (path, query) = match self {
            Self::None | Self::Count { .. } => return Ok(None),
            Self::LinkHeader => return Ok(next_link(&page.headers)),
            Self::Url(path) => (path, None),
            Self::Cursor { from, .. } => match from {
                CursorFrom::Body(path) => (path, None),
                CursorFrom::LinkQuery(query) => (&query.path, Some(query)),
                CursorFrom::Header(name) => {
                    let text = page.headers.get(&name.0).map(|value| value.to_str()).transpose();
                    return text.map(|text| text.and_then(not_blank)).map_err(|_| {
                        Error::input(format!(
                            "page {number}: the header `{}` with the cursor of the next page is not text",
                            name.0
                        ))
                    });
                }
            },
        };
        match (value(page, path), query) {
            (None, _) => Ok(None),
            (Some(Value::String(text)), Some(query)) => in_query(text, query, number).map(Some),
            (Some(Value::String(text)), None) => Ok(Some(text.as_str().into())),
            (Some(Value::Number(number)), None) if !matches!(self, Self::Url(_)) => {
                Ok(Some(number.clone().into()))
            }
            (Some(value), _) => Err(not_a_token(path, value, number)),
        }
    }
}

/// The target of the `Link` header with `rel="next"`.
fn next_link(headers: &HeaderMap) -> Option<Value> {
    link::target(headers, "next").and_then(|target| not_blank(&target))
}

fn not_blank(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| Value::from(text))
}

fn in_query(text: &str, LinkQuery { path, param }: &LinkQuery, number: u64) -> Result<Value> {
    let query = text
        .split_once('?')
        .map_or("", |(_, query)| query.split('#').next().unwrap_or_default());
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == param)
        .and_then(|(_, value)| not_blank(&value))
        .ok_or_else(|| {
            Error::input(format!(
                "page {number}: the URL at `{path}` has no value for the parameter `{param}`, which the next request \
                 needs"
            ))
            .with_hint("check the URL's query in an answer; to follow the URL itself, use `type: next_link`")
        })
}

fn not_a_token(path: &SinglePath, value: &Value, number: u64) -> Error {
    let found = type_name(value);
    let error = Error::input(format!(
        "page {number}: `{path}` is {found}, expected the next page"
    ));
    match value {
        Value::Object(members) if members.contains_key("href") => {
            error.with_hint(format!("the link is inside: use `{path}.href`"))
        }
        Value::Object(_) => error.with_hint("name the text inside the object"),
        Value::Bool(_) => error.with_hint("a flag for more pages belongs in `stop.has_more`"),
        _ => error,
    }
}

/// Whether a value looks like a link or a cursor to a next page.
fn names_a_page(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty(),
        Value::Bool(more) => *more,
        Value::Object(link) => link.get("href").is_some_and(names_a_page),
        _ => false,
    }
}

impl Plan {
    /// A usual place that names a next page, in an answer that was taken for the last.
    pub(super) fn next_page_elsewhere(&self, page: &PageResponse) -> Option<String> {
        let names_next = |path: &&SinglePath| page.extracted.values.get(path).is_some_and(names_a_page);
        let mut places = self.common_paths().iter();
        let found = places.find(names_next).map(|path| format!("`{path}`"));
        found.or_else(|| next_link(&page.headers).map(|_| "the `Link` header".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parses_flags_and_exact_counts_only() {
        for (value, is_flag, number) in [
            (json!(true), Some(true), None),
            (json!("True"), Some(true), None),
            (json!(" false "), Some(false), None),
            (json!(1), Some(true), Some(1)),
            (json!("0"), Some(false), Some(0)),
            (json!(2), None, Some(2)),
            (json!(12.0), None, Some(12)),
            (json!(" 12 "), None, Some(12)),
            (json!(-1), None, None),
            (json!("+1"), None, None),
            (json!("1,000"), None, None),
            (json!(1.5), None, None),
            (json!("99999999999999999999"), None, None),
            (json!({"more": true}), None, None),
        ] {
            assert_eq!((flag(&value), count(&value)), (is_flag, number), "{value}");
        }
    }
}
