//! Unpacks compressed files while they are read.

use std::fmt;
use std::io::{self, Read};

use super::config::Compression;

/// A reader of the unpacked bytes. A gzip file of several members is read to its end, and so is a zstd file of
/// several frames.
///
/// # Errors
/// The decoder cannot be set up. A damaged or short archive shows later, as a read error holding [`DamagedArchive`].
pub(super) fn unpack(
    packed: Box<dyn Read + Send>,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::None => packed,
        Compression::Gzip => Box::new(Unpacking {
            inner: flate2::bufread::MultiGzDecoder::new(io::BufReader::with_capacity(
                super::feed::READ_BYTES,
                packed,
            )),
            kind: "gzip",
        }),
        Compression::Zstd => Box::new(Unpacking {
            inner: zstd::stream::read::Decoder::new(packed)?,
            kind: "zstd",
        }),
    })
}

/// An archive whose bytes make no sense or that ends too early.
#[derive(Debug)]
pub(super) struct DamagedArchive {
    kind: &'static str,
    source: io::Error,
}

impl fmt::Display for DamagedArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} archive is damaged or cut off", self.kind)
    }
}

impl std::error::Error for DamagedArchive {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

struct Unpacking<R> {
    inner: R,
    kind: &'static str,
}

impl<R: Read> Read for Unpacking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|source| {
            // The system's errors carry a number, the decoders' do not.
            if source.raw_os_error().is_some() || source.kind() == io::ErrorKind::Interrupted {
                return source;
            }
            let kind = self.kind;
            io::Error::new(source.kind(), DamagedArchive { kind, source })
        })
    }
}
