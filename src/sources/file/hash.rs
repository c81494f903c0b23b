//! The hash of a file, computed while it is read.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// Receives the hash of a file that is read to its end; the last of several readings counts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ContentHash(Arc<Mutex<Option<String>>>);

impl ContentHash {
    /// In hexadecimal; `None` if the file was not read to its end in order.
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hashes what is read from `inner`.
    pub(super) fn reader(&self, inner: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
        Box::new(HashingReader {
            inner,
            hasher: blake3::Hasher::new(),
            hash: self.clone(),
        })
    }
}

struct HashingReader {
    inner: Box<dyn Read + Send>,
    hasher: blake3::Hasher,
    hash: ContentHash,
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if length > 0 {
            self.hasher.update(&buffer[..length]);
        } else if !buffer.is_empty() {
            let hash = self.hasher.finalize().to_hex().to_string();
            *self.hash.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash);
        }
        Ok(length)
    }
}
