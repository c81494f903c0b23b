//! The packets of SFTP version 3: requests are encoded, responses decoded. Pure, no I/O.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Error, Result};

/// Upper bound of a packet: file data is at most 256 KiB, and servers keep lists of names below that too.
const MAX_PACKET_BYTES: usize = 1 << 20;
pub(crate) const VERSION: u32 = 3;

// Types of requests.
pub(crate) const INIT: u8 = 1;
pub(crate) const OPEN: u8 = 3;
pub(crate) const CLOSE: u8 = 4;
pub(crate) const READ: u8 = 5;
pub(crate) const LSTAT: u8 = 7;
pub(crate) const FSTAT: u8 = 8;
pub(crate) const OPENDIR: u8 = 11;
pub(crate) const READDIR: u8 = 12;
pub(crate) const REMOVE: u8 = 13;
pub(crate) const MKDIR: u8 = 14;
pub(crate) const REALPATH: u8 = 16;
pub(crate) const STAT: u8 = 17;
pub(crate) const RENAME: u8 = 18;
pub(crate) const EXTENDED: u8 = 200;

// Types of responses.
const VERSION_REPLY: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

pub(crate) const OPEN_READ: u32 = 1;
pub(crate) const NO_ATTRIBUTES: u32 = 0;
const HAS_SIZE: u32 = 1;
const HAS_OWNER: u32 = 2;
const HAS_MODE: u32 = 4;
const HAS_TIMES: u32 = 8;
const HAS_EXTENDED: u32 = 1 << 31;
/// OpenSSH's extension that reports the server's limits.
pub(crate) const LIMITS_EXTENSION: &[u8] = b"limits@openssh.com";

#[derive(Debug)]
pub(crate) struct Request(BytesMut);

impl Request {
    pub(crate) fn new(kind: u8) -> Self {
        let mut packet = BytesMut::with_capacity(64);
        // The length.
        packet.put_u32(0);
        packet.put_u8(kind);
        // The id.
        packet.put_u32(0);
        Self(packet)
    }

    /// Adds a path or a handle.
    pub(crate) fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        // A length of 4 GiB does not occur: handles come in packets, and paths from the caller.
        self.0.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.put_slice(bytes);
        self
    }

    pub(crate) fn u32(mut self, number: u32) -> Self {
        self.0.put_u32(number);
        self
    }

    pub(crate) fn u64(mut self, number: u64) -> Self {
        self.0.put_u64(number);
        self
    }

    /// The packet with its length. The id of [`INIT`] is the version.
    pub(crate) fn encode(mut self, id: u32) -> Bytes {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0[5..9].copy_from_slice(&id.to_be_bytes());
        self.0.freeze()
    }
}

#[derive(Debug)]
pub(crate) enum Response {
    Status(Status),
    Handle(Bytes),
    Data(Bytes),
    Names(Vec<DirEntry>),
    Attributes(Attributes),
    Extended(Bytes),
}

/// The status of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// See the constants; later protocol versions have more.
    pub code: u32,
    /// The server's own words, as sent.
    pub message: String,
}

impl Status {
    /// Success.
    pub const OK: u32 = 0;
    /// End of the file or the directory.
    pub const END: u32 = 1;
    /// The path does not exist.
    pub const NO_SUCH_FILE: u32 = 2;
    /// The account lacks a permission.
    pub const PERMISSION_DENIED: u32 = 3;
    /// The server does not implement the request.
    pub const UNSUPPORTED: u32 = 8;
    const NO_SUCH_PATH: u32 = 10;

    /// Whether the path does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self.code, Self::NO_SUCH_FILE | Self::NO_SUCH_PATH)
    }

    /// The meaning of the code. Codes above 8 belong to later versions.
    pub fn meaning(&self) -> &'static str {
        match self.code {
            Self::OK => "success",
            Self::END => "end of file",
            Self::NO_SUCH_FILE => "no such file",
            Self::PERMISSION_DENIED => "permission denied",
            4 => "failure",
            5 => "bad message",
            6 | 7 => "no connection",
            Self::UNSUPPORTED => "not supported",
            9 => "invalid handle",
            Self::NO_SUCH_PATH => "no such folder",
            11 => "file already exists",
            12 => "write-protected",
            14 => "no space left",
            15 => "quota exceeded",
            17 => "locked",
            18 => "folder not empty",
            19 => "not a folder",
            20 => "invalid name",
            _ => "unknown status",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (meaning, code) = (self.meaning(), self.code);
        if self.message.is_empty() || self.message.eq_ignore_ascii_case(meaning) {
            write!(f, "the server reported: {meaning} (status {code})")
        } else {
            write!(
                f,
                "the server reported: {} (status {code}, {meaning})",
                self.message
            )
        }
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name as sent, not necessarily Unicode.
    pub name: Bytes,
    /// Its attributes, of a link itself.
    pub attributes: Attributes,
}

/// File attributes, as far as the server reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes.
    pub size: Option<u64>,
    /// Unix file type and permissions.
    pub mode: Option<u32>,
    /// Seconds since 1970.
    pub modified: Option<u32>,
}

/// A packet without its length.
#[derive(Debug)]
pub(crate) struct Packet {
    kind: u8,
    content: Fields,
}

/// Takes the next complete packet out of `buffer`; without one, reserves space for it.
pub(crate) fn next_packet(buffer: &mut BytesMut) -> Result<Option<Packet>> {
    let Some(prefix) = buffer.first_chunk::<4>().copied() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if !(1..=MAX_PACKET_BYTES).contains(&length) {
        // Most likely text that login scripts print.
        let start = prefix.escape_ascii();
        return Err(malformed(&format!("a packet starts with `{start}`")));
    }
    if buffer.len() < 4 + length {
        buffer.reserve(4 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(4);
    let mut content = buffer.split_to(length).freeze();
    let kind = content.get_u8();
    Ok(Some(Packet {
        kind,
        content: Fields(content),
    }))
}

fn malformed(what: &str) -> Error {
    Error::Protocol(format!("the server does not send SFTP: {what}"))
}

fn truncated() -> Error {
    malformed("a packet is truncated")
}

impl Packet {
    /// The response and the id of its request.
    pub(crate) fn response(self) -> Result<(u32, Response)> {
        let mut fields = self.content;
        let id = fields.u32()?;
        let response = match self.kind {
            DATA => {
                let length = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
                if length != fields.0.len() {
                    return Err(truncated());
                }
                Response::Data(fields.0)
            }
            STATUS => Response::Status(Status {
                code: fields.u32()?,
                // Some old servers omit the message.
                message: fields
                    .bytes()
                    .map(|text| String::from_utf8_lossy(&text).into_owned())
                    .unwrap_or_default(),
            }),
            HANDLE => Response::Handle(fields.bytes()?),
            NAME => {
                let count = fields.u32()?;
                let mut entries = Vec::new();
                for _ in 0..count {
                    let name = fields.bytes()?;
                    // A line as printed by `ls -l`, in no standard form.
                    fields.bytes()?;
                    let attributes = fields.attributes()?;
                    entries.push(DirEntry { name, attributes });
                }
                Response::Names(entries)
            }
            ATTRS => Response::Attributes(fields.attributes()?),
            EXTENDED_REPLY => Response::Extended(fields.0),
            other => return Err(malformed(&format!("a packet has the unknown type {other}"))),
        };
        Ok((id, response))
    }

    /// The server's first packet: its version and the names of its extensions.
    pub(crate) fn hello(self) -> Result<(u32, Vec<Bytes>)> {
        if self.kind != VERSION_REPLY {
            return Err(malformed(&format!("the first packet has the type {}", self.kind)));
        }
        let mut fields = self.content;
        let version = fields.u32()?;
        let mut extensions = Vec::new();
        while !fields.0.is_empty() {
            extensions.push(fields.bytes()?);
            fields.bytes()?;
        }
        Ok((version, extensions))
    }
}

/// The limit of bytes of a read, in the response to [`LIMITS_EXTENSION`]; 0 is unknown.
pub(crate) fn read_limit(response: Bytes) -> Result<u64> {
    let mut fields = Fields(response);
    // The limit of a packet.
    fields.u64()?;
    fields.u64()
}

#[derive(Debug)]
struct Fields(Bytes);

impl Fields {
    fn u32(&mut self) -> Result<u32> {
        self.0.try_get_u32().map_err(|_| truncated())
    }

    fn u64(&mut self) -> Result<u64> {
        self.0.try_get_u64().map_err(|_| truncated())
    }

    fn bytes(&mut self) -> Result<Bytes> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if length > self.0.len() {
            return Err(truncated());
        }
        Ok(self.0.split_to(length))
    }

    fn attributes(&mut self) -> Result<Attributes> {
        let flags = self.u32()?;
        let mut attributes = Attributes::default();
        if flags & HAS_SIZE != 0 {
            attributes.size = Some(self.u64()?);
        }
        if flags & HAS_OWNER != 0 {
            self.u64()?;
        }
        if flags & HAS_MODE != 0 {
            attributes.mode = Some(self.u32()?);
        }
        if flags & HAS_TIMES != 0 {
            self.u32()?;
            attributes.modified = Some(self.u32()?);
        }
        if flags & HAS_EXTENDED != 0 {
            for _ in 0..self.u32()? {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Ok(attributes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn framed(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut packet = u32::try_from(content.len() + 1).unwrap().to_be_bytes().to_vec();
        packet.push(kind);
        packet.extend(content);
        packet
    }

    /// All packets of `bytes`, which arrive in pieces of `size` bytes.
    fn packets(bytes: &[u8], size: usize) -> Result<Vec<Packet>> {
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for piece in bytes.chunks(size) {
            buffer.extend_from_slice(piece);
            while let Some(packet) = next_packet(&mut buffer)? {
                found.push(packet);
            }
        }
        Ok(found)
    }

    #[test]
    fn decodes_packets_split_at_any_byte() {
        let mut bytes = framed(DATA, &[0, 0, 0, 7, 0, 0, 0, 3, b'a', b'b', b'c']);
        // A handle of arbitrary bytes, and a status code of a later version without a message.
        bytes.extend(framed(HANDLE, &[0, 0, 0, 8, 0, 0, 0, 2, 0xff, 0]));
        bytes.extend(framed(STATUS, &[0, 0, 0, 9, 0, 0, 0, 11]));
        for size in 1..bytes.len() {
            let packets = packets(&bytes, size).unwrap().into_iter();
            let responses: Vec<_> = packets.map(|packet| packet.response().unwrap()).collect();
            let [
                (7, Response::Data(data)),
                (8, Response::Handle(handle)),
                (9, Response::Status(status)),
            ] = &responses[..]
            else {
                panic!("{size}: {responses:?}");
            };
            assert_eq!((&data[..], &handle[..]), (&b"abc"[..], &[0xff, 0][..]));
            assert!(status.to_string().contains("already exists"), "{status}");
        }
    }

    #[test]
    fn skips_attributes_that_are_not_used() {
        let mut content = vec![0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, b'a', 0xfc, 0, 0, 0, 1, b'-'];
        content.extend((HAS_SIZE | HAS_OWNER | HAS_MODE | HAS_TIMES | HAS_EXTENDED).to_be_bytes());
        content.extend(5_u64.to_be_bytes());
        for number in [1_u32, 2, 0o100_644, 3, 1_000, 1] {
            content.extend(number.to_be_bytes());
        }
        content.extend([0, 0, 0, 1, b'x', 0, 0, 0, 1, b'y']);
        let packet = packets(&framed(NAME, &content), 4096).unwrap().remove(0);
        let Ok((1, Response::Names(names))) = packet.response() else {
            panic!();
        };
        assert_eq!(*names[0].name, [b'a', 0xfc]);
        let expected = Attributes {
            size: Some(5),
            mode: Some(0o100_644),
            modified: Some(1_000),
        };
        assert_eq!(names[0].attributes, expected);
    }

    #[test]
    fn rejects_what_is_not_sftp() {
        let error = packets(b"Welcome to", 3).unwrap_err();
        assert!(error.to_string().contains("`Welc`"), "{error}");
        let truncated = framed(DATA, &[0, 0, 0, 1, 0, 0, 0, 9, 1]);
        let error = packets(&truncated, 64).unwrap().remove(0).response().unwrap_err();
        assert!(error.to_string().contains("truncated"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, kind in 100_u8..106) {
            for packet in packets(&framed(kind, &bytes), 7).unwrap_or_default() {
                let _ = packet.response();
            }
            let _ = packets(&bytes, 5);
            let _ = read_limit(Bytes::from(bytes));
        }
    }
}
