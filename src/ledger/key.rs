//! The ledger's key: 32 random bytes in a file beside it, for its owner only.
//!
//! Without it the hashes in the ledger cannot be tried against guessed rows, and no row can be recognised. So a ledger
//! and its key belong together, and a key that is missing or is another ledger's is an error, never a new start.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;

use super::error;
use super::file::{beside, check_private};
use crate::disk::private_file as files;
use crate::error::{Error, Result};

/// A ledger's key.
#[derive(Clone)]
pub(super) struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// Where the key of the ledger at `path` is.
pub(super) fn path_of(ledger: &Path) -> PathBuf {
    beside(ledger, ".key")
}

impl Key {
    /// A new one, from the operating system's random numbers.
    pub(super) fn generate() -> Result<Self> {
        let mut key = [0; 32];
        SysRng.try_fill_bytes(&mut key).map_err(|error| {
            Error::unexpected("cannot make a key: the system gives no random numbers")
                .with_source(error.to_string())
        })?;
        Ok(Self(key))
    }

    /// Reads the key of the ledger at `ledger`.
    pub(super) fn read(ledger: &Path) -> Result<Self> {
        let path = path_of(ledger);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::config(format!(
                    "the ledger `{}` has lost its key: there is no `{}`",
                    ledger.display(),
                    path.display()
                ))
                .into_damage()
                .with_hint("restore the key from a backup: without it no row can be recognised")
                .with_hint(format!(
                    "or move `{0}`, `{0}-wal` and `{0}-shm` away and begin a new ledger: then every row counts as never \
                     sent",
                    ledger.display()
                )));
            }
            // What is not UTF-8 is no key.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(error::io(&path, "read the ledger's key", error)),
        };
        check_private(&path, "the ledger's key")?;
        parse_hex_key(text.trim_end_matches(['\r', '\n']))
            .map(Self)
            .ok_or_else(|| {
                Error::config(format!(
                    "`{}` is not a ledger's key: that is 64 hexadecimal digits",
                    path.display()
                ))
                .into_damage()
                .with_hint("restore it from a backup: without it no row can be recognised")
            })
    }

    /// Writes it to `path`, whole or not at all, for its owner only and safe from a power cut.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let unfinished = beside(path, ".new");
        let mut text = self.0.iter().fold(String::with_capacity(65), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        text.push('\n');
        files::create_private(&unfinished)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&unfinished, path))
            .map_err(|error| error::io(path, "write the ledger's key", error))
    }

    /// The key of the row hashes.
    pub(super) fn for_rows(&self) -> [u8; 16] {
        let key = self.derive("hrsink ledger rows v1");
        std::array::from_fn(|n| key[n])
    }

    /// The key of the checksums of a batch's rows.
    pub(super) fn for_checksums(&self) -> [u8; 32] {
        self.derive("hrsink ledger checksums v1")
    }

    /// What the ledger keeps to recognise its key.
    pub(super) fn check(&self) -> [u8; 32] {
        self.derive("hrsink ledger key check v1")
    }

    fn derive(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, &self.0)
    }
}

/// 32 bytes as 64 hexadecimal digits.
pub(crate) fn parse_hex_key(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 32];
    for (n, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("state.db");
        let key = Key::generate().unwrap();
        key.write(&path_of(&ledger)).unwrap();
        let text = std::fs::read_to_string(path_of(&ledger)).unwrap();
        assert_eq!((text.len(), text.ends_with('\n')), (65, true));
        let again = Key::read(&ledger).unwrap();
        assert_eq!(again.for_rows(), key.for_rows());
        assert_ne!(again.for_rows(), Key::generate().unwrap().for_rows());
        assert!(!format!("{key:?}").contains(&text[..4]));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("state.db");
        let good = "0123456789abcdef".repeat(4);
        for text in [
            "",
            "marker",
            &good[1..],
            &format!("{good}0"),
            &good.replace('a', "ä"),
        ] {
            let mut file = files::create_private(&path_of(&ledger)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let error = Key::read(&ledger).unwrap_err();
            assert!(error.chain().contains("is not a ledger's key"), "{error}");
            assert!(!error.chain().contains("marker"));
        }
        files::create_private(&path_of(&ledger))
            .unwrap()
            .write_all(good.as_bytes())
            .unwrap();
        assert!(Key::read(&ledger).is_ok(), "an editor may drop the line end");
    }
}
