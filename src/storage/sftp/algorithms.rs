//! Which algorithms are offered: the safe ones, fast ones first, and those that the settings add for old servers.

/// What algorithms are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Kex,
    HostKey,
    Cipher,
    Mac,
}

impl Kind {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Kex => "a key exchange",
            Self::HostKey => "a kind of host keys",
            Self::Cipher => "a cipher",
            Self::Mac => "a code of integrity",
        }
    }

    /// Those that are offered always, in the order of preference.
    pub(super) fn usual(self) -> &'static [&'static str] {
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
            // AES in GCM is done by the processor; the 128 bits of OpenSSH's own first choices are a fifth faster still.
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

    /// Those that the settings can add.
    pub(super) fn addable(self) -> &'static [&'static str] {
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
pub(super) use offer::{Offer, SHA1_EXCHANGE};

#[cfg(feature = "sftp")]
mod offer {
    use std::borrow::Cow;

    use russh::keys::Algorithm;
    use russh::{Preferred, cipher, compression, kex, mac};

    use super::super::config::SftpAlgorithms;
    use super::Kind;

    /// Servers that know no better have groups of 2,048 bits at most.
    pub(in super::super) const SHA1_EXCHANGE: &str = "diffie-hellman-group-exchange-sha1";

    /// Says to an SSH 2 server that it may announce which signatures it takes, and closes a hole in the handshake
    /// (CVE-2023-48795).
    const EXTENSIONS: [kex::Name; 2] = [
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    ];

    /// What is offered to a server.
    #[derive(Debug, Clone)]
    pub(in super::super) struct Offer {
        added: SftpAlgorithms,
    }

    impl Offer {
        pub(in super::super) fn new(added: &SftpAlgorithms) -> Self {
            Self { added: added.clone() }
        }

        fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
            let added = self.added.lists().into_iter().filter(move |(of, ..)| *of == kind);
            let added = added.flat_map(|(_, _, names)| names.iter().map(String::as_str));
            kind.usual().iter().copied().chain(added)
        }

        /// Whether the settings added it.
        pub(in super::super) fn is_added(&self, name: &str) -> bool {
            self.added
                .lists()
                .iter()
                .any(|(_, _, names)| names.iter().any(|added| added == name))
        }

        /// As the SSH library takes it; algorithms of the host keys `known` come first, as OpenSSH does it, so that a
        /// server of several keys shows the one that is known. Those in `without` are not offered.
        pub(in super::super) fn preferred(&self, known: &[String], without: &[String]) -> Preferred {
            let mut keys: Vec<&str> = self
                .names(Kind::HostKey)
                .filter(|name| !without.iter().any(|kind| kind == key_kind(name)))
                .collect();
            keys.sort_by_key(|name| !known.iter().any(|kind| kind == key_kind(name)));
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
                // Exports are packed already or small, and unpacking costs more time than a network.
                compression: Cow::Borrowed(&[compression::NONE]),
            }
        }
    }

    /// The kind of keys that an algorithm signs with.
    fn key_kind(algorithm: &str) -> &str {
        match algorithm {
            "rsa-sha2-256" | "rsa-sha2-512" => "ssh-rsa",
            other => other,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_name_is_one_that_the_library_has() {
            for kind in [Kind::Kex, Kind::HostKey, Kind::Cipher, Kind::Mac] {
                for name in kind.usual().iter().chain(kind.addable()) {
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
        fn known_kinds_of_host_keys_come_first_and_weak_ones_only_when_added() {
            let names = |offer: &Offer, known: &[&str], without: &[&str]| -> Vec<String> {
                let owned = |kinds: &[&str]| kinds.iter().map(|&kind| kind.to_owned()).collect::<Vec<_>>();
                let preferred = offer.preferred(&owned(known), &owned(without));
                preferred.key.iter().map(ToString::to_string).collect()
            };
            let offer = Offer::new(&SftpAlgorithms::default());
            assert_eq!(
                names(&offer, &["ssh-rsa"], &[])[..2],
                ["rsa-sha2-512", "rsa-sha2-256"]
            );
            assert!(!names(&offer, &[], &[]).contains(&"ssh-rsa".to_owned()));
            assert_eq!(names(&offer, &[], &["ssh-ed25519", "ssh-rsa"]).len(), 3);
            let offer = Offer::new(&SftpAlgorithms {
                host_key: vec!["ssh-rsa".into()],
                ..SftpAlgorithms::default()
            });
            assert_eq!(names(&offer, &[], &[]).last().unwrap(), "ssh-rsa");
            assert!(offer.is_added("ssh-rsa") && !offer.is_added("ssh-ed25519"));
        }
    }
}
