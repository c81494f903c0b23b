//! Finds a service's own message in its answer.

use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;

use super::super::json_path::SinglePath;
use super::config::scalar;
use crate::http::redact::{MAX_SHOWN, Redactor, html_title, is_html};

/// Where services write what is wrong, most specific first.
const PATHS: [&str; 20] = [
    "$.error.message.value",
    "$.error.message",
    "$.error.innererror.message",
    "$.error.detail",
    "$.error.description",
    "$.error_description",
    "$.errorMessage",
    "$.error_message",
    "$.errors[0].message",
    "$.errors[0].detail",
    "$.errors[0].title",
    "$.errors[0]",
    "$.message",
    "$.Message",
    "$.detail",
    "$['o:errorDetails'][0].detail",
    "$.title",
    "$.response.message",
    "$.reason",
    "$.error",
];

const HEADERS: [HeaderName; 1] = [HeaderName::from_static("x-bamboohr-error-message")];

/// The longest text that is shown of a body that is neither JSON nor a web page.
const MAX_SENTENCE: usize = 300;

/// Finds a service's own message in its answer.
#[derive(Debug, Clone)]
pub(in super::super) struct ErrorMessageFinder {
    paths: Vec<SinglePath>,
}

impl ErrorMessageFinder {
    pub(in super::super) fn new() -> Self {
        let paths = PATHS.iter().map(|text| SinglePath::parse(text));
        Self {
            paths: paths.collect::<Result<_, _>>().expect("constant paths are valid"),
        }
    }

    /// The message: of a header, at the usual paths of a JSON body, the title of a web page, or a short text. It is
    /// redacted, on one line, limited in length and without e-mail addresses.
    pub(in super::super) fn find(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        redactor: Redactor<'_>,
    ) -> Option<String> {
        let show = |text: &str| {
            let shown = without_addresses(&redactor.show(text.as_bytes(), MAX_SHOWN));
            (!shown.is_empty()).then_some(shown)
        };
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let header = HEADERS
            .iter()
            .find_map(|name| show(&String::from_utf8_lossy(headers.get(name)?.as_bytes())));
        if header.is_some() {
            return header;
        }
        if let Ok(json) = serde_json::from_slice::<Value>(body) {
            let at = |path: &SinglePath| show(&scalar(path.find(&json)?)?);
            return self
                .paths
                .iter()
                .find_map(at)
                .or_else(|| json.as_str().and_then(show));
        }
        if is_html(body) {
            return html_title(body).and_then(|title| show(&format!("a web page, `{title}`")));
        }
        is_sentence(body)
            .then(|| String::from_utf8_lossy(body))
            .and_then(|text| show(&text))
    }
}

/// Whether a body is a short message: longer or marked-up text may be records.
fn is_sentence(body: &[u8]) -> bool {
    let text = body.trim_ascii();
    !text.is_empty()
        && text.len() <= MAX_SENTENCE
        && !text.starts_with(b"<")
        && !text.starts_with(b"{")
        && !text.starts_with(b"[")
}

/// The text with e-mail addresses replaced: a service may name the person that a request was about.
fn without_addresses(text: &str) -> String {
    // `@odata.type` and the like are not addresses.
    let is_local_part = |text: &str| text.ends_with(|c: char| c.is_alphanumeric() || "._+-'".contains(c));
    text.split(' ')
        .map(|word| match word.split_once('@') {
            Some((before, _)) if is_local_part(before) => "[address]",
            _ => word,
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use crate::secret::Secret;

    use super::*;

    fn find(body: &str) -> Option<String> {
        ErrorMessageFinder::new().find(&HeaderMap::new(), body.as_bytes(), Redactor::secrets(&[]))
    }

    #[test]
    fn finds_the_message_of_each_service() {
        for (body, expected) in [
            (
                r#"{"error":{"code":"x","message":{"lang":"en","value":"OData 2"}}}"#,
                "OData 2",
            ),
            (r#"{"error":{"code":"x","message":"OData 4"}}"#, "OData 4"),
            (
                r#"{"error":"invalid_client","error_description":"OAuth"}"#,
                "OAuth",
            ),
            (r#"{"error":"invalid_client"}"#, "invalid_client"),
            (
                r#"{"errors":[{"message":"first"},{"message":"second"}]}"#,
                "first",
            ),
            (r#"{"errors":["plain"]}"#, "plain"),
            (
                r#"{"success":false,"error":{"code":0,"message":"Personio"}}"#,
                "Personio",
            ),
            (
                r#"{"title":"Bad Request","detail":"RFC 9457","status":400}"#,
                "RFC 9457",
            ),
            (r#"{"title":"Bad Request","status":400}"#, "Bad Request"),
            (r#"{"o:errorDetails":[{"detail":"Oracle"}]}"#, "Oracle"),
            (r#"{"Message":"Dayforce"}"#, "Dayforce"),
            ("\u{feff}{\"message\":\"after a mark\"}", "after a mark"),
            (r#""a bare text""#, "a bare text"),
            ("no such\r\n report\n", "no such report"),
            (
                "<html><head><title>Request blocked</title></head></html>",
                "a web page, `Request blocked`",
            ),
        ] {
            assert_eq!(find(body).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn shows_nothing_that_may_be_records() {
        let long = "x,".repeat(400);
        for body in [
            "",
            "  ",
            "[1,2",
            "<worker><name>x</name></worker>",
            "{\"cut\":\"of",
            &long,
            "[]",
            "{}",
        ] {
            assert_eq!(find(body), None, "{body}");
        }
    }

    #[test]
    fn prefers_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-bamboohr-error-message",
            "the directory is off".parse().unwrap(),
        );
        for body in ["", r#"{"message":"usual"}"#] {
            let found = ErrorMessageFinder::new().find(&headers, body.as_bytes(), Redactor::secrets(&[]));
            assert_eq!(found.as_deref(), Some("the directory is off"));
        }
    }

    #[test]
    fn redacts_secrets_and_addresses() {
        let secret = Secret::new("s3cr3t-key");
        let body = br#"{"message":"key s3cr3t-key may not read planted.7@contoso.com, see @odata.type"}"#;
        let shown = ErrorMessageFinder::new()
            .find(&HeaderMap::new(), body, Redactor::secrets(&[&secret]))
            .unwrap();
        assert_eq!(shown, "key [hidden] may not read [address] see @odata.type");
    }
}
