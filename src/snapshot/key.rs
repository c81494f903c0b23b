//! The encryption key of snapshots, and the keys derived from it.
//!
//! The user's 32 bytes are never used directly. Each file has its own key, derived from them, a random salt, and the
//! pipeline and source it belongs to: a file cannot take the place of another, and no nonce is used twice.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rand::TryRng;
use rand::rngs::SysRng;

use crate::component::RunInfo;
use crate::error::{Error, Result};
use crate::ledger::RowHasher;
use crate::secret::{Secret, SecretFiles, SecretRef};

pub(super) const SALT: usize = 32;

/// The pipeline and source that a file belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) pipeline: &'a str,
    pub(super) source: &'a str,
}

impl Subject<'_> {
    /// Lengths are hashed too, so that no two subjects collide.
    pub(super) fn hash(self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for part in [self.pipeline, self.source] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Without `Debug`, so that no message shows it.
#[derive(Clone)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Reads the key that `setting` of the source `source` refers to.
    pub(super) fn read(secret: &SecretRef, setting: &str, source: &str, run: &RunInfo) -> Result<Self> {
        let text = secret.read(&run.base, &SecretFiles::of(run))?;
        parse(&text).map(Self).ok_or_else(|| {
            Error::config(format!(
                "invalid `snapshot.{setting}` of `{source}`: expected 32 bytes, as base64 or as 64 hexadecimal digits"
            ))
            .with_hint("create a key with `openssl rand -base64 32`")
        })
    }

    #[cfg(test)]
    pub(super) fn of(byte: u8) -> Self {
        Self([byte; 32])
    }

    pub(super) fn for_file(&self, salt: &[u8; SALT], subject: Subject<'_>) -> [u8; 32] {
        self.derive("hrsink snapshot file v1", salt, &subject.hash())
    }

    /// Stored in a file to tell a wrong key from damage.
    pub(super) fn check(&self, salt: &[u8; SALT]) -> [u8; 16] {
        first(self.derive("hrsink snapshot key check v1", salt, &[]))
    }

    /// Stored in a file to tell a file of another source from damage.
    pub(super) fn subject_check(&self, salt: &[u8; SALT], subject: Subject<'_>) -> [u8; 16] {
        first(self.derive("hrsink snapshot subject check v1", salt, &subject.hash()))
    }

    pub(super) fn row_hasher(&self) -> RowHasher {
        RowHasher::new(first(self.derive("hrsink snapshot rows v1", &[0; SALT], &[])))
    }

    fn derive(&self, context: &str, salt: &[u8; SALT], subject: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0).update(salt).update(subject);
        *hasher.finalize().as_bytes()
    }
}

pub(super) fn new_salt() -> std::io::Result<[u8; SALT]> {
    let mut salt = [0; SALT];
    SysRng
        .try_fill_bytes(&mut salt)
        .map_err(|error| std::io::Error::other(format!("no random numbers from the system: {error}")))?;
    Ok(salt)
}

fn first<const N: usize>(bytes: [u8; 32]) -> [u8; N] {
    std::array::from_fn(|n| bytes[n])
}

fn parse(text: &Secret) -> Option<[u8; 32]> {
    let text = text.expose().trim();
    if let Some(key) = crate::ledger::parse_hex_key(text) {
        return Some(key);
    }
    let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
    bytes.ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_32_bytes_as_base64_or_hex_only() {
        let parse = |text: &str| parse(&Secret::new(text));
        let hex = "0123456789abcdefABCDEF".repeat(3)[..64].to_owned();
        assert!(parse(&hex).is_some());
        let base64 = STANDARD.encode([7; 32]);
        for text in [&*base64, &format!(" {base64}\n"), base64.trim_end_matches('=')] {
            assert_eq!(parse(text), Some([7; 32]), "{text}");
        }
        for text in [
            "password",
            &hex[1..],
            &hex.replace('a', "g")[..63],
            &hex.replace("ab", "é"),
            &STANDARD.encode([7; 31]),
            &STANDARD.encode([7; 33]),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
