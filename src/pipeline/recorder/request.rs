//! Masks the values of URLs and headers.

use reqwest::header::HeaderMap;
use serde_json::{Map, Value};
use url::Url;

use super::json::MAX_FORM_CHARS;
use crate::mask;

const PAGINATION_WORDS: [&str; 9] = [
    "page", "limit", "size", "offset", "skip", "top", "count", "per", "start",
];

/// Headers without personal data.
const SAFE_HEADERS: [&str; 15] = [
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "date",
    "age",
    "retry-after",
    "request-id",
    "x-request-id",
    "x-correlation-id",
    "correlation-id",
    "x-ms-request-id",
    "client-request-id",
    "x-amzn-requestid",
    "cf-ray",
];

/// The URL without credentials and fragment. Ids in the path and values in the query are masked, except numbers in
/// pagination parameters.
pub(super) fn url(url: &Url) -> String {
    let mut shown = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        shown.push_str(&format!(":{port}"));
    }
    for segment in url.path_segments().into_iter().flatten() {
        shown.push('/');
        shown.push_str(&segment_of(&decoded(segment)));
    }
    let mut separator = '?';
    for (name, value) in url.query_pairs() {
        shown.push(separator);
        separator = '&';
        let is_safe = value.len() <= 7
            && value.bytes().all(|byte| byte.is_ascii_digit())
            && PAGINATION_WORDS
                .iter()
                .any(|word| name.to_lowercase().contains(word));
        shown.push_str(&name_of(&name));
        shown.push('=');
        if is_safe {
            shown.push_str(&value);
        } else {
            shown.push_str(&mask::strict_form(&value, MAX_FORM_CHARS));
        }
    }
    shown
}

fn decoded(segment: &str) -> String {
    // Decoded like a query, but a plus in a path is literal.
    let form = format!("a={}", segment.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(form.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

/// Also `employees('4711')`, which is one person.
fn segment_of(segment: &str) -> String {
    match segment.split_once('(') {
        Some((name, key)) => format!("{}({}", name_of(name), mask::strict_form(key, MAX_FORM_CHARS)),
        None => name_of(segment),
    }
}

fn name_of(name: &str) -> String {
    if !name.is_empty() && mask::is_like_a_value(name) && !is_version(name) {
        mask::strict_form(name, MAX_FORM_CHARS)
    } else {
        name.to_owned()
    }
}

/// `v1`, `v44.0`, `11.13.18.05`
fn is_version(name: &str) -> bool {
    let digits = name.strip_prefix('v').unwrap_or(name);
    let short = digits
        .split('.')
        .all(|part| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()));
    short && (name.starts_with('v') || digits.contains('.'))
}

/// The headers, with the values of all but safe ones masked.
pub(super) fn headers(headers: &HeaderMap) -> Value {
    let mut shown = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter().map(|value| {
            let value = String::from_utf8_lossy(value.as_bytes());
            match name.as_str() {
                "link" => link(&value),
                name if SAFE_HEADERS.contains(&name) || is_rate_limit(name) => value.into_owned(),
                _ => mask::strict_form(&value, MAX_FORM_CHARS),
            }
        });
        shown.insert(name.as_str().to_owned(), values.collect());
    }
    shown.into()
}

fn is_rate_limit(name: &str) -> bool {
    name.strip_prefix("x-")
        .unwrap_or(name)
        .replacen("rate-limit", "ratelimit", 1)
        .starts_with("ratelimit")
}

/// `<https://…>; rel="next"` with its URLs masked.
fn link(value: &str) -> String {
    let parts = value.split(['<', '>']).enumerate();
    let shown = parts.map(|(at, part)| match (at % 2, Url::parse(part)) {
        (0, _) => relation(part),
        (_, Ok(target)) => format!("<{}>", url(&target)),
        (_, Err(_)) => format!("<{}>", mask::strict_form(part, MAX_FORM_CHARS)),
    });
    shown.collect()
}

/// The text between the URLs, masked if it is more than a relation.
fn relation(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    let known = ["rel", "next", "prev", "previous", "first", "last", "self"];
    if words.into_iter().all(|word| known.contains(&word)) {
        text.to_owned()
    } else {
        mask::strict_form(text, MAX_FORM_CHARS)
    }
}
