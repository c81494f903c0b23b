//! Finds a service's own message in its answer.

use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;

use super::config::scalar;
use crate::http::redact::{MAX_SHOWN, Redactor, html_title, is_html};

/// Where services write what is wrong, as JSON Pointers, most specific first.
const POINTERS: [&str; 20] = [
    "/error/message/value",
    "/error/message",
    "/error/innererror/message",
    "/error/detail",
    "/error/description",
    "/error_description",
    "/errorMessage",
    "/error_message",
    "/errors/0/message",
    "/errors/0/detail",
    "/errors/0/title",
    "/errors/0",
    "/message",
    "/Message",
    "/detail",
    "/o:errorDetails/0/detail",
    "/title",
    "/response/message",
    "/reason",
    "/error",
];

const HEADER: HeaderName = HeaderName::from_static("x-bamboohr-error-message");

/// The longest text that is shown of a body that is neither JSON nor a web page: a longer one may be records.
const MAX_SENTENCE: usize = 300;

/// The service's own message: of a header, at the usual places of a JSON body, the title of a web page, or a short text.
/// It is redacted, on one line, limited in length and without e-mail addresses.
pub(crate) fn service_message(headers: &HeaderMap, body: &[u8], redactor: Redactor<'_>) -> Option<String> {
    let show = |text: &str| {
        let shown = without_addresses(&redactor.show(text.as_bytes(), MAX_SHOWN));
        (!shown.is_empty()).then_some(shown)
    };
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    let header = headers.get(HEADER);
    if let Some(message) = header.and_then(|value| show(&String::from_utf8_lossy(value.as_bytes()))) {
        return Some(message);
    }
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        let at = |pointer: &&str| show(&scalar(json.pointer(pointer)?)?);
        let found = POINTERS.iter().find_map(at);
        return found.or_else(|| show(json.as_str()?));
    }
    if is_html(body) {
        return html_title(body).and_then(|title| show(&format!("a web page, `{title}`")));
    }
    let is_sentence = body.len() <= MAX_SENTENCE && !body.starts_with(b"<");
    let is_cut = body.starts_with(b"{") || body.starts_with(b"[");
    (is_sentence && !is_cut)
        .then(|| show(&String::from_utf8_lossy(body)))
        .flatten()
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
    use super::*;
    use crate::secret::Secret;

    const CASES: &str = r#"
        {"error":{"code":"x","message":{"value":"OData 2"}}} => OData 2
        {"error":{"code":"x","message":"OData 4"}} => OData 4
        {"error":"invalid_client","error_description":"OAuth"} => OAuth
        {"error":"invalid_client"} => invalid_client
        {"errors":[{"message":"first"},{"message":"second"}]} => first
        {"errors":["plain"]} => plain
        {"success":false,"error":{"code":0,"message":"Personio"}} => Personio
        {"title":"Bad Request","detail":"RFC 9457","status":400} => RFC 9457
        {"title":"Bad Request","status":400} => Bad Request
        {"o:errorDetails":[{"detail":"Oracle"}]} => Oracle
        {"Message":"Dayforce"} => Dayforce
        "a bare text" => a bare text
        <html><head><title>Blocked</title></head></html> => a web page, `Blocked`
        {"message":"s3cr3t-key: ada@contoso.com, see @odata.type"} => [hidden]: [address] see @odata.type
        [1,2 =>
        <worker><name>x</name></worker> =>
        {"cut":"of =>
        [] =>
        {} =>"#;

    #[test]
    fn finds_the_message_and_shows_no_records() {
        let find = |body: &str| {
            let secrets = [Secret::new("s3cr3t-key")];
            let redactor = Redactor::new(&secrets, &[]);
            service_message(&HeaderMap::new(), body.as_bytes(), redactor).unwrap_or_default()
        };
        for case in CASES.trim().lines() {
            let (body, expected) = case.split_once(" =>").unwrap();
            assert_eq!(find(body), expected.trim_start(), "{body}");
        }
        let long = "x,".repeat(400);
        for (body, expected) in [
            ("\u{feff}{\"message\":\"after a mark\"}", "after a mark"),
            ("no such\r\n report\n", "no such report"),
            ("  ", ""),
            (&long, ""),
        ] {
            assert_eq!(find(body), expected, "{body}");
        }
    }
}
