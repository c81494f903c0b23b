//! Checks a column of user principal names (UPN) or e-mail addresses.
//!
//! The connector matches these against Microsoft Entra ID, so nothing is repaired here: white space around the value
//! is removed, and whatever else is plainly no UPN is rejected with a text that says what kind of thing was found.
//!
//! Accepted is what Entra or a mail server may hold: all ASCII characters of an unquoted local part (plus signs,
//! apostrophes, `#EXT#` of guests), subdomains, and letters of every script on both sides. Rejected are
//!
//! - none or more than one `@`, nothing before or after it, dots at the start, at the end or in pairs;
//! - a domain without a dot: every domain of Entra has one (`contoso.onmicrosoft.com`), so `user@contoso` is a
//!   Windows domain's short name or cut off;
//! - white space, control and invisible characters inside, typographic quotes, and U+FFFD, the trace of a file read
//!   in the wrong encoding;
//! - quotes, brackets, commas, semicolons, colons and backslashes: display names (`Name <user@contoso.com>`),
//!   `mailto:` links, lists of addresses, `DOMAIN\user`;
//! - more than 113 characters, which is the limit that Microsoft documents for a UPN. Its parts (64 before and 48
//!   after the `@`) are not checked one by one: names of guests hold a whole address before the `@`.

use arrow::array::{Array, StringArray};

use super::checked::{Checked, Rewriter};
use super::space::trim;
use crate::component::RejectCode;

/// Most characters in a UPN.
pub const MAX_CHARS: usize = 113;

/// Checks `values`: trims each, and finds those that are no UPN. Empty is no value: null, or a fault when
/// `required`.
pub fn check(values: &StringArray, required: bool) -> Checked {
    let mut column = Rewriter::new(values);
    for row in 0..values.len() {
        if values.is_null(row) {
            column.null(row, required);
            continue;
        }
        let whole = values.value(row);
        let text = trim(whole);
        if text.is_empty() {
            column.null(row, required);
            continue;
        }
        if !is_plain(text.as_bytes())
            && let Err(found) = examine(text)
        {
            column.fault(row, RejectCode::InvalidUpn, found);
        } else if text.len() == whole.len() {
            column.keep(row);
        } else {
            column.replace(row, text);
        }
    }
    column.finish()
}

const LOCAL: u8 = 1;
const DOMAIN: u8 = 2;
const DOT: u8 = 4;

/// What each byte may be; 0 for those that need a closer look.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => LOCAL | DOMAIN,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'/' | b'=' | b'?' | b'^' | b'`'
            | b'{' | b'|' | b'}' | b'~' => LOCAL,
            b'.' => LOCAL | DOMAIN | DOT,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// One pass over the bytes, without branches on their values but for the `@`: whether all is ASCII and in order.
/// What is not may still be right, and [`examine`] finds out.
fn is_plain(bytes: &[u8]) -> bool {
    let Some(at) = bytes.iter().position(|byte| *byte == b'@') else {
        return false;
    };
    let (local, domain) = (&bytes[..at], &bytes[at + 1..]);
    bytes.len() <= MAX_CHARS && is_plain_part::<LOCAL>(local) && {
        let last_label = domain.iter().rev().position(|byte| *byte == b'.');
        last_label.is_some() && is_plain_part::<DOMAIN>(domain)
    }
}

/// Whether every byte is of class `ALLOWED`, with no dot at an end and no two in a row.
fn is_plain_part<const ALLOWED: u8>(part: &[u8]) -> bool {
    let mut every = ALLOWED;
    let mut doubled = 0;
    let mut before = DOT;
    for byte in part {
        let class = CLASSES[usize::from(*byte)];
        every &= class;
        doubled |= before & class;
        before = class;
    }
    // `before` starts as a dot, so an empty part and a dot in front fail like a dot at the end.
    every & ALLOWED != 0 && (doubled | before) & DOT == 0
}

/// Looks closely: at letters beyond ASCII, and for words about what is wrong.
fn examine(text: &str) -> Result<(), &'static str> {
    // Whole shapes first: their parts would be called by misleading names.
    let scheme = text
        .get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("mailto:"));
    if scheme {
        return Err("a `mailto:` link where the address alone is expected");
    }
    if text.contains(['<', '>']) {
        return Err("has angle brackets, as in `Name <address>`, where the address alone is expected");
    }
    if text.contains([';', ',']) {
        return Err("has a comma or semicolon: a list, where one address is expected");
    }
    if text.contains('\\') {
        return Err(
            "has a backslash, as in `DOMAIN\\user`, where a user principal name such as user@contoso.com is expected",
        );
    }
    for c in text.chars() {
        let found = match c {
            '\u{FFFD}' => {
                "has a replacement character (U+FFFD): the file was most likely read in the wrong encoding"
            }
            '\u{2018}'..='\u{201F}' => "has a typographic quote or apostrophe",
            '"' | '(' | ')' | '[' | ']' | ':' => "has a quote, bracket or colon",
            c if super::space::is_space(c) => "has white space or an invisible character inside",
            c if c.is_control() => "has a control character",
            '\u{AD}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
                "has white space or an invisible character inside"
            }
            _ => continue,
        };
        return Err(found);
    }
    let Some((local, domain)) = text.split_once('@') else {
        return Err("has no `@`");
    };
    if domain.contains('@') {
        return Err("has more than one `@`");
    }
    if local.is_empty() {
        return Err("has nothing before the `@`");
    }
    if domain.is_empty() {
        return Err("has nothing after the `@`");
    }
    for part in [local, domain] {
        if part.starts_with('.') || part.ends_with('.') || part.contains("..") {
            return Err("has a dot at the start or end of a part, or two dots in a row");
        }
    }
    if !domain.contains('.') {
        return Err("has a domain without a dot");
    }
    if domain
        .bytes()
        .any(|byte| byte.is_ascii() && CLASSES[usize::from(byte)] & DOMAIN == 0)
    {
        return Err("has a character in its domain that domains do not have");
    }
    if text.chars().count() > MAX_CHARS {
        return Err("has more than 113 characters, the most that a user principal name may have");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Result<String, String> {
        let checked = check(&StringArray::from(vec![text]), true);
        match checked.faults.as_slice() {
            [] => Ok(checked.values.value(0).to_owned()),
            [fault] => {
                assert!(checked.values.is_null(0));
                assert_eq!(fault.code, RejectCode::InvalidUpn);
                assert!(
                    !fault.message.contains(text.trim()),
                    "shows the value: {}",
                    fault.message
                );
                Err(fault.message.to_string())
            }
            more => panic!("{more:?}"),
        }
    }

    #[test]
    fn what_entra_holds_is_accepted() {
        for text in [
            "user@contoso.com",
            "first.last+hr@mail.emea.contoso.com",
            "pat.o'neil@contoso.com",
            "under_score-dash@contoso-group.onmicrosoft.com",
            "guest_fabrikam.example#EXT#@contoso.onmicrosoft.com",
            "müller@contoso.com",
            "用户@例子.公司",
            "user@xn--bcher-kva.example",
            "1@2.de",
        ] {
            assert_eq!(one(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_no_upn_is_told_by_its_kind() {
        for (text, part) in [
            ("user.contoso.com", "no `@`"),
            ("user@contoso.com@fabrikam.example", "more than one `@`"),
            ("@contoso.com", "nothing before"),
            ("user@", "nothing after"),
            ("user name@contoso.com", "white space"),
            ("user\u{A0}name@contoso.com", "white space"),
            ("us\u{200B}er@contoso.com", "invisible"),
            ("us\u{202E}er@contoso.com", "invisible"),
            ("us\u{7}er@contoso.com", "control"),
            ("user@contoso", "without a dot"),
            (".user@contoso.com", "dot at the start"),
            ("user.@contoso.com", "dot at the start"),
            ("us..er@contoso.com", "two dots"),
            ("user@contoso..com", "two dots"),
            ("user@.contoso.com", "dot at the start"),
            ("user@contoso.com.", "dot at the start"),
            ("mailto:user@contoso.com", "mailto"),
            ("MAILTO:user@contoso.com", "mailto"),
            ("Some Name <user@contoso.com>", "angle brackets"),
            ("\"Some Name\" user@contoso.com", "quote"),
            ("a@contoso.com;b@contoso.com", "list"),
            ("CONTOSO\\user", "backslash"),
            ("pat.o\u{2019}neil@contoso.com", "typographic"),
            ("m\u{FFFD}ller@contoso.com", "encoding"),
            ("user@[10.0.0.1]", "bracket"),
            ("user@con+toso.com", "in its domain"),
            ("12345", "no `@`"),
        ] {
            let message = one(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn the_limit_is_113_characters() {
        let long = |n: usize| format!("{}@contoso.com", "u".repeat(n - 12));
        assert!(one(&long(113)).is_ok());
        assert!(one(&long(114)).unwrap_err().contains("113"));
        assert!(one(&long(113).replace('u', "ü")).is_ok());
    }

    #[test]
    fn white_space_around_goes_and_empty_is_missing() {
        let values = StringArray::from(vec![
            Some("\u{FEFF} a@contoso.com\u{A0}\t"),
            Some(" \u{200B}"),
            None,
            Some("b@contoso.com"),
        ]);
        let checked = check(&values, true);
        assert_eq!(
            checked.values,
            StringArray::from(vec![Some("a@contoso.com"), None, None, Some("b@contoso.com")])
        );
        assert_eq!(
            checked.faults.iter().map(|f| (f.row, f.code)).collect::<Vec<_>>(),
            [(1, RejectCode::Missing), (2, RejectCode::Missing)]
        );
        assert!(check(&values, false).faults.is_empty());
    }

    #[test]
    fn debug_shows_no_values() {
        let checked = check(&StringArray::from(vec!["marker@contoso.com"]), true);
        assert!(!format!("{checked:?}").contains("marker"));
    }

    proptest! {
        #[test]
        fn the_quick_pass_accepts_nothing_that_a_close_look_rejects(text in "[a-b.@+ -é]{0,12}") {
            if is_plain(text.as_bytes()) {
                prop_assert_eq!(examine(&text), Ok(()));
            }
        }

        #[test]
        fn ascii_addresses_take_the_quick_pass(text in "[a-z0-9'+#_-]{1,20}(\\.[a-z0-9]{1,9}){0,2}@([a-z0-9-]{1,9}\\.){1,3}[a-z]{2,6}") {
            prop_assert!(is_plain(text.as_bytes()));
        }
    }
}
