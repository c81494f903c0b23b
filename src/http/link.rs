//! Finds the link to the next page in `Link` headers (RFC 8288).
//!
//! An own parser: a page's worth, and the crates that have one either split at commas inside `<…>` or are not kept.
//! What cannot be read is passed over up to the next link, as the RFC asks.

use reqwest::header::{HeaderMap, LINK};

/// The target of the first link whose relation types hold `relation` (letter case set aside), as it stands: to be
/// resolved with [`follow`](super::next_url::follow).
///
/// A link with an `anchor` is about something else than the answer and is passed over.
pub(crate) fn target(headers: &HeaderMap, relation: &str) -> Option<String> {
    headers
        .get_all(LINK)
        .into_iter()
        .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        .find_map(|value| in_value(value, relation))
}

fn in_value(value: &str, relation: &str) -> Option<String> {
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        if rest.is_empty() {
            return None;
        }
        let Some((target, after)) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
            // No link: on to what stands after the next comma.
            rest = rest.split_once(',')?.1;
            continue;
        };
        let (parameters, after) = parameters(after);
        rest = after;
        // Of several `rel` the first counts.
        let rel = parameters
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("rel"));
        let matches = rel.is_some_and(|(_, types)| {
            types
                .split_ascii_whitespace()
                .any(|kind| kind.eq_ignore_ascii_case(relation))
        });
        let anchored = parameters
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("anchor"));
        if matches && !anchored {
            return Some(target.trim().to_owned());
        }
    }
}

/// The parameters of one link, and what stands after its comma.
fn parameters(mut rest: &str) -> (Vec<(&str, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        let Some(c) = rest.chars().next() else {
            return (found, rest);
        };
        rest = &rest[c.len_utf8()..];
        match c {
            ',' => return (found, rest),
            ';' => {}
            // Something that does not belong here; passed over.
            _ => continue,
        }
        let end = rest.find(['=', ';', ',']).unwrap_or(rest.len());
        let name = rest[..end].trim_ascii();
        rest = &rest[end..];
        let mut value = String::new();
        if let Some(after) = rest.strip_prefix('=') {
            (value, rest) = parameter_value(after.trim_ascii_start());
        }
        if !name.is_empty() {
            found.push((name, value));
        }
    }
}

/// A quoted string or a token.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        return (text[..end].trim_ascii().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn next(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LINK, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        target(&headers, "next")
    }

    #[test]
    fn the_next_link_is_found_however_it_is_written() {
        for value in [
            r#"<https://contoso.com/p?a=1,2&b=;c>; rel="next""#,
            r"<https://contoso.com/p?a=1,2&b=;c>;rel=next",
            r#"<https://contoso.com/p?a=1,2&b=;c> ; title="x, \"y\"; rel=\"prev\"" ; REL = "last  NEXT""#,
            r#"<https://contoso.com/1>; rel="prev", <https://contoso.com/p?a=1,2&b=;c>; rel=next; rel=prev"#,
            r#"<>; rel=first,,, <https://contoso.com/p?a=1,2&b=;c>; hreflang=de; rel="next";"#,
            r#"rubbish, <https://contoso.com/p?a=1,2&b=;c>; rel="next""#,
        ] {
            assert_eq!(
                next(&[value]).as_deref(),
                Some("https://contoso.com/p?a=1,2&b=;c"),
                "{value}"
            );
        }
        assert_eq!(
            next(&[r#"</1>; rel="prev""#, r#"</3>; rel="next""#]).as_deref(),
            Some("/3")
        );
    }

    #[test]
    fn what_is_no_next_link_is_none() {
        for value in [
            "",
            "<https://contoso.com/1>",
            r#"<https://contoso.com/1>; rel="prev""#,
            r#"<https://contoso.com/1>; rel="nextish""#,
            r#"<https://contoso.com/1>; rel=prev; rel=next"#,
            r#"<https://contoso.com/1>; title="; rel=next""#,
            r#"<https://contoso.com/1; rel="next""#,
            r##"<https://contoso.com/1>; rel=next; anchor="#x""##,
        ] {
            assert_eq!(next(&[value]), None, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(value in "[<>;,=\"\\\\ a-zé]*") {
            let _ = in_value(&value, "next");
        }
    }
}
