//! Text files as UTF-8: byte order marks, other encodings, and files that are not text.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

use super::foreign::not_text;
use super::{Bytestream, READ_BYTES};
use crate::error::{Error, Result, read_error};

/// Reads a text file as UTF-8.
///
/// UTF-8 passes through unchanged, without its byte order mark; the decoder, which knows the row, checks whether it is
/// valid. Bytes that are invalid in another encoding become U+FFFD, and one warning counts them.
pub(super) struct TextReader {
    name: Arc<str>,
    /// The bytes read to detect the encoding, then the rest.
    raw: io::Chain<Cursor<Vec<u8>>, Bytestream>,
    transcoder: Option<Transcoder>,
}

struct Transcoder {
    encoding: &'static Encoding,
    decoder: Decoder,
    raw: Box<[u8]>,
    text: String,
    at: usize,
    ended: bool,
    replaced: u64,
}

/// Bytes examined to detect what a file is.
const HEAD_BYTES: usize = 8;

impl TextReader {
    /// Reads `raw` in `encoding`, unless a byte order mark names another.
    pub(super) fn new(name: Arc<str>, mut raw: Bytestream, encoding: &'static Encoding) -> Result<Self> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        (&mut raw)
            .take(HEAD_BYTES as u64)
            .read_to_end(&mut head)
            .map_err(|error| read_error(&name, error, None))?;
        if let Some((what, hint)) = not_text(&head) {
            return Err(Error::input(format!("`{name}` is {what}, not text")).with_hint(hint));
        }
        let (encoding, mark) = Encoding::for_bom(&head).unwrap_or((encoding, 0));
        head.drain(..mark);
        Ok(Self {
            name,
            raw: Cursor::new(head).chain(raw),
            transcoder: (encoding != UTF_8).then(|| Transcoder::new(encoding)),
        })
    }
}

/// The buffered bytes of a text file that is cut into records; knows its lines.
pub(super) struct RecordInput {
    pub(super) name: Arc<str>,
    input: BufReader<TextReader>,
    max_record: usize,
    pub(super) lines: Lines,
    /// The line on which the current record starts, from 1.
    pub(super) record_line: u64,
    record_bytes: usize,
}

impl RecordInput {
    pub(super) fn new(text: TextReader, max_record: usize, buffer: usize) -> Self {
        Self {
            name: text.name.clone(),
            input: BufReader::with_capacity(buffer, text),
            max_record,
            lines: Lines::default(),
            record_line: 1,
            record_bytes: 0,
        }
    }

    /// The next byte, without consuming it; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            match self.input.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(&self.name, error, Some(self.lines.line()))),
            }
        }
    }

    /// The bytes that were read and not consumed yet.
    pub(super) fn buffer(&self) -> &[u8] {
        self.input.buffer()
    }

    /// Consumes bytes between records.
    pub(super) fn skip(&mut self, length: usize) {
        self.lines.pass(&self.input.buffer()[..length]);
        self.input.consume(length);
    }

    pub(super) fn start_record(&mut self) {
        self.record_line = self.lines.line();
        self.record_bytes = 0;
    }

    /// Consumes bytes of the current record.
    pub(super) fn take(&mut self, length: usize) -> Result<()> {
        self.record_bytes += length;
        if self.record_bytes > self.max_record {
            let (line, name, max) = (self.record_line, &self.name, self.max_record);
            return Err(Error::input(format!(
                "the record that starts on line {line} of `{name}` is longer than {max} bytes"
            ))
            .with_hint("if it really is that long, set a larger `max_record_bytes` in `format`"));
        }
        self.skip(length);
        Ok(())
    }
}

/// Counts lines that end in CRLF, LF or CR, across buffers.
#[derive(Debug, Default)]
pub(super) struct Lines {
    breaks: u64,
    pub(super) after_cr: bool,
    /// Whether the current line has bytes.
    has_bytes: bool,
}

impl Lines {
    fn pass(&mut self, bytes: &[u8]) {
        let Some((&last, rest)) = bytes.split_last() else {
            return;
        };
        if rest.contains(&b'\r') {
            rest.iter().for_each(|&byte| self.pass_byte(byte));
        } else if let Some((&first, rest)) = rest.split_first() {
            self.pass_byte(first);
            self.breaks += memchr::memchr_iter(b'\n', rest).count() as u64;
        }
        self.pass_byte(last);
    }

    fn pass_byte(&mut self, byte: u8) {
        let ends = byte == b'\r' || (byte == b'\n' && !self.after_cr);
        self.breaks += u64::from(ends);
        self.after_cr = byte == b'\r';
        self.has_bytes = !matches!(byte, b'\r' | b'\n');
    }

    /// The line reached so far, from 1.
    pub(super) fn line(&self) -> u64 {
        self.breaks + 1
    }

    /// The last line that has bytes.
    pub(super) fn started(&self) -> u64 {
        self.breaks + u64::from(self.has_bytes)
    }
}

impl Read for TextReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.transcoder {
            Some(transcoder) => transcoder.read(&self.name, &mut self.raw, buffer),
            None => self.raw.read(buffer),
        }
    }
}

impl Transcoder {
    fn new(encoding: &'static Encoding) -> Self {
        Self {
            encoding,
            decoder: encoding.new_decoder_without_bom_handling(),
            raw: vec![0; READ_BYTES / 4].into(),
            text: String::new(),
            at: 0,
            ended: false,
            replaced: 0,
        }
    }

    fn read(&mut self, name: &str, raw: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() && !self.ended {
            let length = raw.read(&mut self.raw)?;
            self.ended = length == 0;
            self.decode(length);
            if self.ended && self.replaced > 0 {
                tracing::warn!(
                    file = name,
                    encoding = self.encoding.name(),
                    replaced = self.replaced,
                    "bytes that are invalid in the encoding of the file were replaced by U+FFFD"
                );
            }
        }
        let length = (&self.text.as_bytes()[self.at..]).read(buffer)?;
        self.at += length;
        Ok(length)
    }

    /// Decodes the first `length` raw bytes, or what is left in the decoder at the end of the input.
    fn decode(&mut self, length: usize) {
        self.text.clear();
        self.at = 0;
        let mut raw = &self.raw[..length];
        loop {
            let needed = self.decoder.max_utf8_buffer_length_without_replacement(raw.len());
            self.text.reserve(needed.unwrap_or(READ_BYTES));
            let (result, read) =
                self.decoder
                    .decode_to_string_without_replacement(raw, &mut self.text, self.ended);
            raw = &raw[read..];
            match result {
                DecoderResult::InputEmpty => return,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => {
                    self.replaced += 1;
                    self.text.push('\u{fffd}');
                }
            }
        }
    }
}

pub(super) fn labels() -> impl Iterator<Item = &'static str> + Clone {
    const LABELS: &str = "utf-8 utf-16le utf-16be windows-1250 windows-1251 windows-1252 windows-1253 windows-1254 \
                          windows-1255 windows-1256 windows-1257 windows-1258 iso-8859-1 iso-8859-2 iso-8859-15 \
                          macintosh koi8-r shift_jis euc-jp euc-kr gb18030 gbk big5";
    LABELS.split(' ')
}

pub(super) const NOT_UTF8_HINT: &str = "set `encoding` in `format`: files saved by Excel in Western Europe and the Americas are often `windows-1252`, \
     \"Unicode text\" is `utf-16le`";
