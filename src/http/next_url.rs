//! Follows the link to the next page, and only to where the first page came from.
//!
//! The link is taken as it stands: nothing is decoded, encoded again, put into another order or added. A URL that is
//! sent is one in normal form, though, so [`url::Url`] does what browsers do: it leaves `%25`, `%253D`, `+`, `$`, `(`
//! and `,` alone; writes spaces, quotation marks, `<`, `>` and characters outside ASCII as `%XX`; drops the usual port
//! and a host's upper case; and resolves `.` and `..` in the path.

use std::fmt;

use url::Url;

use super::address::{has_credentials, host, is_loopback};

/// Hosts that links may lead to, besides the one that gave them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AllowedHosts(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// `.contoso.com` for `*.contoso.com`.
    host: String,
    port: Option<u16>,
}

impl AllowedHosts {
    /// Reads `api.contoso.com`, `api.contoso.com:8443` or `*.contoso.com`, which stands for hosts below `contoso.com`,
    /// not for `contoso.com` itself.
    ///
    /// # Errors
    /// The first entry that is none of these.
    pub(crate) fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        entries
            .into_iter()
            .map(|entry| {
                Pattern::parse(entry).ok_or_else(|| {
                    format!("`{entry}` is not a host such as `api.contoso.com` or `*.contoso.com`")
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether requests may go to the host of `url`, as far as this list says.
    pub(crate) fn allows(&self, url: &Url) -> bool {
        self.0.iter().any(|pattern| pattern.matches(url))
    }
}

impl Pattern {
    fn parse(entry: &str) -> Option<Self> {
        let (below, rest) = match entry.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, entry),
        };
        // The URL parser knows what a host is, and writes it in one way.
        let url = Url::parse(&format!("https://{rest}/")).ok()?;
        let name = url.host_str()?;
        let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        // As a suffix, a name of one part would be a whole top-level domain.
        if !plain || has_credentials(&url) || rest.contains(['*', '/']) || (below && !name.contains('.')) {
            return None;
        }
        Some(Self {
            host: if below {
                format!(".{name}")
            } else {
                name.to_owned()
            },
            port: url.port(),
        })
    }

    fn matches(&self, url: &Url) -> bool {
        // Without a port, the one that is usual for the scheme is meant, which `Url` never keeps.
        if self.port != url.port() {
            return false;
        }
        let name = url.host_str().unwrap_or_default();
        if self.host.starts_with('.') {
            name.len() > self.host.len() && name.ends_with(&self.host)
        } else {
            name == self.host
        }
    }
}

/// Why a link is not followed. Names hosts, never the rest of the link: that may hold a token or a person's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NextUrlError {
    /// It is no URL.
    NotAUrl,
    /// It holds a user name or a password.
    Credentials,
    /// It is neither `http` nor `https`.
    Scheme,
    /// It is plain `http`.
    Plain {
        /// Where it leads.
        host: String,
    },
    /// It leads elsewhere.
    Foreign {
        /// Where it leads.
        host: String,
        /// Where it came from.
        from: String,
    },
}

impl NextUrlError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Foreign { host, .. } => Some(format!(
                "if `{host}` belongs to the service, add it to the allowed hosts: credentials are sent there"
            )),
            _ => None,
        }
    }
}

impl fmt::Display for NextUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAUrl => f.write_str("the link to the next page is not a URL"),
            Self::Credentials => f.write_str("the link to the next page holds a user name or a password"),
            Self::Scheme => f.write_str("the link to the next page is neither `https` nor `http`"),
            Self::Plain { host } => write!(
                f,
                "the link to the next page leads to `{host}` without encryption (`http`)"
            ),
            Self::Foreign { host, from } => write!(
                f,
                "the link to the next page leads to another host: `{host}`, not `{from}`"
            ),
        }
    }
}

impl std::error::Error for NextUrlError {}

/// Where `link`, found in an answer to a request for `base`, leads.
///
/// It may be relative. Without its own scheme and host it stays on those of `base`; with them they must be the same
/// (usual ports count as given), or `allowed`. A host that is allowed is asked over `https` only.
///
/// # Errors
/// See [`NextUrlError`].
pub(crate) fn follow(base: &Url, link: &str, allowed: &AllowedHosts) -> Result<Url, NextUrlError> {
    let link = link.trim();
    // `Url` would leave out line breaks and tabs without a word.
    if link.is_empty() || link.contains(char::is_control) {
        return Err(NextUrlError::NotAUrl);
    }
    let mut next = base.join(link).map_err(|_| NextUrlError::NotAUrl)?;
    // A fragment is never sent.
    next.set_fragment(None);
    if has_credentials(&next) {
        return Err(NextUrlError::Credentials);
    }
    match next.scheme() {
        "https" => {}
        "http" if base.scheme() == "http" && is_loopback(base) && is_loopback(&next) => {}
        "http" => return Err(NextUrlError::Plain { host: host(&next) }),
        _ => return Err(NextUrlError::Scheme),
    }
    let same = next.host() == base.host() && next.port_or_known_default() == base.port_or_known_default();
    if same || allowed.allows(&next) {
        return Ok(next);
    }
    Err(NextUrlError::Foreign {
        host: host(&next),
        from: host(base),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://api.contoso.com/v2/people?limit=50&api_key=marker";

    fn to(link: &str) -> Result<String, NextUrlError> {
        with(BASE, link, &[])
    }

    fn with(base: &str, link: &str, allowed: &[&str]) -> Result<String, NextUrlError> {
        let allowed = AllowedHosts::new(allowed.iter().copied()).unwrap();
        follow(&base.parse().unwrap(), link, &allowed).map(String::from)
    }

    #[test]
    fn a_link_is_followed_as_it_stands() {
        for link in [
            "https://api.contoso.com/v2/people?cursor=a%253D%253D&x=%2B+%20&b=2&a=1&a=1&empty=&c",
            "https://api.contoso.com/odata/v2/User?$skiptoken=eyJ(1,2)&$filter=a%20eq%20%27b%27",
            "https://api.contoso.com/v2/pe%6Fple;v=1/~x?at=%e4%FC",
        ] {
            assert_eq!(to(link).unwrap(), link);
        }
    }

    #[test]
    fn what_the_normal_form_changes() {
        assert_eq!(
            to("https://API.contoso.com:443/a/../b?f='x y'|é#frag").unwrap(),
            "https://api.contoso.com/b?f=%27x%20y%27|%C3%A9"
        );
    }

    #[test]
    fn a_relative_link_stays_on_the_host() {
        for (link, expected) in [
            ("?page=2", "https://api.contoso.com/v2/people?page=2"),
            ("people?page=2", "https://api.contoso.com/v2/people?page=2"),
            ("/v3/x", "https://api.contoso.com/v3/x"),
            ("//api.contoso.com/y", "https://api.contoso.com/y"),
        ] {
            assert_eq!(to(link).unwrap(), expected);
        }
    }

    #[test]
    fn usual_ports_count_as_given() {
        assert!(to("https://api.contoso.com:443/x").is_ok());
        assert!(with("https://api.contoso.com:443/", "https://api.contoso.com/x", &[]).is_ok());
        assert!(matches!(
            to("https://api.contoso.com:8443/x"),
            Err(NextUrlError::Foreign { .. })
        ));
    }

    #[test]
    fn foreign_hosts_are_refused_and_named_without_their_query() {
        for link in [
            "https://evil.example/?k=marker",
            "//evil.example/marker",
            r"\\evil.example\marker",
            "https://api.contoso.com.evil.example/",
        ] {
            let error = to(link).unwrap_err();
            let NextUrlError::Foreign { host, from } = &error else {
                panic!("{error:?}")
            };
            assert!(host.ends_with("evil.example") && from == "api.contoso.com");
            let text = format!("{error} {error:?} {}", error.hint().unwrap());
            assert!(!text.contains("marker"), "{text}");
        }
    }

    #[test]
    fn allowed_hosts_are_hosts_not_prefixes() {
        let allowed = ["eu.contoso.net", "*.pods.contoso.net", "x.contoso.net:8443"];
        for (link, good) in [
            ("https://eu.contoso.net/", true),
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
            assert_eq!(with(BASE, link, &allowed).is_ok(), good, "{link}");
        }
        for bad in ["", "https://x", "a/b", "*.com", "a.*.com", "u@h", "*", "h?x"] {
            assert!(AllowedHosts::new([bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_http_credentials_and_other_schemes_are_refused() {
        assert!(matches!(
            to("http://api.contoso.com/x"),
            Err(NextUrlError::Plain { .. })
        ));
        assert_eq!(
            to("https://u:marker@api.contoso.com/x"),
            Err(NextUrlError::Credentials)
        );
        assert_eq!(to("ftp://api.contoso.com/x"), Err(NextUrlError::Scheme));
        for nothing in ["", " ", "a\nb", "https://"] {
            assert_eq!(to(nothing), Err(NextUrlError::NotAUrl), "{nothing:?}");
        }
        let local = "http://127.0.0.1:8080/a";
        assert!(with(local, "http://127.0.0.1:8080/b", &[]).is_ok());
        assert!(with(local, "http://localhost:8080/b", &[]).is_err());
        assert!(with(BASE, "http://127.0.0.1/b", &[]).is_err());
        assert!(with("http://contoso.com/", "http://contoso.com/b", &[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_leads_elsewhere(link in "\\PC*|[a-z/:@\\\\.?#%]*") {
            if let Ok(url) = to(&link) {
                proptest::prop_assert!(url.starts_with("https://api.contoso.com/"), "{}", url);
            }
        }
    }
}
