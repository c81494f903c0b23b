//! Personal data made unreadable while its form stays visible: enough to see whether a mapping is right.

/// Characters of a value's form to show; the length of a long text says more about it than its form.
const MOST: usize = 24;

/// The form of a value: letters become `x` and `X`, digits `9`, the rest stays. `2024-05-31` is `9999-99-99`.
pub(super) fn form(value: &str) -> String {
    let mut form: String = value
        .chars()
        .take(MOST)
        .map(|c| {
            if c.is_numeric() {
                '9'
            } else if c.is_uppercase() {
                'X'
            } else if c.is_alphabetic() {
                'x'
            } else {
                c
            }
        })
        .collect();
    if value.chars().nth(MOST).is_some() {
        form.push('…');
    }
    form
}

/// A user principal name: its first character and its domain, `j…@contoso.com`; another value's form.
pub(super) fn upn(value: &str) -> String {
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
    fn a_form_shows_no_value() {
        assert_eq!(form("O'Brien-Smith 3rd"), "X'Xxxxx-Xxxxx 9xx");
        assert_eq!(form("2024-05-31T00:00:00Z"), "9999-99-99X99:99:99X");
        assert_eq!(form("Łucja 日本"), "Xxxxx xx");
        assert_eq!(form(&"a".repeat(25)), format!("{}…", "x".repeat(24)));
    }

    #[test]
    fn a_upn_keeps_its_domain() {
        assert_eq!(upn("sarad@contoso.com"), "s…@contoso.com");
        assert_eq!(upn("not an address"), "xxx xx xxxxxxx");
        assert_eq!(upn("a@b@c"), "x@x@x");
    }
}
