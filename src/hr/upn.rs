//! Checks a column of user principal names (UPN) or e-mail addresses.
//!
//! The connector matches these against Microsoft Entra ID, so nothing is fixed here: surrounding white space is removed,
//! and whatever cannot be a UPN is rejected with a message that says what was found. Accepted is what Entra or a mail
//! server may hold: all ASCII characters of an unquoted local part (plus signs, apostrophes, `#EXT#` of guests),
//! subdomains, and letters of every script. A domain without a dot is a Windows domain's short name or truncated. The limit
//! of 113 characters is Microsoft's for a UPN; its parts (64 before and 48 after the `@`) are not checked, since names of
//! guests hold a whole address before the `@`.

use arrow::array::StringArray;

use super::checked::{Checked, check_each};
use super::space::is_space;
use crate::component::RejectCode;

pub(crate) const MAX_CHARS: usize = 113;

/// Checks `values`: trims each and rejects those that cannot be a UPN. Blank counts as missing: null, or a fault
/// if `required`.
pub(crate) fn check(values: &StringArray, required: bool) -> Checked {
    check_each(values, required, |text| {
        if is_ordinary(text) {
            return Ok(text);
        }
        match examine(text) {
            Ok(()) => Ok(text),
            Err(found) => Err((RejectCode::InvalidUpn, found.into())),
        }
    })
}

/// Whether one pass over the bytes shows that `text` is valid, as it does for nearly all. The checks of [`examine`],
/// one by one, took a fifth of the time of a run.
fn is_ordinary(text: &str) -> bool {
    let (mut in_domain, mut dotted) = (false, false);
    // A part has begun: neither a separator nor punctuation may come first.
    let mut begun = false;
    for byte in text.bytes() {
        begun = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => true,
            _ if !begun => return false,
            b'-' | b'_' => true,
            b'+' | b'\'' if !in_domain => true,
            b'.' => {
                dotted |= in_domain;
                false
            }
            b'@' if !in_domain => {
                in_domain = true;
                false
            }
            _ => return false,
        };
    }
    begun && dotted && text.len() <= MAX_CHARS
}

fn examine(text: &str) -> Result<(), &'static str> {
    // Common mistakes first: the messages about their parts would mislead.
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
            c if is_space(c) => "has white space or an invisible character inside",
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
    let of_domains = |byte: u8| !byte.is_ascii() || byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let bad_dots = |part: &str| part.starts_with('.') || part.ends_with('.') || part.contains("..");
    Err(match () {
        () if domain.contains('@') => "has more than one `@`",
        () if local.is_empty() => "has nothing before the `@`",
        () if domain.is_empty() => "has nothing after the `@`",
        () if bad_dots(local) || bad_dots(domain) => {
            "has a dot at the start or end of a part, or two dots in a row"
        }
        () if !domain.contains('.') => "has a domain without a dot",
        () if !domain.bytes().all(of_domains) => "has a character in its domain that domains do not have",
        () if text.chars().count() > MAX_CHARS => {
            "has more than 113 characters, the limit for a user principal name"
        }
        () => return Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Result<String, String> {
        let checked = check(&StringArray::from(vec![text]), true);
        match checked.faults.first() {
            None => Ok(checked.values.value(0).to_owned()),
            Some(fault) => {
                let actual = (checked.values.iter().next(), fault.code);
                assert_eq!(actual, (Some(None), RejectCode::InvalidUpn));
                assert!(!fault.message.contains(text.trim()), "shows the value: {fault:?}");
                Err(fault.message.to_string())
            }
        }
    }

    #[test]
    fn accepts_valid_upns() {
        for text in "user@contoso.com first.last+hr@mail.emea.contoso.com pat.o'neil@contoso.com 1@2.de \
            under_score-dash@contoso-group.onmicrosoft.com müller@contoso.com 用户@例子.公司 \
            guest_fabrikam.example#EXT#@contoso.onmicrosoft.com user@xn--bcher-kva.example"
            .split(' ')
        {
            assert_eq!(one(text).as_deref(), Ok(text));
        }
    }

    proptest! {
        #[test]
        fn ordinary_upns_are_valid(text in "[aZ0._+'@-]{1,9}@?[aZ0._-]{1,9}") {
            prop_assert!(!is_ordinary(&text) || examine(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn explains_invalid_upns() {
        for case in "user.contoso.com => no `@`
            user@contoso.com@fabrikam.example => more than one `@`
            @contoso.com => nothing before
            user@ => nothing after
            user name@contoso.com => white space
            user\u{A0}name@contoso.com => white space
            us\u{200B}er@contoso.com => invisible
            us\u{202E}er@contoso.com => invisible
            us\u{7}er@contoso.com => control
            user@contoso => without a dot
            .user@contoso.com => dot at the start
            user.@contoso.com => dot at the start
            us..er@contoso.com => two dots
            user@contoso..com => two dots
            user@.contoso.com => dot at the start
            user@contoso.com. => dot at the start
            mailto:user@contoso.com => mailto
            MAILTO:user@contoso.com => mailto
            Some Name <user@contoso.com> => angle brackets
            \"Some Name\" user@contoso.com => quote
            a@contoso.com;b@contoso.com => list
            CONTOSO\\user => backslash
            pat.o\u{2019}neil@contoso.com => typographic
            m\u{FFFD}ller@contoso.com => encoding
            user@[10.0.0.1] => bracket
            user@con+toso.com => in its domain
            12345 => no `@`"
            .lines()
        {
            let (text, part) = case.trim().split_once(" => ").unwrap();
            let message = one(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
        let long = |n: usize| format!("{}@contoso.com", "ü".repeat(n - 12));
        assert!(one(&long(113)).is_ok());
        assert!(one(&long(114)).unwrap_err().contains("113"));
    }

    #[test]
    fn trims_and_treats_blank_as_missing() {
        let text = ["\u{FEFF} a@contoso.com\u{A0}\u{2060}\t", " \u{200B}"].map(Some);
        let values = StringArray::from(vec![text[0], text[1], None]);
        let checked = check(&values, true);
        let expected = StringArray::from(vec![Some("a@contoso.com"), None, None]);
        assert_eq!(checked.values, expected);
        let faults = checked.faults.iter().map(|fault| (fault.row, fault.code));
        assert!(faults.eq([1, 2].map(|row| (row, RejectCode::Missing))));
        assert!(check(&values, false).faults.is_empty());
    }
}
