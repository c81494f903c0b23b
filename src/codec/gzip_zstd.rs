//! gzip and zstd: decoded as they are read.

use std::io::{self, Read};

use super::bounds::{BoundedReader, ByteCount, CapturingReader, FirstError, MaxRatio};
use super::error::CodecError;

/// Base-two logarithm of the largest window of a zstd frame that is taken: 128 MiB, which is what every level of the
/// `zstd` program, `--ultra -22` and `--long` included, stays within.
pub(crate) const MAX_WINDOW_LOG: u32 = 27;

const BUFFER: usize = 256 << 10;

/// The content of a gzip file, of one member or several, to the end of the last.
pub(crate) fn gzip(packed: Box<dyn Read + Send>, ratio: MaxRatio) -> Box<dyn Read + Send> {
    let (read, fault) = (ByteCount::default(), FirstError::default());
    let packed = io::BufReader::with_capacity(BUFFER, CapturingReader::new(packed, &read, &fault));
    let decoder = StreamDecoder {
        inner: flate2::bufread::MultiGzDecoder::new(packed),
        kind: "gzip",
        fault,
    };
    Box::new(BoundedReader::new(decoder, "gzip", &read, ratio))
}

/// The content of a zstd file, of one frame or several, to the end of the last.
///
/// # Errors
/// The decoder cannot be set up.
pub(crate) fn zstd(packed: Box<dyn Read + Send>, ratio: MaxRatio) -> io::Result<Box<dyn Read + Send>> {
    let (read, fault) = (ByteCount::default(), FirstError::default());
    let packed = io::BufReader::with_capacity(BUFFER, CapturingReader::new(packed, &read, &fault));
    let mut inner = zstd::stream::read::Decoder::with_buffer(packed)?;
    inner.window_log_max(MAX_WINDOW_LOG)?;
    let decoder = StreamDecoder {
        inner,
        kind: "zstd",
        fault,
    };
    Ok(Box::new(BoundedReader::new(decoder, "zstd", &read, ratio)))
}

struct StreamDecoder<R> {
    inner: R,
    kind: &'static str,
    fault: FirstError,
}

impl<R: Read> Read for StreamDecoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            self.fault.reason(|| {
                // zstd tells this by its text alone; a test holds it to that.
                if self.kind == "zstd" && error.to_string().contains("too much memory") {
                    return CodecError::WindowTooLarge.into();
                }
                CodecError::Damaged {
                    kind: self.kind,
                    source: Some(error),
                }
                .into()
            })
        })
    }
}
