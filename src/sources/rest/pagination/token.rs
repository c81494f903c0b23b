//! What an answer says about where the next page is.

use reqwest::header::HeaderMap;
use serde_json::Value;
use url::form_urlencoded;

use super::super::json_path::SinglePath;
use super::super::page::PageResponse;
use super::facts::kind;
use super::plan::{FindLink, Looked, Origin};
use crate::error::{Error, Result};

/// The token of the next page; `None` is the end.
///
/// # Errors
/// What stands there is no token, or there are rows and no last record has one.
pub(super) fn find(
    origin: &Origin,
    whole_url: bool,
    told: &PageResponse<'_>,
    last_record: Option<&Value>,
    page: u64,
    find_link: FindLink,
) -> Result<Option<Value>> {
    match origin {
        Origin::Body(looked) => match told.values.get(looked.probe) {
            None => Ok(None),
            Some(value @ (Value::Object(_) | Value::Array(_) | Value::Bool(_))) => {
                Err(no_token(looked, value, page))
            }
            Some(value @ Value::Number(_)) if whole_url => Err(no_token(looked, value, page)),
            Some(value) => Ok(given(value)),
        },
        Origin::Header { name } => match told.headers.get(name) {
            None => Ok(None),
            Some(value) => {
                let text = value.to_str().map_err(|_| {
                    Error::input(format!("page {page}: the header `{name}` is not text, and the cursor of the next page is looked for in it"))
                })?;
                Ok(given(&Value::from(text)))
            }
        },
        Origin::LastRecord { path } => in_last_record(path, last_record, page).map(Some),
        Origin::LinkQuery { url, param } => match told.values.get(url.probe) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => in_query(text, param, url, page),
            Some(value) => Err(no_token(url, value, page)),
        },
        Origin::LinkHeader { relation } => Ok(link(told.headers, relation, find_link)),
    }
}

/// The `Link` header's target, if there is one.
fn link(headers: &HeaderMap, relation: &str, find_link: FindLink) -> Option<Value> {
    find_link(headers, relation).and_then(|target| given(&Value::from(target)))
}

/// A text that is not blank, or a number.
fn given(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(_) | Value::Number(_) => Some(value.clone()),
        _ => None,
    }
}

fn in_last_record(path: &SinglePath, record: Option<&Value>, page: u64) -> Result<Value> {
    record
        .and_then(|record| path.find(record))
        .and_then(given)
        .ok_or_else(|| {
            Error::input(format!(
                "page {page}: the last record has no text and no number at `{path}`, and the next page is asked for with it"
            ))
            .with_hint("`from.last_record` is a path within a record, such as `$.id`, to a field that every record has")
        })
}

fn in_query(text: &str, param: &str, url: &Looked, page: u64) -> Result<Option<Value>> {
    let query = text
        .split_once('?')
        .map_or("", |(_, query)| query.split('#').next().unwrap_or_default());
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == param)
        .and_then(|(_, value)| given(&Value::from(value.into_owned())))
        .map(Some)
        .ok_or_else(|| {
            Error::input(format!(
                "page {page}: the URL at `{}` has no value for the parameter `{param}`, which the next page is asked for with",
                url.path
            ))
            .with_hint("look at the URL's query in an answer; a URL that is to be followed as it is goes with `type: next_link`")
        })
}

fn no_token(looked: &Looked, value: &Value, page: u64) -> Error {
    let path = &looked.path;
    let error = Error::input(format!(
        "page {page}: at `{path}` is {} where the next page is to be named",
        kind(value)
    ));
    match value {
        Value::Object(members) if members.contains_key("href") => {
            error.with_hint(format!("the link is within: name `{path}.href`"))
        }
        Value::Object(_) => error.with_hint("name the text within it"),
        Value::Bool(_) => error.with_hint("a flag that says whether there is more goes into `stop.has_more`"),
        _ => error,
    }
}
