//! Makes text of the other side fit to be shown: one line, no control characters, not too long, no secret.

use crate::secret::Secret;

/// Most characters of a text from outside that are shown.
pub const SHOWN: usize = 500;

/// The text on one line, cut after `max` characters (an ellipsis says so).
///
/// Control characters, line breaks and runs of white space become one space each; characters that are not seen but
/// change how others are (bidirectional controls, zero-width ones) are left out. So a hostile or broken answer can
/// neither fake a log line nor steer a terminal.
pub fn clean(text: &str, max: usize) -> String {
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

/// [`clean`] for bytes that need not be UTF-8.
pub fn clean_bytes(bytes: &[u8], max: usize) -> String {
    clean(&String::from_utf8_lossy(bytes), max)
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with every occurrence of a secret replaced: a proxy or a debugging endpoint may echo what it was sent.
pub fn hide(text: &str, secrets: &[&Secret]) -> String {
    let mut hidden = text.to_owned();
    for secret in secrets {
        let plain = secret.expose();
        if plain.is_empty() {
            continue;
        }
        let encoded: String = url::form_urlencoded::byte_serialize(plain.as_bytes()).collect();
        for form in [plain, &encoded] {
            if hidden.contains(form) {
                hidden = hidden.replace(form, "[hidden]");
            }
        }
    }
    hidden
}

/// Whether the text is a web page: a service that speaks to programs does not answer with one, a proxy's login or
/// block page is one.
pub fn is_html(body: &[u8]) -> bool {
    let start = &body[..body.len().min(512)];
    let start = String::from_utf8_lossy(start).to_ascii_lowercase();
    let start = start.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    start.starts_with("<!doctype html") || start.starts_with("<html") || start.contains("<html")
}

/// What a web page calls itself, where it says so.
pub fn html_title(body: &[u8]) -> Option<String> {
    let page = String::from_utf8_lossy(body);
    // Lower case of ASCII alone, so that offsets are the same in both.
    let lower = page.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let from = open + lower[open..].find('>')? + 1;
    let to = from + lower[from..].find("</title")?;
    let title = clean(&page[from..to], 120);
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_line_breaks_become_one_space() {
        assert_eq!(clean("  a\r\n\tb\u{1b}[31mc\0 ", 99), "a b [31mc");
        assert_eq!(clean("x\u{202e}y\u{200b}z", 99), "xyz");
    }

    #[test]
    fn a_cut_is_on_a_character_and_says_so() {
        assert_eq!(clean("ääää", 3), "äää…");
        assert_eq!(clean("äää", 3), "äää");
        assert_eq!(clean("ab cd", 3), "ab…");
        assert_eq!(clean("abc   ", 3), "abc");
    }

    #[test]
    fn an_echoed_secret_is_hidden_in_each_form() {
        let secret = Secret::new("s3cr+t/=");
        let text = hide("got s3cr+t/= as client_secret=s3cr%2Bt%2F%3D", &[&secret]);
        assert_eq!(text, "got [hidden] as client_secret=[hidden]");
    }

    #[test]
    fn a_page_is_recognised_with_its_title() {
        let page =
            b"\xef\xbb\xbf \n<!DOCTYPE html><HTML><head><Title lang=en>\n Access\tdenied </TITLE></head>";
        assert!(is_html(page));
        assert_eq!(html_title(page).as_deref(), Some("Access denied"));
        assert!(!is_html(b"{\"error\":\"x\"}"));
        assert!(!is_html(b""));
    }

    proptest::proptest! {
        #[test]
        fn never_longer_than_asked_and_never_a_control_character(text in "\\PC*|[\\x00-\\x20é]*", max in 0usize..40) {
            let cleaned = clean(&text, max);
            proptest::prop_assert!(cleaned.chars().count() <= max + 1);
            proptest::prop_assert!(!cleaned.chars().any(char::is_control));
        }
    }
}
