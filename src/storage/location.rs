//! What a `path` says about where files lie.

use url::Url;

use crate::config::{Problems, suggestion};

/// What users write for standard input.
pub(crate) const STANDARD_INPUT: &str = "-";

/// The schemes of places that are not the local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Sftp,
    S3,
    Azure,
    Gcs,
    Http,
}

/// How each scheme is written, and the feature of this crate that brings it.
const SCHEMES: [(&str, Scheme, &str); 9] = [
    ("sftp", Scheme::Sftp, "sftp"),
    ("s3", Scheme::S3, "s3"),
    ("s3a", Scheme::S3, "s3"),
    ("az", Scheme::Azure, "azure"),
    ("abfs", Scheme::Azure, "azure"),
    ("abfss", Scheme::Azure, "azure"),
    ("gs", Scheme::Gcs, "gcs"),
    ("https", Scheme::Http, "https"),
    ("http", Scheme::Http, "https"),
];

impl Scheme {
    /// The feature that brings it.
    pub(crate) fn feature(self) -> &'static str {
        SCHEMES
            .iter()
            .find(|(_, scheme, _)| *scheme == self)
            .map_or("", |(_, _, feature)| feature)
    }

    /// Whether this build has it.
    pub(crate) fn is_built_in(self) -> bool {
        match self {
            Self::Sftp => cfg!(feature = "sftp"),
            Self::S3 => cfg!(feature = "s3"),
            Self::Azure => cfg!(feature = "azure"),
            Self::Gcs => cfg!(feature = "gcs"),
            Self::Http => cfg!(feature = "https"),
        }
    }
}

/// A `path`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    StandardInput,
    /// A path or pattern on the local disk, as it was written.
    Local(String),
    /// A path or pattern at a place that is named by an address.
    Remote(RemoteLocation),
}

/// An address such as `sftp://user@host:22/folder/*.csv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteLocation {
    pub(crate) scheme: Scheme,
    /// The scheme as it was written, in lower case: `abfss` names containers in another way than `az` does.
    pub(crate) written: String,
    /// Before the `@`; empty if there is none.
    pub(crate) user: String,
    /// Host, bucket or container, as it was written; without brackets where it is an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// What follows the host, with its first slash, as it was written: not percent-decoded, for `%` and `?` belong to
    /// the patterns and dates of names.
    pub(crate) path: String,
}

impl Location {
    /// Takes `path` apart.
    ///
    /// # Errors
    /// What is wrong with it, and advice.
    pub(crate) fn parse(path: &str) -> Result<Self, (String, Option<String>)> {
        if path == STANDARD_INPUT {
            return Ok(Self::StandardInput);
        }
        let Some((written, rest)) = path.split_once("://") else {
            return Ok(Self::Local(path.to_owned()));
        };
        let written = written.to_lowercase();
        let Some((_, scheme, _)) = SCHEMES.iter().find(|(name, ..)| *name == written) else {
            let hint = match &*written {
                "file" => Some("a file on the disk is named by its path alone".to_owned()),
                "ftp" | "ftps" => Some("FTP is not spoken; most such servers speak SFTP too".to_owned()),
                _ => suggestion(&written, SCHEMES.map(|(name, ..)| name)),
            };
            return Err((format!("`{written}://` is no place files can be read from"), hint));
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        // Checked by the parser of addresses; the path is not its business, for it would encode what are patterns.
        let url = Url::parse(&format!("ssh://{authority}/")).map_err(|error| {
            (
                format!("the host behind `{written}://` cannot be read: {error}"),
                None,
            )
        })?;
        if url.password().is_some() {
            return Err((
                "holds a password, which does not belong into a file".to_owned(),
                Some(
                    "take it out, and name where the password is kept in the settings of the place"
                        .to_owned(),
                ),
            ));
        }
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        };
        if *scheme == Scheme::Http && path.contains('?') {
            return Err((
                "holds a query (what follows `?`), which is often a signature and does not belong into a file".to_owned(),
                Some("take it out, and name where it is kept: `https: {query: {env: NAME}}`".to_owned()),
            ));
        }
        if host.is_empty() {
            return Err((format!("names no host or bucket behind `{written}://`"), None));
        }
        Ok(Self::Remote(RemoteLocation {
            scheme: *scheme,
            written,
            user: url.username().to_owned(),
            host,
            port: url.port(),
            path: path.to_owned(),
        }))
    }

    /// Notes what is wrong with the address, and a place that this build does not have.
    pub(crate) fn validate(path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match Self::parse(path) {
            Ok(address) => {
                if let Self::Remote(remote) = &address
                    && !remote.scheme.is_built_in()
                {
                    let (message, hint) = missing(remote);
                    problems.add_with_hint(message, hint);
                }
                Some(address)
            }
            Err((message, Some(hint))) => {
                problems.add_with_hint(message, hint);
                None
            }
            Err((message, None)) => {
                problems.add(message);
                None
            }
        }
    }

    pub(crate) fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::Remote(remote) => Some(remote.scheme),
            Self::StandardInput | Self::Local(_) => None,
        }
    }
}

/// What to say of a place that this build does not have, and what to do.
pub(crate) fn missing(remote: &RemoteLocation) -> (String, String) {
    let feature = remote.scheme.feature();
    (
        format!("`{}://` is not in this build of hrsink", remote.written),
        format!("take a build with the feature `{feature}`: `cargo install hrsink --features {feature}`"),
    )
}

impl RemoteLocation {
    /// The place in words, without user and path.
    pub(crate) fn origin(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match self.port {
            Some(port) => format!("{}://{host}:{port}", self.written),
            None => format!("{}://{host}", self.written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(path: &str) -> RemoteLocation {
        match Location::parse(path).unwrap() {
            Location::Remote(remote) => remote,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parts_are_told_apart_and_patterns_stay_as_they_are() {
        let found = remote("sftp://hr-export@files.contoso.com:2222/out/leavers-?{date:%Y%m%d}*.csv.gz");
        assert_eq!(
            (found.scheme, &*found.user, &*found.host, found.port),
            (Scheme::Sftp, "hr-export", "files.contoso.com", Some(2222))
        );
        assert_eq!(found.path, "/out/leavers-?{date:%Y%m%d}*.csv.gz");
        assert_eq!(found.origin(), "sftp://files.contoso.com:2222");
        let found = remote("abfss://hr@contoso.dfs.core.windows.net/exports/a b.csv");
        assert_eq!(
            (&*found.user, &*found.host, &*found.path),
            ("hr", "contoso.dfs.core.windows.net", "/exports/a b.csv")
        );
        assert_eq!(remote("sftp://[::1]:22/a.csv").host, "::1");
        assert_eq!(
            Location::parse("in/a.csv"),
            Ok(Location::Local("in/a.csv".into()))
        );
        assert_eq!(
            Location::parse("C:\\in\\a.csv"),
            Ok(Location::Local("C:\\in\\a.csv".into()))
        );
        assert_eq!(Location::parse("-"), Ok(Location::StandardInput));
    }

    #[test]
    fn what_is_no_address_says_so_and_a_password_is_not_repeated() {
        let (message, hint) = Location::parse("sfpt://host/a.csv").unwrap_err();
        assert!(
            message.contains("sfpt") && hint.unwrap().contains("sftp"),
            "{message}"
        );
        let (message, _) = Location::parse("sftp://user:hunter2@host/a.csv").unwrap_err();
        assert!(
            message.contains("password") && !message.contains("hunter2"),
            "{message}"
        );
        let (message, _) = Location::parse("sftp://user:hunter2@ho st:x/a.csv").unwrap_err();
        assert!(!message.contains("hunter2"), "{message}");
        assert!(Location::parse("sftp:///a.csv").is_err());
    }
}
