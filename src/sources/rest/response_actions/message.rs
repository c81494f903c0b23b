//! Finds what a service says about an error.

use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;

use super::super::json_path::SinglePath;
use super::config::ErrorMessageSettings;
use super::judge::scalar;
use crate::http::redact::{MAX_SHOWN, Redactor, html_title, is_html};

/// Where services write what is wrong, most telling first.
const USUAL: [&str; 20] = [
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
    "$.o:errorDetails[0].detail",
    "$.title",
    "$.response.message",
    "$.reason",
    "$.error",
];

/// Oracle's name has a colon, which is no name in a path without quotes.
fn usual() -> impl Iterator<Item = SinglePath> {
    USUAL
        .iter()
        .filter_map(|text| match text.strip_prefix("$.o:errorDetails") {
            Some(rest) => SinglePath::parse(&format!("$['o:errorDetails']{rest}")).ok(),
            None => SinglePath::parse(text).ok(),
        })
}

/// Headers in which services write what is wrong.
const USUAL_HEADERS: [&str; 1] = ["x-bamboohr-error-message"];

/// Looks for a service's message in its answer.
#[derive(Debug, Clone)]
pub(in crate::sources::rest) struct ErrorMessageFinder {
    own: Option<SinglePath>,
    headers: Vec<HeaderName>,
    usual: Vec<SinglePath>,
}

impl ErrorMessageFinder {
    /// One for these (valid) settings.
    pub(in crate::sources::rest) fn new(settings: &ErrorMessageSettings) -> Self {
        let headers = match &settings.headers {
            Some(names) => names
                .iter()
                .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
                .collect(),
            None => USUAL_HEADERS
                .iter()
                .map(|name| HeaderName::from_static(name))
                .collect(),
        };
        Self {
            own: settings.path.clone(),
            headers,
            usual: usual().collect(),
        }
    }

    /// The message: that of the body at the path set, of a header, at the usual places of a JSON body, the title of a
    /// web page, or a short text. Fit to be shown: on one line, not too long, without what is `hidden` and without
    /// e-mail addresses.
    pub(in crate::sources::rest) fn find(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        hidden: Redactor<'_>,
    ) -> Option<String> {
        let show = |text: &str| {
            let shown = without_addresses(&hidden.show(text.as_bytes(), MAX_SHOWN));
            (!shown.is_empty()).then_some(shown)
        };
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let json: Option<Value> = serde_json::from_slice(body).ok();
        let at = |path: &SinglePath| show(&scalar(path.find(json.as_ref()?)?)?);
        let in_headers = || {
            self.headers
                .iter()
                .find_map(|name| show(&String::from_utf8_lossy(headers.get(name)?.as_bytes())))
        };
        let in_text = || {
            if json.is_some() {
                return None;
            }
            if is_html(body) {
                return html_title(body).and_then(|title| show(&format!("a web page, `{title}`")));
            }
            is_a_sentence(body)
                .then(|| String::from_utf8_lossy(body))
                .and_then(|text| show(&text))
        };
        self.own
            .as_ref()
            .and_then(at)
            .or_else(in_headers)
            .or_else(|| self.usual.iter().find_map(at))
            .or_else(|| json.as_ref().and_then(Value::as_str).and_then(show))
            .or_else(in_text)
    }
}

/// Whether a body that is neither JSON nor a web page is a short message: what is longer, or is marked up, may hold
/// anything.
fn is_a_sentence(body: &[u8]) -> bool {
    const MOST: usize = 300;
    let text = body.trim_ascii();
    !text.is_empty()
        && text.len() <= MOST
        && !text.starts_with(b"<")
        && !text.starts_with(b"{")
        && !text.starts_with(b"[")
}

/// The text with e-mail addresses replaced: a service may name the person that a request was about.
fn without_addresses(text: &str) -> String {
    text.split(' ')
        .map(|word| match word.find('@') {
            // `@odata.type` and the like are no addresses.
            Some(at)
                if at > 0 && word[..at].ends_with(|c: char| c.is_alphanumeric() || "._+-'".contains(c)) =>
            {
                "[address]"
            }
            _ => word,
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use crate::secret::Secret;

    use super::*;

    fn find(settings: &ErrorMessageSettings, body: &str) -> Option<String> {
        ErrorMessageFinder::new(settings).find(&HeaderMap::new(), body.as_bytes(), Redactor::secrets(&[]))
    }

    #[test]
    fn the_usual_places_are_all_paths() {
        assert_eq!(usual().count(), USUAL.len());
    }

    #[test]
    fn each_services_message_is_found() {
        for (body, wanted) in [
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
            assert_eq!(
                find(&ErrorMessageSettings::default(), body).as_deref(),
                Some(wanted),
                "{body}"
            );
        }
    }

    #[test]
    fn what_may_be_records_is_not_shown() {
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
            assert_eq!(find(&ErrorMessageSettings::default(), body), None, "{body}");
        }
    }

    #[test]
    fn own_path_then_header_then_usual_places() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-bamboohr-error-message",
            "the directory is off".parse().unwrap(),
        );
        let own = ErrorMessageSettings {
            path: Some(SinglePath::parse("$.why").unwrap()),
            headers: None,
        };
        let finder = ErrorMessageFinder::new(&own);
        let find = |body: &str| finder.find(&headers, body.as_bytes(), Redactor::secrets(&[]));
        assert_eq!(
            find(r#"{"why":"mine","message":"usual"}"#).as_deref(),
            Some("mine")
        );
        assert_eq!(
            find(r#"{"message":"usual"}"#).as_deref(),
            Some("the directory is off")
        );
        assert_eq!(find("").as_deref(), Some("the directory is off"), "an empty body");
    }

    #[test]
    fn secrets_and_addresses_are_hidden() {
        let secret = Secret::new("s3cr3t-key");
        let shown = ErrorMessageFinder::new(&ErrorMessageSettings::default())
            .find(
                &HeaderMap::new(),
                br#"{"message":"key s3cr3t-key may not read planted.7@contoso.com, see @odata.type"}"#,
                Redactor::secrets(&[&secret]),
            )
            .unwrap();
        assert_eq!(shown, "key [hidden] may not read [address] see @odata.type");
    }
}
