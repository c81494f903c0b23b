//! gzip and zstd, decoded while reading. A file may have several members or frames.

use std::io::{self, Read};

use super::Reader;
use super::bounds::{BoundedReader, ByteCount, DecoderInput, FirstError, MaxRatio};
use super::error::CodecError;

/// Base-two logarithm of the largest accepted zstd window: 128 MiB. Every level of the `zstd` program stays within it,
/// `--ultra -22` and `--long` included.
pub(crate) const MAX_WINDOW_LOG: u32 = 27;

const BUFFER_BYTES: usize = 256 << 10;

pub(super) fn gzip(encoded: Reader, max_ratio: MaxRatio) -> Reader {
    let stream = Stream::new("gzip");
    let decoder = flate2::bufread::MultiGzDecoder::new(stream.input(encoded));
    stream.reader(decoder, max_ratio)
}

pub(super) fn zstd(encoded: Reader, max_ratio: MaxRatio) -> io::Result<Reader> {
    let stream = Stream::new("zstd");
    let mut decoder = zstd::stream::read::Decoder::with_buffer(stream.input(encoded))?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(stream.reader(decoder, max_ratio))
}

struct Stream {
    kind: &'static str,
    count: ByteCount,
    first_error: FirstError,
}

impl Stream {
    fn new(kind: &'static str) -> Self {
        Self {
            kind,
            count: ByteCount::default(),
            first_error: FirstError::default(),
        }
    }

    fn input(&self, encoded: Reader) -> io::BufReader<DecoderInput<Reader>> {
        io::BufReader::with_capacity(
            BUFFER_BYTES,
            DecoderInput::new(encoded, &self.count, &self.first_error),
        )
    }

    fn reader(self, decoder: impl Read + Send + 'static, max_ratio: MaxRatio) -> Reader {
        let (kind, count) = (self.kind, self.count.clone());
        let decoder = StreamDecoder {
            inner: decoder,
            stream: self,
        };
        Box::new(BoundedReader::new(decoder, kind, &count, max_ratio))
    }
}

struct StreamDecoder<R> {
    inner: R,
    stream: Stream,
}

impl<R: Read> Read for StreamDecoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            let kind = self.stream.kind;
            self.stream.first_error.or(|| {
                // zstd reports this by its text alone; a test pins the text.
                if kind == "zstd" && error.to_string().contains("too much memory") {
                    return CodecError::WindowTooLarge.into();
                }
                CodecError::damaged(kind, Some(error))
            })
        })
    }
}
