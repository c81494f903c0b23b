//! Describes a body that is not JSON without repeating its content.

use crate::http::redact::{clean, clean_bytes, html_title, is_html};

/// What the start of a body looks like.
pub(super) fn looks_like(head: &[u8]) -> String {
    if is_html(head) {
        return match html_title(head) {
            Some(title) => format!("a web page titled \"{}\"", clean(&title, 100)),
            None => "a web page".to_owned(),
        };
    }
    let text = head.trim_ascii_start();
    if text.starts_with(b"<") {
        return match root_element(text) {
            Some(name) => format!("XML with the root element `{name}`"),
            None => "XML".to_owned(),
        };
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        return "gzip data that is not declared as such".to_owned();
    }
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return "text in UTF-16".to_owned();
    }
    if head.starts_with(b"%PDF") {
        return "a PDF document".to_owned();
    }
    if head.starts_with(b"PK\x03\x04") {
        return "a ZIP archive".to_owned();
    }
    let text = |byte: &u8| *byte >= b' ' || byte.is_ascii_whitespace();
    if head.iter().all(text) {
        "plain text".to_owned()
    } else {
        "binary data".to_owned()
    }
}

/// The name of the first element.
fn root_element(text: &[u8]) -> Option<String> {
    let mut rest = text;
    loop {
        rest = &rest[memchr::memchr(b'<', rest)? + 1..];
        match rest.first()? {
            b'?' | b'!' => {}
            first if first.is_ascii_alphabetic() || *first == b'_' => {
                let end = rest
                    .iter()
                    .position(|byte| !(byte.is_ascii_alphanumeric() || b"_:-.".contains(byte)))?;
                return Some(clean_bytes(&rest[..end], 64));
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_bodies_without_their_content() {
        let cases: [(&[u8], &str); 8] = [
            (
                b"<!doctype html><title>Sign\nin</title>",
                "a web page titled \"Sign in\"",
            ),
            (b" <html><body>marker", "a web page"),
            (
                b"<?xml version='1.0'?><!-- marker --><wd:Report_Data a='marker'>",
                "XML with the root element `wd:Report_Data`",
            ),
            (b"<", "XML"),
            (b"marker, try again", "plain text"),
            (b"\x1f\x8b\x08", "gzip data that is not declared as such"),
            (b"\xff\xfe{\0", "text in UTF-16"),
            (b"marker\0", "binary data"),
        ];
        for (body, look) in cases {
            assert_eq!(looks_like(body), look);
        }
    }
}
