//! Host key verification against `known_hosts` and the keys in the settings; either is enough.
//!
//! A revoked key is rejected even if the settings list it. Unknown keys are never stored: the error says what to add.

use std::path::PathBuf;

use ring::hmac;
use russh::keys::ssh_key::Fingerprint;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{HashAlg, PublicKey};

/// A host key in the settings.
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
    /// Parses a fingerprint or a public key.
    ///
    /// # Errors
    /// The problem and a hint.
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
        match text.parse::<PublicKey>() {
            Ok(key) => Ok(Self::Key(Box::new(key))),
            Err(_)
                if text
                    .split_once(' ')
                    .is_some_and(|(_, key)| key.parse::<PublicKey>().is_ok()) =>
            {
                Err((
                    "starts with a host name",
                    "remove the host name in front of the key",
                ))
            }
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

#[derive(Debug, Clone)]
struct Line {
    number: usize,
    marker: Option<Marker>,
    key: PublicKey,
    /// The line names the host without the port, and the port is not 22: it can confirm a key, but a different key is
    /// not a change, because another server may use that port.
    is_other_port: bool,
}

/// The known keys of a server.
#[derive(Debug, Clone)]
pub(super) struct KnownKeys {
    /// As written in `known_hosts`.
    host: String,
    file: Option<PathBuf>,
    lines: Vec<Line>,
    pins: Vec<PinnedKey>,
}

/// Result of the verification.
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
    /// The keys in `content`, which is that of `file`, and in `pins`.
    pub(super) fn new(
        host: &str,
        port: u16,
        file: Option<PathBuf>,
        content: &str,
        pins: Vec<PinnedKey>,
    ) -> Self {
        let plain = host.to_lowercase();
        let host = match port {
            22 => plain.clone(),
            port => format!("[{plain}]:{port}"),
        };
        let mut lines = Vec::new();
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
                Ok(entry) => lines.push(Line {
                    number: index + 1,
                    marker: entry.marker().copied(),
                    key: entry.into(),
                    is_other_port: !matches_port,
                }),
                Err(_) => tracing::warn!(line = index + 1, host, "skipping an invalid line in known_hosts"),
            }
        }
        Self {
            host,
            file,
            lines,
            pins,
        }
    }

    fn trusted_lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.marker.is_none())
    }

    /// The algorithms of the known keys.
    pub(super) fn algorithms(&self) -> Vec<String> {
        let pinned = self.pins.iter().filter_map(|pin| match pin {
            PinnedKey::Key(key) => Some(&**key),
            PinnedKey::Fingerprint(_) => None,
        });
        self.trusted_lines()
            .map(|line| &line.key)
            .chain(pinned)
            .map(|key| key.algorithm().to_string())
            .collect()
    }

    /// Whether a key of another algorithm may match: a fingerprint does not contain the algorithm.
    pub(super) fn has_fingerprints(&self) -> bool {
        self.pins
            .iter()
            .any(|pin| matches!(pin, PinnedKey::Fingerprint(_)))
    }

    /// Verifies the key that the server presented.
    pub(super) fn verify(&self, key: &PublicKey) -> HostKeyStatus {
        let is_key = |line: &Line| line.key.key_data() == key.key_data();
        let with_marker = |marker| self.lines.iter().filter(move |line| line.marker == Some(marker));
        if let Some(line) = with_marker(Marker::Revoked).find(|line| is_key(line)) {
            return HostKeyStatus::Revoked { line: line.number };
        }
        if self.pins.iter().any(|pin| pin.is(key)) || self.trusted_lines().any(is_key) {
            return HostKeyStatus::Trusted;
        }
        let lines = self
            .trusted_lines()
            .filter(|line| !line.is_other_port)
            .map(|line| (Some(line.number), fingerprint(&line.key).to_string()));
        let pins = self.pins.iter().map(|pin| (None, pin.fingerprint().to_string()));
        let known: Vec<_> = lines.chain(pins).collect();
        if known.is_empty() {
            let authority_line = with_marker(Marker::CertAuthority).next().map(|line| line.number);
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

    /// The file that the settings name.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
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
    positive.iter().any(|pattern| matches_wildcards(pattern, host))
        && !negated
            .iter()
            .any(|pattern| matches_wildcards(&pattern[1..], host))
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
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use russh::keys::ssh_key::public::{Ed25519PublicKey, KeyData};

    use super::*;

    // Generated by ssh-keygen for these tests.
    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn key(seed: u8) -> PublicKey {
        PublicKey::new(KeyData::Ed25519(Ed25519PublicKey([seed; 32])), "")
    }

    fn line(hosts: &str, key: &PublicKey) -> String {
        format!("{hosts} {}\n", key.to_string().trim())
    }

    fn verify(content: &str, port: u16, presented: &PublicKey) -> HostKeyStatus {
        KnownKeys::new("Files.Contoso.com", port, None, content, Vec::new()).verify(presented)
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
    fn matches_hashed_names() {
        for (host, port) in [("files.contoso.com", 22), ("[files.contoso.com]:2222", 2222)] {
            let salt = [7; 20];
            let hmac_key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
            let hash = STANDARD.encode(hmac::sign(&hmac_key, host.as_bytes()));
            let line = line(&format!("|1|{}|{hash}", STANDARD.encode(salt)), &key(1));
            assert_eq!(verify(&line, port, &key(1)), HostKeyStatus::Trusted, "{host}");
            let other = KnownKeys::new("other.contoso.com", port, None, &line, Vec::new());
            assert_ne!(other.verify(&key(1)), HostKeyStatus::Trusted, "{host}");
        }
    }

    #[test]
    fn trusts_each_known_key_and_reports_any_other_as_changed() {
        let content = format!(
            "# farm\n{}\n{}",
            line("files.contoso.com", &key(1)),
            line("files.contoso.com\t", &key(2))
        );
        assert_eq!(verify(&content, 22, &key(1)), HostKeyStatus::Trusted);
        assert_eq!(verify(&content, 22, &key(2)), HostKeyStatus::Trusted);
        let known = [(2, 1), (4, 2)].map(|(line, seed)| (Some(line), fingerprint(&key(seed)).to_string()));
        assert_eq!(
            verify(&content, 22, &key(3)),
            HostKeyStatus::Changed {
                known: known.to_vec()
            }
        );
        // Another server may use that port.
        assert_eq!(
            verify(&content, 2222, &key(3)),
            HostKeyStatus::Unknown { authority_line: None }
        );
    }

    #[test]
    fn rejects_revoked_keys_even_if_pinned() {
        let content = line("files.contoso.com", &key(1)) + &line("@revoked *", &key(1));
        let pins = vec![PinnedKey::Key(Box::new(key(1)))];
        let keys = KnownKeys::new("files.contoso.com", 22, None, &content, pins);
        assert_eq!(keys.verify(&key(1)), HostKeyStatus::Revoked { line: 2 });
    }

    #[test]
    fn does_not_trust_certificate_authorities() {
        let content = line("@cert-authority *.contoso.com", &key(1)) + "files.contoso.com not a key\n";
        let unknown = |authority_line| HostKeyStatus::Unknown { authority_line };
        assert_eq!(verify(&content, 22, &key(1)), unknown(Some(1)));
        assert_eq!(verify("", 22, &key(1)), unknown(None));
    }

    #[test]
    fn accepts_fingerprints_and_keys_as_pins() {
        let Ok(PinnedKey::Key(presented)) = PinnedKey::parse(&format!("{ED25519} host@contoso")) else {
            panic!();
        };
        let pinned = |text: &str| {
            let pins = vec![PinnedKey::parse(text).unwrap()];
            KnownKeys::new("h", 22, None, "", pins)
        };
        let print = fingerprint(&presented).to_string();
        for text in [ED25519, &print, &format!("{print}=")] {
            assert_eq!(pinned(text).verify(&presented), HostKeyStatus::Trusted, "{text}");
        }
        assert_eq!(pinned(ED25519).algorithms(), ["ssh-ed25519"]);
        assert!(matches!(
            pinned(&print).verify(&key(1)),
            HostKeyStatus::Changed { .. }
        ));
        for (text, message) in [
            ("SHA256:abc", "43"),
            ("MD5:00:11", "MD5"),
            ("ssh-rsa AAAA", "neither"),
            (
                &*format!("files.contoso.com {ED25519}"),
                "starts with a host name",
            ),
        ] {
            assert!(PinnedKey::parse(text).unwrap_err().0.contains(message), "{text}");
        }
        assert_eq!(pinned(&print).line_for(&presented), format!("h {ED25519}"));
    }
}
