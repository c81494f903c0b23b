//! URLs of services: validated before anything is sent there, and shown without what may be secret.

use url::{Host, Url};

/// Reads the URL of a service. `https` is required, except for a host on this machine. Errors do not repeat the URL: it
/// may contain credentials.
pub(crate) fn service_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim())
        .map_err(|error| format!("not a URL such as `https://api.contoso.com` ({error})"))?;
    if has_credentials(&url) {
        return Err("the URL must not contain a user name or a password".to_owned());
    }
    if url.fragment().is_some() {
        return Err("the URL must not contain a `#`".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(
            "the URL must start with `https://`: credentials and HR data would be sent unencrypted (`http://` is \
             for a host on this machine)"
                .to_owned(),
        ),
        _ => Err("the URL must start with `https://`".to_owned()),
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

pub(crate) fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// The URL without query, fragment and credentials: what errors and logs may show.
pub(crate) fn shown(url: &Url) -> String {
    let host = host(url);
    if host.is_empty() {
        return format!("{}:", url.scheme());
    }
    format!("{}://{host}{}", url.scheme(), url.path())
}

/// Host and port, without the default port of the scheme.
pub(crate) fn host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requires_https_except_on_this_machine() {
        for good in [
            "https://api.contoso.com/v1?x=1",
            "http://127.0.0.1:8099",
            "http://localhost/x",
            "http://[::1]:1/",
        ] {
            assert!(service_url(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://api.contoso.com", "https"),
            ("ftp://api.contoso.com", "https"),
            ("http://localhost.contoso.com", "https"),
            ("https://user-marker@contoso.com", "user name"),
            ("https://:pass-marker@contoso.com", "user name"),
            ("https://contoso.com/#token-marker", "#"),
            ("contoso-marker", "not a URL"),
        ] {
            let error = service_url(bad).unwrap_err();
            assert!(error.contains(why) && !error.contains("marker"), "{error}");
        }
    }

    #[test]
    fn shows_urls_without_query_and_credentials() {
        let url = Url::parse("https://u:p@contoso.com:443/a/b?key=marker#f").unwrap();
        assert_eq!(shown(&url), "https://contoso.com/a/b");
        let actual = host(&Url::parse("http://contoso.com:81/").unwrap());
        assert_eq!(actual, "contoso.com:81");
    }
}
