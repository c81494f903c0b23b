//! The key that remembered rows are encrypted with, and the keys that are made of it.
//!
//! The user's 32 bytes are never used themselves. Each file has a key of its own, made of them, of a random salt and of
//! what the file is for: so one file of a pipeline cannot stand in another's place, and no nonce is ever used twice.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rand::TryRng;
use rand::rngs::SysRng;

use crate::component::RunInfo;
use crate::error::{Error, Result};
use crate::ledger::RowHasher;
use crate::secret::{Secret, SecretRef};

/// Bytes of a file's salt.
pub(super) const SALT: usize = 32;

/// What a file holds: whose rows. The same source of another pipeline is another subject.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) pipeline: &'a str,
    pub(super) source: &'a str,
}

impl Subject<'_> {
    /// A hash of it; lengths stand in it, so that no two subjects run together.
    pub(super) fn hash(self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for part in [self.pipeline, self.source] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// The user's key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

impl Key {
    /// Reads the key that `setting` of the source `source` refers to.
    ///
    /// # Errors
    /// The secret cannot be read, or is not 32 bytes.
    pub(super) fn read(secret: &SecretRef, setting: &str, source: &str, run: &RunInfo) -> Result<Self> {
        let text = secret.read(&run.base, &run.secret_files)?;
        parse(&text).map(Self).ok_or_else(|| {
            Error::config(format!(
                "the `remember.{setting}` of `{source}` is not a key: that is 32 bytes, as base64 or as 64 hexadecimal digits"
            ))
            .with_hint("make one with `openssl rand -base64 32`")
        })
    }

    #[cfg(test)]
    pub(super) fn of(byte: u8) -> Self {
        Self([byte; 32])
    }

    /// The key of one file.
    pub(super) fn for_file(&self, salt: &[u8; SALT], subject: Subject<'_>) -> [u8; 32] {
        self.derive("hrsink remembered rows file v1", salt, &subject.hash())
    }

    /// What a file holds to recognise its key.
    pub(super) fn check(&self, salt: &[u8; SALT]) -> [u8; 16] {
        first(self.derive("hrsink remembered rows key check v1", salt, &[]))
    }

    /// What a file holds to recognise its subject.
    pub(super) fn subject_check(&self, salt: &[u8; SALT], subject: Subject<'_>) -> [u8; 16] {
        first(self.derive("hrsink remembered rows subject check v1", salt, &subject.hash()))
    }

    /// Hashes the keys of rows.
    pub(super) fn row_hasher(&self) -> RowHasher {
        RowHasher::new(first(self.derive(
            "hrsink remembered rows set v1",
            &[0; SALT],
            &[],
        )))
    }

    fn derive(&self, context: &str, salt: &[u8; SALT], subject: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0);
        hasher.update(salt);
        hasher.update(subject);
        *hasher.finalize().as_bytes()
    }
}

/// A new file's salt.
pub(super) fn salt() -> std::io::Result<[u8; SALT]> {
    let mut salt = [0; SALT];
    SysRng
        .try_fill_bytes(&mut salt)
        .map_err(|error| std::io::Error::other(format!("the system gives no random numbers: {error}")))?;
    Ok(salt)
}

fn first<const N: usize>(bytes: [u8; 32]) -> [u8; N] {
    std::array::from_fn(|n| bytes[n])
}

fn parse(text: &Secret) -> Option<[u8; 32]> {
    let text = text.expose().trim();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let mut key = [0; 32];
        for (n, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
        }
        return Some(key);
    }
    let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
    bytes.ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_two_bytes_are_a_key_and_nothing_else_is() {
        let parse = |text: &str| parse(&Secret::new(text));
        let hex = "0123456789abcdefABCDEF".repeat(3)[..64].to_owned();
        assert!(parse(&hex).is_some());
        let base64 = STANDARD.encode([7; 32]);
        assert_eq!(parse(&base64), Some([7; 32]));
        assert_eq!(parse(&format!(" {base64}\n")), Some([7; 32]));
        assert_eq!(parse(base64.trim_end_matches('=')), Some([7; 32]));
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

    #[test]
    fn every_purpose_salt_and_subject_has_a_key_of_its_own() {
        let (a, b) = (Key::of(1), Key::of(2));
        let subject = Subject {
            pipeline: "ab",
            source: "c",
        };
        let shifted = Subject {
            pipeline: "a",
            source: "bc",
        };
        let keys = [
            a.for_file(&[0; 32], subject),
            a.for_file(&[1; 32], subject),
            a.for_file(&[0; 32], shifted),
            b.for_file(&[0; 32], subject),
        ];
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_ne!(a.check(&[0; 32]), first(keys[0]));
        assert_eq!(format!("{a:?}"), "Key(hidden)");
    }
}
