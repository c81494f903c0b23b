//! Flags, counts and cursors in answers, in the notations that services use.

use reqwest::header::HeaderMap;
use serde_json::Value;
use url::form_urlencoded;

use super::super::json_path::{SinglePath, ValueId, ValuePaths};
use super::super::page::PageResponse;
use super::pager::TokenSource;
use crate::error::{Error, Result};
use crate::http::link;

/// A value of the body that a setting names.
#[derive(Debug, Clone)]
pub(super) struct Located {
    id: ValueId,
    pub(super) path: SinglePath,
    /// The key of the setting.
    pub(super) setting: &'static str,
}

impl Located {
    pub(super) fn new(paths: &mut ValuePaths, setting: &'static str, path: &SinglePath) -> Self {
        Self {
            id: paths.add(path),
            path: path.clone(),
            setting,
        }
    }

    /// The value; `None` for nothing, null and blank text.
    fn value<'a>(&self, page: &PageResponse<'a>) -> Option<&'a Value> {
        page.values.get(self.id).filter(|value| !is_blank(value))
    }

    pub(super) fn flag(&self, page: &PageResponse<'_>, number: u64) -> Result<Option<bool>> {
        self.read(page, number, "true or false", flag)
    }

    pub(super) fn count(&self, page: &PageResponse<'_>, number: u64) -> Result<Option<u64>> {
        self.read(page, number, "a count", count)
    }

    fn read<T>(
        &self,
        page: &PageResponse<'_>,
        number: u64,
        expected: &str,
        parse: fn(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.value(page) else {
            return Ok(None);
        };
        parse(value).map(Some).ok_or_else(|| {
            Error::input(format!(
                "page {number}: `{}` (`{}`) is {}, expected {expected}",
                self.path,
                self.setting,
                kind(value)
            ))
        })
    }
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

fn flag(value: &Value) -> Option<bool> {
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

fn count(value: &Value) -> Option<u64> {
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

/// The type of a value, without its content.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "another number",
        Value::String(_) => "another text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl TokenSource {
    /// The cursor or URL of the next page; `None` is the end.
    ///
    /// # Errors
    /// The value is neither text nor number, or the last record has none.
    pub(super) fn token(
        &self,
        is_url: bool,
        page: &PageResponse<'_>,
        last_record: Option<&Value>,
        number: u64,
    ) -> Result<Option<Value>> {
        match self {
            Self::Body(located) => match located.value(page) {
                Some(value @ Value::Number(_)) if is_url => Err(not_a_token(located, value, number)),
                Some(value @ (Value::String(_) | Value::Number(_))) => Ok(Some(value.clone())),
                Some(value) => Err(not_a_token(located, value, number)),
                None => Ok(None),
            },
            Self::Header(name) => match page.headers.get(name).map(|value| value.to_str()) {
                None => Ok(None),
                Some(Ok(text)) => Ok(not_blank(text)),
                Some(Err(_)) => Err(Error::input(format!(
                    "page {number}: the header `{name}` with the cursor of the next page is not text"
                ))),
            },
            Self::LastRecord(path) => in_last_record(path, last_record, number).map(Some),
            Self::LinkQuery { url, param } => match url.value(page) {
                None => Ok(None),
                Some(Value::String(text)) => in_query(text, param, url, number).map(Some),
                Some(value) => Err(not_a_token(url, value, number)),
            },
            Self::LinkHeader => Ok(next_link(page.headers)),
        }
    }
}

/// The target of the `Link` header with `rel="next"`.
pub(super) fn next_link(headers: &HeaderMap) -> Option<Value> {
    link::target(headers, "next").and_then(|target| not_blank(&target))
}

fn not_blank(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| Value::from(text))
}

fn in_last_record(path: &SinglePath, record: Option<&Value>, number: u64) -> Result<Value> {
    record
        .and_then(|record| path.find(record))
        .filter(|value| (value.is_string() || value.is_number()) && !is_blank(value))
        .cloned()
        .ok_or_else(|| {
            Error::input(format!(
                "page {number}: the last record has no text or number at `{path}`, which the next request needs"
            ))
            .with_hint("`from.last_record` is a path within a record, such as `$.id`, to a field of every record")
        })
}

fn in_query(text: &str, param: &str, url: &Located, number: u64) -> Result<Value> {
    let query = text
        .split_once('?')
        .map_or("", |(_, query)| query.split('#').next().unwrap_or_default());
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == param)
        .and_then(|(_, value)| not_blank(&value))
        .ok_or_else(|| {
            Error::input(format!(
                "page {number}: the URL at `{}` has no value for the parameter `{param}`, which the next request needs",
                url.path
            ))
            .with_hint("check the URL's query in an answer; to follow the URL itself, use `type: next_link`")
        })
}

fn not_a_token(located: &Located, value: &Value, number: u64) -> Error {
    let path = &located.path;
    let error = Error::input(format!(
        "page {number}: `{path}` is {}, expected the next page",
        kind(value)
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
pub(super) fn names_a_page(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty(),
        Value::Bool(more) => *more,
        Value::Object(link) => link.get("href").is_some_and(names_a_page),
        _ => false,
    }
}

impl super::pager::Plan {
    /// A usual place that names a next page, in an answer that was taken for the last.
    pub(super) fn next_page_elsewhere(&self, page: &PageResponse<'_>) -> Option<String> {
        self.common_paths
            .iter()
            .find(|(id, _)| page.values.get(*id).is_some_and(names_a_page))
            .map(|(_, path)| format!("`{path}`"))
            .or_else(|| next_link(page.headers).map(|_| "the `Link` header".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parses_flags() {
        for (value, expected) in [
            (json!(true), Some(true)),
            (json!("True"), Some(true)),
            (json!(1), Some(true)),
            (json!(" false "), Some(false)),
            (json!("0"), Some(false)),
            (json!("maybe"), None),
            (json!(2), None),
            (json!({"more": true}), None),
        ] {
            assert_eq!(flag(&value), expected, "{value}");
        }
        assert!(is_blank(&json!(null)) && is_blank(&json!(" ")) && !is_blank(&json!(0)));
    }

    #[test]
    fn parses_exact_counts_only() {
        for (value, expected) in [
            (json!(12), Some(12)),
            (json!(12.0), Some(12)),
            (json!(" 12 "), Some(12)),
            (json!(-1), None),
            (json!("+1"), None),
            (json!("1,000"), None),
            (json!(1.5), None),
            (json!(true), None),
            (json!("99999999999999999999"), None),
        ] {
            assert_eq!(count(&value), expected, "{value}");
        }
    }
}
