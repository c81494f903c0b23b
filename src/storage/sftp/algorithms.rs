//! The SSH algorithms that are offered: secure ones, fastest first, then those that the settings enable for old servers.

/// The purpose of an algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Kex,
    HostKey,
    Cipher,
    Mac,
}

impl Kind {
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Kex => "key exchange",
            Self::HostKey => "host key algorithm",
            Self::Cipher => "cipher",
            Self::Mac => "MAC",
        }
    }

    /// Always offered, in order of preference.
    pub(super) fn standard(self) -> &'static [&'static str] {
        match self {
            Self::Kex => &[
                "mlkem768x25519-sha256",
                "curve25519-sha256",
                "curve25519-sha256@libssh.org",
                "ecdh-sha2-nistp256",
                "ecdh-sha2-nistp384",
                "ecdh-sha2-nistp521",
                "diffie-hellman-group-exchange-sha256",
                "diffie-hellman-group16-sha512",
                "diffie-hellman-group18-sha512",
                "diffie-hellman-group14-sha256",
            ],
            Self::HostKey => &[
                "ssh-ed25519",
                "ecdsa-sha2-nistp256",
                "ecdsa-sha2-nistp384",
                "ecdsa-sha2-nistp521",
                "rsa-sha2-512",
                "rsa-sha2-256",
            ],
            // Processors accelerate AES-GCM; 128 bits are a fifth faster than 256.
            Self::Cipher => &[
                "aes128-gcm@openssh.com",
                "aes256-gcm@openssh.com",
                "chacha20-poly1305@openssh.com",
                "aes128-ctr",
                "aes192-ctr",
                "aes256-ctr",
            ],
            Self::Mac => &[
                "hmac-sha2-256-etm@openssh.com",
                "hmac-sha2-512-etm@openssh.com",
                "hmac-sha2-256",
                "hmac-sha2-512",
            ],
        }
    }

    /// Offered if the settings enable them.
    pub(super) fn extra(self) -> &'static [&'static str] {
        match self {
            Self::Kex => &[
                "diffie-hellman-group-exchange-sha1",
                "diffie-hellman-group14-sha1",
                "diffie-hellman-group1-sha1",
            ],
            Self::HostKey => &["ssh-rsa"],
            Self::Cipher => &["aes128-cbc", "aes192-cbc", "aes256-cbc"],
            Self::Mac => &["hmac-sha1-etm@openssh.com", "hmac-sha1"],
        }
    }
}

#[cfg(feature = "sftp")]
pub(super) use offered::{OfferedAlgorithms, SHA1_GROUP_EXCHANGE};

#[cfg(feature = "sftp")]
mod offered {
    use std::borrow::Cow;

    use russh::keys::Algorithm;
    use russh::{Preferred, cipher, compression, kex, mac};

    use super::super::config::SftpAlgorithms;
    use super::Kind;

    /// Servers that require it have groups of at most 2,048 bits.
    pub(in super::super) const SHA1_GROUP_EXCHANGE: &str = "diffie-hellman-group-exchange-sha1";

    /// Lets the server announce the signatures that it accepts, and prevents CVE-2023-48795.
    const EXTENSIONS: [kex::Name; 2] = [
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    ];

    /// The algorithms offered to a server.
    #[derive(Debug, Clone)]
    pub(in super::super) struct OfferedAlgorithms {
        extra: SftpAlgorithms,
    }

    impl OfferedAlgorithms {
        pub(in super::super) fn new(extra: &SftpAlgorithms) -> Self {
            Self { extra: extra.clone() }
        }

        fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
            let extra = self.extra.lists().into_iter().filter(move |(of, ..)| *of == kind);
            let extra = extra.flat_map(|(_, _, names)| names.iter().map(String::as_str));
            kind.standard().iter().copied().chain(extra)
        }

        /// Whether the settings enable it.
        pub(in super::super) fn is_extra(&self, name: &str) -> bool {
            self.extra
                .lists()
                .iter()
                .any(|(_, _, names)| names.iter().any(|extra| extra == name))
        }

        /// The offer for the SSH library. As in OpenSSH, the algorithms of `known` host keys come first, so that a server
        /// with several keys presents a known one. Those in `excluded` are not offered.
        pub(in super::super) fn preferred(&self, known: &[String], excluded: &[String]) -> Preferred {
            let mut keys: Vec<&str> = self
                .names(Kind::HostKey)
                .filter(|name| !excluded.iter().any(|kind| kind == key_algorithm(name)))
                .collect();
            keys.sort_by_key(|name| !known.iter().any(|kind| kind == key_algorithm(name)));
            let keys = keys
                .into_iter()
                .filter_map(|name| Algorithm::new(name).ok())
                .collect();
            let kex = self
                .names(Kind::Kex)
                .filter_map(|name| kex::Name::try_from(name).ok())
                .chain(EXTENSIONS)
                .collect();
            let cipher = self
                .names(Kind::Cipher)
                .filter_map(|name| cipher::Name::try_from(name).ok())
                .collect();
            let mac = self
                .names(Kind::Mac)
                .filter_map(|name| mac::Name::try_from(name).ok())
                .collect();
            Preferred {
                kex: Cow::Owned(kex),
                key: Cow::Owned(keys),
                host_key_certificates: Cow::Borrowed(&[]),
                cipher: Cow::Owned(cipher),
                mac: Cow::Owned(mac),
                // Large exports are compressed already, and decompression is slower than most networks.
                compression: Cow::Borrowed(&[compression::NONE]),
            }
        }
    }

    /// The key algorithm of a signature algorithm.
    fn key_algorithm(algorithm: &str) -> &str {
        match algorithm {
            "rsa-sha2-256" | "rsa-sha2-512" => "ssh-rsa",
            other => other,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn lists_only_names_that_the_library_knows() {
            for kind in [Kind::Kex, Kind::HostKey, Kind::Cipher, Kind::Mac] {
                for name in kind.standard().iter().chain(kind.extra()) {
                    let known = match kind {
                        Kind::Kex => kex::Name::try_from(*name).is_ok(),
                        Kind::HostKey => Algorithm::new(name)
                            .is_ok_and(|algorithm| !matches!(algorithm, Algorithm::Other(_))),
                        Kind::Cipher => cipher::Name::try_from(*name).is_ok(),
                        Kind::Mac => mac::Name::try_from(*name).is_ok(),
                    };
                    assert!(known, "{name}");
                }
            }
        }

        #[test]
        fn prefers_known_host_keys_and_offers_weak_ones_only_if_enabled() {
            let names = |offer: &OfferedAlgorithms, known: &[&str], excluded: &[&str]| -> Vec<String> {
                let owned = |kinds: &[&str]| kinds.iter().map(|&kind| kind.to_owned()).collect::<Vec<_>>();
                let preferred = offer.preferred(&owned(known), &owned(excluded));
                preferred.key.iter().map(ToString::to_string).collect()
            };
            let offer = OfferedAlgorithms::new(&SftpAlgorithms::default());
            assert_eq!(
                names(&offer, &["ssh-rsa"], &[])[..2],
                ["rsa-sha2-512", "rsa-sha2-256"]
            );
            assert!(!names(&offer, &[], &[]).contains(&"ssh-rsa".to_owned()));
            assert_eq!(names(&offer, &[], &["ssh-ed25519", "ssh-rsa"]).len(), 3);
            let offer = OfferedAlgorithms::new(&SftpAlgorithms {
                host_key: vec!["ssh-rsa".into()],
                ..SftpAlgorithms::default()
            });
            assert_eq!(names(&offer, &[], &[]).last().unwrap(), "ssh-rsa");
            assert!(offer.is_extra("ssh-rsa") && !offer.is_extra("ssh-ed25519"));
        }
    }
}
