//! Makes UTF-8 of text files: byte order marks, other encodings, and files that are no text at all.

use std::io::{self, Read};
use std::sync::Arc;

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

use crate::decode::READ_BYTES;
use crate::error::read_error;
use crate::error::{Error, Result};

/// Reads a text file as UTF-8.
///
/// UTF-8 is passed on as it is, without its byte order mark; whether it is valid is for the decoder to find out, who
/// knows the row. What is not valid in another encoding becomes U+FFFD, and one warning counts how often.
pub(super) struct TextReader {
    name: Arc<str>,
    raw: Box<dyn Read + Send>,
    /// What was read to look for marks and comes out first.
    head: Vec<u8>,
    head_at: usize,
    transcoder: Option<Transcoder>,
}

struct Transcoder {
    encoding: &'static Encoding,
    decoder: Decoder,
    raw: Box<[u8]>,
    text: Vec<u8>,
    at: usize,
    end: usize,
    ended: bool,
    replaced: u64,
}

/// Bytes that are looked at to tell what a file is.
const HEAD_BYTES: usize = 8;

impl TextReader {
    /// `encoding` counts unless a byte order mark says otherwise.
    ///
    /// # Errors
    /// The file cannot be read, or begins like something that is not text (an archive, a workbook).
    pub(super) fn new(
        name: Arc<str>,
        mut raw: Box<dyn Read + Send>,
        encoding: &'static Encoding,
    ) -> Result<Self> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        (&mut raw)
            .take(HEAD_BYTES as u64)
            .read_to_end(&mut head)
            .map_err(|error| read_error(&name, error, None))?;
        if let Some((what, hint)) = not_text(&head) {
            return Err(Error::input(format!("`{name}` is {what}, not text")).with_hint(hint));
        }
        let (encoding, mark) = match Encoding::for_bom(&head) {
            Some((marked, length)) => (marked, length),
            None => (encoding, 0),
        };
        Ok(Self {
            name,
            raw,
            head,
            head_at: mark,
            transcoder: (encoding != UTF_8).then(|| Transcoder::new(encoding)),
        })
    }
}

impl Read for TextReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut raw = Head {
            head: &self.head,
            at: &mut self.head_at,
            rest: &mut *self.raw,
        };
        let Some(transcoder) = &mut self.transcoder else {
            return raw.read(buffer);
        };
        let ended = transcoder.ended;
        let length = transcoder.read(&mut raw, buffer)?;
        if transcoder.ended && !ended && transcoder.replaced > 0 {
            tracing::warn!(
                file = %self.name,
                encoding = transcoder.encoding.name(),
                replaced = transcoder.replaced,
                "bytes that are not valid in the file's encoding were replaced by U+FFFD"
            );
        }
        Ok(length)
    }
}

/// The bytes read in advance, then the rest.
struct Head<'a> {
    head: &'a [u8],
    at: &'a mut usize,
    rest: &'a mut dyn Read,
}

impl Read for Head<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.head.get(*self.at..).unwrap_or_default();
        if left.is_empty() {
            return self.rest.read(buffer);
        }
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        *self.at += length;
        Ok(length)
    }
}

impl Transcoder {
    fn new(encoding: &'static Encoding) -> Self {
        Self {
            encoding,
            decoder: encoding.new_decoder_without_bom_handling(),
            raw: vec![0; READ_BYTES / 4].into(),
            // One unit of UTF-16 or one byte of a single-byte encoding needs three bytes at most.
            text: vec![0; READ_BYTES],
            at: 0,
            end: 0,
            ended: false,
            replaced: 0,
        }
    }

    fn read(&mut self, raw: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.end && !self.ended {
            let length = raw.read(&mut self.raw)?;
            self.ended = length == 0;
            self.decode(length);
        }
        let length = (self.end - self.at).min(buffer.len());
        buffer[..length].copy_from_slice(&self.text[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }

    /// Decodes the first `length` raw bytes, or what is left in the decoder when the input has ended.
    fn decode(&mut self, length: usize) {
        const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();
        (self.at, self.end) = (0, 0);
        let mut from = 0;
        loop {
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(
                &self.raw[from..length],
                &mut self.text[self.end..],
                self.ended,
            );
            from += read;
            self.end += written;
            match result {
                DecoderResult::InputEmpty => return,
                DecoderResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                DecoderResult::Malformed(..) => {
                    self.replaced += 1;
                    if self.text.len() < self.end + REPLACEMENT.len() {
                        self.text.resize(self.text.len() * 2, 0);
                    }
                    self.text[self.end..self.end + REPLACEMENT.len()].copy_from_slice(REPLACEMENT);
                    self.end += REPLACEMENT.len();
                }
            }
        }
    }
}

/// What a file is that begins like this, and what to do with it, where it is not text.
fn not_text(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const SAVE_AS_CSV: &str =
        "save it as \"CSV UTF-8\" in the program it comes from, or have the HR system export CSV";
    const DECRYPT: &str = "set `packing: pgp` and give the key in `pgp`";
    let kinds: [(&[u8], &str, &str); 9] = [
        (b"\x1f\x8b", "a gzip archive", "set `packing: gzip`"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive", "set `packing: zstd`"),
        (b"PAR1", "a Parquet file", "set `format: parquet`"),
        (
            b"PK\x03\x04",
            "a ZIP archive or an Excel workbook",
            "an archive: set `packing: zip`; an Excel workbook (.xlsx) must be saved as \"CSV UTF-8\"",
        ),
        (b"\xd0\xcf\x11\xe0", "an old Excel workbook", SAVE_AS_CSV),
        (
            b"BZh",
            "a bzip2 archive",
            "pack it with gzip or zstd, or not at all",
        ),
        (
            b"\xfd7zXZ",
            "an xz archive",
            "pack it with gzip or zstd, or not at all",
        ),
        (b"%PDF-", "a PDF document", "have the HR system export CSV"),
        (b"-----BEG", "a PGP message or a key", DECRYPT),
    ];
    kinds
        .into_iter()
        .find_map(|(magic, what, hint)| head.starts_with(magic).then_some((what, hint)))
}

/// The encoding a label stands for. Labels are those of the WHATWG standard, in which `latin1` and `iso-8859-1` mean
/// Windows-1252, as they do in practice.
pub(super) fn encoding(label: &str) -> Option<&'static Encoding> {
    Encoding::for_label_no_replacement(label.as_bytes())
}

/// Labels worth suggesting.
pub(super) const LABELS: &[&str] = &[
    "utf-8",
    "utf-16le",
    "utf-16be",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1257",
    "windows-1258",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-15",
    "macintosh",
    "koi8-r",
    "shift_jis",
    "euc-jp",
    "euc-kr",
    "gb18030",
    "gbk",
    "big5",
];

/// The hint for a text that is not valid UTF-8.
pub(super) const NOT_UTF8_HINT: &str = "set `encoding` in `format`: files saved by Excel in Western Europe and the Americas are often `windows-1252`, \
     \"Unicode text\" is `utf-16le`";

#[cfg(test)]
mod tests {
    use encoding_rs::{UTF_16BE, UTF_16LE};

    use super::*;

    /// Gives one byte at a time.
    struct Drip(io::Cursor<Vec<u8>>);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn text(bytes: &[u8], encoding: &'static Encoding) -> Result<String> {
        let raw = Box::new(Drip(io::Cursor::new(bytes.to_vec())));
        let mut text = String::new();
        TextReader::new("test".into(), raw, encoding)?
            .read_to_string(&mut text)
            .unwrap();
        Ok(text)
    }

    #[test]
    fn a_byte_order_mark_wins_over_the_setting_and_is_gone() {
        let windows = encoding_rs::WINDOWS_1252;
        assert_eq!(text(b"\xef\xbb\xbfJos\xc3\xa9", windows).unwrap(), "José");
        assert_eq!(text(b"\xff\xfeJ\0\xe9\0", windows).unwrap(), "Jé");
        assert_eq!(text(b"\xfe\xff\0J\0\xe9", windows).unwrap(), "Jé");
        assert_eq!(text(b"J\xe9", windows).unwrap(), "Jé");
    }

    #[test]
    fn half_a_character_at_the_end_is_replaced_not_lost() {
        assert_eq!(text(b"J\0\xe9", UTF_16LE).unwrap(), "J\u{fffd}");
        assert_eq!(text(b"\0J\xd8\x00\0K", UTF_16BE).unwrap(), "J\u{fffd}K");
    }

    #[test]
    fn a_workbook_is_named_as_one() {
        let error = text(b"PK\x03\x04\x14\0\x06\0\x08\0", UTF_8).unwrap_err();
        assert!(error.to_string().contains("Excel workbook"), "{error}");
    }
}
