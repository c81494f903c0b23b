//! The hash of a file's bytes, taken while they are read.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the hash of a file that is read to its end is found. Of several readings the last counts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ContentHash(Arc<Mutex<Option<String>>>);

impl ContentHash {
    /// The hash, in hexadecimal digits; `None` if the file was not read to its end in order.
    pub(super) fn finish(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Hashes what is read.
pub(super) struct HashingReader {
    inner: Box<dyn Read + Send>,
    hasher: blake3::Hasher,
    hash: ContentHash,
}

impl HashingReader {
    pub(super) fn new(inner: Box<dyn Read + Send>, hash: &ContentHash) -> Self {
        Self {
            inner,
            hasher: blake3::Hasher::new(),
            hash: hash.clone(),
        }
    }
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
