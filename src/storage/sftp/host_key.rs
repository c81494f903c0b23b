//! Host key verification against `known_hosts` and the keys in the settings; either is enough.
//!
//! A revoked key is rejected even if the settings list it. Unknown keys are never stored: the error says what to add.

use ring::hmac;
use russh::keys::ssh_key::Fingerprint;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{HashAlg, PublicKey};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PinnedKey {
    Fingerprint(Fingerprint),
    Key(Box<PublicKey>),
}

/// The SHA-256 fingerprint, as `ssh-keygen -l` prints it.
pub(super) fn fingerprint(key: &PublicKey) -> Fingerprint {
    key.fingerprint(HashAlg::Sha256)
}

impl PinnedKey {
    /// Parses a fingerprint or a public key; an error is the problem and a hint.
    pub(super) fn parse(text: &str) -> Result<Self, (&'static str, &'static str)> {
        const FORM: &str =
            "give `SHA256:…`, as `ssh-keygen -lf` prints it, or a complete public key, `ssh-ed25519 AAAA…`";
        let text = text.trim();
        if text.starts_with("SHA256:") {
            return match text.trim_end_matches('=').parse() {
                Ok(fingerprint) => Ok(Self::Fingerprint(fingerprint)),
                Err(_) => Err((
                    "invalid fingerprint: expected 43 characters after `SHA256:`",
                    FORM,
                )),
            };
        }
        if text.to_ascii_uppercase().starts_with("MD5:") {
            return Err(("is an MD5 fingerprint, which can be forged", FORM));
        }
        let is_key = |text: &str| text.parse::<PublicKey>().is_ok();
        match text.parse() {
            Ok(key) => Ok(Self::Key(Box::new(key))),
            Err(_) if text.split_once(' ').is_some_and(|(_, key)| is_key(key)) => Err((
                "starts with a host name",
                "remove the host name in front of the key",
            )),
            Err(_) => Err(("is neither a fingerprint nor a public key", FORM)),
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Fingerprint(fingerprint) => *fingerprint,
            Self::Key(key) => fingerprint(key),
        }
    }

    fn is(&self, key: &PublicKey) -> bool {
        match self {
            Self::Fingerprint(pinned) => *pinned == fingerprint(key),
            Self::Key(pinned) => pinned.key_data() == key.key_data(),
        }
    }
}

#[derive(Debug)]
struct KnownKey {
    key: PinnedKey,
    /// In `known_hosts`; `None` for a key in the settings.
    line: Option<usize>,
    marker: Option<Marker>,
    /// The line names the host without the port, and the port is not 22: it can confirm a key, but a different key is
    /// not a change, because another server may use that port.
    is_other_port: bool,
}

#[derive(Debug)]
pub(super) struct KnownKeys {
    /// As written in `known_hosts`.
    host: String,
    keys: Vec<KnownKey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostKeyStatus {
    Trusted,
    /// No key of this server is known.
    Unknown {
        /// The line of a certificate authority for this host, which is not supported.
        authority_line: Option<usize>,
    },
    /// Other keys are known; each with its line in the file.
    Changed {
        known: Vec<(Option<usize>, String)>,
    },
    Revoked {
        line: usize,
    },
}

impl KnownKeys {
    /// The keys in `content`, the text of `known_hosts`, and in `pins`.
    pub(super) fn new(host: &str, port: u16, content: &str, pins: Vec<PinnedKey>) -> Self {
        let plain = host.to_lowercase();
        let host = match port {
            22 => plain.clone(),
            port => format!("[{plain}]:{port}"),
        };
        let mut keys = Vec::new();
        for (index, text) in content.lines().enumerate() {
            let fields: Vec<&str> = text.split_whitespace().collect();
            let is_marked = fields.first().is_some_and(|field| field.starts_with('@'));
            let patterns = match fields.get(usize::from(is_marked)).map(|hosts| hosts.parse()) {
                Some(Ok(patterns)) if !fields[0].starts_with('#') => patterns,
                _ => continue,
            };
            let matches_port = matches_host(&patterns, &host);
            if !matches_port && (port == 22 || !matches_host(&patterns, &plain)) {
                continue;
            }
            match fields.join(" ").parse::<Entry>() {
                Ok(entry) => keys.push(KnownKey {
                    line: Some(index + 1),
                    marker: entry.marker().copied(),
                    key: PinnedKey::Key(Box::new(entry.into())),
                    is_other_port: !matches_port,
                }),
                Err(_) => tracing::warn!(line = index + 1, host, "skipping an invalid line in known_hosts"),
            }
        }
        keys.extend(pins.into_iter().map(|key| KnownKey {
            key,
            line: None,
            marker: None,
            is_other_port: false,
        }));
        Self { host, keys }
    }

    fn with_marker(&self, marker: Option<Marker>) -> impl Iterator<Item = &KnownKey> {
        self.keys.iter().filter(move |known| known.marker == marker)
    }

    pub(super) fn algorithms(&self) -> Vec<String> {
        let keys = self.with_marker(None).filter_map(|known| match &known.key {
            PinnedKey::Key(key) => Some(key.algorithm().to_string()),
            PinnedKey::Fingerprint(_) => None,
        });
        keys.collect()
    }

    /// Whether a key of another algorithm may match: a fingerprint does not contain the algorithm.
    pub(super) fn has_fingerprints(&self) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|known| matches!(known.key, PinnedKey::Fingerprint(_)))
    }

    pub(super) fn verify(&self, key: &PublicKey) -> HostKeyStatus {
        let is_key = |known: &&KnownKey| known.key.is(key);
        let revoked = self.with_marker(Some(Marker::Revoked)).find(is_key);
        if let Some(line) = revoked.and_then(|known| known.line) {
            return HostKeyStatus::Revoked { line };
        }
        if self.with_marker(None).any(|known| is_key(&known)) {
            return HostKeyStatus::Trusted;
        }
        let others = self.with_marker(None).filter(|known| !known.is_other_port);
        let known: Vec<_> = others
            .map(|known| (known.line, known.key.fingerprint().to_string()))
            .collect();
        if known.is_empty() {
            let mut authorities = self.with_marker(Some(Marker::CertAuthority));
            let authority_line = authorities.next().and_then(|known| known.line);
            return HostKeyStatus::Unknown { authority_line };
        }
        HostKeyStatus::Changed { known }
    }

    /// The line for `known_hosts` that makes `key` a known one.
    pub(super) fn line_for(&self, key: &PublicKey) -> String {
        let key = key.to_string();
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        format!("{} {}", self.host, key.join(" "))
    }
}

/// Whether the patterns match a host; a negated match outweighs all others.
fn matches_host(patterns: &HostPatterns, host: &str) -> bool {
    let patterns = match patterns {
        HostPatterns::HashedName { salt, hash } => {
            // OpenSSH uses SHA-1 to hide names, not to protect anything.
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            return hmac::verify(&key, host.as_bytes(), hash).is_ok();
        }
        HostPatterns::Patterns(patterns) => patterns,
    };
    let (negated, positive): (Vec<&String>, Vec<&String>) =
        patterns.iter().partition(|pattern| pattern.starts_with('!'));
    let matches = |pattern: &&String| matches_wildcards(pattern.trim_start_matches('!'), host);
    positive.iter().any(matches) && !negated.iter().any(matches)
}

/// Whether `*` and `?` in `pattern` match `host`, case-insensitive.
fn matches_wildcards(pattern: &str, host: &str) -> bool {
    // `[` has no meaning in host patterns, and `glob` takes `**` for folders.
    let mut pattern = pattern.to_lowercase().replace('[', "[[]");
    while pattern.contains("**") {
        pattern = pattern.replace("**", "*");
    }
    glob::Pattern::new(&pattern).is_ok_and(|pattern| pattern.matches(host))
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::public::{Ed25519PublicKey, KeyData};

    use super::*;

    fn key(seed: u8) -> PublicKey {
        PublicKey::new(KeyData::Ed25519(Ed25519PublicKey([seed; 32])), "")
    }

    fn line(hosts: &str, key: &PublicKey) -> String {
        format!("{hosts} {}\n", key.to_string().trim())
    }

    fn verify(content: &str, port: u16, presented: &PublicKey) -> HostKeyStatus {
        KnownKeys::new("Files.Contoso.com", port, content, Vec::new()).verify(presented)
    }

    #[test]
    fn matches_names_wildcards_negations_and_ports() {
        for (hosts, port, is_trusted) in [
            ("files.contoso.com", 22, true),
            ("FILES.contoso.com,10.0.0.1", 22, true),
            ("10.0.0.1,files.contoso.com", 22, true),
            ("*.contoso.com", 22, true),
            ("f?les.*", 22, true),
            ("f**s.c*n*so.com", 22, true),
            ("*.contoso.com,!files.*", 22, false),
            ("!files.*,*.contoso.com", 22, false),
            ("contoso.com", 22, false),
            ("[files.contoso.com]:2222", 2222, true),
            ("[*.contoso.com]:2222", 2222, true),
            ("[files.contoso.com]:2222", 22, false),
            ("[files.contoso.com]:2223", 2222, false),
            // As in OpenSSH, an entry without a port confirms the same key on any port.
            ("files.contoso.com", 2222, true),
        ] {
            let status = verify(&line(hosts, &key(1)), port, &key(1));
            assert_eq!(status == HostKeyStatus::Trusted, is_trusted, "{hosts}");
        }
    }

    #[test]
    fn another_key_on_another_port_is_unknown() {
        let content = line("files.contoso.com", &key(2));
        let unknown = HostKeyStatus::Unknown { authority_line: None };
        assert_eq!(verify(&content, 2222, &key(3)), unknown);
    }

    #[test]
    fn rejects_revoked_keys_even_if_pinned_and_does_not_trust_authorities() {
        let content = line("files.contoso.com", &key(1)) + &line("@revoked *", &key(1));
        let pins = vec![PinnedKey::Key(Box::new(key(1)))];
        let keys = KnownKeys::new("files.contoso.com", 22, &content, pins);
        assert_eq!(keys.verify(&key(1)), HostKeyStatus::Revoked { line: 2 });
        let content = line("@cert-authority *.contoso.com", &key(1)) + "files.contoso.com not a key\n";
        let authority_line = Some(1);
        let unknown = HostKeyStatus::Unknown { authority_line };
        assert_eq!(verify(&content, 22, &key(1)), unknown);
    }
}
