//! Masks personal data and keeps its form, so that a mapping can still be checked.

/// Characters of a value's form to show.
const MAX_CHARS: usize = 24;

/// The form of a value: letters become `x` and `X`, digits `9`. `2024-05-31` is `9999-99-99`.
pub(crate) fn form(value: &str) -> String {
    truncated(value, MAX_CHARS, masked)
}

/// The form of a value that leaves this machine: no character beyond ASCII is kept, since marks and the signs of some
/// scripts do not count as letters. At most `max` characters.
pub(crate) fn strict_form(value: &str, max: usize) -> String {
    truncated(value, max, |c| match masked(c) {
        mask if mask.is_ascii() || mask.is_whitespace() => mask,
        _ => 'x',
    })
}

fn truncated(value: &str, max: usize, mask: impl Fn(char) -> char) -> String {
    let mut form: String = value.chars().take(max).map(mask).collect();
    if value.chars().nth(max).is_some() {
        form.push('…');
    }
    form
}

fn masked(c: char) -> char {
    if c.is_numeric() {
        '9'
    } else if c.is_uppercase() {
        'X'
    } else if c.is_alphabetic() {
        'x'
    } else {
        c
    }
}

/// Whether a name, such as a column's or a JSON key, looks like a value: an address, an id, a date, a number.
pub(crate) fn is_like_a_value(name: &str) -> bool {
    let (mut letters, mut digits, mut all) = (0, 0, 0);
    for c in name.chars() {
        all += 1;
        letters += usize::from(c.is_alphabetic());
        digits += usize::from(c.is_numeric());
    }
    name.contains('@') || letters == 0 || digits * 2 >= all || is_guid(name)
}

fn is_guid(text: &str) -> bool {
    let text = text.trim_matches(['{', '}']);
    let hex = text.bytes().filter(u8::is_ascii_hexdigit).count();
    hex >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// A user principal name: its first character and its domain, `j…@contoso.com`; another value's form.
pub(crate) fn upn(value: &str) -> String {
    match value.split_once('@') {
        Some((user, domain)) if !user.is_empty() && !domain.contains('@') => {
            let first: String = user.chars().take(1).collect();
            format!("{first}…@{domain}")
        }
        _ => form(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_letters_and_digits() {
        for (value, expected) in [
            ("O'Brien-Smith 3rd", "X'Xxxxx-Xxxxx 9xx"),
            ("2024-05-31T00:00:00Z", "9999-99-99X99:99:99X"),
            ("Łucja 日本", "Xxxxx xx"),
            (&"a".repeat(25), &format!("{}…", "x".repeat(24))),
        ] {
            assert_eq!(form(value), expected);
        }
        // Other scripts.
        assert_eq!(strict_form("m\u{0301}a-\u{05b0}1 …", 64), "xxx-x9 x");
        for (value, expected) in [
            ("sarad@contoso.com", "s…@contoso.com"),
            ("not an address", "xxx xx xxxxxxx"),
            ("a@b@c", "x@x@x"),
        ] {
            assert_eq!(upn(value), expected);
        }
    }

    #[test]
    fn distinguishes_names_from_values() {
        let names = "workEmail|address1|Last Day of Work|dynamic_1234567|_id".split('|');
        assert_eq!(names.filter(|name| is_like_a_value(name)).count(), 0);
        let values = "4711|E10023|sarad@contoso.com|2024-05-31||abcdefab-cdef-abcd-efab-cdefabcdefab";
        assert!(values.split('|').all(is_like_a_value));
    }
}
