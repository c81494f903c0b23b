//! Makes text of the other side fit to be shown: one line, no control characters, not too long, no secret.

use std::borrow::Cow;
use std::cell::OnceCell;

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

/// What the other side's texts must not repeat: secrets that were sent, and values of the payload. A proxy, a debugging
/// endpoint or a careless error message may echo both.
#[derive(Clone, Copy)]
pub struct Hidden<'a> {
    secrets: &'a [&'a Secret],
    sent: &'a [u8],
}

impl<'a> Hidden<'a> {
    /// Hides these secrets, as they are and as they are written in a form, in a URL and in JSON.
    pub fn secrets(secrets: &'a [&'a Secret]) -> Self {
        Self { secrets, sent: &[] }
    }

    /// Hides values of `sent` as well: words of an answer that a word of `sent` begins with, if they are of three
    /// characters or more and look like a value (an `@`, a digit, a capital letter). A text that still repeats values
    /// then, in another notation or letter case or as words in a row, is not shown at all. Single ordinary words are:
    /// they are in every sentence.
    #[must_use]
    pub fn and_values_of(self, sent: &'a [u8]) -> Self {
        Self { sent, ..self }
    }

    /// The text as it may be shown: nothing hidden in it, [clean](clean()), at most `max` characters.
    pub fn show(&self, text: &[u8], max: usize) -> String {
        let mut text = String::from_utf8_lossy(text).into_owned();
        for secret in self.secrets {
            let plain = secret.expose();
            if plain.is_empty() {
                continue;
            }
            let encoded: String = url::form_urlencoded::byte_serialize(plain.as_bytes()).collect();
            let in_url = encoded.replace('+', "%20");
            let json = serde_json::Value::from(plain).to_string();
            let json = json.trim_matches('"');
            for form in [plain, &encoded, &in_url, json] {
                if !form.is_empty() && text.contains(form) {
                    text = text.replace(form, HIDDEN);
                }
            }
        }
        let text = clean(&text, max);
        if self.sent.is_empty() {
            text
        } else {
            self.without_values(&text, max)
        }
    }

    fn without_values(&self, text: &str, max: usize) -> String {
        // What was sent is valid; the lossy way is slow on long texts.
        let sent = match std::str::from_utf8(self.sent) {
            Ok(sent) => Cow::Borrowed(sent),
            Err(_) => String::from_utf8_lossy(self.sent),
        };
        let mut shown = String::with_capacity(text.len());
        for piece in text.split_inclusive(is_separator) {
            let word =
                piece.trim_end_matches(|c: char| is_separator(c) || matches!(c, '.' | '!' | '?' | '…'));
            let (word, rest) = piece.split_at(word.len());
            let hide = looks_like_a_value(word) && word_begins_with(&sent, word);
            shown.push_str(if hide { "[value]" } else { word });
            shown.push_str(rest);
        }
        // What is written in another way (escaped, encoded, in other letter case) or is a sentence of a remark cannot
        // be cut out one by one: then nothing of the text is shown.
        if repeats_values(&shown, &sent) {
            return format!(
                "[{} characters that repeat values of rows are not shown]",
                text.chars().count()
            );
        }
        clean(&shown, max)
    }
}

impl std::fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden")
    }
}

const HIDDEN: &str = "[hidden]";

fn is_separator(c: char) -> bool {
    c.is_whitespace() || ",;:\"'`()[]{}<>=|".contains(c)
}

fn looks_like_a_value(word: &str) -> bool {
    word.chars().nth(2).is_some()
        && word
            .chars()
            .any(|c| c == '@' || c.is_numeric() || c.is_uppercase() || !c.is_ascii())
}

/// So many words of the payload in a row are a quotation.
const QUOTATION: usize = 4;

/// Whether `text` repeats values of `sent`, however they are written. Looks for the words of `text`, which is short, in
/// `sent`, which is not.
fn repeats_values(text: &str, sent: &str) -> bool {
    let text = decoded(text).to_lowercase();
    // A copy of the payload in lower case is made only for words that need one.
    let lower = OnceCell::new();
    let lower = || lower.get_or_init(|| sent.to_lowercase()).as_str();
    let as_value = |word: &str| {
        if looks_like_a_value(word) {
            // A text that was cut shows the begin of a value only; a short begin says nothing.
            return if word.len() >= 6 {
                word_begins_with(lower(), word)
            } else {
                has_word(lower(), word)
            };
        }
        let mut capitalised = word.to_owned();
        capitalised[..1].make_ascii_uppercase();
        has_word(sent, &capitalised) || has_word(sent, &word.to_uppercase())
    };
    if words(&text).any(as_value) {
        return true;
    }
    let plain: Vec<&str> = plain_words(&text).collect();
    plain.windows(QUOTATION).any(|run| quotes(lower(), run))
}

/// Whether `word` stands in `text` by itself.
fn has_word(text: &str, word: &str) -> bool {
    // What was sent may be a megabyte.
    memchr::memmem::find_iter(text.as_bytes(), word).any(|at| {
        !text[..at].ends_with(char::is_alphanumeric)
            && !text[at + word.len()..].starts_with(char::is_alphanumeric)
    })
}

/// Whether the words of `run` follow one another in `text`.
fn quotes(text: &str, run: &[&str]) -> bool {
    let Some((first, others)) = run.split_first() else {
        return false;
    };
    text.match_indices(first).any(|(at, _)| {
        let mut next = plain_words(&text[at..]);
        !text[..at].ends_with(char::is_alphanumeric)
            && next.next() == Some(first)
            && others.iter().all(|word| next.next() == Some(word))
    })
}

fn plain_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// Runs of what values are made of.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || "@._+-'#".contains(c)))
        .map(|word| word.trim_matches(|c: char| "._-'".contains(c)))
        .filter(|word| word.chars().nth(2).is_some())
}

/// The text without the notations that JSON, URLs and HTML have for characters, one inside the other at most.
fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (decoded, length) = match c {
            '\\' => match rest.as_bytes().get(1) {
                Some(b'u') => (hex(rest.get(2..6)), 6),
                Some(_) => (Some(' '), 1 + rest[1..].chars().next().map_or(1, char::len_utf8)),
                None => (None, 1),
            },
            '%' => (hex(rest.get(1..3)), 3),
            '&' => entity(rest),
            _ => (None, c.len_utf8()),
        };
        match decoded {
            Some(decoded) => {
                out.push(decoded);
                rest = rest.get(length..).unwrap_or_default();
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

fn hex(digits: Option<&str>) -> Option<char> {
    u32::from_str_radix(digits?, 16).ok().and_then(char::from_u32)
}

/// The character that an HTML entity at the start of `text` stands for; a named one other than `&commat;` separates.
fn entity(text: &str) -> (Option<char>, usize) {
    let Some(end) = text.bytes().take(12).position(|byte| byte == b';') else {
        return (None, 1);
    };
    let name = &text[1..end];
    let c = match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(digits) => hex(Some(digits)),
            None => number.parse().ok().and_then(char::from_u32),
        },
        None if name == "commat" => Some('@'),
        None if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Some(' '),
        None => None,
    };
    (c, end + 1)
}

/// Whether a word of `text` begins with `start`: a text that was cut shows the begin of a value only.
fn word_begins_with(text: &str, start: &str) -> bool {
    text.match_indices(start)
        .any(|(at, _)| !text[..at].ends_with(char::is_alphanumeric))
}

/// Whether the text is a web page: a service that speaks to programs does not answer with one, a proxy's login or
/// block page is one.
pub fn is_html(body: &[u8]) -> bool {
    let start = &body[..body.len().min(512)];
    let start = String::from_utf8_lossy(start).to_ascii_lowercase();
    let start = start.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    start.starts_with("<!doctype html") || start.starts_with("<html") || start.contains("<html")
}

/// What a web page calls itself, where it says so. As it came: to be [shown](Hidden::show) like any text from outside.
pub fn html_title(body: &[u8]) -> Option<String> {
    let page = String::from_utf8_lossy(body);
    // Lower case of ASCII alone, so that offsets are the same in both.
    let lower = page.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let from = open + lower[open..].find('>')? + 1;
    let to = from + lower[from..].find("</title")?;
    let title = page[from..to].trim();
    (!title.is_empty()).then(|| title.to_owned())
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
        let secrets = [&secret];
        let hidden = Hidden::secrets(&secrets);
        let text = hidden.show(b"got s3cr+t/= as client_secret=s3cr%2Bt%2F%3D", 99);
        assert_eq!(text, "got [hidden] as client_secret=[hidden]");
        assert_eq!(
            hidden.show(b"abc s3cr+t/=", 6),
            "abc [h\u{2026}",
            "hidden before it is cut"
        );
        assert!(!format!("{hidden:?}").contains("s3cr"));
        let secret = Secret::new(r#"a "b" c"#);
        let secrets = [&secret];
        let echo = br#"a "b" c, a+%22b%22+c, a%20%22b%22%20c, a \"b\" c"#;
        assert_eq!(
            Hidden::secrets(&secrets).show(echo, 99),
            "[hidden], [hidden], [hidden], [hidden]"
        );
    }

    #[test]
    fn an_echoed_value_is_hidden_whole_or_cut() {
        let sent = "ada@contoso.com,2024-05-01,\"Müller, Ada\",the plan\n".as_bytes();
        let hidden = Hidden::secrets(&[]).and_values_of(sent);
        let show = |text: &str, max| hidden.show(text.as_bytes(), max);
        assert_eq!(
            show("row 7: 'ada@contoso.com' (2024-05-01).", 99),
            "row 7: '[value]' ([value])."
        );
        assert_eq!(
            show("Müller, Ada: no such user", 99),
            "[value], [value]: no such user"
        );
        assert_eq!(show("bad ada@contoso.com", 10), "bad [value…");
        assert_eq!(
            show("The plan is not the row's; ID 17-ada", 99),
            "The plan is not the row's; ID 17-ada"
        );
    }

    #[test]
    fn a_page_is_recognised_with_its_title() {
        let page =
            b"\xef\xbb\xbf \n<!DOCTYPE html><HTML><head><Title lang=en>\n Access\tdenied </TITLE></head>";
        assert!(is_html(page));
        assert_eq!(html_title(page).as_deref(), Some("Access\tdenied"));
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

    #[test]
    fn values_in_other_notations_hide_the_whole_text() {
        let sent =
            b"EmailAddress,Remarks\r\nPlanted.3@contoso.com,\"left the company for family reasons\"\r\n";
        let show = |text: &str| {
            Hidden::secrets(&[])
                .and_values_of(sent)
                .show(text.as_bytes(), SHOWN)
        };
        for text in [
            r#"{"m":"value \"planted.3@contoso.com\" is wrong"}"#,
            r#"{"m":"row 1\nplanted.3@contoso.com"}"#,
            r#"{"m":"planted.3\u0040contoso.com"}"#,
            "at planted.3%40contoso.com",
            "bad &quot;planted.3&#64;contoso.com&quot;",
            "GET /users/PLANTED.3@CONTOSO.COM/x",
            "the remark LEFT THE COMPANY for family is too long",
            "cut: planted.3@con",
        ] {
            let shown = show(text);
            assert!(shown.ends_with("are not shown]"), "{text}: {shown}");
        }
        let text = "jobId and corresponding appId do not match the company at 50% of 3 rows \\ &c";
        assert_eq!(show(text), text, "ordinary words are shown");
    }
}
