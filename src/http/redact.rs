//! Cleans the texts of a service before they are shown: one line, bounded length, no control characters, no secret,
//! no value of a row.

use super::transport::Answer;
use crate::secret::Secret;

/// The most characters of a service's text that are shown.
pub(crate) const MAX_SHOWN: usize = 200;

/// The text on one line, cut after `max` characters and then with an ellipsis.
///
/// Control characters and white space become single spaces; invisible characters (bidirectional controls, zero width)
/// are removed. So no response can fake a log line or steer a terminal.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(max));
    let mut length = 0;
    let mut gap = false;
    for c in text.chars() {
        if c.is_control() || c.is_whitespace() {
            gap = length > 0;
            continue;
        }
        if is_invisible(c) {
            continue;
        }
        if length + usize::from(gap) >= max {
            cleaned.push('…');
            return cleaned;
        }
        if std::mem::take(&mut gap) {
            cleaned.push(' ');
            length += 1;
        }
        cleaned.push(c);
        length += 1;
    }
    cleaned
}

pub(crate) fn clean_bytes(bytes: &[u8], max: usize) -> String {
    clean(&String::from_utf8_lossy(bytes), max)
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// What a service's texts must not repeat: the secrets and the rows that were sent. Proxies, debugging endpoints and
/// careless error messages echo both.
#[derive(Clone, Copy)]
pub(crate) struct Redactor<'a> {
    secrets: &'a [Secret],
    payload: &'a [u8],
}

impl<'a> Redactor<'a> {
    /// Hides these secrets: verbatim, URL-encoded, and as in JSON. Hides every text that shares a word with `payload`,
    /// or that is written with escapes, since it may repeat a value of a row: shown texts are free of values of three
    /// characters or more.
    pub(crate) fn new(secrets: &'a [Secret], payload: &'a [u8]) -> Self {
        Self { secrets, payload }
    }

    /// The text as it may be shown, [cleaned](clean) and at most `max` characters.
    pub(crate) fn show(&self, text: &[u8], max: usize) -> String {
        let mut text = String::from_utf8_lossy(text).into_owned();
        for secret in self.secrets {
            let plain = secret.expose();
            let encoded: String = url::form_urlencoded::byte_serialize(plain.as_bytes()).collect();
            let in_url = encoded.replace('+', "%20");
            let json = serde_json::Value::from(plain).to_string();
            let json = &json[1..json.len() - 1];
            for form in [plain, &encoded, &in_url, json] {
                if !form.is_empty() && text.contains(form) {
                    text = text.replace(form, "[hidden]");
                }
            }
        }
        if !text.is_empty() && !self.payload.is_empty() && may_repeat(&text, self.payload) {
            return format!(
                "[{} characters not shown: they may repeat values of rows]",
                text.chars().count()
            );
        }
        clean(&text, max)
    }
}

/// Whether `text` may repeat a value of `payload`: it has an escape, or a word that begins a word of the payload
/// (that is one, for words of three characters). Case-insensitive.
fn may_repeat(text: &str, payload: &[u8]) -> bool {
    let percent_escape = |rest: &str| {
        rest.get(..2)
            .is_some_and(|hex| u8::from_str_radix(hex, 16).is_ok())
    };
    if text.contains("\\u") || text.contains("&#") || text.split('%').skip(1).any(percent_escape) {
        return true;
    }
    // Every upload comes here: letters beyond ASCII are slow to convert, and only such a text can repeat them.
    let payload = match std::str::from_utf8(payload) {
        Ok(payload) if text.is_ascii() => payload.to_ascii_lowercase(),
        _ => String::from_utf8_lossy(payload).to_lowercase(),
    };
    let text = text.to_lowercase();
    // Runs of letters and digits of at least three characters.
    let mut words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().nth(2).is_some());
    words.any(|word| {
        memchr::memmem::find_iter(payload.as_bytes(), word).any(|at| {
            let ends = !payload[at + word.len()..].starts_with(char::is_alphanumeric);
            !payload[..at].ends_with(char::is_alphanumeric) && (ends || word.chars().nth(3).is_some())
        })
    })
}

/// Whether the body is a web page. A service for programs does not send one; the login or block page of a proxy is one.
pub(crate) fn is_html(body: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&body[..body.len().min(512)]).to_ascii_lowercase();
    let start = start.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    start.starts_with("<!doctype html") || start.contains("<html")
}

pub(crate) fn html_title(body: &[u8]) -> Option<String> {
    let page = String::from_utf8_lossy(body);
    // ASCII lower case keeps the offsets.
    let lower = page.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let from = open + lower[open..].find('>')? + 1;
    let to = from + lower[from..].find("</title")?;
    let title = page[from..to].trim();
    (!title.is_empty()).then(|| title.to_owned())
}

/// Headers that say why a request failed.
const REASON_HEADERS: [&str; 2] = ["www-authenticate", "x-ms-diagnostics"];

/// Headers that identify a request in a support case.
const ID_HEADERS: [&str; 8] = [
    "request-id",
    "x-request-id",
    "client-request-id",
    "x-correlation-id",
    "x-ms-request-id",
    "x-ms-correlation-id",
    "x-ms-correlation-request-id",
    "x-azure-ref",
];

/// Status, reason phrase, body, redirect target, and the headers that matter, on one line.
pub(crate) fn describe(answer: &Answer, redactor: Redactor<'_>) -> String {
    let mut text = format!("the response was {}", answer.status_line());
    if is_html(&answer.body) {
        text.push_str("; the body is a web page");
        if let Some(title) = html_title(&answer.body) {
            let title = redactor.show(title.as_bytes(), 120);
            text.push_str(&format!(" with the title `{title}`"));
        }
    } else {
        match shown_body(answer, redactor) {
            Some(body) => text.push_str(&format!("; body: {body}")),
            None => text.push_str(", with an empty body"),
        }
    }
    if let Some(host) = answer.redirect_host() {
        // A host is not a value of a row, though often in the domain of the users.
        let host = Redactor::new(redactor.secrets, &[]).show(host.as_bytes(), 120);
        text.push_str(&format!("; it redirects to {host}"));
    }
    let reasons = shown_headers(answer, &REASON_HEADERS, redactor);
    for header in reasons.into_iter().chain(request_ids(answer, redactor)) {
        text.push_str("; ");
        text.push_str(&header);
    }
    text
}

pub(crate) fn shown_body(answer: &Answer, redactor: Redactor<'_>) -> Option<String> {
    let body = redactor.show(&answer.body, MAX_SHOWN);
    (!body.is_empty()).then_some(body)
}

/// Request and correlation ids, as `name: value`. Values that do not look like an id are left out.
pub(crate) fn request_ids(answer: &Answer, redactor: Redactor<'_>) -> Vec<String> {
    let mut ids = shown_headers(answer, &ID_HEADERS, redactor);
    ids.retain(|id| {
        let value = id.split_once(": ").map_or(id.as_str(), |(_, value)| value);
        value.len() <= 128
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=,{}|;".contains(&byte))
    });
    ids
}

fn shown_headers(answer: &Answer, names: &[&str], redactor: Redactor<'_>) -> Vec<String> {
    let shown = names.iter().filter_map(|name| {
        let value = redactor.show(answer.headers.get(*name)?.as_bytes(), MAX_SHOWN);
        (!value.is_empty()).then(|| format!("{name}: {value}"))
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_and_cuts_text() {
        for (text, max, expected) in [
            ("  a\r\n\tb\u{1b}[31mc\0 ", 99, "a b [31mc"),
            ("x\u{202e}y\u{200b}z", 99, "xyz"),
            ("ääää", 3, "äää…"),
            ("äää", 3, "äää"),
            ("ab cd", 3, "ab…"),
            ("abc   ", 3, "abc"),
        ] {
            assert_eq!(clean(text, max), expected);
        }
    }

    #[test]
    fn hides_secrets_in_every_notation() {
        let secret = Secret::new(r#"s3cr+t/= "b""#);
        let secrets = [secret];
        let redactor = Redactor::new(&secrets, &[]);
        let echo = br#"s3cr+t/= "b", s3cr%2Bt%2F%3D+%22b%22, s3cr%2Bt%2F%3D%20%22b%22, s3cr+t/= \"b\""#;
        assert_eq!(redactor.show(echo, 99), "[hidden], [hidden], [hidden], [hidden]");
        assert_eq!(
            redactor.show(br#"abc s3cr+t/= "b""#, 6),
            "abc [h…",
            "hidden before it is cut"
        );
    }

    #[test]
    fn hides_texts_that_may_repeat_rows() {
        const PAYLOAD: &str =
            "Planted.3@contoso.com,2024-05-01,\"Müller, Ada\",\"left the company for family reasons\"\r\n";
        for (text, hidden) in [
            ("row 7: 'planted.3@contoso.com'", true),
            (r#"{"m":"planted.3\u0040example"}"#, true),
            (r#"{"m":"M\u00fcller"}"#, true),
            ("at x%40y", true),
            ("bad &#64;", true),
            ("GET /users/PLANTED.3@EXAMPLE", true),
            ("no such user: Ada", true),
            ("born 2024", true),
            ("the remark LEFT OUR COMPANY is too long", true),
            ("truncated: plant", true),
            (
                "jobId and corresponding appId do not match at 50% of 3 rows \\",
                false,
            ),
            ("Adam is an apple", false),
            ("", false),
        ] {
            let shown = Redactor::new(&[], PAYLOAD.as_bytes()).show(text.as_bytes(), MAX_SHOWN);
            let actual = shown.ends_with("they may repeat values of rows]");
            assert_eq!(actual, hidden, "{text}");
            assert!(hidden || shown == text, "{shown}");
        }
    }

    #[test]
    fn recognizes_a_web_page_and_its_title() {
        let page =
            b"\xef\xbb\xbf \n<!DOCTYPE html><HTML><head><Title lang=en>\n Access\tdenied </TITLE></head>";
        assert!(is_html(page));
        assert_eq!(html_title(page).as_deref(), Some("Access\tdenied"));
        assert!(!is_html(b"{\"error\":\"x\"}") && !is_html(b""));
    }
}
