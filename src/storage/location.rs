//! The `path` of a source: local, standard input, or a URL.

use url::Url;

use super::registry::{Backend, backends};
use crate::component::Problems;
use crate::suggest::suggestion;

/// The `path` of standard input.
pub(crate) const STANDARD_INPUT: &str = "-";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    StandardInput,
    /// A path or pattern on the local disk, as written.
    Local(String),
    /// A path or pattern on a server or in a store.
    Remote(RemoteLocation),
}

/// A URL such as `sftp://user@host:22/folder/*.csv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteLocation {
    pub(crate) backend: &'static Backend,
    /// In lower case.
    pub(crate) scheme: String,
    /// Empty if there is none.
    pub(crate) user: String,
    /// Host, bucket or container; an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// With its first slash, as written: not percent-decoded, because `%` and `?` have meanings in patterns and dates.
    pub(crate) path: String,
}

impl Location {
    /// Parses `path`; an error is the problem and a hint.
    pub(crate) fn parse(path: &str) -> Result<Self, (String, Option<String>)> {
        if path == STANDARD_INPUT {
            return Ok(Self::StandardInput);
        }
        let Some((scheme, rest)) = path.split_once("://") else {
            return Ok(Self::Local(path.to_owned()));
        };
        let scheme = scheme.to_lowercase();
        let is_backend = |backend: &&&'static Backend| backend.schemes.contains(&&*scheme);
        let Some(backend) = backends().iter().find(is_backend) else {
            let schemes = backends().iter().flat_map(|backend| backend.schemes).copied();
            let hint = match &*scheme {
                "file" => Some("give the path of a local file without a scheme".to_owned()),
                "ftp" | "ftps" => Some("FTP is not supported; most such servers support SFTP too".to_owned()),
                _ => suggestion(&scheme, schemes),
            };
            return Err((format!("`{scheme}://` is not a supported storage"), hint));
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        // Without the path, where the URL parser would encode patterns.
        let url = Url::parse(&format!("ssh://{authority}/"))
            .map_err(|error| (format!("invalid host after `{scheme}://`: {error}"), None))?;
        if url.password().is_some() {
            let hint = format!("remove it, and reference the secret in `{}`", backend.key);
            let message = "contains a password, which must not be stored in this file";
            return Err((message.to_owned(), Some(hint)));
        }
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        };
        if host.is_empty() {
            return Err((format!("expected a host or bucket after `{scheme}://`"), None));
        }
        Ok(Self::Remote(RemoteLocation {
            backend,
            scheme,
            user: url.username().to_owned(),
            host,
            port: url.port(),
            path: path.to_owned(),
        }))
    }

    /// Parses `path` and reports what is wrong with it.
    pub(crate) fn validate(path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match Self::parse(path) {
            Ok(location) => return Some(location),
            Err((message, Some(hint))) => problems.add_with_hint(message, hint),
            Err((message, None)) => problems.add(message),
        }
        None
    }

    /// The backend; `None` for the local disk and standard input.
    pub(crate) fn backend(&self) -> Option<&'static Backend> {
        match self {
            Self::Remote(remote) => Some(remote.backend),
            Self::StandardInput | Self::Local(_) => None,
        }
    }

    /// The path or pattern, without scheme and host.
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::StandardInput => STANDARD_INPUT,
            Self::Local(path) => path,
            Self::Remote(remote) => &remote.path,
        }
    }
}

impl RemoteLocation {
    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            Some(port) => format!("{}://{host}:{port}", self.scheme),
            None => format!("{}://{host}", self.scheme),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(path: &str) -> RemoteLocation {
        match Location::parse(path) {
            Ok(Location::Remote(remote)) => remote,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn splits_urls_and_keeps_patterns() {
        let parsed = remote("sftp://hr-export@files.contoso.com:2222/out/leavers-?{date:%Y%m%d}*.csv.gz");
        let found = (parsed.backend.key, &*parsed.user, &*parsed.host, parsed.port);
        assert_eq!(found, ("sftp", "hr-export", "files.contoso.com", Some(2222)));
        assert_eq!(parsed.path, "/out/leavers-?{date:%Y%m%d}*.csv.gz");
        assert_eq!(parsed.origin(), "sftp://files.contoso.com:2222");
        let parsed = remote("ABFSS://hr@contoso.dfs.core.windows.net/exports/a b.csv");
        let found = (&*parsed.scheme, &*parsed.user, &*parsed.path);
        assert_eq!(found, ("abfss", "hr", "/exports/a b.csv"));
        assert_eq!(remote("sftp://[::1]:22/a.csv").origin(), "sftp://[::1]:22");
        let local = Location::Local("in/a.csv".into());
        assert_eq!(Location::parse("in/a.csv"), Ok(local));
        assert_eq!(Location::parse("-"), Ok(Location::StandardInput));
    }
}
