//! The error response of an HTTP service, without secrets.

use std::fmt;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::http::redact::{clean, clean_bytes};
use crate::http::transport::Failure;

const MAX_MESSAGE: usize = 240;

/// What is kept of an error response. `Display` is JSON: it passes through the clients of object stores as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServiceError {
    /// The first key, by which it is found in a text.
    hrsink_status: u16,
    /// The host that answered: the store or the identity provider.
    host: String,
    code: Option<String>,
    message: Option<String>,
    pub(super) region: Option<String>,
    request_id: Option<String>,
}

impl ServiceError {
    pub(super) fn new(status: StatusCode, host: String, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name: &str| {
            let value = clean_bytes(headers.get(name)?.as_bytes(), 100);
            Some(value).filter(|value| !value.is_empty())
        };
        let (code, message) = code_and_message(body);
        let request_ids = ["x-amz-request-id", "x-ms-request-id", "x-guploader-uploadid"];
        Self {
            hrsink_status: status.as_u16(),
            host,
            code: code.or_else(|| header("x-ms-error-code")),
            message,
            region: header("x-amz-bucket-region"),
            request_id: request_ids.into_iter().find_map(header),
        }
    }

    /// Finds one in a text that contains it.
    #[allow(dead_code, reason = "only object stores use it")]
    pub(super) fn find(text: &str) -> Option<Self> {
        let json = &text[text.find("{\"hrsink_status\":")?..];
        serde_json::Deserializer::from_str(json).into_iter().next()?.ok()
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.hrsink_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    #[allow(dead_code, reason = "only object stores use it")]
    pub(super) fn has_code(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{} answered {}", self.host, self.status());
        for part in [&self.code, &self.message].into_iter().flatten() {
            text.push_str(": ");
            text.push_str(part);
        }
        if let Some(request_id) = &self.request_id {
            text.push_str(&format!(" (request {request_id})"));
        }
        text
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Strings and a number always serialize.
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

/// The code and message in an error body: XML of stores, JSON of Google and of identity providers.
fn code_and_message(body: &[u8]) -> (Option<String>, Option<String>) {
    let text = String::from_utf8_lossy(body);
    let first_line = |text: &str| {
        // The other lines contain request ids and the string that was signed.
        let line = text.trim().lines().next().unwrap_or_default();
        Some(clean(&without_queries(line), MAX_MESSAGE)).filter(|text| !text.is_empty())
    };
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) {
        let error = json.get("error").unwrap_or(&json);
        let text = |value: Option<&serde_json::Value>| first_line(value?.as_str()?);
        let code = [Some(error), error.get("status"), error.get("code")]
            .into_iter()
            .find_map(text);
        let messages = [
            json.get("error_description"),
            error.get("message"),
            error.get("Message"),
        ];
        return (code, messages.into_iter().find_map(text));
    }
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (inner, _) = rest.split_once(&format!("</{name}>"))?;
        let entities = [
            ("&quot;", "\""),
            ("&apos;", "'"),
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&amp;", "&"),
        ];
        let inner = entities
            .into_iter()
            .fold(inner.to_owned(), |text, (entity, character)| {
                text.replace(entity, character)
            });
        first_line(&inner)
    };
    (element("Code"), element("Message"))
}

/// The text with the query of each URL removed.
pub(super) fn without_queries(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|word| match word.split_once('?') {
            Some((url, query)) if url.contains("://") => {
                let space = &query[query.trim_end().len()..];
                format!("{url}?…{space}")
            }
            _ => word.to_owned(),
        })
        .collect()
}

/// Whether a later request may succeed.
pub(super) fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// The error of a failed exchange with `host`; `key` is the settings key of the backend.
pub(super) fn transport_error(failure: &Failure, host: &str, key: &str) -> Error {
    let kind = match failure {
        Failure::Certificate { .. } => ErrorKind::Config,
        Failure::Invalid(_) => ErrorKind::Unexpected,
        _ => ErrorKind::Transient,
    };
    let hints = failure.hints(host, &format!("{key}."));
    let error = Error::new(kind, failure.to_string());
    hints.into_iter().fold(error, Error::with_hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_code_and_first_line_of_the_message_through_other_texts() {
        for (body, expected) in [
            (
                "<Error><Code>AuthenticationFailed</Code><Message>Not &quot;valid&quot;.\nRequestId:1</Message>\
                 <AuthenticationErrorDetail>'c2VjcmV0'</AuthenticationErrorDetail></Error>",
                ": AuthenticationFailed: Not \"valid\".",
            ),
            (
                r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret.\r\nTrace ID: 1"}"#,
                ": invalid_client: AADSTS7000215: Invalid client secret.",
            ),
            (
                r#"{"error":{"code":403,"message":"No access to https://x/y?sig=abc now","status":"PERMISSION_DENIED"}}"#,
                ": PERMISSION_DENIED: No access to https://x/y?… now",
            ),
            ("<html>", ""),
        ] {
            let headers =
                HeaderMap::from_iter([("x-amz-request-id".parse().unwrap(), "R1".parse().unwrap())]);
            let response = ServiceError::new(StatusCode::FORBIDDEN, "h".into(), &headers, body.as_bytes());
            let text =
                format!("Error performing GET https://x?sig=abc - Server returned 400: {response} and more");
            let found = ServiceError::find(&text).unwrap();
            let expected = format!("h answered 403 Forbidden{expected} (request R1)");
            assert_eq!(found.text(), expected);
        }
    }
}
