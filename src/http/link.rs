//! Links to the next page: found in `Link` headers, and followed only to where the first page came from.
//!
//! A link is followed verbatim, apart from the normal form of [`Url`], which leaves percent-encoding, `+`, `$`, `(` and
//! `,` alone and encodes spaces, quotation marks and characters outside ASCII.

use std::sync::LazyLock;

use regex::Regex;
use reqwest::header::{HeaderMap, LINK};
use url::Url;

use super::address::{has_credentials, host, is_loopback};
use crate::error::{Error, Result};

/// Hosts that links may lead to, besides the one that returned them: each with a port, and starting with a dot for those
/// below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AllowedHosts(Vec<(String, Option<u16>)>);

impl AllowedHosts {
    /// Reads `api.contoso.com`, `api.contoso.com:8443` or `*.contoso.com`, which matches hosts below `contoso.com`, not
    /// `contoso.com` itself.
    pub(crate) fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let patterns = entries.into_iter().map(|entry| {
            pattern(entry).ok_or_else(|| {
                format!("`{entry}` is not a host such as `api.contoso.com` or `*.contoso.com`")
            })
        });
        patterns.collect::<Result<_, _>>().map(Self)
    }

    /// Whether requests may go to the host of `url`, as far as this list says.
    pub(crate) fn allows(&self, url: &Url) -> bool {
        let name = url.host_str().unwrap_or_default();
        // `Url` drops the default port of the scheme.
        let mut hosts = self.0.iter().filter(|(_, port)| *port == url.port());
        hosts.any(|(host, _)| {
            let below = host.starts_with('.') && name.len() > host.len() && name.ends_with(host);
            below || name == host
        })
    }
}

fn pattern(entry: &str) -> Option<(String, Option<u16>)> {
    let below = entry.strip_prefix("*.");
    let rest = below.unwrap_or(entry);
    // The URL parser validates the host and normalizes it.
    let url = Url::parse(&format!("https://{rest}/")).ok()?;
    let name = url.host_str()?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    // A pattern below a name of one label would match a top-level domain.
    if !plain
        || has_credentials(&url)
        || rest.contains(['*', '/'])
        || (below.is_some() && !name.contains('.'))
    {
        return None;
    }
    let dot = below.map_or("", |_| ".");
    Some((format!("{dot}{name}"), url.port()))
}

/// The URL of `link`, found in the response to a request for `base`.
///
/// A link without scheme and host stays on those of `base`; with them they must be the same, or `allowed` (then with
/// `https` only). Errors name hosts, never the rest of the link: it may hold a token or personal data.
pub(crate) fn follow(base: &Url, link: &str, allowed: &AllowedHosts) -> Result<Url> {
    let refused = |why: String| Error::input(format!("the link to the next page {why}"));
    let not_a_url = || refused("is not a URL".to_owned());
    let link = link.trim();
    // `Url` would silently drop line breaks and tabs.
    if link.is_empty() || link.contains(char::is_control) {
        return Err(not_a_url());
    }
    let mut next = base.join(link).map_err(|_| not_a_url())?;
    // A fragment is never sent.
    next.set_fragment(None);
    let to = host(&next);
    if has_credentials(&next) {
        return Err(refused("contains a user name or a password".to_owned()));
    }
    match next.scheme() {
        "https" => {}
        "http" if base.scheme() == "http" && is_loopback(base) && is_loopback(&next) => {}
        "http" => return Err(refused(format!("leads to `{to}` without encryption (`http`)"))),
        _ => return Err(refused("is neither `https` nor `http`".to_owned())),
    }
    let same = next.host() == base.host() && next.port_or_known_default() == base.port_or_known_default();
    if same || allowed.allows(&next) {
        return Ok(next);
    }
    let why = format!("leads to another host: `{to}`, not `{}`", host(base));
    Err(refused(why).with_hint(format!(
        "if `{to}` belongs to the service, add it to the allowed hosts: credentials are sent there"
    )))
}

/// A link and its parameters (RFC 8288). An own expression: crates for it split at commas inside `<…>` or are
/// unmaintained.
static VALUE: LazyLock<Regex> = LazyLock::new(|| regex(&format!("<([^>]*)>((?:{PARAMETER})*)")));
static EACH_PARAMETER: LazyLock<Regex> = LazyLock::new(|| regex(PARAMETER));
const PARAMETER: &str = r#"\s*;\s*([^=;,\s]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^;,]*)))?"#;

fn regex(pattern: &str) -> Regex {
    // A test uses both.
    Regex::new(pattern).expect("the pattern is valid")
}

/// The target of the first link in `Link` headers with this relation type (case-insensitive), verbatim. Unreadable links
/// are skipped, as the RFC asks; a link with an `anchor` is about another resource and is skipped, too.
pub(crate) fn target(headers: &HeaderMap, relation: &str) -> Option<String> {
    let values = headers.get_all(LINK).into_iter();
    values
        .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        .find_map(|value| in_value(value, relation))
}

fn in_value(value: &str, relation: &str) -> Option<String> {
    let link = VALUE.captures_iter(value).find(|link| {
        // Of several of one name the first one applies.
        let named = |name: &str| {
            let mut parameters = EACH_PARAMETER.captures_iter(&link[2]);
            parameters.find(|parameter| parameter[1].eq_ignore_ascii_case(name))
        };
        let matches = named("rel").is_some_and(|rel| {
            let types = rel.get(2).or(rel.get(3)).map_or("", |types| types.as_str());
            types
                .split_ascii_whitespace()
                .any(|kind| kind.eq_ignore_ascii_case(relation))
        });
        matches && named("anchor").is_none()
    });
    link.map(|link| link[1].trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://api.contoso.com/v2/people?limit=50&api_key=marker";
    const LOCAL: &str = "http://127.0.0.1:8080/a";

    fn to(base: &str, link: &str, allowed: &[&str]) -> Result<String> {
        let allowed = AllowedHosts::new(allowed.iter().copied()).unwrap();
        follow(&base.parse().unwrap(), link, &allowed).map(String::from)
    }

    #[test]
    fn follows_links_on_the_same_host() {
        for (link, expected) in [
            (
                "https://API.contoso.com:443/a/../b?f='x y'|é#frag",
                "b?f=%27x%20y%27|%C3%A9",
            ),
            ("//api.contoso.com/y", "y"),
        ] {
            let expected = format!("https://api.contoso.com/{expected}");
            assert_eq!(to(BASE, link, &[]).unwrap(), expected);
        }
        assert!(to("https://api.contoso.com:443/", "https://api.contoso.com/x", &[]).is_ok());
        assert!(to(LOCAL, "http://127.0.0.1:8080/b", &[]).is_ok());
    }

    #[test]
    fn rejects_other_hosts_and_schemes() {
        for (base, link, expected) in [
            (BASE, "https://evil.example/?k=marker", "another host"),
            (BASE, "//evil.example/marker", "another host"),
            (BASE, r"\\evil.example\marker", "another host"),
            (BASE, "https://api.contoso.com.evil.example/", "another host"),
            (BASE, "https://api.contoso.com:8443/x", "another host"),
            (LOCAL, "http://localhost:8080/b", "another host"),
            (BASE, "http://api.contoso.com/x", "without encryption"),
            (BASE, "http://127.0.0.1/b", "without encryption"),
            ("http://contoso.com/", "http://contoso.com/b", "without encr"),
            (BASE, "https://u:marker@api.contoso.com/x", "a password"),
            (BASE, "ftp://api.contoso.com/x", "neither `https` nor"),
            (BASE, " ", "not a URL"),
            (BASE, "a\nb", "not a URL"),
            (BASE, "https://", "not a URL"),
        ] {
            let error = to(base, link, &[]).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.hints().count(), usize::from(expected == "another host"));
            assert!(!format!("{error:?}").contains("marker"), "{error:?}");
        }
    }

    #[test]
    fn allowed_hosts_are_hosts_and_not_prefixes() {
        let allowed = ["eu.contoso.net", "*.pods.contoso.net", "x.contoso.net:8443"];
        for (link, good) in [
            ("https://EU.contoso.net:443/", true),
            ("https://eu.contoso.net:8443/", false),
            ("https://x.contoso.net:8443/", true),
            ("https://x.contoso.net/", false),
            ("https://us1.pods.contoso.net/", true),
            ("https://pods.contoso.net/", false),
            ("https://evilpods.contoso.net/", false),
            ("https://eu.contoso.net.evil.example/", false),
            ("http://eu.contoso.net/", false),
        ] {
            assert_eq!(to(BASE, link, &allowed).is_ok(), good, "{link}");
        }
        for bad in ["", "https://x", "a/b", "*.com", "a.*.com", "u@h", "*", "h?x"] {
            assert!(AllowedHosts::new([bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn finds_the_next_link_in_headers() {
        let next = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(LINK, value.parse().unwrap());
            }
            target(&headers, "next")
        };
        for value in [
            r#"<https://contoso.com/p?a=1,2&b=;c>; rel="next""#,
            r"<https://contoso.com/p?a=1,2&b=;c>;rel=next",
            r#"<https://contoso.com/p?a=1,2&b=;c> ; title="x, \"y\"; rel=\"prev\"" ; REL = "last  NEXT""#,
            r#"</1>; rel="prev", <https://contoso.com/p?a=1,2&b=;c>; rel=next; rel=prev"#,
            r#"<>; rel=first,,, <https://contoso.com/p?a=1,2&b=;c>; hreflang=de; rel="next";"#,
            r#"rubbish, <https://contoso.com/p?a=1,2&b=;c>; rel="next""#,
        ] {
            let found = next(&[value]);
            let actual = found.as_deref();
            assert_eq!(actual, Some("https://contoso.com/p?a=1,2&b=;c"), "{value}");
        }
        assert_eq!(
            next(&[r#"</1>; rel="prev""#, r#"</3>; rel="next""#]).as_deref(),
            Some("/3")
        );
        for value in [
            "",
            "<https://contoso.com/1>",
            r#"</1>; rel="nextish""#,
            r"</1>; rel=prev; rel=next",
            r#"</1>; title="; rel=next""#,
            r#"</1; rel="next""#,
            r##"</1>; rel=next; anchor="#x""##,
        ] {
            assert_eq!(next(&[value]), None, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_leads_to_another_host(link in "\\PC*|[a-z/:@\\\\.?#%]*") {
            if let Ok(url) = to(BASE, &link, &[]) {
                proptest::prop_assert!(url.starts_with("https://api.contoso.com/"), "{}", url);
            }
        }
    }
}
