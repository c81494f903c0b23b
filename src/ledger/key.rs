//! The ledger's key: 32 random bytes in a private file beside it.
//!
//! Without it the hashes in the ledger cannot be compared with guessed rows, and no row can be recognized. A missing or
//! foreign key is an error, never a new ledger.

use std::fmt;
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;

use super::error;
use super::file::check_private;
use crate::disk::{atomic_write, with_suffix};
use crate::error::{Error, Result};

#[derive(Clone)]
pub(super) struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

pub(super) fn path_of(ledger: &Path) -> PathBuf {
    with_suffix(ledger, ".key")
}

impl Key {
    pub(super) fn generate() -> Result<Self> {
        let mut key = [0; 32];
        SysRng.try_fill_bytes(&mut key).map_err(|error| {
            Error::unexpected("cannot create a key: no random numbers from the system")
                .with_source(error.to_string())
        })?;
        Ok(Self(key))
    }

    pub(super) fn read(ledger: &Path) -> Result<Self> {
        let path = path_of(ledger);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let ledger = ledger.display();
                return Err(Error::config(format!(
                    "the key of the ledger `{ledger}` is missing: no file `{}`",
                    path.display()
                ))
                .into_damage()
                .with_hint("restore the key from a backup: without it no row can be recognized")
                .with_hint(format!(
                    "or move `{ledger}`, `{ledger}-wal` and `{ledger}-shm` away to start a new ledger: then every row counts as \
                     never sent"
                )));
            }
            // Not UTF-8.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(error::io(&path, "read the ledger's key", error)),
        };
        check_private(&path, "the ledger's key")?;
        let key = parse_hex_key(text.trim_end_matches(['\r', '\n']));
        key.map(Self).ok_or_else(|| {
            Error::config(format!(
                "invalid ledger key `{}`: expected 64 hexadecimal digits",
                path.display()
            ))
            .into_damage()
            .with_hint("restore it from a backup: without it no row can be recognized")
        })
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = format!("{}\n", blake3::Hash::from(self.0).to_hex());
        atomic_write::write(path, text.as_bytes())
            .map_err(|error| error::io(path, "write the ledger's key", error))
    }

    pub(super) fn for_rows(&self) -> [u8; 16] {
        let key = self.derive("hrsink ledger rows v1");
        std::array::from_fn(|n| key[n])
    }

    pub(super) fn for_checksums(&self) -> [u8; 32] {
        self.derive("hrsink ledger checksums v1")
    }

    /// Stored in the ledger to recognize its key.
    pub(super) fn check(&self) -> [u8; 32] {
        self.derive("hrsink ledger key check v1")
    }

    fn derive(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, &self.0)
    }
}

/// 32 bytes as 64 hexadecimal digits.
pub(crate) fn parse_hex_key(text: &str) -> Option<[u8; 32]> {
    blake3::Hash::from_hex(text).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::create_private;

    #[test]
    fn rejects_invalid_keys_without_showing_them() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("state.db");
        let good = "0123456789abcdef".repeat(4);
        let read = |text: &[u8]| {
            let mut file = create_private(&path_of(&ledger)).unwrap();
            file.write_all(text).unwrap();
            Key::read(&ledger)
        };
        assert!(read(b"\xff\xfe").is_err());
        for text in [
            "",
            "marker",
            &good[1..],
            &format!("{good}0"),
            &good.replace('a', "ä"),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.chain().contains("invalid ledger key"), "{error}");
            assert!(!error.chain().contains("marker"));
        }
        assert!(read(good.as_bytes()).is_ok(), "an editor may drop the line break");
    }
}
