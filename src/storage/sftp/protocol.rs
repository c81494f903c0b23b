//! The packets of SFTP, version 3: what every server speaks.
//!
//! Handles and names are bytes, as the protocol has them: servers make handles of any bytes, and there are names that are
//! not valid Unicode. The content of files is not copied out of the packets that it came in.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Larger packets are no SFTP: those of files are at most 256 KiB, and lists of names stay below that too.
const MAX_PACKET: usize = 1 << 20;

pub(super) const VERSION: u32 = 3;

const INIT: u8 = 1;
const VERSION_REPLY: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED: u8 = 200;
const EXTENDED_REPLY: u8 = 201;

const OPEN_READ: u32 = 1;

const HAS_SIZE: u32 = 1;
const HAS_OWNER: u32 = 2;
const HAS_MODE: u32 = 4;
const HAS_TIMES: u32 = 8;
const HAS_MORE: u32 = 1 << 31;

/// What a server is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request<'r> {
    Open(&'r str),
    Close(&'r [u8]),
    Read {
        handle: &'r [u8],
        offset: u64,
        length: u32,
    },
    /// Of the link itself.
    LinkStat(&'r str),
    HandleStat(&'r [u8]),
    OpenFolder(&'r str),
    ReadFolder(&'r [u8]),
    Remove(&'r str),
    MakeFolder(&'r str),
    RealPath(&'r str),
    Stat(&'r str),
    Rename {
        from: &'r str,
        to: &'r str,
    },
    /// OpenSSH's: how much a server takes at once.
    Limits,
}

impl Request<'_> {
    /// The packet, with its length.
    pub(super) fn packet(self, id: u32) -> Bytes {
        let mut packet = BytesMut::with_capacity(64);
        packet.put_u32(0);
        packet.put_u8(match self {
            Self::Open(_) => OPEN,
            Self::Close(_) => CLOSE,
            Self::Read { .. } => READ,
            Self::LinkStat(_) => LSTAT,
            Self::HandleStat(_) => FSTAT,
            Self::OpenFolder(_) => OPENDIR,
            Self::ReadFolder(_) => READDIR,
            Self::Remove(_) => REMOVE,
            Self::MakeFolder(_) => MKDIR,
            Self::RealPath(_) => REALPATH,
            Self::Stat(_) => STAT,
            Self::Rename { .. } => RENAME,
            Self::Limits => EXTENDED,
        });
        packet.put_u32(id);
        match self {
            Self::Open(path) => {
                put(&mut packet, path.as_bytes());
                packet.put_u32(OPEN_READ);
                packet.put_u32(0);
            }
            Self::Close(handle) | Self::HandleStat(handle) | Self::ReadFolder(handle) => {
                put(&mut packet, handle);
            }
            Self::Read {
                handle,
                offset,
                length,
            } => {
                put(&mut packet, handle);
                packet.put_u64(offset);
                packet.put_u32(length);
            }
            Self::LinkStat(path)
            | Self::OpenFolder(path)
            | Self::Remove(path)
            | Self::RealPath(path)
            | Self::Stat(path) => put(&mut packet, path.as_bytes()),
            Self::MakeFolder(path) => {
                put(&mut packet, path.as_bytes());
                packet.put_u32(0);
            }
            Self::Rename { from, to } => {
                put(&mut packet, from.as_bytes());
                put(&mut packet, to.as_bytes());
            }
            Self::Limits => put(&mut packet, LIMITS.as_bytes()),
        }
        finish(packet)
    }
}

/// The extension that tells how much a server takes at once.
pub(super) const LIMITS: &str = "limits@openssh.com";

/// The first packet of a session.
pub(super) fn init() -> Bytes {
    let mut packet = BytesMut::new();
    packet.put_u32(0);
    packet.put_u8(INIT);
    packet.put_u32(VERSION);
    finish(packet)
}

fn put(packet: &mut BytesMut, bytes: &[u8]) {
    // A path that long cannot be in a pipeline file, nor a handle that long have come.
    packet.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    packet.put_slice(bytes);
}

fn finish(mut packet: BytesMut) -> Bytes {
    let length = u32::try_from(packet.len() - 4).unwrap_or(u32::MAX);
    packet[..4].copy_from_slice(&length.to_be_bytes());
    packet.freeze()
}

/// What a server answers.
#[derive(Debug)]
pub(super) enum Reply {
    Status(Status),
    Handle(Bytes),
    Data(Pieces),
    Names(Vec<Entry>),
    Attributes(Attributes),
    Extended(Bytes),
}

/// The version that a server speaks, and the names of its extensions.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) extensions: Vec<Bytes>,
}

/// Bytes of a file, in order.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub(super) pieces: VecDeque<Bytes>,
    pub(super) length: usize,
}

/// An answer that is no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u32,
    pub(super) message: String,
}

impl Status {
    pub(super) const OK: u32 = 0;
    pub(super) const END: u32 = 1;
    pub(super) const NO_SUCH_FILE: u32 = 2;
    pub(super) const PERMISSION_DENIED: u32 = 3;
    pub(super) const FAILURE: u32 = 4;
    pub(super) const UNSUPPORTED: u32 = 8;
    const NO_SUCH_PATH: u32 = 10;

    pub(super) fn is_missing(&self) -> bool {
        matches!(self.code, Self::NO_SUCH_FILE | Self::NO_SUCH_PATH)
    }

    /// What the code means. Those above 8 are of later versions, and servers send them all the same.
    fn meaning(&self) -> &'static str {
        match self.code {
            Self::OK => "done",
            Self::END => "end of file",
            Self::NO_SUCH_FILE => "no such file",
            Self::PERMISSION_DENIED => "permission denied",
            Self::FAILURE => "failure",
            5 => "bad message",
            6 | 7 => "no connection",
            Self::UNSUPPORTED => "not supported",
            9 => "invalid handle",
            Self::NO_SUCH_PATH => "no such folder",
            11 => "there is a file of that name already",
            12 => "write-protected",
            14 => "no space left",
            15 => "quota exceeded",
            17 => "locked by somebody",
            18 => "the folder is not empty",
            19 => "not a folder",
            20 => "not a valid name",
            _ => "unknown status",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (meaning, code) = (self.meaning(), self.code);
        if self.message.is_empty() || self.message.eq_ignore_ascii_case(meaning) {
            write!(f, "the server says: {meaning} (status {code})")
        } else {
            write!(f, "the server says: {} (status {code}, {meaning})", self.message)
        }
    }
}

/// A name in a folder.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: Bytes,
    pub(super) attributes: Attributes,
}

/// What a server tells of a file; not all do all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    /// Type and permissions, as Unix has them.
    pub(super) mode: Option<u32>,
    /// Seconds since 1970.
    pub(super) modified: Option<u32>,
}

/// A packet that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Its length is that of no packet: most likely text that the server's login scripts print.
    Length([u8; 4]),
    /// Its content ends before its time.
    Short,
    /// A kind of packet that answers nothing.
    Kind(u8),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length(bytes) => write!(f, "a packet begins with `{}`", bytes.escape_ascii()),
            Self::Short => f.write_str("a packet ends before its time"),
            Self::Kind(kind) => write!(f, "a packet of the unknown kind {kind}"),
        }
    }
}

/// Makes packets of what comes through a channel.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pieces: VecDeque<Bytes>,
    available: usize,
}

/// A packet, without its length.
#[derive(Debug)]
pub(super) struct Frame {
    kind: u8,
    rest: Pieces,
}

impl Frames {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.available += bytes.len();
            self.pieces.push_back(bytes);
        }
    }

    /// The next packet, if all of it is there.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        if self.available < 4 {
            return Ok(None);
        }
        let mut length = [0; 4];
        let ahead = self.pieces.iter().flat_map(|piece| piece.iter());
        for (to, from) in length.iter_mut().zip(ahead) {
            *to = *from;
        }
        let bytes = length;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if !(1..=MAX_PACKET).contains(&length) {
            return Err(Malformed::Length(bytes));
        }
        if self.available < 4 + length {
            return Ok(None);
        }
        self.take(4);
        let mut kind = self.take(1);
        let kind = kind.pieces.pop_front().map_or(0, |mut piece| piece.get_u8());
        let rest = self.take(length - 1);
        Ok(Some(Frame { kind, rest }))
    }

    /// The next bytes, which must be there.
    fn take(&mut self, length: usize) -> Pieces {
        let mut taken = Pieces {
            pieces: VecDeque::with_capacity(2),
            length,
        };
        let mut missing = length;
        while missing > 0
            && let Some(mut piece) = self.pieces.pop_front()
        {
            if piece.len() > missing {
                let rest = piece.split_off(missing);
                self.pieces.push_front(rest);
            }
            missing -= piece.len();
            taken.pieces.push_back(piece);
        }
        self.available -= length - missing;
        taken
    }
}

impl Pieces {
    /// All in one.
    pub(super) fn joined(mut self) -> Bytes {
        if self.pieces.len() <= 1 {
            return self.pieces.pop_front().unwrap_or_default();
        }
        let mut joined = BytesMut::with_capacity(self.length);
        for piece in &self.pieces {
            joined.put_slice(piece);
        }
        joined.freeze()
    }

    fn get_u32(&mut self) -> Result<u32, Malformed> {
        let mut bytes = [0; 4];
        for byte in &mut bytes {
            let piece = self.pieces.front_mut().ok_or(Malformed::Short)?;
            *byte = piece.get_u8();
            self.length -= 1;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        Ok(u32::from_be_bytes(bytes))
    }
}

impl Frame {
    /// The answer and the number of its request.
    pub(super) fn reply(mut self) -> Result<(u32, Reply), Malformed> {
        let id = self.rest.get_u32()?;
        if self.kind == DATA {
            let length = usize::try_from(self.rest.get_u32()?).unwrap_or(usize::MAX);
            if length != self.rest.length {
                return Err(Malformed::Short);
            }
            return Ok((id, Reply::Data(self.rest)));
        }
        let mut rest = Fields(self.rest.joined());
        let reply = match self.kind {
            STATUS => Reply::Status(Status {
                code: rest.number()?,
                // Some old servers send the number alone.
                message: rest
                    .bytes()
                    .map(|text| crate::http::redact::clean_bytes(&text, 200))
                    .unwrap_or_default(),
            }),
            HANDLE => Reply::Handle(rest.bytes()?),
            NAME => {
                let count = rest.number()?;
                let mut entries = Vec::new();
                for _ in 0..count {
                    let name = rest.bytes()?;
                    // What `ls -l` would print, which every server writes in its own way.
                    rest.bytes()?;
                    let attributes = rest.attributes()?;
                    entries.push(Entry { name, attributes });
                }
                Reply::Names(entries)
            }
            ATTRS => Reply::Attributes(rest.attributes()?),
            EXTENDED_REPLY => Reply::Extended(rest.0),
            other => return Err(Malformed::Kind(other)),
        };
        Ok((id, reply))
    }

    /// The first packet of a server.
    pub(super) fn hello(self) -> Result<Hello, Malformed> {
        if self.kind != VERSION_REPLY {
            return Err(Malformed::Kind(self.kind));
        }
        let mut rest = Fields(self.rest.joined());
        let version = rest.number()?;
        let mut extensions = Vec::new();
        while !rest.0.is_empty() {
            extensions.push(rest.bytes()?);
            rest.bytes()?;
        }
        Ok(Hello { version, extensions })
    }
}

/// What a server takes at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of a file; 0 if it does not tell.
    pub(super) read: u64,
    /// Open files; 0 if it does not tell.
    pub(super) handles: u64,
}

impl Limits {
    /// Reads the answer to [`Request::Limits`].
    pub(super) fn read(reply: Bytes) -> Result<Self, Malformed> {
        let mut fields = Fields(reply);
        let (_packet, read, _write, handles) =
            (fields.large()?, fields.large()?, fields.large()?, fields.large()?);
        Ok(Self { read, handles })
    }
}

struct Fields(Bytes);

impl Fields {
    fn number(&mut self) -> Result<u32, Malformed> {
        self.0.try_get_u32().map_err(|_| Malformed::Short)
    }

    fn large(&mut self) -> Result<u64, Malformed> {
        self.0.try_get_u64().map_err(|_| Malformed::Short)
    }

    fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if length > self.0.len() {
            return Err(Malformed::Short);
        }
        Ok(self.0.split_to(length))
    }

    fn attributes(&mut self) -> Result<Attributes, Malformed> {
        let flags = self.number()?;
        let mut found = Attributes::default();
        if flags & HAS_SIZE != 0 {
            found.size = Some(self.large()?);
        }
        if flags & HAS_OWNER != 0 {
            self.number()?;
            self.number()?;
        }
        if flags & HAS_MODE != 0 {
            found.mode = Some(self.number()?);
        }
        if flags & HAS_TIMES != 0 {
            self.number()?;
            found.modified = Some(self.number()?);
        }
        if flags & HAS_MORE != 0 {
            for _ in 0..self.number()? {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut packet = u32::try_from(content.len() + 1).unwrap().to_be_bytes().to_vec();
        packet.push(kind);
        packet.extend(content);
        packet
    }

    /// Every packet of `bytes`, which come in pieces of `size`.
    fn frames(bytes: &[u8], size: usize) -> Result<Vec<Frame>, Malformed> {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(size) {
            frames.push(Bytes::copy_from_slice(piece));
            while let Some(frame) = frames.next()? {
                found.push(frame);
            }
        }
        Ok(found)
    }

    #[test]
    fn packets_are_found_however_they_are_cut() {
        let mut bytes = framed(DATA, &[0, 0, 0, 7, 0, 0, 0, 3, b'a', b'b', b'c']);
        // A handle of any bytes, and a status of a later version without a text.
        bytes.extend(framed(HANDLE, &[0, 0, 0, 8, 0, 0, 0, 2, 0xff, 0]));
        bytes.extend(framed(STATUS, &[0, 0, 0, 9, 0, 0, 0, 11]));
        for size in 1..bytes.len() {
            let mut replies = frames(&bytes, size)
                .unwrap()
                .into_iter()
                .map(|frame| frame.reply().unwrap());
            let Some((7, Reply::Data(data))) = replies.next() else {
                panic!("{size}");
            };
            assert_eq!((data.length, &*data.joined()), (3, &b"abc"[..]));
            let Some((8, Reply::Handle(handle))) = replies.next() else {
                panic!("{size}");
            };
            assert_eq!(*handle, [0xff, 0]);
            let Some((9, Reply::Status(status))) = replies.next() else {
                panic!("{size}");
            };
            assert!(status.to_string().contains("already"), "{status}");
            assert!(replies.next().is_none());
        }
    }

    #[test]
    fn names_and_attributes_are_read_with_what_is_not_asked_for() {
        let mut content = vec![0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, b'a', 0xfc, 0, 0, 0, 1, b'-'];
        content.extend((HAS_SIZE | HAS_OWNER | HAS_MODE | HAS_TIMES | HAS_MORE).to_be_bytes());
        content.extend(5_u64.to_be_bytes());
        for number in [1_u32, 2, 0o100_644, 3, 1_000, 1] {
            content.extend(number.to_be_bytes());
        }
        content.extend([0, 0, 0, 1, b'x', 0, 0, 0, 1, b'y']);
        let bytes = framed(NAME, &content);
        let frame = frames(&bytes, 4096).unwrap().remove(0);
        let Ok((1, Reply::Names(names))) = frame.reply() else {
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
    fn what_is_no_packet_is_told_from_one() {
        assert_eq!(frames(b"Welcome to", 3).unwrap_err(), Malformed::Length(*b"Welc"));
        let short = frames(&framed(DATA, &[0, 0, 0, 1, 0, 0, 0, 9, 1]), 64)
            .unwrap()
            .remove(0);
        assert_eq!(short.reply().unwrap_err(), Malformed::Short);
        let other = frames(&framed(99, &[0, 0, 0, 1]), 64).unwrap().remove(0);
        assert_eq!(other.reply().unwrap_err(), Malformed::Kind(99));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, kind in 100_u8..106) {
            for frame in frames(&framed(kind, &bytes), 7).unwrap_or_default() {
                let _ = frame.reply();
            }
            let _ = frames(&bytes, 5);
            let _ = Limits::read(Bytes::from(bytes));
        }
    }
}
