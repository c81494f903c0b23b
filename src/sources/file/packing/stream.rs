//! gzip and zstd: decoded as they are read.

use std::io::{self, Read};

use super::bounds::{Bounded, Count, Fault, Input, Ratio};
use super::failure::BadArchive;

/// Base-two logarithm of the largest window of a zstd frame that is taken: 128 MiB, which is what every level of the
/// `zstd` program, `--ultra -22` and `--long` included, stays within.
pub(in crate::sources::file) const MAX_WINDOW_LOG: u32 = 27;

const BUFFER: usize = 256 << 10;

/// The content of a gzip file, of one member or several, to the end of the last.
pub(in crate::sources::file) fn gzip(packed: Box<dyn Read + Send>, ratio: Ratio) -> Box<dyn Read + Send> {
    let (read, fault) = (Count::default(), Fault::default());
    let packed = io::BufReader::with_capacity(BUFFER, Input::new(packed, &read, &fault));
    let decoder = Decoder {
        inner: flate2::bufread::MultiGzDecoder::new(packed),
        kind: "gzip",
        fault,
    };
    Box::new(Bounded::new(decoder, "gzip", &read, ratio))
}

/// The content of a zstd file, of one frame or several, to the end of the last.
///
/// # Errors
/// The decoder cannot be set up.
pub(in crate::sources::file) fn zstd(
    packed: Box<dyn Read + Send>,
    ratio: Ratio,
) -> io::Result<Box<dyn Read + Send>> {
    let (read, fault) = (Count::default(), Fault::default());
    let packed = io::BufReader::with_capacity(BUFFER, Input::new(packed, &read, &fault));
    let mut inner = zstd::stream::read::Decoder::with_buffer(packed)?;
    inner.window_log_max(MAX_WINDOW_LOG)?;
    let decoder = Decoder {
        inner,
        kind: "zstd",
        fault,
    };
    Ok(Box::new(Bounded::new(decoder, "zstd", &read, ratio)))
}

struct Decoder<R> {
    inner: R,
    kind: &'static str,
    fault: Fault,
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            self.fault.reason(|| {
                // zstd tells this by its text alone; a test holds it to that.
                if self.kind == "zstd" && error.to_string().contains("too much memory") {
                    return BadArchive::WindowTooLarge.into();
                }
                BadArchive::Damaged {
                    kind: self.kind,
                    source: Some(error),
                }
                .into()
            })
        })
    }
}
