//! Whether a server is the one that is meant, by its host key.
//!
//! Keys are known from a file in OpenSSH's form and from pins in the settings; either is enough. What the file revokes is
//! refused whatever the pins say. Nothing is ever learnt: a key that is not known is an error that says what to add, and
//! one that has changed an error of its own.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::{digest, hmac};

const FINGERPRINT: &str = "SHA256:";
const BYTES: usize = 32;

/// A public key as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostKey {
    /// Such as `ssh-ed25519`.
    pub(super) kind: String,
    blob: Vec<u8>,
}

impl HostKey {
    /// The key of these bytes, which begin with its kind.
    pub(super) fn new(blob: Vec<u8>) -> Option<Self> {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let kind = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let kind = std::str::from_utf8(kind).ok()?.to_owned();
        Some(Self { kind, blob })
    }

    /// The key that is written as its kind and Base64.
    fn written(kind: &str, base64: &str) -> Option<Self> {
        Self::new(STANDARD.decode(base64).ok()?).filter(|key| key.kind == kind)
    }

    /// `SHA256:…`, as OpenSSH shows it.
    pub(super) fn fingerprint(&self) -> String {
        let digest = digest::digest(&digest::SHA256, &self.blob);
        format!("{FINGERPRINT}{}", STANDARD_NO_PAD.encode(digest))
    }
}

/// As in a file of known hosts, behind the name.
impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, STANDARD.encode(&self.blob))
    }
}

/// A host key in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pin {
    /// As [`HostKey::fingerprint`] gives it.
    Fingerprint(String),
    Key(HostKey),
}

impl Pin {
    /// Reads a fingerprint or a public key.
    ///
    /// # Errors
    /// What is wrong with it, and advice.
    pub(super) fn parse(text: &str) -> Result<Self, (String, String)> {
        let form = format!(
            "give `{FINGERPRINT}…`, as `ssh-keygen -lf` prints it, or a whole public key, `ssh-ed25519 AAAA…`"
        );
        let text = text.trim();
        if let Some(digest) = text.strip_prefix(FINGERPRINT) {
            let digest = digest.trim_end_matches('=');
            return match STANDARD_NO_PAD.decode(digest) {
                Ok(bytes) if bytes.len() == BYTES => Ok(Self::Fingerprint(format!("{FINGERPRINT}{digest}"))),
                _ => Err((
                    format!("is no fingerprint: `{FINGERPRINT}` has 43 letters and digits behind it"),
                    form,
                )),
            };
        }
        if text.to_ascii_uppercase().starts_with("MD5:") {
            return Err(("is a fingerprint of MD5, which can be forged".to_owned(), form));
        }
        let parts: Vec<&str> = text.split_whitespace().collect();
        if let [kind, base64, ..] = parts[..]
            && let Some(key) = HostKey::written(kind, base64)
        {
            return Ok(Self::Key(key));
        }
        if let [_, kind, base64, ..] = parts[..]
            && HostKey::written(kind, base64).is_some()
        {
            return Err((
                "begins with the name of a host".to_owned(),
                format!("leave the name out: {form}"),
            ));
        }
        Err(("is neither a fingerprint nor a public key".to_owned(), form))
    }

    fn is(&self, key: &HostKey) -> bool {
        match self {
            Self::Fingerprint(fingerprint) => *fingerprint == key.fingerprint(),
            Self::Key(pinned) => pinned == key,
        }
    }
}

/// What a line of a file of known hosts says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Trusted,
    Revoked,
    Authority,
}

#[derive(Debug, Clone)]
struct Line {
    number: usize,
    marker: Marker,
    key: HostKey,
    /// Whether it names the host without the port, and the port is not the usual one: it can vouch for a key, but another
    /// server may be meant.
    other_port: bool,
}

/// The keys that a server may have.
#[derive(Debug, Clone)]
pub(super) struct HostKeys {
    /// As it stands in files of known hosts.
    name: String,
    file: Option<PathBuf>,
    lines: Vec<Line>,
    pins: Vec<Pin>,
}

/// Why a server is not taken for the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Distrust {
    /// Nothing is known of this server.
    Unknown {
        /// Whether an authority is known that would vouch for it, if authorities were.
        authority: Option<usize>,
    },
    /// Other keys are known than the one shown; each with its line, if it stands in a file.
    Changed { known: Vec<(Option<usize>, String)> },
    /// The key is said to be in wrong hands.
    Revoked { line: usize },
}

impl HostKeys {
    /// What `content`, that of `file`, and `pins` know of the server.
    pub(super) fn new(host: &str, port: u16, file: Option<PathBuf>, content: &str, pins: Vec<Pin>) -> Self {
        let host = host.to_lowercase();
        let name = match port {
            22 => host.clone(),
            port => format!("[{host}]:{port}"),
        };
        let mut lines = Vec::new();
        for (index, text) in content.lines().enumerate() {
            let number = index + 1;
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let mut parts = text.split_whitespace().peekable();
            let marker = match parts.next_if(|part| part.starts_with('@')) {
                None => Marker::Trusted,
                Some("@revoked") => Marker::Revoked,
                Some("@cert-authority") => Marker::Authority,
                Some(_) => continue,
            };
            let hosts = parts.next().unwrap_or_default();
            let with_port = names(hosts, &name);
            if !with_port && (port == 22 || !names(hosts, &host)) {
                continue;
            }
            let key = parts
                .next()
                .zip(parts.next())
                .and_then(|(kind, base64)| HostKey::written(kind, base64));
            match key {
                Some(key) => lines.push(Line {
                    number,
                    marker,
                    key,
                    other_port: !with_port,
                }),
                None => tracing::warn!(
                    line = number,
                    host = name,
                    "a line of the known hosts cannot be read and is left out"
                ),
            }
        }
        Self {
            name,
            file,
            lines,
            pins,
        }
    }

    /// The kinds of keys that are known of the server.
    pub(super) fn kinds(&self) -> Vec<String> {
        let lines = self.lines.iter().filter(|line| line.marker == Marker::Trusted);
        let pinned = self.pins.iter().filter_map(|pin| match pin {
            Pin::Key(key) => Some(key),
            Pin::Fingerprint(_) => None,
        });
        lines
            .map(|line| &line.key)
            .chain(pinned)
            .map(|key| key.kind.clone())
            .collect()
    }

    /// Whether a key of another kind may be the one that is meant: a fingerprint does not tell its kind.
    pub(super) fn may_be_another_kind(&self) -> bool {
        self.pins.iter().any(|pin| matches!(pin, Pin::Fingerprint(_)))
    }

    /// Whether the server that showed `key` is the one that is meant.
    pub(super) fn check(&self, key: &HostKey) -> Result<(), Distrust> {
        let of = |marker| self.lines.iter().filter(move |line| line.marker == marker);
        if let Some(line) = of(Marker::Revoked).find(|line| line.key == *key) {
            return Err(Distrust::Revoked { line: line.number });
        }
        if self.pins.iter().any(|pin| pin.is(key)) || of(Marker::Trusted).any(|line| line.key == *key) {
            return Ok(());
        }
        let lines = of(Marker::Trusted)
            .filter(|line| !line.other_port)
            .map(|line| (Some(line.number), line.key.fingerprint()));
        let pins = self.pins.iter().map(|pin| match pin {
            Pin::Fingerprint(fingerprint) => (None, fingerprint.clone()),
            Pin::Key(key) => (None, key.fingerprint()),
        });
        let known: Vec<_> = lines.chain(pins).collect();
        if known.is_empty() {
            let authority = of(Marker::Authority).next().map(|line| line.number);
            return Err(Distrust::Unknown { authority });
        }
        Err(Distrust::Changed { known })
    }

    /// The line that makes `key` a known one.
    pub(super) fn line(&self, key: &HostKey) -> String {
        format!("{} {key}", self.name)
    }

    /// The file that the settings name.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }
}

/// Whether a list of patterns names a host; one that is negated and fits outweighs all others.
fn names(patterns: &str, host: &str) -> bool {
    let mut named = false;
    for pattern in patterns.split(',') {
        if let Some(hashed) = pattern.strip_prefix("|1|") {
            named |= is_hash_of(hashed, host);
        } else if let Some(negated) = pattern.strip_prefix('!') {
            if fits(negated.to_lowercase().as_bytes(), host.as_bytes()) {
                return false;
            }
        } else {
            named |= fits(pattern.to_lowercase().as_bytes(), host.as_bytes());
        }
    }
    named
}

fn is_hash_of(hashed: &str, host: &str) -> bool {
    let decoded = hashed
        .split_once('|')
        .and_then(|(salt, hash)| Some((STANDARD.decode(salt).ok()?, STANDARD.decode(hash).ok()?)));
    decoded.is_some_and(|(salt, hash)| {
        // What OpenSSH hashes names with; it hides them, and guards nothing.
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
        hmac::verify(&key, host.as_bytes(), &hash).is_ok()
    })
}

/// Whether `*` (any number) and `?` (one) stand for what is in `text`.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[from] => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((star_at, star_from)) => {
                    at = star_at + 1;
                    from = star_from + 1;
                    star = Some((star_at, from));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by ssh-keygen for these tests.
    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn key(kind: &str, seed: u8) -> HostKey {
        let mut blob = u32::try_from(kind.len()).unwrap().to_be_bytes().to_vec();
        blob.extend(kind.bytes());
        blob.extend([0, 0, 0, 1, seed]);
        HostKey::new(blob).unwrap()
    }

    fn check(content: &str, port: u16, shown: &HostKey) -> Result<(), Distrust> {
        HostKeys::new("Files.Contoso.com", port, None, content, Vec::new()).check(shown)
    }

    #[test]
    fn names_are_plain_patterns_negated_or_with_a_port() {
        let shown = key("ssh-ed25519", 1);
        for (hosts, port, trusted) in [
            ("files.contoso.com", 22, true),
            ("FILES.contoso.com,10.0.0.1", 22, true),
            ("10.0.0.1,files.contoso.com", 22, true),
            ("*.contoso.com", 22, true),
            ("f?les.*", 22, true),
            ("*.contoso.com,!files.*", 22, false),
            ("!files.*,*.contoso.com", 22, false),
            ("contoso.com", 22, false),
            ("[files.contoso.com]:2222", 2222, true),
            ("[*.contoso.com]:2222", 2222, true),
            ("[files.contoso.com]:2222", 22, false),
            ("[files.contoso.com]:2223", 2222, false),
            // As OpenSSH has it: an entry without a port vouches for the same key on any.
            ("files.contoso.com", 2222, true),
        ] {
            assert_eq!(
                check(&format!("{hosts} {shown}"), port, &shown).is_ok(),
                trusted,
                "{hosts}"
            );
        }
    }

    #[test]
    fn a_hashed_name_is_found() {
        let shown = key("ssh-ed25519", 1);
        for (host, port) in [("files.contoso.com", 22), ("[files.contoso.com]:2222", 2222)] {
            let salt = [7; 20];
            let tag = hmac::sign(
                &hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt),
                host.as_bytes(),
            );
            let line = format!("|1|{}|{} {shown}", STANDARD.encode(salt), STANDARD.encode(tag));
            assert_eq!(check(&line, port, &shown), Ok(()), "{host}");
            let other = HostKeys::new("other.contoso.com", port, None, &line, Vec::new());
            assert!(other.check(&shown).is_err(), "{host}");
        }
    }

    #[test]
    fn of_several_keys_any_will_do_and_another_is_a_change_with_its_lines() {
        let content = format!(
            "# farm\nfiles.contoso.com {}\n\nfiles.contoso.com {} comment\n",
            key("ssh-ed25519", 1),
            key("ssh-ed25519", 2)
        );
        assert_eq!(check(&content, 22, &key("ssh-ed25519", 1)), Ok(()));
        assert_eq!(check(&content, 22, &key("ssh-ed25519", 2)), Ok(()));
        for other in [key("ssh-ed25519", 3), key("ssh-rsa", 1)] {
            let Err(Distrust::Changed { known }) = check(&content, 22, &other) else {
                panic!("{other}");
            };
            assert_eq!(
                known.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
                [Some(2), Some(4)]
            );
            assert_eq!(known[0].1, key("ssh-ed25519", 1).fingerprint());
        }
        // Another server may listen there.
        assert!(matches!(
            check(&content, 2222, &key("ssh-ed25519", 3)),
            Err(Distrust::Unknown { .. })
        ));
    }

    #[test]
    fn what_is_revoked_is_refused_even_when_pinned() {
        let shown = key("ssh-ed25519", 1);
        let content = format!("files.contoso.com {shown}\n@revoked * {shown}\n");
        let keys = HostKeys::new(
            "files.contoso.com",
            22,
            None,
            &content,
            vec![Pin::Key(shown.clone())],
        );
        assert_eq!(keys.check(&shown), Err(Distrust::Revoked { line: 2 }));
    }

    #[test]
    fn an_authority_alone_makes_no_key_known() {
        let shown = key("ssh-ed25519", 1);
        let content = format!("@cert-authority *.contoso.com {shown}\nfiles.contoso.com not a key\n");
        assert_eq!(
            check(&content, 22, &shown),
            Err(Distrust::Unknown { authority: Some(1) })
        );
        assert_eq!(check("", 22, &shown), Err(Distrust::Unknown { authority: None }));
    }

    #[test]
    fn pins_are_fingerprints_or_keys() {
        let Ok(Pin::Key(shown)) = Pin::parse(&format!("{ED25519} host@contoso")) else {
            panic!();
        };
        let fingerprint = shown.fingerprint();
        let pinned = |pins: &[&str]| {
            let pins = pins.iter().map(|pin| Pin::parse(pin).unwrap()).collect();
            HostKeys::new("h", 22, None, "", pins)
        };
        assert_eq!(pinned(&[ED25519]).check(&shown), Ok(()));
        assert_eq!(pinned(&[ED25519]).kinds(), ["ssh-ed25519"]);
        assert_eq!(pinned(&[&fingerprint]).check(&shown), Ok(()));
        assert_eq!(pinned(&[&format!("{fingerprint}=")]).check(&shown), Ok(()));
        assert!(matches!(
            pinned(&[&fingerprint]).check(&key("ssh-ed25519", 1)),
            Err(Distrust::Changed { .. })
        ));
        for (text, said) in [
            ("SHA256:abc", "43"),
            ("MD5:00:11", "MD5"),
            ("ssh-rsa AAAA", "neither"),
            (&*format!("files.contoso.com {ED25519}"), "name of a host"),
        ] {
            assert!(Pin::parse(text).unwrap_err().0.contains(said), "{text}");
        }
        assert_eq!(pinned(&[]).line(&shown), format!("h {ED25519}"));
    }

    #[test]
    fn stars_give_back_what_they_took() {
        for (pattern, text, expected) in [
            ("*a*b", "xaxxab", true),
            ("*a*b", "xaxxa", false),
            ("", "", true),
            ("**", "", true),
            ("a?", "a", false),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
