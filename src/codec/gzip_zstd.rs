//! gzip and zstd, decoded while reading. A file may have several members or frames.

use std::io::{self, BufReader, Read};

use bytesize::ByteSize;

use super::bounds::{BoundedReader, ByteCount, DecoderInput, FirstError, MaxRatio};
use super::error::{damaged, refused};
use super::{BUFFER_BYTES, Reader};

/// Base-two logarithm of the largest accepted zstd window: 128 MiB. Every level of the `zstd` program stays within it,
/// `--ultra -22` and `--long` included.
pub(crate) const MAX_WINDOW_LOG: u32 = 27;

type Input = BufReader<DecoderInput<Reader>>;

pub(super) fn gzip(encoded: Reader, max_ratio: MaxRatio) -> io::Result<Reader> {
    let decoder = |input| Ok(flate2::bufread::MultiGzDecoder::new(input));
    reader("gzip", encoded, max_ratio, decoder)
}

pub(super) fn zstd(encoded: Reader, max_ratio: MaxRatio) -> io::Result<Reader> {
    reader("zstd", encoded, max_ratio, |input| {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
        decoder.window_log_max(MAX_WINDOW_LOG)?;
        Ok(decoder)
    })
}

fn reader<D: Read + Send + 'static>(
    kind: &'static str,
    encoded: Reader,
    max_ratio: MaxRatio,
    decoder: impl FnOnce(Input) -> io::Result<D>,
) -> io::Result<Reader> {
    let (count, first_error) = (ByteCount::default(), FirstError::default());
    let input = DecoderInput {
        inner: encoded,
        count: count.clone(),
        first_error: first_error.clone(),
    };
    let decoder = Decoder {
        inner: decoder(BufReader::with_capacity(BUFFER_BYTES, input))?,
        kind,
        first_error,
    };
    Ok(Box::new(BoundedReader::new(decoder, kind, count, max_ratio)))
}

struct Decoder<D> {
    inner: D,
    kind: &'static str,
    first_error: FirstError,
}

impl<D: Read> Read for Decoder<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            // zstd reports this by its text alone; a test pins the text.
            _ if self.kind == "zstd" && error.to_string().contains("too much memory") => refused(
                format!(
                    "decoding the zstd data takes more than {} of memory",
                    ByteSize(1 << MAX_WINDOW_LOG)
                ),
                "compress the file without `--long`, or with at most `--long=27`",
            ),
            _ => self.first_error.or(|| damaged(self.kind, Some(error))),
        })
    }
}
